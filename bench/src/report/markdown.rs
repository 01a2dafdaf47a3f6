//! Results as Markdown, for people. What was not measured is left out.

use std::fmt::Write;

use super::numbers::{bytes, chosen, count, plural, quantity};
use super::{Comparison, Measurement, Row, Spread};
use crate::observe::Machine;

/// A measurement: what was run, then a table for each thing that was measured, then what it ran on.
#[must_use]
pub fn markdown(result: &Measurement) -> String {
    let mut text = heading(result);
    for (title, lines) in [
        ("Delivery", delivery(result)),
        ("Latency, push to receive", latency(result)),
        ("Server", server(result)),
        ("Load generator and host", surroundings(result)),
        ("Kernel memory, growth of both ends", kernel(result)),
    ] {
        text.push_str(&table(title, &lines));
    }
    text.push_str(&list("Notes", &result.notes));
    text.push_str(&machine(&result.machine));
    text
}

/// A comparison: one row for each server, ratios to the first.
#[must_use]
pub fn markdown_comparison(result: &Comparison) -> String {
    let first = result.rows.first().map_or("first", |row| row.name.as_str());
    let mut text = format!(
        "# Comparison\n\n{} connections in {}, {}-byte payloads, {} in {:.0} s; started {}.\n\n",
        count(result.connections),
        plural(result.rooms, "room"),
        count(result.payload_bytes),
        plural(u64::from(result.rounds), "round"),
        result.seconds_total,
        cell(&result.started_at),
    );
    let _ = write!(
        text,
        "Medians of the rounds with the smallest and largest in brackets. A ratio is taken within each round; above 1, \
         {} is better.\n\n",
        cell(first)
    );
    text.push_str(
        "| server | dialect | CPU per delivery, one write each, µs | ratio | deliveries per core-second, coalesced | ratio \
         | user bytes per connection | faults |\n|---|---|---:|---:|---:|---:|---:|---:|\n",
    );
    for row in &result.rows {
        text.push_str(&comparison_row(row));
    }
    text.push('\n');
    let absent: Vec<String> = result
        .absent
        .iter()
        .map(|absent| format!("{}: {}", absent.name, absent.why))
        .collect();
    text.push_str(&list("Not found", &absent));
    text.push_str(&list("Notes", &result.notes));
    text.push_str(&machine(&result.machine));
    text
}

/// A name of a figure, and the figure with its unit.
type Line = (&'static str, String);

fn heading(result: &Measurement) -> String {
    let server = result.server.name.as_ref().map(|name| {
        let version = result.server.version.as_deref().unwrap_or_default();
        format!(": {} {}", cell(name), cell(version))
            .trim_end()
            .to_owned()
    });
    let load: Vec<String> = [
        result.connections.map(|n| plural(n, "connection")),
        result.rooms.map(|n| format!("in {}", plural(n, "room"))),
        result
            .dialect
            .as_ref()
            .map(|name| format!("speaking {}", cell(name))),
        result
            .payload_bytes
            .map(|n| format!("{}-byte payloads", count(n))),
        result
            .rate_per_s
            .map(|rate| format!("{} publications/s offered", chosen(rate))),
        result
            .seconds
            .map(|seconds| format!("measured for {} s", chosen(seconds))),
    ]
    .into_iter()
    .flatten()
    .collect();
    let load = if load.is_empty() {
        String::new()
    } else {
        format!("{}. ", load.join(", "))
    };
    let saturated = if result.client.saturated == Some(true) {
        "**The load generator was the bottleneck: these figures are its limit, not the server's.**\n\n"
    } else {
        ""
    };
    format!(
        "# {}{}\n\n{load}Started {}, {} s in all.\n\n{saturated}",
        cell(&result.case),
        server.unwrap_or_default(),
        cell(&result.started_at),
        quantity(result.seconds_total),
    )
}

fn delivery(result: &Measurement) -> Vec<Line> {
    present([
        ("deliveries/s", result.deliveries_per_s.map(quantity)),
        ("writes/s", result.writes_per_s.map(quantity)),
        ("publications/s", result.publications_per_s.map(quantity)),
        ("connects/s", result.connects_per_s.map(quantity)),
        (
            "received per second",
            result.received_bytes_per_s.map(bytes),
        ),
        ("published", result.published.map(count)),
        ("delivered", result.deliveries.map(count)),
        ("lost", result.lost.map(count)),
        ("duplicated", result.duplicated.map(count)),
        ("reordered", result.reordered.map(count)),
        ("corrupted", result.corrupted.map(count)),
        ("skipped by the server", result.skipped.map(count)),
    ])
}

fn latency(result: &Measurement) -> Vec<Line> {
    let latency = &result.latency_ms;
    let ms = |value: Option<f64>| value.map(|ms| format!("{} ms", quantity(ms)));
    present([
        ("p50", ms(latency.p50)),
        ("p90", ms(latency.p90)),
        ("p99", ms(latency.p99)),
        ("p99.9", ms(latency.p999)),
        ("p99.99", ms(latency.p9999)),
        ("max", ms(latency.max)),
    ])
}

fn server(result: &Measurement) -> Vec<Line> {
    let server = &result.server;
    let floor = &result.floor;
    let ns = |value: Option<f64>| value.map(|ns| format!("{} ns", quantity(ns)));
    let each = |value: Option<f64>| value.map(|bytes| format!("{} B", quantity(bytes)));
    present([
        ("shards", server.shards.map(|n| count(u64::from(n)))),
        ("CPU", server.cpu_cores.map(cores)),
        ("CPU per write", ns(result.cpu_ns_per_write)),
        ("CPU per delivery", ns(result.cpu_ns_per_delivery)),
        (
            "CPU per connection and second",
            ns(result.cpu_ns_per_connection_s),
        ),
        (
            "floor, bare io_uring loop per write",
            ns(floor.cpu_ns_per_write),
        ),
        (
            "floor, bare send(2) loop per write",
            ns(floor.send_cpu_ns_per_write),
        ),
        (
            "ratio to the io_uring loop",
            result.ratio_to_floor.map(ratio),
        ),
        ("ratio to the send(2) loop", result.ratio_to_send.map(ratio)),
        ("resident", server.rss_bytes.map(|n| bytes(n as f64))),
        (
            "user bytes per connection",
            each(server.user_bytes_per_connection),
        ),
        (
            "kernel bytes per connection",
            each(server.kernel_bytes_per_connection),
        ),
    ])
}

fn surroundings(result: &Measurement) -> Vec<Line> {
    let client = &result.client;
    let saturated = client.saturated.map(|saturated| {
        let word = if saturated { "yes" } else { "no" };
        word.to_owned()
    });
    present([
        ("load generator's CPU", client.cpu_cores.map(cores)),
        ("load generator saturated", saturated),
        (
            "load generator resident",
            client.rss_bytes.map(|n| bytes(n as f64)),
        ),
        (
            "machine busy",
            result.host.map(|host| cores(host.busy_cores)),
        ),
        (
            "stolen by other guests",
            result.host.map(|host| cores(host.stolen_cores)),
        ),
    ])
}

fn kernel(result: &Measurement) -> Vec<Line> {
    let Some(growth) = &result.kernel_growth else {
        return Vec::new();
    };
    let signed = |value: i64| Some(bytes(value as f64));
    present([
        ("total", signed(growth.total_bytes())),
        ("slab", signed(growth.slab_bytes)),
        ("page tables", signed(growth.page_tables_bytes)),
        ("vmalloc", signed(growth.vmalloc_bytes)),
        ("per CPU", signed(growth.percpu_bytes)),
        ("rings, buffers, other pages", signed(growth.other_bytes)),
    ])
}

fn present<const N: usize>(lines: [(&'static str, Option<String>); N]) -> Vec<Line> {
    lines
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
}

/// A table of two columns under a heading; nothing when there is nothing to say.
fn table(title: &str, lines: &[Line]) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let mut text = format!("## {title}\n\n| | |\n|---|---:|\n");
    for (name, value) in lines {
        let _ = writeln!(text, "| {name} | {value} |");
    }
    text.push('\n');
    text
}

fn list(title: &str, items: &[String]) -> String {
    if items.is_empty() {
        return String::new();
    }
    let mut text = format!("## {title}\n\n");
    for item in items {
        let _ = writeln!(text, "- {}", cell(item));
    }
    text.push('\n');
    text
}

fn comparison_row(row: &Row) -> String {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
    let spread = |spread: &Option<Spread>, show: fn(f64) -> String| {
        or_dash(spread.as_ref().map(|spread| {
            format!(
                "{} ({}–{})",
                show(spread.median),
                show(spread.min),
                show(spread.max)
            )
        }))
    };
    let version = row.version.as_deref().unwrap_or_default();
    format!(
        "| {} | {} | {} | {} | {} | {} | {} | {} |\n",
        format!("{} {}", cell(&row.name), cell(version)).trim_end(),
        or_dash(row.dialect.as_deref().map(cell)),
        spread(&row.cpu_ns_per_delivery_one_write, |ns| quantity(ns / 1e3)),
        spread(&row.ratio_one_write, ratio),
        spread(&row.deliveries_per_core_second_coalesced, quantity),
        spread(&row.ratio_coalesced, ratio),
        spread(&row.user_bytes_per_connection, quantity),
        or_dash(row.faults.map(count)),
    )
}

fn machine(machine: &Machine) -> String {
    let kind = if machine.is_virtual {
        "virtual"
    } else {
        "physical"
    };
    let open_files = machine
        .limits
        .nofile_soft
        .map_or_else(|| "unlimited".to_owned(), count);
    let lines = [
        machine.cpu.clone(),
        Some(format!(
            "{}, {} machine",
            plural(u64::from(machine.cores), "CPU"),
            kind
        )),
        Some(format!("{} of memory", bytes(machine.memory_bytes as f64))),
        machine
            .kernel
            .as_ref()
            .map(|kernel| format!("Linux {kernel}")),
        machine.distribution.clone(),
        Some(format!("{open_files} open files")),
        machine
            .rustc
            .as_ref()
            .map(|rustc| format!("{rustc}, {} build", machine.profile)),
        machine
            .commit
            .as_ref()
            .map(|commit| format!("commit {commit}")),
    ];
    let said: Vec<String> = lines.iter().flatten().map(|line| cell(line)).collect();
    let mut text = format!("## Machine\n\n{}.\n", said.join("; "));
    if !machine.sysctls.is_empty() {
        text.push_str("\n| sysctl | value |\n|---|---|\n");
        for (name, value) in &machine.sysctls {
            let _ = writeln!(text, "| `{}` | {} |", cell(name), cell(value));
        }
    }
    text
}

fn cores(cores: f64) -> String {
    format!("{cores:.2} cores")
}

/// Two digits after the point where they decide, so that one and one alike line up: `1.00×`, `12.3×`.
fn ratio(ratio: f64) -> String {
    match ratio {
        0.0..9.995 => format!("{ratio:.2}×"),
        _ => format!("{}×", quantity(ratio)),
    }
}

/// Text from elsewhere in one line, with nothing in it that ends a cell or begins HTML.
fn cell(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
        .replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_stays_in_its_cell() {
        assert_eq!(cell("a|b\nc <script>\t"), "a\\|b c &lt;script>");
    }

    #[test]
    fn sections_without_figures_are_left_out() {
        let text = markdown(&Measurement::default());
        let sections: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("## "))
            .collect();
        assert_eq!(sections, ["## Machine"]);
    }
}
