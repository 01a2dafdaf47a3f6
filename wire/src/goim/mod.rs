//! The client protocol of goim, version 2 and 1, so that its clients and SDKs need nothing but another address.
//!
//! `docs/protocol-goim.md` is the specification. A frame is a header of sixteen bytes and a body that is passed on as it is.
//! Over TCP the frames follow one another; over WebSocket (`/sub`) a message is one frame, and publications arrive inside of
//! a frame with the operation [`RAW`](Operation::RAW). Version 1 speaks JSON over WebSocket instead.
//!
//! The readers borrow from their input and keep no state; the writers append to a vector.
//!
//! ```
//! use fanfare_wire::goim::{self, Operation};
//! use fanfare_wire::ws::{Opcode, write_frame_with};
//!
//! // On TCP a push is a frame, on WebSocket a batch of one or more.
//! let push = |out: &mut Vec<u8>| goim::write_push(out, goim::PUSH_VERSION, Operation(1000), b"goal");
//! let mut tcp = Vec::new();
//! push(&mut tcp);
//! let mut websocket = Vec::new();
//! write_frame_with(&mut websocket, Opcode::Binary, |out| goim::write_batch(out, goim::PUSH_VERSION, push));
//!
//! let (frame, used) = goim::decode(&tcp, goim::BODY_BYTES_MAX)?.expect("all of it is there");
//! assert_eq!((frame.operation, frame.body, used), (Operation(1000), &b"goal"[..], tcp.len()));
//!
//! let batch = goim::decode_message(&websocket[2..], goim::BODY_BYTES_MAX)?;
//! assert_eq!((batch.operation, batch.body), (Operation::RAW, &tcp[..]));
//! # Ok::<(), goim::Error>(())
//! ```

mod auth;
mod batch;
mod decode;
mod encode;
mod operation;
mod read;
mod v1;

pub use auth::{
    ACCEPTS_MAX, Auth, AuthError, AuthV1, Generation, KEY_BYTES_MAX, ROOM_BYTES_MAX, ROOMS_MAX,
    generation, parse_auth, parse_auth_v1,
};
pub use batch::write_batch;
pub use decode::{
    BODY_BYTES_MAX, Error, Frame, HEADER_BYTES, V1_BODY_BYTES_MAX, decode, decode_message,
};
pub use encode::{
    BODY_BYTES_WRITTEN_MAX, PUSH_VERSION, V1_FRAME_BYTES_MAX, V1_PUSH_VERSION, V1_TEST_BODY,
    write_auth_reply, write_change_room_reply, write_frame, write_heartbeat_reply, write_push,
    write_receipt, write_sub_reply, write_unsub_reply, write_v1_heartbeat_reply,
    write_v1_test_reply,
};
pub use operation::{OPERATIONS_MAX, Operation, parse_operations};
pub use v1::{JsonError, MessageForm, decode_v1_json, message_form, write_v1_json};
