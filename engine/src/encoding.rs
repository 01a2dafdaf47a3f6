//! Encodings: the forms a publication takes on the way to members.
//!
//! A home encodes a publication once per encoding that is in use in the room, so what is written here runs
//! per publication, never per member.

use fanfare_wire::centrifuge::{ClientInfo, Data, Publication, json};
use fanfare_wire::{native, ws};

use crate::api::{Payload, PresenceEntry, Reached, StoredPublication};

/// A form that frames are encoded in. Members with the same encoding share a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Encoding {
    /// Centrifuge JSON, one WebSocket text message each.
    CentrifugeJson,
    /// Native frames on a bare TCP stream.
    Native,
    /// Native frames, one WebSocket binary message each.
    NativeWebSocket,
}

impl Encoding {
    pub(crate) const COUNT: usize = 3;
    pub(crate) const ALL: [Self; Self::COUNT] =
        [Self::CentrifugeJson, Self::Native, Self::NativeWebSocket];

    pub(crate) const fn ix(self) -> usize {
        self as usize
    }
}

/// Members per encoding.
pub(crate) type Counts = [u32; Encoding::COUNT];

pub(crate) const fn reached(counts: &Counts) -> Reached {
    Reached {
        centrifuge_json: counts[Encoding::CentrifugeJson.ix()],
        native: counts[Encoding::Native.ix()],
        native_websocket: counts[Encoding::NativeWebSocket.ix()],
    }
}

/// A room, as frames name it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RoomTag<'a> {
    pub(crate) name: &'a str,
    pub(crate) number: u32,
    /// Offsets mean something to clients: the room can be recovered.
    pub(crate) is_recoverable: bool,
}

/// Appends one publication as a frame of this encoding.
pub(crate) fn write_publication(
    out: &mut Vec<u8>,
    encoding: Encoding,
    room: RoomTag<'_>,
    publication: &StoredPublication,
) {
    match encoding {
        Encoding::CentrifugeJson => ws::write_frame_with(out, ws::Opcode::Text, |out| {
            json::write_publication_push(
                out,
                room.name,
                &centrifuge_publication(publication, room.is_recoverable),
            );
        }),
        Encoding::Native => native::write_publication(
            out,
            room.number,
            publication.offset,
            &publication.payload.bytes,
        ),
        Encoding::NativeWebSocket => ws::write_frame_with(out, ws::Opcode::Binary, |out| {
            native::write_publication(
                out,
                room.number,
                publication.offset,
                &publication.payload.bytes,
            );
        }),
    }
}

/// Appends the news that someone has joined or left. Native members are not told.
pub(crate) fn write_presence(
    out: &mut Vec<u8>,
    encoding: Encoding,
    room: &str,
    entry: &PresenceEntry,
    has_joined: bool,
) {
    if encoding != Encoding::CentrifugeJson {
        return;
    }
    let client = entry.client.to_string();
    let info = client_info(entry, &client);
    ws::write_frame_with(out, ws::Opcode::Text, |out| {
        if has_joined {
            json::write_join_push(out, room, &info);
        } else {
            json::write_leave_push(out, room, &info);
        }
    });
}

/// A stored publication as Centrifuge clients see it.
pub(crate) fn centrifuge_publication(
    publication: &StoredPublication,
    with_offset: bool,
) -> Publication<'_> {
    Publication {
        data: match &publication.json {
            Some(json) => Data::Json(json),
            None => centrifuge_data(&publication.payload),
        },
        info: publication.publisher.as_ref().map(|publisher| ClientInfo {
            user: &publisher.user,
            client: &publisher.client,
            connection_info: publisher.connection_info.as_deref().unwrap_or(""),
            channel_info: "",
        }),
        offset: if with_offset { publication.offset } else { 0 },
        tags: &publication.tags,
        time_unix_ms: 0,
    }
}

/// A payload as JSON dialects carry it.
pub(crate) fn centrifuge_data(payload: &Payload) -> Data<'_> {
    if payload.is_json {
        Data::Json(&payload.bytes)
    } else {
        Data::Binary(&payload.bytes)
    }
}

/// Someone in a room as Centrifuge clients see them; `client` is the text of the entry's id.
pub(crate) fn client_info<'a>(entry: &'a PresenceEntry, client: &'a str) -> ClientInfo<'a> {
    ClientInfo {
        user: &entry.user,
        client,
        connection_info: entry.connection_info.as_deref().unwrap_or(""),
        channel_info: entry.channel_info.as_deref().unwrap_or(""),
    }
}
