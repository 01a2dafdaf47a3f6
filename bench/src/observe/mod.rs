//! What the host says of the processes under measurement, of the kernel's own memory, and of itself.
//!
//! | part | what it reads |
//! |---|---|
//! | [`process`] | CPU, memory and threads of one process: its clock, `/proc/PID/{stat,smaps_rollup}` |
//! | [`kernel`] | memory that no process is charged for: `/proc/meminfo`, `/proc/net/sockstat`, `/proc/slabinfo` |
//! | [`host`] | CPU time of the whole machine, stolen time among it: `/proc/stat` |
//! | [`machine`] | what a result was measured on |
//!
//! A result is only as good as what is charged to whom. Three rules hold throughout:
//!
//! - CPU time of a server includes what its own system calls do in the kernel. On loopback that is the receive path of
//!   the client too, because the softirq runs in the sender's context. It does not include kernel threads (`ksoftirqd`,
//!   `kworker`); [`host`] shows them as what is busy and belongs to nobody.
//! - User bytes are pages that the process filled. The pages of its executable and the io_uring rings, which the kernel
//!   allocates and maps, are not among them; the rings are in [`kernel::KernelMemory::other_bytes`].
//! - Nothing here needs root, except for the names of the slab caches.

pub mod host;
pub mod kernel;
pub mod machine;
pub mod process;
mod procfs;

pub use host::{HostLoad, HostMeter};
pub use kernel::{Cache, KernelMemory};
pub use machine::{Machine, memory_available};
pub use process::{CpuMeter, CpuUse, Usage};
