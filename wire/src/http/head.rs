//! Request heads, read strictly: RFC 9112, and RFC 6455 section 4.2 for upgrades.
//!
//! Strict means: where two readers could disagree about what a request says, it is refused, since a proxy in front may be the
//! other reader. No bare LF, no folded line, no second `Host`, no `Content-Length` beside `Transfer-Encoding`.
//! The grammar of the lines is httparse's; the rules across lines are here.

use base64::{Engine, engine::general_purpose::STANDARD};
use std::mem::MaybeUninit;

/// Longest request head, from the method to the empty line.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Most header lines of a request.
pub const HEADERS_MAX: usize = 64;

/// Lines that carry one value which decides who is asked for what. A second one is refused rather than one of them picked.
const SINGLE: [&str; 9] = [
    "Host",
    "Origin",
    "Upgrade",
    "Content-Length",
    "Transfer-Encoding",
    "Content-Type",
    "Authorization",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Version",
];

/// A complete request head. It borrows the input; only the list of header lines is allocated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head<'a> {
    /// As sent; methods are case-sensitive.
    pub method: &'a str,
    /// Starts with `/`, not percent-decoded; `*` only for `OPTIONS`.
    pub path: &'a str,
    /// What follows the first `?`, not decoded.
    pub query: Option<&'a str>,
    /// HTTP/1.1, as opposed to 1.0.
    pub is_http_11: bool,
    /// The body that follows.
    pub body: Body,
    headers: Vec<(&'a str, &'a str)>,
}

/// How the end of a request's body is known (RFC 9112 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// So many bytes, 0 without a `Content-Length`.
    Bytes(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

impl<'a> Head<'a> {
    /// The value of the first line named `name`, in any case, without surrounding blanks.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers_named(name).next()
    }

    /// The values of all lines named `name`, in order.
    pub fn headers_named(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.headers
            .iter()
            .filter(move |(line_name, _)| line_name.eq_ignore_ascii_case(name))
            .map(|&(_, value)| value)
    }

    /// The members of a comma-separated list that may be spread over lines, without empty ones (RFC 9110 section 5.6.1).
    pub fn list(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.headers_named(name)
            .flat_map(|value| value.split(','))
            .map(|member| member.trim_matches([' ', '\t']))
            .filter(|member| !member.is_empty())
    }

    /// Whether the connection may carry another request after this one (RFC 9112 section 9.3).
    pub fn keeps_alive(&self) -> bool {
        let mut says_close = false;
        let mut says_keep_alive = false;
        for option in self.list("Connection") {
            says_close |= option.eq_ignore_ascii_case("close");
            says_keep_alive |= option.eq_ignore_ascii_case("keep-alive");
        }
        !says_close && (self.is_http_11 || says_keep_alive)
    }
}

/// Why a request is refused before it is looked at further. Answer with [`HeadError::status`] and close: what follows on the
/// connection cannot be trusted to be a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// More than [`HEAD_BYTES_MAX`].
    #[error("the request head is larger than 16 KiB")]
    TooLarge,
    /// More than [`HEADERS_MAX`].
    #[error("the request has more than 64 header lines")]
    TooManyHeaders,
    /// A line ends in LF without CR (request smuggling: RFC 9112 section 2.2).
    #[error("a line of the request head ends without CR")]
    BareLineFeed,
    /// The first line is not `METHOD target HTTP/1.x`.
    #[error("the request line is malformed")]
    RequestLine,
    /// Neither a path nor `http://host/path`, or not ASCII, or with a fragment.
    #[error("the request target is malformed")]
    Target,
    /// Only HTTP/1.0 and HTTP/1.1 are spoken, and an upgrade needs 1.1.
    #[error("the HTTP version is not supported")]
    Version,
    /// A header line is malformed, folded, holds NUL or another control character, or is not UTF-8.
    #[error("a header line is malformed")]
    Header,
    /// A line that must be single comes twice.
    #[error("the header {0} is given more than once")]
    Duplicate(&'static str),
    /// HTTP/1.1 requires `Host` (RFC 9112 section 3.2).
    #[error("the Host header is missing")]
    HostMissing,
    /// Not a decimal number, or past 64 bits.
    #[error("Content-Length is not a number")]
    ContentLength,
    /// Two ways to tell the end of the body, or chunks in HTTP/1.0: smuggling (RFC 9112 section 6.1).
    #[error("the end of the body is ambiguous")]
    BodyAmbiguous,
    /// Anything but `chunked`.
    #[error("the Transfer-Encoding is not supported")]
    TransferEncoding,
    /// A WebSocket opens with GET.
    #[error("a WebSocket is opened with GET")]
    UpgradeMethod,
    /// No `Upgrade: websocket` with `Connection: Upgrade`.
    #[error("the request does not ask for a WebSocket")]
    UpgradeMissing,
    /// Bytes after the head belong to the WebSocket, so a body has no place.
    #[error("an upgrade request cannot carry a body")]
    UpgradeBody,
    /// Any `Sec-WebSocket-Version` but 13.
    #[error("only version 13 of the WebSocket protocol is supported")]
    WebSocketVersion,
    /// Not 16 bytes in base64 (RFC 6455 section 4.2.1).
    #[error("Sec-WebSocket-Key is not 16 bytes in base64")]
    WebSocketKey,
}

impl HeadError {
    /// The status to answer with.
    pub const fn status(&self) -> u16 {
        match self {
            Self::TooLarge | Self::TooManyHeaders => 431,
            Self::Version => 505,
            Self::TransferEncoding => 501,
            Self::UpgradeMethod => 405,
            Self::UpgradeMissing | Self::WebSocketVersion => 426,
            _ => 400,
        }
    }

    /// The header lines the status calls for: what would have been accepted.
    pub const fn headers(&self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::UpgradeMethod => &[("Allow", "GET")],
            Self::UpgradeMissing => &[("Upgrade", "websocket")],
            Self::WebSocketVersion => &[("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")],
            _ => &[],
        }
    }
}

/// Reads a request head from the start of `input`. Gives it with its length, after which the body or frames follow, or
/// `None` if it is not complete.
///
/// # Errors
///
/// As soon as a line ends in a bare LF or the head is too large; otherwise once the head is complete.
pub fn parse_head(input: &[u8]) -> Result<Option<(Head<'_>, usize)>, HeadError> {
    let Some(head_bytes) = find_end(input)? else {
        return Ok(None);
    };
    let input = &input[..head_bytes];
    // httparse would skip empty lines in front. Nothing sane sends them, and a proxy may count them differently.
    if !input.first().is_some_and(u8::is_ascii_alphabetic) {
        return Err(HeadError::RequestLine);
    }
    let mut lines = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(input, &mut lines) {
        Ok(httparse::Status::Complete(parsed_bytes)) if parsed_bytes == head_bytes => {}
        Ok(_) => return Err(HeadError::Header),
        Err(error) => return Err(error.into()),
    }
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version)
    else {
        return Err(HeadError::RequestLine);
    };
    let is_http_11 = minor == 1;
    let headers = request
        .headers
        .iter()
        .map(|line| match str::from_utf8(line.value) {
            Ok(value) => Ok((line.name, value)),
            Err(_) => Err(HeadError::Header),
        })
        .collect::<Result<Vec<_>, _>>()?;

    for name in SINGLE {
        let lines_named = headers
            .iter()
            .filter(|(line_name, _)| line_name.eq_ignore_ascii_case(name));
        if lines_named.count() > 1 {
            return Err(HeadError::Duplicate(name));
        }
    }
    let (path, query) = split_target(method, target)?;
    let mut head = Head {
        method,
        path,
        query,
        is_http_11,
        body: Body::Bytes(0),
        headers,
    };
    if is_http_11 && head.header("Host").is_none() {
        return Err(HeadError::HostMissing);
    }
    head.body = body(&head)?;
    Ok(Some((head, head_bytes)))
}

impl From<httparse::Error> for HeadError {
    fn from(error: httparse::Error) -> Self {
        match error {
            httparse::Error::Version => Self::Version,
            httparse::Error::Token => Self::RequestLine,
            httparse::Error::TooManyHeaders => Self::TooManyHeaders,
            httparse::Error::HeaderName
            | httparse::Error::HeaderValue
            | httparse::Error::NewLine
            | httparse::Error::Status => Self::Header,
        }
    }
}

/// Length of the head up to and with its empty line. Looks at no byte past [`HEAD_BYTES_MAX`], so how much of what follows has
/// arrived makes no difference.
fn find_end(input: &[u8]) -> Result<Option<usize>, HeadError> {
    let window = &input[..input.len().min(HEAD_BYTES_MAX)];
    let mut line_at = 0;
    for line in window.split_inclusive(|&byte| byte == b'\n') {
        line_at += line.len();
        match line {
            b"\r\n" => return Ok(Some(line_at)),
            [.., b'\r', b'\n'] => {}
            [.., b'\n'] => return Err(HeadError::BareLineFeed),
            _ => {}
        }
    }
    if window.len() == HEAD_BYTES_MAX {
        return Err(HeadError::TooLarge);
    }
    Ok(None)
}

/// Path and query of a request target in origin form, absolute form, or the `*` of `OPTIONS` (RFC 9112 section 3.2).
fn split_target<'a>(
    method: &str,
    target: &'a str,
) -> Result<(&'a str, Option<&'a str>), HeadError> {
    if !target.is_ascii() || target.contains('#') {
        return Err(HeadError::Target);
    }
    if target == "*" && method == "OPTIONS" {
        return Ok((target, None));
    }
    let origin_form = match target.split_once("://") {
        Some((scheme, rest))
            if scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https") =>
        {
            rest.find('/')
                .map(|path_at| &rest[path_at..])
                .ok_or(HeadError::Target)?
        }
        _ => target,
    };
    if !origin_form.starts_with('/') {
        return Err(HeadError::Target);
    }
    Ok(match origin_form.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (origin_form, None),
    })
}

fn body(head: &Head<'_>) -> Result<Body, HeadError> {
    match (
        head.header("Transfer-Encoding"),
        head.header("Content-Length"),
    ) {
        (None, None) => Ok(Body::Bytes(0)),
        // `parse` alone would take a plus sign.
        (None, Some(length)) if length.bytes().all(|byte| byte.is_ascii_digit()) => length
            .parse()
            .map(Body::Bytes)
            .map_err(|_| HeadError::ContentLength),
        (None, Some(_)) => Err(HeadError::ContentLength),
        (Some(_), Some(_)) => Err(HeadError::BodyAmbiguous),
        (Some(_), None) if !head.is_http_11 => Err(HeadError::BodyAmbiguous),
        (Some(coding), None) if coding.eq_ignore_ascii_case("chunked") => Ok(Body::Chunked),
        (Some(_), None) => Err(HeadError::TransferEncoding),
    }
}

/// A valid request to open a WebSocket.
///
/// Whether [`origin`](Self::origin) may is for the caller to decide before it answers.
#[derive(Debug, Clone, Copy)]
pub struct WebSocketUpgrade<'a> {
    /// `Sec-WebSocket-Key`, for [`write_switching_protocols`](crate::ws::handshake::write_switching_protocols).
    pub key: &'a str,
    /// `Origin`, which browsers always send: the page that opens the connection.
    pub origin: Option<&'a str>,
    head: &'a Head<'a>,
}

impl<'a> WebSocketUpgrade<'a> {
    /// The subprotocols the client offers, the most wanted first.
    pub fn protocols(&self) -> impl Iterator<Item = &'a str> {
        self.head.list("Sec-WebSocket-Protocol")
    }
}

/// Checks that `head` asks for a WebSocket as RFC 6455 section 4.2.1 has it.
///
/// # Errors
///
/// The answer carries [`HeadError::headers`], so that a client may retry with a version that is supported.
pub fn upgrade<'a>(head: &'a Head<'a>) -> Result<WebSocketUpgrade<'a>, HeadError> {
    let has = |name, token: &str| {
        let mut members = head.list(name);
        members.any(|member| member.eq_ignore_ascii_case(token))
    };
    if head.method != "GET" {
        return Err(HeadError::UpgradeMethod);
    }
    if !head.is_http_11 {
        return Err(HeadError::Version);
    }
    if !has("Upgrade", "websocket") || !has("Connection", "upgrade") {
        return Err(HeadError::UpgradeMissing);
    }
    if head.body != Body::Bytes(0) {
        return Err(HeadError::UpgradeBody);
    }
    if head.header("Sec-WebSocket-Version") != Some("13") {
        return Err(HeadError::WebSocketVersion);
    }
    let key = head
        .header("Sec-WebSocket-Key")
        .filter(|key| is_websocket_key(key))
        .ok_or(HeadError::WebSocketKey)?;
    Ok(WebSocketUpgrade {
        key,
        origin: head.header("Origin"),
        head,
    })
}

fn is_websocket_key(key: &str) -> bool {
    // 24 characters decode to 16 to 18 bytes; the decoder estimates 18 before it sees the padding.
    let mut nonce = [0; 18];
    key.len() == 24 && STANDARD.decode_slice(key, &mut nonce) == Ok(16)
}
