use super::{
    close::Close,
    error::Error,
    header::{HEADER_BYTES_MAX, Header, Opcode},
    inflate::Inflater,
    mask,
    partial::{Completed, Frame, Partial},
};
use std::ops::Range;

/// Which end of the connection the decoder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Reads a client's frames, which must be masked.
    Server,
    /// Reads a server's frames, which must not be masked.
    Client,
}

/// What one message may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most payload bytes of a message, summed over its fragments. Checked against declared lengths, before anything is kept.
    /// Of a compressed message, both what is received and what it inflates to; the latter is checked while it is inflated.
    pub message_bytes_max: u32,
    /// Most frames of a fragmented message, empty ones included; below 2, fragmentation is refused.
    pub fragments_max: u32,
}

/// A whole message, or a control frame.
///
/// It borrows the input if it came uncompressed in one frame that lay whole in it, and the decoder if not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
    /// To be answered by a Pong with the same payload, at most 125 bytes (RFC 6455 section 5.5.2).
    Ping(&'a [u8]),
    /// Answers a Ping or comes unasked; at most 125 bytes.
    Pong(&'a [u8]),
    /// The last event. `None` if the peer gave no code.
    Close(Option<Close<'a>>),
}

/// Finds messages in the bytes of one connection.
///
/// While nothing is partial it is these 16 bytes and no heap. What is partial lives in one box, which grows with the bytes
/// that came, never with the length that was declared, and is freed with the message.
#[derive(Debug)]
pub struct Decoder {
    partial: Option<Box<Partial>>,
    role: Role,
    is_deflate_negotiated: bool,
    /// A Close was read or an error met: nothing further is looked at.
    is_closed: bool,
}

const _: () = assert!(size_of::<Decoder>() <= 16, "one is kept per connection");

impl Decoder {
    /// A decoder for the first byte after an opening handshake that agreed on no extension.
    pub const fn new(role: Role) -> Self {
        Self {
            partial: None,
            role,
            is_deflate_negotiated: false,
            is_closed: false,
        }
    }

    /// A decoder for the first byte after an opening handshake that agreed on permessage-deflate, the peer without context
    /// takeover. To be driven with [`next_inflating`](Self::next_inflating).
    pub const fn with_deflate(role: Role) -> Self {
        let mut decoder = Self::new(role);
        decoder.is_deflate_negotiated = true;
        decoder
    }

    /// Whether it was made [`with_deflate`](Self::with_deflate), so that the peer takes compressed frames as well.
    pub const fn is_deflate_negotiated(&self) -> bool {
        self.is_deflate_negotiated
    }

    /// Consumes bytes from `input`, unmasking them in place, until one event is complete or the input is used up.
    ///
    /// Gives the number of bytes consumed and the event. Call it with what is left until it answers `None`: then all of
    /// `input` is consumed, and a box that held the event before is freed.
    ///
    /// A frame that lies whole in `input` and is a whole message is lent out from there: no copy, no allocation. Text is
    /// checked as it comes, so a byte that cannot be UTF-8 is an error even if its frame is far from complete.
    ///
    /// # Errors
    ///
    /// Each is final: the connection is to be closed with [`Error::close_code`], and later calls, as after a Close, swallow
    /// their input. A compressed message is one: [`next_inflating`](Self::next_inflating) takes them.
    #[inline]
    pub fn next<'a>(
        &'a mut self,
        input: &'a mut [u8],
        limits: &Limits,
    ) -> Result<(usize, Option<Event<'a>>), Error> {
        self.next_event(input, limits, None)
    }

    /// As [`next`](Self::next), and takes compressed messages if the decoder was made [`with_deflate`](Self::with_deflate).
    ///
    /// Uncompressed messages cost what they cost there. A compressed one is gathered until it is whole, then inflated at once
    /// into a box that is freed with the next call, so nothing of it stays with the connection. `inflater` is not borrowed
    /// by the event: one serves all connections of a thread.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next).
    #[inline]
    pub fn next_inflating<'a>(
        &'a mut self,
        input: &'a mut [u8],
        limits: &Limits,
        inflater: &mut Inflater,
    ) -> Result<(usize, Option<Event<'a>>), Error> {
        let inflater = self.is_deflate_negotiated.then_some(inflater);
        self.next_event(input, limits, inflater)
    }

    #[inline]
    fn next_event<'a>(
        &'a mut self,
        input: &'a mut [u8],
        limits: &Limits,
        inflater: Option<&mut Inflater>,
    ) -> Result<(usize, Option<Event<'a>>), Error> {
        self.release();
        if self.is_closed {
            return Ok((input.len(), None));
        }
        let (consumed, ready) = match self.advance(input, limits, inflater.is_some()) {
            Ok((consumed, Some(ready))) => (consumed, ready),
            Ok((consumed, None)) => return Ok((consumed, None)),
            Err(error) => return Err(self.fail(error)),
        };
        let Ready {
            opcode,
            mut place,
            is_deflated,
        } = ready;
        if is_deflated {
            let in_input = match place {
                Place::Input(range) => Some(&input[range]),
                Place::Partial => None,
            };
            if let Err(error) = self.inflate(opcode, in_input, limits, inflater) {
                return Err(self.fail(error));
            }
            place = Place::Partial;
        }
        let event = match place {
            Place::Input(range) => match event(opcode, &input[range]) {
                Ok(event) => event,
                Err(error) => return Err(self.fail(error)),
            },
            // Its content was checked as it was kept, or inflated.
            Place::Partial => match &self.partial {
                Some(partial) => event(opcode, partial.delivered())?,
                None => return Ok((consumed, None)),
            },
        };
        self.is_closed = opcode == Opcode::Close;
        Ok((consumed, Some(event)))
    }

    /// Whether the next byte begins a frame that begins a message: a deadline for unfinished messages need not run.
    pub fn is_idle(&self) -> bool {
        self.partial
            .as_ref()
            .is_none_or(|partial| partial.is_idle())
    }

    /// Bytes on the heap: 0 unless a message is partial, or was assembled and is still lent out.
    pub fn heap_bytes(&self) -> usize {
        self.partial
            .as_ref()
            .map_or(0, |partial| size_of::<Partial>() + partial.heap_bytes())
    }

    fn advance(
        &mut self,
        input: &mut [u8],
        limits: &Limits,
        may_be_deflated: bool,
    ) -> Result<(usize, Option<Ready>), Error> {
        let mut consumed = 0;
        loop {
            let begun = self
                .partial
                .as_mut()
                .and_then(|partial| partial.frame.take());
            let mut frame = match begun {
                Some(frame) => frame,
                None => {
                    let header = self.read_header(&input[consumed..], may_be_deflated)?;
                    let Some((header, header_bytes)) = header else {
                        return Ok((input.len(), None));
                    };
                    consumed += header_bytes;
                    self.begin(&header, limits)?
                }
            };

            let payload = consumed..consumed + frame.remaining.min(input.len() - consumed);
            consumed = payload.end;
            if frame.mask != [0; 4] {
                mask::apply(&mut input[payload.clone()], frame.mask);
            }
            if frame.is_whole_message && payload.len() == frame.payload_bytes {
                self.release();
                let ready = Ready {
                    opcode: frame.opcode,
                    place: Place::Input(payload),
                    is_deflated: frame.is_deflated,
                };
                return Ok((consumed, Some(ready)));
            }

            let partial = self.partial.get_or_insert_default();
            if payload.is_empty() && frame.remaining > 0 {
                partial.frame = Some(frame);
                return Ok((consumed, None));
            }
            let completed = partial.append(&mut frame, &input[payload], limits)?;
            if let Some(completed) = completed {
                let Completed {
                    opcode,
                    is_deflated,
                } = completed;
                let ready = Ready {
                    opcode,
                    place: Place::Partial,
                    is_deflated,
                };
                return Ok((consumed, Some(ready)));
            }
            if frame.remaining > 0 {
                partial.frame = Some(frame);
                return Ok((consumed, None));
            }
        }
    }

    /// Reads the next header, of which the first bytes may have come earlier. Gives it with the bytes of `input` it took;
    /// without enough, keeps what is there.
    #[inline]
    fn read_header(
        &mut self,
        input: &[u8],
        may_be_deflated: bool,
    ) -> Result<Option<(Header, usize)>, Error> {
        let kept_bytes = self
            .partial
            .as_ref()
            .map_or(0, |partial| usize::from(partial.header_bytes));
        if kept_bytes == 0 {
            if let Some(header) = Header::parse(input, self.role, may_be_deflated)? {
                return Ok(Some((header, header.header_bytes)));
            }
            if !input.is_empty() {
                self.partial.get_or_insert_default().keep_header(input);
            }
            return Ok(None);
        }

        let partial = self.partial.get_or_insert_default();
        let added = input.len().min(HEADER_BYTES_MAX - kept_bytes);
        partial.keep_header(&input[..added]);
        let Some(header) = Header::parse(partial.kept_header(), self.role, may_be_deflated)? else {
            return Ok(None);
        };
        partial.header_bytes = 0;
        Ok(Some((header, header.header_bytes - kept_bytes)))
    }

    /// Checks a header against the message in progress and the limits.
    #[inline]
    fn begin(&self, header: &Header, limits: &Limits) -> Result<Frame, Error> {
        let is_whole_message = header.is_final && header.opcode != Opcode::Continuation;
        if !header.opcode.is_control() {
            let message = self.partial.as_ref().and_then(|partial| partial.message());
            let (fragments, received_bytes) = match (header.opcode, message) {
                (Opcode::Continuation, None) => return Err(Error::NothingToContinue),
                (Opcode::Continuation, Some(message)) => (message.fragments, message.bytes.len()),
                (_, Some(_)) => return Err(Error::MessageUnfinished),
                (_, None) => (0, 0),
            };
            // A frame that leaves its message open will be followed by one more at least.
            let fragments_at_least = fragments.saturating_add(1 + u32::from(!header.is_final));
            if !is_whole_message && fragments_at_least > limits.fragments_max {
                let max = limits.fragments_max;
                return Err(Error::TooManyFragments { max });
            }
            let max_bytes = limits.message_bytes_max;
            // Neither addend passes 2^63, so the sum cannot wrap.
            if received_bytes as u64 + header.payload_bytes > u64::from(max_bytes) {
                return Err(Error::MessageTooBig { max_bytes });
            }
        }
        Ok(Frame::new(header, is_whole_message))
    }

    /// Puts what a whole message inflates to in the place of an assembled one. It is `in_input`, or was assembled.
    #[inline(never)]
    fn inflate(
        &mut self,
        opcode: Opcode,
        in_input: Option<&[u8]>,
        limits: &Limits,
        inflater: Option<&mut Inflater>,
    ) -> Result<(), Error> {
        // None if the caller went on with `next` in the middle of a compressed message.
        let inflater = inflater.ok_or(Error::ReservedBits)?;
        let partial = self.partial.get_or_insert_default();
        let deflated = in_input.unwrap_or_else(|| partial.delivered());
        let bytes = inflater.inflate(deflated, limits.message_bytes_max)?;
        if opcode == Opcode::Text {
            simdutf8::basic::from_utf8(&bytes).map_err(|_| Error::InvalidUtf8)?;
        }
        partial.deliver_inflated(opcode, bytes);
        Ok(())
    }

    #[cold]
    fn fail(&mut self, error: Error) -> Error {
        self.is_closed = true;
        self.partial = None;
        error
    }

    /// Frees what was lent out with the event before, and the box if nothing else is in it.
    #[inline]
    fn release(&mut self) {
        if let Some(partial) = &mut self.partial {
            partial.forget_delivered();
            if partial.is_idle() {
                self.partial = None;
            }
        }
    }
}

/// A complete event and where its payload is. Ranges, not references: a borrow that lasts into the caller would keep
/// [`Decoder::next`] from recording an error.
struct Ready {
    opcode: Opcode,
    place: Place,
    /// The payload is to be inflated yet.
    is_deflated: bool,
}

enum Place {
    Input(Range<usize>),
    Partial,
}

#[inline]
fn event(opcode: Opcode, payload: &[u8]) -> Result<Event<'_>, Error> {
    Ok(match opcode {
        // An assembled message was checked as it grew, an inflated one when it was whole; without unsafe code a second pass is
        // the way to a `str`, at the speed of memory.
        Opcode::Text => {
            Event::Text(simdutf8::basic::from_utf8(payload).map_err(|_| Error::InvalidUtf8)?)
        }
        Opcode::Binary | Opcode::Continuation => Event::Binary(payload),
        Opcode::Ping => Event::Ping(payload),
        Opcode::Pong => Event::Pong(payload),
        Opcode::Close => Event::Close(Close::parse(payload)?),
    })
}
