//! The published PyPI package `centrifuge-python`, over WebSocket, JSON and protobuf. The scenarios are in
//! `peers/python`; they make the assertions, and these tests run the server under them.
#![allow(missing_docs)]

mod support;

use support::sdk;

/// What the server does not do yet: (transport, topic), with `*` for every topic of a transport.
const NOT_YET: &[(&str, &str)] = &[];

sdk::tests! { crate::support::peers::Peer::CentrifugePython, NOT_YET:
    ws_json = "ws-json",
    ws_protobuf = "ws-protobuf",
}
