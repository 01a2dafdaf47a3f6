//! The protobuf encoding: every command and reply is a message of client.proto with its length, a varint, before it.
//!
//! A WebSocket binary message, or the body of a request, holds one or more commands; what goes down is one reply after
//! another. Text is UTF-8, payloads are any bytes.
//!
//! Both directions are written by hand: commands are read in place, and a reply goes straight to its vector, its lengths
//! counted beforehand, so that a publication allocates nothing on the way. The tests hold both against `prost`.
//!
//! ```
//! use fanfare_wire::centrifuge::{Data, Method, Publication, protobuf};
//!
//! // {id: 7, subscribe: {channel: "news"}}
//! let message = b"\x0a\x08\x07\x2a\x06\x0a\x04news";
//! for command in protobuf::commands(message) {
//!     let command = command?;
//!     let Method::Subscribe(subscribe) = &command.method else { continue };
//!     assert_eq!((command.id, &*subscribe.channel), (7, "news"));
//! }
//!
//! let publication = Publication { data: Data::Binary(b"\xff"), offset: 42, ..Publication::default() };
//! let mut out = Vec::new();
//! protobuf::write_publication_push(&mut out, "news", &publication);
//! // {push: {channel: "news", pub: {data: "\xff", offset: 42}}}
//! assert_eq!(out, b"\x0f\x22\x0d\x12\x04news\x22\x05\x22\x01\xff\x30\x2a");
//! # Ok::<(), protobuf::CommandError>(())
//! ```

mod command;
mod emulation;
mod fields;
mod filter;
mod push;
mod read;
mod reply;
mod write;

pub use super::command_error::{COMMANDS_MAX, CommandError};
pub use command::{Commands, commands};
pub use emulation::emulation;
pub use push::{
    PING, write_disconnect_push, write_join_push, write_leave_push, write_message_push,
    write_publication_push, write_subscribe_push, write_unsubscribe_push,
};
pub use reply::{
    write_connect, write_error, write_history, write_pong, write_presence, write_presence_stats,
    write_publish, write_refresh, write_rpc, write_sub_refresh, write_subscribe, write_unsubscribe,
};
