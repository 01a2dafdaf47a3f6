//! Messages to bytes. Every function appends one whole frame to `out` and allocates nothing but room in it.
//!
//! They panic when an archive would be longer than [`ARCHIVE_BYTES_MAX`]: what reaches an encoder has passed a limit that is
//! far below.

use rkyv::SerializeUnsized;
use rkyv::api::serialize_using;
use rkyv::rancor::{Panic, Strategy};

use super::header::{HEADER_BYTES, Header, Kind};
use super::messages::{
    Ack, Disconnect, ErrorReply, Gap, Hello, Message, Publish, Subscribe, Subscribed, Unsubscribe,
    Unsubscribed, Welcome,
};

/// No frame's archive is longer, whatever the configured limits: 1 GiB, half of what a 32-bit relative pointer spans.
pub const ARCHIVE_BYTES_MAX: usize = 1 << 30;

/// Bytes of a publication's frame besides its data: header and root.
pub const PUBLICATION_OVERHEAD_BYTES: usize = HEADER_BYTES + PUBLICATION_ROOT_BYTES;

const PUBLICATION_ROOT_BYTES: usize = 20;

/// Where the root of a publication holds the pointer to its data.
const PUBLICATION_DATA_AT: u32 = 12;

/// Appends a [`Publication`](super::Publication).
///
/// The one message that is sent at the rate of the engine, so it is laid out by hand, with one reservation. The tests hold
/// it to the bytes of rkyv's serializer.
pub fn write_publication(out: &mut Vec<u8>, room: u32, offset: u64, data: &[u8]) {
    let archive_bytes = bounded(data.len() + PUBLICATION_ROOT_BYTES);
    let data_bytes = bounded(data.len());
    // A relative pointer counts from itself: back over offset, room and the data.
    let data_pointer = 0_i32.wrapping_sub_unsigned(data_bytes + PUBLICATION_DATA_AT);

    let mut root = [0; PUBLICATION_ROOT_BYTES];
    root[..8].copy_from_slice(&offset.to_le_bytes());
    root[8..12].copy_from_slice(&room.to_le_bytes());
    root[12..16].copy_from_slice(&data_pointer.to_le_bytes());
    root[16..].copy_from_slice(&data_bytes.to_le_bytes());

    let header = Header {
        archive_bytes,
        kind: Kind::Publication,
    };
    out.reserve(data.len() + PUBLICATION_OVERHEAD_BYTES);
    out.extend_from_slice(&header.to_bytes());
    out.extend_from_slice(data);
    out.extend_from_slice(&root);
}

/// Appends a [`Gap`].
pub fn write_gap(out: &mut Vec<u8>, message: &Gap) {
    write(out, Kind::Gap, message);
}

/// Appends a [`Message`].
pub fn write_message(out: &mut Vec<u8>, message: &Message<'_>) {
    write(out, Kind::Message, message);
}

/// Appends a [`Welcome`].
pub fn write_welcome(out: &mut Vec<u8>, message: &Welcome<'_>) {
    write(out, Kind::Welcome, message);
}

/// Appends a [`Subscribed`].
pub fn write_subscribed(out: &mut Vec<u8>, message: &Subscribed<'_>) {
    write(out, Kind::Subscribed, message);
}

/// Appends an [`Unsubscribed`].
pub fn write_unsubscribed(out: &mut Vec<u8>, message: &Unsubscribed<'_>) {
    write(out, Kind::Unsubscribed, message);
}

/// Appends an [`Ack`].
pub fn write_ack(out: &mut Vec<u8>, message: &Ack) {
    write(out, Kind::Ack, message);
}

/// Appends an [`ErrorReply`].
pub fn write_error(out: &mut Vec<u8>, message: &ErrorReply<'_>) {
    write(out, Kind::Error, message);
}

/// Appends a [`Disconnect`].
pub fn write_disconnect(out: &mut Vec<u8>, message: &Disconnect<'_>) {
    write(out, Kind::Disconnect, message);
}

/// Appends a ping of the server.
pub fn write_server_ping(out: &mut Vec<u8>) {
    write_empty(out, Kind::ServerPing);
}

/// Appends the server's answer to a client's ping.
pub fn write_server_pong(out: &mut Vec<u8>) {
    write_empty(out, Kind::ServerPong);
}

/// Appends a [`Hello`].
pub fn write_hello(out: &mut Vec<u8>, message: &Hello<'_>) {
    write(out, Kind::Hello, message);
}

/// Appends a [`Subscribe`].
pub fn write_subscribe(out: &mut Vec<u8>, message: &Subscribe<'_>) {
    write(out, Kind::Subscribe, message);
}

/// Appends an [`Unsubscribe`].
pub fn write_unsubscribe(out: &mut Vec<u8>, message: &Unsubscribe<'_>) {
    write(out, Kind::Unsubscribe, message);
}

/// Appends a [`Publish`].
pub fn write_publish(out: &mut Vec<u8>, message: &Publish<'_>) {
    write(out, Kind::Publish, message);
}

/// Appends a ping of a client.
pub fn write_client_ping(out: &mut Vec<u8>) {
    write_empty(out, Kind::ClientPing);
}

/// Appends a client's answer to a ping.
pub fn write_client_pong(out: &mut Vec<u8>) {
    write_empty(out, Kind::ClientPong);
}

fn write<M>(out: &mut Vec<u8>, kind: Kind, message: &M)
where
    M: SerializeUnsized<Strategy<Vec<u8>, Panic>>,
{
    let start = out.len();
    write_empty(out, kind);
    // Writing to a vector cannot fail; what can is a length past the format's, which is this module's documented panic.
    let Ok(_) = serialize_using::<_, Panic>(message, out);
    let archive_bytes = bounded(out.len() - start - HEADER_BYTES);
    out[start..start + HEADER_BYTES].copy_from_slice(
        &Header {
            archive_bytes,
            kind,
        }
        .to_bytes(),
    );
}

fn write_empty(out: &mut Vec<u8>, kind: Kind) {
    let header = Header {
        archive_bytes: 0,
        kind,
    };
    out.extend_from_slice(&header.to_bytes());
}

fn bounded(bytes: usize) -> u32 {
    assert!(
        bytes <= ARCHIVE_BYTES_MAX,
        "an archive of {bytes} bytes has passed no limit"
    );
    #[expect(clippy::cast_possible_truncation, reason = "checked in the line above")]
    let bytes = bytes as u32;
    bytes
}
