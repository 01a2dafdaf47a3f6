//! Commands and replies of client.proto between protobuf and the JSON that says the same, by a table of its fields: written
//! from the specification alone, so that it can contradict the encoder.

use serde_json::{Map, Value, json};

/// Number, name and kind.
type Fields = &'static [(u64, &'static str, Kind)];

#[derive(Debug, Clone, Copy)]
enum Kind {
    Number,
    Flag,
    Text,
    /// Bytes that are JSON.
    Payload,
    Message(Fields),
    Many(Fields),
    /// From texts to messages.
    Map(Fields),
    /// From texts to texts.
    Texts,
}
use Kind::{Flag, Many, Message, Number, Payload, Text, Texts};

const COMMAND: Fields = &[
    (1, "id", Number),
    (4, "connect", Message(CONNECT)),
    (5, "subscribe", Message(SUBSCRIBE)),
    (6, "unsubscribe", Message(&[(1, "channel", Text)])),
    (
        7,
        "publish",
        Message(&[(1, "channel", Text), (2, "data", Payload)]),
    ),
    (8, "presence", Message(&[(1, "channel", Text)])),
    (9, "presence_stats", Message(&[(1, "channel", Text)])),
    (
        10,
        "history",
        Message(&[
            (1, "channel", Text),
            (7, "limit", Number),
            (
                8,
                "since",
                Message(&[(1, "offset", Number), (2, "epoch", Text)]),
            ),
            (9, "reverse", Flag),
        ]),
    ),
    (11, "ping", Message(&[])),
    (12, "send", Message(&[(1, "data", Payload)])),
    (
        13,
        "rpc",
        Message(&[(1, "data", Payload), (2, "method", Text)]),
    ),
    (14, "refresh", Message(&[(1, "token", Text)])),
    (
        15,
        "sub_refresh",
        Message(&[(1, "channel", Text), (2, "token", Text)]),
    ),
];

const CONNECT: Fields = &[
    (1, "token", Text),
    (2, "data", Payload),
    (3, "subs", Kind::Map(SUBSCRIBE)),
    (4, "name", Text),
    (5, "version", Text),
    (6, "headers", Texts),
];

const SUBSCRIBE: Fields = &[
    (1, "channel", Text),
    (2, "token", Text),
    (3, "recover", Flag),
    (6, "epoch", Text),
    (7, "offset", Number),
    (8, "data", Payload),
    (9, "positioned", Flag),
    (10, "recoverable", Flag),
    (11, "join_leave", Flag),
    (12, "delta", Text),
    (14, "flag", Number),
];

const REPLY: Fields = &[
    (1, "id", Number),
    (
        2,
        "error",
        Message(&[
            (1, "code", Number),
            (2, "message", Text),
            (3, "temporary", Flag),
        ]),
    ),
    (4, "push", Message(PUSH)),
    (5, "connect", Message(CONNECTED)),
    (6, "subscribe", Message(SUBSCRIBED)),
    (7, "unsubscribe", Message(&[])),
    (8, "publish", Message(&[])),
    (
        9,
        "presence",
        Message(&[(1, "presence", Kind::Map(CLIENT_INFO))]),
    ),
    (
        10,
        "presence_stats",
        Message(&[(1, "num_clients", Number), (2, "num_users", Number)]),
    ),
    (
        11,
        "history",
        Message(&[
            (1, "publications", Many(PUBLICATION)),
            (2, "epoch", Text),
            (3, "offset", Number),
        ]),
    ),
    (12, "ping", Message(&[])),
    (13, "rpc", Message(&[(1, "data", Payload)])),
    (
        14,
        "refresh",
        Message(&[
            (1, "client", Text),
            (2, "version", Text),
            (3, "expires", Flag),
            (4, "ttl", Number),
        ]),
    ),
    (
        15,
        "sub_refresh",
        Message(&[(1, "expires", Flag), (2, "ttl", Number)]),
    ),
];

const CONNECTED: Fields = &[
    (1, "client", Text),
    (2, "version", Text),
    (3, "expires", Flag),
    (4, "ttl", Number),
    (5, "data", Payload),
    (6, "subs", Kind::Map(SUBSCRIBED)),
    (7, "ping", Number),
    (8, "pong", Flag),
    (9, "session", Text),
    (10, "node", Text),
    (11, "time", Number),
];

const SUBSCRIBED: Fields = &[
    (1, "expires", Flag),
    (2, "ttl", Number),
    (3, "recoverable", Flag),
    (6, "epoch", Text),
    (7, "publications", Many(PUBLICATION)),
    (8, "recovered", Flag),
    (9, "offset", Number),
    (10, "positioned", Flag),
    (11, "data", Payload),
    (12, "was_recovering", Flag),
    (13, "delta", Flag),
];

const CLIENT_INFO: Fields = &[
    (1, "user", Text),
    (2, "client", Text),
    (3, "conn_info", Payload),
    (4, "chan_info", Payload),
];

const PUBLICATION: Fields = &[
    (4, "data", Payload),
    (5, "info", Message(CLIENT_INFO)),
    (6, "offset", Number),
    (7, "tags", Texts),
    (8, "delta", Flag),
];

const PUSH: Fields = &[
    (2, "channel", Text),
    (4, "pub", Message(PUBLICATION)),
    (5, "join", Message(&[(1, "info", Message(CLIENT_INFO))])),
    (6, "leave", Message(&[(1, "info", Message(CLIENT_INFO))])),
    (
        7,
        "unsubscribe",
        Message(&[(2, "code", Number), (3, "reason", Text)]),
    ),
    (8, "message", Message(&[(1, "data", Payload)])),
    (
        9,
        "subscribe",
        Message(&[
            (1, "recoverable", Flag),
            (4, "epoch", Text),
            (5, "offset", Number),
            (6, "positioned", Flag),
            (7, "data", Payload),
        ]),
    ),
    (
        11,
        "disconnect",
        Message(&[
            (1, "code", Number),
            (2, "reason", Text),
            (3, "reconnect", Flag),
        ]),
    ),
];

/// A command, with its length before it.
pub fn command(command: &Value) -> Vec<u8> {
    let message = encode(COMMAND, command);
    let mut out = Vec::new();
    put_varint(&mut out, message.len() as u64);
    out.extend(message);
    out
}

/// The body of a request to `/emulation`.
pub fn emulation(node: &str, session: &str, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, 1, node.as_bytes());
    put_bytes(&mut out, 2, session.as_bytes());
    put_bytes(&mut out, 3, data);
    out
}

/// The reply at the start of the bytes, and how many it takes; `None` when it is not complete. A ping is `{}`.
pub fn reply(bytes: &[u8]) -> Option<(Value, usize)> {
    let (message, end) = delimited(bytes)?;
    Some((decode(REPLY, message), end))
}

/// How many bytes the reply at the start takes, once it is complete.
pub fn length(bytes: &[u8]) -> Option<usize> {
    delimited(bytes).map(|(_, end)| end)
}

/// The data of a push that is a publication, as it stands there, and whether it is a difference.
pub fn publication(reply: &[u8]) -> Option<(&[u8], bool)> {
    let (message, end) = delimited(reply).expect("a complete reply");
    assert_eq!(end, reply.len(), "one reply");
    let push = field(message, 4)?;
    let publication = field(push, 4)?;
    let data = field(publication, 4).unwrap_or_default();
    Some((data, field(publication, 8).is_some()))
}

/// A command to publish any bytes, with its length before it.
pub fn publish(id: u64, room: &str, data: &[u8]) -> Vec<u8> {
    let mut publish = Vec::new();
    put_bytes(&mut publish, 1, room.as_bytes());
    put_bytes(&mut publish, 2, data);
    let mut command = vec![1 << 3];
    put_varint(&mut command, id);
    put_bytes(&mut command, 7, &publish);
    let mut out = Vec::new();
    put_varint(&mut out, command.len() as u64);
    out.extend(command);
    out
}

/// A message, and where it ends with its length before it.
fn delimited(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let mut at = 0;
    let length = varint(bytes, &mut at)?;
    let end = at + usize::try_from(length).expect("a length");
    Some((bytes.get(at..end)?, end))
}

/// The bytes of the field with this number; none of a number.
fn field(message: &[u8], number: u64) -> Option<&[u8]> {
    let mut at = 0;
    while at < message.len() {
        let key = varint(message, &mut at).expect("a key");
        let value = varint(message, &mut at).expect("a value");
        let start = at;
        if key & 7 == 2 {
            at += usize::try_from(value).expect("a length");
        }
        if key >> 3 == number {
            return Some(&message[start..at]);
        }
    }
    None
}

fn encode(fields: Fields, value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in value.as_object().expect("an object") {
        let field = fields.iter().find(|(_, it, _)| it == name);
        let (number, _, kind) = field.unwrap_or_else(|| panic!("no field {name}"));
        let text = || value.as_str().expect("a text");
        match kind {
            Number => {
                put_varint(&mut out, number << 3);
                // Negative ones as their two's complement.
                let number = value.as_i64().expect("a number").cast_unsigned();
                put_varint(&mut out, number);
            }
            Flag => {
                put_varint(&mut out, number << 3);
                put_varint(&mut out, value.as_bool().expect("a flag").into());
            }
            Text => put_bytes(&mut out, *number, text().as_bytes()),
            Payload => put_bytes(&mut out, *number, value.to_string().as_bytes()),
            Message(fields) => put_bytes(&mut out, *number, &encode(fields, value)),
            Kind::Map(fields) => {
                for (key, value) in value.as_object().expect("a map") {
                    let mut entry = Vec::new();
                    put_bytes(&mut entry, 1, key.as_bytes());
                    put_bytes(&mut entry, 2, &encode(fields, value));
                    put_bytes(&mut out, *number, &entry);
                }
            }
            Many(_) | Texts => panic!("no command has {name}"),
        }
    }
    out
}

fn decode(fields: Fields, bytes: &[u8]) -> Value {
    let mut object = Map::new();
    let mut at = 0;
    while at < bytes.len() {
        let key = varint(bytes, &mut at).expect("a key");
        let field = fields.iter().find(|(number, _, _)| *number == key >> 3);
        let (_, name, kind) = field.unwrap_or_else(|| panic!("no field {}", key >> 3));
        let is_varint = matches!(kind, Number | Flag);
        assert_eq!(
            key & 7,
            if is_varint { 0 } else { 2 },
            "wire type of {name}"
        );
        let number = varint(bytes, &mut at).expect("a number");
        if is_varint {
            let is_flag = matches!(kind, Flag);
            let value = if is_flag {
                json!(number == 1)
            } else {
                json!(number)
            };
            object.insert((*name).into(), value);
            continue;
        }
        let end = at + usize::try_from(number).expect("a length");
        let content = &bytes[at..end];
        at = end;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
        let value = match kind {
            Text => json!(text(content)),
            Payload => serde_json::from_slice(content).expect("a payload is JSON"),
            Message(fields) => decode(fields, content),
            Many(fields) => {
                let many = object.entry(*name).or_insert(json!([]));
                many.as_array_mut()
                    .expect("several")
                    .push(decode(fields, content));
                continue;
            }
            Kind::Map(_) | Texts => {
                let (key, content) = entry(content);
                let value = match kind {
                    Kind::Map(fields) => decode(fields, content),
                    _ => json!(text(content)),
                };
                let map = object.entry(*name).or_insert(json!({}));
                map[text(key)] = value;
                continue;
            }
            Number | Flag => unreachable!("read above"),
        };
        let before = object.insert((*name).into(), value);
        assert_eq!(before, None, "{name} comes twice");
    }
    Value::Object(object)
}

/// Key and value of an entry of a map.
fn entry(bytes: &[u8]) -> (&[u8], &[u8]) {
    let mut parts: [&[u8]; 2] = [b"", b""];
    let mut at = 0;
    while at < bytes.len() {
        let key = varint(bytes, &mut at).expect("a key");
        let length = varint(bytes, &mut at).expect("a length");
        let end = at + usize::try_from(length).expect("a length");
        parts[usize::try_from(key >> 3).expect("1 or 2") - 1] = &bytes[at..end];
        at = end;
    }
    (parts[0], parts[1])
}

fn put_bytes(out: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    put_varint(out, number << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).expect("seven bits") | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).expect("seven bits"));
}

fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    panic!("a varint of more than ten bytes")
}
