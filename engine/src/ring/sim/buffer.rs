//! The counted pool of receive buffers, and the lease on one of them.

use std::cell::RefCell;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

/// What a returned buffer is filled with, so that code which kept its bytes by number reads nonsense.
const POISON: u8 = 0xde;

/// The provided buffers of one ring.
#[derive(Debug)]
pub(super) struct Pool {
    free: Vec<Box<[u8]>>,
    buffer_bytes: usize,
    total: u32,
}

impl Pool {
    pub(super) fn new(buffers: u32, buffer_bytes: usize) -> Self {
        let free = (0..buffers)
            .map(|_| vec![POISON; buffer_bytes].into_boxed_slice())
            .collect();
        Self {
            free,
            buffer_bytes,
            total: buffers,
        }
    }

    pub(super) fn free(&self) -> u32 {
        u32::try_from(self.free.len()).expect("the pool was made with a u32 of buffers")
    }

    pub(super) const fn total(&self) -> u32 {
        self.total
    }

    pub(super) const fn buffer_bytes(&self) -> usize {
        self.buffer_bytes
    }
}

/// A lease on a buffer of the pool, as long as the bytes received. Dropping it gives the buffer back.
pub struct SimBuffer {
    bytes: Box<[u8]>,
    length: usize,
    pool: Rc<RefCell<Pool>>,
}

impl SimBuffer {
    /// Takes a free buffer and fills it; `received` is at most one buffer long.
    pub(super) fn lease(pool: &Rc<RefCell<Pool>>, received: &[u8]) -> Option<Self> {
        let mut bytes = pool.borrow_mut().free.pop()?;
        bytes[..received.len()].copy_from_slice(received);
        Some(Self {
            bytes,
            length: received.len(),
            pool: Rc::clone(pool),
        })
    }
}

impl Deref for SimBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl DerefMut for SimBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.length]
    }
}

impl Drop for SimBuffer {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.fill(POISON);
        self.pool.borrow_mut().free.push(bytes);
    }
}

impl fmt::Debug for SimBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimBuffer")
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}
