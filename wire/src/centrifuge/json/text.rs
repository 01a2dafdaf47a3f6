//! Fields of JSON objects, appended to a vector.

use super::value::write_data;
use crate::centrifuge::{ClientInfo, Data, Publication};

/// Appends `{`, what `fields` writes, `}`.
pub(super) fn object(out: &mut Vec<u8>, fields: impl FnOnce(&mut Fields<'_>)) {
    out.push(b'{');
    fields(&mut Fields { out });
    out.push(b'}');
}

/// Appends the items, each written by `write`, as an array.
pub(super) fn array<I: IntoIterator>(
    out: &mut Vec<u8>,
    items: I,
    mut write: impl FnMut(&mut Vec<u8>, I::Item),
) {
    out.push(b'[');
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(out, item);
    }
    out.push(b']');
}

/// The inside of an object.
pub(super) struct Fields<'o> {
    out: &'o mut Vec<u8>,
}

impl Fields<'_> {
    /// A field whose value the caller appends. `name` is ours and needs no escapes.
    pub(super) fn name(&mut self, name: &str) -> &mut Vec<u8> {
        self.comma();
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    /// A field whose name came from outside.
    pub(super) fn foreign_name(&mut self, name: &str) -> &mut Vec<u8> {
        self.comma();
        write_text(self.out, name);
        self.out.push(b':');
        self.out
    }

    pub(super) fn object(&mut self, name: &str, fields: impl FnOnce(&mut Fields<'_>)) {
        object(self.name(name), fields);
    }

    /// Left out when 0.
    pub(super) fn number(&mut self, name: &str, value: u64) {
        if value != 0 {
            write_number(self.name(name), value);
        }
    }

    /// Left out when 0 or negative: a clock is neither.
    pub(super) fn time(&mut self, name: &str, unix_ms: i64) {
        self.number(name, u64::try_from(unix_ms).unwrap_or(0));
    }

    /// Left out when false.
    pub(super) fn flag(&mut self, name: &str, value: bool) {
        if value {
            self.name(name).extend_from_slice(b"true");
        }
    }

    /// Left out when empty.
    pub(super) fn text(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            write_text(self.name(name), value);
        }
    }

    /// An epoch; left out when 0.
    pub(super) fn epoch(&mut self, name: &str, epoch: u64) {
        if epoch != 0 {
            write_epoch(self.name(name), epoch);
        }
    }

    /// JSON that is valid already; left out when empty.
    pub(super) fn raw(&mut self, name: &str, json: &[u8]) {
        if !json.is_empty() {
            self.name(name).extend_from_slice(json);
        }
    }

    /// A payload; left out when it is JSON of no bytes, which is none.
    pub(super) fn data(&mut self, name: &str, data: Data<'_>) {
        match data {
            Data::Json([]) => {}
            Data::Json(json) => write_data(self.name(name), json, true),
            Data::Binary(bytes) => write_data(self.name(name), bytes, false),
            Data::Text(bytes) => write_utf8(self.name(name), bytes),
        }
    }

    fn comma(&mut self) {
        // A field follows either the opening brace or another field, and no value ends with a brace that opens.
        if self.out.last() != Some(&b'{') {
            self.out.push(b',');
        }
    }
}

pub(super) fn write_client_info(out: &mut Vec<u8>, info: &ClientInfo<'_>) {
    object(out, |fields| {
        // SDKs read these two without a default.
        write_text(fields.name("user"), info.user);
        write_text(fields.name("client"), info.client);
        fields.raw("conn_info", info.connection_info);
        fields.raw("chan_info", info.channel_info);
    });
}

pub(super) fn write_publication(out: &mut Vec<u8>, publication: &Publication<'_>) {
    object(out, |fields| {
        fields.data("data", publication.data);
        if let Some(info) = &publication.info {
            write_client_info(fields.name("info"), info);
        }
        fields.number("offset", publication.offset);
        if !publication.tags.is_empty() {
            fields.object("tags", |tags| {
                for (key, value) in publication.tags {
                    write_text(tags.foreign_name(key), value);
                }
            });
        }
        fields.flag("delta", publication.delta);
        fields.time("time", publication.time_unix_ms);
    });
}

/// An epoch as the text that [`Epoch::parse`](crate::centrifuge::Epoch::parse) reads.
pub(super) fn write_epoch(out: &mut Vec<u8>, epoch: u64) {
    out.push(b'"');
    if epoch != 0 {
        write_number(out, epoch);
    }
    out.push(b'"');
}

/// `core::fmt` would do, at several times the cost for a figure in every publication.
pub(super) fn write_number(out: &mut Vec<u8>, mut value: u64) {
    const DIGITS_MAX: usize = 20;
    let mut digits = [0; DIGITS_MAX];
    let mut start = DIGITS_MAX;
    loop {
        start -= 1;
        digits[start] = b'0' + (value % 10).to_le_bytes()[0];
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// A JSON string (RFC 8259 section 7: quote, backslash and the control characters are escaped, nothing else must be).
pub(super) fn write_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    write_escaped(out, text);
    out.push(b'"');
}

/// The same of bytes; those that are not UTF-8 become U+FFFD.
fn write_utf8(out: &mut Vec<u8>, bytes: &[u8]) {
    if let Ok(text) = simdutf8::basic::from_utf8(bytes) {
        return write_text(out, text);
    }
    out.push(b'"');
    for chunk in bytes.utf8_chunks() {
        write_escaped(out, chunk.valid());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    out.push(b'"');
}

fn write_escaped(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = text.as_bytes();
    let mut copied = 0;
    for (index, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[copied..index]);
        copied = index + 1;
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                let (high, low) = (usize::from(byte >> 4), usize::from(byte & 0xF));
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', HEX[high], HEX[low]]);
            }
        }
    }
    out.extend_from_slice(&bytes[copied..]);
}
