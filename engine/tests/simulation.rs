//! Whole engines in simulated worlds: what must always hold does, for every seed.
//!
//! `FANFARE_SIM_SEEDS=10000` runs so many seeds; `FANFARE_SIM_SEED=42` runs one, and prints every event.

#![cfg(feature = "sim")]

mod sim;

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use fanfare_engine::harness::Sabotage;
use fanfare_engine::ring::sim::Fault;
use sim::run::{Options, Report, run};

/// Seeds of an ordinary test run; CI runs more.
const SEEDS: u64 = 300;

/// Seeds within which every sabotage must be caught.
const SABOTAGE_SEEDS: u64 = 300;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is a number of or for seeds, not {text:?}")),
    )
}

/// Runs a seed; what panics is a violation too.
fn attempt(seed: u64, options: Options) -> Result<Report, String> {
    catch_unwind(AssertUnwindSafe(|| run(seed, options))).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!("panicked: {}", text.unwrap_or("without a message")))
    })
}

#[test]
fn every_seed_keeps_its_promises() {
    if let Some(seed) = number("FANFARE_SIM_SEED") {
        let result = attempt(
            seed,
            Options {
                prints: true,
                ..Options::default()
            },
        );
        println!("seed {seed}: {result:?}");
        return assert!(result.is_ok());
    }
    let seeds = number("FANFARE_SIM_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(0);
    let total = Mutex::new(Report::default());
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    match attempt(seed, Options::default()) {
                        Ok(report) => total.lock().expect("nobody panics with it").add(&report),
                        Err(violation) => failures
                            .lock()
                            .expect("nobody panics with it")
                            .push((seed, violation)),
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("all threads have ended");
    for (seed, violation) in &failures {
        eprintln!(
            "seed {seed}: {violation}\n  replay: FANFARE_SIM_SEED={seed} cargo test -p fanfare-engine --features sim --test simulation every_seed"
        );
    }
    let total = total.into_inner().expect("all threads have ended");
    // Past the test runner's capture: the count is part of the result.
    let count = format!(
        "{seeds} seeds were run, {} failed: {total:?}",
        failures.len()
    );
    let _ = writeln!(std::io::stderr(), "{count}");
    assert!(
        failures.is_empty(),
        "{} of {seeds} seeds failed",
        failures.len()
    );
    assert_reach(&total);
}

/// The runs did come by what they are to test.
fn assert_reach(total: &Report) {
    for fault in Fault::ALL {
        assert!(total.faults[fault as usize] > 0, "{fault:?} never happened");
    }
    let rare = [
        ("recovery", total.recoveries),
        ("failed recovery", total.recoveries_failed),
        ("gap", total.gaps),
        ("slow disconnect", total.slow_disconnected),
        ("full inbox", total.inbox_full),
    ];
    for (what, count) in rare {
        assert!(count > 0, "no {what} ever happened");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..20 {
        let digest = || attempt(seed, Options::default()).map(|report| report.digest);
        assert_eq!(digest(), digest(), "seed {seed}");
    }
}

#[test]
fn every_sabotage_is_caught() {
    for sabotage in [
        Sabotage::ForgetShortSends,
        Sabotage::ForgetReturning,
        Sabotage::DropDeliveries,
        Sabotage::JoinBehind,
        Sabotage::SkipSilently,
        Sabotage::ForgetLeave,
    ] {
        let caught = (0..SABOTAGE_SEEDS).find_map(|seed| {
            let options = Options {
                sabotage: Some(sabotage),
                ..Options::default()
            };
            attempt(seed, options)
                .err()
                .map(|violation| (seed, violation))
        });
        let Some((seed, violation)) = caught else {
            panic!("{sabotage:?} went unnoticed in {SABOTAGE_SEEDS} seeds")
        };
        println!("{sabotage:?} is caught by seed {seed}: {violation}");
    }
}
