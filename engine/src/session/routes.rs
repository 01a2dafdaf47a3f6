//! What is served where over HTTP.

use bytes::Bytes;
use fanfare_wire::centrifuge::{CONNECT_PARAMETER, json, protobuf};
use fanfare_wire::http::{self, Head};
use fanfare_wire::ws;

use super::centrifuge;
use super::http::{
    After, Answerable, NotAllowed, ORIGIN_NOT_ALLOWED, Secret, SessionName, refuse, refuse_head,
    respond,
};
use super::native::{Carrier as NativeCarrier, Framing};
use super::{Ending, Session, Voice, comet, goim, poll, set_voice};
use crate::core::Core;
use crate::encoding::{Carrier, Codec, Encoding};
use crate::message::Request;

const NOT_FOUND: &str = "\
Fanfare serves clients here:
  /connection/websocket    Centrifuge protocol over WebSocket
  /connection/sse          the same over Server-Sent Events, with commands to /emulation
  /connection/http_stream  the same over a streamed answer, with commands to /emulation
  /connection/uni_websocket, /connection/uni_sse, /connection/uni_http_stream
                           the same for clients that only listen
  /poll/connect, /poll/send, /poll/receive
                           the same by long polling
  /comet/connect, /comet/pub, /comet/sub
                           the Comet calls of PHPWebIM
  /connection/native       native protocol over WebSocket
  /sub                     goim's protocol over WebSocket
and the native protocol and goim's over plain TCP on the same port.
";

/// Answers a request, or opens what it asks for.
pub(super) fn handle(
    core: &mut Core,
    slot: u32,
    session: &mut Session,
    head: &Head<'_>,
    body: &[u8],
) -> Result<After, Ending> {
    match head.path {
        "/connection/websocket" => websocket(core, slot, head, Opening::Centrifuge),
        "/connection/native" => websocket(core, slot, head, Opening::Native),
        "/sub" if core.shared.config.goim.is_enabled => websocket(core, slot, head, Opening::Goim),
        "/connection/sse" => request(core, slot, head, "GET, POST", |core, answer| {
            let encoding = Encoding::new(Codec::CentrifugeJson, Carrier::EventStream);
            stream(core, slot, session, encoding, head, body, &answer)
        }),
        "/connection/http_stream" => request(core, slot, head, "POST", |core, answer| {
            let codec = if is_binary(head) {
                Codec::CentrifugeProtobuf
            } else {
                Codec::CentrifugeJson
            };
            let encoding = Encoding::new(codec, Carrier::HttpStream);
            stream(core, slot, session, encoding, head, body, &answer)
        }),
        "/connection/uni_websocket" => websocket(core, slot, head, Opening::Unidirectional),
        "/connection/uni_sse" => request(core, slot, head, "GET, POST", |core, answer| {
            let encoding = Encoding::new(Codec::Unidirectional, Carrier::EventStream);
            stream(core, slot, session, encoding, head, body, &answer)
        }),
        "/connection/uni_http_stream" => request(core, slot, head, "POST", |core, answer| {
            let encoding = Encoding::new(Codec::Unidirectional, Carrier::HttpStream);
            stream(core, slot, session, encoding, head, body, &answer)
        }),
        "/emulation" => request(core, slot, head, "POST", |core, answer| {
            emulation(core, slot, head, body, &answer)
        }),
        "/poll/connect" => request(core, slot, head, "POST", |core, answer| {
            poll::connect(core, slot, head, body, answer)
        }),
        "/poll/receive" => request(core, slot, head, "GET, POST", |core, answer| {
            poll::receive(core, slot, head, answer)
        }),
        "/poll/send" => request(core, slot, head, "POST", |core, answer| {
            emulation(core, slot, head, body, &answer)
        }),
        "/comet/connect" | "/comet/pub" | "/comet/sub" => {
            request(core, slot, head, "POST", |core, answer| {
                Ok(comet::call(core, slot, head, body, answer))
            })
        }
        #[cfg(feature = "echo")]
        "/echo" => websocket(core, slot, head, Opening::Echo),
        _ => Err(refuse(core, slot, Some(head), 404, &[], NOT_FOUND)),
    }
}

/// Requests here open a WebSocket, and have no body.
pub(super) fn is_websocket(path: &str) -> bool {
    matches!(
        path,
        "/connection/websocket" | "/connection/uni_websocket" | "/connection/native" | "/sub"
    ) || cfg!(feature = "echo") && path == "/echo"
}

/// The sub-protocol by which a client asks for protobuf.
const PROTOBUF_PROTOCOL: &str = "centrifuge-protobuf";

/// What a WebSocket is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opening {
    Centrifuge,
    Unidirectional,
    Native,
    Goim,
    #[cfg(feature = "echo")]
    Echo,
}

impl Opening {
    /// Its messages may be compressed. Native frames are small, and goim never did.
    const fn takes_deflate(self) -> bool {
        !matches!(self, Self::Native | Self::Goim)
    }
}

fn websocket(
    core: &mut Core,
    slot: u32,
    head: &Head<'_>,
    opening: Opening,
) -> Result<After, Ending> {
    let upgrade = match http::upgrade(head) {
        Ok(upgrade) => upgrade,
        Err(error) => return Err(refuse_head(core, slot, Some(head), error)),
    };
    if let Err(NotAllowed) = Answerable::new(core, head) {
        return Err(refuse(core, slot, Some(head), 403, &[], ORIGIN_NOT_ALLOWED));
    }
    let connect = match head.parameter(CONNECT_PARAMETER) {
        Ok(connect) => connect.filter(|it| !it.is_empty()),
        Err(error) => {
            let body = format!("{error}\n");
            return Err(refuse(core, slot, Some(head), 400, &[], &body));
        }
    };
    let offers = head.headers_named("Sec-WebSocket-Extensions");
    let deflate = match ws::accept_deflate(offers) {
        Ok(deflate) => deflate,
        Err(error) => {
            let body = format!("{error}\n");
            return Err(refuse(core, slot, Some(head), 400, &[], &body));
        }
    };
    let deflate = deflate.filter(|_| core.shared.config.compression && opening.takes_deflate());
    let decoder = match deflate {
        Some(_) => ws::Decoder::with_deflate(ws::Role::Server),
        None => ws::Decoder::new(ws::Role::Server),
    };
    let carrier = match deflate {
        Some(_) => Carrier::DeflatedWebSocket,
        None => Carrier::WebSocket,
    };
    let (session, voice, protocol) = match opening {
        Opening::Centrifuge => {
            let protocol = upgrade.protocols().find(|it| *it == PROTOBUF_PROTOCOL);
            let is_protobuf =
                protocol.is_some() || head.parameter("cf_protocol") == Ok(Some("protobuf".into()));
            let codec = if is_protobuf {
                Codec::CentrifugeProtobuf
            } else {
                Codec::CentrifugeJson
            };
            let encoding = Encoding::new(codec, carrier);
            (
                Session::Centrifuge(decoder),
                Voice::Centrifuge(encoding),
                protocol,
            )
        }
        Opening::Unidirectional => (
            Session::Centrifuge(decoder),
            Voice::Centrifuge(Encoding::new(Codec::Unidirectional, carrier)),
            None,
        ),
        Opening::Native => (
            Session::Native(Framing::websocket()),
            Voice::Native(NativeCarrier::WebSocket),
            None,
        ),
        Opening::Goim => (
            Session::Goim(goim::Framing::websocket()),
            Voice::Goim(goim::Style::WebSocket),
            None,
        ),
        #[cfg(feature = "echo")]
        Opening::Echo => {
            // An echo is never authenticated.
            core.wheel.cancel(slot);
            (Session::Echo(decoder), Voice::Echo, None)
        }
    };
    core.write(slot, |out| {
        ws::handshake::write_switching_protocols(out, upgrade.key, protocol, deflate)
    });
    set_voice(core, slot, voice);
    keep_headers(core, slot, head);
    // Whoever only listens may say all it has to say in the address.
    if let (Opening::Unidirectional, Some(connect)) = (opening, connect) {
        centrifuge::take(core, slot, connect.as_bytes())?;
    }
    Ok(After::Opened(session))
}

/// Keeps of the opening request what the backend wants to see with its questions.
pub(super) fn keep_headers(core: &mut Core, slot: u32, head: &Head<'_>) {
    let Some(backend) = &core.shared.backend else {
        return;
    };
    let named = backend.header_names().iter().flat_map(|name| {
        head.headers_named(name)
            .map(|value| (name.clone(), Box::from(value)))
    });
    let headers: std::sync::Arc<[(Box<str>, Box<str>)]> = named.collect();
    if !headers.is_empty()
        && let Some(conn) = core.conns.get_mut(slot)
    {
        conn.more().headers = headers;
    }
}

/// Checks what all requests have in common, and answers the question of a browser whether it may ask.
fn request(
    core: &mut Core,
    slot: u32,
    head: &Head<'_>,
    methods: &str,
    then: impl FnOnce(&mut Core, Answerable) -> Result<After, Ending>,
) -> Result<After, Ending> {
    let Ok(answer) = Answerable::new(core, head) else {
        return Err(refuse(core, slot, Some(head), 403, &[], ORIGIN_NOT_ALLOWED));
    };
    if head.method == "OPTIONS" {
        let mut headers = vec![
            ("Access-Control-Allow-Methods", methods),
            ("Access-Control-Max-Age", "300"),
        ];
        let names = head.header("Access-Control-Request-Headers");
        if let Some(names) = names.filter(|names| is_list_of_names(names)) {
            headers.push(("Access-Control-Allow-Headers", names));
        }
        return Ok(respond(core, slot, &answer, 204, &headers, b""));
    }
    if methods.split(", ").any(|method| method == head.method) {
        return then(core, answer);
    }
    let body = b"the method is not allowed here\n";
    Ok(respond(
        core,
        slot,
        &answer,
        405,
        &[("Allow", methods)],
        body,
    ))
}

/// Longest list of header names that is said back to a browser, in bytes: pages need a few.
const NAMES_BYTES_MAX: usize = 1024;

/// Names of headers and what stands between them, nothing else: it is said back (RFC 9110 sections 5.1 and 5.6.1).
fn is_list_of_names(text: &str) -> bool {
    let may_be_in_it =
        |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~, \t".contains(&byte);
    text.len() <= NAMES_BYTES_MAX && text.bytes().all(may_be_in_it)
}

/// Opens an answer that goes on, and takes the commands that the request brings.
fn stream(
    core: &mut Core,
    slot: u32,
    session: &mut Session,
    encoding: Encoding,
    head: &Head<'_>,
    body: &[u8],
    answer: &Answerable,
) -> Result<After, Ending> {
    if !head.is_http_11 {
        let body = b"the answer comes in chunks, which HTTP/1.0 does not have: speak HTTP/1.1\n";
        return Ok(respond(core, slot, answer, 505, &[], body));
    }
    let parameter = match head.parameter(CONNECT_PARAMETER) {
        Ok(parameter) => parameter.unwrap_or_default(),
        Err(error) => {
            let body = format!("{error}\n");
            return Ok(respond(core, slot, answer, 400, &[], body.as_bytes()));
        }
    };
    let commands = if head.method == "GET" {
        parameter.as_bytes()
    } else {
        body
    };
    if commands.is_empty() && encoding.codec != Codec::Unidirectional {
        let body = b"the connect command is missing: parameter cf_connect, or the body\n";
        return Ok(respond(core, slot, answer, 400, &[], body));
    }
    let content_type = match encoding.carrier {
        Carrier::EventStream => "text/event-stream; charset=utf-8",
        _ if encoding.codec.is_text() => "application/x-ndjson",
        _ => "application/octet-stream",
    };
    answer.with_headers(&[], |headers| {
        core.write(slot, |out| {
            http::write_stream_head(out, content_type, headers)
        });
    });
    set_voice(core, slot, Voice::Centrifuge(encoding));
    keep_headers(core, slot, head);
    // The answer to connect tells the secret, and may be written before we are back.
    let secret = Secret::new()?;
    core.put_session(slot, Session::streaming(secret));
    *session = Session::streaming(secret);
    centrifuge::take(core, slot, commands)?;
    Ok(After::Opened(Session::streaming(secret)))
}

/// Takes commands for a session that is answered on another connection, which may be another shard's. Whether there still
/// is one is not said: its end has been told where its answers go.
fn emulation(
    core: &mut Core,
    slot: u32,
    head: &Head<'_>,
    body: &[u8],
    answer: &Answerable,
) -> Result<After, Ending> {
    let parsed = if is_binary(head) {
        protobuf::emulation(body)
    } else {
        json::emulation(body)
    };
    let emulation = match parsed {
        Ok(emulation) => emulation,
        Err(error) => {
            core.gauges.counters.protocol_errors.inc();
            let body = format!("{error}\n");
            return Ok(respond(core, slot, answer, 400, &[], body.as_bytes()));
        }
    };
    // The SDKs begin a new session when they hear this.
    if *emulation.node != *core.shared.node {
        let body = b"there is no such node here\n";
        return Ok(respond(core, slot, answer, 404, &[], body));
    }
    match emulation.session.parse::<SessionName>() {
        Ok(session) if session.conn.shard().ix() < core.shared.inboxes.len() => {
            let data = Bytes::copy_from_slice(&emulation.data);
            core.request(session.conn.shard(), Request::Upstream { session, data });
        }
        _ => core.gauges.counters.client_errors.inc(),
    }
    Ok(respond(core, slot, answer, 204, &[], b""))
}

/// The body is protobuf.
fn is_binary(head: &Head<'_>) -> bool {
    let media_type = head
        .header("Content-Type")
        .and_then(|it| it.split(';').next());
    media_type.is_some_and(|it| it.trim().eq_ignore_ascii_case("application/octet-stream"))
}
