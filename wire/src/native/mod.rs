//! Fanfare's own protocol: a six-byte header, then an rkyv archive that is read where it lies.
//!
//! `docs/protocol-native.md` is the specification, and `tests/golden/native/` its bytes. The decoder borrows everything from
//! its input and keeps no state: hand it what has arrived, drop what it took, keep the rest. The encoders append to a vector.
//!
//! Over TCP the frames follow one another; over WebSocket (`/connection/native`) a binary message holds whole frames.
//!
//! ```
//! use fanfare_wire::native::{self, ServerFrame};
//!
//! let mut out = Vec::new();
//! native::write_publication(&mut out, 7, 42, b"goal");
//! assert_eq!(out.len(), native::PUBLICATION_OVERHEAD_BYTES + 4);
//!
//! let Ok(Some((ServerFrame::Publication(publication), used))) = native::decode_server(&out, 1024) else {
//!     panic!("not the publication that was written");
//! };
//! assert_eq!((publication.room, publication.offset, publication.data), (7, 42, &b"goal"[..]));
//! assert_eq!(used, out.len());
//! ```

mod decode;
mod encode;
mod field;
mod header;
mod messages;

pub use decode::{ClientFrame, Error, ServerFrame, decode_client, decode_server};
pub use encode::{
    ARCHIVE_BYTES_MAX, PUBLICATION_OVERHEAD_BYTES, write_ack, write_client_ping, write_client_pong,
    write_disconnect, write_error, write_gap, write_hello, write_message, write_publication,
    write_publish, write_server_ping, write_server_pong, write_subscribe, write_subscribed,
    write_unsubscribe, write_unsubscribed, write_welcome,
};
pub use header::{HEADER_BYTES, Kind, VERSION};
pub use messages::{
    Ack, Disconnect, ErrorReply, Gap, Hello, Message, Publication, Publish, Subscribe, Subscribed,
    Unsubscribe, Unsubscribed, Welcome,
};
