//! Reading the files of `/proc`, with errors that say which file.

use std::io;
use std::path::Path;
use std::time::Duration;

/// `AT_PAGESZ` and `AT_CLKTCK` of the auxiliary vector, `getauxval(3)`.
const AUXV_PAGE_BYTES: u64 = 6;
const AUXV_CLOCK_TICKS: u64 = 17;

/// The text of a file; the error names it.
pub(super) fn read(path: impl AsRef<Path>) -> io::Result<String> {
    let path = path.as_ref();
    std::fs::read_to_string(path).map_err(|why| named(path, &why))
}

/// An error of a file, with its name. A process that ends between the open and the read gives `ESRCH`, which std has no
/// kind for; it is `NotFound` as if it had ended before.
pub(super) fn named(path: &Path, why: &io::Error) -> io::Error {
    let kind = match why.raw_os_error() {
        Some(libc::ESRCH) => io::ErrorKind::NotFound,
        _ => why.kind(),
    };
    io::Error::new(kind, format!("{}: {why}", path.display()))
}

/// What is said of a file whose text is not what the kernel documents.
pub(super) fn malformed(path: impl AsRef<Path>, wanted: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("{}: no {wanted} in it", path.as_ref().display()),
    )
}

/// The bytes of a line `Name:   123 kB`, as `/proc/meminfo` and `smaps_rollup` write them.
pub(super) fn kib_field(text: &str, name: &str) -> Option<u64> {
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kib: u64 = value.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kib.checked_mul(1024)
}

/// Bytes of a page.
pub(super) fn page_bytes() -> u64 {
    auxiliary(AUXV_PAGE_BYTES).unwrap_or(4096)
}

/// One tick of the times in `/proc/PID/stat` and `/proc/stat`; 10 ms on every architecture in use.
pub(super) fn clock_tick() -> Duration {
    let per_second = auxiliary(AUXV_CLOCK_TICKS).filter(|ticks| *ticks > 0);
    Duration::from_secs(1) / u32::try_from(per_second.unwrap_or(100)).unwrap_or(100)
}

/// A value of the auxiliary vector, read as a file because `getauxval` and `sysconf` are unsafe calls.
fn auxiliary(key: u64) -> Option<u64> {
    let bytes = std::fs::read("/proc/self/auxv").ok()?;
    let (words, _) = bytes.as_chunks::<{ size_of::<usize>() }>();
    words
        .chunks_exact(2)
        .find(|pair| u64::try_from(usize::from_ne_bytes(pair[0])) == Ok(key))
        .and_then(|pair| u64::try_from(usize::from_ne_bytes(pair[1])).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text =
            "SwapCached:            0 kB\nCached:          7518364 kB\nHugePages_Total:       0\n";
        assert_eq!(kib_field(text, "Cached"), Some(7_518_364 * 1024));
        assert_eq!(kib_field(text, "SwapCached"), Some(0));
        assert_eq!(kib_field(text, "Swap"), None, "a prefix of a name");
        assert_eq!(kib_field(text, "HugePages_Total"), None, "not in kB");
    }

    #[test]
    fn malformed_fields_are_none() {
        for text in [
            "Slab:",
            "Slab: kB",
            "Slab: -1 kB",
            "Slab: x kB",
            "Slab: 18446744073709551615 kB",
            "",
        ] {
            assert_eq!(kib_field(text, "Slab"), None, "{text}");
        }
    }

    #[test]
    fn the_kernel_says_its_units() {
        assert!(page_bytes().is_power_of_two() && page_bytes() >= 4096);
        assert_eq!(clock_tick(), Duration::from_millis(10));
    }

    #[test]
    fn errors_name_the_file() {
        let why = read("/proc/self/no-such-file").expect_err("there is none");
        assert_eq!(why.kind(), io::ErrorKind::NotFound);
        assert!(why.to_string().contains("/proc/self/no-such-file"));
    }

    #[test]
    fn a_process_that_ends_while_it_is_read_is_not_found() {
        let ended = named(
            Path::new("/proc/7/stat"),
            &io::Error::from_raw_os_error(libc::ESRCH),
        );
        assert_eq!(ended.kind(), io::ErrorKind::NotFound);
        let denied = named(
            Path::new("/proc/1/stat"),
            &io::Error::from_raw_os_error(libc::EACCES),
        );
        assert_eq!(denied.kind(), io::ErrorKind::PermissionDenied);
    }
}
