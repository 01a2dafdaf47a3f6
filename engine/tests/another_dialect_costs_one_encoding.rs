//! A publication is encoded once for each dialect that is spoken in the room, however many members speak it.

mod support;

use fanfare_engine::{Engine, EngineConfig, Namespaces, RoomOptions};
use support::{
    DIALECTS, Dialect, Member, ask, eventually, open_config, open_rooms, publish, start_scripted,
    stop, total,
};

const ROOM: &str = "room";
const PUBLICATIONS: u64 = 10;
const MEMBERS: usize = 5;

#[test]
fn frames_are_encoded_by_the_dialect_and_not_by_the_member() {
    let engine = start_scripted(config());
    assert_eq!(encoded(&engine), 0, "nobody is there");
    let mut seated = Vec::new();
    for (known, dialect) in (1..).zip(&DIALECTS) {
        let first = join(&engine, dialect);
        assert_eq!(encoded(&engine), known * PUBLICATIONS, "{}", dialect.name);
        let others = (1..MEMBERS).map(|_| join(&engine, dialect));
        seated.push(others.chain([first]).collect::<Vec<_>>());
        assert_eq!(encoded(&engine), known * PUBLICATIONS, "{}", dialect.name);
    }
    // They go as they came: as long as one is left, there is something to encode.
    let mut left = DIALECTS.len() as u64;
    for (dialect, mut members) in DIALECTS.iter().zip(seated).rev() {
        let last = members.pop().expect("as many as joined");
        leave(&engine, members);
        assert_eq!(encoded(&engine), left * PUBLICATIONS, "{}", dialect.name);
        leave(&engine, vec![last]);
        left -= 1;
        assert_eq!(encoded(&engine), left * PUBLICATIONS, "{}", dialect.name);
    }
    stop(engine);
}

fn config() -> EngineConfig {
    let default = RoomOptions {
        delta: true,
        ..open_rooms()
    };
    EngineConfig {
        compression: true,
        namespaces: Namespaces {
            default,
            named: Vec::new(),
        },
        ..open_config(2)
    }
}

/// How many frames so many publications are encoded into.
fn encoded(engine: &Engine) -> u64 {
    let before = total(engine, |it| it.frames_encoded);
    for n in 0..PUBLICATIONS {
        let publication = publish(ROOM, &n.to_string());
        ask(|reply| engine.handle().publish(publication, reply)).expect("it is published");
    }
    total(engine, |it| it.frames_encoded) - before
}

fn members_of(engine: &Engine) -> u64 {
    total(engine, |it| it.members)
}

fn join(engine: &Engine, dialect: &Dialect) -> Box<dyn Member> {
    let before = members_of(engine);
    let member = (dialect.join)(engine.client_addrs()[0], ROOM);
    eventually("it is a member", || members_of(engine) > before);
    member
}

fn leave(engine: &Engine, members: Vec<Box<dyn Member>>) {
    let left = members_of(engine) - members.len() as u64;
    for member in members {
        member.leave();
    }
    eventually("they have left", || members_of(engine) == left);
}
