//! The client protocol of Centrifugo v6, so that its SDKs for JavaScript, Go, Dart, Swift, Java, Python and C# connect
//! without knowing that anything else answers.
//!
//! Source: `definitions/client.proto` of centrifugal/protocol. The types here are those messages, with what clients of
//! publications use, and know no encoding; [`json`] turns them into bytes and back.
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

mod command;
mod position;
mod push;
mod reply;

pub use command::{
    Command, Connect, ConnectSub, History, Method, Publish, SUBSCRIBE_FLAG_CHANNEL_COMPACTION,
    SUBSCRIBE_FLAG_REJECT_UNRECOVERED, Subscribe,
};
pub use position::{Epoch, StreamPosition};
pub use push::{ClientInfo, Data, Publication, SubscribePush};
pub use reply::{
    ConnectResult, ConnectSubResult, RefreshResult, SubRefreshResult, SubscribeResult,
};
