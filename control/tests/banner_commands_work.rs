//! A newcomer copies the two commands of the banner, and sees a push.

mod server;

use std::process::Command;

use server::{Server, Tail};

/// What a shell does with a line.
fn shell(line: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", line]);
    command
}

#[test]
fn the_printed_commands_show_a_push() {
    let server = Server::start("");
    // From another directory: the commands need neither configuration nor data directory.
    let elsewhere = tempfile::tempdir().expect("a directory");
    let mut tail = shell(&format!(
        "exec {} --count 1",
        server.banner_line(" tail demo")
    ));
    let tail = Tail::start({
        tail.current_dir(elsewhere.path());
        tail
    });

    let push = shell(server.banner_line("curl "))
        .current_dir(elsewhere.path())
        .output();
    let push = push.expect("a shell runs curl");
    let answer = String::from_utf8_lossy(&push.stdout).into_owned();
    assert!(push.status.success(), "this test needs curl: {answer}");
    assert!(
        answer.contains(r#""members":{"total":1,"#) && answer.contains(r#","native":1,"#),
        "{answer}"
    );

    assert_eq!(
        tail.finish(),
        (Some(0), vec![r#"{"text": "hello"}"#.to_owned()])
    );
}

#[test]
fn a_service_key_stands_in_for_a_token_that_cannot_be_made() {
    let key = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/p256.pub.pem");
    let server = Server::start(&format!("[token]\necdsa_public_key_file = {key:?}\n"));
    let line = server.banner_line(" tail demo");
    // In the environment, for every user of the machine can list the arguments.
    assert!(
        line.starts_with(&format!("FANFARE_TOKEN={} ", server.key)),
        "{line}"
    );
    let tail = Tail::start(shell(&format!("{line} --count 1")));
    assert_eq!(
        server
            .call("publish", r#"{"channel":"demo","data":7}"#)
            .status,
        200
    );
    assert_eq!(tail.finish(), (Some(0), vec!["7".to_owned()]));
}

#[test]
fn a_second_start_prints_the_same_key() {
    let first = Server::start("");
    let data_dir = first.dir.path().join("fanfare-data");
    let second = Server::start(&format!("data_dir = {data_dir:?}\n"));
    assert_eq!(first.key, second.key);
    assert_ne!(first.api, second.api);
}

#[test]
fn configured_secrets_are_not_shown_where_nobody_looks() {
    let (key, secret) = ("k".repeat(32), "s".repeat(32));
    let server = Server::start(&format!(
        "[api]\nkeys = [{key:?}]\n[token]\nhmac_secret = {secret:?}\n"
    ));
    let banner = &server.banner;
    assert!(
        !banner.contains(&key) && !banner.contains("eyJ"),
        "{banner}"
    );
    let push = shell(server.banner_line("curl "))
        .env("FANFARE_API_KEY", &key)
        .output()
        .expect("a shell runs curl");
    let answer = String::from_utf8_lossy(&push.stdout);
    assert!(answer.contains(r#""result""#), "{answer}");
}
