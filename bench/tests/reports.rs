//! What is written down: the JSON keeps its fields, the tables their numbers and the plots their points.

mod support;

use std::collections::BTreeSet;
use std::time::{Duration, UNIX_EPOCH};

use fanfare_bench::observe::{Cache, HostLoad, KernelMemory, Machine};
use fanfare_bench::report::{
    Absent, Client, Comparison, Floor, LatencyMs, Measurement, PlotError, Row, SCHEMA, Sample,
    Server, Spread, markdown, markdown_comparison, svg_latency, svg_throughput,
};
use serde_json::Value;
use support::AGREED_FIELDS;

/// The page that documents every field.
const SCHEMA_PAGE: &str = include_str!("../../docs/benchmark-results.schema.md");

#[test]
fn results_come_back_from_json_as_they_were() {
    let measured = measurement();
    let text = serde_json::to_string_pretty(&measured).expect("it serialises");
    assert_eq!(
        serde_json::from_str::<Measurement>(&text).expect("it is ours"),
        measured
    );

    let nothing = Measurement::new("idle", UNIX_EPOCH, Machine::describe());
    let text = serde_json::to_string(&nothing).expect("it serialises");
    assert_eq!(
        serde_json::from_str::<Measurement>(&text).expect("it is ours"),
        nothing
    );

    let compared = comparison();
    let text = serde_json::to_string(&compared).expect("it serialises");
    assert_eq!(
        serde_json::from_str::<Comparison>(&text).expect("it is ours"),
        compared
    );
}

#[test]
fn the_agreed_fields_are_there_even_when_nothing_is_measured() {
    let empty = Measurement::new("idle", UNIX_EPOCH, Machine::default());
    for result in [&measurement(), &empty] {
        let json = serde_json::to_value(result).expect("it serialises");
        for pointer in AGREED_FIELDS {
            assert!(json.pointer(pointer).is_some(), "{pointer} is missing");
        }
        assert_eq!(json["schema"], SCHEMA);
    }
    let json = serde_json::to_value(&empty).expect("it serialises");
    assert_eq!(json["lost"], Value::Null, "not measured is not zero");
    assert_eq!(json["latency_ms"]["p50"], Value::Null);
    assert_eq!(json["started_at"], "1970-01-01T00:00:00Z");
}

#[test]
fn the_page_documents_exactly_the_fields_that_exist() {
    let mut fields = BTreeSet::new();
    let measured = serde_json::to_value(measurement()).expect("it serialises");
    paths("", &measured, &mut fields);
    let compared = serde_json::to_value(comparison()).expect("it serialises");
    paths("", &compared, &mut fields);

    // A row of a table that begins with a name in backticks documents that field.
    let documented: BTreeSet<String> = SCHEMA_PAGE
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name.to_owned())
        .collect();

    let missing: Vec<_> = fields.difference(&documented).collect();
    let invented: Vec<_> = documented.difference(&fields).collect();
    assert!(missing.is_empty(), "not documented: {missing:?}");
    assert!(
        invented.is_empty(),
        "documented but not there: {invented:?}"
    );
    assert!(SCHEMA_PAGE.contains(&format!("version {SCHEMA}")));
}

#[test]
fn nothing_in_a_description_names_the_machine() {
    let text = serde_json::to_string(&Machine::describe()).expect("it serialises");
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("a host name");
    let host = host.trim();
    // Names of a few letters are part of other words.
    assert!(host.len() < 4 || !text.contains(host), "{text}");
    assert!(!text.contains(env!("CARGO_MANIFEST_DIR")), "{text}");
}

#[test]
fn the_table_has_the_numbers() {
    let text = markdown(&measurement());
    for wanted in [
        "# seed: fanfare 0.1.0",
        "1,000,000 connections, in 1 room, speaking native, 10-byte payloads, 40 publications/s offered",
        "| deliveries/s | 39,912,004 |",
        "| writes/s | 512,345 |",
        "| lost | 0 |",
        "| p99 | 84.2 ms |",
        "| p99.99 | 121 ms |",
        "| CPU | 1.04 cores |",
        "| CPU per write | 5,400 ns |",
        "| floor, bare io_uring loop per write | 5,000 ns |",
        "| ratio to the io_uring loop | 1.08× |",
        "| resident | 413 MB |",
        "| user bytes per connection | 380 B |",
        "| load generator saturated | no |",
        "| stolen by other guests | 0.02 cores |",
        "| slab | 4.10 GB |",
        "- Warm-up of 5 s left out.",
        "Linux 6.18",
        "| `net.core.somaxconn` | 4096 |",
    ] {
        assert!(text.contains(wanted), "{wanted} is not in\n{text}");
    }
    assert!(!text.contains("bottleneck"));
    assert!(!text.contains("null") && !text.contains("NaN"));

    let mut saturated = measurement();
    saturated.client.saturated = Some(true);
    assert!(markdown(&saturated).contains("**The load generator was the bottleneck"));
}

#[test]
fn the_comparison_has_ratios_and_what_was_not_found() {
    let text = markdown_comparison(&comparison());
    for wanted in [
        "10,000 connections in 1 room, 10-byte payloads, 3 rounds",
        "above 1, fanfare is better",
        "| fanfare 0.1.0 | native | 5.40 (5.20–6.00) | 1.00× (1.00×–1.00×) | 41,000,000 (40,000,000–42,000,000) |",
        "| nats-server 2.10.7 | nats | 14.8 (14.0–16.2) | 2.70× (2.70×–2.75×) | 4,000,000 (4,000,000–4,200,000) |",
        "- Centrifugo: not on the path",
    ] {
        assert!(text.contains(wanted), "{wanted} is not in\n{text}");
    }
    let cells: BTreeSet<usize> = text
        .lines()
        .skip_while(|line| !line.starts_with("| server"))
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.matches('|').count())
        .collect();
    assert_eq!(cells.len(), 1, "every row has all cells");
}

#[test]
fn plots_are_well_formed_and_have_every_point() {
    let result = measurement();
    let latency = svg_latency(&result).expect("there are latencies");
    well_formed(&latency);
    assert_eq!(polylines(&latency, "#0969DA"), [result.latency_cdf.len()]);
    for label in [
        "milliseconds (log scale)",
        "99.9 %",
        "max",
        "1,000,000 connections",
    ] {
        assert!(latency.contains(label), "{label}");
    }

    let throughput = svg_throughput(&result).expect("there are samples");
    well_formed(&throughput);
    assert_eq!(polylines(&throughput, "#0969DA"), [result.throughput.len()]);
    assert_eq!(polylines(&throughput, "#BC4C00"), [result.throughput.len()]);
    for label in [
        "deliveries per second",
        "writes per second",
        "seconds",
        "40 M",
    ] {
        assert!(throughput.contains(label), "{label}");
    }

    // Set this to look at them.
    if let Some(folder) = std::env::var_os("FANFARE_PLOTS") {
        let folder = std::path::PathBuf::from(folder);
        std::fs::write(folder.join("latency.svg"), latency).expect("it is written");
        std::fs::write(folder.join("throughput.svg"), throughput).expect("it is written");
        std::fs::write(folder.join("seed.md"), markdown(&result)).expect("it is written");
        let text = markdown_comparison(&comparison());
        std::fs::write(folder.join("comparison.md"), text).expect("it is written");
    }
}

#[test]
fn a_plot_without_writes_or_with_odd_names_is_well_formed() {
    let mut result = measurement();
    result.case = r#"a<b & "c" ]]>"#.to_owned();
    for sample in &mut result.throughput {
        sample.writes_per_s = None;
    }
    let throughput = svg_throughput(&result).expect("there are samples");
    well_formed(&throughput);
    assert_eq!(polylines(&throughput, "#0969DA"), [result.throughput.len()]);
    assert_eq!(polylines(&throughput, "#BC4C00"), Vec::<usize>::new());

    // All alike, all at once, nothing at all.
    result.latency_cdf = vec![(0.0, 0.5), (0.0, 1.0)];
    well_formed(&svg_latency(&result).expect("two points"));
    result.throughput = vec![Sample::default(); 2];
    well_formed(&svg_throughput(&result).expect("two samples"));
}

#[test]
fn what_was_not_measured_has_no_plot() {
    let empty = Measurement::new("idle", UNIX_EPOCH, Machine::default());
    let why = svg_latency(&empty).expect_err("no latencies");
    assert!(matches!(why, PlotError::Empty { .. }));
    assert_eq!(
        why.to_string(),
        "the case idle has no latency distribution to plot"
    );
    assert!(svg_throughput(&empty).is_err());
}

/// The names of all fields, `a.b` for one within another. A list of objects is its first; `sysctls` and `caches` are
/// maps whose keys are not fields.
fn paths(prefix: &str, value: &Value, found: &mut BTreeSet<String>) {
    let Value::Object(fields) = value else {
        return;
    };
    for (name, value) in fields {
        let path = format!("{prefix}{name}");
        match value {
            Value::Object(of) if name == "caches" => {
                let one = of.values().next().expect("a cache");
                paths(&format!("{path}.*."), one, found);
            }
            Value::Object(_) if name == "sysctls" => {}
            Value::Object(_) => paths(&format!("{path}."), value, found),
            Value::Array(of) => {
                let first = of.first().expect("the example has one of each");
                paths(&format!("{path}[]."), first, found);
            }
            _ => {}
        }
        found.insert(path);
    }
}

/// How many points each line of this colour has.
fn polylines(svg: &str, color: &str) -> Vec<usize> {
    svg.split("<polyline")
        .skip(1)
        .filter_map(|rest| rest.split_once("/>"))
        .filter(|(line, _)| line.contains(color))
        .map(|(line, _)| {
            let (_, points) = line.split_once("points=\"").expect("points");
            let (points, _) = points.split_once('"').expect("an end");
            points.split_whitespace().count()
        })
        .collect()
}

/// Tags are closed in order, attributes are quoted, and text has no bare `<` or `&`.
fn well_formed(svg: &str) {
    let mut open = Vec::new();
    let mut rest = svg;
    while let Some(start) = rest.find('<') {
        escaped(&rest[..start]);
        let end = start + rest[start..].find('>').expect("a tag ends");
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        if tag.starts_with(['?', '!']) {
            continue;
        }
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name.trim()), "closed in order");
            continue;
        }
        assert!(!tag.contains('<'), "a tag within a tag: {tag}");
        assert_eq!(tag.matches('"').count() % 2, 0, "quotes: {tag}");
        escaped(tag);
        let name = tag.split([' ', '\n', '/']).next().expect("a name");
        assert!(
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric()),
            "{tag}"
        );
        if !tag.ends_with('/') {
            open.push(name);
        }
    }
    assert_eq!(open, Vec::<&str>::new(), "all are closed");
    assert_eq!(rest.trim(), "");
    assert!(svg.starts_with("<svg ") && !svg.contains("NaN"));
}

fn escaped(text: &str) {
    for (at, _) in text.match_indices('&') {
        let entity = &text[at..];
        let known = ["&lt;", "&gt;", "&amp;", "&quot;", "&apos;", "&#"];
        assert!(
            known.iter().any(|name| entity.starts_with(name)),
            "{entity}"
        );
    }
}

fn measurement() -> Measurement {
    let mut machine = Machine::describe();
    machine.kernel = Some("6.18.44".to_owned());
    let sysctl = ("net.core.somaxconn".to_owned(), "4096".to_owned());
    machine.sysctls.extend([sysctl]);
    let caches = [(
        "TCP".to_owned(),
        Cache {
            objects: 2_000_000,
            bytes: 2_400_000_000,
        },
    )];
    Measurement {
        dialect: Some("native".to_owned()),
        seconds_total: 187.4,
        seconds: Some(60.0),
        connections: Some(1_000_000),
        rooms: Some(1),
        payload_bytes: Some(10),
        rate_per_s: Some(40.0),
        published: Some(2_400),
        publications_per_s: Some(40.0),
        deliveries: Some(2_394_720_240),
        deliveries_per_s: Some(39_912_004.0),
        writes_per_s: Some(512_345.0),
        received_bytes_per_s: Some(1.04e9),
        lost: Some(0),
        duplicated: Some(0),
        reordered: Some(0),
        corrupted: Some(0),
        skipped: Some(0),
        latency_ms: LatencyMs {
            p50: Some(31.25),
            p90: Some(62.0),
            p99: Some(84.2),
            p999: Some(97.0),
            p9999: Some(121.0),
            max: Some(140.7),
        },
        server: Server {
            name: Some("fanfare".to_owned()),
            version: Some("0.1.0".to_owned()),
            shards: Some(56),
            cpu_cores: Some(1.04),
            rss_bytes: Some(413_000_000),
            user_bytes_per_connection: Some(380.0),
            kernel_bytes_per_connection: Some(3_912.0),
        },
        client: Client {
            cpu_cores: Some(0.81),
            saturated: Some(false),
            rss_bytes: Some(220_000_000),
        },
        host: Some(HostLoad {
            busy_cores: 1.9,
            stolen_cores: 0.02,
        }),
        kernel_growth: Some(KernelMemory {
            slab_bytes: 4_100_000_000,
            other_bytes: 16_000_000,
            caches: caches.into_iter().collect(),
            ..KernelMemory::default()
        }),
        cpu_ns_per_write: Some(5_400.0),
        cpu_ns_per_delivery: Some(26.1),
        floor: Floor {
            cpu_ns_per_write: Some(5_000.0),
            send_cpu_ns_per_write: Some(6_000.0),
        },
        ratio_to_floor: Some(1.08),
        ratio_to_send: Some(0.9),
        throughput: throughput(),
        latency_cdf: distribution(),
        notes: vec!["Warm-up of 5 s left out.".to_owned()],
        ..Measurement::new(
            "seed",
            UNIX_EPOCH + Duration::from_secs(1_767_225_600),
            machine,
        )
    }
}

/// A minute that wavers, and dips once.
fn throughput() -> Vec<Sample> {
    (1..=60)
        .map(|second| {
            let at_s = f64::from(second);
            let dip = if second == 34 { 0.6 } else { 1.0 };
            Sample {
                at_s,
                deliveries_per_s: (40e6 * dip * (1.0 + 0.01 * (at_s * 1.7).sin())).round(),
                writes_per_s: Some((512e3 * dip * (1.0 + 0.06 * (at_s * 0.9).cos())).round()),
            }
        })
        .collect()
}

/// From 0.4 ms, with a tail to some hundred. Six digits, because serde_json reads longer ones back to within the last bit.
fn distribution() -> Vec<(f64, f64)> {
    let steps = (0..160).map(|step| {
        let nines = f64::from(step) / 32.0;
        let six_digits = |value: f64| (value * 1e6).round() / 1e6;
        let ms = 0.4 * 10_f64.powf(nines / 2.0);
        (six_digits(ms), six_digits(1.0 - 10_f64.powf(-nines)))
    });
    steps.chain([(140.7, 1.0)]).collect()
}

/// Three rounds whose ratios are short numbers, for the same reason.
fn comparison() -> Comparison {
    let row = |name: &str, version: &str, dialect: &str, cpu: [f64; 3], coalesced: [f64; 3]| Row {
        name: name.to_owned(),
        version: Some(version.to_owned()),
        dialect: Some(dialect.to_owned()),
        cpu_ns_per_delivery_one_write: Spread::of(&cpu),
        deliveries_per_core_second_coalesced: Spread::of(&coalesced),
        user_bytes_per_connection: Spread::of(&[380.0, 381.0, 379.0]),
        faults: Some(0),
        ..Row::default()
    };
    Comparison {
        seconds_total: 241.0,
        rounds: 3,
        connections: 10_000,
        rooms: 1,
        payload_bytes: 10,
        server_cpus: vec![0],
        rows: vec![
            row(
                "fanfare",
                "0.1.0",
                "native",
                [5_400.0, 5_200.0, 6_000.0],
                [41e6, 40e6, 42e6],
            ),
            row(
                "nats-server",
                "2.10.7",
                "nats",
                [14_850.0, 14_040.0, 16_200.0],
                [4.0e6, 4.0e6, 4.2e6],
            ),
        ],
        absent: vec![Absent {
            name: "Centrifugo".to_owned(),
            why: "not on the path".to_owned(),
        }],
        notes: vec!["Pinned.".to_owned()],
        ..Comparison::new(UNIX_EPOCH, Machine::describe())
    }
    .with_ratios()
}
