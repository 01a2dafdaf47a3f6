//! Query strings and forms: `application/x-www-form-urlencoded`, as the URL standard reads it.

use std::borrow::Cow;

/// The names and values of a query string or of a form, decoded. What is no UTF-8 becomes U+FFFD.
pub fn parameters(text: &[u8]) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    form_urlencoded::parse(text)
}

/// The first parameter of this name.
#[must_use]
pub fn parameter<'a>(query: Option<&'a str>, name: &str) -> Option<Cow<'a, str>> {
    parameters(query?.as_bytes())
        .find(|(it, _)| it == name)
        .map(|(_, value)| value)
}
