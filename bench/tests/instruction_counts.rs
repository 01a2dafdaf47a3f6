//! Instructions per delivery, publication, frame: a regression shows in them on machines where times say little.
//!
//! `engine/examples/instructions.rs`, built as a release is, runs under callgrind twice with different numbers of
//! repetitions, and the difference is divided by the units between them. What it should be is in
//! `bench/instructions.json`; a gain has to be recorded there too, or the next loss would hide in it.
#![allow(missing_docs, clippy::expect_used)]

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use support::{announce, skip};

const NAME: &str = "instruction_counts";

/// Set, it records what is counted.
const UPDATE: &str = "FANFARE_UPDATE_INSTRUCTIONS";

/// Units between the two runs: enough that hash seeds, which differ from run to run, do not show.
const UNITS: u32 = 40_000;

/// Repetitions of the shorter run.
const REPETITIONS_MIN: u32 = 2;

#[derive(Debug, Serialize, Deserialize)]
struct Recorded {
    /// The compiler that the counts are of.
    compiler: String,
    /// How far a count may be from the recorded one, in either direction, as a part of it.
    tolerance: f64,
    /// By scenario.
    instructions: BTreeMap<String, Count>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Count {
    per: String,
    instructions: f64,
}

#[test]
fn instruction_counts_are_as_recorded() {
    if cfg!(not(target_arch = "x86_64")) {
        return skip(NAME, "the recorded instructions are of x86_64");
    }
    let has_valgrind = Command::new("valgrind")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    if !has_valgrind.is_ok_and(|status| status.success()) {
        return skip(
            NAME,
            "valgrind is not installed; `.ci/setup` installs it or says how",
        );
    }
    let program = build();
    let counted: BTreeMap<String, Count> = scenarios(&program)
        .into_iter()
        .map(|scenario| {
            let instructions = scenario.count(&program);
            let per = scenario.per;
            (scenario.name, Count { per, instructions })
        })
        .collect();

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.json");
    let text = std::fs::read_to_string(&path).expect("instructions.json is part of the project");
    let recorded: Recorded = serde_json::from_str(&text).expect("as this test writes it");
    if std::env::var_os(UPDATE).is_some() {
        let recorded = Recorded {
            compiler: compiler(),
            tolerance: recorded.tolerance,
            instructions: counted,
        };
        let text = serde_json::to_string_pretty(&recorded).expect("plain fields");
        std::fs::write(&path, text + "\n").expect("the project can be written to");
        return;
    }
    let table = differences(&recorded, &counted);
    announce(&table.text);
    assert!(
        table.is_within_tolerance,
        "\n{}\nIf this is as intended, record it: {UPDATE}=1 cargo test -p fanfare-bench --test instruction_counts\n\
         Recorded with {}, this is {}.\n",
        table.text,
        recorded.compiler,
        compiler()
    );
}

struct Table {
    text: String,
    is_within_tolerance: bool,
}

fn differences(recorded: &Recorded, counted: &BTreeMap<String, Count>) -> Table {
    let mut table = Table {
        text: String::new(),
        is_within_tolerance: recorded.instructions.keys().eq(counted.keys()),
    };
    for (name, Count { per, instructions }) in counted {
        let Some(was) = recorded.instructions.get(name) else {
            table.text += &format!("! {name:36} {instructions:9.1} a {per}, not recorded\n");
            continue;
        };
        let change = instructions / was.instructions - 1.0;
        let is_within = change.abs() <= recorded.tolerance;
        table.is_within_tolerance &= is_within;
        let mark = if is_within { ' ' } else { '!' };
        table.text += &format!(
            "{mark} {name:36} {instructions:9.1} a {per}, recorded {:.1} ({:+.1} %)\n",
            was.instructions,
            change * 100.0
        );
    }
    for name in recorded.instructions.keys() {
        if !counted.contains_key(name) {
            table.text += &format!("! {name:36} is recorded, and there is no such scenario\n");
        }
    }
    table
}

struct Scenario {
    name: String,
    units: u32,
    per: String,
}

impl Scenario {
    /// Instructions per unit, to a tenth.
    fn count(&self, program: &Path) -> f64 {
        let repetitions = (UNITS / self.units).max(4);
        let short = self.instructions(program, REPETITIONS_MIN);
        let long = self.instructions(program, REPETITIONS_MIN + repetitions);
        let per_unit = (long - short) / f64::from(repetitions * self.units);
        (per_unit * 10.0).round() / 10.0
    }

    /// Instructions of a whole run.
    fn instructions(&self, program: &Path, repetitions: u32) -> f64 {
        let output = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(program)
            .args([&self.name, &repetitions.to_string()])
            .output()
            .expect("valgrind was there a moment ago");
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {log}", self.name);
        log.lines()
            .find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok())
            .unwrap_or_else(|| panic!("callgrind said how many instructions it saw: {log}"))
    }
}

fn scenarios(program: &Path) -> Vec<Scenario> {
    let output = Command::new(program).output().expect("it was just built");
    let parse = |line: &str| {
        let mut words = line.splitn(3, ' ');
        Some(Scenario {
            name: words.next()?.to_owned(),
            units: words.next()?.parse().ok()?,
            per: words.next()?.to_owned(),
        })
    };
    let scenarios: Vec<_> = succeeded(output).lines().filter_map(parse).collect();
    assert!(!scenarios.is_empty(), "it has scenarios");
    scenarios
}

/// Builds the program as a release is built: half a minute the first time.
fn build() -> PathBuf {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--release", "--locked", "--package=fanfare-engine"])
        .args(["--features=bench", "--example=instructions"])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo runs this test");
    succeeded(output)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == "instructions")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .expect("cargo says where it put the program")
}

fn compiler() -> String {
    let output = Command::new("rustc").arg("--version").output();
    succeeded(output.expect("there is a compiler"))
        .trim()
        .to_owned()
}

fn succeeded(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}
