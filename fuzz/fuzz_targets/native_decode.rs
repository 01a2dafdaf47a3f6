//! Native frames of both sides: nothing panics, what is borrowed lies inside of the input, and what decodes encodes to a frame
//! that decodes to the same.

#![no_main]

use fanfare_wire::native::{self, ClientFrame, ServerFrame};
use libfuzzer_sys::fuzz_target;

const ARCHIVE_BYTES_MAX: u32 = 1 << 16;

fuzz_target!(|input: &[u8]| {
    client(input);
    server(input);
});

fn client(mut input: &[u8]) {
    while let Ok(Some((frame, used))) = native::decode_client(input, ARCHIVE_BYTES_MAX) {
        let mut out = Vec::new();
        match &frame {
            ClientFrame::Hello(message) => native::write_hello(&mut out, message),
            ClientFrame::Subscribe(message) => native::write_subscribe(&mut out, message),
            ClientFrame::Unsubscribe(message) => native::write_unsubscribe(&mut out, message),
            ClientFrame::Publish(message) => native::write_publish(&mut out, message),
            ClientFrame::Ping => native::write_client_ping(&mut out),
            ClientFrame::Pong => native::write_client_pong(&mut out),
        }
        assert_eq!(
            native::decode_client(&out, u32::MAX),
            Ok(Some((frame, out.len())))
        );
        input = &input[used..];
    }
}

fn server(mut input: &[u8]) {
    while let Ok(Some((frame, used))) = native::decode_server(input, ARCHIVE_BYTES_MAX) {
        let mut out = Vec::new();
        match &frame {
            ServerFrame::Welcome(message) => native::write_welcome(&mut out, message),
            ServerFrame::Subscribed(message) => native::write_subscribed(&mut out, message),
            ServerFrame::Unsubscribed(message) => native::write_unsubscribed(&mut out, message),
            ServerFrame::Publication(message) => {
                native::write_publication(&mut out, message.room, message.offset, message.data);
            }
            ServerFrame::Ack(message) => native::write_ack(&mut out, message),
            ServerFrame::Error(message) => native::write_error(&mut out, message),
            ServerFrame::Gap(message) => native::write_gap(&mut out, message),
            ServerFrame::Message(message) => native::write_message(&mut out, message),
            ServerFrame::Disconnect(message) => native::write_disconnect(&mut out, message),
            ServerFrame::Ping => native::write_server_ping(&mut out),
            ServerFrame::Pong => native::write_server_pong(&mut out),
        }
        assert_eq!(
            native::decode_server(&out, u32::MAX),
            Ok(Some((frame, out.len())))
        );
        input = &input[used..];
    }
}
