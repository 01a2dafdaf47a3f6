//! `fanfare turn-check` against relays that work, and against those that do not.

mod support;
mod turn_support;

use std::net::UdpSocket;

use serde_json::Value;
use tempfile::TempDir;
use turn_support::credentials::{PASSWORD, USER};
use turn_support::relay::{Relay, key_file};
use turn_support::road::Road;

/// What it ends with, says, and complains of.
fn check(arguments: &[&str]) -> (Option<i32>, String, String) {
    let dir = TempDir::new().expect("a directory");
    let authority = key_file("authority.cert.pem");
    let output = support::server::program()
        .current_dir(dir.path())
        .arg("turn-check")
        .args(arguments)
        .arg("--ca")
        .arg(authority)
        .output()
        .expect("the binary runs");
    // It makes no secrets on a host that has nothing to do with the server.
    assert_eq!(
        std::fs::read_dir(dir.path()).expect("it is there").count(),
        0
    );
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn count(said: &str, word: &str) -> usize {
    let words = said.lines().filter_map(|it| it.split_whitespace().next());
    words.filter(|it| *it == word).count()
}

fn url(relay: &Relay, road: Road) -> String {
    let port = relay.port(road);
    match road {
        Road::Udp => format!("turn:127.0.0.1:{port}?transport=udp"),
        Road::Tcp => format!("turn:127.0.0.1:{port}?transport=tcp"),
        Road::Tls => format!("turns:localhost:{port}"),
        Road::UdpV6 => format!("turn:[::1]:{port}"),
    }
}

#[test]
fn a_relay_that_works_is_said_to() {
    let relay = Relay::start();
    for (road, steps) in [
        (Road::Udp, 7),
        (Road::Tcp, 8),
        (Road::Tls, 8),
        (Road::UdpV6, 7),
    ] {
        let url = url(&relay, road);
        let (code, said, complaint) = check(&[&url, "--user", USER, "--password", PASSWORD]);
        assert_eq!(code, Some(0), "{said}{complaint}");
        assert_eq!(count(&said, "ok"), steps, "{said}");
        assert!(
            said.contains("packets from this host to all 5 ports"),
            "{said}"
        );
        assert!(said.contains("between two clients"), "{said}");
        // All of it is given back.
        relay.await_empty();
    }
}

#[test]
fn without_a_password_the_rest_is_left_out() {
    let relay = Relay::start();
    let url = url(&relay, Road::Udp);
    let (code, said, _) = check(&[&url]);
    assert_eq!((code, count(&said, "skipped")), (Some(0), 1), "{said}");
    assert!(said.contains("--password"), "{said}");
    let stun = url.replace("turn:", "stun:").replace("?transport=udp", "");
    let (code, said, _) = check(&[&stun]);
    assert_eq!((code, count(&said, "ok")), (Some(0), 2), "{said}");
}

#[test]
fn what_is_wrong_is_said_and_what_to_do() {
    let relay = Relay::start();
    let url = url(&relay, Road::Udp);
    let (code, said, complaint) = check(&[&url, "--user", USER, "--password", "another"]);
    assert_eq!((code, count(&said, "FAILED")), (Some(1), 1), "{said}");
    assert!(
        said.contains("401") && said.contains("password is wrong"),
        "{said}"
    );
    assert!(complaint.contains(&url), "{complaint}");

    let silent = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let port = silent.local_addr().expect("bound").port();
    let nobody = format!("turn:127.0.0.1:{port}");
    let (code, said, _) = check(&[&nobody, "--timeout", "1s"]);
    assert_eq!((code, count(&said, "FAILED")), (Some(1), 1), "{said}");
    assert!(said.contains("firewall"), "{said}");

    let tls = format!("turns:127.0.0.1:{}", relay.port(Road::Tls));
    let (code, said, _) = check(&[&tls]);
    assert_eq!((code, count(&said, "FAILED")), (Some(1), 1), "{said}");
    assert!(said.contains("certificate"), "{said}");

    let (code, _, complaint) = check(&["http://127.0.0.1"]);
    assert_eq!(code, Some(64), "{complaint}");
    assert!(complaint.contains("turn:turn.example.org"), "{complaint}");
}

#[test]
fn peers_that_are_denied_are_no_fault() {
    let relay = Relay::start_with(1, r#"denied_peers = ["127.0.0.0/8"]"#);
    let url = url(&relay, Road::Udp);
    let (code, said, _) = check(&[&url, "--user", USER, "--password", PASSWORD]);
    assert_eq!((code, count(&said, "skipped")), (Some(0), 2), "{said}");
    assert!(said.contains("allowed_peers"), "{said}");
    relay.await_empty();
}

#[test]
fn programs_read_json() {
    let relay = Relay::start();
    let good = url(&relay, Road::Udp);
    let (code, said, _) = check(&[
        &good,
        "turn:127.0.0.1:1?transport=tcp",
        "--json",
        "--user",
        USER,
        "--password",
        PASSWORD,
        "--ports",
        "2",
    ]);
    assert_eq!(code, Some(1));
    let said: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(said[0]["url"], good);
    assert_eq!(
        (&said[0]["ok"], &said[1]["ok"]),
        (&true.into(), &false.into())
    );
    let steps = said[0]["steps"].as_array().expect("steps");
    assert_eq!(steps.len(), 7);
    assert!(steps.iter().all(|it| it["result"] == "ok"), "{said}");
}
