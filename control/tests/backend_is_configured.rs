//! The section `[backend]`: what is accepted, what is refused and where, what is shown of it.

mod server;

use std::process::Output;

use server::Server;
use tempfile::TempDir;

fn with_config(text: &str, arguments: &[&str]) -> Output {
    with_variables(text, arguments, &[])
}

fn with_variables(text: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let dir = TempDir::new().expect("a directory");
    std::fs::write(dir.path().join("fanfare.toml"), text).expect("a file");
    server::fanfare(dir.path())
        .args(arguments)
        .envs(variables.iter().copied())
        .output()
        .expect("the binary runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn key(name: &str) -> String {
    format!("{}/tests/keys/{name}", env!("CARGO_MANIFEST_DIR"))
}

const EVERYTHING: &str = "\
[backend]
connect_endpoint = 'http://127.0.0.1:3000/connect'
refresh_endpoint = 'http://127.0.0.1:3000/refresh'
rpc_endpoint = 'http://127.0.0.1:3000/rpc'
send_endpoint = 'http://127.0.0.1:3000/send'
subscribe_endpoint = 'http://127.0.0.1:3000/subscribe'
publish_endpoint = 'http://127.0.0.1:3000/publish'
sub_refresh_endpoint = 'http://127.0.0.1:3000/sub_refresh'
connect_timeout = '250ms'
http_headers = ['Cookie', 'X-Real-IP']
emulated_headers = ['Authorization']
static_headers = { X-Api-Key = 'hunter2', Authorization = 'Bearer hunter2' }
binary_encoding = true
include_connection_meta = true
status_to_code_transforms = [
    { status_code = 403, to_error = { code = 103, message = 'no', temporary = true } },
    { status_code = 404, to_disconnect = { code = 4504, reason = 'gone' } },
]
under_way_max = 10
answer_bytes_max = 65536
idle_connections_max = 0
idle_timeout = '5s'

[namespaces.chat]
backend_subscribe = true
backend_publish = true
backend_sub_refresh = true
";

#[test]
fn everything_can_be_set_and_is_shown_without_its_secrets() {
    let output = with_config(EVERYTHING, &["check-config"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));

    let printed = stdout(&with_config(EVERYTHING, &["print-config"]));
    assert!(!printed.contains("hunter2"), "{printed}");
    let table: toml::Table = printed.parse().expect("it prints TOML");
    let backend = &table["backend"];
    assert_eq!(backend["connect_timeout"].as_str(), Some("250ms"));
    assert_eq!(backend["rpc_timeout"].as_str(), Some("1s"));
    assert_eq!(
        backend["static_headers"]["X-Api-Key"].as_str(),
        Some("(hidden)")
    );
    let rules = backend["status_to_code_transforms"].as_array();
    assert_eq!(rules.map(Vec::len), Some(2));
    assert_eq!(
        table["namespaces"]["chat"]["backend_publish"].as_bool(),
        Some(true)
    );

    // What it prints is a configuration again.
    let output = with_config(&printed, &["check-config"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn variables_reach_it() {
    let output = with_variables(
        "",
        &["print-config"],
        &[
            ("FANFARE__BACKEND__RPC_ENDPOINT", "http://app:3000/rpc"),
            ("FANFARE__BACKEND__HTTP_HEADERS", "cookie,origin"),
            ("FANFARE__BACKEND__STATIC_HEADERS__X-API-KEY", "hunter2"),
        ],
    );
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let table: toml::Table = stdout(&output).parse().expect("TOML");
    let backend = &table["backend"];
    assert_eq!(
        backend["rpc_endpoint"].as_str(),
        Some("http://app:3000/rpc")
    );
    assert_eq!(backend["http_headers"].as_array().map(Vec::len), Some(2));
    assert_eq!(
        backend["static_headers"]["x-api-key"].as_str(),
        Some("(hidden)")
    );
}

#[test]
fn a_mistake_is_told_with_its_line() {
    for (lines, complaint) in [
        (
            "connect_endpoint = 'ftp://h/'",
            "fanfare.toml:2: backend.connect_endpoint does not begin with http:// or https://",
        ),
        (
            "rpc_endpoint = 'app.example'",
            "fanfare.toml:2: backend.rpc_endpoint is not a URL",
        ),
        (
            "\nrpc_endpoint = 'http://user:hunter2@h/'",
            "fanfare.toml:3: backend.rpc_endpoint has a user or a password",
        ),
        (
            "rpc_timeout = '2m'",
            "fanfare.toml:2: backend.rpc_timeout is 2m, and must be from 10ms to 1m",
        ),
        (
            "sub_refresh_timeout = '9ms'",
            "fanfare.toml:2: backend.sub_refresh_timeout is 9ms",
        ),
        (
            "http_headers = ['Cookie', 'Host']",
            "fanfare.toml:2: backend.http_headers holds \"Host\"",
        ),
        (
            "emulated_headers = ['a b']",
            "fanfare.toml:2: backend.emulated_headers holds \"a b\"",
        ),
        (
            "[backend.static_headers]\nContent-Length = '5'",
            "fanfare.toml:3: backend.static_headers.Content-Length holds \"Content-Length\"",
        ),
        (
            "[backend.static_headers]\nX-Key = \"hunter2\\r\\nX-Admin: 1\"",
            "fanfare.toml:3: backend.static_headers.X-Key has a character that no header can carry",
        ),
        ("static_headers = 'hunter2'", "fanfare.toml:2: "),
        (
            "under_way_max = 0",
            "fanfare.toml:2: backend.under_way_max is 0, and must be from 1 to 65536",
        ),
        (
            "answer_bytes_max = 100",
            "fanfare.toml:2: backend.answer_bytes_max is 100",
        ),
        (
            "rpc_endpoint = 'http://h/'\nanswer_bytes_max = 16777216",
            "fanfare.toml:3: backend.answer_bytes_max is 16777216, and may be at most limits.direct_bytes_max",
        ),
        (
            "idle_timeout = '0s'",
            "fanfare.toml:2: backend.idle_timeout is 0s",
        ),
        (
            "rpc_endpoint = 'http://h/'\ntls_root_file = 'root.pem'",
            "fanfare.toml:3: backend.tls_root_file is set, and no endpoint begins with https://",
        ),
        (
            "status_to_code_transforms = [{ status_code = 200, to_error = { code = 400 } }]",
            "fanfare.toml:2: backend.status_to_code_transforms holds status_code 200",
        ),
        (
            "status_to_code_transforms = [{ status_code = 404 }]",
            "fanfare.toml:2: backend.status_to_code_transforms says of status 404",
        ),
        (
            "status_to_code_transforms = [{ status_code = 404, to_error = { code = 4000 } }]",
            "fanfare.toml:2: backend.status_to_code_transforms has a code for status 404 out of bounds",
        ),
        (
            "connect = 'http://h/'",
            "fanfare.toml:2: unknown field `connect`",
        ),
        (
            "[rooms]\nbackend_publish = true",
            "fanfare.toml:3: rooms.backend_publish is true, and backend.publish_endpoint is not set",
        ),
        (
            "publish_endpoint = 'http://h/'\n[namespaces.a]\nbackend_publish = true\nbackend_sub_refresh = true",
            "fanfare.toml:5: namespaces.a.backend_sub_refresh is true, and backend.sub_refresh_endpoint is not set",
        ),
    ] {
        let text = format!("[backend]\n{lines}\n");
        let output = with_config(&text, &["check-config"]);
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(78), "{text}{told}");
        assert!(told.contains(complaint), "{text}{told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
}

#[test]
fn certificates_are_read_before_anything_starts() {
    let with_root = |path: &str| {
        format!("[backend]\nrpc_endpoint = 'https://localhost:1/'\ntls_root_file = '{path}'\n")
    };
    let output = with_config(&with_root(&key("authority.cert.pem")), &["check-config"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    for path in [
        "/nowhere/root.pem".to_owned(),
        key("README.md"),
        key("ed25519.pem"),
    ] {
        for command in ["check-config", "serve"] {
            let output = with_config(&with_root(&path), &[command]);
            let told = stderr(&output);
            assert_eq!(output.status.code(), Some(78), "{told}");
            assert!(
                told.contains("fanfare.toml:3: backend.tls_root_file: cannot read certificates"),
                "{told}"
            );
        }
    }
}

#[test]
fn the_metrics_of_a_server_with_a_backend_name_its_events() {
    let server = Server::start("[backend]\nrpc_endpoint = 'http://127.0.0.1:9/'\n");
    let text = server.http("GET", "/metrics", &[], "").body;
    for line in [
        "fanfare_backend_questions_total{event=\"rpc\"} 0",
        "fanfare_backend_answers_total{event=\"sub_refresh\",outcome=\"too_many\"} 0",
        "fanfare_backend_answers_total{event=\"connect\",outcome=\"answered\"} 0",
        "fanfare_backend_questions_under_way{event=\"send\"} 0",
        "fanfare_backend_answer_retries_total 0",
    ] {
        assert!(text.lines().any(|other| other == line), "{line}\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn a_server_without_a_backend_has_no_thread_for_one() {
    let has_thread = |server: &server::support::server::Server| {
        let tasks = format!("/proc/{}/task", server.pid());
        let tasks = std::fs::read_dir(tasks).expect("it runs");
        tasks.flatten().any(|task| {
            let name = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            name.trim() == "fanfare-backend"
        })
    };
    let plain = server::support::server::Server::start("");
    assert!(!has_thread(&plain));
    let asking = "[backend]\nsend_endpoint = 'http://127.0.0.1:9/'\n";
    assert!(has_thread(&server::support::server::Server::start(asking)));
}
