//! Help, exit codes, and commands that need no server.

mod server;

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use tempfile::TempDir;

fn run(dir: &Path, arguments: &[&str]) -> Output {
    server::fanfare(dir)
        .args(arguments)
        .output()
        .expect("the binary runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A directory in which a server has made its secrets.
fn with_secrets() -> TempDir {
    let dir = TempDir::new().expect("a directory");
    // It fails for want of the port, which it asks for after the secrets.
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let output = server::fanfare(dir.path())
        .env("FANFARE__API__ADDRESS", &address)
        .output();
    let output = output.expect("the binary runs");
    assert_eq!(output.status.code(), Some(71), "{}", stderr(&output));
    assert!(stderr(&output).contains(&address), "{}", stderr(&output));
    dir
}

#[test]
fn help_and_version_succeed() {
    let dir = TempDir::new().expect("a directory");
    let help = run(dir.path(), &["--help"]);
    assert_eq!(help.status.code(), Some(0));
    for text in [
        "serve",
        "push",
        "tail",
        "token",
        "check-config",
        "print-config",
        "Exit codes",
        "78",
    ] {
        assert!(
            stdout(&help).contains(text),
            "no {text} in {}",
            stdout(&help)
        );
    }
    for command in [
        "serve",
        "push",
        "tail",
        "token",
        "check-config",
        "print-config",
    ] {
        assert_eq!(
            run(dir.path(), &[command, "--help"]).status.code(),
            Some(0),
            "{command}"
        );
    }
    let version = run(dir.path(), &["--version"]);
    assert_eq!(
        stdout(&version),
        format!("fanfare {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn a_wrong_line_is_a_usage_error() {
    let dir = TempDir::new().expect("a directory");
    for arguments in [
        &["nonsense"][..],
        &["--nonsense"],
        &["push", "demo"],
        &["tail"],
        &["tail", "demo", "--count", "0"],
        &["tail", "demo", "--recover", "here"],
        &["token"],
        &["token", "--user", ""],
        &["token", "--user", "u", "--ttl", "soon"],
        &["token", "--user", "u", "--ttl", "0s"],
        &["token", "--user", "u", "--publish"],
        &["token", "--user", "u", "--room", "a*b"],
    ] {
        assert_eq!(
            run(dir.path(), arguments).status.code(),
            Some(64),
            "{arguments:?}"
        );
    }
    assert_eq!(std::fs::read_dir(dir.path()).expect("readable").count(), 0);
}

#[test]
fn a_tool_without_secrets_says_where_it_looked() {
    let dir = TempDir::new().expect("a directory");
    for arguments in [
        &["token", "--user", "u"][..],
        &["push", "demo", "1"],
        &["tail", "demo"],
    ] {
        let output = run(dir.path(), arguments);
        assert_eq!(output.status.code(), Some(78), "{arguments:?}");
        assert!(
            stderr(&output).contains("./fanfare-data"),
            "{}",
            stderr(&output)
        );
    }
    assert_eq!(
        std::fs::read_dir(dir.path()).expect("readable").count(),
        0,
        "tools make no secrets"
    );
}

#[test]
fn a_token_is_printed_alone() {
    let dir = with_secrets();
    let output = run(
        dir.path(),
        &[
            "token",
            "--user",
            "anna",
            "--room",
            "news",
            "--publish",
            "--ttl",
            "5m",
        ],
    );
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let token = stdout(&output);
    assert_eq!(token.trim_end().split('.').count(), 3, "{token}");
    assert_eq!(token.lines().count(), 1);
}

#[test]
fn secrets_that_others_can_read_are_not_used() {
    let dir = with_secrets();
    let file = dir.path().join("fanfare-data/secrets.toml");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("chmod");
    let output = run(dir.path(), &["token", "--user", "anna"]);
    assert_eq!(output.status.code(), Some(77));
    assert!(stderr(&output).contains("chmod 600"), "{}", stderr(&output));
}

#[test]
fn the_data_directory_can_be_named_in_three_ways() {
    let dir = with_secrets();
    let elsewhere = TempDir::new().expect("a directory");
    let data_dir = dir.path().join("fanfare-data");
    let token = ["token", "--user", "anna"];
    let by = |name: &str| {
        server::fanfare(elsewhere.path())
            .env(name, &data_dir)
            .args(token)
            .output()
    };
    assert_eq!(
        by("FANFARE_DATA_DIR").expect("it runs").status.code(),
        Some(0)
    );
    assert_eq!(
        by("FANFARE__DATA_DIR").expect("it runs").status.code(),
        Some(0)
    );
    let flag = server::fanfare(elsewhere.path())
        .args(token)
        .arg("--data-dir")
        .arg(&data_dir)
        .output();
    assert_eq!(flag.expect("it runs").status.code(), Some(0));
}

#[test]
fn an_empty_variable_names_no_file() {
    let dir = TempDir::new().expect("a directory");
    let output = server::fanfare(dir.path())
        .env("FANFARE_CONFIG", "")
        .env("FANFARE_DATA_DIR", "")
        .arg("check-config")
        .output()
        .expect("the binary runs");
    assert_eq!(stdout(&output), "no file: defaults: fine\n");
}
