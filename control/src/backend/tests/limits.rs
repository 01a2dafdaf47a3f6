//! How much may be asked at once, and answers that find their shard's inbox full.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::response::IntoResponse;
use fanfare_engine::backend::{Answerer, Backend, Question, Refused, RpcAsk};
use tokio::sync::watch;

use super::support::{FakeBackend, Shard, caller, eventually};
use crate::backend::{Event, Outcome};

#[derive(Default)]
struct Tally {
    answered: AtomicUsize,
    unreachable: AtomicUsize,
}

impl Tally {
    fn total(&self) -> usize {
        self.answered.load(Ordering::SeqCst) + self.unreachable.load(Ordering::SeqCst)
    }
}

fn ask(shard: &Shard, tally: &Arc<Tally>, mut is_full: impl FnMut() -> bool + Send + 'static) {
    let tally = Arc::clone(tally);
    let answerer = Answerer::new(move |answer| {
        if is_full() {
            return Err(answer);
        }
        match answer {
            Ok(_) => tally.answered.fetch_add(1, Ordering::SeqCst),
            Err(refused) => {
                assert_eq!(refused, Refused::Unreachable);
                tally.unreachable.fetch_add(1, Ordering::SeqCst)
            }
        };
        Ok(())
    });
    let ask = RpcAsk::default();
    shard.webhooks.ask(Question::Rpc(caller(), ask, answerer));
}

/// A backend that holds its answers back until it is told to go, and the most that it held.
fn holding() -> (FakeBackend, watch::Sender<bool>, Arc<AtomicUsize>) {
    let (go, going) = watch::channel(false);
    let (held, most) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let maximum = Arc::clone(&most);
    let backend = FakeBackend::start(move |_| {
        let (mut going, held, most) = (going.clone(), Arc::clone(&held), Arc::clone(&maximum));
        Box::pin(async move {
            most.fetch_max(held.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            drop(going.wait_for(|go| *go).await);
            held.fetch_sub(1, Ordering::SeqCst);
            "{}".into_response()
        })
    });
    (backend, go, most)
}

#[test]
fn of_ten_thousand_questions_a_hundred_are_asked_and_the_rest_refused_at_once() {
    let (backend, go, most) = holding();
    let shard = Shard::new(&backend.url(), "under_way_max = 100\n");
    let counters = shard.counters();
    let tally = Arc::<Tally>::default();
    for _ in 0..10_000 {
        ask(&shard, &tally, || false);
    }
    // The backend has answered nothing: these were refused before `ask` returned.
    assert_eq!(tally.unreachable.load(Ordering::SeqCst), 9_900);
    assert_eq!(tally.answered.load(Ordering::SeqCst), 0);
    assert_eq!(counters.asked(Event::Rpc), 10_000);
    assert_eq!(counters.ended(Event::Rpc, Outcome::TooMany), 9_900);
    assert_eq!(counters.under_way(Event::Rpc), 100);
    eventually("the backend has all of them", || {
        most.load(Ordering::SeqCst) == 100
    });
    // Nor does it help to ask once more now that all of them have left.
    for _ in 0..1_000 {
        ask(&shard, &tally, || false);
    }
    assert_eq!(tally.unreachable.load(Ordering::SeqCst), 10_900);
    assert_eq!(counters.under_way(Event::Rpc), 100);

    go.send_replace(true);
    eventually("all are answered", || tally.total() == 11_000);
    assert_eq!(tally.answered.load(Ordering::SeqCst), 100);
    assert_eq!(counters.ended(Event::Rpc, Outcome::Answered), 100);
    assert_eq!(counters.under_way(Event::Rpc), 0);
    assert_eq!(most.load(Ordering::SeqCst), 100);
    assert_eq!(backend.seen().len(), 100);

    // Places are free again, and as many as before.
    eventually("places are free", || {
        let before = tally.answered.load(Ordering::SeqCst);
        for _ in 0..100 {
            ask(&shard, &tally, || false);
        }
        eventually("all are answered", || counters.under_way(Event::Rpc) == 0);
        tally.answered.load(Ordering::SeqCst) == before + 100
    });
}

#[test]
fn connections_are_used_again() {
    let backend = FakeBackend::saying(200, "{}");
    let shard = Shard::new(&backend.url(), "");
    for _ in 0..200 {
        shard.rpc(b"1").expect("an answer");
    }
    assert_eq!(backend.seen().len(), 200);
    assert_eq!(backend.connections(), 1);
}

#[test]
fn connections_are_used_again_after_a_status_that_is_no_answer() {
    let backend = FakeBackend::saying(403, "no");
    let shard = Shard::new(&backend.url(), "");
    for _ in 0..50 {
        shard.rpc(b"1").expect_err("403");
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn idle_connections_are_bounded() {
    let (backend, go, most) = holding();
    let more = "idle_connections_max = 2\n";
    let shard = Shard::new(&backend.url(), more);
    let tally = Arc::<Tally>::default();
    let round = |count: usize| {
        let before = tally.total();
        for _ in 0..count {
            ask(&shard, &tally, || false);
        }
        before + count
    };
    let all = round(20);
    eventually("the backend has all of them", || {
        most.load(Ordering::SeqCst) == 20
    });
    go.send_replace(true);
    eventually("all are answered", || tally.total() == all);
    assert_eq!(backend.connections(), 20);
    // Of the twenty two were kept, so of three at once at least one needs another.
    go.send_replace(false);
    let all = round(3);
    eventually("the backend has them", || backend.seen().len() == 23);
    assert!(backend.connections() > 20, "{}", backend.connections());
    go.send_replace(true);
    eventually("all are answered", || tally.total() == all);
}

#[test]
fn a_full_inbox_delays_answers_and_loses_none() {
    let backend = FakeBackend::saying(200, "{}");
    let shard = Shard::new(&backend.url(), "");
    let tally = Arc::<Tally>::default();
    for _ in 0..200 {
        let mut refusals_left = 5;
        ask(&shard, &tally, move || {
            let is_full = refusals_left > 0;
            refusals_left -= i32::from(is_full);
            is_full
        });
    }
    eventually("all are answered", || tally.total() == 200);
    assert_eq!(tally.answered.load(Ordering::SeqCst), 200);
    assert_eq!(shard.counters().retries(), 1_000);
}

#[test]
fn an_answer_that_waits_for_its_inbox_keeps_its_place() {
    let backend = FakeBackend::saying(200, "{}");
    let shard = Shard::new(&backend.url(), "under_way_max = 1\n");
    let tally = Arc::<Tally>::default();
    let is_full = Arc::new(AtomicBool::new(true));
    let full = Arc::clone(&is_full);
    ask(&shard, &tally, move || full.load(Ordering::SeqCst));
    eventually("the answer waits", || shard.counters().retries() > 3);
    // This one is refused, and the refusal waits as well.
    let full = Arc::clone(&is_full);
    ask(&shard, &tally, move || full.load(Ordering::SeqCst));
    assert_eq!(shard.ended(Event::Rpc, Outcome::TooMany), 1);
    assert_eq!(tally.total(), 0);
    is_full.store(false, Ordering::SeqCst);
    eventually("both arrive", || tally.total() == 2);
    assert_eq!(tally.answered.load(Ordering::SeqCst), 1);
}

#[test]
fn one_full_shard_does_not_hold_up_another() {
    let backend = FakeBackend::saying(200, "{}");
    let shard = Shard::new(&backend.url(), "");
    let stuck = Arc::<Tally>::default();
    let is_full = Arc::new(Mutex::new(true));
    for _ in 0..100 {
        let full = Arc::clone(&is_full);
        ask(&shard, &stuck, move || *full.lock().expect("no panic"));
    }
    let free = Arc::<Tally>::default();
    for _ in 0..100 {
        ask(&shard, &free, || false);
    }
    eventually("the others are answered", || free.total() == 100);
    assert_eq!(stuck.total(), 0);
    *is_full.lock().expect("no panic") = false;
    eventually("these too", || stuck.total() == 100);
}
