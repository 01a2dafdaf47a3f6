//! URLs of endpoints.

use hyper::Uri;

/// Why something is not the URL of an endpoint. Does not quote it: a secret may have gone into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EndpointError {
    #[error("is not a URL: it looks like \"https://app.example/fanfare/connect\"")]
    Malformed,
    #[error("does not begin with http:// or https://, which is what is spoken here")]
    Scheme,
    #[error("has a user or a password: put what the backend asks for into backend.static_headers")]
    Credentials,
    #[error("has a fragment, which is never sent")]
    Fragment,
}

/// Reads the URL of an endpoint.
pub(crate) fn parse(text: &str) -> Result<Uri, EndpointError> {
    if text.contains('#') {
        return Err(EndpointError::Fragment);
    }
    let uri: Uri = text.parse().map_err(|_| EndpointError::Malformed)?;
    match uri.scheme_str() {
        Some("http" | "https") => {}
        Some(_) => return Err(EndpointError::Scheme),
        None => return Err(EndpointError::Malformed),
    }
    let authority = uri.authority().ok_or(EndpointError::Malformed)?;
    if authority.as_str().contains('@') {
        return Err(EndpointError::Credentials);
    }
    // The parser takes the second of "http://:80" and "http://h:99999" for an authority without a port.
    let port = authority.as_str().strip_prefix(authority.host());
    let has_good_port = port.is_some_and(|port| port.is_empty() || authority.port_u16().is_some());
    if authority.host().is_empty() || !has_good_port {
        return Err(EndpointError::Malformed);
    }
    Ok(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_and_https_are_spoken() {
        for good in [
            "http://127.0.0.1:3000/connect",
            "https://app.example/fanfare?event=connect",
            "http://[::1]:3000",
            "http://backend",
        ] {
            let uri = parse(good).expect(good);
            assert!(uri.host().is_some_and(|host| !host.is_empty()), "{good}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        use EndpointError as E;
        for (wrong, error) in [
            ("", E::Malformed),
            ("backend", E::Malformed),
            ("/connect", E::Malformed),
            ("http://", E::Malformed),
            ("http:///connect", E::Malformed),
            ("http://:80/", E::Malformed),
            ("http://h:99999/", E::Malformed),
            ("http://h:/", E::Malformed),
            ("http://h/a b", E::Malformed),
            ("http://h/\r\nX: y", E::Malformed),
            ("http://h/\0", E::Malformed),
            ("grpc://h:1", E::Scheme),
            ("file://h/etc/passwd", E::Scheme),
            ("http://user:hunter2@h/", E::Credentials),
            ("http://h/#top", E::Fragment),
        ] {
            let refused = parse(wrong).expect_err(wrong);
            assert_eq!(refused, error, "{wrong}");
            assert!(!refused.to_string().contains("hunter2"));
        }
    }
}
