//! Which dialect a new connection speaks, from its first bytes.
//!
//! All dialects share one port. The beginnings never overlap; in hexadecimal, `L` a byte of a length, `.` any byte:
//!
//! | dialect | 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | what it is |
//! |---|---|---|---|---|---|---|---|---|---|
//! | goim | 00 | 00 | L | L | 00 | 10 | | | package length, big endian, 16 to 65,535; header length, always 16 |
//! | native | L | L | 00 | 00 | 01 | | | | frame length, little endian, 1 to 65,535; version 1 |
//! | TLS | 16 | 03 | 01-04 | | | | | | handshake record; SSL 3.0, `16 03 00`, is long dead |
//! | PROXY v2 | 0D | 0A | 0D | 0A | 00 | 0D | 0A | 51 | the first 8 of 12 signature bytes |
//! | PROXY v1 | P | R | O | X | Y | space | | | |
//! | HTTP | A-Z | A-Z | A-Z | ... | | | | | a method: 3 capitals or more, then a space; of a longer one the first 8 |
//!
//! - Byte 0 separates goim (00), TLS (16), PROXY v2 (0D) and the two with a capital letter (41-5A) from one another.
//! - PROXY v1 and HTTP are both a word and a space; the word `PROXY` is no method.
//! - Native may begin with any byte, but byte 2 is 00, which TLS (01-04), PROXY v2 (0D) and the letters never have there.
//!   Only goim does, for lengths below 256: then native's bytes 0 and 1 would both be 00, a length of 0, and the first
//!   frame of a native connection, a Hello, is never empty.

/// What a connection starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// A request head: [`crate::http`].
    Http,
    /// Native frames without a WebSocket: [`crate::native`].
    Native,
    /// goim's TCP framing.
    Goim,
    /// A TLS handshake record.
    Tls,
    /// A PROXY protocol header, version 1 or 2; another dialect follows it.
    ProxyProtocol,
}

/// The first bytes belong to no dialect; close without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection starts with none of HTTP, TLS, PROXY, native or goim framing")]
pub struct Unknown;

/// Most bytes needed to decide.
pub const SNIFF_BYTES_MAX: usize = 8;

/// The smallest goim package is its header.
const GOIM_HEADER_BYTES: u8 = 16;

const METHOD_BYTES_MIN: usize = 3;

/// Decides from the bytes received so far, none of them consumed. `None` asks for more; [`SNIFF_BYTES_MAX`] always decide.
///
/// # Errors
///
/// [`Unknown`] as soon as no dialect begins like this.
pub fn sniff(first: &[u8]) -> Result<Option<Dialect>, Unknown> {
    let first = &first[..first.len().min(SNIFF_BYTES_MAX)];
    let mut is_possible = false;
    for (dialect, begins) in DIALECTS {
        match begins(first) {
            Begins::Yes => return Ok(Some(dialect)),
            Begins::SoFar => is_possible = true,
            Begins::No => {}
        }
    }
    if is_possible { Ok(None) } else { Err(Unknown) }
}

/// Whether bytes are the beginning of a dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begins {
    Yes,
    /// More bytes could make it one.
    SoFar,
    No,
}

type Test = fn(&[u8]) -> Begins;

const DIALECTS: [(Dialect, Test); 6] = [
    (Dialect::Http, http),
    (Dialect::Native, native),
    (Dialect::Goim, goim),
    (Dialect::Tls, tls),
    (Dialect::ProxyProtocol, proxy_v1),
    (Dialect::ProxyProtocol, proxy_v2),
];

fn http(first: &[u8]) -> Begins {
    let letters = first
        .iter()
        .take_while(|byte| byte.is_ascii_uppercase())
        .count();
    match first.get(letters) {
        None if letters == SNIFF_BYTES_MAX => Begins::Yes,
        None => Begins::SoFar,
        Some(b' ') if letters >= METHOD_BYTES_MIN && !first.starts_with(b"PROXY ") => Begins::Yes,
        Some(_) => Begins::No,
    }
}

fn native(first: &[u8]) -> Begins {
    let is_empty_frame = first.starts_with(&[0, 0]);
    let is_long_frame = first.iter().skip(2).take(2).any(|&byte| byte != 0);
    let version = first.get(4).copied();
    match version {
        _ if is_empty_frame || is_long_frame => Begins::No,
        None => Begins::SoFar,
        Some(crate::native::VERSION) => Begins::Yes,
        Some(_) => Begins::No,
    }
}

fn goim(first: &[u8]) -> Begins {
    let is_too_short =
        first.get(2) == Some(&0) && first.get(3).is_some_and(|&low| low < GOIM_HEADER_BYTES);
    if is_too_short {
        return Begins::No;
    }
    matches(
        first,
        &[
            Some(0),
            Some(0),
            None,
            None,
            Some(0),
            Some(GOIM_HEADER_BYTES),
        ],
    )
}

fn tls(first: &[u8]) -> Begins {
    if first.get(2).is_some_and(|minor| !(1..=4).contains(minor)) {
        return Begins::No;
    }
    matches(first, &[Some(0x16), Some(3), None])
}

fn proxy_v1(first: &[u8]) -> Begins {
    matches(first, &b"PROXY ".map(Some))
}

fn proxy_v2(first: &[u8]) -> Begins {
    matches(first, &b"\r\n\r\n\0\r\nQ".map(Some))
}

/// Compares with a pattern in which `None` stands for any byte.
fn matches(first: &[u8], pattern: &[Option<u8>]) -> Begins {
    let differs = first
        .iter()
        .zip(pattern)
        .any(|(&byte, &wanted)| wanted.is_some_and(|wanted| wanted != byte));
    if differs {
        return Begins::No;
    }
    if first.len() < pattern.len() {
        return Begins::SoFar;
    }
    Begins::Yes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn possible(first: &[u8]) -> Vec<Dialect> {
        DIALECTS
            .iter()
            .filter(|(_, begins)| begins(first) != Begins::No)
            .map(|&(dialect, _)| dialect)
            .collect()
    }

    /// One beginning of each dialect, and what is beside it.
    const BEGINNINGS: [(&[u8], Dialect); 12] = [
        (b"GET / HT", Dialect::Http),
        (b"POST /po", Dialect::Http),
        (b"OPTIONS ", Dialect::Http),
        (b"PROPFIND", Dialect::Http),
        (b"PROXIES ", Dialect::Http),
        (b"\x20\0\0\0\x01\x01..", Dialect::Native),
        (b"\x00\x01\0\0\x01\x01..", Dialect::Native),
        (b"GE\0\0\x01\x01..", Dialect::Native),
        (b"\x16\x03\0\0\x01\x01..", Dialect::Native),
        (b"\0\0\0\x20\0\x10\0\x01", Dialect::Goim),
        (b"\x16\x03\x01\x02\0\x01..", Dialect::Tls),
        (b"PROXY TC", Dialect::ProxyProtocol),
    ];

    #[test]
    fn beginnings_are_told_apart_however_they_are_cut() {
        let proxy_v2: (&[u8], _) = (b"\r\n\r\n\0\r\nQ", Dialect::ProxyProtocol);
        for (bytes, dialect) in BEGINNINGS.into_iter().chain([proxy_v2]) {
            let decided: Vec<_> = (0..=bytes.len()).map(|end| sniff(&bytes[..end])).collect();
            assert_eq!(decided.last(), Some(&Ok(Some(dialect))), "{bytes:?}");
            for early in decided {
                assert!(early == Ok(None) || early == Ok(Some(dialect)), "{bytes:?}");
            }
        }
    }

    #[test]
    fn everything_else_is_refused() {
        let strangers: [&[u8]; 12] = [
            b"get / HT",
            b"GE / HTT",
            b"GET\t/",
            b"\r\n\r\nGET ",
            b"SSH-2.0-",
            b"\x16\x02\x01",
            b"\x16\x03\x05",
            b"\0\0\0\x0F",           // goim, shorter than its header
            b"\0\0\0\0\x01\x01",     // native, empty
            b"\0\0\x01\0\0\x11",     // goim, another header length
            b"\x20\0\x01\0\x01\x01", // native, 64 KiB and more
            b"\x20\0\0\0\x02\x01",   // native, another version
        ];
        for bytes in strangers {
            assert_eq!(sniff(bytes), Err(Unknown), "{bytes:?}");
        }
    }

    /// Every byte a dialect looks for, its neighbours, and some it does not.
    const ALPHABET: [u8; 23] = [
        0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x09, 0x0A, 0x0B, 0x0D, 0x0F, 0x10, 0x11, 0x16, b' ',
        b'@', b'A', b'P', b'R', b'Z', b'[', b'a', 0xFF,
    ];

    #[test]
    fn no_four_bytes_begin_two_dialects() {
        for index in 0..ALPHABET.len().pow(if cfg!(miri) { 2 } else { 4 }) {
            let letter = |place: u32| ALPHABET[index / ALPHABET.len().pow(place) % ALPHABET.len()];
            let first = [letter(0), letter(1), letter(2), letter(3)];
            let possible = possible(&first);
            // `PROX` can become either; the two are told apart at the sixth byte at the latest.
            assert!(
                possible.len() <= 1 || first == *b"PROX",
                "{first:?}: {possible:?}"
            );
        }
    }

    #[test]
    fn two_dialects_are_never_both_sure() {
        let mutants = BEGINNINGS.iter().flat_map(|&(bytes, _)| {
            (0..SNIFF_BYTES_MAX * 256).map(move |i| {
                let mut mutant = [0; SNIFF_BYTES_MAX];
                mutant.copy_from_slice(bytes);
                mutant[i / 256] = u8::try_from(i % 256).unwrap_or(0);
                mutant
            })
        });
        for mutant in mutants.step_by(if cfg!(miri) { 997 } else { 1 }) {
            for end in 0..=mutant.len() {
                let first = &mutant[..end];
                let sure = DIALECTS
                    .iter()
                    .filter(|(_, begins)| begins(first) == Begins::Yes);
                assert!(sure.count() <= 1, "{first:?}");
                let decided = sniff(first);
                if end == SNIFF_BYTES_MAX {
                    assert_ne!(decided, Ok(None), "{first:?}");
                }
                // A decision stands whatever follows.
                if decided != Ok(None) {
                    assert_eq!(sniff(&mutant), decided, "{mutant:?} at {end}");
                }
            }
        }
    }
}
