//! Builds frames, also wrong ones, and collects what a decoder makes of them.

#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

use fanfare_wire::ws::{Decoder, Error, Event, Inflater, Limits, Role};

pub const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

pub const ROOMY: Limits = Limits {
    message_bytes_max: 32 << 20,
    fragments_max: 1 << 20,
};

/// A frame with every field open to abuse.
#[derive(Debug, Clone)]
pub struct TestFrame {
    pub fin: bool,
    pub rsv: u8,
    pub opcode: u8,
    pub mask: Option<[u8; 4]>,
    pub payload: Vec<u8>,
}

pub fn frame(opcode: u8, payload: impl AsRef<[u8]>) -> TestFrame {
    TestFrame {
        fin: true,
        rsv: 0,
        opcode,
        mask: Some(MASK),
        payload: payload.as_ref().to_vec(),
    }
}

pub fn text(payload: impl AsRef<[u8]>) -> TestFrame {
    frame(1, payload)
}

pub fn binary(payload: impl AsRef<[u8]>) -> TestFrame {
    frame(2, payload)
}

pub fn continuation(payload: impl AsRef<[u8]>) -> TestFrame {
    frame(0, payload)
}

pub fn ping(payload: impl AsRef<[u8]>) -> TestFrame {
    frame(9, payload)
}

pub fn pong(payload: impl AsRef<[u8]>) -> TestFrame {
    frame(10, payload)
}

pub fn close(code: u16, reason: impl AsRef<[u8]>) -> TestFrame {
    frame(8, [&code.to_be_bytes(), reason.as_ref()].concat())
}

impl TestFrame {
    pub fn more(mut self) -> Self {
        self.fin = false;
        self
    }

    pub fn rsv(mut self, bits: u8) -> Self {
        self.rsv = bits;
        self
    }

    /// Marks its message as compressed.
    pub fn deflated(self) -> Self {
        self.rsv(4)
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = vec![u8::from(self.fin) << 7 | self.rsv << 4 | self.opcode];
        let masked = u8::from(self.mask.is_some()) << 7;
        match self.payload.len() {
            short @ ..126 => out.push(masked | u8::try_from(short).unwrap()),
            medium @ ..65_536 => {
                out.push(masked | 126);
                out.extend_from_slice(&u16::try_from(medium).unwrap().to_be_bytes());
            }
            long => {
                out.push(masked | 127);
                out.extend_from_slice(&(long as u64).to_be_bytes());
            }
        }
        let mask = self.mask.unwrap_or_default();
        if self.mask.is_some() {
            out.extend_from_slice(&mask);
        }
        let masked = self.payload.iter().zip(mask.iter().cycle());
        out.extend(masked.map(|(byte, key)| byte ^ key));
        out
    }
}

pub fn stream(frames: &[TestFrame]) -> Vec<u8> {
    frames.iter().flat_map(TestFrame::bytes).collect()
}

/// `payload` in frames of `size` bytes.
pub fn fragments(opcode: u8, payload: &[u8], size: usize) -> Vec<TestFrame> {
    let mut frames: Vec<_> = payload
        .chunks(size)
        .map(|part| continuation(part).more())
        .collect();
    if let Some(first) = frames.first_mut() {
        first.opcode = opcode;
    }
    if let Some(last) = frames.last_mut() {
        last.fin = true;
    }
    frames
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

impl From<Event<'_>> for Seen {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Text(text) => Self::Text(text.to_owned()),
            Event::Binary(bytes) => Self::Binary(bytes.to_vec()),
            Event::Ping(bytes) => Self::Ping(bytes.to_vec()),
            Event::Pong(bytes) => Self::Pong(bytes.to_vec()),
            Event::Close(close) => {
                Self::Close(close.map(|close| (close.code, close.reason.to_owned())))
            }
        }
    }
}

/// Everything a decoder says about a stream, and how it ended.
pub type Outcome = (Vec<Seen>, Result<(), Error>);

/// Feeds `chunks` in order to one decoder, each until it is used up.
pub fn decode<'a>(
    role: Role,
    limits: &Limits,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) -> Outcome {
    drain(Decoder::new(role), limits, chunks, Decoder::next)
}

/// As [`decode`], on a connection that agreed to permessage-deflate.
pub fn inflate<'a>(
    role: Role,
    limits: &Limits,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) -> Outcome {
    let mut inflater = Inflater::new();
    drain(
        Decoder::with_deflate(role),
        limits,
        chunks,
        |decoder, input, limits| decoder.next_inflating(input, limits, &mut inflater),
    )
}

fn drain<'a>(
    mut decoder: Decoder,
    limits: &Limits,
    chunks: impl IntoIterator<Item = &'a [u8]>,
    mut next: impl for<'b> FnMut(
        &'b mut Decoder,
        &'b mut [u8],
        &Limits,
    ) -> Result<(usize, Option<Event<'b>>), Error>,
) -> Outcome {
    let mut seen = Vec::new();
    for chunk in chunks {
        let mut input = chunk.to_vec();
        let mut consumed = 0;
        loop {
            let before = input[consumed..].to_vec();
            match next(&mut decoder, &mut input[consumed..], limits) {
                Ok((taken, event)) => {
                    let event = event.map(Seen::from);
                    assert_eq!(
                        &input[consumed + taken..],
                        &before[taken..],
                        "bytes not consumed are not touched"
                    );
                    consumed += taken;
                    match event {
                        Some(event) => seen.push(event),
                        None => break,
                    }
                }
                Err(error) => {
                    let length = input.len();
                    let after = next(&mut decoder, &mut input, limits);
                    assert_eq!(after, Ok((length, None)), "an error is final");
                    assert_eq!(decoder.heap_bytes(), 0);
                    return (seen, Err(error));
                }
            }
        }
        assert_eq!(consumed, input.len(), "no event means all is consumed");
    }
    (seen, Ok(()))
}

/// Decodes whole, byte by byte and in pieces of 7, asserts that all agree.
pub fn decode_every_way(role: Role, limits: &Limits, stream: &[u8]) -> Outcome {
    let whole = decode(role, limits, [stream]);
    for size in [1, 7] {
        let cut = decode(role, limits, stream.chunks(size));
        assert_eq!(cut, whole, "{size}-byte pieces");
    }
    whole
}

/// As [`decode_every_way`], on a connection that agreed to permessage-deflate.
pub fn inflate_every_way(role: Role, limits: &Limits, stream: &[u8]) -> Outcome {
    let whole = inflate(role, limits, [stream]);
    for size in [1, 7] {
        let cut = inflate(role, limits, stream.chunks(size));
        assert_eq!(cut, whole, "{size}-byte pieces");
    }
    whole
}

/// What a server sees of `frames`, in whatever pieces they come.
pub fn serve(frames: &[TestFrame]) -> Outcome {
    decode_every_way(Role::Server, &ROOMY, &stream(frames))
}
