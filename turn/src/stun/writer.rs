//! A message to be sent.

use std::net::SocketAddr;

use super::message::signed_head;
use super::{
    AttributeType, Class, HEADER_BYTES, Integrity, Key, MAGIC_COOKIE, Method, TransactionId,
    address, pack_type,
};

/// Appends a message to a buffer, attribute by attribute. Padding is zero.
#[derive(Debug)]
pub struct Writer<'b> {
    out: &'b mut Vec<u8>,
    start: usize,
    transaction: TransactionId,
}

impl<'b> Writer<'b> {
    /// Begins a message.
    pub fn new(
        out: &'b mut Vec<u8>,
        class: Class,
        method: Method,
        transaction: TransactionId,
    ) -> Self {
        let start = out.len();
        out.extend_from_slice(&pack_type(class, method).to_be_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&MAGIC_COOKIE.to_be_bytes());
        out.extend_from_slice(&transaction);
        Self {
            out,
            start,
            transaction,
        }
    }

    /// Adds an attribute.
    pub fn attribute(&mut self, kind: AttributeType, value: &[u8]) -> &mut Self {
        let length = u16::try_from(value.len()).unwrap_or_else(|_| {
            unreachable!("what is answered is short, what is relayed a datagram")
        });
        self.out.extend_from_slice(&kind.0.to_be_bytes());
        self.out.extend_from_slice(&length.to_be_bytes());
        self.out.extend_from_slice(value);
        let padding = value.len().next_multiple_of(4) - value.len();
        self.out.extend_from_slice(&[0; 3][..padding]);
        self.set_length();
        self
    }

    /// Adds all of an attribute but its value, so many bytes that are sent behind what was written here, with their padding;
    /// `None`, and nothing is added, if the message would be too long.
    pub fn begin_attribute(&mut self, kind: AttributeType, value_bytes: usize) -> Option<()> {
        let length = u16::try_from(value_bytes).ok()?;
        let total =
            self.out.len() - self.start - HEADER_BYTES + 4 + value_bytes.next_multiple_of(4);
        let total = u16::try_from(total).ok()?;
        self.out.extend_from_slice(&kind.0.to_be_bytes());
        self.out.extend_from_slice(&length.to_be_bytes());
        self.out[self.start + 2..self.start + 4].copy_from_slice(&total.to_be_bytes());
        Some(())
    }

    /// Adds an address that is hidden from whoever rewrites addresses on the way.
    pub fn xor_address(&mut self, kind: AttributeType, address: SocketAddr) -> &mut Self {
        let (value, length) = address::write_xor(address, &self.transaction);
        self.attribute(kind, &value[..length])
    }

    /// Adds an address as it is.
    pub fn address(&mut self, kind: AttributeType, address: SocketAddr) -> &mut Self {
        let (value, length) = address::write_plain(address);
        self.attribute(kind, &value[..length])
    }

    /// Adds ERROR-CODE, 300 to 699, without words (RFC 8489 section 14.8): to strangers every byte of them is one of an
    /// attack on somebody else.
    pub fn error(&mut self, code: u16) -> &mut Self {
        let [class, number] = [code / 100, code % 100].map(|it| it.to_le_bytes()[0]);
        self.attribute(AttributeType::ERROR_CODE, &[0, 0, class, number])
    }

    /// Signs what has been added so far.
    pub fn integrity(&mut self, integrity: Integrity, key: &Key) -> &mut Self {
        let (kind, length) = match integrity {
            Integrity::Sha1 => (AttributeType::MESSAGE_INTEGRITY, 20),
            Integrity::Sha256 => (AttributeType::MESSAGE_INTEGRITY_SHA256, 32),
        };
        let message = &self.out[self.start..];
        let head = signed_head(message, message.len(), length);
        let (signature, _) = key.sign(integrity, [&head, &message[4..]]);
        self.attribute(kind, &signature[..length])
    }

    /// Adds FINGERPRINT, which comes last (RFC 8489 section 14.7).
    pub fn fingerprint(&mut self) {
        let at = self.out.len();
        self.attribute(AttributeType::FINGERPRINT, &[0; 4]);
        let crc = crc32fast::hash(&self.out[self.start..at]) ^ 0x5354_554e;
        self.out[at + 4..].copy_from_slice(&crc.to_be_bytes());
    }

    fn set_length(&mut self) {
        let length =
            u16::try_from(self.out.len() - self.start - HEADER_BYTES).unwrap_or_else(|_| {
                unreachable!("what is answered is short, what is relayed a datagram")
            });
        self.out[self.start + 2..self.start + 4].copy_from_slice(&length.to_be_bytes());
    }
}
