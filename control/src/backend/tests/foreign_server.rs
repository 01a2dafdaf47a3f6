//! Python's HTTP server in the place of the user's backend, plain and with TLS.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use fanfare_engine::backend::{ConnectAsk, Refused};

use super::support::{Shard, json};
use crate::backend::{Event, Outcome};

/// Answers an rpc with its own argument, checks what it is sent with its own parsers, and closes every third connection
/// after its answer.
const SCRIPT: &str = r#"
import http.server, json, ssl, sys

class Backend(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    answered = 0

    def do_POST(self):
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.headers["Content-Type"] == "application/json"
        assert question["client"] and question["transport"] and question["protocol"]
        if "method" in question:
            answer = {"result": {"data": question["data"]}}
        elif "user" in question:
            answer = {"error": {"code": 403, "message": "нет"}}
        else:
            answer = {"result": {"user": "42", "channels": ["news"], "info": None}}
        body = json.dumps(answer, indent=2).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        Backend.answered += 1
        if Backend.answered % 3 == 0:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Backend)
if len(sys.argv) > 1:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1], sys.argv[2])
    server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
"#;

struct Python {
    child: Child,
    port: u16,
}

impl Python {
    /// `None` where Python is not installed, which is a failure where `CI` is set.
    fn start(arguments: &[String]) -> Option<Self> {
        let child = Command::new("python3")
            .args(["-c", SCRIPT])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut child) = child else {
            let is_ci = std::env::var_os("CI").is_some_and(|ci| !ci.is_empty());
            assert!(!is_ci, "python3 is not installed");
            let _ = writeln!(
                std::io::stderr(),
                "\n  !!  SKIPPED: python3 is not installed\n"
            );
            return None;
        };
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("text");
        let port = line.trim().parse().expect("it says its port");
        Some(Self { child, port })
    }

    fn with_tls() -> Option<Self> {
        Self::start(&[key("backend.cert.pem"), key("backend.pem")])
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn key(name: &str) -> String {
    format!("{}/tests/keys/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn converse(shard: &Shard) {
    for n in 0..10 {
        let data = format!("{{\"n\": {n}, \"text\": \"\\u00e9\u{1f600}\"}}");
        let answer = shard.rpc(data.as_bytes()).expect("an answer");
        let answer: serde_json::Value =
            serde_json::from_slice(&answer.expect("data").bytes).expect("JSON");
        assert_eq!(answer["n"], n);
        assert_eq!(answer["text"], "é😀");
    }
    let connected = shard.connect(ConnectAsk::default()).expect("an answer");
    let grant = connected.grant.expect("a grant");
    assert_eq!((&*grant.user, &*grant.rooms[0]), ("42", "news"));
    let refused = Refused::Error {
        code: 403,
        message: "нет".into(),
        is_temporary: false,
    };
    assert_eq!(shard.subscribe("", b""), Err(refused));
    assert_eq!(shard.rpc(b"null"), Ok(json("null")));
    assert_eq!(shard.ended(Event::Rpc, Outcome::Answered), 11);
}

#[test]
fn a_backend_in_python_is_understood() {
    let Some(python) = Python::start(&[]) else {
        return;
    };
    let url = format!("http://127.0.0.1:{}/", python.port);
    converse(&Shard::new(&url, ""));
}

#[test]
fn a_backend_with_tls_is_believed_when_its_authority_is() {
    let Some(python) = Python::with_tls() else {
        return;
    };
    let url = format!("https://localhost:{}/", python.port);
    let root = format!("tls_root_file = '{}'\n", key("authority.cert.pem"));
    converse(&Shard::new(&url, &root));
}

#[test]
fn a_backend_with_tls_is_not_believed_otherwise() {
    let Some(python) = Python::with_tls() else {
        return;
    };
    let root = format!("tls_root_file = '{}'\n", key("authority.cert.pem"));
    // Another name than its certificate has.
    let url = format!("https://127.0.0.1:{}/", python.port);
    let shard = Shard::new(&url, &root);
    assert_eq!(shard.rpc(b"1"), Err(Refused::Unreachable));
    assert_eq!(shard.ended(Event::Rpc, Outcome::Unreachable), 1);
    // Plain HTTP to a port that speaks TLS.
    let shard = Shard::new(&format!("http://localhost:{}/", python.port), "");
    assert_eq!(shard.rpc(b"1"), Err(Refused::Unreachable));
    // An authority that its certificate is not from: its own, which is none.
    let other = format!("tls_root_file = '{}'\n", key("backend.cert.pem"));
    let shard = Shard::new(&format!("https://localhost:{}/", python.port), &other);
    assert_eq!(shard.rpc(b"1"), Err(Refused::Unreachable));
}
