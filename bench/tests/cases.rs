//! Every subcommand of `fanfare-bench` runs, verifies what it delivers, and writes the figures that readers rely on. How
//! large the figures are decides nothing here.
#![allow(missing_docs)]

mod support;

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use support::AGREED_FIELDS;
use tempfile::TempDir;

/// Runs it, and returns what it wrote as JSON; `None` where the server is not built and need not be.
fn bench(arguments: &[&str]) -> Option<Value> {
    let directory = TempDir::new().expect("a folder");
    let file = directory.path().join("result.json");
    let output = run(arguments, &file)?;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    let text = std::fs::read_to_string(&file).expect("it wrote its result");
    let result: Value = serde_json::from_str(&text).expect("JSON");
    Some(result)
}

fn run(arguments: &[&str], json: &Path) -> Option<Output> {
    let program = Path::new(env!("CARGO_BIN_EXE_fanfare-bench"));
    for needed in ["fanfare", "fanfare-baseline"] {
        if !program.with_file_name(needed).exists() {
            let why = "it is not built: cargo build --workspace --features fanfare-bench/baselines";
            support::skip(needed, why);
            return None;
        }
    }
    let output = Command::new(program)
        .args(arguments)
        .arg("--quiet")
        .arg("--json")
        .arg(json)
        .output()
        .expect("it runs");
    Some(output)
}

fn number(result: &Value, field: &str) -> f64 {
    result
        .pointer(field)
        .and_then(Value::as_f64)
        .unwrap_or_else(|| panic!("{field} in {result:#}"))
}

fn assert_complete(result: &Value) {
    for field in AGREED_FIELDS {
        assert!(result.pointer(field).is_some(), "{field} in {result:#}");
    }
    for field in ["/lost", "/duplicated", "/reordered"] {
        assert!(
            matches!(
                result.pointer(field).and_then(Value::as_u64),
                None | Some(0)
            ),
            "{field} in {result:#}"
        );
    }
}

#[test]
fn fanout_counts_every_delivery() {
    for dialect in [
        "native",
        "native-websocket",
        "centrifuge-json",
        "goim",
        "goim-websocket",
    ] {
        let Some(result) = bench(&[
            "fanout",
            "-n",
            "200",
            "--rooms",
            "3",
            "--rate",
            "60",
            "--seconds",
            "1.5",
            "--warm-up",
            "0.5",
            "--dialect",
            dialect,
            "--allow-busy-client",
        ]) else {
            return;
        };
        assert_complete(&result);
        assert_eq!(result["dialect"], dialect);
        assert_eq!(number(&result, "/connections"), 200.0);
        assert!(number(&result, "/deliveries") > 0.0);
        assert!(number(&result, "/writes_per_s") > 0.0);
        assert_eq!(number(&result, "/lost"), 0.0);
        assert!(number(&result, "/latency_ms/p50") <= number(&result, "/latency_ms/max"));
        assert!(number(&result, "/server/user_bytes_per_connection") > 0.0);
        assert!(!result["throughput"].as_array().expect("samples").is_empty());
    }
}

#[test]
fn the_same_goes_for_other_servers() {
    let Some(result) = bench(&[
        "fanout",
        "-n",
        "100",
        "--rate",
        "40",
        "--seconds",
        "1",
        "--warm-up",
        "0.5",
        "--server",
        "baseline-tokio",
        "--allow-busy-client",
    ]) else {
        return;
    };
    assert_complete(&result);
    assert_eq!(result["server"]["name"], "baseline-tokio");
    assert_eq!(number(&result, "/lost"), 0.0);
    assert!(
        result["writes_per_s"].is_null(),
        "it does not count its writes"
    );
}

#[test]
fn latency_is_measured_at_a_part_of_saturation() {
    for dialect in ["native", "goim", "goim-websocket"] {
        let Some(result) = bench(&[
            "latency",
            "-n",
            "200",
            "--room-size",
            "20",
            "--load",
            "0.05",
            "--seconds",
            "1",
            "--dialect",
            dialect,
            "--allow-busy-client",
        ]) else {
            return;
        };
        assert_complete(&result);
        assert_eq!(result["dialect"], dialect);
        assert_eq!(number(&result, "/rooms"), 10.0);
        assert!(number(&result, "/rate_per_s") > 0.0);
        assert!(number(&result, "/latency_ms/p999") <= number(&result, "/latency_ms/max"));
    }
}

#[test]
fn idle_connections_are_weighed() {
    for dialect in ["native", "goim", "goim-websocket"] {
        let Some(result) = bench(&[
            "idle",
            "-n",
            "500",
            "--seconds",
            "0.5",
            "--dialect",
            dialect,
            "--allow-busy-client",
        ]) else {
            return;
        };
        assert_complete(&result);
        assert_eq!(result["dialect"], dialect);
        assert!(number(&result, "/server/user_bytes_per_connection") > 0.0);
        // Of the whole machine, on which other tests run.
        assert!(number(&result, "/server/kernel_bytes_per_connection").is_finite());
        assert!(number(&result, "/cpu_ns_per_connection_s") > 0.0);
    }
}

#[test]
fn connections_come_and_come_back() {
    for dialect in ["native", "goim", "goim-websocket"] {
        let Some(result) = bench(&[
            "connect",
            "-n",
            "300",
            "--live",
            "20",
            "--storms",
            "2",
            "--dialect",
            dialect,
        ]) else {
            return;
        };
        assert_complete(&result);
        assert_eq!(result["dialect"], dialect);
        assert!(number(&result, "/connects_per_s") > 0.0);
        let notes = result["notes"].to_string();
        assert!(notes.contains("20 of 20 members"), "{notes}");
    }
}

#[test]
fn the_floor_is_under_the_same_deliveries() {
    let Some(result) = bench(&["floor", "-n", "200", "--rounds", "3", "--publications", "5"])
    else {
        return;
    };
    assert_complete(&result);
    for field in [
        "/cpu_ns_per_write",
        "/floor/cpu_ns_per_write",
        "/floor/send_cpu_ns_per_write",
        "/ratio_to_floor",
        "/ratio_to_send",
    ] {
        assert!(number(&result, field) > 0.0, "{field}");
    }
}

#[test]
fn every_way_to_publish_is_answered() {
    let Some(results) = bench(&[
        "publish",
        "--seconds",
        "0.3",
        "--warm-up",
        "0.1",
        "--rooms",
        "40",
    ]) else {
        return;
    };
    let results = results.as_array().expect("a result for each way");
    assert_eq!(results.len(), 4);
    for result in results {
        assert_complete(result);
        assert!(number(result, "/publications_per_s") > 0.0);
    }
}

#[test]
fn servers_are_compared_in_rounds() {
    let Some(result) = bench(&[
        "compare",
        "--only",
        "fanfare,baseline-tokio",
        "-n",
        "50",
        "--rounds",
        "2",
        "--publications",
        "3",
    ]) else {
        return;
    };
    let rows = result["rows"].as_array().expect("rows");
    let names: Vec<&Value> = rows.iter().map(|row| &row["name"]).collect();
    assert_eq!(names, ["fanfare", "baseline-tokio"]);
    for row in rows {
        assert_eq!(row["faults"], 0, "{row:#}");
        assert!(number(row, "/ratio_one_write/samples/1").is_finite());
        assert!(number(row, "/deliveries_per_core_second_coalesced/median") > 0.0);
        assert!(number(row, "/user_bytes_per_connection/median") > 0.0);
    }
}

#[test]
fn relays_are_compared_packet_by_packet() {
    if !["/usr/bin/turnserver", "/usr/sbin/turnserver"]
        .iter()
        .any(|it| Path::new(it).exists())
    {
        return support::skip("coturn", "it is not installed: .ci/setup");
    }
    let Some(result) = bench(&[
        "turn",
        "--sizes",
        "120,1200",
        "--flows",
        "10",
        "--window",
        "32",
        "--train",
        "8",
        "--rate",
        "500",
        "--allocations",
        "50",
        "--rounds",
        "1",
        "--seconds",
        "0.2",
    ]) else {
        return;
    };
    let rows = result["rows"].as_array().expect("rows");
    let all = [
        "fanfare",
        "coturn",
        "fanfare-over-mmsg",
        "bare-loop",
        "bare-ring-loop",
    ];
    for (scenario, relays, sizes) in [
        ("to-peers", &all[..], 2),
        ("to-clients", &all, 2),
        ("hairpin", &all[..3], 2),
        ("train", &all[..3], 2),
        ("one-flow", &all, 2),
        ("latency", &all, 1),
        ("allocations", &all[..3], 1),
        ("memory", &all[..2], 1),
    ] {
        let of_it: Vec<&Value> = rows
            .iter()
            .filter(|it| it["scenario"] == scenario)
            .collect();
        let names: Vec<&str> = of_it.iter().filter_map(|it| it["relay"].as_str()).collect();
        assert_eq!(names, relays.repeat(sizes), "{scenario}");
        for row in of_it {
            let faults = ["/lost", "/disordered", "/corrupted"].map(|it| number(row, it));
            assert_eq!(faults, [0.0; 3], "{row:#}");
            if scenario == "memory" {
                assert!(number(row, "/user_bytes_each") > 0.0, "{row:#}");
            } else {
                assert!(number(row, "/sent") > 0.0, "{row:#}");
                assert!(number(row, "/cpu_ns/median") > 0.0, "{row:#}");
            }
        }
    }
}

#[test]
fn what_cannot_be_run_is_told() {
    let file = Path::new("/nonexistent/result.json");
    for (arguments, words) in [
        (
            ["fanout", "--server", "nobody"].as_slice(),
            "compare --list",
        ),
        (["fanout", "--connections", "0"].as_slice(), "above 0"),
        (["connect", "--rate", "0"].as_slice(), "above 0"),
        (["publish", "--seconds", "0"].as_slice(), "above 0"),
        (["idle", "--seconds=-1"].as_slice(), "negative"),
        (["compare", "--only", "nobody"].as_slice(), "nobody"),
    ] {
        let Some(output) = run(arguments, file) else {
            return;
        };
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && errors.contains(words),
            "{arguments:?}: {errors}"
        );
    }
}
