//! What the process takes, and floods that would have it take more.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::thread::JoinHandle;

/// The most memory that this process has in RAM at once, from now on (proc_pid_status(5), `VmHWM`).
#[derive(Debug)]
pub struct Peak {
    bytes_at_first: u64,
}

impl Peak {
    pub fn from_now_on() -> Self {
        // Forgets the peak before (proc_pid_clear_refs(5)). Where that cannot be, what is told is less, never more.
        let _ = std::fs::write("/proc/self/clear_refs", "5");
        Self {
            bytes_at_first: peak_bytes(),
        }
    }

    pub fn grown_bytes(&self) -> u64 {
        peak_bytes().saturating_sub(self.bytes_at_first)
    }
}

fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .expect("it is told");
    let kibibytes = line.trim().strip_suffix(" kB").expect("in kB");
    kibibytes.parse::<u64>().expect("a number") * 1024
}

/// Sends these bytes so many times, beside what the test does with the connection; up to where the server closes it.
/// Comes to how many times went out.
pub fn flood(stream: &TcpStream, bytes: &[u8], times: usize) -> JoinHandle<usize> {
    const AT_ONCE: usize = 1000;
    let chunk = bytes.repeat(AT_ONCE);
    let mut stream = stream.try_clone().expect("a second handle");
    std::thread::spawn(move || {
        let mut sent = 0;
        while sent < times {
            match stream.write_all(&chunk) {
                Ok(()) => sent += AT_ONCE,
                Err(error) => {
                    let closed = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
                    assert!(closed.contains(&error.kind()), "{error}");
                    break;
                }
            }
        }
        sent
    })
}
