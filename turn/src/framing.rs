//! How messages lie one after the other, and what is relayed without one (RFC 8656 sections 12.4 to 12.6).
//!
//! A client's datagram is a STUN message or ChannelData, told apart by the first two bits (RFC 8656 section 12, RFC 7983). On
//! a stream both follow one another, ChannelData padded to a multiple of four bytes.

use crate::stun::HEADER_BYTES;

/// Bytes before what ChannelData carries.
pub const CHANNEL_HEADER_BYTES: usize = 4;

/// The numbers that channels may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Channels {
    last: u16,
}

impl Channels {
    /// 0x4000 to 0x4fff: what follows is for other protocols on the same port.
    pub const RFC_8656: Self = Self { last: 0x4fff };
    /// 0x4000 to 0x7ffe, for clients of the RFC before.
    pub const RFC_5766: Self = Self { last: 0x7ffe };

    /// Whether this is one.
    #[must_use]
    pub const fn contains(self, number: u16) -> bool {
        0x4000 <= number && number <= self.last
    }
}

/// What a datagram of a client is, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Datagram<'a> {
    /// Perhaps a message: nothing but the first two bits has been looked at.
    Stun(&'a [u8]),
    /// Data for the peer that this channel is bound to.
    ChannelData {
        /// One of [`Channels`].
        channel: u16,
        /// What is to be relayed: as many bytes as the header says, which padding is not of.
        data: &'a [u8],
    },
}

impl<'a> Datagram<'a> {
    /// Tells what it is; `None` if it is neither, or is shorter than its header says.
    #[must_use]
    pub fn read(bytes: &'a [u8], channels: Channels) -> Option<Self> {
        let (&[first, second, high, low], rest) = bytes.split_first_chunk()?;
        match first >> 6 {
            0b00 => Some(Self::Stun(bytes)),
            0b01 => {
                let channel = u16::from_be_bytes([first, second]);
                let length = usize::from(u16::from_be_bytes([high, low]));
                let data = rest.get(..length)?;
                channels
                    .contains(channel)
                    .then_some(Self::ChannelData { channel, data })
            }
            _ => None,
        }
    }
}

/// The header of ChannelData with so many bytes; `None` beyond 65,535.
#[must_use]
pub fn channel_header(channel: u16, data_bytes: usize) -> Option<[u8; CHANNEL_HEADER_BYTES]> {
    let length = u16::try_from(data_bytes).ok()?;
    let [c0, c1] = channel.to_be_bytes();
    let [l0, l1] = length.to_be_bytes();
    Some([c0, c1, l0, l1])
}

/// What a stream has next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// So many bytes of what is there are one message or ChannelData with its padding.
    Whole(usize),
    /// There are to be so many bytes before anything can be said.
    Partial(usize),
}

/// Why a stream cannot go on: there is no telling where the next message begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// It begins with neither of what a client may send.
    #[error("the stream holds neither STUN nor ChannelData")]
    Unknown,
    /// More than this connection may send at once.
    #[error("a message of {0} bytes on a stream")]
    TooLong(usize),
}

/// Tells where the first message of a stream ends, of which no more than `bytes_max` bytes are taken.
///
/// # Errors
/// The stream is to be closed.
pub fn next_of_stream(
    bytes: &[u8],
    bytes_max: usize,
    channels: Channels,
) -> Result<Next, StreamError> {
    let Some(first) = bytes.first() else {
        return Ok(Next::Partial(CHANNEL_HEADER_BYTES));
    };
    // Before its length is known: garbage need not arrive whole to be known as such.
    let header_bytes = match first >> 6 {
        0b00 => HEADER_BYTES,
        0b01 if channels.contains(u16::from(*first) << 8) => CHANNEL_HEADER_BYTES,
        _ => return Err(StreamError::Unknown),
    };
    let Some(&[_, _, high, low]) = bytes.first_chunk() else {
        return Ok(Next::Partial(CHANNEL_HEADER_BYTES));
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    // Messages of STUN are multiples of four bytes as they are, and refused otherwise.
    let whole = match header_bytes {
        HEADER_BYTES => HEADER_BYTES + length,
        _ => CHANNEL_HEADER_BYTES + length.next_multiple_of(4),
    };
    if whole > bytes_max {
        return Err(StreamError::TooLong(whole));
    }
    Ok(if bytes.len() < whole {
        Next::Partial(whole)
    } else {
        Next::Whole(whole)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stun::{AttributeType, Class, Message, Method, Writer};

    const RFC: Channels = Channels::RFC_8656;

    fn channel_data(channel: u16, data: &[u8]) -> Vec<u8> {
        let mut bytes = channel_header(channel, data.len())
            .expect("it fits")
            .to_vec();
        bytes.extend_from_slice(data);
        bytes
    }

    #[test]
    fn datagrams_are_told_apart_by_their_first_bits() {
        for first in 0..=0xff_u8 {
            let mut bytes = [0; HEADER_BYTES];
            bytes[0] = first;
            let expected = match first {
                0x00..=0x3f => Some(Datagram::Stun(&bytes)),
                0x40..=0x4f => Some(Datagram::ChannelData {
                    channel: u16::from(first) << 8,
                    data: &[],
                }),
                _ => None,
            };
            assert_eq!(Datagram::read(&bytes, RFC), expected, "{first:#x}");
        }
        for length in 0..4 {
            assert_eq!(Datagram::read(&[0x40; 4][..length], RFC), None);
        }
        for (channel, is_one) in [
            (0x3fff, false),
            (0x4000, true),
            (0x4fff, true),
            (0x5000, false),
            (0x7fff, false),
            (0xffff, false),
        ] {
            let bytes = channel_data(channel, b"data");
            let is_read = matches!(
                Datagram::read(&bytes, RFC),
                Some(Datagram::ChannelData { .. })
            );
            assert_eq!(is_read, is_one, "{channel:#x}");
        }
    }

    #[test]
    fn older_clients_may_have_more_channels() {
        let old = Channels::RFC_5766;
        let last = channel_data(0x7ffe, b"data");
        assert!(Datagram::read(&last, old).is_some() && Datagram::read(&last, RFC).is_none());
        assert_eq!(next_of_stream(&last, 2_000, old), Ok(Next::Whole(8)));
        assert_eq!(Datagram::read(&channel_data(0x7fff, b"data"), old), None);
    }

    #[test]
    fn exactly_what_the_header_says_is_relayed() {
        let mut bytes = channel_data(0x4001, b"12345");
        let read = |bytes: &[u8]| match Datagram::read(bytes, RFC) {
            Some(Datagram::ChannelData { data, .. }) => Some(data.to_vec()),
            _ => None,
        };
        assert_eq!(read(&bytes), Some(b"12345".to_vec()));
        assert_eq!(read(&bytes[..8]), None);
        // Some clients pad datagrams as well (RFC 8656 section 12.5: they need not).
        bytes.extend_from_slice(b"pad");
        assert_eq!(read(&bytes), Some(b"12345".to_vec()));
        assert_eq!(read(&channel_data(0x4001, b"")), Some(Vec::new()));
        assert_eq!(channel_header(0x4000, 65_536), None);
    }

    #[test]
    fn a_stream_that_is_garbage_ends_at_once() {
        for first in 0..=0xff_u8 {
            let is_garbage = next_of_stream(&[first], 2_000, RFC) == Err(StreamError::Unknown);
            assert_eq!(is_garbage, first >= 0x50, "{first:#x}");
        }
        assert_eq!(next_of_stream(&[], 2_000, RFC), Ok(Next::Partial(4)));
        assert_eq!(
            next_of_stream(b"GET / HTTP/1.1\r\n", 2_000, RFC),
            Err(StreamError::TooLong(21_540))
        );
    }

    #[test]
    fn no_message_is_longer_than_it_may_be() {
        let mut bytes = channel_data(0x4000, &[0; 97]);
        assert_eq!(next_of_stream(&bytes, 104, RFC), Ok(Next::Partial(104)));
        assert_eq!(
            next_of_stream(&bytes, 103, RFC),
            Err(StreamError::TooLong(104))
        );
        bytes.resize(104, 0);
        assert_eq!(next_of_stream(&bytes, 104, RFC), Ok(Next::Whole(104)));
        // Before its bytes are there.
        assert_eq!(
            next_of_stream(&[0, 1, 0xff, 0xfc], 2_000, RFC),
            Err(StreamError::TooLong(65_552))
        );
    }

    #[derive(Debug, Clone)]
    enum Sent {
        Stun(Vec<u8>),
        Channel(u16, Vec<u8>),
    }

    proptest! {
        #[test]
        fn a_stream_is_read_as_it_was_written(
            sent in prop::collection::vec(
                prop_oneof![
                    prop::collection::vec(any::<u8>(), 0..60).prop_map(Sent::Stun),
                    (0x4000..=0x4fff_u16, prop::collection::vec(any::<u8>(), 0..60)).prop_map(|(c, d)| Sent::Channel(c, d)),
                ],
                0..10
            ),
            at_once in 1..70_usize,
        ) {
            let mut stream = Vec::new();
            for sent in &sent {
                match sent {
                    Sent::Stun(data) => {
                        Writer::new(&mut stream, Class::Indication, Method::SEND, [3; 12])
                            .attribute(AttributeType::DATA, data);
                    }
                    Sent::Channel(channel, data) => {
                        stream.extend(channel_data(*channel, data));
                        stream.resize(stream.len().next_multiple_of(4), 0);
                    }
                }
            }
            let (mut held, mut read) = (Vec::new(), Vec::new());
            for part in stream.chunks(at_once) {
                held.extend_from_slice(part);
                while let Next::Whole(length) = next_of_stream(&held, 2_000, RFC).map_err(|it| TestCaseError::fail(it.to_string()))? {
                    let one: Vec<u8> = held.drain(..length).collect();
                    read.push(match Datagram::read(&one, RFC) {
                        Some(Datagram::Stun(bytes)) => {
                            let message = Message::parse(bytes).map_err(|it| TestCaseError::fail(it.to_string()))?;
                            Sent::Stun(message.first(AttributeType::DATA).unwrap_or_default().to_vec())
                        }
                        Some(Datagram::ChannelData { channel, data }) => Sent::Channel(channel, data.to_vec()),
                        None => return Err(TestCaseError::fail("neither")),
                    });
                    if held.is_empty() {
                        break;
                    }
                }
            }
            prop_assert!(held.is_empty());
            prop_assert_eq!(format!("{read:?}"), format!("{sent:?}"));
        }
    }
}
