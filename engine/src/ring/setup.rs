//! Making a ring: its sizes, what is asked of the kernel, and whether the kernel can do it.

use std::io;

use io_uring::{IoUring, Parameters, Probe, opcode};

use super::diagnosis::{
    Host, KERNEL_FLOOR, KernelVersion, RingSetupError, SetupStep, explain, kernel_version,
};
use super::limits;

/// The kernel's limit on a fixed-file table.
const SLOTS_MAX: u32 = 1 << 20;

/// The sizes of a [`KernelRing`](super::KernelRing).
#[derive(Debug, Clone, Copy)]
pub struct RingConfig {
    /// Direct descriptors: connections that the ring can hold. Lowered to `RLIMIT_NOFILE` and to 2^20, the
    /// kernel's bounds on one ring's table.
    pub slots: u32,
    /// Operations that fit in one `io_uring_enter`. Rounded up to a power of two.
    pub submission_entries: u32,
    /// Completions that fit before the kernel has to keep an overflow list. Rounded up to a power of two, and to
    /// `submission_entries` at least.
    pub completion_entries: u32,
    /// Provided receive buffers: a power of two, at most 32,768.
    pub buffers: u16,
    /// Bytes of one receive buffer.
    pub buffer_bytes: u32,
}

impl Default for RingConfig {
    fn default() -> Self {
        Self {
            slots: 65_536,
            submission_entries: 512,
            completion_entries: 4096,
            buffers: 256,
            buffer_bytes: 4096,
        }
    }
}

impl RingConfig {
    /// How many slots the table will have under the present limits.
    #[must_use]
    pub fn slots_allowed(&self) -> u32 {
        let descriptors = limits::nofile().map_or(SLOTS_MAX, |limits| {
            u32::try_from(limits.soft).unwrap_or(u32::MAX)
        });
        self.slots.min(descriptors).min(SLOTS_MAX)
    }
}

/// Checks that this host can run the engine's rings, with a small one that is dropped again.
///
/// # Errors
/// What is missing, why, and what to do.
pub fn probe() -> Result<KernelVersion, RingSetupError> {
    build(2, 4)
        .map_err(|source| explain(SetupStep::Ring, source, 0, &Host::read()))
        .and_then(|ring| check(&ring))
}

/// Makes the ring, with what helps where the kernel has it.
///
/// `SINGLE_ISSUER` ties it to the calling thread. `DEFER_TASKRUN` leaves completions to that thread's own
/// `io_uring_enter`, so nothing interrupts it; `TASKRUN_FLAG` tells it when one is worth making.
pub(super) fn build(submission_entries: u32, completion_entries: u32) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .setup_submit_all()
        .setup_clamp()
        .setup_cqsize(completion_entries.max(submission_entries));
    // 6.6 can do without the indirection of submissions; older kernels refuse the flag.
    match builder.clone().setup_no_sqarray().build(submission_entries) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            builder.build(submission_entries)
        }
        result => result,
    }
}

/// Checks that a ring has the operations and features that the engine uses.
pub(super) fn check(ring: &IoUring) -> Result<KernelVersion, RingSetupError> {
    let kernel = kernel_version();
    if kernel < KERNEL_FLOOR {
        return Err(RingSetupError::KernelTooOld { found: kernel });
    }
    let mut supported = Probe::new();
    ring.submitter()
        .register_probe(&mut supported)
        .map_err(|source| explain(SetupStep::Probe, source, 0, &Host::read()))?;
    let missing = missing_of(|code| supported.is_supported(code), ring.params());
    match missing {
        Some(what) => Err(RingSetupError::Missing { what, kernel }),
        None => Ok(kernel),
    }
}

fn missing_of(is_supported: impl Fn(u8) -> bool, params: &Parameters) -> Option<&'static str> {
    let operations = [
        (opcode::AcceptMulti::CODE, "ACCEPT"),
        (opcode::Recv::CODE, "RECV"),
        (opcode::Send::CODE, "SEND"),
        (opcode::PollAdd::CODE, "POLL_ADD"),
        (opcode::AsyncCancel2::CODE, "ASYNC_CANCEL"),
        (opcode::Shutdown::CODE, "SHUTDOWN"),
        (opcode::Close::CODE, "CLOSE"),
        (opcode::FilesUpdate::CODE, "FILES_UPDATE"),
        (opcode::MsgRingData::CODE, "MSG_RING"),
    ];
    let features = [
        (params.is_feature_nodrop(), "the NODROP feature"),
        (params.is_feature_ext_arg(), "the EXT_ARG feature"),
        (params.is_feature_fast_poll(), "the FAST_POLL feature"),
        (
            params.is_feature_skip_cqe_on_success(),
            "the CQE_SKIP feature",
        ),
    ];
    let operation = operations
        .iter()
        .find(|(code, _)| !is_supported(*code))
        .map(|(_, name)| *name);
    operation.or_else(|| {
        features
            .iter()
            .find(|(present, _)| !present)
            .map(|(_, name)| *name)
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_missing_operation_is_named() {
        let ring = build(2, 4).unwrap();
        assert_eq!(missing_of(|_| true, ring.params()), None);
        assert_eq!(
            missing_of(|code| code != opcode::MsgRingData::CODE, ring.params()),
            Some("MSG_RING")
        );
    }

    #[test]
    fn this_host_passes_the_probe() {
        assert!(probe().unwrap() >= KERNEL_FLOOR);
    }

    #[test]
    fn buffers_that_cannot_be_provided_are_refused() {
        for (buffers, buffer_bytes) in [(0, 64), (3, 64), (16, 0), (40_000, 64)] {
            let config = RingConfig {
                slots: 8,
                buffers,
                buffer_bytes,
                ..RingConfig::default()
            };
            let error = super::super::KernelRing::new(config, Vec::new()).unwrap_err();
            assert!(matches!(error, RingSetupError::Buffers { .. }), "{error:?}");
        }
    }
}
