//! Every server that is measured is first one that works: it starts, its members hear all there is, once and in order, and
//! nothing of it stays behind.
//!
//! A server that is not on this machine is skipped, loudly. With `CI` set the ones that `.ci/setup` installs and those of
//! this workspace are to be there.
#![allow(missing_docs)]

mod support;

use std::path::Path;
use std::thread;
use std::time::Duration;

use fanfare_bench::servers::{Contestant, Publisher, Running, Spec, contestants};
use fanfare_bench::stamp;
use fanfare_bench::swarm::{Group, Stage, Swarm};
use support::{announce, skip, skip_optional};

/// Longest that anything may take; all of it takes a second.
const PATIENCE: Duration = Duration::from_secs(60);

const ROOMS: [&str; 2] = ["red", "blue"];
const MEMBERS_PER_ROOM: u32 = 25;
const MESSAGES: u64 = 300;
const PAYLOAD_BYTES: usize = 64;

macro_rules! contestants {
    ($($test:ident: $name:literal $presence:ident,)+) => {
        $(#[test] fn $test() { works($name, Presence::$presence); })+

        #[test]
        fn every_contestant_is_tested() {
            let names: Vec<String> = contestants().iter().map(|one| one.name().to_owned()).collect();
            assert_eq!(names, [$($name),+]);
        }
    };
}

contestants! {
    fanfare: "fanfare" Expected,
    fanfare_web_socket: "fanfare-websocket" Expected,
    fanfare_centrifuge: "fanfare-centrifuge" Expected,
    baseline_tokio: "baseline-tokio" Expected,
    baseline_tokio_uring: "baseline-tokio-uring" Expected,
    baseline_glommio: "baseline-glommio" Expected,
    nchan: "nchan" Expected,
    nats_server: "nats-server" Expected,
    mosquitto: "mosquitto" Expected,
    centrifugo: "centrifugo" Optional,
    uwebsockets: "uwebsockets" Optional,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    /// Built here, or installed by `.ci/setup`.
    Expected,
    Optional,
}

fn works(name: &str, presence: Presence) {
    let all = contestants();
    let contestant = all
        .iter()
        .find(|one| one.name() == name)
        .expect("it is one of them");
    let version = match contestant.find() {
        Ok(version) => version,
        Err(missing) => {
            let why = missing.to_string();
            return match presence {
                Presence::Expected => skip(name, &why),
                Presence::Optional => skip_optional(name, &why),
            };
        }
    };
    assert!(
        version.starts_with(|first: char| first.is_ascii_digit()),
        "{name} has the version {version:?}"
    );
    announce(&format!("{name} {version}"));

    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = start(contestant.as_ref(), folder.path());
    assert_eq!(server.name, name);
    hears_everything(&server);

    let pids = server.pids.clone();
    assert!(!pids.is_empty() && pids.iter().all(|&pid| is_there(pid)));
    drop(server);
    let left: Vec<u32> = pids.into_iter().filter(|&pid| is_there(pid)).collect();
    assert!(left.is_empty(), "{name} leaves {left:?} behind");
}

fn start(contestant: &dyn Contestant, folder: &Path) -> Running {
    let spec = Spec {
        cpus: vec![0],
        members: MEMBERS_PER_ROOM * 2,
        rooms: 2,
        shards: None,
        directory: folder.to_owned(),
        payload_bytes: 64,
    };
    let server = contestant.start(&spec);
    let server = server.unwrap_or_else(|error| panic!("{error}"));
    for &pid in &server.pids {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        assert!(
            status.contains("Cpus_allowed_list:\t0\n"),
            "{pid} is not pinned: {status}"
        );
    }
    server
}

fn hears_everything(server: &Running) {
    let groups = ROOMS.map(|room| Group {
        last_number: Some(MESSAGES),
        ..Group::anonymous(MEMBERS_PER_ROOM, server.language, room)
    });
    let members = u64::from(MEMBERS_PER_ROOM) * 2;
    let swarm = Swarm::start(server.clients, groups.into()).expect("threads");
    let joined = swarm.wait_until("all members", PATIENCE, |swarm| {
        swarm.total().joined == members
    });
    joined.unwrap_or_else(|error| panic!("{error}\n{}\n{:?}", server.log(), server));

    // In pieces of all sizes, so that the rooms take turns.
    let mut publisher = server.publisher().expect("the server accepts it");
    for room in ROOMS {
        publish(publisher.as_mut(), room, 1..201);
    }
    for number in 201..=MESSAGES {
        for room in ROOMS {
            let offered = publisher.offer(room, &[payload(number)]);
            offered.unwrap_or_else(|error| panic!("{error}\n{}", server.log()));
        }
    }
    let done = publisher.settle();
    done.unwrap_or_else(|error| panic!("{error}\n{}", server.log()));
    let settled = swarm.wait_until("all publications", PATIENCE, |swarm| {
        swarm.total().settled == members
    });
    settled.unwrap_or_else(|error| panic!("{error}\n{}", server.log()));

    // A publisher that has been silent still can; and what would have come twice has come before these.
    thread::sleep(Duration::from_secs(6));
    for room in ROOMS {
        publish(publisher.as_mut(), room, MESSAGES + 1..MESSAGES + 2);
    }
    let after = swarm.wait_until("one more", PATIENCE, |swarm| {
        swarm.total().publications >= members * (MESSAGES + 1)
    });
    after.unwrap_or_else(|error| panic!("{error}\n{}", server.log()));

    let total = swarm.total();
    for report in swarm.finish().expect("no crew failed").groups.concat() {
        let ledger = report.ledger;
        assert!(ledger.is_faithful(), "{report:?}");
        assert_eq!(
            (ledger.received, ledger.first, ledger.last),
            (MESSAGES + 1, 1, MESSAGES + 1),
            "{report:?}"
        );
        assert_eq!((report.stage, report.ending), (Stage::Joined, None));
    }
    assert_eq!(total.publications, members * (MESSAGES + 1), "{total:?}");
}

fn publish(publisher: &mut dyn Publisher, room: &str, numbers: std::ops::Range<u64>) {
    let payloads: Vec<Vec<u8>> = numbers.map(payload).collect();
    let published = publisher.publish(room, &payloads);
    published.unwrap_or_else(|error| panic!("{error}"));
}

fn payload(number: u64) -> Vec<u8> {
    stamp::payload(number, PAYLOAD_BYTES).into_bytes()
}

fn is_there(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}
