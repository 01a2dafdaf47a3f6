//! `fanfare check-config` and `fanfare print-config`.

mod server;

use std::path::Path;
use std::process::Output;

use tempfile::TempDir;

const KEY: &str = "0123456789abcdef0123456789abcdef";

fn with_config(text: &str, arguments: &[&str]) -> (Output, TempDir) {
    let dir = TempDir::new().expect("a directory");
    std::fs::write(dir.path().join("fanfare.toml"), text).expect("a file");
    (run(dir.path(), arguments), dir)
}

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

#[test]
fn a_good_file_is_fine() {
    let (output, _dir) = with_config("[namespaces.chat]\npresence = true\n", &["check-config"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stdout(&output), "./fanfare.toml: fine\n");
}

#[test]
fn no_file_is_fine_too() {
    let dir = TempDir::new().expect("a directory");
    assert_eq!(run(dir.path(), &["check-config"]).status.code(), Some(0));
    assert_eq!(
        std::fs::read_dir(dir.path()).expect("readable").count(),
        0,
        "checking makes no secrets"
    );
}

#[test]
fn a_mistake_is_told_with_its_line() {
    for (text, complaint) in [
        (
            "[limits]\nping_intervall = '5s'\n",
            "./fanfare.toml:2: unknown field `ping_intervall`",
        ),
        (
            "\n[limits]\n\nping_interval = '9h'\n",
            "./fanfare.toml:4: limits.ping_interval is 9h",
        ),
        (
            "[engine]\nshards = 0\n",
            "./fanfare.toml:2: engine.shards is 0",
        ),
        ("[client]\naddresses = ['here']\n", "./fanfare.toml:2: "),
        (
            "[client]\nallowed_origins = ['example.org']\n",
            "./fanfare.toml:2: client.allowed_origins",
        ),
        (
            "[api]\nkeys = ['short']\n",
            "./fanfare.toml:2: api.keys is shorter than 32 bytes",
        ),
        (
            "[rooms]\nhistory_size = 5\n",
            "./fanfare.toml:2: rooms.history_size is set, history_ttl is not",
        ),
        (
            "[rooms]\nlane_bytes_max = 65536\n",
            "./fanfare.toml:2: rooms.lane_bytes_max is 65536",
        ),
        ("[log]\nlevel = 'loudly'\n", "./fanfare.toml:2: log.level"),
        (
            "[namespaces.'a:b']\n",
            "./fanfare.toml:1: namespaces.a:b is not a name",
        ),
        (
            "[token]\nrsa_public_key = 'nonsense'\n",
            "./fanfare.toml:2: token.rsa_public_key is not a public key",
        ),
    ] {
        let (output, _dir) = with_config(text, &["check-config"]);
        assert_eq!(output.status.code(), Some(78), "{text}");
        assert!(
            stderr(&output).contains(complaint),
            "{text}{}",
            stderr(&output)
        );
    }
}

#[test]
fn a_server_does_not_start_with_a_mistake() {
    let (output, dir) = with_config("[limit]\n", &[]);
    assert_eq!(output.status.code(), Some(78));
    assert!(!dir.path().join("fanfare-data").exists());
}

#[test]
fn a_bad_variable_is_named() {
    let dir = TempDir::new().expect("a directory");
    let output = server::fanfare(dir.path())
        .env("FANFARE__LIMITS__PING", "5s")
        .arg("check-config")
        .output();
    let output = output.expect("the binary runs");
    assert_eq!(output.status.code(), Some(78));
    assert!(
        stderr(&output).contains("FANFARE__LIMITS__PING: unknown field"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_file_that_is_named_must_be_there() {
    let dir = TempDir::new().expect("a directory");
    let output = run(dir.path(), &["check-config", "--config", "other.toml"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(
        stderr(&output).contains("other.toml"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn secrets_are_not_printed() {
    let text = format!("[api]\nkeys = [{KEY:?}]\n[token]\nhmac_secret = {KEY:?}\n");
    let (output, _dir) = with_config(&text, &["print-config"]);
    let printed = stdout(&output);
    assert_eq!(output.status.code(), Some(0));
    assert!(!printed.contains(KEY), "{printed}");
    assert!(printed.contains(r#"keys = ["(hidden)"]"#), "{printed}");
    assert!(printed.contains(r#"hmac_secret = "(hidden)""#), "{printed}");
}

#[test]
fn the_printed_configuration_is_the_one_in_effect() {
    let dir = TempDir::new().expect("a directory");
    std::fs::write(
        dir.path().join("fanfare.toml"),
        "[limits]\nping_interval = '20s'\n",
    )
    .expect("a file");
    let output = server::fanfare(dir.path())
        .env("FANFARE__LIMITS__PONG_TIMEOUT", "7s")
        .args(["print-config", "--data-dir", "elsewhere"])
        .output()
        .expect("the binary runs");
    let printed = stdout(&output);
    for line in [
        r#"ping_interval = "20s""#,
        r#"pong_timeout = "7s""#,
        r#"data_dir = "elsewhere""#,
        r#"shards = "auto""#,
    ] {
        assert!(printed.contains(line), "no {line} in {printed}");
    }
}

#[test]
fn the_printed_defaults_are_a_file_to_start_from() {
    let dir = TempDir::new().expect("a directory");
    let printed = stdout(&run(dir.path(), &["print-config", "--default"]));
    std::fs::write(dir.path().join("fanfare.toml"), &printed).expect("a file");
    assert_eq!(run(dir.path(), &["check-config"]).status.code(), Some(0));
    assert_eq!(stdout(&run(dir.path(), &["print-config"])), printed);
}
