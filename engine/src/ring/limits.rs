//! The process's resource limits that bound its rings.

use std::io;

/// The process's bounds on a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResourceLimits {
    /// What applies.
    pub soft: u64,
    /// What `soft` can be raised to without privilege.
    pub hard: u64,
}

/// Raises the soft `RLIMIT_NOFILE` to the hard one; every slot of a ring's table counts against it.
///
/// # Errors
/// When the limits cannot be read or set.
pub fn raise_nofile() -> io::Result<ResourceLimits> {
    let limits = nofile()?;
    let raised = libc::rlimit {
        rlim_cur: limits.hard,
        rlim_max: limits.hard,
    };
    // SAFETY: reads the structure, which lives on this stack.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) } != 0 {
        return Err(io::Error::last_os_error());
    }
    nofile()
}

/// Keeps the process off transparent huge pages. Tables for a million connections are reserved whole and used as
/// they come, and allocators ask for huge pages: what is one page of use becomes two megabytes of memory
/// (docs/decisions/003).
///
/// # Errors
/// When the kernel does not know how.
pub fn disable_huge_pages() -> io::Result<()> {
    let unused: libc::c_ulong = 0;
    // SAFETY: takes numbers only.
    let result = unsafe {
        libc::prctl(
            libc::PR_SET_THP_DISABLE,
            1 as libc::c_ulong,
            unused,
            unused,
            unused,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

pub(super) fn nofile() -> io::Result<ResourceLimits> {
    of(libc::RLIMIT_NOFILE)
}

pub(super) fn memlock() -> io::Result<ResourceLimits> {
    of(libc::RLIMIT_MEMLOCK)
}

fn of(resource: libc::__rlimit_resource_t) -> io::Result<ResourceLimits> {
    let mut limits = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: writes the structure, which lives on this stack.
    if unsafe { libc::getrlimit(resource, &raw mut limits) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(ResourceLimits {
        soft: limits.rlim_cur,
        hard: limits.rlim_max,
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_rises_to_the_hard_one() {
        let limits = raise_nofile().unwrap();
        assert_eq!(limits.soft, limits.hard);
    }
}
