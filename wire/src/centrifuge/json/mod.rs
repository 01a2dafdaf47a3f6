//! The JSON encoding: one command or reply a line, payloads passed on as they are.
//!
//! The writers append one reply to a vector, without a line break, and build nothing in between. As in Centrifugo's own
//! encoder a field that is zero, false or empty is left out, except the few that SDKs read without a default.

mod command;
mod emulation;
mod fields;
mod filter;
mod push;
mod read;
mod reply;
mod text;
pub mod unidirectional;
mod value;

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
pub use value::{DEPTH_MAX, normalise, write_data};
