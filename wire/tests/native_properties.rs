//! What holds for every native frame: it comes back as it was, it is what rkyv makes of the owned types, the cuts of a
//! stream do not matter, and no bytes make the decoder panic or reach outside of them.

#![allow(clippy::unwrap_used)]

use fanfare_wire::native::{
    self, Ack, ClientFrame, Disconnect, ErrorReply, Gap, HEADER_BYTES, Hello, Message, Publication,
    Publish, ServerFrame, Subscribe, Subscribed, Unsubscribe, Unsubscribed, VERSION, Welcome,
};
use proptest::prelude::*;

const ARCHIVE_BYTES_MAX: u32 = 1 << 16;

/// The messages as an owner of their data would declare them.
mod owned {
    use proptest::prelude::*;
    use rkyv::{Archive, Serialize};

    macro_rules! messages {
        ($($name:ident { $($field:ident: $type:ty = $strategy:expr,)+ })+) => {
            $(
                #[derive(Debug, Clone, Archive, Serialize)]
                pub(super) struct $name { $(pub(super) $field: $type,)+ }

                impl $name {
                    /// What rkyv's own serializer makes of it.
                    pub(super) fn archive(&self) -> Vec<u8> {
                        rkyv::to_bytes::<rkyv::rancor::Panic>(self).unwrap().to_vec()
                    }

                    pub(super) fn any() -> impl Strategy<Value = Self> {
                        ($($strategy,)+).prop_map(|($($field,)+)| Self { $($field,)+ })
                    }
                }
            )+
        };
    }

    messages! {
        Hello { token: String = text(), client_name: String = text(), }
        Subscribe {
            request: u32 = any::<u32>(), room: String = text(), token: String = text(), recover: bool = any::<bool>(),
            epoch: u64 = any::<u64>(), offset: u64 = any::<u64>(),
        }
        Unsubscribe { request: u32 = any::<u32>(), room: String = text(), }
        Publish { request: u32 = any::<u32>(), room: String = text(), data: Vec<u8> = bytes(), }
        Welcome {
            client: String = text(), ping_interval_ms: u32 = any::<u32>(), pong_timeout_ms: u32 = any::<u32>(),
            archive_bytes_max: u32 = any::<u32>(),
        }
        Subscribed {
            request: u32 = any::<u32>(), room: u32 = any::<u32>(), name: String = text(), epoch: u64 = any::<u64>(),
            offset: u64 = any::<u64>(), recoverable: bool = any::<bool>(), was_recovering: bool = any::<bool>(),
            recovered: bool = any::<bool>(),
        }
        Unsubscribed {
            request: u32 = any::<u32>(), room: u32 = any::<u32>(), code: u16 = any::<u16>(), reason: String = text(),
        }
        Publication { offset: u64 = any::<u64>(), room: u32 = any::<u32>(), data: Vec<u8> = bytes(), }
        Ack { request: u32 = any::<u32>(), epoch: u64 = any::<u64>(), offset: u64 = any::<u64>(), members: u32 = any::<u32>(), }
        ErrorReply { request: u32 = any::<u32>(), code: u16 = any::<u16>(), message: String = text(), }
        Gap { room: u32 = any::<u32>(), from: u64 = any::<u64>(), to: u64 = any::<u64>(), }
        Message { data: Vec<u8> = bytes(), }
        Disconnect { code: u16 = any::<u16>(), reason: String = text(), }
    }

    /// Around the eight bytes up to which rkyv keeps text in place, and longer than the 64 where its length has two parts.
    fn text() -> impl Strategy<Value = String> {
        prop_oneof!["[a-z]{0,12}", "\\PC{0,12}", "[a-z:]{60,70}", "\\PC{0,300}"]
    }

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..8),
            prop::collection::vec(any::<u8>(), 0..2000)
        ]
    }
}

trait Owned: std::fmt::Debug {
    fn kind(&self) -> native::Kind;
    fn encode(&self, out: &mut Vec<u8>);
    fn rkyv_archive(&self) -> Vec<u8>;
    /// Whether the frame at the start of the bytes is this message.
    fn is_decoded_from(&self, bytes: &[u8]) -> bool;

    fn frame(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }
}

macro_rules! owned {
    ($name:ident, $frame:ident, $decode:ident, $kind:ident, $write:expr, |$m:ident| $borrowed:expr) => {
        impl Owned for owned::$name {
            fn kind(&self) -> native::Kind {
                native::Kind::$kind
            }

            fn encode(&self, out: &mut Vec<u8>) {
                let $m = self;
                $write(out, &$borrowed);
            }

            fn rkyv_archive(&self) -> Vec<u8> {
                self.archive()
            }

            fn is_decoded_from(&self, bytes: &[u8]) -> bool {
                let $m = self;
                native::$decode(bytes, ARCHIVE_BYTES_MAX)
                    == Ok(Some(($frame::$kind($borrowed), bytes.len())))
            }
        }
    };
}

owned!(
    Hello,
    ClientFrame,
    decode_client,
    Hello,
    native::write_hello,
    |m| Hello {
        token: &m.token,
        client_name: &m.client_name,
    }
);
owned!(
    Subscribe,
    ClientFrame,
    decode_client,
    Subscribe,
    native::write_subscribe,
    |m| Subscribe {
        request: m.request,
        room: &m.room,
        token: &m.token,
        recover: m.recover,
        epoch: m.epoch,
        offset: m.offset,
    }
);
owned!(
    Unsubscribe,
    ClientFrame,
    decode_client,
    Unsubscribe,
    native::write_unsubscribe,
    |m| Unsubscribe {
        request: m.request,
        room: &m.room,
    }
);
owned!(
    Publish,
    ClientFrame,
    decode_client,
    Publish,
    native::write_publish,
    |m| Publish {
        request: m.request,
        room: &m.room,
        data: &m.data,
    }
);
owned!(
    Welcome,
    ServerFrame,
    decode_server,
    Welcome,
    native::write_welcome,
    |m| Welcome {
        client: &m.client,
        ping_interval_ms: m.ping_interval_ms,
        pong_timeout_ms: m.pong_timeout_ms,
        archive_bytes_max: m.archive_bytes_max,
    }
);
owned!(
    Subscribed,
    ServerFrame,
    decode_server,
    Subscribed,
    native::write_subscribed,
    |m| Subscribed {
        request: m.request,
        room: m.room,
        name: &m.name,
        epoch: m.epoch,
        offset: m.offset,
        recoverable: m.recoverable,
        was_recovering: m.was_recovering,
        recovered: m.recovered,
    }
);
owned!(
    Unsubscribed,
    ServerFrame,
    decode_server,
    Unsubscribed,
    native::write_unsubscribed,
    |m| Unsubscribed {
        request: m.request,
        room: m.room,
        code: m.code,
        reason: &m.reason,
    }
);
owned!(
    Publication,
    ServerFrame,
    decode_server,
    Publication,
    write_publication,
    |m| Publication {
        offset: m.offset,
        room: m.room,
        data: &m.data,
    }
);
owned!(
    Ack,
    ServerFrame,
    decode_server,
    Ack,
    native::write_ack,
    |m| Ack {
        request: m.request,
        epoch: m.epoch,
        offset: m.offset,
        members: m.members,
    }
);
owned!(
    ErrorReply,
    ServerFrame,
    decode_server,
    Error,
    native::write_error,
    |m| ErrorReply {
        request: m.request,
        code: m.code,
        message: &m.message,
    }
);
owned!(
    Gap,
    ServerFrame,
    decode_server,
    Gap,
    native::write_gap,
    |m| Gap {
        room: m.room,
        from: m.from,
        to: m.to,
    }
);
owned!(
    Message,
    ServerFrame,
    decode_server,
    Message,
    native::write_message,
    |m| Message { data: &m.data }
);
owned!(
    Disconnect,
    ServerFrame,
    decode_server,
    Disconnect,
    native::write_disconnect,
    |m| Disconnect {
        code: m.code,
        reason: &m.reason,
    }
);

fn write_publication(out: &mut Vec<u8>, message: &Publication<'_>) {
    native::write_publication(out, message.room, message.offset, message.data);
}

fn any_client_message() -> impl Strategy<Value = Box<dyn Owned>> {
    prop_oneof![
        owned::Hello::any().prop_map(|m| Box::new(m) as Box<dyn Owned>),
        owned::Subscribe::any().prop_map(|m| Box::new(m) as _),
        owned::Unsubscribe::any().prop_map(|m| Box::new(m) as _),
        owned::Publish::any().prop_map(|m| Box::new(m) as _),
    ]
}

fn any_server_message() -> impl Strategy<Value = Box<dyn Owned>> {
    prop_oneof![
        owned::Welcome::any().prop_map(|m| Box::new(m) as Box<dyn Owned>),
        owned::Subscribed::any().prop_map(|m| Box::new(m) as _),
        owned::Unsubscribed::any().prop_map(|m| Box::new(m) as _),
        owned::Publication::any().prop_map(|m| Box::new(m) as _),
        owned::Ack::any().prop_map(|m| Box::new(m) as _),
        owned::ErrorReply::any().prop_map(|m| Box::new(m) as _),
        owned::Gap::any().prop_map(|m| Box::new(m) as _),
        owned::Message::any().prop_map(|m| Box::new(m) as _),
        owned::Disconnect::any().prop_map(|m| Box::new(m) as _),
    ]
}

/// Feeds a stream in pieces, as a connection does: what no frame has taken waits for the next piece.
fn frames_in_pieces(stream: &[u8], cuts: &[usize], is_server: bool) -> Vec<String> {
    let mut cuts: Vec<usize> = cuts
        .iter()
        .map(|cut| cut % (stream.len() + 1))
        .chain([0, stream.len()])
        .collect();
    cuts.sort_unstable();
    let mut frames = Vec::new();
    let mut waiting = Vec::new();
    for piece in cuts.windows(2) {
        waiting.extend_from_slice(&stream[piece[0]..piece[1]]);
        loop {
            let decoded = if is_server {
                native::decode_server(&waiting, ARCHIVE_BYTES_MAX)
                    .map(|frame| frame.map(|(f, n)| (format!("{f:?}"), n)))
            } else {
                native::decode_client(&waiting, ARCHIVE_BYTES_MAX)
                    .map(|frame| frame.map(|(f, n)| (format!("{f:?}"), n)))
            };
            match decoded {
                Ok(Some((frame, used))) => {
                    frames.push(frame);
                    waiting.drain(..used);
                }
                Ok(None) => break,
                Err(error) => {
                    frames.push(error.to_string());
                    return frames;
                }
            }
        }
    }
    frames.push(format!("{} bytes wait", waiting.len()));
    frames
}

fn is_within(inner: &[u8], outer: &[u8]) -> bool {
    let (inner, outer) = (inner.as_ptr_range(), outer.as_ptr_range());
    inner.start == inner.end || (outer.start <= inner.start && inner.end <= outer.end)
}

/// Decodes both ways and touches everything that comes out.
fn decode_hostile(bytes: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(Some((frame, used))) = native::decode_client(bytes, ARCHIVE_BYTES_MAX) {
        prop_assert!(used <= bytes.len());
        let borrowed: [&[u8]; 2] = match frame {
            ClientFrame::Hello(m) => [m.token.as_bytes(), m.client_name.as_bytes()],
            ClientFrame::Subscribe(m) => [m.room.as_bytes(), m.token.as_bytes()],
            ClientFrame::Unsubscribe(m) => [m.room.as_bytes(), b""],
            ClientFrame::Publish(m) => [m.room.as_bytes(), m.data],
            ClientFrame::Ping | ClientFrame::Pong => [b"", b""],
        };
        prop_assert!(borrowed.iter().all(|part| is_within(part, &bytes[..used])));
    }
    if let Ok(Some((frame, used))) = native::decode_server(bytes, ARCHIVE_BYTES_MAX) {
        prop_assert!(used <= bytes.len());
        let borrowed: &[u8] = match frame {
            ServerFrame::Welcome(m) => m.client.as_bytes(),
            ServerFrame::Subscribed(m) => m.name.as_bytes(),
            ServerFrame::Unsubscribed(m) => m.reason.as_bytes(),
            ServerFrame::Publication(m) => m.data,
            ServerFrame::Error(m) => m.message.as_bytes(),
            ServerFrame::Message(m) => m.data,
            ServerFrame::Disconnect(m) => m.reason.as_bytes(),
            ServerFrame::Ack(_) | ServerFrame::Gap(_) | ServerFrame::Ping | ServerFrame::Pong => {
                b""
            }
        };
        prop_assert!(is_within(borrowed, &bytes[..used]));
    }
    Ok(())
}

fn framed(kind: u8, archive: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(archive.len()).unwrap().to_le_bytes().to_vec();
    frame.extend_from_slice(&[VERSION, kind]);
    frame.extend_from_slice(archive);
    frame
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    /// Header, then byte for byte what rkyv's serializer makes of the owned type, behind what was there before; and back.
    #[test]
    fn a_message_is_rkyvs_archive_and_comes_back(message in prop_oneof![any_client_message(), any_server_message()]) {
        let mut out = b"already there".to_vec();
        let start = out.len();
        message.encode(&mut out);
        prop_assert_eq!(&out[start..], framed(message.kind() as u8, &message.rkyv_archive()));
        prop_assert!(message.is_decoded_from(&out[start..]));
    }

    #[test]
    fn cuts_do_not_matter(
        client in prop::collection::vec(any_client_message(), 0..6),
        server in prop::collection::vec(any_server_message(), 0..6),
        cuts in prop::collection::vec(any::<usize>(), 0..20),
        tail in prop::collection::vec(any::<u8>(), 0..12),
    ) {
        for (messages, is_server) in [(client, false), (server, true)] {
            let mut stream: Vec<u8> = messages.iter().flat_map(|message| message.frame()).collect();
            stream.extend_from_slice(&tail);
            let whole = frames_in_pieces(&stream, &[], is_server);
            prop_assert!(whole.len() > messages.len());
            prop_assert_eq!(&frames_in_pieces(&stream, &cuts, is_server), &whole);
            if stream.len() < 600 {
                let everywhere: Vec<usize> = (0..stream.len()).collect();
                prop_assert_eq!(&frames_in_pieces(&stream, &everywhere, is_server), &whole);
            }
        }
    }

    #[test]
    fn damaged_frames_do_no_harm(
        message in prop_oneof![any_client_message(), any_server_message()],
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        is_near_the_root in any::<bool>(),
    ) {
        let mut frame = message.frame();
        let first = if is_near_the_root { frame.len().saturating_sub(40).max(HEADER_BYTES) } else { HEADER_BYTES };
        prop_assume!(first < frame.len());
        for (index, byte) in damage {
            let at = first + index.index(frame.len() - first);
            frame[at] = byte;
        }
        decode_hostile(&frame)?;
    }

    #[test]
    fn invented_archives_do_no_harm(kind in any::<u8>(), archive in prop::collection::vec(any::<u8>(), 0..120)) {
        decode_hostile(&framed(kind, &archive))?;
        decode_hostile(&framed(kind & 0x8F, &archive))?;
        decode_hostile(&archive)?;
    }

    #[test]
    fn too_large_is_refused_from_the_header_alone(declared in 0..=u32::MAX, allowed in 0..100_000_u32) {
        let mut header = declared.to_le_bytes().to_vec();
        header.extend_from_slice(&[VERSION, native::Kind::Publish as u8]);
        let error = native::Error::TooLarge { archive_bytes: declared, archive_bytes_max: allowed };
        let expected = if declared > allowed { Err(error) } else if declared > 0 { Ok(None) } else { Err(native::Error::Archive(4)) };
        prop_assert_eq!(native::decode_client(&header, allowed), expected);
    }
}
