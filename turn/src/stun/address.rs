//! Addresses in attributes (RFC 8489 sections 14.1 and 14.2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{MAGIC_COOKIE, TransactionId};

const IPV4: u8 = 1;
const IPV6: u8 = 2;

/// What an address is hidden behind: the cookie, and for IPv6 the transaction as well.
fn mask(transaction: &TransactionId) -> u128 {
    let mut mask = [0; 16];
    mask[..4].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
    mask[4..].copy_from_slice(transaction);
    u128::from_be_bytes(mask)
}

const PORT_MASK: u16 = (MAGIC_COOKIE >> 16) as u16;

/// Reads the value of an attribute that is an XORed address.
pub(super) fn read_xor(value: &[u8], transaction: &TransactionId) -> Option<SocketAddr> {
    let (&[_, family, port_high, port_low], address) = value.split_first_chunk()?;
    let port = u16::from_be_bytes([port_high, port_low]) ^ PORT_MASK;
    let ip = match family {
        IPV4 => IpAddr::V4(Ipv4Addr::from_bits(
            u32::from_be_bytes(address.try_into().ok()?) ^ MAGIC_COOKIE,
        )),
        IPV6 => IpAddr::V6(Ipv6Addr::from_bits(
            u128::from_be_bytes(address.try_into().ok()?) ^ mask(transaction),
        )),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// The value of an attribute that is an XORed address: the bytes, and how many of them count.
pub(super) fn write_xor(address: SocketAddr, transaction: &TransactionId) -> ([u8; 20], usize) {
    let mask = match address.ip() {
        IpAddr::V4(_) => u128::from(MAGIC_COOKIE),
        IpAddr::V6(_) => mask(transaction),
    };
    write(address, PORT_MASK, mask)
}

/// The same of an address that is not hidden.
pub(super) fn write_plain(address: SocketAddr) -> ([u8; 20], usize) {
    write(address, 0, 0)
}

fn write(address: SocketAddr, port_mask: u16, mask: u128) -> ([u8; 20], usize) {
    let mut value = [0; 20];
    value[2..4].copy_from_slice(&(address.port() ^ port_mask).to_be_bytes());
    let (family, length) = match address.ip() {
        IpAddr::V4(ip) => {
            let mask = mask.to_be_bytes();
            for (at, byte) in ip.octets().into_iter().enumerate() {
                value[4 + at] = byte ^ mask[12 + at];
            }
            (IPV4, 8)
        }
        IpAddr::V6(ip) => {
            value[4..].copy_from_slice(&(ip.to_bits() ^ mask).to_be_bytes());
            (IPV6, 20)
        }
    };
    value[1] = family;
    (value, length)
}
