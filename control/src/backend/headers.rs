//! The headers of a question: fixed ones, and those of the client that the operator lists.

use std::collections::HashMap;

use fanfare_engine::backend::Caller;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};

/// Headers that frame the question, or belong to one hop alone (RFC 9110 section 7.6.1). A client's would make the request
/// mean something else.
const RESERVED: [&str; 14] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "accept-encoding",
];

/// Why a name is not one that can be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NameError {
    #[error("holds {0:?}, which is not the name of a header")]
    Malformed(String),
    #[error("holds {0:?}, which is about the request to the backend itself and cannot be set")]
    Reserved(String),
}

/// Reads the name of a header that may go with a question.
pub(crate) fn parse_name(text: &str) -> Result<HeaderName, NameError> {
    let name: HeaderName = text
        .parse()
        .map_err(|_| NameError::Malformed(text.to_owned()))?;
    if RESERVED.contains(&name.as_str()) {
        return Err(NameError::Reserved(text.to_owned()));
    }
    Ok(name)
}

/// The value of a header, or `None` if it has a line break or another character that no header can carry.
pub(crate) fn parse_value(text: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(text).ok()
}

/// Makes the headers of questions.
#[derive(Debug, Default)]
pub(super) struct Headers {
    fixed: HeaderMap,
    transport: Allowed,
    emulated: Allowed,
}

/// Names that may be passed on.
#[derive(Debug, Default)]
struct Allowed {
    names: Vec<Box<str>>,
    parsed: HashMap<Box<str>, HeaderName>,
}

impl Headers {
    /// Names and values that are not accepted were refused with the configuration, and are left out here.
    pub(super) fn new<'a>(
        transport: impl Iterator<Item = &'a str>,
        emulated: impl Iterator<Item = &'a str>,
        fixed: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let mut headers = Self {
            fixed: HeaderMap::new(),
            transport: Allowed::new(transport),
            emulated: Allowed::new(emulated),
        };
        let agent = concat!("fanfare/", env!("CARGO_PKG_VERSION"));
        headers
            .fixed
            .insert(USER_AGENT, HeaderValue::from_static(agent));
        for (name, value) in fixed {
            if let (Ok(name), Some(mut value)) = (parse_name(name), parse_value(value)) {
                value.set_sensitive(true);
                headers.fixed.insert(name, value);
            }
        }
        headers
    }

    pub(super) fn transport_names(&self) -> &[Box<str>] {
        &self.transport.names
    }

    pub(super) fn emulated_names(&self) -> &[Box<str>] {
        &self.emulated.names
    }

    /// The headers of a question that is about no client.
    pub(super) fn of_nobody(&self) -> HeaderMap {
        let mut headers = self.fixed.clone();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers
    }

    /// The headers of a question about this client. What its transport says goes before what it says itself, and both
    /// before what is fixed, as in Centrifugo.
    pub(super) fn of(&self, caller: &Caller) -> HeaderMap {
        let mut headers = self.fixed.clone();
        self.emulated
            .pass_on(&caller.emulated_headers, &mut headers);
        self.transport.pass_on(&caller.headers, &mut headers);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers
    }
}

impl Allowed {
    fn new<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let parsed: HashMap<Box<str>, HeaderName> = names
            .filter_map(|name| parse_name(name).ok())
            .map(|name| (name.as_str().into(), name))
            .collect();
        let mut names: Vec<Box<str>> = parsed.keys().cloned().collect();
        names.sort_unstable();
        Self { names, parsed }
    }

    fn pass_on(&self, from: &[(Box<str>, Box<str>)], to: &mut HeaderMap) {
        let mut passed: Vec<&str> = Vec::new();
        for (name, value) in from {
            // One that cannot be sent is left out: the backend then trusts the client less, never more.
            let (Some(header), Some(value)) = (self.parsed.get(name), parse_value(value)) else {
                continue;
            };
            if passed.contains(&&**name) {
                to.append(header.clone(), value);
            } else {
                passed.push(name);
                to.insert(header.clone(), value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_about_the_request_itself_are_reserved() {
        for name in ["Host", "content-length", "Transfer-Encoding", "TE"] {
            assert_eq!(parse_name(name), Err(NameError::Reserved(name.to_owned())));
        }
        for name in ["", "a b", "a:b", "X-Key\r\nHost", "ключ"] {
            assert_eq!(parse_name(name), Err(NameError::Malformed(name.to_owned())));
        }
        for name in ["Cookie", "authorization", "X-Real-IP", "Origin"] {
            let parsed = parse_name(name).expect(name);
            assert_eq!(parsed.as_str(), name.to_ascii_lowercase());
        }
    }
}
