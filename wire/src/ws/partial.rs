//! What a decoder keeps of a message that is not complete.

use super::{
    close::Close,
    decoder::Limits,
    error::Error,
    header::{HEADER_BYTES_MAX, Header, Opcode},
    mask, utf8,
};

/// A frame whose header is complete and whose payload may not be.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) opcode: Opcode,
    /// Neither begins, continues nor ends a fragmented message.
    pub(super) is_whole_message: bool,
    is_final: bool,
    /// Begins a compressed message.
    pub(super) is_deflated: bool,
    /// The masking key, turned to where the payload stands.
    pub(super) mask: [u8; 4],
    pub(super) payload_bytes: usize,
    /// Payload bytes not yet received.
    pub(super) remaining: usize,
}

impl Frame {
    /// The payload length must have been checked against a limit.
    #[inline]
    pub(super) fn new(header: &Header, is_whole_message: bool) -> Self {
        let payload_bytes = usize::try_from(header.payload_bytes).unwrap_or(usize::MAX);
        Self {
            opcode: header.opcode,
            is_whole_message,
            is_final: header.is_final,
            is_deflated: header.is_deflated,
            mask: header.mask,
            payload_bytes,
            remaining: payload_bytes,
        }
    }
}

/// A data message that began.
#[derive(Debug)]
pub(super) struct Message {
    opcode: Opcode,
    is_deflated: bool,
    /// Frames begun, the first included.
    pub(super) fragments: u32,
    /// Payload received, unmasked, as yet compressed if it is. Grows with what came, so a declared length costs nothing.
    pub(super) bytes: Vec<u8>,
    /// Length of the prefix of a text that is known to be UTF-8; at most 3 bytes follow it, an unfinished character.
    valid_bytes: usize,
}

/// A message or control frame whose payload is whole.
pub(super) struct Completed {
    pub(super) opcode: Opcode,
    /// The payload is to be inflated yet.
    pub(super) is_deflated: bool,
}

/// Part of a header, part of a control frame, part of a message: any of them, since control frames stand between fragments.
#[derive(Debug, Default)]
pub(super) struct Partial {
    header: [u8; HEADER_BYTES_MAX],
    /// How much of `header` is filled.
    pub(super) header_bytes: u8,
    /// The frame whose payload is coming in.
    pub(super) frame: Option<Frame>,
    message: Option<Message>,
    control: Vec<u8>,
    delivered: Delivered,
}

/// Which content is lent out with the latest event, to be dropped before the next.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Delivered {
    #[default]
    Nothing,
    Control,
    Message,
}

impl Partial {
    /// `more` must fit, which it does if it ends where [`HEADER_BYTES_MAX`] would be passed.
    pub(super) fn keep_header(&mut self, more: &[u8]) {
        for (kept, &byte) in self.header[usize::from(self.header_bytes)..]
            .iter_mut()
            .zip(more)
        {
            *kept = byte;
            self.header_bytes += 1;
        }
    }

    pub(super) fn kept_header(&self) -> &[u8] {
        &self.header[..usize::from(self.header_bytes)]
    }

    /// The fragmented or incomplete message in progress.
    pub(super) fn message(&self) -> Option<&Message> {
        self.message.as_ref()
    }

    /// Nothing is begun; what is lent out does not count.
    pub(super) fn is_idle(&self) -> bool {
        let is_between_messages = self.message.is_none() || self.delivered == Delivered::Message;
        self.header_bytes == 0 && self.frame.is_none() && is_between_messages
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let message_bytes = self
            .message
            .as_ref()
            .map_or(0, |message| message.bytes.capacity());
        message_bytes + self.control.capacity()
    }

    /// Adds unmasked payload of `frame`: some, or the none that completes an empty one. Gives the control frame or message that
    /// is complete with it.
    pub(super) fn append(
        &mut self,
        frame: &mut Frame,
        payload: &[u8],
        limits: &Limits,
    ) -> Result<Option<Completed>, Error> {
        let is_first_part = frame.remaining == frame.payload_bytes;
        let still_declared = frame.remaining;
        frame.remaining -= payload.len();
        frame.mask = mask::rotated(frame.mask, payload.len());

        if frame.opcode.is_control() {
            self.control.extend_from_slice(payload);
            if frame.remaining > 0 {
                return Ok(None);
            }
            if frame.opcode == Opcode::Close {
                // Parsed again when lent out; but an error found here still frees the box.
                Close::parse(&self.control)?;
            }
            self.delivered = Delivered::Control;
            return Ok(Some(Completed {
                opcode: frame.opcode,
                is_deflated: false,
            }));
        }

        let message = self
            .message
            .get_or_insert_with(|| Message::new(frame.opcode, frame.is_deflated));
        message.fragments += u32::from(is_first_part);
        let bytes_max = if frame.is_final {
            message.bytes.len() + still_declared
        } else {
            usize::try_from(limits.message_bytes_max).unwrap_or(usize::MAX)
        };
        let is_complete = frame.is_final && frame.remaining == 0;
        message.append(payload, bytes_max, is_complete)?;
        if !is_complete {
            return Ok(None);
        }
        self.delivered = Delivered::Message;
        Ok(Some(Completed {
            opcode: message.opcode,
            is_deflated: message.is_deflated,
        }))
    }

    /// Lends out `bytes`, what a message of type `opcode` inflated to, and frees what it was inflated from.
    pub(super) fn deliver_inflated(&mut self, opcode: Opcode, bytes: Vec<u8>) {
        self.message = Some(Message {
            bytes,
            ..Message::new(opcode, false)
        });
        self.delivered = Delivered::Message;
    }

    /// The payload that [`append`](Self::append) completed, or that was inflated from it.
    pub(super) fn delivered(&self) -> &[u8] {
        match (self.delivered, &self.message) {
            (Delivered::Control, _) => &self.control,
            (Delivered::Message, Some(message)) => &message.bytes,
            (Delivered::Message, None) | (Delivered::Nothing, _) => &[],
        }
    }

    pub(super) fn forget_delivered(&mut self) {
        match std::mem::take(&mut self.delivered) {
            Delivered::Nothing => {}
            Delivered::Control => self.control = Vec::new(),
            Delivered::Message => self.message = None,
        }
    }
}

impl Message {
    fn new(opcode: Opcode, is_deflated: bool) -> Self {
        Self {
            opcode,
            is_deflated,
            fragments: 0,
            bytes: Vec::new(),
            valid_bytes: 0,
        }
    }

    /// `bytes_max` is what the message can still become; growing past it would be waste.
    fn append(&mut self, payload: &[u8], bytes_max: usize, is_complete: bool) -> Result<(), Error> {
        let needed = self.bytes.len() + payload.len();
        if needed > self.bytes.capacity() {
            let doubled = self.bytes.capacity().saturating_mul(2);
            let target = doubled.min(bytes_max).max(needed);
            self.bytes.reserve_exact(target - self.bytes.len());
        }
        self.bytes.extend_from_slice(payload);
        if self.opcode == Opcode::Text && !self.is_deflated {
            self.valid_bytes = utf8::extend_valid(&self.bytes, self.valid_bytes, is_complete)?;
        }
        Ok(())
    }
}
