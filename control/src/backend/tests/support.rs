//! A backend that says what a test wants, and a shard that asks it.

use std::fmt::Debug;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use fanfare_engine::api::Payload;
use fanfare_engine::backend::{
    Answerer, Backend, Caller, ConnectAsk, Connected, DataEncoding, PublishAsk, PublishDecision,
    Question, Refreshed, Refused, RpcAsk, SendAsk, SubRefreshAsk, SubscribeAsk, Subscribed,
};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::Value;
use tokio::sync::oneshot;

use crate::backend::{Counters, Event, Outcome, Plan, Webhooks};
use crate::config::Settings;

/// Longest that an answer may take that does come; a busy machine takes some of it.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a backend was sent.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) verb: String,
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Seen {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("questions are JSON")
    }
}

type Answering = Pin<Box<dyn Future<Output = Response> + Send>>;

/// The user's backend, on a free port and a thread of its own.
pub(super) struct FakeBackend {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
    _stop: oneshot::Sender<()>,
}

impl FakeBackend {
    /// Answers everything with this status and body.
    pub(super) fn saying(status: u16, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let status = StatusCode::from_u16(status).expect("a status");
        Self::start(move |_| {
            let response = (status, Body::from(body.clone())).into_response();
            Box::pin(async move { response })
        })
    }

    /// Answers as the function says.
    pub(super) fn start(
        answer: impl Fn(Seen) -> Answering + Clone + Send + Sync + 'static,
    ) -> Self {
        let (listener, address) = listener();
        listener.set_nonblocking(true).expect("a socket");
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let connections = Arc::<AtomicUsize>::default();
        let (stop, stopped) = oneshot::channel();
        let notes = Arc::clone(&seen);
        let router = Router::new().fallback(move |parts: Parts, body: Bytes| {
            let seen = Seen {
                verb: parts.method.to_string(),
                path: parts.uri.to_string(),
                headers: parts.headers,
                body,
            };
            notes.lock().expect("no panic").push(seen.clone());
            answer(seen)
        });
        let count = Arc::clone(&connections);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                tokio::select! {
                    () = serve(listener, router, count) => {}
                    _ = stopped => {}
                }
            });
        });
        Self {
            address,
            seen,
            connections,
            _stop: stop,
        }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// What it was sent so far.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no panic").clone()
    }

    /// Connections that were opened to it.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn serve(listener: TcpListener, router: Router, count: Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
    let service = TowerToHyperService::new(router);
    while let Ok((stream, _)) = listener.accept().await {
        count.fetch_add(1, Ordering::Relaxed);
        let http = hyper::server::conn::http1::Builder::new();
        tokio::spawn(http.serve_connection(TokioIo::new(stream), service.clone()));
    }
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a socket");
    (listener, address)
}

/// A server that speaks bytes: reads each request, and does what the function says.
pub(super) fn raw_backend(
    answer: impl Fn(&mut TcpStream) -> std::io::Result<()> + Send + 'static,
) -> String {
    let (listener, address) = listener();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = vec![0; 65_536];
            // All of a small request comes at once, or in two parts whose second nobody needs to see.
            let _ = stream.read(&mut request);
            let _ = answer(&mut stream);
        }
    });
    format!("http://{address}/")
}

/// Writes bytes one at a time, forever.
pub(super) fn drip(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    for byte in bytes.iter().cycle() {
        stream.write_all(&[*byte])?;
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// A URL where nobody listens.
pub(super) fn closed_port() -> String {
    let (listener, address) = listener();
    drop(listener);
    format!("http://{address}/")
}

/// The engine's side of a backend.
pub(super) struct Shard {
    pub(super) webhooks: Webhooks,
}

impl Shard {
    /// With all events at one URL, time enough for a busy machine, and more lines of the section `[backend]`.
    pub(super) fn new(url: &str, more: &str) -> Self {
        let mut text = "[backend]\n".to_owned();
        for event in Event::ALL {
            let name = event.name();
            text.push_str(&format!("{name}_endpoint = \"{url}\"\n"));
            let timeout = format!("{name}_timeout = ");
            if !more.lines().any(|line| line.starts_with(&timeout)) {
                text.push_str(&format!("{timeout}\"60s\"\n"));
            }
        }
        Self::configured(&format!("{text}{more}"))
    }

    pub(super) fn configured(text: &str) -> Self {
        let settings: Settings = toml::from_str(text).expect("settings");
        let plan = Plan::new(&settings).expect("a plan").expect("endpoints");
        Self {
            webhooks: Webhooks::start(plan).expect("a thread"),
        }
    }

    pub(super) fn counters(&self) -> Arc<Counters> {
        self.webhooks.counters()
    }

    /// How many questions about the event ended so.
    pub(super) fn ended(&self, event: Event, outcome: Outcome) -> u64 {
        self.counters().ended(event, outcome)
    }

    pub(super) fn connect(&self, ask: ConnectAsk) -> Result<Connected, Refused> {
        self.connect_as(caller(), ask)
    }

    pub(super) fn connect_as(&self, who: Caller, ask: ConnectAsk) -> Result<Connected, Refused> {
        self.ask(|answerer| Question::Connect(who, ask, answerer))
    }

    pub(super) fn refresh(&self) -> Result<Refreshed, Refused> {
        self.ask(|answerer| Question::Refresh(caller(), answerer))
    }

    pub(super) fn rpc(&self, data: &[u8]) -> Result<Option<Payload>, Refused> {
        self.rpc_as(caller(), data)
    }

    pub(super) fn rpc_as(&self, who: Caller, data: &[u8]) -> Result<Option<Payload>, Refused> {
        let ask = RpcAsk {
            method: "sum".into(),
            data: Bytes::copy_from_slice(data),
        };
        self.ask(|answerer| Question::Rpc(who, ask, answerer))
    }

    pub(super) fn send(&self, data: &'static [u8]) -> Result<(), Refused> {
        let ask = SendAsk { data: data.into() };
        self.ask(|answerer| Question::Send(caller(), ask, answerer))
    }

    pub(super) fn subscribe(
        &self,
        token: &str,
        data: &'static [u8],
    ) -> Result<Subscribed, Refused> {
        let ask = SubscribeAsk {
            room: "chat:1".into(),
            token: token.into(),
            data: data.into(),
        };
        self.ask(|answerer| Question::Subscribe(caller(), ask, answerer))
    }

    pub(super) fn publish(&self, data: &'static [u8]) -> Result<PublishDecision, Refused> {
        let ask = PublishAsk {
            room: "chat:1".into(),
            data: data.into(),
        };
        self.ask(|answerer| Question::Publish(caller(), ask, answerer))
    }

    pub(super) fn sub_refresh(&self) -> Result<Refreshed, Refused> {
        let ask = SubRefreshAsk {
            room: "chat:1".into(),
        };
        self.ask(|answerer| Question::SubRefresh(caller(), ask, answerer))
    }

    fn ask<T: Debug + Send + 'static>(
        &self,
        question: impl FnOnce(Answerer<T>) -> Question,
    ) -> Result<T, Refused> {
        let (answerer, answers) = answerer();
        self.webhooks.ask(question(answerer));
        let answer = answers.recv_timeout(PATIENCE).expect("an answer");
        assert!(answers.try_recv().is_err(), "answered twice");
        answer
    }
}

/// An answerer whose shard always has room.
pub(super) fn answerer<T: Send + 'static>() -> (Answerer<T>, mpsc::Receiver<Result<T, Refused>>) {
    let (sender, answers) = mpsc::channel();
    // The test may have heard enough and be gone.
    let answerer = Answerer::new(move |answer| sender.send(answer).or(Ok(())));
    (answerer, answers)
}

/// Who all questions are about.
pub(super) fn caller() -> Caller {
    Caller {
        client: "0123456789abcdef0123456789abcdef".into(),
        user: "alice".into(),
        transport: "websocket",
        protocol: "json",
        encoding: DataEncoding::Json,
        headers: Arc::new([]),
        emulated_headers: Arc::new([]),
        meta: None,
    }
}

/// JSON data of an answer.
pub(super) fn json(text: &'static str) -> Option<Payload> {
    Some(Payload {
        bytes: Bytes::from_static(text.as_bytes()),
        is_json: true,
    })
}

/// Binary data of an answer.
pub(super) fn binary(bytes: &'static [u8]) -> Option<Payload> {
    Some(Payload {
        bytes: Bytes::from_static(bytes),
        is_json: false,
    })
}

/// Waits until it is so.
pub(super) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = std::time::Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "{what}: not in {PATIENCE:?}");
        thread::sleep(Duration::from_millis(2));
    }
}
