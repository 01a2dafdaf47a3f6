//! The operations a ring submits, and how their completions read.

use std::os::fd::RawFd;
use std::rc::Rc;

use io_uring::types::{CancelBuilder, DestinationSlot, Fd, Fixed};
use io_uring::{cqueue, opcode, squeue};

use super::buffers::{BufferLease, BufferPool};
use super::{Completion, Slot, Token};

/// The first of the kinds of operations that nobody but the ring knows of.
const KIND_FIRST: u8 = 0xf0;

/// A send of `send_all` that was not taken whole. Index: which one of the call.
pub(super) const KIND_SEND: u8 = KIND_FIRST;
/// A cancellation that found nothing.
const KIND_CANCEL: u8 = KIND_FIRST + 1;
/// A wake-up that could not be delivered to a peer. Index: the peer.
pub(super) const KIND_WAKE_FAILED: u8 = KIND_FIRST + 2;
/// A peer's wake-up.
const KIND_WOKEN: u8 = KIND_FIRST + 3;
/// The poll on the ring's own eventfd.
pub(super) const KIND_WAKER: u8 = KIND_FIRST + 4;
/// An update of the slot table.
pub(super) const KIND_INSTALL: u8 = KIND_FIRST + 5;

/// An option of a socket, set between sends.
pub(super) const KIND_OPTION: u8 = KIND_FIRST + 6;

/// The group that the ring's receive buffers are registered as.
pub(super) const BUFFER_GROUP: u16 = 0;

/// The kernel cuts a send at `MAX_RW_COUNT` (2 GiB less a page) and calls it whole. Sends up to here cannot
/// meet that limit.
const SEND_BYTES_MAX: u32 = 1 << 30;

/// How a send is made. `DONTWAIT`: it never waits in the kernel. `WAITALL`: a short one counts as failed, so it
/// does post a completion. `NOSIGNAL`: no `SIGPIPE`.
const SEND_FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL;

/// Poll masks as io_uring wants them.
const POLLIN: u32 = libc::POLLIN.cast_unsigned() as u32;
const POLLOUT: u32 = libc::POLLOUT.cast_unsigned() as u32;

pub(super) fn accept(listener: RawFd) -> squeue::Entry {
    opcode::AcceptMulti::new(Fd(listener))
        .allocate_file_index(true)
        .build()
}

pub(super) fn accept_one(listener: RawFd) -> squeue::Entry {
    opcode::Accept::new(Fd(listener), std::ptr::null_mut(), std::ptr::null_mut())
        .file_index(Some(DestinationSlot::auto_target()))
        .build()
}

/// Completes each time there is something to receive.
pub(super) fn poll_readable(slot: Slot, token: Token) -> squeue::Entry {
    opcode::PollAdd::new(Fixed(slot.0), POLLIN)
        .multi(true)
        .build()
        .user_data(token.0)
}

/// Receives what there is into a buffer of the group, for the receive with this token; -EAGAIN when there is nothing.
pub(super) fn receive_now(slot: Slot, token: Token) -> squeue::Entry {
    // Not longer than a buffer: the kernel cuts it.
    opcode::Recv::new(Fixed(slot.0), std::ptr::null_mut(), 0)
        .buf_group(BUFFER_GROUP)
        .flags(libc::MSG_DONTWAIT)
        .build()
        .flags(squeue::Flags::BUFFER_SELECT)
        .user_data(token.of_receive().0)
}

/// Puts bytes into a buffer of the group, once, as soon as there are some. The socket has to be one that blocks: of another
/// the kernel says at once that there is nothing.
pub(super) fn receive_once(slot: Slot) -> squeue::Entry {
    opcode::Recv::new(Fixed(slot.0), std::ptr::null_mut(), 0)
        .buf_group(BUFFER_GROUP)
        .build()
        .flags(squeue::Flags::BUFFER_SELECT)
}

/// Puts datagrams into buffers of the group until it ends, with what the header has room for before each. The header is
/// read when this is submitted, and later.
pub(super) fn receive_datagrams(slot: Slot, header: *const libc::msghdr) -> squeue::Entry {
    opcode::RecvMsgMulti::new(Fixed(slot.0), header, BUFFER_GROUP).build()
}

/// The same for the errors that wait; -EAGAIN when there are no more.
pub(super) fn receive_errors(slot: Slot, header: *const libc::msghdr) -> squeue::Entry {
    const FLAGS: u32 = (libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT).cast_unsigned();
    opcode::RecvMsgMulti::new(Fixed(slot.0), header, BUFFER_GROUP)
        .flags(FLAGS)
        .build()
}

/// Completes once when there is something to receive, or to accept.
pub(super) fn poll_readable_once(slot: Slot) -> squeue::Entry {
    opcode::PollAdd::new(Fixed(slot.0), POLLIN).build()
}

pub(super) fn poll_writable(slot: Slot) -> squeue::Entry {
    opcode::PollAdd::new(Fixed(slot.0), POLLOUT).build()
}

pub(super) fn shutdown(slot: Slot) -> squeue::Entry {
    opcode::Shutdown::new(Fixed(slot.0), libc::SHUT_WR).build()
}

pub(super) fn close(slot: Slot) -> squeue::Entry {
    opcode::Close::new(Fixed(slot.0)).build()
}

/// Posts no completion when all of `bytes` was taken, and one with the count or an error otherwise.
pub(super) fn send(slot: Slot, bytes: &[u8], index: u32) -> squeue::Entry {
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let entry = opcode::Send::new(Fixed(slot.0), bytes.as_ptr(), len.min(SEND_BYTES_MAX))
        .flags(SEND_FLAGS)
        .build()
        .user_data(Token::new(KIND_SEND, 0, index).0);
    if len > SEND_BYTES_MAX {
        // Cut, so even if the kernel takes all of it, it is to be reported as short.
        return entry;
    }
    entry.flags(squeue::Flags::SKIP_SUCCESS)
}

/// Puts the descriptor that `descriptor` points to into a free slot, whose number the kernel writes over it.
pub(super) fn install(descriptor: *const RawFd) -> squeue::Entry {
    const ANY_FREE_SLOT: i32 = -1;
    opcode::FilesUpdate::new(descriptor, 1)
        .offset(ANY_FREE_SLOT)
        .build()
        .user_data(Token::new(KIND_INSTALL, 0, 0).0)
}

/// Posts a completion on the peer's ring, and none here unless that fails.
pub(super) fn wake(ring: RawFd, peer: u16) -> squeue::Entry {
    opcode::MsgRingData::new(Fd(ring), 0, Token::new(KIND_WOKEN, 0, 0).0, None)
        .build()
        .flags(squeue::Flags::SKIP_SUCCESS)
        .user_data(Token::new(KIND_WAKE_FAILED, 0, u32::from(peer)).0)
}

/// Completes each time the eventfd is written to.
pub(super) fn poll_waker(eventfd: RawFd) -> squeue::Entry {
    opcode::PollAdd::new(Fd(eventfd), POLLIN)
        .multi(true)
        .build()
        .user_data(Token::new(KIND_WAKER, 0, 0).0)
}

pub(super) fn cancel_one(token: Token) -> squeue::Entry {
    cancel(CancelBuilder::user_data(token.0))
}

pub(super) fn cancel_everything() -> squeue::Entry {
    cancel(CancelBuilder::any())
}

fn cancel(what: CancelBuilder) -> squeue::Entry {
    opcode::AsyncCancel2::new(what)
        .build()
        .flags(squeue::Flags::SKIP_SUCCESS)
        .user_data(Token::new(KIND_CANCEL, 0, 0).0)
}

/// What a send that was not whole came to.
pub(super) fn taken(result: i32) -> Result<u32, i32> {
    match result {
        // Nothing was taken, and nothing is wrong: the socket is full, or a signal came first.
        _ if result == -libc::EAGAIN || result == -libc::EINTR => Ok(0),
        result => u32::try_from(result).map_err(|_| -result),
    }
}

/// Reads a completion of the ring's user, and leases the buffer that came with it.
pub(super) fn completion(
    pool: &Rc<BufferPool>,
    token: Token,
    entry: &cqueue::Entry,
) -> Completion<BufferLease> {
    let mut result = entry.result();
    let mut buffer = None;
    if let Some(id) = cqueue::buffer_select(entry.flags()) {
        // A buffer may come with an error or with the end of the stream; its lease is then dropped here.
        let len = usize::try_from(result).unwrap_or(0);
        let lease = pool.lease(id, len);
        if lease.is_none() {
            // A buffer that cannot be: the connection's bytes cannot be trusted.
            result = -libc::EIO;
        }
        buffer = lease.filter(|lease| !lease.is_empty());
    }
    Completion {
        token,
        result,
        more: cqueue::more(entry.flags()),
        buffer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_send_that_took_nothing_is_no_error() {
        assert_eq!(taken(-libc::EAGAIN), Ok(0));
        assert_eq!(taken(-libc::EINTR), Ok(0));
        assert_eq!(taken(1), Ok(1));
        assert_eq!(taken(-libc::EPIPE), Err(libc::EPIPE));
    }
}
