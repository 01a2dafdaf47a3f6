//! Which processor a thread runs on.

use std::io;
use std::mem::MaybeUninit;

/// The processors that the calling thread may run on, in ascending order: what a cpuset or `taskset` leaves of
/// the machine. Empty when the kernel does not say.
#[must_use]
pub fn allowed_cpus() -> Vec<usize> {
    let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed();
    // SAFETY: the kernel writes at most the size it is given, which is the set's.
    let result =
        unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), set.as_mut_ptr()) };
    if result != 0 {
        return Vec::new();
    }
    // SAFETY: zeroed bytes are a valid set, and the kernel has written a valid one over them.
    let set = unsafe { set.assume_init() };
    let bits = 8 * size_of::<libc::cpu_set_t>();
    // SAFETY: `cpu` is below the number of bits of the set.
    (0..bits)
        .filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) })
        .collect()
}

/// Keeps the calling thread on one processor.
///
/// # Errors
/// When the thread may not run there.
pub fn pin_to_cpu(cpu: usize) -> io::Result<()> {
    if cpu >= 8 * size_of::<libc::cpu_set_t>() {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let set = MaybeUninit::<libc::cpu_set_t>::zeroed();
    // SAFETY: zeroed bytes are a valid, empty set.
    let mut set = unsafe { set.assume_init() };
    // SAFETY: `cpu` is below the number of bits of the set, as checked above.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the kernel reads at most the size it is given, which is the set's.
    let result =
        unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_may_run_in_one_place() {
        let cpus = allowed_cpus();
        let last = *cpus.last().expect("this test runs somewhere");
        std::thread::spawn(move || {
            pin_to_cpu(last).expect("it is allowed");
            assert_eq!(allowed_cpus(), [last]);
            assert!(pin_to_cpu(1 << 20).is_err());
        })
        .join()
        .expect("no panic");
    }
}
