//! goim's second version over TCP.
//!
//! Frames name neither the room nor a number, so a publication counts by the number in its payload. A member is let in as
//! its clients are: the first frame says who it is and which room it wants. The answer to that comes before it is there,
//! so a heartbeat follows, whose answer is the number of members: the server counts it after it has let the member in.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use fanfare_wire::goim::{self, Frame, Operation, PUSH_VERSION};
use serde_json::json;

use super::dialect::{Dialect, Event, ProtocolError};
use super::partial::Partial;
use super::transcript::Transcript;
use super::{Identity, Language};
use crate::stamp;

/// Longest body that is taken from a server.
pub(super) const BODY_BYTES_MAX: u32 = 1 << 20;

/// What Fanfare calls publications that come without an operation (`goim.default_operation`), and clients of goim what is
/// theirs.
const PUSH: Operation = Operation(1000);

/// What clients put into their frames.
const VERSION: i16 = 1;

/// Requests are told apart by these numbers, which the answers repeat.
const AUTH: i32 = 1;
const FIRST_HEARTBEAT: i32 = 2;
const HEARTBEAT: i32 = 3;

/// A connection of goim over TCP.
#[derive(Debug)]
pub(super) struct Goim {
    partial: Partial,
    place: Place,
}

impl Dialect for Goim {
    type Shared = Transcript;

    const BEATS: bool = true;

    fn open(out: &mut Vec<u8>, _: Language, identity: &Identity) -> Self {
        write_auth(out, identity);
        Self {
            partial: Partial::default(),
            place: Place::in_room(&identity.room),
        }
    }

    fn subscribe(&mut self, out: &mut Vec<u8>, _: &str) {
        write_first_heartbeat(out);
    }

    /// Servers of goim do not ask.
    fn pong(&mut self, _: &mut Vec<u8>) {}

    fn beat(&mut self, out: &mut Vec<u8>) {
        write_heartbeat(out);
    }

    fn feed(
        &mut self,
        transcript: &mut Transcript,
        input: &mut [u8],
        _: &mut Vec<u8>,
        on_event: &mut impl FnMut(Event<'_>),
    ) -> Result<(), ProtocolError> {
        let Self { partial, place } = self;
        partial.feed(input, |bytes| place.frames(transcript, bytes, on_event))
    }
}

/// Where a member is, and how far it has heard.
#[derive(Debug)]
pub(super) struct Place {
    /// Of the room's name: what the transcript knows it by.
    room_hash: u64,
    /// The highest number heard; 0 for none.
    pub(super) last: u64,
}

impl Place {
    pub(super) fn in_room(name: &str) -> Self {
        // The same in every crew and run.
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        Self {
            room_hash: hasher.hash_one(name),
            last: 0,
        }
    }

    /// Takes the publications at the start of `input` that are in the transcript; returns how many bytes they take.
    pub(super) fn known(
        &mut self,
        transcript: &Transcript,
        input: &[u8],
        on_event: &mut impl FnMut(Event<'_>),
    ) -> usize {
        let same = transcript.follow(self.room_hash, self.last, input);
        if same.publications > 0 {
            on_event(Event::Publications {
                first: self.last + 1,
                count: same.publications,
            });
            self.last += same.publications;
        }
        same.bytes
    }

    /// Puts the publication heard last into the transcript, in these bytes.
    pub(super) fn learn(&self, transcript: &mut Transcript, bytes: &[u8]) {
        transcript.learn(self.room_hash, self.last, bytes);
    }

    /// Reads as many publications at the start of `input` as are known to the transcript, or else the frame that is there;
    /// returns how many bytes they take, or `None` when it is not complete.
    pub(super) fn frames(
        &mut self,
        transcript: &mut Transcript,
        input: &[u8],
        on_event: &mut impl FnMut(Event<'_>),
    ) -> Result<Option<usize>, ProtocolError> {
        let known_bytes = self.known(transcript, input, on_event);
        if known_bytes > 0 {
            return Ok(Some(known_bytes));
        }
        let Some((frame, bytes)) = goim::decode(input, BODY_BYTES_MAX)? else {
            return Ok(None);
        };
        let event = event(&frame)?;
        on_event(event);
        if let Event::Publication { data, .. } = event {
            self.check(transcript, &input[..bytes], data, on_event);
        }
        Ok(Some(bytes))
    }

    /// Holds a publication against what others heard, or keeps it for them.
    fn check(
        &mut self,
        transcript: &mut Transcript,
        frame: &[u8],
        data: &[u8],
        on_event: &mut impl FnMut(Event<'_>),
    ) {
        let number = stamp::number_near(data, self.last + 1).filter(|&number| number > 0);
        let Some(number) = number else {
            // Nothing else is published: it had one.
            on_event(Event::Contradicted);
            return;
        };
        self.last = self.last.max(number);
        if transcript.contradicts(self.room_hash, number, frame) {
            on_event(Event::Contradicted);
        } else {
            transcript.learn(self.room_hash, number, frame);
        }
    }
}

/// What a frame means to a member.
fn event<'a>(frame: &Frame<'a>) -> Result<Event<'a>, ProtocolError> {
    let unexpected = |what| ProtocolError::GoimFrame {
        what,
        operation: frame.operation.0,
    };
    match (frame.operation, frame.seq) {
        (PUSH, 0) if frame.version == PUSH_VERSION => Ok(Event::Publication {
            offset: None,
            data: frame.body,
        }),
        (PUSH, _) => Err(unexpected("a push with the version or number of an answer")),
        (Operation::AUTH_REPLY, AUTH) => Ok(Event::Welcomed),
        (Operation::HEARTBEAT_REPLY, FIRST_HEARTBEAT | HEARTBEAT) => {
            let members = frame.body.try_into().map(i32::from_be_bytes);
            let members =
                members.map_err(|_| unexpected("a heartbeat's answer without a count"))?;
            Ok(match frame.seq {
                HEARTBEAT => Event::HeartbeatAnswered,
                // It is not there itself, and goim has no code that says why.
                _ if members < 1 => Event::Refused { code: 0 },
                _ => Event::Subscribed { offset: None },
            })
        }
        _ => Err(unexpected("neither a publication nor an answer")),
    }
}

/// Appends who the member is, and where it wants to be. It accepts no pushes beside those of its room.
pub(super) fn write_auth(out: &mut Vec<u8>, identity: &Identity) {
    let auth = json!({
        "mid": 0,
        "key": "",
        "room_id": &*identity.room,
        "platform": "bench",
        "accepts": [],
        "token": identity.token,
    });
    let body = auth.to_string();
    goim::write_frame(out, VERSION, Operation::AUTH, AUTH, body.as_bytes());
}

/// Appends the heartbeat whose answer says that the member is in its room.
pub(super) fn write_first_heartbeat(out: &mut Vec<u8>) {
    goim::write_frame(out, VERSION, Operation::HEARTBEAT, FIRST_HEARTBEAT, b"");
}

/// Appends one of those that follow.
pub(super) fn write_heartbeat(out: &mut Vec<u8>) {
    goim::write_frame(out, VERSION, Operation::HEARTBEAT, HEARTBEAT, b"");
}

#[cfg(test)]
mod tests {
    use super::super::dialect;
    use super::super::ledger::Ledger;
    use super::*;

    fn identity(room: &str) -> Identity {
        Identity {
            token: "t".to_owned(),
            room: room.into(),
        }
    }

    fn member(room: &str) -> Goim {
        Goim::open(&mut Vec::new(), Language::Goim, &identity(room))
    }

    fn write_push(stream: &mut Vec<u8>, data: &[u8]) {
        goim::write_push(stream, PUSH_VERSION, PUSH, data);
    }

    fn pushes(numbers: impl IntoIterator<Item = u64>) -> Vec<u8> {
        let mut stream = Vec::new();
        for number in numbers {
            write_push(&mut stream, &stamp::short(number));
        }
        stream
    }

    fn hear(
        transcript: &mut Transcript,
        room: &str,
        stream: &[u8],
        step: usize,
    ) -> (Result<Ledger, ProtocolError>, usize) {
        dialect::account(&mut member(room), transcript, stream, step)
    }

    fn heard(transcript: &mut Transcript, stream: &[u8], step: usize) -> Ledger {
        hear(transcript, "news", stream, step)
            .0
            .expect("the protocol")
    }

    #[test]
    fn a_member_speaks_as_clients_of_goim_do() {
        let mut out = Vec::new();
        let mut member = Goim::open(&mut out, Language::Goim, &identity("live://1000"));
        let (frame, bytes) = goim::decode(&out, BODY_BYTES_MAX)
            .expect("a frame")
            .expect("all of it");
        assert_eq!(
            (frame.operation, frame.version, frame.seq, bytes),
            (Operation::AUTH, 1, 1, out.len())
        );
        let auth = goim::parse_auth(frame.body).expect("as the protocol has it");
        assert_eq!((auth.mid, &*auth.key, &*auth.token), (0, "", "t"));
        assert_eq!((&*auth.room_id, auth.accepts.len()), ("live://1000", 0));
        out.clear();
        member.subscribe(&mut out, "live://1000");
        member.beat(&mut out);
        let header = |seq| [0, 0, 0, 16, 0, 16, 0, 1, 0, 0, 0, 2, 0, 0, 0, seq];
        assert_eq!(out, [header(2), header(3)].as_flattened());
    }

    #[test]
    fn events_do_not_depend_on_how_the_bytes_are_cut() {
        let mut stream = Vec::new();
        goim::write_auth_reply(&mut stream, VERSION, AUTH);
        goim::write_heartbeat_reply(&mut stream, VERSION, FIRST_HEARTBEAT, 7);
        let (short, long) = (stamp::short(1), stamp::payload(3, 20_000));
        write_push(&mut stream, &short);
        goim::write_heartbeat_reply(&mut stream, VERSION, HEARTBEAT, 7);
        write_push(&mut stream, stamp::payload(2, 64).as_bytes());
        let every_step = stream.len();
        write_push(&mut stream, long.as_bytes());
        let publication = |data| Event::Publication { offset: None, data };
        let expected = [
            Event::Welcomed,
            Event::Subscribed { offset: None },
            publication(&short),
            Event::HeartbeatAnswered,
            publication(stamp::payload(2, 64).as_bytes()),
            publication(long.as_bytes()),
        ]
        .map(|event| format!("{event:?}"));
        for step in (1..=every_step).chain([10_000, stream.len()]) {
            let (mut member, mut transcript) = (member("news"), Transcript::default());
            let (events, result) =
                dialect::hear(&mut member, &mut transcript, &stream, step, &mut Vec::new());
            assert_eq!(
                (events.as_slice(), result),
                (&expected[..], Ok(())),
                "by {step}"
            );
            assert!(member.partial.is_empty());
        }
    }

    #[test]
    fn what_is_heard_does_not_depend_on_how_the_bytes_are_cut_or_on_who_heard_it_before() {
        let stream = pushes(8_990..=9_010);
        for step in 1..=stream.len() {
            let mut transcript = Transcript::default();
            for member in 0..3 {
                let ledger = heard(&mut transcript, &stream, step);
                assert!(
                    ledger.is_faithful(),
                    "member {member}, by {step}: {ledger:?}"
                );
                assert_eq!((ledger.received, ledger.last), (21, 9_010), "by {step}");
            }
        }
    }

    #[test]
    fn the_second_member_hears_many_at_once_in_its_room_alone() {
        let (mut transcript, stream) = (Transcript::default(), pushes(1..=20_000));
        let mut events_in = |room| {
            let (ledger, events) = hear(&mut transcript, room, &stream, stream.len());
            let ledger = ledger.expect("the protocol");
            assert!(ledger.is_faithful() && ledger.received == 20_000);
            events
        };
        assert_eq!(events_in("news"), 20_000);
        assert_eq!(events_in("news"), 2, "the first, and the others");
        assert_eq!(events_in("sport"), 20_000, "what it hears is its own");
    }

    #[test]
    fn what_is_lost_doubled_or_out_of_order_is_told_apart() {
        for knows in [false, true] {
            let counts = |numbers: &[u64]| {
                let mut transcript = Transcript::default();
                if knows {
                    heard(&mut transcript, &pushes(1..=10), 1_000);
                }
                let it = heard(&mut transcript, &pushes(numbers.iter().copied()), 1_000);
                (it.lost, it.duplicated, it.reordered, it.corrupted)
            };
            assert_eq!(counts(&[1, 2, 3, 4]), (0, 0, 0, 0));
            assert_eq!(counts(&[1, 2, 5, 6]), (2, 0, 0, 0));
            assert_eq!(counts(&[1, 2, 2, 3]), (0, 1, 0, 0));
            assert_eq!(counts(&[1, 3, 2, 4]), (0, 0, 1, 0));
        }
    }

    #[test]
    fn no_byte_of_a_publication_can_be_wrong() {
        let right = pushes(1..=5);
        for knows in [false, true] {
            // The last frame may seem to be the beginning of a longer one.
            for at in 0..right.len() - 26 {
                let mut wrong = right.clone();
                wrong[at] ^= 1;
                let mut transcript = Transcript::default();
                if knows {
                    heard(&mut transcript, &right, right.len());
                }
                let is_faithful = match hear(&mut transcript, "news", &wrong, wrong.len()).0 {
                    Ok(ledger) => ledger.is_faithful() && ledger.received == 5,
                    Err(_) => false,
                };
                // Whose first number is wrong begins there, unless others have heard it.
                let is_first_number = (21..25).contains(&at);
                assert!(!is_faithful || (!knows && is_first_number), "byte {at}");
            }
        }
    }

    #[test]
    fn a_publication_that_others_heard_otherwise_is_corrupted() {
        let mut transcript = Transcript::default();
        let long = |pad: &str| {
            let mut stream = Vec::new();
            for number in 1..=3 {
                let payload = stamp::payload(number, 64).replace("xxx", pad);
                write_push(&mut stream, payload.as_bytes());
            }
            stream
        };
        heard(&mut transcript, &long("xxx"), 1_000);
        assert_eq!(heard(&mut transcript, &long("xxy"), 1_000).corrupted, 3);
        let mut numberless = long("xxx");
        write_push(&mut numberless, b"?");
        for transcript in [&mut transcript, &mut Transcript::default()] {
            assert_eq!(heard(transcript, &numberless, 1_000).corrupted, 1);
        }
    }

    #[test]
    fn a_member_that_the_server_does_not_count_is_not_in_its_room() {
        let mut stream = Vec::new();
        goim::write_heartbeat_reply(&mut stream, VERSION, FIRST_HEARTBEAT, 0);
        let refused = format!("{:?}", Event::Refused { code: 0 });
        let transcript = &mut Transcript::default();
        let (events, _) = dialect::hear(&mut member("news"), transcript, &stream, 5, &mut vec![]);
        assert_eq!(events, [refused]);
    }

    #[test]
    fn what_a_member_does_not_expect_is_an_error() {
        let frame = |version, operation, seq, body: &[u8]| {
            let mut stream = Vec::new();
            goim::write_frame(&mut stream, version, operation, seq, body);
            stream
        };
        for stream in [
            frame(1, Operation(1001), 0, b"{}"),
            frame(0, PUSH, 0, b"{}"),
            frame(1, PUSH, 1, b"{}"),
            frame(1, Operation::RAW, 0, &pushes([1])),
            frame(1, Operation::AUTH_REPLY, 2, b""),
            frame(1, Operation::HEARTBEAT_REPLY, 3, b""),
            frame(1, Operation::HEARTBEAT_REPLY, 4, &[0; 4]),
        ] {
            for step in [1, stream.len()] {
                let (result, _) = hear(&mut Transcript::default(), "news", &stream, step);
                assert!(
                    matches!(result, Err(ProtocolError::GoimFrame { .. })),
                    "{stream:?}: {result:?}"
                );
            }
        }
        for stream in [
            &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
            b"\0\0\0\x0f\0\x10",
            b"\0\0\0\x1a\0\x11",
        ] {
            let (result, _) = hear(&mut Transcript::default(), "news", stream, 1);
            assert!(matches!(result, Err(ProtocolError::Goim(_))), "{stream:?}");
        }
    }
}
