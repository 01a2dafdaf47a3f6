//! Provided receive buffers: memory that the kernel fills and the shard leases.
//!
//! A buffer is in exactly one of two places: in the ring that the kernel takes from, or in one
//! [`BufferLease`]. The lease cannot be cloned and gives its buffer back when it is dropped, so a buffer goes
//! back exactly once, whatever became of the connection.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

/// The most buffers a ring can provide: the kernel's limit, so that the 16-bit tail cannot lap the head.
pub(super) const BUFFERS_MAX: u16 = 1 << 15;

/// What a recycled buffer is filled with in debug builds, to make a read through a stale pointer visible.
#[cfg(debug_assertions)]
const POISON: u8 = 0xdb;

/// A received message's bytes, in one of the ring's buffers. Dropping it gives the buffer back.
pub struct BufferLease {
    pool: Rc<BufferPool>,
    id: u16,
    len: usize,
}

impl Deref for BufferLease {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let start = self.pool.start_of(self.id);
        // SAFETY:
        // - `lease` checked that `id` is one of the pool's buffers and `len` at most a buffer's size, so the range
        //   lies in the mapping, which lives as long as the `Rc` held here.
        // - The mapping came zeroed from the kernel, so every byte is initialised.
        // - While the lease lives the buffer is not in the kernel's ring, so nobody writes to it, and no other
        //   lease has this id: `leased[id]` is set.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), self.len) }
    }
}

impl DerefMut for BufferLease {
    fn deref_mut(&mut self) -> &mut [u8] {
        let start = self.pool.start_of(self.id);
        // SAFETY: as in `deref`; the lease is borrowed exclusively, and it is the only way to these bytes.
        unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), self.len) }
    }
}

impl Drop for BufferLease {
    fn drop(&mut self) {
        self.pool.recycle(self.id);
    }
}

impl fmt::Debug for BufferLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferLease")
            .field("id", &self.id)
            .field("len", &self.len)
            .finish()
    }
}

/// One mapping: the ring of buffer descriptors that the kernel reads, then the buffers that it writes.
pub(super) struct BufferPool {
    mapping: NonNull<libc::c_void>,
    mapping_len: usize,
    buffers: NonNull<u8>,
    buffer_bytes: u32,
    count: u16,
    tail: Cell<u16>,
    leased: Box<[Cell<bool>]>,
    free: Cell<u32>,
}

impl BufferPool {
    /// Maps `count` buffers (a power of two, at most [`BUFFERS_MAX`]) and fills the ring with all of them.
    /// Pages are touched as they are used, not here.
    pub(super) fn new(count: u16, buffer_bytes: u32) -> io::Result<Rc<Self>> {
        debug_assert!(count.is_power_of_two() && count <= BUFFERS_MAX);
        let page = page_bytes();
        let ring_len = (usize::from(count) * size_of::<BufRingEntry>()).next_multiple_of(page);
        let mapping_len = usize::from(count)
            .checked_mul(buffer_bytes as usize)
            .and_then(|buffers_len| buffers_len.checked_add(ring_len))
            .ok_or(io::ErrorKind::OutOfMemory)?;
        // SAFETY: a fresh anonymous mapping touches no memory that exists.
        let mapping = unsafe {
            libc::mmap(
                ptr::null_mut(),
                mapping_len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if mapping == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let mapping = NonNull::new(mapping).ok_or(io::ErrorKind::OutOfMemory)?;
        // SAFETY: `ring_len` is inside the mapping, whose length is at least that.
        let buffers = unsafe { mapping.cast::<u8>().byte_add(ring_len) };
        let pool = Self {
            mapping,
            mapping_len,
            buffers,
            buffer_bytes,
            count,
            tail: Cell::new(0),
            leased: vec![Cell::new(false); usize::from(count)].into_boxed_slice(),
            free: Cell::new(u32::from(count)),
        };
        for id in 0..count {
            pool.offer(id);
        }
        Ok(Rc::new(pool))
    }

    /// Where the ring of descriptors starts, for its registration. Page-aligned, as the kernel demands.
    pub(super) fn ring_addr(&self) -> u64 {
        self.mapping.as_ptr().expose_provenance() as u64
    }

    pub(super) fn count(&self) -> u16 {
        self.count
    }

    /// Buffers that are not leased.
    pub(super) fn free(&self) -> u32 {
        self.free.get()
    }

    /// Takes the buffer that a completion names. `None` when it is not one that the kernel can have had: out of
    /// range, leased already, or longer than it is.
    pub(super) fn lease(self: &Rc<Self>, id: u16, len: usize) -> Option<BufferLease> {
        let leased = self.leased.get(usize::from(id))?;
        if leased.get() || len > self.buffer_bytes as usize {
            return None;
        }
        leased.set(true);
        self.free.set(self.free.get() - 1);
        Some(BufferLease {
            pool: Rc::clone(self),
            id,
            len,
        })
    }

    fn recycle(&self, id: u16) {
        #[cfg(debug_assertions)]
        self.poison(id);
        self.leased[usize::from(id)].set(false);
        self.free.set(self.free.get() + 1);
        self.offer(id);
    }

    /// Appends the buffer to the kernel's ring.
    fn offer(&self, id: u16) {
        let tail = self.tail.get();
        let entries = self.mapping.cast::<BufRingEntry>();
        // SAFETY: the index is below `count`, and the ring of `count` entries starts the mapping.
        let entry = unsafe { entries.add(usize::from(tail & (self.count - 1))).as_ptr() };
        // SAFETY: the entry lies past the published tail, because at most `count` buffers exist and this one is
        // not in the ring; the kernel does not read it until the store below. The setters leave the field that
        // overlays the tail alone. The zeroed mapping is a valid value, and pages are aligned enough for it.
        let entry = unsafe { &mut *entry };
        entry.set_addr(self.start_of(id).as_ptr().expose_provenance() as u64);
        entry.set_len(self.buffer_bytes);
        entry.set_bid(id);
        let tail = tail.wrapping_add(1);
        self.tail.set(tail);
        // SAFETY: `entries` is the start of the ring, where the tail is to be found.
        let published = unsafe { BufRingEntry::tail(entries.as_ptr()) };
        // SAFETY: the tail lies in the mapping, is aligned, and is accessed only here and by the kernel, which
        // reads it atomically. The mapping outlives this reference.
        let published = unsafe { AtomicU16::from_ptr(published.cast_mut()) };
        // Release: the kernel must see the entry before the tail that covers it.
        published.store(tail, Ordering::Release);
    }

    fn start_of(&self, id: u16) -> NonNull<u8> {
        // SAFETY: every `id` that is passed here is below `count` (`new` counts, `lease` checks), so the offset
        // stays inside the mapping.
        unsafe {
            self.buffers
                .byte_add(usize::from(id) * self.buffer_bytes as usize)
        }
    }

    #[cfg(debug_assertions)]
    fn poison(&self, id: u16) {
        let start = self.start_of(id);
        // SAFETY: the buffer lies in the mapping and belongs to the lease that is being dropped.
        unsafe { start.write_bytes(POISON, self.buffer_bytes as usize) };
    }
}

impl Drop for BufferPool {
    fn drop(&mut self) {
        // SAFETY: mapped in `new` with this length, and unmapped once. No lease is left (each holds an `Rc`), and
        // the ring keeps its `Rc` until the kernel has let go of the memory, or for ever.
        unsafe { libc::munmap(self.mapping.as_ptr(), self.mapping_len) };
    }
}

fn page_bytes() -> usize {
    // SAFETY: reads a constant of the system.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(bytes).unwrap_or(4096)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_leased_once_and_comes_back_once() {
        let pool = BufferPool::new(4, 64).unwrap();
        let lease = pool.lease(2, 10).unwrap();
        assert_eq!(lease.len(), 10);
        assert_eq!(pool.free(), 3);
        assert!(pool.lease(2, 1).is_none(), "leased already");
        drop(lease);
        assert_eq!(pool.free(), 4);
        assert!(pool.lease(2, 1).is_some());
    }

    #[test]
    fn ids_and_lengths_that_the_pool_does_not_have_are_refused() {
        let pool = BufferPool::new(4, 64).unwrap();
        assert!(pool.lease(4, 1).is_none());
        assert!(pool.lease(u16::MAX, 1).is_none());
        assert!(pool.lease(0, 65).is_none());
        assert_eq!(pool.free(), 4, "a refusal takes nothing");
    }

    #[test]
    fn buffers_do_not_overlap() {
        let pool = BufferPool::new(8, 16).unwrap();
        let mut leases: Vec<_> = (0..8).map(|id| pool.lease(id, 16).unwrap()).collect();
        for (value, lease) in (0_u8..).zip(&mut leases) {
            lease.fill(value);
        }
        for (value, lease) in (0_u8..).zip(&leases) {
            assert!(lease.iter().all(|&byte| byte == value));
        }
    }

    #[test]
    fn leases_outlive_their_pool() {
        let pool = BufferPool::new(1, 16).unwrap();
        let mut lease = pool.lease(0, 16).unwrap();
        drop(pool);
        lease.fill(7);
        assert_eq!(&*lease, &[7; 16]);
    }

    #[test]
    fn the_tail_wraps() {
        let pool = BufferPool::new(2, 16).unwrap();
        // Miri, which takes minutes for a whole lap, looks at the first steps only.
        let rounds = if cfg!(miri) { 500_u32 } else { 70_000 };
        for round in 0..rounds {
            let id = u16::from(round % 2 == 1);
            drop(pool.lease(id, 16).unwrap());
        }
        assert_eq!(pool.free(), 2);
    }
}
