//! One room with tens of thousands of members, some of which do not read: everyone who reads hears everything exactly
//! once and in order, whoever does not is told so, and the server's memory stays bounded.
#![allow(missing_docs)]

mod crowd_support;
mod support;

use std::time::{Duration, Instant};

use crowd_support::memory::Memory;
use crowd_support::metrics;
use crowd_support::publisher::Publisher;
use fanfare_bench::stamp;
use fanfare_bench::swarm::{Behaviour, Ending, Group, Language, Report, Stage, Swarm};
use support::announce;
use support::server::Server;

/// Longest that any step may take. Nothing is decided by time: a step that is late fails, one that is slow does not.
const PATIENCE: Duration = Duration::from_secs(300);

const ROOM: &str = "crowd";

/// Publications.
const MESSAGES: u64 = 1_000;

/// Bytes of a payload. A frame is 26 bytes longer for native members and about 60 for Centrifuge's.
const PAYLOAD_BYTES: u64 = 240;
const FRAME_BYTES_MIN: u64 = PAYLOAD_BYTES + 26;
const FRAME_BYTES_MAX: u64 = PAYLOAD_BYTES + 80;

/// The room's lanes: the smallest that the configuration allows.
const LANE_BYTES_MAX: u64 = 64 << 10;

/// Publications at once; the next ones are made when everyone who reads has heard them. So nobody who reads is ever
/// further behind than this, which is less than the half of a lane from which on a member counts as slow.
const WINDOW: u64 = 100;
const _: () = assert!(WINDOW * FRAME_BYTES_MAX < LANE_BYTES_MAX / 2);

/// Members of each dialect that never read, and that read one byte at a time.
const SLOW_MEMBERS: u32 = 100;

/// `SO_RCVBUF` of those, of which the kernel makes twice as much.
const SLOW_RECEIVE_BUFFER_BYTES: usize = 16 << 10;

/// What a member that does not read can be sent at most before the room's policy has to act on it: its own buffer, the
/// server's (`limits.unsent_bytes_max`, and one send of up to a lane beyond it), and the lane. The publications are more.
const ABSORBED_BYTES_MAX: u64 =
    2 * SLOW_RECEIVE_BUFFER_BYTES as u64 + (16 << 10) + LANE_BYTES_MAX + LANE_BYTES_MAX;
const _: () = assert!(MESSAGES * FRAME_BYTES_MIN > ABSORBED_BYTES_MAX);

/// What happens to members that are too slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policy {
    Disconnect,
    Skip,
}

#[test]
fn eighteen_thousand_members_hear_everything_and_the_slow_are_disconnected() {
    crowd(18_000, 2, Policy::Disconnect);
}

#[test]
fn forty_thousand_members_hear_everything_and_the_slow_are_told_what_they_missed() {
    crowd(40_000, 4, Policy::Skip);
}

fn crowd(members: u32, shards: u64, policy: Policy) {
    // One crowd at a time: two would share the machine, and the second would say nothing more.
    static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _turn = ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);

    let began = Instant::now();
    let server = Server::start(&config(shards, policy));
    let empty = Memory::of(server.pid());
    let swarm = Swarm::start(server.clients(), groups(members)).expect("threads for the swarm");
    let sleepers = u64::from(2 * SLOW_MEMBERS);
    swarm
        .wait_until("everyone in the room", PATIENCE, |swarm| {
            swarm.total().joined == u64::from(members) && swarm.total().asleep == sleepers
        })
        .unwrap_or_else(|error| panic!("{error}"));
    let joined = began.elapsed();
    let full = Memory::of(server.pid());

    publish_all(&server, &swarm);
    let published = began.elapsed();
    swarm.wake_sleepers();
    swarm
        .wait_until("everyone to be settled", PATIENCE, |swarm| {
            swarm.total().settled == u64::from(members)
        })
        .unwrap_or_else(|error| panic!("{error}"));
    let settled = began.elapsed();
    let peak = Memory::of(server.pid());
    let slow_by_server = match policy {
        Policy::Disconnect => metrics::sum(&server, "fanfare_slow_disconnected_total"),
        Policy::Skip => metrics::sum(&server, "fanfare_slow_skipped_total"),
    };
    let sends = metrics::sum(&server, "fanfare_sends_total");
    let deliveries = metrics::sum(&server, "fanfare_deliveries_total");

    let behaviours: Vec<Behaviour> = swarm.groups().iter().map(|group| group.behaviour).collect();
    let reports = swarm.finish().expect("no crew failed").groups;
    let mut tally = Tally::default();
    for (behaviour, reports) in behaviours.iter().zip(&reports) {
        for report in reports {
            match behaviour {
                Behaviour::Reads => assert_heard_everything(report),
                _ => tally.count(report, policy),
            }
        }
    }
    let bound = memory_bound(&empty, u64::from(members), shards);
    announce(&format!(
        "crowd of {members} on {shards} shards, {policy:?}: joined after {joined:.1?}, {MESSAGES} publications heard after \
         {published:.1?}, the slow settled after {settled:.1?}; {deliveries} deliveries in {sends} sends\n  \
         the slow: {tally:?}; the server counted {slow_by_server}\n  \
         memory empty: {empty}\n  memory full:  {full}\n  memory after: {peak}\n  bound for the peak: {} KiB",
        bound / 1024
    ));
    assert!(peak.peak <= bound, "{peak}, which is above {bound} bytes");
    // Who never reads cannot have been sent everything: see `ABSORBED_BYTES_MAX`.
    assert!(tally.slow() >= sleepers, "{tally:?}");
    assert!(
        slow_by_server + tally.broken >= tally.slow(),
        "the server counted {slow_by_server} slow members: {tally:?}"
    );
}

fn config(shards: u64, policy: Policy) -> String {
    let policy = match policy {
        Policy::Disconnect => "disconnect",
        Policy::Skip => "skip",
    };
    // Pings and deadlines that would end those who do not read are far away: here the room's policy is to do it. The
    // server waits for them to take its last words until they are woken.
    format!(
        r#"
        client.allow_anonymous = true
        api.payload_bytes_max = 32768
        engine.shards = {shards}

        [limits]
        message_bytes_max = 32768
        ping_interval = "1h"
        close_timeout = "5m"

        [rooms]
        subscribe = "everyone"
        history_size = 1
        history_ttl = "1h"
        slow_policy = "{policy}"
        lane_bytes_max = {LANE_BYTES_MAX}
        "#
    )
}

fn groups(members: u32) -> Vec<Group> {
    let mut groups = Vec::new();
    for language in [Language::Native, Language::CentrifugeJson] {
        let group = |members, behaviour, receive_buffer_bytes| Group {
            behaviour,
            receive_buffer_bytes,
            last_number: Some(MESSAGES),
            ..Group::anonymous(members, language, ROOM)
        };
        let small = Some(SLOW_RECEIVE_BUFFER_BYTES);
        groups.push(group(
            members / 2 - 2 * SLOW_MEMBERS,
            Behaviour::Reads,
            None,
        ));
        groups.push(group(SLOW_MEMBERS, Behaviour::NeverReads, small));
        groups.push(group(SLOW_MEMBERS, Behaviour::OneByteAtATime, small));
    }
    groups
}

/// Publishes everything, a window at a time.
fn publish_all(server: &Server, swarm: &Swarm) {
    let readers: u64 = swarm
        .groups()
        .iter()
        .filter(|group| group.behaviour == Behaviour::Reads)
        .map(|group| u64::from(group.members))
        .sum();
    let payload_bytes = usize::try_from(PAYLOAD_BYTES).expect("small");
    let mut publisher = Publisher::connect(server);
    for window in 0..MESSAGES / WINDOW {
        let numbers = window * WINDOW + 1..=(window + 1) * WINDOW;
        let payloads: Vec<String> = numbers
            .clone()
            .map(|number| stamp::payload(number, payload_bytes))
            .collect();
        let answers = publisher.publish(ROOM, &payloads);
        let offsets: Vec<u64> = answers.iter().map(|&(offset, _)| offset).collect();
        assert_eq!(offsets, numbers.clone().collect::<Vec<_>>());
        assert!(
            answers
                .iter()
                .all(|&(_, members)| u64::from(members) >= readers)
        );
        swarm
            .wait_until(&format!("publications {numbers:?}"), PATIENCE, |swarm| {
                swarm.counts(Behaviour::Reads).publications >= readers * numbers.end()
            })
            .unwrap_or_else(|error| panic!("{error}"));
    }
}

fn assert_heard_everything(report: &Report) {
    let ledger = report.ledger;
    assert!(ledger.is_faithful(), "{report:?}");
    assert_eq!(
        (ledger.received, ledger.first, ledger.last, ledger.gaps),
        (MESSAGES, 1, MESSAGES, 0),
        "{report:?}"
    );
    assert_eq!(
        (report.stage, &report.ending),
        (Stage::Joined, &None),
        "{report:?}"
    );
}

/// What became of slow members; every one of these is known to its client.
#[derive(Debug, Default)]
struct Tally {
    /// Heard everything after all.
    heard_everything: u64,
    /// Were told which publications they missed.
    told_of_gaps: u64,
    /// Were taken out of the room with the code upon which a client recovers.
    told_to_recover: u64,
    /// Were disconnected as slow.
    disconnected: u64,
    /// The kernel gave their connection up, its peer having taken nothing for half a minute.
    broken: u64,
}

impl Tally {
    fn count(&mut self, report: &Report, policy: Policy) {
        const SLOW: u16 = 3008;
        const INSUFFICIENT_STATE: u16 = 2500;
        // errno(3), on Linux.
        const TIMED_OUT: i32 = 110;
        const RESET: i32 = 104;
        let ledger = report.ledger;
        assert!(ledger.is_faithful(), "{report:?}");
        assert_eq!(
            ledger.received + ledger.skipped,
            ledger.last,
            "each is heard or announced, up to where it got: {report:?}"
        );
        match (&report.stage, &report.disconnected, &report.ending) {
            (Stage::Joined, None, None) if ledger.last == MESSAGES => {
                assert!(ledger.gaps == 0 || policy == Policy::Skip, "{report:?}");
                if ledger.gaps == 0 {
                    self.heard_everything += 1;
                } else {
                    self.told_of_gaps += 1;
                }
            }
            (Stage::Unsubscribed(INSUFFICIENT_STATE), None, None) if policy == Policy::Skip => {
                self.told_to_recover += 1;
            }
            (Stage::Joined, Some(Some(SLOW)), Some(Ending::Closed))
                if policy == Policy::Disconnect =>
            {
                self.disconnected += 1;
            }
            (_, _, Some(Ending::Broken(TIMED_OUT | RESET))) => self.broken += 1,
            _ => panic!("neither all, nor a gap, nor a code: {report:?}"),
        }
    }

    fn slow(&self) -> u64 {
        self.told_of_gaps + self.told_to_recover + self.disconnected + self.broken
    }
}

/// What the server's memory may have been at its highest, in bytes.
fn memory_bound(empty: &Memory, members: u64, shards: u64) -> u64 {
    /// The budget of an idle connection, and as much again for what exists while it opens and what a stalled one has
    /// waiting: the end of a frame and its last words.
    const PER_CONNECTION: u64 = 2 * 400;
    /// A lane is a vector that grows by doubling and is copied as it does.
    const LANE: u64 = 3 * LANE_BYTES_MAX;
    /// Lanes in use on each shard: the room's for two dialects.
    const LANES: u64 = 2;
    /// Per shard: the direct output kept between turns (1 MiB, and as much while it grows), the receive buffers (256 of
    /// 4 KiB, which become resident as they are used), and what the allocator keeps for the next time.
    const SHARD: u64 = (2 << 20) + (1 << 20) + (2 << 20);
    /// The control API, which was not asked anything before.
    const CONTROL: u64 = 4 << 20;
    empty.resident + members * PER_CONNECTION + shards * (LANES * LANE + SHARD) + CONTROL
}
