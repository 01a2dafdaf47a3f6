//! Letting members in.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::Sender;

use fanfare_wire::native::{self, ClientFrame};

use super::ROOM;

/// Longest frame that a member sends.
const ARCHIVE_BYTES_MAX: u32 = 4096;

/// Accepts so many members, and answers what they say until they are in the room.
pub(super) fn let_in(
    listener: &TcpListener,
    members: usize,
    joined: &Sender<TcpStream>,
) -> io::Result<()> {
    for _ in 0..members {
        let (mut member, _) = listener.accept()?;
        member.set_nodelay(true)?;
        converse(&mut member)?;
        if joined.send(member).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

fn converse(member: &mut TcpStream) -> io::Result<()> {
    let mut received = Vec::new();
    loop {
        let mut chunk = [0; 512];
        let bytes = member.read(&mut chunk)?;
        if bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        received.extend_from_slice(&chunk[..bytes]);
        while let Some((frame, bytes)) =
            native::decode_client(&received, ARCHIVE_BYTES_MAX).map_err(io::Error::other)?
        {
            let mut answer = Vec::new();
            let request = match frame {
                ClientFrame::Hello(_) => None,
                ClientFrame::Subscribe(subscribe) => Some(subscribe.request),
                other => return Err(io::Error::other(format!("not expected: {other:?}"))),
            };
            match request {
                None => native::write_welcome(&mut answer, &welcome()),
                Some(request) => native::write_subscribed(&mut answer, &subscribed(request)),
            }
            member.write_all(&answer)?;
            received.drain(..bytes);
            if request.is_some() {
                return Ok(());
            }
        }
    }
}

const fn welcome() -> native::Welcome<'static> {
    native::Welcome {
        client: "00000000000000000000000000000000",
        ping_interval_ms: 0,
        pong_timeout_ms: 0,
        archive_bytes_max: ARCHIVE_BYTES_MAX,
    }
}

const fn subscribed(request: u32) -> native::Subscribed<'static> {
    native::Subscribed {
        request,
        room: ROOM,
        name: "",
        epoch: 1,
        offset: 0,
        recoverable: false,
        was_recovering: false,
        recovered: false,
    }
}
