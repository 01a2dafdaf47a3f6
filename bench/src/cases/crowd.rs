//! The crowd of a case: members in their rooms, and what is published to them.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fanfare_bench::progress::Progress;
use fanfare_bench::stamp;
use fanfare_bench::swarm::{Group, Identity, Language, Schedule, Swarm};

use super::Failure;

/// Longest that a million connections may take.
const CONNECT_MAX: Duration = Duration::from_secs(300);

/// The name of the `index`-th room.
pub(crate) fn room_name(index: u64) -> String {
    format!("bench-{index}")
}

/// Members that read, the `m`-th in room `m % rooms`.
pub(crate) fn readers(
    members: u32,
    rooms: u32,
    language: Language,
    schedule: Option<Arc<Schedule>>,
) -> Group {
    let names: Vec<Arc<str>> = (0..u64::from(rooms))
        .map(|room| room_name(room).into())
        .collect();
    Group {
        identity: Arc::new(move |member| Identity {
            token: String::new(),
            room: Arc::clone(&names[(member % rooms) as usize]),
        }),
        schedule,
        ..Group::anonymous(members, language, "")
    }
}

/// Waits until everyone is in their rooms.
pub(crate) fn await_joined(
    swarm: &Swarm,
    members: u32,
    progress: &mut Progress,
) -> Result<Duration, Failure> {
    progress.phase("connect");
    let began = Instant::now();
    let progress = RefCell::new(progress);
    swarm.wait_until("everyone in their rooms", CONNECT_MAX, |swarm| {
        let total = swarm.total();
        progress.borrow_mut().update(|| {
            let each = began.elapsed().as_secs_f64().max(0.001);
            format!(
                "{} of {members} in their rooms, {:.0}/s",
                total.joined,
                total.joined as f64 / each
            )
        });
        total.joined + total.ended >= u64::from(members)
    })?;
    let joined = swarm.total().joined;
    if joined < u64::from(members) {
        return Err(Failure::NotAllJoined { joined, members });
    }
    Ok(began.elapsed())
}

/// Payloads that are published to a server whose members speak this: with a number where the protocol has none.
pub(crate) fn payloads(
    language: Language,
    bytes: u32,
) -> impl Fn(u64) -> Vec<u8> + Send + Clone + 'static {
    let has_offsets = matches!(language, Language::Native | Language::NativeWebSocket);
    move |number| match bytes {
        0..=10 if has_offsets => br#"{"test":1}"#.to_vec(),
        0..=10 => stamp::short(number).to_vec(),
        bytes => stamp::payload(number, bytes as usize).into_bytes(),
    }
}
