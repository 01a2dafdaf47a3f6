//! What runs once per publication allocates nothing: with room in the output vector, encoders do not, and decoders of whole
//! input do not.

#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use fanfare_wire::centrifuge::{ClientInfo, Data, FilterNode, Method, Publication, json, protobuf};
use fanfare_wire::native::{self, ClientFrame, Publish, ServerFrame};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: passes everything on to the system's allocator; the count is thread-local, const-initialised, and needs no drop.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, bytes) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(run: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.get();
    run();
    ALLOCATIONS.get() - before
}

#[test]
fn the_count_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(vec![1_u8]))), 1);
}

#[test]
fn native_publications() {
    let data = [7; 1000];
    let mut out = Vec::with_capacity(8192);
    let encoding = allocations(|| {
        native::write_publication(&mut out, 1, 2, &data);
        native::write_gap(
            &mut out,
            &native::Gap {
                room: 1,
                from: 2,
                to: 3,
            },
        );
        native::write_message(&mut out, &native::Message { data: &data });
        native::write_publish(
            &mut out,
            &Publish {
                request: 1,
                room: "a room of some length",
                data: &data,
            },
        );
    });
    assert_eq!(encoding, 0);

    let decoding = allocations(|| {
        let Ok(Some((ServerFrame::Publication(publication), _))) =
            native::decode_server(&out, 8192)
        else {
            panic!("not a publication")
        };
        assert_eq!(publication.data, data);
    });
    assert_eq!(decoding, 0);
}

#[test]
fn a_native_publication_reserves_once() {
    let mut out = Vec::new();
    assert_eq!(
        allocations(|| native::write_publication(&mut out, 1, 2, &[7; 1000])),
        1
    );
}

#[test]
fn native_publishes() {
    let mut out = Vec::new();
    native::write_publish(
        &mut out,
        &Publish {
            request: 1,
            room: "a room of some length",
            data: &[7; 1000],
        },
    );
    let decoding = allocations(|| {
        let Ok(Some((ClientFrame::Publish(publish), _))) = native::decode_client(&out, 8192) else {
            panic!("not a publish")
        };
        assert_eq!(publish.data, [7; 1000]);
    });
    assert_eq!(decoding, 0);
}

#[test]
fn centrifuge_publications() {
    let tags = [("a\"b".into(), "c\n".into())];
    let info = ClientInfo {
        user: "ann",
        client: "0a",
        connection_info: b"{}",
        channel_info: b"",
    };
    let publication = Publication {
        data: Data::Json(b"{}"),
        info: Some(info),
        offset: u64::MAX,
        tags: &tags,
        delta: false,
        time_unix_ms: 1,
    };
    let binary = Publication {
        data: Data::Binary(&[0xFF; 1000]),
        ..publication
    };
    let text = Data::Text(b"\"\\\xc3");
    let mut out = Vec::with_capacity(8192);
    let encoding = allocations(|| {
        json::write_message_push(&mut out, text);
        json::write_publication_push(&mut out, "na\"me", &publication);
        json::write_publication_push(&mut out, "name", &binary);
        json::write_message_push(&mut out, Data::Json(b"1"));
        json::write_subscribe(&mut out, 1, &Default::default(), [publication, publication]);
    });
    assert_eq!(encoding, 0);
    assert!(out.capacity() == 8192);

    out.clear();
    let encoding = allocations(|| {
        protobuf::write_publication_push(&mut out, "name", &publication);
        protobuf::write_publication_push(&mut out, "name", &binary);
        protobuf::write_message_push(&mut out, text);
        protobuf::write_history(&mut out, 1, 2, 3, [publication, publication]);
    });
    assert_eq!(encoding, 0);
    assert!(out.capacity() == 8192);
}

#[test]
fn a_protobuf_publication_reserves_once() {
    let publication = Publication {
        data: Data::Binary(&[7; 1000]),
        offset: 1,
        ..Publication::default()
    };
    let mut out = Vec::new();
    assert_eq!(
        allocations(|| protobuf::write_publication_push(&mut out, "name", &publication)),
        1
    );
}

#[test]
fn protobuf_publishes() {
    // {id: 4, publish: {channel: "news", data: "\xff"}}
    let bytes = b"\x0d\x08\x04\x3a\x09\x0a\x04news\x12\x01\xff";
    let decoding = allocations(|| {
        let Some(Ok(command)) = protobuf::commands(bytes).next() else {
            panic!("not a command")
        };
        let Method::Publish(publish) = command.method else {
            panic!("not a publish")
        };
        assert_eq!(*publish.data, [0xFF]);
    });
    assert_eq!(decoding, 0);
}

#[test]
fn filters() {
    let leaves = ["eq", "sw", "ct", "lt", "gte"]
        .map(|cmp| format!(r#"{{"key":"price","cmp":"{cmp}","val":"9.99"}}"#))
        .join(",");
    let text = format!(
        r#"{{"id":1,"subscribe":{{"channel":"c","tf":{{"op":"or","nodes":[{leaves}]}}}}}}"#
    );
    let Some(Ok(command)) = json::commands(&text).next() else {
        panic!("not a command")
    };
    let Method::Subscribe(subscribe) = command.method else {
        panic!("not a subscribe")
    };
    let filter: FilterNode = subscribe.filter.unwrap().unwrap();
    let tags = [("a".into(), "b".into()), ("price".into(), "10.00".into())];
    assert_eq!(allocations(|| assert!(filter.matches(&tags))), 0);
}

#[test]
fn centrifuge_publishes_and_one_line_payloads() {
    let text =
        r#"{"publish":{"channel":"news","data":{"text":"a \"quoted\" text","number":1}},"id":4}"#;
    let decoding = allocations(|| {
        let Some(Ok(command)) = json::commands(text).next() else {
            panic!("not a command")
        };
        let Method::Publish(publish) = command.method else {
            panic!("not a publish")
        };
        assert!(matches!(
            json::normalise(&publish.data),
            Some(std::borrow::Cow::Borrowed(_))
        ));
    });
    assert_eq!(decoding, 0);
}
