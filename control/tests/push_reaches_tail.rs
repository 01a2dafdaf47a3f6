//! `fanfare push` and `fanfare tail` against a server.

mod server;

use server::Server;

const WITH_HISTORY: &str = "[rooms]\nhistory_size = 10\nhistory_ttl = '5m'\n";

fn stdout(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn stderr(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}

#[test]
fn what_is_pushed_is_printed() {
    let server = Server::start("");
    let tail = server.tail(&["demo", "--count", "3"]);
    let pushed = stdout(&server.run(&["push", "demo", "hello"]));
    assert!(
        pushed.ends_with(":1, sent to 1 member: 1 native"),
        "{pushed}"
    );
    server.run(&["push", "demo", r#"{"a": 1.0}"#]);
    server.run(&["push", "demo", "two\nlines"]);
    let (code, lines) = tail.finish();
    assert_eq!(code, Some(0));
    assert_eq!(lines, [r#""hello""#, r#"{"a": 1.0}"#, r#""two\nlines""#]);
}

#[test]
fn a_repeat_with_the_same_key_is_pushed_once() {
    let server = Server::start(WITH_HISTORY);
    let push = |data: &str| {
        stdout(&server.run(&["push", "demo", data, "--idempotency-key", "k", "--json"]))
    };
    assert!(push("1").contains(r#""offset":1"#));
    let repeat = push("2");
    assert!(
        repeat.contains(r#""offset":1"#) && repeat.contains(r#""duplicate":true"#),
        "{repeat}"
    );
}

#[test]
fn tail_recovers_what_came_after_a_position() {
    let server = Server::start(WITH_HISTORY);
    for data in ["1", "2", "3"] {
        server.run(&["push", "demo", data]);
    }
    let history = server.call("history", r#"{"channel":"demo"}"#).body;
    let epoch = history
        .split(r#""epoch":""#)
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .expect("an epoch");
    let tail = server.tail(&[
        "demo",
        "--json",
        "--count",
        "2",
        "--recover",
        &format!("{epoch}:1"),
    ]);
    let (code, lines) = tail.finish();
    assert_eq!(code, Some(0));
    assert_eq!(
        lines,
        [
            format!(r#"{{"room":"demo","epoch":"{epoch}","offset":2,"data":2}}"#),
            format!(r#"{{"room":"demo","epoch":"{epoch}","offset":3,"data":3}}"#)
        ]
    );
}

#[test]
fn tail_says_when_nothing_can_be_recovered() {
    let server = Server::start(WITH_HISTORY);
    let mut tail = server.tail(&["demo", "--recover", "1:1"]);
    assert!(tail.said().contains("could not be recovered"));
}

#[test]
fn a_token_is_needed_and_a_room_needs_permission() {
    let server = Server::start("");
    let refused = server.run(&["tail", "demo", "--token", "nonsense"]);
    assert_eq!(refused.status.code(), Some(77));
    assert!(
        stderr(&refused).contains("invalid token (3500)"),
        "{}",
        stderr(&refused)
    );

    let token = stdout(&server.run(&["token", "--user", "anna", "--room", "demo"]));
    let refused = server.run(&["tail", "secrets", "--token", &token]);
    assert_eq!(refused.status.code(), Some(77));
    assert!(
        stderr(&refused).contains("permission denied (103)"),
        "{}",
        stderr(&refused)
    );

    let tail = server.tail(&["demo", "--token", &token, "--count", "1"]);
    server.run(&["push", "demo", "1"]);
    assert_eq!(tail.finish().0, Some(0));
}

#[test]
fn an_unknown_namespace_is_an_error_on_both_sides() {
    let server = Server::start("");
    for command in ["push", "tail"] {
        let arguments: &[&str] = if command == "push" {
            &["push", "x:y", "1"]
        } else {
            &["tail", "x:y"]
        };
        let output = server.run(arguments);
        assert_eq!(output.status.code(), Some(1), "{command}");
        assert!(stderr(&output).contains("(102)"), "{}", stderr(&output));
    }
}

#[test]
fn a_wrong_api_key_is_a_matter_of_permission() {
    let server = Server::start("");
    let output = server.run(&["push", "demo", "1", "--api-key", "wrong"]);
    assert_eq!(output.status.code(), Some(77));
}

#[test]
fn a_negative_number_is_data() {
    let server = Server::start("");
    let output = server.run(&["push", "demo", "-5"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn a_message_that_is_too_long_for_the_api_is_said_to_be() {
    let server = Server::start("");
    let file = server.dir.path().join("long.txt");
    std::fs::write(&file, "x".repeat(16 << 20)).expect("a file");
    let output = server
        .command(&["push", "demo", "-"])
        .stdin(std::fs::File::open(&file).expect("a file"))
        .output()
        .expect("the binary runs");
    assert!(
        stderr(&output).contains("api.body_bytes_max (4194304) (106)"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let output = server::fanfare(dir.path())
        .args([
            "push",
            "demo",
            "1",
            "--api",
            "http://127.0.0.1:9",
            "--api-key",
            "k",
        ])
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("127.0.0.1:9"),
        "{}",
        stderr(&output)
    );
    let output = server::fanfare(dir.path())
        .args(["tail", "demo", "--server", "127.0.0.1:9", "--token", "t"])
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(1));
}
