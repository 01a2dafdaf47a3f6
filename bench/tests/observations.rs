//! What is observed: a process is charged for what it does, and the kernel for what it holds.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fanfare_bench::observe::{CpuMeter, KernelMemory, Usage};

#[test]
fn a_process_that_computes_is_charged_for_it() {
    let burner = Burner::start();
    let pid = burner.0.id();
    let before = Usage::of(pid).expect("it runs");
    let meter = CpuMeter::start(&[pid]).expect("it runs");
    std::thread::sleep(Duration::from_millis(400));
    let used = meter.elapsed().expect("it runs");
    let after = Usage::of(pid).expect("it runs");

    // The machine may be shared, so little is asked: a fifth of a core.
    assert!(used.cpu > Duration::from_millis(80), "{used:?}");
    assert!(used.wall >= Duration::from_millis(400), "{used:?}");
    assert!(used.cores() > 0.15 && used.cores() < 1.2, "{used:?}");
    assert!(after.cpu > before.cpu, "{before:?} {after:?}");
    assert_eq!(after.threads, 1);
    assert!(after.user_bytes > 0 && after.user_bytes <= after.rss_bytes);

    drop(burner);
    assert!(meter.elapsed().is_err(), "an ended process is not idle");
    assert!(Usage::of(pid).is_err());
}

#[test]
fn a_thread_that_ended_is_still_charged() {
    let own = std::process::id();
    let meter = CpuMeter::start(&[own]).expect("this process");
    let spent = Duration::from_millis(300);
    std::thread::spawn(move || {
        let me = || {
            let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("schedstat");
            let nanos = text.split(' ').next().and_then(|field| field.parse().ok());
            Duration::from_nanos(nanos.expect("a number"))
        };
        while me() < spent {
            std::hint::black_box(own);
        }
    })
    .join()
    .expect("it ends");
    let used = meter.elapsed().expect("this process").cpu;
    assert!(used >= spent, "{used:?}");
}

/// The sums in `/proc` stand still for up to a tick, and a server that worked less than that would have done nothing.
#[test]
fn the_clock_of_a_process_that_runs_never_stands_still() {
    let meter = CpuMeter::start(&[std::process::id()]).expect("this process");
    let readings: Vec<_> = (0..1_000)
        .map(|_| meter.elapsed().expect("this process").cpu)
        .collect();
    assert!(readings.is_sorted_by(|earlier, later| earlier < later));
}

#[test]
fn filled_memory_is_user_memory_and_rings_are_not() {
    const FILLED: usize = 64 << 20;
    const ROOM: u64 = 8 << 20;
    let before = Usage::own().expect("this process");
    let filled = std::hint::black_box(vec![1_u8; FILLED]);
    let holding = Usage::own().expect("this process");
    let grown = holding.user_bytes - before.user_bytes;
    assert!(grown.abs_diff(FILLED as u64) < ROOM, "{grown}");

    // 32 bytes of completions and 64 of submissions for each entry: 16 MB of rings.
    let rings: Vec<io_uring::IoUring> = (0..4)
        .map(|_| {
            io_uring::IoUring::builder()
                .setup_cqsize(65_536)
                .build(32_768)
        })
        .collect::<Result<_, _>>()
        .expect("rings");
    let with_rings = Usage::own().expect("this process");
    let grown = with_rings.user_bytes.abs_diff(holding.user_bytes);
    assert!(grown < ROOM / 2, "rings are the kernel's: {grown}");
    assert!(
        with_rings.rss_bytes > holding.rss_bytes + ROOM,
        "{holding:?} {with_rings:?}"
    );
    drop((filled, rings));
}

#[test]
fn several_processes_are_summed() {
    let burners = [Burner::start(), Burner::start()];
    let pids = burners.each_ref().map(|burner| burner.0.id());
    let both = Usage::of_all(&pids).expect("they run");
    let one = Usage::of(pids[0]).expect("it runs");
    assert_eq!(both.threads, 2);
    assert!(both.user_bytes > one.user_bytes);
    assert_eq!(Usage::of_all(&[]).expect("none"), Usage::default());
    assert!(Usage::of_all(&[pids[0], u32::MAX]).is_err());
}

/// The counters are of the whole machine, where other sockets may end meanwhile: then it is tried again.
#[test]
fn sockets_are_seen_in_the_kernel() {
    const PAIRS: usize = 500;
    const BOTH_ENDS: i64 = 1_000;
    const ATTEMPTS: usize = 20;
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("it is bound");
    let seen = (0..ATTEMPTS).any(|_| {
        let before = KernelMemory::now().expect("/proc");
        let pairs: Vec<_> = (0..PAIRS)
            .map(|_| {
                let client = TcpStream::connect(address).expect("it connects");
                (client, listener.accept().expect("it is accepted"))
            })
            .collect();
        let growth = KernelMemory::now().expect("/proc").since(&before);
        drop(pairs);
        growth.tcp_allocated >= BOTH_ENDS && growth.tcp_in_use >= BOTH_ENDS
    });
    assert!(seen, "{PAIRS} connections never showed");
}

/// A process that computes until it is dropped.
struct Burner(Child);

impl Burner {
    fn start() -> Self {
        let child = Command::new("sh")
            .args(["-c", "echo ready; while :; do :; done"])
            .stdout(Stdio::piped())
            .spawn();
        let mut burner = Self(child.expect("a shell"));
        // It is this program still until it has become a shell, and grows until that has read what it is to do.
        let mut said = String::new();
        let stdout = burner.0.stdout.take().expect("a pipe");
        BufReader::new(stdout).read_line(&mut said).expect("a line");
        assert_eq!(said, "ready\n");
        burner
    }
}

impl Drop for Burner {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
