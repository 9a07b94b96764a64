//! Answers of ICMP and ICMPv6 to what this machine has sent (RFC 792, 4443), as they come in; what they say of a path's MTU
//! (RFC 1191, 8201).
//!
//! What must hold: an answer counts only if it is whole and quotes a packet from an address of this machine.

use crate::{
    shared::{Protocol, Shared, Undelivered},
    wire::{self, FlowKey, Ip},
};
use core::net::{IpAddr, SocketAddr};
use ebb_net::{Error, Report};

/// Reads a frame as an answer to something that this machine has sent, and notes what it says of the path.
pub(crate) fn parse(frame: &[u8], shared: &Shared, now_ns: u64) -> Option<Undelivered> {
    let ip = frame.get(wire::ETHERNET..)?;
    let is_v4 = match frame.get(12..14)? {
        [0x08, 0x00] => true,
        [0x86, 0xdd] => false,
        _ => return None,
    };
    let (protocol, offender, header) = if is_v4 {
        let header = usize::from(*ip.first()? & 15) * 4;
        (*ip.get(9)?, Ip::v4(be32(ip, 12)?), header)
    } else {
        let octets: [u8; 16] = ip.get(8..24)?.try_into().ok()?;
        (*ip.get(6)?, Ip(u128::from_be_bytes(octets)), wire::IPV6)
    };
    let message = ip.get(header..)?;
    let &[kind, code, ..] = message else {
        return None;
    };
    let is_error = match (is_v4, protocol) {
        (true, wire::PROTOCOL_ICMP) => matches!(kind, 3 | 11 | 12),
        (false, wire::PROTOCOL_ICMPV6) => matches!(kind, 1..=4),
        _ => false,
    };
    if !is_error || !has_good_checksum(ip, message, is_v4, offender) {
        return None;
    }
    let word = be32(message, 4)? as usize;
    let quoted = message.get(8..)?;
    let (transport, key, rest) = quoted_key(quoted, is_v4)?;
    let routes = shared.routes();
    if !routes.is_local(key.local) || key.remote.is_multicast() {
        return None;
    }
    let mtu = match (is_v4, kind, code) {
        // Before RFC 1191 routers did not say it.
        (true, 3, 4) if word & 0xffff == 0 => 576,
        (true, 3, 4) => word & 0xffff,
        (false, 2, _) => word,
        _ => 0,
    };
    let seq = be32(rest, 4).unwrap_or(0);
    let payload = match transport {
        Protocol::Tcp => &[],
        Protocol::Udp => rest.get(wire::UDP..).unwrap_or_default(),
    };
    let mtu = match mtu {
        0 => 0,
        mtu => shared.lower_path_mtu(key.remote, mtu, now_ns) as u32,
    };
    Some(Undelivered {
        protocol: transport,
        report: report(&key, offender, kind, code, mtu, payload),
        key,
        seq,
    })
}

/// The transport, the ports and the addresses of a packet that is quoted from its IP header on, and its transport's header.
fn quoted_key(quoted: &[u8], is_v4: bool) -> Option<(Protocol, FlowKey, &[u8])> {
    let (protocol, local, remote, header) = if is_v4 {
        let header = usize::from(*quoted.first()? & 15) * 4;
        let (from, to) = (be32(quoted, 12)?, be32(quoted, 16)?);
        (*quoted.get(9)?, Ip::v4(from), Ip::v4(to), header)
    } else {
        let at = |from: usize| -> Option<Ip> {
            let octets: [u8; 16] = quoted.get(from..from + 16)?.try_into().ok()?;
            Some(Ip(u128::from_be_bytes(octets)))
        };
        (*quoted.get(6)?, at(8)?, at(24)?, wire::IPV6)
    };
    let transport = match protocol {
        wire::PROTOCOL_TCP => Protocol::Tcp,
        wire::PROTOCOL_UDP => Protocol::Udp,
        _ => return None,
    };
    let rest = quoted.get(header..)?;
    let ports = be32(rest, 0)?;
    let key = FlowKey {
        local,
        remote,
        local_port: (ports >> 16) as u16,
        remote_port: ports as u16,
    };
    Some((transport, key, rest))
}

fn has_good_checksum(ip: &[u8], message: &[u8], is_v4: bool, source: Ip) -> bool {
    // What follows the packet in its frame is not part of it.
    let said = |at: usize| usize::from(u16::from_be_bytes([ip[at], ip[at + 1]]));
    let length = if is_v4 {
        said(2).checked_sub(ip.len() - message.len())
    } else {
        Some(said(4))
    };
    let Some(message) = length.and_then(|n| message.get(..n)) else {
        return false;
    };
    let pseudo = if is_v4 {
        0
    } else {
        let Ok(octets) = <[u8; 16]>::try_from(&ip[24..40]) else {
            return false;
        };
        let target = Ip(u128::from_be_bytes(octets));
        wire::pseudo_header(source, target, wire::PROTOCOL_ICMPV6, message.len())
    };
    wire::fold(wire::sum(message, pseudo)) == 0xffff
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(u32::from_be_bytes(word))
}

/// An answer as the application sees it.
pub(crate) fn report(
    sent: &FlowKey,
    offender: Ip,
    kind: u8,
    code: u8,
    mtu: u32,
    payload: &[u8],
) -> Report {
    Report {
        to: SocketAddr::new(IpAddr::from(sent.remote), sent.remote_port),
        offender: offender.into(),
        kind,
        code,
        mtu,
        error: error(sent.remote.is_v4(), kind, code),
        payload: payload.to_vec(),
    }
}

/// What a kind of answer means to the application (RFC 1122, 4.2.3.9; Linux' `icmp_err_convert`).
fn error(is_v4: bool, kind: u8, code: u8) -> Error {
    match (is_v4, kind, code) {
        (true, 3, 3) | (false, 1, 4) => Error::ConnectionRefused,
        (true, 3, 4) | (false, 2, _) => Error::MessageTooLong,
        (true, 3, 0 | 6 | 9 | 11) | (false, 1, 0) => Error::NetworkUnreachable,
        (false, 1, 1 | 5 | 6) => Error::PermissionDenied,
        (true, 12, _) | (false, 4, _) => Error::InvalidInput,
        _ => Error::HostUnreachable,
    }
}
