//! What a service of goim does, and engines for its clients.

use bytes::Bytes;
use fanfare_engine::api::{Message, Payload, UserConnections};
use fanfare_engine::{Access, Engine, EngineConfig, Goim, Namespaces, RoomOptions};

use super::{ask, eventually, open_config, open_rooms, publish};

/// Everyone may do everything in rooms of these types.
pub fn goim_config(shards: u16) -> EngineConfig {
    let named = ["live", "test"].map(|it| (it.into(), open_rooms()));
    EngineConfig {
        namespaces: Namespaces {
            default: open_rooms(),
            named: named.into(),
        },
        ..open_config(shards)
    }
}

/// Clients are whoever they say they are, in rooms for which nobody has a right.
pub fn trusting_config(shards: u16) -> EngineConfig {
    let closed = || RoomOptions {
        subscribe: Access::Grant,
        ..open_rooms()
    };
    let named = ["live", "test"].map(|it| (it.into(), closed()));
    EngineConfig {
        allow_anonymous: false,
        namespaces: Namespaces {
            default: closed(),
            named: named.into(),
        },
        goim: Goim {
            trust_clients: true,
            ..Goim::default()
        },
        ..open_config(shards)
    }
}

pub fn payload(text: &str) -> Payload {
    Payload {
        bytes: Bytes::copy_from_slice(text.as_bytes()),
        is_json: false,
    }
}

/// A message with an operation.
pub fn message(operation: i32, text: &str) -> Message {
    Message::new(payload(text), Some(operation))
}

fn names(names: &[&str]) -> Vec<Box<str>> {
    names.iter().map(|&name| name.into()).collect()
}

pub fn push_keys(engine: &Engine, keys: &[&str], operation: i32, text: &str) -> u32 {
    let message = message(operation, text);
    ask(|reply| engine.handle().push_keys(names(keys), message, reply)).expect("pushed")
}

pub fn push_users(engine: &Engine, users: &[&str], operation: i32, text: &str) -> u32 {
    let message = message(operation, text);
    ask(|reply| engine.handle().push_users(names(users), message, reply)).expect("pushed")
}

pub fn push_all(engine: &Engine, operation: i32, text: &str) -> u32 {
    let message = message(operation, text);
    ask(|reply| engine.handle().push_all(message, reply)).expect("pushed")
}

/// To a room; how many members it has.
pub fn push_room(engine: &Engine, room: &str, operation: i32, text: &str) -> u32 {
    let mut publish = publish(room, text);
    publish.tags = vec![("op".into(), operation.to_string().into())];
    let published = ask(|reply| engine.handle().publish(publish, reply)).expect("published");
    published.reached.total()
}

pub fn members(engine: &Engine, room: &str) -> u32 {
    ask(|reply| engine.handle().room_members(names(&[room]), reply)).expect("counted")[0]
}

/// Makes the only connection of a user a member of a room.
pub fn put_into(engine: &Engine, user: &str, room: &str) {
    let who = || UserConnections {
        user: user.into(),
        client: None,
        except: Vec::new(),
    };
    let before = members(engine, room);
    eventually("the user is known", || {
        ask(|reply| engine.handle().subscribe(who(), room, reply)) == Ok(1)
    });
    eventually("it is a member", || members(engine, room) == before + 1);
}
