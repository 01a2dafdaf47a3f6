//! Where programs are.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where Debian puts servers; ordinary users do not have it in their path.
const SYSTEM: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];

/// A program in `PATH`, or where systems keep servers.
pub(super) fn in_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(SYSTEM.map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// A program of this workspace: what the variable says, else beside this one, else one folder up, where cargo has it for
/// tests.
pub(super) fn built(name: &str, variable: &str) -> Option<PathBuf> {
    if let Some(file) = env::var_os(variable).filter(|file| !file.is_empty()) {
        return Some(PathBuf::from(file)).filter(|file| file.is_file());
    }
    let this = env::current_exe().ok()?;
    this.ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// What a program says about itself, on standard output or else on standard error; `None` when it does not run.
pub(super) fn ask(program: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let said = if output.stdout.is_empty() {
        output.stderr
    } else {
        output.stdout
    };
    Some(String::from_utf8_lossy(&said).trim().to_owned())
}
