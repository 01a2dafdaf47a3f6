use super::error::Error;

/// Longest close reason in bytes: a control payload less the two bytes of the code.
pub const REASON_BYTES_MAX: usize = super::CONTROL_BYTES_MAX - 2;

/// Status codes of RFC 6455 section 7.4.1 and of IANA's registry, those this server sends or must recognise.
pub mod code {
    /// The purpose of the connection is fulfilled.
    pub const NORMAL: u16 = 1000;
    /// The server goes down, or the browser left the page.
    pub const GOING_AWAY: u16 = 1001;
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: u16 = 1002;
    /// The peer sent a kind of data this endpoint does not take.
    pub const UNSUPPORTED_DATA: u16 = 1003;
    /// Text that is not UTF-8.
    pub const INVALID_PAYLOAD: u16 = 1007;
    /// A rule with no code of its own was broken.
    pub const POLICY_VIOLATION: u16 = 1008;
    /// A message past the size limit.
    pub const MESSAGE_TOO_BIG: u16 = 1009;
    /// The server met a condition it did not expect.
    pub const INTERNAL_ERROR: u16 = 1011;
    /// The service restarts; reconnect after a random delay.
    pub const SERVICE_RESTART: u16 = 1012;
    /// The service is overloaded; reconnect later or elsewhere.
    pub const TRY_AGAIN_LATER: u16 = 1013;
}

/// The content of a Close frame that carries one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Close<'a> {
    /// A code for which [`is_sendable`] holds.
    pub code: u16,
    /// Text for a log, at most [`REASON_BYTES_MAX`] bytes; written by the peer, so not to be trusted.
    pub reason: &'a str,
}

impl<'a> Close<'a> {
    /// Reads the payload of a Close frame; an empty one is a close without a code.
    pub(super) fn parse(payload: &'a [u8]) -> Result<Option<Self>, Error> {
        let (code, reason) = match payload {
            [] => return Ok(None),
            [_] => return Err(Error::CloseTruncated),
            [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
        };
        if !is_sendable(code) {
            return Err(Error::CloseCode(code));
        }
        let reason = str::from_utf8(reason).map_err(|_| Error::InvalidUtf8)?;
        Ok(Some(Self { code, reason }))
    }
}

/// Whether `code` may appear in a Close frame.
///
/// 1004 is undefined; 1005, 1006 and 1015 are for local use only (RFC 6455 section 7.4.1); 1012-1014 were registered with IANA
/// later; 3000-3999 are for libraries and 4000-4999 for applications (section 7.4.2).
pub const fn is_sendable(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn payload_lengths_codes_and_reasons() {
        assert_eq!(Close::parse(&[]), Ok(None));
        assert_eq!(Close::parse(&[3]), Err(Error::CloseTruncated));
        let plain = Close::parse(&[0x03, 0xE8]).unwrap().unwrap();
        assert_eq!((plain.code, plain.reason), (1000, ""));
        let told = Close::parse(b"\x0b\xb8bye").unwrap().unwrap();
        assert_eq!((told.code, told.reason), (3000, "bye"));
        assert_eq!(Close::parse(b"\x03\xe8\xff"), Err(Error::InvalidUtf8));
        assert_eq!(Close::parse(b"\x03\xed"), Err(Error::CloseCode(1005)));
    }

    #[test]
    fn every_code_below_1000_and_above_4999_is_refused() {
        let allowed = (0..=u16::MAX).filter(|&code| is_sendable(code)).count();
        assert_eq!(allowed, 4 + 8 + 2000);
        for code in [
            0, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65535,
        ] {
            assert!(!is_sendable(code), "{code}");
        }
    }
}
