//! Joining and leaving, from the client's frame to the answer: room table, home, lane.
//!
//! 64 clients at once join and then leave. Throughput is in pairs of a join and a leave.
#![allow(missing_docs)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fanfare_engine::bench::{Client, Dialect, Rig};

const AT_ONCE: u32 = 64;

/// Who stays in the room that has members.
const MEMBERS: u32 = 1_000;

fn join_and_leave(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("join and leave");
    group.throughput(Throughput::Elements(u64::from(AT_ONCE)));
    for dialect in [Dialect::Native, Dialect::Centrifuge] {
        let mut rig = Rig::new(1, MEMBERS + AT_ONCE);
        rig.crowd(0, dialect, "room", MEMBERS);
        let clients: Vec<Client> = (0..AT_ONCE).map(|_| rig.connect(0, dialect)).collect();

        let joining = moves(dialect, &clients, |_| "room".to_owned());
        group.bench_function(format!("{dialect:?}, a room with members"), |bencher| {
            bencher.iter(|| make(&mut rig, &joining));
        });
        let empty = moves(dialect, &clients, |number| format!("room-{number}"));
        group.bench_function(format!("{dialect:?}, each an empty room"), |bencher| {
            bencher.iter(|| make(&mut rig, &empty));
        });
    }
    group.finish();
}

/// Per client, the bytes with which it joins and leaves.
type Moves = Vec<(Client, Vec<u8>, Vec<u8>)>;

fn moves(dialect: Dialect, clients: &[Client], room: impl Fn(usize) -> String) -> Moves {
    let of = |(number, &client): (usize, &Client)| {
        let room = room(number);
        (client, dialect.join(&room), dialect.leave(&room))
    };
    clients.iter().enumerate().map(of).collect()
}

fn make(rig: &mut Rig, moves: &Moves) {
    for (client, join, _) in moves {
        rig.receive(*client, join);
    }
    rig.run(0);
    for (client, _, leave) in moves {
        rig.receive(*client, leave);
    }
    rig.run(0);
}

criterion_group!(benches, join_and_leave);
criterion_main!(benches);
