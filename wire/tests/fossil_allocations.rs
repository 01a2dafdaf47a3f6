//! A delta allocates nothing once the vector it is written to and the memory it searches in have grown to the documents.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use fanfare_wire::fossil::{self, DOCUMENT_BYTES_MAX, Scratch};

struct Counting;

thread_local! {
    static ALLOCATED_BYTES: Cell<usize> = const { Cell::new(0) };
}

fn count(bytes: usize) {
    ALLOCATED_BYTES.with(|allocated| allocated.set(allocated.get() + bytes));
}

// SAFETY: passes everything on to the system's allocator; the count is thread-local, const-initialised, and needs no drop.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count(bytes);
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

fn allocated_bytes(run: impl FnOnce()) -> usize {
    let before = ALLOCATED_BYTES.get();
    run();
    ALLOCATED_BYTES.get() - before
}

fn document(version: u32, rows: u32) -> String {
    let row = |row: u32| format!("{{\"id\":{row},\"score\":{}}}", row * version % 1000);
    let rows: Vec<_> = (0..rows).map(row).collect();
    format!("{{\"rows\":[{}]}}", rows.join(","))
}

#[test]
fn the_count_counts() {
    assert_eq!(
        allocated_bytes(|| drop(std::hint::black_box(vec![1_u8; 3]))),
        3
    );
}

#[test]
fn deltas_after_the_first_allocate_nothing() {
    let versions: Vec<_> = (1..20).map(|version| document(version, 200)).collect();
    let mut out = Vec::with_capacity(16 << 10);
    let mut scratch = Scratch::new();
    let longest = document(999, 300);
    assert!(fossil::write_delta(
        &mut out,
        longest.as_bytes(),
        document(998, 300).as_bytes(),
        &mut scratch
    ));
    let mut deltas = 0;
    let allocated = allocated_bytes(|| {
        for pair in versions.windows(2) {
            out.clear();
            let [source, target] = [&pair[0], &pair[1]].map(|text| text.as_bytes());
            deltas += u32::from(fossil::write_delta(&mut out, source, target, &mut scratch));
        }
    });
    assert_eq!(deltas, 18);
    assert_eq!(allocated, 0);
}

#[test]
fn the_longest_source_takes_a_megabyte_and_a_half() {
    let words = (0..DOCUMENT_BYTES_MAX as u64 / 8).map(|at| at * at);
    let source: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
    let mut scratch = Scratch::new();
    let mut out = Vec::with_capacity(2 * DOCUMENT_BYTES_MAX);
    let target: Vec<u8> = source.iter().map(|byte| byte.wrapping_add(1)).collect();
    let allocated = allocated_bytes(|| {
        let _ = fossil::write_delta(&mut out, &source, &target, &mut scratch);
    });
    assert!(
        (1 << 20..=(3 << 19) + 8).contains(&allocated),
        "{allocated}"
    );
}
