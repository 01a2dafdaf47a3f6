//! Memory that no process is charged for: what the kernel holds for sockets, files, rings and page tables.
//!
//! These figures are of the whole machine. A growth between two moments is that of a server only when nothing else
//! happened; with the load generator on the same machine it is that of both ends of every connection.

use std::collections::BTreeMap;
use std::io;

use serde::{Deserialize, Serialize};

use super::procfs::{kib_field, malformed, page_bytes, read};

const MEMINFO: &str = "/proc/meminfo";
const SOCKSTAT: &str = "/proc/net/sockstat";
const SLABINFO: &str = "/proc/slabinfo";

/// The kernel's memory at one moment, or what it grew by between two; so every figure has a sign.
///
/// `slab`, `page_tables`, `percpu`, `vmalloc` and `other` do not overlap and are the [total](Self::total_bytes). The rest
/// are views into them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelMemory {
    /// All slab pages. The inodes and dentries of sockets are in caches that are called reclaimable, and are not while
    /// the sockets live, so the unreclaimable part alone would leave them out.
    pub slab_bytes: i64,
    /// The part of the slab that can never be reclaimed.
    pub slab_unreclaimable_bytes: i64,
    /// Page tables, those of processes with large heaps too.
    pub page_tables_bytes: i64,
    /// Counters and caches that exist once for each CPU.
    pub percpu_bytes: i64,
    /// Large tables, and stacks of threads where the kernel maps them (`CONFIG_VMAP_STACK`).
    pub vmalloc_bytes: i64,
    /// Stacks of threads; in `vmalloc_bytes` on the usual kernels.
    pub kernel_stack_bytes: i64,
    /// Pages that none of the kernel's counters name: the memory of io_uring's rings, fragments of socket buffers, lists
    /// of free pages that each CPU keeps. Total less free less everything named, so it is noisy by some MB.
    pub other_bytes: i64,
    /// What TCP is charged for its buffers, in whole pages. It is an account and not memory: the buffers are slab and
    /// other pages, and every open socket may keep a page of credit that it does not use.
    pub tcp_charged_bytes: i64,
    /// TCP sockets in use, IPv4 and IPv6; both ends when both are here.
    pub tcp_in_use: i64,
    /// TCP sockets that exist, those not yet accepted among them.
    pub tcp_allocated: i64,
    /// TCP sockets that no process holds any more.
    pub tcp_orphan: i64,
    /// TCP connections in TIME-WAIT.
    pub tcp_time_wait: i64,
    /// Slab caches by name. Empty for users other than root. The kernel merges caches of like size under one of their
    /// names, so some that one looks for are missing.
    pub caches: BTreeMap<String, Cache>,
}

/// A slab cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cache {
    /// Objects in use.
    pub objects: i64,
    /// Pages held, used or not.
    pub bytes: i64,
}

impl KernelMemory {
    /// Reads the kernel's counters. Takes milliseconds, and holds a lock on the slab while it does.
    ///
    /// # Errors
    /// When `/proc/meminfo` or `/proc/net/sockstat` cannot be read or is not as proc(5) says. The caches are left
    /// out when only root may read them.
    pub fn now() -> io::Result<Self> {
        let mut memory = Self::parse_meminfo(&read(MEMINFO)?)
            .ok_or_else(|| malformed(MEMINFO, "memory counters"))?;
        memory
            .parse_sockstat(&read(SOCKSTAT)?, page_bytes())
            .ok_or_else(|| malformed(SOCKSTAT, "TCP line"))?;
        // Kernels without IPv6 have no second file; its sockets are in the first one's `alloc` and `mem`.
        if let Ok(text) = read("/proc/net/sockstat6") {
            memory.tcp_in_use += number_after(&text, "TCP6:", "inuse").unwrap_or(0);
        }
        if let Ok(text) = read(SLABINFO) {
            memory.caches = parse_slabinfo(&text, page_bytes());
        }
        Ok(memory)
    }

    /// The growth since a moment before, negative where memory was given back. Of the caches, those that changed.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let caches = union(&self.caches, &before.caches).map(|(name, now, then)| {
            let cache = Cache {
                objects: now.objects - then.objects,
                bytes: now.bytes - then.bytes,
            };
            (name.clone(), cache)
        });
        Self {
            slab_bytes: self.slab_bytes - before.slab_bytes,
            slab_unreclaimable_bytes: self.slab_unreclaimable_bytes
                - before.slab_unreclaimable_bytes,
            page_tables_bytes: self.page_tables_bytes - before.page_tables_bytes,
            percpu_bytes: self.percpu_bytes - before.percpu_bytes,
            vmalloc_bytes: self.vmalloc_bytes - before.vmalloc_bytes,
            kernel_stack_bytes: self.kernel_stack_bytes - before.kernel_stack_bytes,
            other_bytes: self.other_bytes - before.other_bytes,
            tcp_charged_bytes: self.tcp_charged_bytes - before.tcp_charged_bytes,
            tcp_in_use: self.tcp_in_use - before.tcp_in_use,
            tcp_allocated: self.tcp_allocated - before.tcp_allocated,
            tcp_orphan: self.tcp_orphan - before.tcp_orphan,
            tcp_time_wait: self.tcp_time_wait - before.tcp_time_wait,
            caches: caches
                .filter(|(_, cache)| *cache != Cache::default())
                .collect(),
        }
    }

    /// All memory of the kernel that is not its own code and data, and not the page cache.
    #[must_use]
    pub fn total_bytes(&self) -> i64 {
        self.slab_bytes
            + self.page_tables_bytes
            + self.percpu_bytes
            + self.vmalloc_bytes
            + self.other_bytes
    }

    fn parse_meminfo(text: &str) -> Option<Self> {
        let field = |name| i64::try_from(kib_field(text, name)?).ok();
        let slab = field("Slab")?;
        let page_tables = field("PageTables")?;
        let percpu = field("Percpu")?;
        let vmalloc = field("VmallocUsed")?;
        let named = slab + page_tables + percpu + vmalloc;
        // Cached includes shared memory; SwapCached pages are counted beside it.
        let processes =
            field("AnonPages")? + field("Cached")? + field("Buffers")? + field("SwapCached")?;
        let huge = field("Hugetlb").unwrap_or(0) + field("SecPageTables").unwrap_or(0);
        Some(Self {
            slab_bytes: slab,
            slab_unreclaimable_bytes: field("SUnreclaim")?,
            page_tables_bytes: page_tables,
            percpu_bytes: percpu,
            vmalloc_bytes: vmalloc,
            kernel_stack_bytes: field("KernelStack")?,
            other_bytes: field("MemTotal")? - field("MemFree")? - processes - huge - named,
            ..Self::default()
        })
    }

    fn parse_sockstat(&mut self, text: &str, page_bytes: u64) -> Option<()> {
        let field = |name| number_after(text, "TCP:", name);
        self.tcp_in_use = field("inuse")?;
        self.tcp_orphan = field("orphan")?;
        self.tcp_time_wait = field("tw")?;
        self.tcp_allocated = field("alloc")?;
        self.tcp_charged_bytes = field("mem")?.checked_mul(i64::try_from(page_bytes).ok()?)?;
        Some(())
    }
}

/// The number after a word in the line that begins with another: `TCP: inuse 1 orphan 0`.
fn number_after(text: &str, line: &str, word: &str) -> Option<i64> {
    let rest = text.lines().find_map(|text| text.strip_prefix(line))?;
    let mut words = rest.split_ascii_whitespace();
    words.find(|found| *found == word)?;
    words.next()?.parse().ok()
}

/// The caches that hold anything, slabinfo(5). A line that is not of version 2 is passed over.
fn parse_slabinfo(text: &str, page_bytes: u64) -> BTreeMap<String, Cache> {
    text.lines()
        .filter_map(|line| parse_cache(line, page_bytes))
        .filter(|(_, cache)| cache.bytes > 0)
        .collect()
}

fn parse_cache(line: &str, page_bytes: u64) -> Option<(String, Cache)> {
    let (sizes, slabs) = line.split_once(": slabdata")?;
    let mut sizes = sizes.split_ascii_whitespace();
    let name = sizes.next()?;
    let objects = sizes.next()?.parse().ok()?;
    // After num_objs, objsize and objperslab.
    let pages_per_slab: i64 = sizes.nth(3)?.parse().ok()?;
    let slab_count: i64 = slabs.split_ascii_whitespace().nth(1)?.parse().ok()?;
    let bytes = slab_count
        .checked_mul(pages_per_slab)?
        .checked_mul(i64::try_from(page_bytes).ok()?)?;
    Some((name.to_owned(), Cache { objects, bytes }))
}

/// The caches of two snapshots by name, a missing one as empty.
fn union<'a>(
    now: &'a BTreeMap<String, Cache>,
    then: &'a BTreeMap<String, Cache>,
) -> impl Iterator<Item = (&'a String, Cache, Cache)> {
    let of = |caches: &BTreeMap<String, Cache>, name: &String| {
        caches.get(name).copied().unwrap_or_default()
    };
    let gone = then.keys().filter(|name| !now.contains_key(*name));
    now.keys()
        .chain(gone)
        .map(move |name| (name, of(now, name), of(then, name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str = "MemTotal:       24684092 kB
MemFree:        16260084 kB
MemAvailable:   23891176 kB
Buffers:           29888 kB
Cached:          7518364 kB
SwapCached:            0 kB
AnonPages:         88656 kB
Mapped:           130160 kB
Shmem:              8856 kB
Slab:             565460 kB
SReclaimable:     492980 kB
SUnreclaim:        72480 kB
KernelStack:        1832 kB
PageTables:         2676 kB
VmallocTotal:   34359738367 kB
VmallocUsed:       14652 kB
Percpu:              736 kB
Hugetlb:               0 kB
";
    const SOCKSTAT: &str =
        "sockets: used 17\nTCP: inuse 4 orphan 1 tw 2 alloc 5 mem 273\nUDP: inuse 0 mem 0\n";
    const SLABINFO: &str = "slabinfo - version: 2.1
# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables <limit> <batchcount> <sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>
MPTCPv6                0      0   2112   15    8 : tunables    0    0    0 : slabdata      0      0      0
TCP                  105    156   2368   13    8 : tunables    0    0    0 : slabdata     12     12      0
dentry            167454 167454    192   21    1 : tunables    0    0    0 : slabdata   7974   7974      0
";

    fn sample() -> KernelMemory {
        let mut memory = KernelMemory::parse_meminfo(MEMINFO).expect("a whole file");
        memory.parse_sockstat(SOCKSTAT, 4096).expect("a TCP line");
        memory.caches = parse_slabinfo(SLABINFO, 4096);
        memory
    }

    #[test]
    fn what_no_counter_names_is_the_rest() {
        let memory = sample();
        let named = 29_888 + 7_518_364 + 88_656 + 565_460 + 2_676 + 736 + 14_652;
        assert_eq!(memory.slab_bytes, 565_460 * 1024);
        assert_eq!(memory.other_bytes, (24_684_092 - 16_260_084 - named) * 1024);
        let total = 24_684_092 - 16_260_084 - 29_888 - 7_518_364 - 88_656;
        assert_eq!(memory.total_bytes(), total * 1024);
    }

    #[test]
    fn sockets_are_counted_and_charged_in_pages() {
        let memory = sample();
        assert_eq!(
            [
                memory.tcp_in_use,
                memory.tcp_orphan,
                memory.tcp_time_wait,
                memory.tcp_allocated
            ],
            [4, 1, 2, 5]
        );
        assert_eq!(memory.tcp_charged_bytes, 273 * 4096);
    }

    #[test]
    fn caches_are_their_pages_and_empty_ones_are_left_out() {
        let memory = sample();
        let tcp = Cache {
            objects: 105,
            bytes: 12 * 8 * 4096,
        };
        assert_eq!(memory.caches["TCP"], tcp);
        assert_eq!(memory.caches["dentry"].bytes, 7_974 * 4096);
        assert_eq!(memory.caches.len(), 2);
    }

    #[test]
    fn growth_has_a_sign() {
        let before = sample();
        let mut after = before.clone();
        after.slab_bytes += 2_999_600;
        after.page_tables_bytes -= 1_600;
        after.caches.remove("dentry");
        if let Some(tcp) = after.caches.get_mut("TCP") {
            tcp.objects += 2_000;
        }
        let growth = after.since(&before);
        assert_eq!(growth.slab_bytes, 2_999_600);
        assert_eq!(growth.page_tables_bytes, -1_600);
        assert_eq!(growth.caches["dentry"].objects, -167_454);
        assert_eq!(growth.caches["TCP"].objects, 2_000);
        assert_eq!(growth.total_bytes(), 2_998_000);
        assert_eq!(before.since(&before), KernelMemory::default());
    }

    #[test]
    fn malformed_files_are_refused_and_malformed_caches_passed_over() {
        for name in ["Slab", "MemFree", "VmallocUsed", "SUnreclaim"] {
            let text = MEMINFO.replace(&format!("\n{name}:"), "\nx:");
            assert_eq!(KernelMemory::parse_meminfo(&text), None, "{name}");
        }
        for text in [
            "",
            "TCP:\n",
            "TCP: inuse 4 orphan",
            "TCP: inuse x orphan 1 tw 2 alloc 5 mem 1",
            "UDP: inuse 0 mem 0",
        ] {
            let parsed = KernelMemory::default().parse_sockstat(text, 4096);
            assert_eq!(parsed, None, "{text}");
        }
        for line in [
            "TCP 1 2 3 4",
            "TCP x 156 2368 13 8 : tunables : slabdata 12 12 0",
            "TCP 1 2 3 4 8 : slabdata 1",
            "",
        ] {
            assert_eq!(parse_cache(line, 4096), None, "{line}");
        }
    }

    #[test]
    fn this_kernel_is_read() {
        let memory = KernelMemory::now().expect("/proc");
        assert!(memory.slab_bytes > 0 && memory.page_tables_bytes > 0);
        assert!(memory.slab_unreclaimable_bytes <= memory.slab_bytes);
    }
}
