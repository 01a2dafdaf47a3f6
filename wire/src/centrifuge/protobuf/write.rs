//! Fields to bytes. A message inside of another has its length before it, so its fields are gone through twice: once to
//! count, once to write.

use crate::centrifuge::{ClientInfo, Data, Publication};

/// Appends a message with its length before it.
pub(super) fn delimited(out: &mut Vec<u8>, fields: impl Fn(&mut Fields<'_>)) {
    let bytes = length(&fields);
    out.reserve(varint_bytes(bytes as u64) + bytes);
    let mut message = Fields::to(out);
    message.length_prefix(bytes);
    fields(&mut message);
}

/// The bytes that `fields` writes.
pub(super) fn length(fields: impl Fn(&mut Fields<'_>)) -> usize {
    let mut counted = Fields {
        out: None,
        bytes: 0,
    };
    fields(&mut counted);
    counted.bytes
}

/// The inside of a message, either written or only counted.
pub(super) struct Fields<'o> {
    out: Option<&'o mut Vec<u8>>,
    bytes: usize,
}

impl<'o> Fields<'o> {
    pub(super) const fn to(out: &'o mut Vec<u8>) -> Self {
        Self {
            out: Some(out),
            bytes: 0,
        }
    }

    /// What goes before a message that stands by itself.
    pub(super) fn length_prefix(&mut self, bytes: usize) {
        self.varint(bytes as u64);
    }

    /// Written even when nothing is in it: that it is there says something.
    pub(super) fn message(&mut self, number: u8, fields: impl Fn(&mut Fields<'_>)) {
        let bytes = length(&fields);
        self.head(number, bytes);
        match &mut self.out {
            Some(out) => fields(&mut Fields::to(out)),
            None => self.bytes += bytes,
        }
    }

    /// What goes before the `bytes` of a message.
    pub(super) fn head(&mut self, number: u8, bytes: usize) {
        self.varint(u64::from(number) << 3 | 2);
        self.varint(bytes as u64);
    }

    /// Left out when 0.
    pub(super) fn number(&mut self, number: u8, value: u64) {
        if value != 0 {
            self.varint(u64::from(number) << 3);
            self.varint(value);
        }
    }

    /// Left out when 0 or negative: a clock is neither.
    pub(super) fn time(&mut self, number: u8, unix_ms: i64) {
        self.number(number, u64::try_from(unix_ms).unwrap_or(0));
    }

    /// Left out when false.
    pub(super) fn flag(&mut self, number: u8, value: bool) {
        self.number(number, value.into());
    }

    /// Left out when empty.
    pub(super) fn text(&mut self, number: u8, value: &str) {
        self.raw(number, value.as_bytes());
    }

    /// Left out when empty.
    pub(super) fn raw(&mut self, number: u8, value: &[u8]) {
        if !value.is_empty() {
            self.bytes(number, value);
        }
    }

    /// Written even when empty.
    pub(super) fn bytes(&mut self, number: u8, value: &[u8]) {
        self.head(number, value.len());
        match &mut self.out {
            Some(out) => out.extend_from_slice(value),
            None => self.bytes += value.len(),
        }
    }

    /// An epoch, as the text that [`Epoch::parse`](crate::centrifuge::Epoch::parse) reads; left out when 0.
    pub(super) fn epoch(&mut self, number: u8, mut epoch: u64) {
        const DIGITS_MAX: usize = 20;
        let mut digits = [0; DIGITS_MAX];
        let mut start = DIGITS_MAX;
        while epoch > 0 {
            start -= 1;
            digits[start] = b'0' + (epoch % 10).to_le_bytes()[0];
            epoch /= 10;
        }
        self.raw(number, &digits[start..]);
    }

    /// A payload, whatever it is.
    pub(super) fn data(&mut self, number: u8, data: Data<'_>) {
        let (Data::Json(bytes) | Data::Binary(bytes) | Data::Text(bytes)) = data;
        self.raw(number, bytes);
    }

    /// `ClientInfo`
    pub(super) fn client_info(&mut self, number: u8, info: &ClientInfo<'_>) {
        self.message(number, |fields| {
            fields.text(1, info.user);
            fields.text(2, info.client);
            fields.raw(3, info.connection_info);
            fields.raw(4, info.channel_info);
        });
    }

    /// `Publication`
    pub(super) fn publication(&mut self, number: u8, publication: &Publication<'_>) {
        self.message(number, |fields| {
            fields.data(4, publication.data);
            if let Some(info) = &publication.info {
                fields.client_info(5, info);
            }
            fields.number(6, publication.offset);
            for (key, value) in publication.tags {
                // Both parts of a map's entry are always written, as encoders do.
                fields.message(7, |entry| {
                    entry.bytes(1, key.as_bytes());
                    entry.bytes(2, value.as_bytes());
                });
            }
            fields.flag(8, publication.delta);
            fields.time(9, publication.time_unix_ms);
        });
    }

    fn varint(&mut self, value: u64) {
        match &mut self.out {
            Some(out) => write_varint(out, value),
            None => self.bytes += varint_bytes(value),
        }
    }
}

fn write_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

const fn varint_bytes(value: u64) -> usize {
    // Seven bits a byte, and one byte for 0.
    let bits = u64::BITS - (value | 1).leading_zeros();
    bits.div_ceil(7) as usize
}
