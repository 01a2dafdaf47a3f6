//! Fields out of bytes, in place (the encoding: protobuf.dev/programming-guides/encoding).

use std::borrow::Cow;

use crate::centrifuge::{CommandError, EmulationError};

/// Bytes of a varint of 64 bits, at most.
const VARINT_BYTES_MAX: usize = 10;

/// Field numbers have 29 bits.
const FIELD_NUMBER_MAX: u64 = (1 << 29) - 1;

/// The bytes are not a message of the protocol's types, near the byte `at`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed {
    pub(super) at: usize,
}

impl From<Malformed> for CommandError {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed {
            column: malformed.at,
        }
    }
}

impl From<Malformed> for EmulationError {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed {
            column: malformed.at,
        }
    }
}

/// What is left of a message. One inside of another knows the bytes of the outermost, so that errors name their place there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Message<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            end: bytes.len(),
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.at == self.end
    }

    /// The next field, or `None` at the end. Fields that a reader does not know it simply does not look at.
    pub(super) fn field(&mut self) -> Result<Option<Field<'a>>, Malformed> {
        if self.is_empty() {
            return Ok(None);
        }
        let start = self.at;
        let key = self.varint()?;
        let number = key >> 3;
        if number == 0 || number > FIELD_NUMBER_MAX {
            return Err(Malformed { at: start });
        }
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => self.fixed(8)?,
            2 => Value::Bytes(self.delimited()?),
            5 => self.fixed(4)?,
            // 3 and 4 are groups, which proto3 cannot declare; 6 and 7 are nothing.
            _ => return Err(Malformed { at: start }),
        };
        Ok(Some(Field {
            number,
            value,
            start,
        }))
    }

    /// A length and as many bytes.
    pub(super) fn delimited(&mut self) -> Result<Self, Malformed> {
        let start = self.at;
        let length = self.varint()?;
        let left = self.end - self.at;
        match usize::try_from(length) {
            Ok(length) if length <= left => {
                let inner = Self {
                    bytes: self.bytes,
                    at: self.at,
                    end: self.at + length,
                };
                self.at = inner.end;
                Ok(inner)
            }
            _ => Err(Malformed { at: start }),
        }
    }

    /// All that is left.
    pub(super) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..self.end]
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let rest = self.rest();
        let mut value = 0;
        for (index, &byte) in rest.iter().take(VARINT_BYTES_MAX).enumerate() {
            // The tenth byte holds the 64th bit and no more.
            if index + 1 == VARINT_BYTES_MAX && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7F) << (7 * index);
            if byte & 0x80 == 0 {
                self.at += index + 1;
                return Ok(value);
            }
        }
        Err(Malformed { at: self.at })
    }

    fn fixed(&mut self, bytes: usize) -> Result<Value<'a>, Malformed> {
        if self.end - self.at < bytes {
            return Err(Malformed { at: self.at });
        }
        self.at += bytes;
        Ok(Value::Fixed)
    }
}

/// A field of a message.
pub(super) struct Field<'a> {
    pub(super) number: u64,
    value: Value<'a>,
    start: usize,
}

enum Value<'a> {
    Varint(u64),
    /// Of 4 or 8 bytes; the protocol has none, so nobody asks which.
    Fixed,
    Bytes(Message<'a>),
}

impl<'a> Field<'a> {
    pub(super) fn message(&self) -> Result<Message<'a>, Malformed> {
        match self.value {
            Value::Bytes(message) => Ok(message),
            _ => Err(self.malformed()),
        }
    }

    pub(super) fn bytes(&self) -> Result<Cow<'a, [u8]>, Malformed> {
        Ok(Cow::Borrowed(self.message()?.rest()))
    }

    pub(super) fn text(&self) -> Result<Cow<'a, str>, Malformed> {
        let text = simdutf8::basic::from_utf8(self.message()?.rest());
        text.map(Cow::Borrowed).map_err(|_| self.malformed())
    }

    pub(super) fn u64(&self) -> Result<u64, Malformed> {
        match self.value {
            Value::Varint(value) => Ok(value),
            _ => Err(self.malformed()),
        }
    }

    /// A number that does not fit is refused: as an id cut to its low half it would get the reply of another command.
    pub(super) fn u32(&self) -> Result<u32, Malformed> {
        u32::try_from(self.u64()?).map_err(|_| self.malformed())
    }

    pub(super) fn i64(&self) -> Result<i64, Malformed> {
        Ok(self.u64()?.cast_signed())
    }

    /// Negative numbers are sign-extended to 64 bits on the wire.
    pub(super) fn i32(&self) -> Result<i32, Malformed> {
        i32::try_from(self.i64()?).map_err(|_| self.malformed())
    }

    pub(super) fn flag(&self) -> Result<bool, Malformed> {
        Ok(self.u64()? != 0)
    }

    const fn malformed(&self) -> Malformed {
        Malformed { at: self.start }
    }
}
