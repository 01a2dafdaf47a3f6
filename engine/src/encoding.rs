//! Encodings: the forms a publication takes on the way to members.
//!
//! An encoding is a codec, which makes a message of a publication, in a carrier, which makes the message a part of the
//! connection's byte stream. A home runs each codec in use once per publication and each encoding in use once, however
//! many members there are; nothing here runs per member.

use std::borrow::Cow;

use bytes::Bytes;
use fanfare_wire::centrifuge::{ClientInfo, Data, Publication, json, protobuf, unidirectional};
use fanfare_wire::goim::{self, Operation};
use fanfare_wire::{comet, http, native, ws};
use smallvec::SmallVec;

use crate::api::{Message, Payload, PresenceEntry, Reached, StoredPublication};

/// A form that frames are encoded in. Members with the same encoding share a lane.
#[derive(Debug, Clone, Copy, Eq, PartialOrd, Ord)]
pub(crate) struct Encoding {
    pub(crate) codec: Codec,
    pub(crate) carrier: Carrier,
    /// Publications are told as differences from the ones before, where that is shorter.
    pub(crate) is_delta: bool,
    /// The filter that publications have to pass, by its number in the room on this shard; 0 for none. Homes know of no
    /// filters.
    pub(crate) filter: u8,
}

/// Makes messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Codec {
    /// Centrifuge replies as JSON.
    CentrifugeJson,
    /// Centrifuge replies as protobuf.
    CentrifugeProtobuf,
    /// Centrifuge pushes as JSON, for clients that only listen.
    Unidirectional,
    /// Native frames.
    Native,
    /// Frames of goim's version 2.
    Goim,
    /// Frames of goim's version 1.
    GoimV1,
    /// The same as JSON.
    GoimV1Json,
    /// Answers of the Comet calls.
    Comet,
}

/// Carries messages in a stream of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Carrier {
    /// Nothing around a message: it knows its own length.
    Bare,
    /// A WebSocket message each, of the type that the codec needs.
    WebSocket,
    /// The same, and what is for many is compressed, once for all (RFC 7692).
    DeflatedWebSocket,
    /// An event of Server-Sent Events each, in a chunk of an HTTP response.
    EventStream,
    /// A line each.
    Lines,
    /// A line (or, binary, a message that knows its own length) each, in a chunk of an HTTP response.
    HttpStream,
}

impl PartialEq for Encoding {
    // Lanes are found by it: one comparison of four bytes instead of four with a branch each.
    fn eq(&self, other: &Self) -> bool {
        self.bits() == other.bits()
    }
}

impl Encoding {
    const fn bits(self) -> u32 {
        u32::from_ne_bytes([
            self.codec as u8,
            self.carrier as u8,
            self.is_delta as u8,
            self.filter,
        ])
    }

    /// Native frames on a bare TCP stream.
    pub(crate) const NATIVE: Self = Self::new(Codec::Native, Carrier::Bare);
    /// Native frames, one WebSocket binary message each.
    pub(crate) const NATIVE_WEBSOCKET: Self = Self::new(Codec::Native, Carrier::WebSocket);
    /// Centrifuge JSON, one WebSocket text message each.
    pub(crate) const CENTRIFUGE_JSON: Self = Self::new(Codec::CentrifugeJson, Carrier::WebSocket);
    /// Answers of the Comet calls, to be fetched one by one.
    pub(crate) const COMET: Self = Self::new(Codec::Comet, Carrier::Lines);

    pub(crate) const fn new(codec: Codec, carrier: Carrier) -> Self {
        Self {
            codec,
            carrier,
            is_delta: false,
            filter: 0,
        }
    }

    /// As homes know it.
    pub(crate) const fn unfiltered(self) -> Self {
        Self { filter: 0, ..self }
    }

    /// Appends one message, as its carrier frames it.
    pub(crate) fn frame(self, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        match self.carrier {
            Carrier::Bare => write(out),
            Carrier::WebSocket | Carrier::DeflatedWebSocket => {
                ws::write_frame_with(out, self.codec.opcode(), |out| {
                    if self.codec == Codec::Goim {
                        goim::write_batch(out, goim::PUSH_VERSION, write);
                    } else {
                        write(out);
                    }
                })
            }
            Carrier::Lines => {
                write(out);
                out.push(b'\n');
            }
            Carrier::EventStream => http::write_chunk_with(out, |out| {
                out.extend_from_slice(b"data: ");
                write(out);
                out.extend_from_slice(b"\n\n");
            }),
            Carrier::HttpStream => http::write_chunk_with(out, |out| {
                write(out);
                if self.codec.is_text() {
                    out.push(b'\n');
                }
            }),
        }
    }

    /// Appends one message that is for many.
    pub(crate) fn frame_for_many(
        self,
        out: &mut Vec<u8>,
        deflater: &mut ws::Deflater,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        if self.carrier == Carrier::DeflatedWebSocket {
            let mut message = Vec::new();
            write(&mut message);
            ws::write_deflated_frame(out, self.codec.opcode(), &message, deflater);
        } else {
            self.frame(out, write);
        }
    }

    /// Publications travel in it as JSON, or as differences, which are taken of nothing else.
    const fn needs_json(self) -> bool {
        self.is_delta || matches!(self.codec, Codec::CentrifugeJson | Codec::Unidirectional)
    }

    /// Each frame leaves in a send of its own: clients take what one read gives them for one message.
    pub(crate) const fn is_sent_singly(self) -> bool {
        matches!(self.codec, Codec::GoimV1)
    }
}

impl Codec {
    pub(crate) const fn is_text(self) -> bool {
        match self {
            Self::CentrifugeJson | Self::Unidirectional | Self::GoimV1Json | Self::Comet => true,
            Self::CentrifugeProtobuf | Self::Native | Self::Goim | Self::GoimV1 => false,
        }
    }

    /// Its clients can be told differences.
    pub(crate) const fn has_deltas(self) -> bool {
        matches!(self, Self::CentrifugeJson | Self::CentrifugeProtobuf)
    }

    const fn opcode(self) -> ws::Opcode {
        if self.is_text() {
            ws::Opcode::Text
        } else {
            ws::Opcode::Binary
        }
    }
}

/// Members per encoding: few rooms have more than two.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// In the order of encodings, so that those of one codec stand together. None is 0.
    counts: SmallVec<[(Encoding, u32); 2]>,
}

impl Counts {
    pub(crate) fn add(&mut self, encoding: Encoding) {
        match self.find(encoding) {
            Ok(at) => self.counts[at].1 += 1,
            Err(at) => self.counts.insert(at, (encoding, 1)),
        }
    }

    pub(crate) fn remove(&mut self, encoding: Encoding) {
        let Ok(at) = self.find(encoding) else {
            return;
        };
        self.counts[at].1 -= 1;
        if self.counts[at].1 == 0 {
            self.counts.remove(at);
        }
    }

    pub(crate) fn has(&self, encoding: Encoding) -> bool {
        self.find(encoding).is_ok()
    }

    /// Somebody is told differences.
    pub(crate) fn has_deltas(&self) -> bool {
        self.counts.iter().any(|(encoding, _)| encoding.is_delta)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    pub(crate) fn total(&self) -> u32 {
        self.counts.iter().map(|(_, count)| count).sum()
    }

    /// The encoding in use with this number, in their order.
    pub(crate) fn nth(&self, at: usize) -> Option<Encoding> {
        self.counts.get(at).map(|&(encoding, _)| encoding)
    }

    /// Somebody is told publications as JSON.
    pub(crate) fn needs_json(&self) -> bool {
        self.counts
            .iter()
            .any(|(encoding, _)| encoding.needs_json())
    }

    pub(crate) fn reached(&self) -> Reached {
        let mut reached = Reached::default();
        for &(encoding, count) in &self.counts {
            *match encoding.codec {
                Codec::Comet => &mut reached.long_poll,
                _ if encoding.carrier == Carrier::Lines => &mut reached.long_poll,
                Codec::CentrifugeJson => &mut reached.centrifuge_json,
                Codec::CentrifugeProtobuf => &mut reached.centrifuge_protobuf,
                Codec::Unidirectional => &mut reached.unidirectional,
                Codec::Native if encoding.carrier == Carrier::Bare => &mut reached.native,
                Codec::Native => &mut reached.native_websocket,
                Codec::Goim => &mut reached.goim,
                Codec::GoimV1 | Codec::GoimV1Json => &mut reached.goim_v1,
            } += count;
        }
        reached
    }

    fn find(&self, encoding: Encoding) -> Result<usize, usize> {
        self.counts.binary_search_by_key(&encoding, |&(it, _)| it)
    }
}

/// A room, as frames name it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RoomTag<'a> {
    pub(crate) name: &'a str,
    pub(crate) number: u32,
    /// Offsets mean something to clients: the room can be recovered.
    pub(crate) is_recoverable: bool,
    /// What goim clients see of publications that name no operation.
    pub(crate) goim_operation: i32,
}

/// The tag by which a publication names the operation that goim clients see.
pub(crate) const OPERATION_TAG: &str = "op";

/// How a publication is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form<'a> {
    Plain,
    /// Whole, to those who are otherwise told differences.
    Whole,
    /// As this difference from the one before.
    Delta(&'a [u8]),
}

/// Appends one publication as a message of this codec.
pub(crate) fn write_publication(
    out: &mut Vec<u8>,
    codec: Codec,
    room: RoomTag<'_>,
    publication: &StoredPublication,
    form: Form<'_>,
) {
    let bytes = &publication.payload.bytes;
    let text;
    let mut told = centrifuge_publication(publication, codec, room.is_recoverable);
    match form {
        Form::Plain => {}
        Form::Whole => {
            text = whole(codec, &told);
            told.data = Data::Text(&text);
        }
        Form::Delta(delta) => {
            told.data = Data::Text(delta);
            told.delta = true;
        }
    }
    let push = || told;
    match codec {
        Codec::CentrifugeJson => json::write_publication_push(out, room.name, &push()),
        Codec::CentrifugeProtobuf => protobuf::write_publication_push(out, room.name, &push()),
        Codec::Unidirectional => unidirectional::write_publication_push(out, room.name, &push()),
        Codec::Native => native::write_publication(out, room.number, publication.offset, bytes),
        Codec::Goim => {
            let operation = operation(publication).unwrap_or(room.goim_operation);
            goim::write_push(out, goim::PUSH_VERSION, Operation(operation), bytes);
        }
        Codec::GoimV1 | Codec::GoimV1Json => write_goim_v1(out, codec, bytes),
        Codec::Comet => comet::write_message(out, bytes),
    }
}

/// What a publication is whole to who is told differences: what it is, or what JSON connections parse.
pub(crate) fn whole<'a>(codec: Codec, publication: &Publication<'a>) -> Cow<'a, [u8]> {
    match publication.data {
        Data::Json(bytes) | Data::Text(bytes) => Cow::Borrowed(bytes),
        Data::Binary(bytes) if codec == Codec::CentrifugeProtobuf => Cow::Borrowed(bytes),
        Data::Binary(bytes) => {
            let mut text = Vec::new();
            json::write_data(&mut text, bytes, false);
            Cow::Owned(text)
        }
    }
}

/// The operation that a publication names for goim clients.
fn operation(publication: &StoredPublication) -> Option<i32> {
    let mut tags = publication.tags.iter();
    let (_, operation) = tags.find(|(name, _)| &**name == OPERATION_TAG)?;
    operation.parse().ok()
}

fn write_goim_v1(out: &mut Vec<u8>, codec: Codec, body: &[u8]) {
    let (version, operation) = (goim::V1_PUSH_VERSION, Operation::SEND_REPLY);
    if codec == Codec::GoimV1Json {
        goim::write_v1_json(out, version, operation, 0, body);
    } else {
        goim::write_push(out, version, operation, body);
    }
}

/// Appends the news that someone has joined or left, or nothing when those of this codec are not told.
pub(crate) fn write_presence(
    out: &mut Vec<u8>,
    codec: Codec,
    room: &str,
    entry: &PresenceEntry,
    has_joined: bool,
) {
    let client = entry.client.to_string();
    let info = client_info(entry, &client);
    match (codec, has_joined) {
        (Codec::CentrifugeJson, true) => json::write_join_push(out, room, &info),
        (Codec::CentrifugeJson, false) => json::write_leave_push(out, room, &info),
        (Codec::CentrifugeProtobuf, true) => protobuf::write_join_push(out, room, &info),
        (Codec::CentrifugeProtobuf, false) => protobuf::write_leave_push(out, room, &info),
        (Codec::Unidirectional, true) => unidirectional::write_join_push(out, room, &info),
        (Codec::Unidirectional, false) => unidirectional::write_leave_push(out, room, &info),
        (Codec::Native | Codec::Goim | Codec::GoimV1 | Codec::GoimV1Json | Codec::Comet, _) => {}
    }
}

/// Appends a message outside any room, in this codec.
pub(crate) fn write_message(
    out: &mut Vec<u8>,
    codec: Codec,
    message: &Message,
    default_operation: i32,
) {
    let bytes = &message.payload.bytes;
    let data = centrifuge_data(codec, &message.payload, message.json.as_ref());
    match codec {
        Codec::CentrifugeJson => json::write_message_push(out, data),
        Codec::CentrifugeProtobuf => protobuf::write_message_push(out, data),
        Codec::Unidirectional => unidirectional::write_message_push(out, data),
        Codec::Native => native::write_message(out, &native::Message { data: bytes }),
        Codec::Goim => {
            let operation = Operation(message.operation.unwrap_or(default_operation));
            goim::write_push(out, goim::PUSH_VERSION, operation, bytes);
        }
        Codec::GoimV1 | Codec::GoimV1Json => write_goim_v1(out, codec, bytes),
        Codec::Comet => comet::write_message(out, bytes),
    }
}

/// A stored publication as Centrifuge clients see it.
pub(crate) fn centrifuge_publication(
    publication: &StoredPublication,
    codec: Codec,
    with_offset: bool,
) -> Publication<'_> {
    Publication {
        data: centrifuge_data(codec, &publication.payload, publication.json.as_ref()),
        info: publication.publisher.as_ref().map(|publisher| ClientInfo {
            user: &publisher.user,
            client: &publisher.client,
            connection_info: bytes_of(publisher.connection_info.as_deref()),
            channel_info: bytes_of(publisher.channel_info.as_deref()),
        }),
        offset: if with_offset { publication.offset } else { 0 },
        delta: false,
        tags: &publication.tags,
        time_unix_ms: 0,
    }
}

/// A payload as this codec carries it: where it is to be JSON and is not quite, `json` is what it is as such. protobuf
/// carries what was published, which may look like JSON and be a message of protobuf's own.
pub(crate) fn centrifuge_data<'a>(
    codec: Codec,
    payload: &'a Payload,
    json: Option<&'a Bytes>,
) -> Data<'a> {
    match json {
        Some(json) if codec != Codec::CentrifugeProtobuf => Data::Json(json),
        _ if payload.is_json => Data::Json(&payload.bytes),
        _ => Data::Binary(&payload.bytes),
    }
}

/// Data for one connection, as its codec carries it.
pub(crate) fn data_in(codec: Codec, payload: &Payload) -> Bytes {
    if codec == Codec::CentrifugeProtobuf || payload.is_json {
        return payload.bytes.clone();
    }
    let mut text = Vec::new();
    json::write_data(&mut text, &payload.bytes, false);
    text.into()
}

/// Someone in a room as Centrifuge clients see them; `client` is the text of the entry's id.
pub(crate) fn client_info<'a>(entry: &'a PresenceEntry, client: &'a str) -> ClientInfo<'a> {
    ClientInfo {
        user: &entry.user,
        client,
        connection_info: bytes_of(entry.connection_info.as_deref()),
        channel_info: bytes_of(entry.channel_info.as_deref()),
    }
}

fn bytes_of(json: Option<&str>) -> &[u8] {
    json.map_or(b"", str::as_bytes)
}
