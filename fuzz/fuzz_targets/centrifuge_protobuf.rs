//! Centrifuge commands in protobuf: nothing panics, nothing follows an error, filters answer, and what a client published
//! goes out again behind its length. The same bytes as an emulation request.

#![no_main]

use fanfare_wire::centrifuge::{Data, Method, Publication, protobuf};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    commands(input);
    let _ = protobuf::emulation(input);
});

fn commands(message: &[u8]) {
    let mut is_over = false;
    for command in protobuf::commands(message) {
        assert!(!is_over, "nothing follows an error");
        let Ok(command) = command else {
            is_over = true;
            continue;
        };
        assert!(command.id > 0 || matches!(command.method, Method::Pong | Method::Send { .. }));
        match &command.method {
            Method::Publish(publish) => publication(&publish.channel, &publish.data, message),
            Method::Subscribe(subscribe) => {
                if let Some(Ok(filter)) = &subscribe.filter {
                    let tags = [("k".into(), "1".into()), ("a".into(), "b".into())];
                    let _ = filter.matches(&tags);
                }
            }
            _ => {}
        }
    }
}

fn publication(channel: &str, data: &[u8], message: &[u8]) {
    assert!(channel.len() + data.len() < message.len());
    let publication = Publication {
        data: Data::Binary(data),
        offset: data.len() as u64,
        ..Publication::default()
    };
    let mut out = Vec::new();
    protobuf::write_publication_push(&mut out, channel, &publication);
    let mut length = 0;
    let mut prefix_bytes = 0;
    for byte in &out {
        length |= usize::from(byte & 0x7F) << (7 * prefix_bytes);
        prefix_bytes += 1;
        if byte & 0x80 == 0 {
            break;
        }
    }
    assert_eq!(out.len(), prefix_bytes + length);
}
