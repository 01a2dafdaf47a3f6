//! The client protocol of Centrifugo v6, so that its SDKs for JavaScript, Go, Dart, Swift, Java, Python and C# connect
//! without knowing that anything else answers.
//!
//! Source: `definitions/client.proto` of centrifugal/protocol. The types here are those messages, with what clients of
//! publications use, and know no encoding; [`json`] and [`protobuf`] turn them into bytes and back, with functions of the same
//! names. [`unidirectional`] is what transports carry that go only one way, and [`Emulation`] the way up beside a stream that
//! goes down.
//!
//! A client sends [`Command`]s. Each with an id gets one reply with that id; pushes and pings come unasked. A WebSocket text
//! message holds one or more commands, or replies, one a line.
//!
//! ```
//! use fanfare_wire::centrifuge::{Data, Method, Publication, json};
//!
//! let text = r#"{"id":7,"subscribe":{"channel":"news"}}"#;
//! for command in json::commands(text) {
//!     let command = command?;
//!     let Method::Subscribe(subscribe) = &command.method else { continue };
//!     assert_eq!((command.id, &*subscribe.channel), (7, "news"));
//! }
//!
//! let publication = Publication { data: Data::Json(br#"{"goal":1}"#), offset: 42, ..Publication::default() };
//! let mut out = Vec::new();
//! json::write_publication_push(&mut out, "news", &publication);
//! assert_eq!(out, br#"{"push":{"channel":"news","pub":{"data":{"goal":1},"offset":42}}}"#);
//! # Ok::<(), json::CommandError>(())
//! ```

pub mod codes;
pub mod json;
pub mod protobuf;

mod command;
mod command_error;
mod emulation;
mod filter;
mod parts;
mod position;
mod push;
mod reply;

pub use command::{
    CONNECT_PARAMETER, Command, Connect, ConnectSub, History, Method, Publish,
    SUBSCRIBE_FLAG_CHANNEL_COMPACTION, SUBSCRIBE_FLAG_REJECT_UNRECOVERED, Subscribe,
};
pub use command_error::{COMMANDS_MAX, CONNECT_HEADERS_MAX, CONNECT_SUBS_MAX, CommandError};
pub use emulation::{Emulation, EmulationError};
pub use filter::{
    FILTER_DEPTH_MAX, FILTER_NODES_MAX, FILTER_TEXT_BYTES_MAX, FILTER_VALUES_MAX, FilterError,
    FilterNode, NumberTest, TagTest,
};
pub use json::unidirectional;
pub use position::{Epoch, StreamPosition};
pub use push::{ClientInfo, Data, Publication, RefreshPush, SubscribePush};
pub use reply::{
    ConnectResult, ConnectSubResult, RefreshResult, SubRefreshResult, SubscribeResult,
};
