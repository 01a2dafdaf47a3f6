//! What a connection costs: nothing while idle or when frames come whole, what was received while a message is partial.

#![allow(clippy::unwrap_used, unsafe_code)]

mod ws_support;

use fanfare_wire::ws::{Decoder, Event, Limits, Role};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};
use ws_support::*;

/// Counts the allocations of each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system allocator unchanged; the counter is a plain thread-local without a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `alloc` above, that is from the system allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.with(Cell::get);
    work();
    ALLOCATIONS.with(Cell::get) - before
}

const LIMITS: Limits = Limits {
    message_bytes_max: 64 * 1024,
    fragments_max: 128,
};

#[test]
fn an_idle_decoder_is_16_bytes() {
    assert_eq!(size_of::<Decoder>(), 16);
    assert_eq!(Decoder::new(Role::Server).heap_bytes(), 0);
}

#[test]
fn whole_frames_are_lent_from_the_input_without_an_allocation() {
    let mut decoder = Decoder::new(Role::Server);
    let payload = "κόσμε".repeat(500);
    let frames = [text(&payload), ping(b"ping"), binary(&payload), text("")];
    let mut input = stream(&frames);
    let place = input.as_ptr_range();
    let mut events = 0;
    let count = allocations(|| {
        let mut at = 0;
        loop {
            let (consumed, event) = decoder.next(&mut input[at..], &LIMITS).unwrap();
            at += consumed;
            let lent = match event {
                Some(Event::Text(text)) => text.as_bytes(),
                Some(Event::Binary(bytes) | Event::Ping(bytes)) => bytes,
                Some(other) => panic!("{other:?} was not sent"),
                None => break,
            };
            assert!(place.start <= lent.as_ptr() && lent.as_ptr() <= place.end);
            events += 1;
        }
    });
    assert_eq!((events, count), (4, 0));
    assert!(decoder.is_idle());
}

#[test]
fn a_control_frame_between_fragments_is_lent_too() {
    let mut decoder = Decoder::new(Role::Server);
    let mut first = text("begun").more().bytes();
    assert!(matches!(decoder.next(&mut first, &LIMITS), Ok((_, None))));
    let mut between = ping(b"between").bytes();
    let count = allocations(|| {
        let (_, event) = decoder.next(&mut between, &LIMITS).unwrap();
        assert_eq!(event, Some(Event::Ping(b"between")));
    });
    assert_eq!(count, 0);
    assert!(!decoder.is_idle());
}

#[test]
fn a_declared_length_costs_nothing() {
    let mut decoder = Decoder::new(Role::Server);
    let declared = binary(vec![0; 64 * 1024]).bytes();
    let mut input = declared[..15].to_vec();
    assert_eq!(decoder.next(&mut input, &LIMITS), Ok((15, None)));
    assert!(!decoder.is_idle());
    assert!(decoder.heap_bytes() < 256, "{}", decoder.heap_bytes());
}

#[test]
fn memory_follows_what_was_received_and_ends_with_the_message() {
    let mut decoder = Decoder::new(Role::Server);
    let size = 60_000;
    let mut bytes = binary(vec![7; size]).bytes();
    let (rest, last) = bytes.split_at_mut(size);
    for (received, piece) in (1_usize..).zip(rest.chunks_mut(100)) {
        assert!(matches!(decoder.next(piece, &LIMITS), Ok((_, None))));
        assert!(decoder.heap_bytes() <= 2 * 100 * received + 256);
        assert!(decoder.heap_bytes() <= size + 256);
    }
    let (consumed, event) = decoder.next(last, &LIMITS).unwrap();
    assert_eq!(event, Some(Event::Binary(&vec![7; size])));
    assert_eq!(consumed, last.len());
    assert!(decoder.is_idle());
    assert!(decoder.heap_bytes() >= size, "the event is lent from it");
    assert_eq!(decoder.next(&mut [], &LIMITS), Ok((0, None)));
    assert_eq!(decoder.heap_bytes(), 0);
}

#[test]
fn a_cut_header_leaves_nothing_behind() {
    let mut decoder = Decoder::new(Role::Server);
    let mut bytes = text("Hello").bytes();
    let (head, tail) = bytes.split_at_mut(4);
    assert_eq!(decoder.next(head, &LIMITS), Ok((4, None)));
    assert!(decoder.heap_bytes() > 0);
    let (_, event) = decoder.next(tail, &LIMITS).unwrap();
    assert_eq!(event, Some(Event::Text("Hello")));
    assert_eq!(decoder.heap_bytes(), 0);
}

#[test]
fn a_million_empty_fragments_are_cut_off_early() {
    let mut decoder = Decoder::new(Role::Server);
    let mut first = text("").more().bytes();
    decoder.next(&mut first, &LIMITS).unwrap();
    let empty = continuation("").more().bytes();
    let accepted = (0..1_000_000)
        .take_while(|_| decoder.next(&mut empty.clone(), &LIMITS).is_ok())
        .count();
    // One place stays for the fragment that ends the message.
    assert_eq!(accepted, 126);
    assert_eq!(decoder.heap_bytes(), 0);
}
