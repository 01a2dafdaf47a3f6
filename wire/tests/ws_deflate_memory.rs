//! What compression costs: nothing per connection between messages, and no more than was allowed during one.

#![cfg(not(miri))]
#![allow(clippy::unwrap_used, unsafe_code)]

mod ws_support;

use fanfare_wire::ws::{
    Decoder, Deflater, Event, Inflater, Limits, Opcode, Role, write_deflated_frame,
};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};
use ws_support::*;

/// Counts the bytes each thread has allocated.
struct Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

fn count(change: isize) {
    LIVE.with(|live| {
        live.set(live.get() + change);
        PEAK.with(|peak| peak.set(peak.get().max(live.get())));
    });
}

// SAFETY: every call goes to the system allocator unchanged; the counters are plain thread-locals without destructors. What is not
// overridden goes through these two.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        count(layout.size().cast_signed());
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: `pointer` came from `alloc` above, that is from the system allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Cost {
    allocations: usize,
    /// Allocated and not freed.
    kept_bytes: isize,
    /// Most that was allocated at once.
    peak_bytes: isize,
}

fn cost(work: impl FnOnce()) -> Cost {
    let allocations = ALLOCATIONS.with(Cell::get);
    let live = LIVE.with(Cell::get);
    PEAK.with(|peak| peak.set(live));
    work();
    Cost {
        allocations: ALLOCATIONS.with(Cell::get) - allocations,
        kept_bytes: LIVE.with(Cell::get) - live,
        peak_bytes: PEAK.with(Cell::get) - live,
    }
}

const LIMITS: Limits = Limits {
    message_bytes_max: 65_536,
    fragments_max: 128,
};

fn deflated(plain: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    write_deflated_frame(&mut frame, Opcode::Text, plain, &mut Deflater::new());
    assert_eq!(frame[0], 0xC1, "it was compressed");
    let header_bytes = if frame[1] < 126 { 2 } else { 4 };
    frame.split_off(header_bytes)
}

#[test]
fn a_decoder_that_inflates_is_16_bytes_too() {
    assert_eq!(size_of::<Decoder>(), 16);
    let cost = cost(|| {
        assert_eq!(Decoder::with_deflate(Role::Server).heap_bytes(), 0);
    });
    assert_eq!(cost.allocations, 0);
}

#[test]
fn both_sides_take_their_memory_with_the_first_message_and_once() {
    let json = "{\"text\":\"hello\"}".repeat(100);
    let mut deflater = Deflater::new();
    let mut inflater = Inflater::new();
    let mut out = Vec::with_capacity(4096);

    let created = cost(|| {
        Deflater::new();
        Inflater::new();
    });
    assert_eq!(created.allocations, 0);
    let mut write = |out: &mut Vec<u8>| {
        write_deflated_frame(out, Opcode::Text, json.as_bytes(), &mut deflater);
    };
    let first = cost(|| write(&mut out));
    assert!(
        (1..=280 << 10).contains(&first.kept_bytes),
        "{}",
        first.kept_bytes
    );
    let next = cost(|| write(&mut out));
    assert_eq!(next.allocations, 0);

    let frame = text(deflated(json.as_bytes())).deflated().bytes();
    let mut decoder = Decoder::with_deflate(Role::Server);
    let mut read = |mut input: Vec<u8>| {
        let mut at = 0;
        let mut events = 0;
        while let (consumed, Some(event)) = decoder
            .next_inflating(&mut input[at..], &LIMITS, &mut inflater)
            .unwrap()
        {
            assert_eq!(event, Event::Text(&json));
            at += consumed;
            events += 1;
        }
        assert_eq!(decoder.heap_bytes(), 0);
        events
    };
    let (one, many) = (frame.clone(), frame.repeat(50));
    let first = cost(|| assert_eq!(read(one.clone()), 1));
    assert!(
        (1..=48 << 10).contains(&first.kept_bytes),
        "{}",
        first.kept_bytes
    );
    let next = cost(|| assert_eq!(read(many.clone()), 50));
    assert_eq!(next.kept_bytes, 0);
}

#[test]
fn uncompressed_messages_are_lent_from_the_input_as_ever() {
    let mut decoder = Decoder::with_deflate(Role::Server);
    let mut inflater = Inflater::new();
    let mut input = stream(&[text("plain"), ping(b"ping"), binary([7; 3000])]);
    let mut events = 0;
    let cost = cost(|| {
        let mut at = 0;
        while let (consumed, Some(_)) = decoder
            .next_inflating(&mut input[at..], &LIMITS, &mut inflater)
            .unwrap()
        {
            at += consumed;
            events += 1;
        }
    });
    assert_eq!((events, cost.allocations), (3, 0));
}

#[test]
fn nothing_stays_with_a_connection_after_a_message_in_pieces() {
    let json = "{\"text\":\"hello\"}".repeat(3000);
    let payload = deflated(json.as_bytes());
    let frames = stream(&[
        text(&payload[..50]).more().deflated(),
        ping(b"between"),
        continuation(&payload[50..]),
    ]);
    let mut inflater = Inflater::new();
    let mut hello = text(deflated(json.as_bytes())).deflated().bytes();
    Decoder::with_deflate(Role::Server)
        .next_inflating(&mut hello, &LIMITS, &mut inflater)
        .unwrap();

    let mut decoder = Decoder::with_deflate(Role::Server);
    let cost = cost(|| {
        let mut input = frames.clone();
        let mut seen = 0;
        for piece in input.chunks_mut(3) {
            let mut at = 0;
            while let (consumed, Some(event)) = decoder
                .next_inflating(&mut piece[at..], &LIMITS, &mut inflater)
                .unwrap()
            {
                at += consumed;
                seen += usize::from(event == Event::Text(&json));
            }
        }
        assert_eq!(seen, 1);
        assert_eq!(decoder.heap_bytes(), 0);
    });
    assert_eq!(cost.kept_bytes, 0);
}

#[test]
fn a_bomb_takes_what_one_message_may_and_gives_it_back() {
    let bomb = deflated(&vec![b'x'; 60 << 20]);
    assert!(bomb.len() <= 65_536, "{}", bomb.len());
    let mut inflater = Inflater::new();
    let mut hello = text(deflated(&[b'x'; 1000])).deflated().bytes();
    Decoder::with_deflate(Role::Server)
        .next_inflating(&mut hello, &LIMITS, &mut inflater)
        .unwrap();

    let frame = text(&bomb).deflated().bytes();
    for piece_bytes in [frame.len(), 1000] {
        let mut decoder = Decoder::with_deflate(Role::Server);
        let mut input = frame.clone();
        let cost = cost(|| {
            let refused = input.chunks_mut(piece_bytes).any(|piece| {
                decoder
                    .next_inflating(piece, &LIMITS, &mut inflater)
                    .is_err()
            });
            assert!(refused);
            assert_eq!(decoder.heap_bytes(), 0);
        });
        assert_eq!(cost.kept_bytes, 0);
        // What it came as, if in pieces, and what it may become.
        let allowed = 2 * 65_536 + 1024;
        assert!(cost.peak_bytes <= allowed, "{} bytes", cost.peak_bytes);
    }
}
