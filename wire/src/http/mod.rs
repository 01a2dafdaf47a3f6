//! HTTP/1.1 as far as client connections speak it: request heads, answers, and answers that go on for as long as the
//! connection does. RFC 9112.

mod head;
mod query;
mod response;

pub use head::{
    Body, HEAD_BYTES_MAX, HEADERS_MAX, Head, HeadError, WebSocketUpgrade, parse_head, upgrade,
};
pub use query::{NotUtf8, parameter};
pub use response::{Connection, LAST_CHUNK, write_chunk_with, write_response, write_stream_head};
