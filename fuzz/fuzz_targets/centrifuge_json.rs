//! Centrifuge commands: nothing panics, nothing follows an error, and what a client published goes out again as one line that
//! is JSON. The same text as what comes beside commands: a connect, an emulation request.

#![no_main]

use fanfare_wire::centrifuge::{Data, Method, Publication, json, unidirectional};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    payload(input);
    let _ = unidirectional::connect(input);
    let _ = json::emulation(input);
    if let Ok(text) = std::str::from_utf8(input) {
        commands(text);
    }
});

fn commands(text: &str) {
    let mut is_over = false;
    for command in json::commands(text) {
        assert!(!is_over, "nothing follows an error");
        let Ok(command) = command else {
            is_over = true;
            continue;
        };
        let Method::Publish(publish) = &command.method else {
            continue;
        };
        let line = json::normalise(&publish.data);
        assert!(publish.data.is_empty() || line.as_deref() == Some(&*publish.data));

        let publication = Publication {
            data: Data::Json(&publish.data),
            ..Publication::default()
        };
        let mut out = Vec::new();
        json::write_publication_push(&mut out, &publish.channel, &publication);
        assert!(!out.iter().any(|byte| matches!(byte, b'\n' | b'\r')));
    }
}

fn payload(bytes: &[u8]) {
    let mut out = Vec::new();
    match json::normalise(bytes) {
        Some(line) => {
            assert!(!line.iter().any(|byte| matches!(byte, b'\n' | b'\r')));
            assert_eq!(json::normalise(&line).as_deref(), Some(&*line));
            json::write_data(&mut out, &line, true);
        }
        None => json::write_data(&mut out, bytes, false),
    }
    assert!(json::normalise(&out).is_some());
}
