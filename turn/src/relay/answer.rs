//! Answers to requests.

use std::net::SocketAddr;

use super::authentication::Known;
use super::requests::code;
use crate::stun::{AttributeType, Class, Integrity, Key, Message, Method, TransactionId, Writer};

/// An answer that is being written: signed if the request was, with a fingerprint if it had one.
#[derive(Debug)]
pub(super) struct Answer<'b> {
    out: &'b mut Vec<u8>,
    envelope: Envelope,
}

/// Of a request, what an answer needs.
#[derive(Debug)]
pub(super) struct Envelope {
    method: Method,
    transaction: TransactionId,
    signer: Option<(Integrity, Key)>,
    has_fingerprint: bool,
}

impl Envelope {
    /// An answer to the request.
    pub(super) fn answer(self, out: &mut Vec<u8>) -> Answer<'_> {
        Answer {
            out,
            envelope: self,
        }
    }
}

impl<'b> Answer<'b> {
    pub(super) fn to(
        message: &Message<'_>,
        known: Option<&Known<'_>>,
        out: &'b mut Vec<u8>,
    ) -> Self {
        let envelope = Envelope {
            method: message.method(),
            transaction: message.transaction(),
            signer: known.map(|known| (known.integrity, known.key)),
            has_fingerprint: message.has_fingerprint(),
        };
        Self { out, envelope }
    }

    /// It is not known yet what the answer is.
    pub(super) fn later(self) -> Envelope {
        self.envelope
    }

    /// It was done, and this is what came of it.
    pub(super) fn success(self, write: impl FnOnce(&mut Writer<'_>)) {
        self.write(Class::Success, write);
    }

    /// It was not.
    pub(super) fn error(self, code: u16) {
        self.error_with(code, |_| {});
    }

    /// It was not, and this belongs to it.
    pub(super) fn error_with(self, code: u16, write: impl FnOnce(&mut Writer<'_>)) {
        self.write(Class::Error, |writer| {
            writer.error(code);
            write(writer);
        });
    }

    /// The request has these attributes, of two bytes each, that it cannot be handled without understanding.
    pub(super) fn unknown(self, attributes: &[u8]) {
        self.error_with(code::UNKNOWN_ATTRIBUTE, |writer| {
            writer.attribute(AttributeType::UNKNOWN_ATTRIBUTES, attributes);
        });
    }

    /// Where the client seems to be.
    pub(super) fn binding(self, client: SocketAddr) {
        self.success(|writer| {
            writer.xor_address(AttributeType::XOR_MAPPED_ADDRESS, client);
        });
    }

    fn write(self, class: Class, write: impl FnOnce(&mut Writer<'_>)) {
        let Envelope {
            method,
            transaction,
            signer,
            has_fingerprint,
        } = self.envelope;
        let mut writer = Writer::new(self.out, class, method, transaction);
        write(&mut writer);
        if let Some((integrity, key)) = &signer {
            writer.integrity(*integrity, key);
        }
        if has_fingerprint {
            writer.fingerprint();
        }
    }
}
