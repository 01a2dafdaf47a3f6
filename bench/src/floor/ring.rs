//! Sends through a ring with nothing around it: what io_uring itself costs.

use std::io;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, RawFd};

use io_uring::types::Fixed;
use io_uring::{IoUring, opcode, squeue};

/// Sends that are handed to the kernel in one call.
const BATCH: u32 = 512;

/// A ring with the members' sockets registered.
pub(super) struct Sender {
    ring: IoUring,
    /// Kept open: the ring holds descriptors of its own, and these are what closes the connections in the end.
    members: Vec<TcpStream>,
}

impl Sender {
    pub(super) fn new(members: Vec<TcpStream>) -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .build(BATCH)?;
        let descriptors: Vec<RawFd> = members.iter().map(AsRawFd::as_raw_fd).collect();
        ring.submitter().register_files(&descriptors)?;
        Ok(Self { ring, members })
    }

    /// Sends `frame` to every member.
    pub(super) fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        let length = u32::try_from(frame.len()).map_err(io::Error::other)?;
        // As in the engine: the send never waits, one that is short posts a completion, one that is whole posts none.
        let flags = libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
        for member in 0..u32::try_from(self.members.len()).map_err(io::Error::other)? {
            let send = opcode::Send::new(Fixed(member), frame.as_ptr(), length)
                .flags(flags)
                .build()
                .flags(squeue::Flags::SKIP_SUCCESS);
            // SAFETY:
            // - `frame` is borrowed until this function returns, and it does not return before the kernel has consumed
            //   every entry that points into it: `submit` is called until the queue is empty, and on an error the
            //   process that calls this ends.
            // - The kernel copies within the submission: with `MSG_DONTWAIT` a send neither waits nor is tried again.
            let pushed = unsafe { self.ring.submission().push(&send) };
            pushed.map_err(io::Error::other)?;
            if (member + 1) % BATCH == 0 {
                self.submit()?;
            }
        }
        self.submit()
    }

    fn submit(&mut self) -> io::Result<()> {
        while !self.ring.submission().is_empty() {
            self.ring.submit()?;
        }
        if let Some(entry) = self.ring.completion().next() {
            return Err(io::Error::other(format!(
                "a send came to {} instead of all of it",
                entry.result()
            )));
        }
        Ok(())
    }
}
