//! What leaves with the end of a turn: datagrams whose bytes lie where they were received.

use std::net::SocketAddr;
use std::ops::Range;

use fanfare_engine::ring::{BufferLease, Datagram, Slot, TRAIN_BYTES_MAX, TRAIN_CARS_MAX};

use super::handover::{Handover, Letter, Parcel};

/// The longest datagram that is joined with others to a train: what fits a packet of Ethernet over IPv6. A longer one is cut
/// by IP on its way, and a train's cars may not be.
const CAR_BYTES_MAX: usize = 1_452;

/// Bytes of its own that it keeps room for from turn to turn.
const OWN_BYTES_KEPT: usize = 1 << 20;

/// Pieces that a send may have, less those that a datagram may add.
const PIECES_MAX: usize = 2 * TRAIN_CARS_MAX - PIECES_OF_ONE_MAX;

/// What comes before the data, the data, and its padding.
const PIECES_OF_ONE_MAX: usize = 3;

/// What leaves with the end of a turn, in order.
#[derive(Debug)]
pub(super) struct Outbox {
    /// What was received, kept until what is passed on of it has been sent.
    packets: Vec<Kept>,
    /// Answers, and what goes before data that has no room for it.
    bytes: Vec<u8>,
    pieces: Vec<Piece>,
    sends: Vec<Send>,
    /// The longest datagram that is joined with others.
    car_bytes_max: usize,
}

impl Default for Outbox {
    fn default() -> Self {
        Self {
            packets: Vec::new(),
            bytes: Vec::new(),
            pieces: Vec::new(),
            sends: Vec::new(),
            car_bytes_max: CAR_BYTES_MAX,
        }
    }
}

/// What was received: from a socket, or from another thread.
#[derive(Debug)]
enum Kept {
    Buffer(BufferLease),
    Parcel(Parcel),
}

/// A received packet that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packet(u32);

/// Some of the bytes of a datagram.
#[derive(Debug, Clone, Copy)]
struct Piece {
    /// Where the bytes are; of the outbox's own if it is no packet.
    packet: Option<Packet>,
    start: u32,
    end: u32,
}

#[derive(Debug, Clone, Copy)]
struct Send {
    slot: Slot,
    to: SocketAddr,
    first_piece: u32,
    pieces: u16,
    cars: u16,
    car_bytes: u32,
    bytes: u32,
    /// Nothing may follow: its last datagram is a short one, or none of a train.
    is_closed: bool,
    /// It arrives whole or not at all.
    is_whole: bool,
}

/// A send that failed.
#[derive(Debug)]
pub(super) struct Again {
    pub(super) slot: Slot,
    pub(super) to: SocketAddr,
    pub(super) bytes: Vec<u8>,
    pub(super) car_bytes: usize,
    pub(super) is_train: bool,
    pub(super) is_whole: bool,
}

/// What is relayed.
#[derive(Debug, Clone)]
pub(super) struct Data {
    /// Where it is; in the outbox's own bytes if it came in no packet.
    pub(super) packet: Option<Packet>,
    pub(super) range: Range<usize>,
    /// Bytes before it that may be written over.
    pub(super) room: usize,
}

impl Outbox {
    /// Keeps what was received until the next [`clear`](Self::clear).
    pub(super) fn keep(&mut self, buffer: BufferLease) -> Packet {
        self.packets.push(Kept::Buffer(buffer));
        Packet(count(self.packets.len() - 1))
    }

    /// Keeps what another thread has handed over, likewise.
    pub(super) fn keep_parcel(&mut self, parcel: Parcel) -> Packet {
        self.packets.push(Kept::Parcel(parcel));
        Packet(count(self.packets.len() - 1))
    }

    /// A packet of a parcel, by its number.
    pub(super) fn letter(&self, packet: Packet, number: usize) -> Option<Letter> {
        match &self.packets[packet.0 as usize] {
            Kept::Parcel(parcel) => parcel.letter(number),
            Kept::Buffer(_) => None,
        }
    }

    /// The buffer of a packet, and the bytes that answers are appended to.
    pub(super) fn packet(&mut self, packet: Packet) -> (&[u8], &mut Vec<u8>) {
        (self.packets[packet.0 as usize].bytes(), &mut self.bytes)
    }

    /// The bytes that answers are appended to.
    pub(super) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// What was appended to the bytes from there on.
    pub(super) fn bytes_from(&self, from: usize) -> &[u8] {
        &self.bytes[from..]
    }

    pub(super) fn is_empty(&self) -> bool {
        // What came over a stream for a stream is in neither, and has left its bytes here.
        self.packets.is_empty() && self.sends.is_empty() && self.bytes.is_empty()
    }

    /// Sends what was appended to the bytes from there on.
    pub(super) fn send_answer(&mut self, slot: Slot, to: SocketAddr, from: usize) {
        let piece = self.own(from);
        self.push(slot, to, [Some(piece), None, None]);
    }

    /// Sends data as it is.
    pub(super) fn send_data(&mut self, slot: Slot, to: SocketAddr, data: &Data) {
        self.push(slot, to, [Some(data.piece()), None, None]);
    }

    /// Sends data as it is, and not in fragments.
    pub(super) fn send_whole(&mut self, slot: Slot, to: SocketAddr, data: &Data) {
        // By itself: what is joined to it would not be cut either.
        if let Some(last) = self.sends.last_mut() {
            last.is_closed = true;
        }
        self.push(slot, to, [Some(data.piece()), None, None]);
        if let Some(last) = self.sends.last_mut() {
            (last.is_whole, last.is_closed) = (true, true);
        }
    }

    /// Sends data behind what was appended to the bytes from there on, and before so many bytes of zero.
    pub(super) fn send_behind(
        &mut self,
        slot: Slot,
        to: SocketAddr,
        header_at: usize,
        data: &Data,
        padding: u8,
    ) {
        let mut piece = data.piece();
        let header = &self.bytes[header_at..];
        let header = match data.packet {
            // In place: most packets leave as one slice of the buffer that they came in.
            Some(packet) if header.len() <= data.room => {
                let start = data.range.start - header.len();
                let packet = &mut self.packets[packet.0 as usize];
                let place = &mut packet.bytes_mut()[start..data.range.start];
                place.copy_from_slice(header);
                piece.start = count(start);
                self.bytes.truncate(header_at);
                None
            }
            _ => Some(self.own(header_at)),
        };
        let padding = (padding > 0).then(|| {
            let at = self.bytes.len();
            self.bytes
                .extend_from_slice(&[0; 3][..usize::from(padding)]);
            self.own(at)
        });
        match header {
            None => self.push(slot, to, [Some(piece), padding, None]),
            Some(header) => self.push(slot, to, [Some(header), Some(piece), padding]),
        }
    }

    /// What is to be sent, for the ring.
    pub(super) fn sends(&self) -> impl Iterator<Item = Datagram<impl Iterator<Item = &[u8]>>> {
        self.sends.iter().map(|it| Datagram {
            slot: it.slot,
            to: it.to,
            pieces: self.pieces_of(it).iter().map(|piece| self.slice(*piece)),
            car_bytes: (it.cars > 1).then(|| u16::try_from(it.car_bytes).unwrap_or(u16::MAX)),
            is_whole: it.is_whole,
        })
    }

    /// How many datagrams that are.
    pub(super) fn datagrams(&self) -> u64 {
        self.sends.iter().map(|it| u64::from(it.cars)).sum()
    }

    /// The send with this number once more, as datagrams of their own: its pieces, copied together.
    pub(super) fn again(&self, index: u32) -> Option<Again> {
        let send = self.sends.get(index as usize)?;
        let pieces = self.pieces_of(send).iter();
        let bytes: Vec<u8> = pieces
            .flat_map(|piece| self.slice(*piece))
            .copied()
            .collect();
        Some(Again {
            slot: send.slot,
            to: send.to,
            bytes,
            car_bytes: send.car_bytes.max(1) as usize,
            is_train: send.cars > 1,
            is_whole: send.is_whole,
        })
    }

    /// The device does not take trains of datagrams as long as these: none are joined until they are
    /// [tried again](Self::try_cars_again).
    pub(super) fn refuse_cars_of(&mut self, bytes: usize) {
        self.car_bytes_max = self.car_bytes_max.min(bytes.saturating_sub(1));
    }

    /// Everything was sent: the packets go back to the ring, or to the thread that they are from.
    pub(super) fn clear(&mut self, handover: &Handover) {
        for kept in self.packets.drain(..) {
            if let Kept::Parcel(parcel) = kept {
                handover.give_back(parcel);
            }
        }
        self.bytes.clear();
        // What a burst took is given back.
        self.bytes.shrink_to(OWN_BYTES_KEPT);
        self.pieces.clear();
        self.sends.clear();
    }

    /// What a device refused it may take by now, or another one: a path that is narrow for one client is not for all.
    pub(super) fn try_cars_again(&mut self) {
        self.car_bytes_max = CAR_BYTES_MAX;
    }

    fn push(&mut self, slot: Slot, to: SocketAddr, pieces: [Option<Piece>; PIECES_OF_ONE_MAX]) {
        let bytes: u32 = pieces.iter().flatten().map(|it| it.end - it.start).sum();
        let joined = self
            .sends
            .last_mut()
            .filter(|last| last.slot == slot && last.to == to && last.takes(bytes));
        let last_piece = match joined {
            Some(last) => {
                last.cars += 1;
                last.bytes += bytes;
                last.is_closed = bytes < last.car_bytes;
                // Of the same send, so what lies behind it may be the same piece.
                self.pieces.last_mut()
            }
            None => {
                self.sends.push(Send {
                    slot,
                    to,
                    first_piece: count(self.pieces.len()),
                    pieces: 0,
                    cars: 1,
                    car_bytes: bytes,
                    bytes,
                    is_closed: bytes == 0 || bytes as usize > self.car_bytes_max,
                    is_whole: false,
                });
                None
            }
        };
        let mut pieces = pieces.into_iter().flatten();
        if let Some(last) = last_piece
            && let Some(first) = pieces.next()
        {
            if last.packet == first.packet && last.end == first.start {
                last.end = first.end;
            } else {
                self.append(first);
            }
        }
        for piece in pieces {
            self.append(piece);
        }
    }

    fn append(&mut self, piece: Piece) {
        self.pieces.push(piece);
        if let Some(send) = self.sends.last_mut() {
            send.pieces += 1;
        }
    }

    /// What was appended from there on.
    fn own(&self, from: usize) -> Piece {
        Piece {
            packet: None,
            start: count(from),
            end: count(self.bytes.len()),
        }
    }

    fn pieces_of(&self, send: &Send) -> &[Piece] {
        let first = send.first_piece as usize;
        &self.pieces[first..first + usize::from(send.pieces)]
    }

    /// What is relayed, where it is.
    pub(super) fn data(&self, data: &Data) -> &[u8] {
        self.slice(data.piece())
    }

    fn slice(&self, piece: Piece) -> &[u8] {
        let range = piece.start as usize..piece.end as usize;
        match piece.packet {
            Some(packet) => &self.packets[packet.0 as usize].bytes()[range],
            None => &self.bytes[range],
        }
    }
}

impl Kept {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Buffer(buffer) => buffer,
            Self::Parcel(parcel) => parcel.bytes(),
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Buffer(buffer) => buffer,
            Self::Parcel(parcel) => parcel.bytes_mut(),
        }
    }
}

impl Again {
    /// The datagrams, each by itself.
    pub(super) fn cars(&self) -> impl Iterator<Item = Datagram<std::iter::Once<&[u8]>>> {
        let starts = (0..self.bytes.len().max(1)).step_by(self.car_bytes);
        starts.map(|at| Datagram {
            slot: self.slot,
            to: self.to,
            pieces: std::iter::once(&self.bytes[at..(at + self.car_bytes).min(self.bytes.len())]),
            car_bytes: None,
            is_whole: self.is_whole,
        })
    }
}

impl Data {
    fn piece(&self) -> Piece {
        Piece {
            packet: self.packet,
            start: count(self.range.start),
            end: count(self.range.end),
        }
    }
}

impl Send {
    /// A datagram of so many bytes may be the next of the train.
    fn takes(&self, bytes: u32) -> bool {
        !self.is_closed
            && (1..=self.car_bytes).contains(&bytes)
            && usize::from(self.cars) < TRAIN_CARS_MAX
            && usize::from(self.pieces) <= PIECES_MAX
            && (self.bytes + bytes) as usize <= TRAIN_BYTES_MAX
    }
}

/// A turn keeps fewer buffers than 2^16, of 2^17 bytes at most, and no more bytes of its own.
fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or_else(|_| unreachable!("a turn's packets are fewer than 4 GiB"))
}
