//! Which processor a thread runs on, and when.

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

/// How the scheduler treats a thread that has little to do, soon: the shortest slice that it takes, and a nice value.
const SLICE_NS: u64 = 100_000;
const NICE: i32 = -10;

/// Asks the scheduler to run the calling thread as soon as it wakes up, before threads that have long computations: in
/// slices of 100 µs (Linux 6.12; before that it has no meaning), and with a nice value of -10 where that is allowed
/// (`CAP_SYS_NICE` or `RLIMIT_NICE`). Whether it was.
///
/// # Errors
/// When not even the slices could be had.
pub fn prefer_latency() -> io::Result<bool> {
    if set_scheduling(NICE).is_ok() {
        return Ok(true);
    }
    set_scheduling(nice_now())?;
    Ok(false)
}

fn nice_now() -> i32 {
    // SAFETY: takes no memory. What may be an error is a valid value as well, and then as good as any.
    unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
}

fn set_scheduling(nice: i32) -> io::Result<()> {
    let attributes = libc::sched_attr {
        size: u32::try_from(size_of::<libc::sched_attr>()).unwrap_or_default(),
        sched_policy: libc::SCHED_OTHER.cast_unsigned(),
        // What it starts is not meant.
        sched_flags: libc::SCHED_FLAG_RESET_ON_FORK.unsigned_abs().into(),
        sched_nice: nice,
        sched_priority: 0,
        sched_runtime: SLICE_NS,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the kernel reads as many bytes as `size` says, which is the struct's; 0 is the calling thread.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
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

    #[test]
    fn a_thread_that_is_to_run_soon_is_known_as_such() {
        // In a thread of its own: what it asks for stays.
        let asked = std::thread::spawn(|| (prefer_latency(), nice_now())).join();
        let (has_priority, nice) = asked.expect("no panic");
        match has_priority.expect("slices are anybody's to ask for") {
            true => assert_eq!(nice, NICE),
            false => assert_eq!(nice, nice_now()),
        }
    }
}
