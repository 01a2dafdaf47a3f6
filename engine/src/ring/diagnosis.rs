//! Why a ring cannot be made on this host, and what to do about it.

use std::fmt;
use std::fs;
use std::io;
use std::mem::MaybeUninit;

use thiserror::Error;

use super::buffers::BUFFERS_MAX;
use super::limits;

/// The oldest kernel that has everything: 6.1 brought `DEFER_TASKRUN`; multishot poll and direct accept into a
/// free slot are older.
pub(super) const KERNEL_FLOOR: KernelVersion = KernelVersion { major: 6, minor: 1 };

/// Why a ring could not be made, and what to do about it.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "the messages say what each field is")]
pub enum RingSetupError {
    /// The kernel predates what the engine needs.
    #[error(
        "kernel {found} is too old: Fanfare needs Linux {KERNEL_FLOOR} or newer (io_uring with deferred task work); boot a newer kernel"
    )]
    KernelTooOld { found: KernelVersion },

    /// `kernel.io_uring_disabled = 2`.
    #[error(
        "io_uring is switched off on this host (kernel.io_uring_disabled = 2); run `sysctl kernel.io_uring_disabled=0`"
    )]
    Disabled,

    /// `kernel.io_uring_disabled = 1`, and the process is not in `kernel.io_uring_group`.
    #[error(
        "io_uring is restricted on this host (kernel.io_uring_disabled = 1, kernel.io_uring_group = {group}); add the service's user to that \
         group, or run `sysctl kernel.io_uring_disabled=0`"
    )]
    DisabledForGroup { group: i64 },

    /// A seccomp filter or a security module refuses the calls.
    #[error(
        "io_uring_setup is refused (errno {errno}) although kernel {kernel} has it: most likely by a container's seccomp profile, as Docker and \
         containerd ship them; run with a profile that allows io_uring_setup, io_uring_enter and io_uring_register"
    )]
    Refused { errno: i32, kernel: KernelVersion },

    /// `EMFILE` or `ENFILE`.
    #[error(
        "no descriptors left while {step} (wanted {slots} slots, RLIMIT_NOFILE is {nofile}); raise it (`LimitNOFILE=` in systemd, `ulimit -n`), \
         or run more shards with fewer connections each"
    )]
    Descriptors {
        step: SetupStep,
        slots: u32,
        nofile: u64,
    },

    /// `ENOMEM`.
    #[error(
        "no memory left while {step}: the ring counts against RLIMIT_MEMLOCK, which is {memlock_bytes} bytes; raise it (`LimitMEMLOCK=infinity` in \
         systemd, `ulimit -l`), or make buffers and queues smaller"
    )]
    Memory { step: SetupStep, memlock_bytes: u64 },

    /// The kernel lacks an operation or a feature, although it is new enough by its number.
    #[error(
        "kernel {kernel} has io_uring without {what}, which Fanfare needs; boot a kernel of {KERNEL_FLOOR} or newer with it built in"
    )]
    Missing {
        what: &'static str,
        kernel: KernelVersion,
    },

    /// The configuration asks for what cannot be.
    #[error(
        "{count} receive buffers of {bytes} bytes cannot be provided: the count must be a power of two up to {BUFFERS_MAX}, the size at least 1"
    )]
    Buffers { count: u16, bytes: u32 },

    /// Anything else.
    #[error("the kernel refused {step}: {source}")]
    Other { step: SetupStep, source: io::Error },
}

/// What was being done when setting up a ring failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetupStep {
    /// `io_uring_setup`.
    Ring,
    /// The sparse fixed-file table.
    Slots,
    /// The provided-buffer ring.
    Buffers,
    /// The eventfd that other threads wake the ring with.
    Waker,
    /// The bound on io-wq workers.
    Workers,
    /// The list of supported operations.
    Probe,
}

impl fmt::Display for SetupStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ring => "making the ring",
            Self::Slots => "registering the slot table",
            Self::Buffers => "registering receive buffers",
            Self::Waker => "making the waker",
            Self::Workers => "bounding the worker threads",
            Self::Probe => "asking for the supported operations",
        })
    }
}

/// A kernel's version, as far as features depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion {
    /// The 6 of 6.1.
    pub major: u16,
    /// The 1 of 6.1.
    pub minor: u16,
}

impl KernelVersion {
    /// Reads the version out of a release such as `6.18.44-cloud`.
    #[must_use]
    pub fn parse(release: &str) -> Option<Self> {
        let mut numbers = release.split(|c: char| !c.is_ascii_digit());
        let major = numbers.next()?.parse().ok()?;
        let minor = numbers.next()?.parse().ok()?;
        Some(Self { major, minor })
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// What a failure to set up depends on besides its errno. Read once the failure has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Host {
    pub(super) kernel: KernelVersion,
    /// `kernel.io_uring_disabled`; absent before 6.6.
    pub(super) disabled: Option<u8>,
    /// `kernel.io_uring_group`; -1 when none is set.
    pub(super) group: i64,
    pub(super) nofile: u64,
    pub(super) memlock_bytes: u64,
}

impl Host {
    pub(super) fn read() -> Self {
        Self {
            kernel: kernel_version(),
            disabled: sysctl("io_uring_disabled"),
            group: sysctl("io_uring_group").unwrap_or(-1),
            nofile: limits::nofile().map_or(0, |limits| limits.soft),
            memlock_bytes: limits::memlock().map_or(0, |limits| limits.soft),
        }
    }
}

/// Names the cause of a failed step.
pub(super) fn explain(
    step: SetupStep,
    source: io::Error,
    slots: u32,
    host: &Host,
) -> RingSetupError {
    let errno = source.raw_os_error().unwrap_or(0);
    match errno {
        libc::ENOSYS | libc::EPERM | libc::EACCES if host.disabled == Some(2) => {
            RingSetupError::Disabled
        }
        libc::EPERM | libc::EACCES if host.disabled == Some(1) => {
            RingSetupError::DisabledForGroup { group: host.group }
        }
        libc::ENOSYS | libc::EINVAL if host.kernel < KERNEL_FLOOR => {
            RingSetupError::KernelTooOld { found: host.kernel }
        }
        libc::ENOSYS | libc::EPERM | libc::EACCES => RingSetupError::Refused {
            errno,
            kernel: host.kernel,
        },
        libc::EMFILE | libc::ENFILE => RingSetupError::Descriptors {
            step,
            slots,
            nofile: host.nofile,
        },
        libc::ENOMEM => RingSetupError::Memory {
            step,
            memlock_bytes: host.memlock_bytes,
        },
        _ => RingSetupError::Other { step, source },
    }
}

/// The running kernel's version; 0.0 when it names none.
pub(super) fn kernel_version() -> KernelVersion {
    let unknown = KernelVersion { major: 0, minor: 0 };
    let mut names = MaybeUninit::<libc::utsname>::zeroed();
    // SAFETY: writes the structure, which lives on this stack.
    if unsafe { libc::uname(names.as_mut_ptr()) } != 0 {
        return unknown;
    }
    // SAFETY: all bytes are initialised (zeroed, then written), and any bytes make valid character arrays.
    let names = unsafe { names.assume_init() };
    let release: String = names
        .release
        .iter()
        .map_while(|&c| u8::try_from(c).ok())
        .map(char::from)
        .collect();
    KernelVersion::parse(&release).unwrap_or(unknown)
}

fn sysctl<T: std::str::FromStr>(name: &str) -> Option<T> {
    fs::read_to_string(format!("/proc/sys/kernel/{name}"))
        .ok()?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: Host = Host {
        kernel: KernelVersion {
            major: 6,
            minor: 18,
        },
        disabled: Some(0),
        group: -1,
        nofile: 1024,
        memlock_bytes: 65_536,
    };

    fn explained(errno: i32, host: Host) -> RingSetupError {
        explain(
            SetupStep::Ring,
            io::Error::from_raw_os_error(errno),
            5000,
            &host,
        )
    }

    #[test]
    fn the_cause_is_told_from_errno_and_host() {
        use RingSetupError as E;
        let old = Host {
            kernel: KernelVersion {
                major: 5,
                minor: 15,
            },
            disabled: None,
            ..HOST
        };
        let off = Host {
            disabled: Some(2),
            ..HOST
        };
        let grouped = Host {
            disabled: Some(1),
            group: 77,
            ..HOST
        };
        // EPERM is what a sysctl and a seccomp filter both answer; only the sysctl tells them apart.
        assert!(matches!(explained(libc::EPERM, off), E::Disabled));
        assert!(matches!(
            explained(libc::EPERM, grouped),
            E::DisabledForGroup { group: 77 }
        ));
        assert!(matches!(
            explained(libc::EPERM, HOST),
            E::Refused {
                errno: libc::EPERM,
                ..
            }
        ));
        assert!(matches!(explained(libc::ENOSYS, HOST), E::Refused { .. }));
        assert!(matches!(explained(libc::EPERM, old), E::Refused { .. }));
        assert!(matches!(
            explained(libc::ENOSYS, old),
            E::KernelTooOld { .. }
        ));
        assert!(matches!(
            explained(libc::EINVAL, old),
            E::KernelTooOld { .. }
        ));
        assert!(matches!(explained(libc::EINVAL, HOST), E::Other { .. }));
        assert!(matches!(
            explained(libc::EMFILE, HOST),
            E::Descriptors {
                slots: 5000,
                nofile: 1024,
                ..
            }
        ));
        assert!(matches!(
            explained(libc::ENFILE, HOST),
            E::Descriptors { .. }
        ));
        assert!(matches!(
            explained(libc::ENOMEM, HOST),
            E::Memory {
                memlock_bytes: 65_536,
                ..
            }
        ));
    }

    #[test]
    fn messages_name_the_remedy() {
        let off = Host {
            disabled: Some(2),
            ..HOST
        };
        assert!(
            explained(libc::EPERM, off)
                .to_string()
                .contains("sysctl kernel.io_uring_disabled=0")
        );
        assert!(explained(libc::EPERM, HOST).to_string().contains("seccomp"));
        assert!(
            explained(libc::EMFILE, HOST)
                .to_string()
                .contains("LimitNOFILE")
        );
        assert!(
            explained(libc::ENOMEM, HOST)
                .to_string()
                .contains("LimitMEMLOCK")
        );
    }

    #[test]
    fn versions_are_read_from_releases() {
        let version = |major, minor| Some(KernelVersion { major, minor });
        assert_eq!(KernelVersion::parse("6.18.44-cloud-amd64"), version(6, 18));
        assert_eq!(KernelVersion::parse("6.1.0"), version(6, 1));
        assert_eq!(KernelVersion::parse("7.0-rc1"), version(7, 0));
        assert_eq!(KernelVersion::parse("unknown"), None);
        assert!(KernelVersion { major: 6, minor: 0 } < KERNEL_FLOOR);
        assert!(
            KernelVersion {
                major: 10,
                minor: 0
            } > KERNEL_FLOOR
        );
    }
}
