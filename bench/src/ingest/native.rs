//! A native connection with a window.

use std::sync::Arc;

use fanfare_wire::native::{self, HEADER_BYTES, ServerFrame};

use super::account::Ledger;
use super::connection::Connection;
use super::script::{Line, Script, payload};
use super::{IngestError, Link, Part, Plan};

/// Longest frame that is taken from the server.
const ARCHIVE_BYTES_MAX: u32 = 1 << 16;

/// Publications that leave with one write, and least that are encoded beforehand. Some 60 bytes each: a write is large
/// enough for its system call to cost nothing beside them.
const WRITE_LINES: usize = 512;

/// From the end of a publication's frame to its request number, which is the first field of the root at its end
/// (`docs/protocol-native.md`). Checked against the encoder when the script is made.
const REQUEST_FROM_END: usize = 20;

#[derive(Debug)]
pub(super) struct NativeLink {
    connection: Connection,
    ledger: Ledger,
    rooms: Vec<(usize, Arc<str>)>,
    script: Script,
    /// The line that is sent next.
    line: usize,
    /// Lines in one write.
    write_lines: usize,
    members_reached: u64,
}

impl NativeLink {
    pub(super) fn open(
        plan: &Plan,
        rooms: Vec<(usize, Arc<str>)>,
        window: u32,
    ) -> Result<Self, IngestError> {
        let window = usize::try_from(window.max(1)).unwrap_or(usize::MAX);
        let mut connection = Connection::open(plan.target)?;
        greet(&mut connection, &plan.key)?;
        // Whole rounds of the rooms, so that each line belongs to one of them for good.
        let rounds = WRITE_LINES.div_ceil(rooms.len());
        let mut script = Script::default();
        for _ in 0..rounds {
            for (_, room) in &rooms {
                write_line(&mut script, room, plan.payload_bytes)?;
            }
        }
        Ok(Self {
            connection,
            ledger: Ledger::new(rooms.len(), window),
            rooms,
            script,
            line: 0,
            write_lines: WRITE_LINES.min(window.div_ceil(2)),
            members_reached: 0,
        })
    }
}

impl Link for NativeLink {
    fn fill(&mut self) -> Result<u64, IngestError> {
        let mut sent = 0;
        let mut free = self.ledger.free();
        while free >= self.write_lines {
            let lines = self.line..(self.line + self.write_lines).min(self.script.lines.len());
            let count = lines.len();
            let first = self.ledger.next();
            let rooms = self.rooms.len() as u64;
            for (number, line) in (first..).zip(&self.script.lines[lines.clone()]) {
                line.stamp(&mut self.script.bytes, number / rooms + 1);
                let request_at = line.end - REQUEST_FROM_END;
                self.script.bytes[request_at..request_at + 4]
                    .copy_from_slice(&request_of(number).to_le_bytes());
            }
            let bytes = self.script.lines[lines.start].start..self.script.lines[lines.end - 1].end;
            self.connection.send(&self.script.bytes[bytes])?;
            self.ledger.sent(count);
            self.line = lines.end % self.script.lines.len();
            sent += count as u64;
            free -= count;
        }
        Ok(sent)
    }

    fn take(&mut self) -> Result<u64, IngestError> {
        let before = self.ledger.unanswered();
        self.connection.receive()?;
        let mut at = 0;
        let mut pings = 0;
        while let Some((frame, bytes)) =
            native::decode_server(&self.connection.received()[at..], ARCHIVE_BYTES_MAX)
                .map_err(|error| IngestError::Protocol(error.to_string()))?
        {
            at += bytes;
            match frame {
                ServerFrame::Ack(ack) => {
                    let number = number_of(ack.request, self.ledger.next());
                    self.ledger.acknowledge(number, ack.offset)?;
                    self.members_reached += u64::from(ack.members);
                }
                ServerFrame::Ping => pings += 1,
                ServerFrame::Error(error) => {
                    return Err(IngestError::Refused(format!(
                        "{} ({})",
                        error.message, error.code
                    )));
                }
                ServerFrame::Disconnect(end) => {
                    return Err(IngestError::Closed(format!(
                        "{} ({})",
                        end.reason, end.code
                    )));
                }
                other => return Err(IngestError::Protocol(format!("{other:?}"))),
            }
        }
        self.connection.used(at);
        for _ in 0..pings {
            let mut pong = Vec::new();
            native::write_client_pong(&mut pong);
            self.connection.send(&pong)?;
        }
        Ok(before - self.ledger.unanswered())
    }

    fn unanswered(&self) -> u64 {
        self.ledger.unanswered()
    }

    fn finish(self) -> Part {
        Part::of(&self.rooms, &self.ledger, self.members_reached)
    }
}

/// Says who it is, and waits for the welcome.
fn greet(connection: &mut Connection, key: &str) -> Result<(), IngestError> {
    let mut hello = Vec::new();
    let client_name = "ingest";
    native::write_hello(
        &mut hello,
        &native::Hello {
            token: key,
            client_name,
        },
    );
    connection.send(&hello)?;
    loop {
        connection.receive()?;
        let decoded = native::decode_server(connection.received(), ARCHIVE_BYTES_MAX)
            .map_err(|error| IngestError::Protocol(error.to_string()))?;
        match decoded {
            None => {}
            Some((ServerFrame::Welcome(_), bytes)) => {
                connection.used(bytes);
                return Ok(());
            }
            Some((other, _)) => return Err(IngestError::Closed(format!("{other:?}"))),
        }
    }
}

/// Appends a publication to the script, and finds out where its numbers are.
fn write_line(script: &mut Script, room: &str, payload_bytes: usize) -> Result<(), IngestError> {
    /// Unlike anything else in a frame.
    const MARK: u32 = 0xA5C3_96F0;
    let start = script.bytes.len();
    let data = payload(1, payload_bytes);
    let publish = native::Publish {
        request: MARK,
        room,
        data: &data,
    };
    native::write_publish(&mut script.bytes, &publish);
    let end = script.bytes.len();
    let request_at = end - REQUEST_FROM_END;
    let frame = &script.bytes[start..end];
    let payload_at = frame
        .windows(data.len())
        .rposition(|window| window == data)
        .filter(|at| *at >= HEADER_BYTES)
        .filter(|_| script.bytes[request_at..request_at + 4] == MARK.to_le_bytes())
        .ok_or(IngestError::Plan(
            "a publication is encoded in another way than its script expects",
        ))?;
    script.lines.push(Line {
        start,
        end,
        payload_at: start + payload_at,
        payload_bytes: data.len(),
    });
    Ok(())
}

/// The request number of a publication: its number modulo 2^32 - 1, plus 1, for 0 wants no answer.
fn request_of(number: u64) -> u32 {
    u32::try_from(number % u64::from(u32::MAX)).unwrap_or(0) + 1
}

/// The newest publication before `next` with this request number.
fn number_of(request: u32, next: u64) -> u64 {
    let cycle = u64::from(u32::MAX);
    let place = u64::from(request).wrapping_sub(1) % cycle;
    let round = next - next % cycle;
    if round + place < next || round == 0 {
        round + place
    } else {
        round - cycle + place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_holds_publications_with_numbers_that_can_be_changed() {
        for payload_bytes in [10, 64] {
            let mut script = Script::default();
            for room in ["a", "room-17"] {
                write_line(&mut script, room, payload_bytes).expect("the encoder's form");
            }
            let line = script.lines[1];
            line.stamp(&mut script.bytes, 42);
            let request_at = line.end - REQUEST_FROM_END;
            script.bytes[request_at..request_at + 4].copy_from_slice(&7_u32.to_le_bytes());
            let frame = &script.bytes[line.start..line.end];
            let decoded = native::decode_client(frame, 1 << 16).expect("a frame");
            let expected = native::Publish {
                request: 7,
                room: "room-17",
                data: &payload(42, payload_bytes),
            };
            assert_eq!(
                decoded,
                Some((native::ClientFrame::Publish(expected), frame.len()))
            );
        }
    }

    #[test]
    fn a_number_is_found_again_by_its_request() {
        let cycle = u64::from(u32::MAX);
        for next in [1, 2, 4_096, cycle, cycle + 1, cycle + 4_096, 3 * cycle] {
            for number in next.saturating_sub(4_096)..next {
                assert_eq!(number_of(request_of(number), next), number);
                assert_ne!(request_of(number), 0);
            }
        }
    }
}
