//! Ancillary data (`cmsg`) between guest memory and the objects.

use super::{Call, Stop};
use crate::abi::errno::Errno;
use crate::object::credentials::{Ids, cap};
use crate::object::env::{Env as _, Report};
use crate::object::id::{DescId, Fd};
use crate::object::interfaces;
use crate::object::kind::socket::address::{Address, Domain};
use crate::object::kind::socket::option::{
    IP, IPV6, RX_SOFTWARE, SOCKET, SOFTWARE, TIMESTAMP, TIMESTAMP_NEW, TIMESTAMPING,
    TIMESTAMPING_NEW, TIMESTAMPNS, TIMESTAMPNS_NEW, UDP, UDP_SEGMENT,
};
use crate::object::kind::socket::{Sender, SocketKind};
use crate::object::ops::socket::message::{Ancillary, MAX_DESCRIPTORS, MessageFlags, Received};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest ancillary data that is read.
const MAX_CONTROL: u64 = 64 << 10;
const SCM_RIGHTS: u32 = 1;
const SCM_CREDENTIALS: u32 = 2;
/// The user and group that stand for what has no number.
const OVERFLOW: u32 = 65_534;
/// `struct cmsghdr`.
const HEAD: usize = 16;

const IP_TOS: u32 = 1;
const IP_TTL: u32 = 2;
const IP_PKTINFO: u32 = 8;
const IP_RECVERR: u32 = 11;
const IP_RECVTTL: u32 = 12;
const IP_RECVTOS: u32 = 13;
const IP_ORIGDSTADDR: u32 = 20;
const IPV6_ORIGDSTADDR: u32 = 74;
const IPV6_RECVERR: u32 = 25;
const IPV6_RECVPKTINFO: u32 = 49;
const IPV6_PKTINFO: u32 = 50;
const IPV6_RECVHOPLIMIT: u32 = 51;
const IPV6_HOPLIMIT: u32 = 52;
const IPV6_RECVTCLASS: u32 = 66;
const IPV6_TCLASS: u32 = 67;

/// `SO_EE_ORIGIN_ICMP` and `SO_EE_ORIGIN_ICMP6`.
const ORIGIN_ICMP: u8 = 2;
const ORIGIN_ICMP6: u8 = 3;

/// `struct msghdr`.
pub struct Header {
    /// Where an address is, or its place.
    pub name: u64,
    /// Its length.
    pub name_len: u32,
    /// Where the bytes are.
    pub parts: Vec<(u64, usize)>,
    /// Where ancillary data is, and how much room it has.
    pub control: u64,
    /// See `control`.
    pub control_len: u64,
}

/// What a guest sends along, `to` an address or to whom the socket is connected: descriptors, and the rest.
///
/// # Errors
/// `EINVAL` for what cannot be sent along, `ENODEV`, `EPERM`, `ESRCH`, `ENOBUFS`, `EFAULT`.
pub fn read(
    call: &Call<'_>,
    id: DescId,
    h: &Header,
    to: Option<&Address>,
) -> Result<(Vec<Fd>, Ancillary), Stop> {
    let mut fds = Vec::new();
    let mut ancillary = Ancillary::default();
    if h.control == 0 || h.control_len < HEAD as u64 {
        return Ok((fds, ancillary));
    }
    if h.control_len > MAX_CONTROL {
        return Err(Errno::ENOBUFS.into());
    }
    let mut bytes = alloc::vec![0; h.control_len as usize];
    call.space().read(h.control, &mut bytes)?;
    let domain = call.objects().socket_domain(id)?;
    let carrier = carrier(call, id, to)?;
    let mut rest = &bytes[..];
    while let Some(head) = rest.first_chunk::<HEAD>() {
        let len = usize::from_le_bytes(*head[..8].first_chunk().ok_or(Errno::EINVAL)?);
        let level = u32::from_le_bytes([head[8], head[9], head[10], head[11]]);
        let kind = u32::from_le_bytes([head[12], head[13], head[14], head[15]]);
        if len < HEAD || len > rest.len() {
            return Err(Errno::EINVAL.into());
        }
        let value = &rest[HEAD..len];
        match (level, kind, carrier) {
            (SOCKET, SCM_RIGHTS, Carrier::Unix) => {
                for fd in value.chunks_exact(4) {
                    fds.push(Fd::from_le_bytes([fd[0], fd[1], fd[2], fd[3]]));
                }
            }
            (SOCKET, SCM_CREDENTIALS, Carrier::Unix | Carrier::Netlink) => {
                ancillary.sender = Some(given_sender(call, value)?);
            }
            // What only Unix sockets carry is ignored by those of the internet.
            (SOCKET, SCM_RIGHTS | SCM_CREDENTIALS, Carrier::V4 | Carrier::V6 | Carrier::Tcp) => {}
            // Nothing else can be given to a socket as such.
            (SOCKET, ..) => return Err(Errno::EINVAL.into()),
            (UDP, UDP_SEGMENT, Carrier::V4 | Carrier::V6) => {
                let segment = <[u8; 2]>::try_from(value).map_err(|_| Errno::EINVAL)?;
                ancillary.segment = Some(u16::from_le_bytes(segment));
            }
            (IP, _, Carrier::V4) => of_v4(call, kind, value, &mut ancillary)?,
            // To a socket of IPv6 that sends to an address of IPv4, its own may be given in the other form.
            (IPV6, IPV6_PKTINFO, Carrier::V4) if domain == Domain::Inet6 => {
                of_v6(call, kind, value, &mut ancillary)?;
                if !ancillary.source.is_some_and(|ip| ip.is_ipv4()) {
                    return Err(Errno::EINVAL.into());
                }
            }
            (IPV6, _, Carrier::V6) => of_v6(call, kind, value, &mut ancillary)?,
            // One's own numbers that are not known are wrong, others' mean nothing.
            (UDP, _, Carrier::V4 | Carrier::V6) => return Err(Errno::EINVAL.into()),
            _ => {}
        }
        rest = rest.get(len.next_multiple_of(8)..).unwrap_or_default();
    }
    if fds.len() > MAX_DESCRIPTORS {
        return Err(Errno::EINVAL.into());
    }
    Ok((fds, ancillary))
}

/// What carries a message, and knows control messages of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Carrier {
    Unix,
    Netlink,
    Tcp,
    /// UDP, by the address that the message goes to.
    V4,
    V6,
}

fn carrier(call: &Call<'_>, id: DescId, to: Option<&Address>) -> Result<Carrier, Stop> {
    let kind = call.objects().socket_kind(id)?;
    Ok(match kind {
        (Domain::Unix, _) => Carrier::Unix,
        (Domain::Netlink, _) => Carrier::Netlink,
        (_, SocketKind::Stream | SocketKind::SeqPacket) => Carrier::Tcp,
        (Domain::Inet, _) => Carrier::V4,
        (Domain::Inet6, _) if goes_by_v4(call, id, to) => Carrier::V4,
        (Domain::Inet6, _) => Carrier::V6,
    })
}

/// Whether the address of a message of a socket of IPv6 is one of IPv4, in whichever form.
fn goes_by_v4(call: &Call<'_>, id: DescId, to: Option<&Address>) -> bool {
    let v4 = |to: &Address| matches!(to, Address::Inet(at) if at.ip().to_canonical().is_ipv4());
    to.map_or_else(
        || {
            call.on_objects(|o, w| o.peer_name(w, id))
                .is_ok_and(|(_, peer)| v4(&peer))
        },
        v4,
    )
}

/// A control message for IPv4.
fn of_v4(call: &Call<'_>, kind: u32, value: &[u8], ancillary: &mut Ancillary) -> Result<(), Stop> {
    match (kind, value.len()) {
        (IP_PKTINFO, 12) => {
            let info = value.first_chunk::<12>().ok_or(Errno::EINVAL)?;
            let [i, j, k, l, a, b, c, d, ..] = *info;
            check_interface(call, u32::from_le_bytes([i, j, k, l]))?;
            ancillary.source = Some(Ipv4Addr::new(a, b, c, d).into());
        }
        (IP_TTL, 4) => {
            let ttl = byte(value)?.filter(|ttl| *ttl > 0);
            ancillary.hop_limit = Some(ttl.ok_or(Errno::EINVAL)?);
        }
        (IP_TOS, 1 | 4) => {
            ancillary.traffic_class = Some(byte(value)?.ok_or(Errno::EINVAL)?);
        }
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(())
}

/// A control message for IPv6.
fn of_v6(call: &Call<'_>, kind: u32, value: &[u8], ancillary: &mut Ancillary) -> Result<(), Stop> {
    match (kind, value.len()) {
        (IPV6_PKTINFO, 20..) => {
            let info = value.first_chunk::<20>().ok_or(Errno::EINVAL)?;
            let ip: [u8; 16] = *info.first_chunk().ok_or(Errno::EINVAL)?;
            let [.., i, j, k, l] = *info;
            check_interface(call, u32::from_le_bytes([i, j, k, l]))?;
            ancillary.source = Some(Ipv6Addr::from(ip).to_canonical());
        }
        // Linux keeps 16 bits of it before it looks.
        (IPV6_HOPLIMIT, 4) => {
            let limit = i16::from_le_bytes([value[0], value[1]]);
            ancillary.hop_limit = byte(&i32::from(limit).to_le_bytes())?;
        }
        (IPV6_TCLASS, 4) => ancillary.traffic_class = byte(value)?,
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(())
}

/// # Errors
/// `ENODEV` for the number of an interface that there is not; 0 is any.
fn check_interface(call: &Call<'_>, index: u32) -> Result<(), Stop> {
    let there = index == 0
        || interfaces::all(&call.world())
            .iter()
            .any(|i| i.index == index);
    match there {
        true => Ok(()),
        false => Err(Errno::ENODEV.into()),
    }
}

/// `SCM_CREDENTIALS`: one's own numbers, or those that one may take.
fn given_sender(call: &Call<'_>, value: &[u8]) -> Result<Sender, Stop> {
    let word =
        |at: usize| u32::from_le_bytes([value[at], value[at + 1], value[at + 2], value[at + 3]]);
    if value.len() != 12 {
        return Err(Errno::EINVAL.into());
    }
    let sender = Sender {
        pid: word(0),
        uid: word(4),
        gid: word(8),
    };
    let who = super::credentials::of(call);
    let is = |ids: &Ids, id: u32| [ids.real, ids.effective, ids.saved].contains(&id);
    if sender.pid != call.process.pid() && !who.has(cap::SYS_ADMIN)
        || !is(&who.user, sender.uid) && !who.has(cap::SETUID)
        || !is(&who.group, sender.gid) && !who.has(cap::SETGID)
    {
        return Err(Errno::EPERM.into());
    }
    if call.uc.processes.borrow().find(sender.pid).is_none() {
        return Err(Errno::ESRCH.into());
    }
    Ok(sender)
}

/// An integer that is a byte, or -1 for the usual.
fn byte(value: &[u8]) -> Result<Option<u8>, Stop> {
    match value {
        [byte] => Ok(Some(*byte)),
        [a, b, c, d, ..] => match i32::from_le_bytes([*a, *b, *c, *d]) {
            -1 => Ok(None),
            n => Ok(Some(u8::try_from(n).map_err(|_| Errno::EINVAL)?)),
        },
        _ => Err(Errno::EINVAL.into()),
    }
}

/// Writes what came with a message into the guest's room. Gives how much of that is used; what does not fit is noted in the
/// flags.
pub fn write(
    call: &Call<'_>,
    h: &Header,
    id: DescId,
    received: &mut Received,
) -> Result<u64, Stop> {
    let mut all: Vec<(u32, u32, Vec<u8>)> = Vec::new();
    if call.objects().tells_senders(id) {
        // Sent when nobody had asked: nobody is named.
        let nobody = Sender {
            pid: 0,
            uid: OVERFLOW,
            gid: OVERFLOW,
        };
        let sender = received.sender.unwrap_or(nobody);
        all.push((SOCKET, SCM_CREDENTIALS, sender.to_bytes()));
    }
    if !received.fds.is_empty() {
        let fds = received.fds.iter().flat_map(|fd| fd.to_le_bytes());
        all.push((SOCKET, SCM_RIGHTS, fds.collect()));
    }
    all.extend(of_datagram(call, id, received));
    if let Some(report) = &received.report {
        all.push(extended_error(report, call.objects().socket_domain(id)?));
    }
    let room = if h.control == 0 { 0 } else { h.control_len };
    let mut at = 0u64;
    let mut space = call.space();
    for (level, kind, value) in all {
        let left = room.saturating_sub(at);
        if left < HEAD as u64 {
            received.flags |= MessageFlags::CTRUNC;
            break;
        }
        let given = value.len().min(left as usize - HEAD);
        if given < value.len() {
            received.flags |= MessageFlags::CTRUNC;
        }
        let len = (HEAD + given) as u64;
        let kinds = u64::from(level) | u64::from(kind) << 32;
        space.put(h.control + at, [len, kinds])?;
        space.write(h.control + at + HEAD as u64, &value[..given])?;
        at += len.next_multiple_of(8).min(left);
    }
    Ok(at)
}

/// What a guest wants to know of each datagram.
fn of_datagram(call: &Call<'_>, id: DescId, received: &Received) -> Vec<(u32, u32, Vec<u8>)> {
    let mut all = Vec::new();
    let Some(carried) = received.carried else {
        return all;
    };
    let objects = call.objects();
    let Ok(option) = objects.socket_wants(id) else {
        return all;
    };
    let wants = |level, name| option(level, name) != 0;
    let v6 = matches!(objects.socket_domain(id), Ok(Domain::Inet6));
    let port = match objects.socket_name(id) {
        Ok((_, Address::Inet(local))) => local.port(),
        _ => 0,
    };
    drop(objects);
    let now_ns = call.world().realtime();
    let (seconds, rest_ns) = (now_ns / 1_000_000_000, now_ns % 1_000_000_000);
    let word = |n: u8| i32::from(n).to_le_bytes().to_vec();
    let index: u32 = if carried.to.is_loopback() { 1 } else { 2 };
    if wants(SOCKET, TIMESTAMP) {
        let value = [seconds, rest_ns / 1000].map(u64::to_le_bytes).concat();
        all.push((SOCKET, TIMESTAMP, value));
    }
    if wants(SOCKET, TIMESTAMPNS) {
        let value = [seconds, rest_ns].map(u64::to_le_bytes).concat();
        all.push((SOCKET, TIMESTAMPNS, value));
    }
    for (name, unit_ns) in [(TIMESTAMP_NEW, 1000), (TIMESTAMPNS_NEW, 1)] {
        if wants(SOCKET, name) {
            let value = [seconds, rest_ns / unit_ns].map(u64::to_le_bytes).concat();
            all.push((SOCKET, name, value));
        }
    }
    for name in [TIMESTAMPING, TIMESTAMPING_NEW] {
        let flags = option(SOCKET, name);
        if flags & RX_SOFTWARE != 0 && flags & SOFTWARE != 0 {
            // Of three times two are network cards'.
            let value = [seconds, rest_ns, 0, 0, 0, 0]
                .map(u64::to_le_bytes)
                .concat();
            all.push((SOCKET, name, value));
        }
    }
    if let (IpAddr::V4(to), true) = (carried.to, wants(IP, IP_PKTINFO)) {
        let mut value = index.to_le_bytes().to_vec();
        value.extend_from_slice(&to.octets());
        value.extend_from_slice(&to.octets());
        all.push((IP, IP_PKTINFO, value));
    }
    // What is of one protocol comes with packets of that protocol.
    let by_v4 = carried.to.to_canonical().is_ipv4();
    if by_v4 && wants(IP, IP_RECVTTL) {
        all.push((IP, IP_TTL, word(carried.hop_limit)));
    }
    if by_v4 && wants(IP, IP_RECVTOS) {
        all.push((IP, IP_TOS, alloc::vec![carried.traffic_class]));
    }
    if let (IpAddr::V4(to), true) = (carried.to, wants(IP, IP_ORIGDSTADDR)) {
        let to = Address::Inet(SocketAddr::new(to.into(), port));
        all.push((IP, IP_ORIGDSTADDR, to.to_bytes(Domain::Inet)));
    }
    if v6 && !by_v4 && wants(IPV6, IPV6_ORIGDSTADDR) {
        let to = Address::Inet(SocketAddr::new(carried.to, port));
        all.push((IPV6, IPV6_ORIGDSTADDR, to.to_bytes(Domain::Inet6)));
    }
    if v6 && wants(IPV6, IPV6_RECVPKTINFO) {
        let to = match carried.to {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        let mut value = to.octets().to_vec();
        value.extend_from_slice(&index.to_le_bytes());
        all.push((IPV6, IPV6_PKTINFO, value));
    }
    if v6 && !by_v4 && wants(IPV6, IPV6_RECVHOPLIMIT) {
        all.push((IPV6, IPV6_HOPLIMIT, word(carried.hop_limit)));
    }
    if v6 && !by_v4 && wants(IPV6, IPV6_RECVTCLASS) {
        all.push((IPV6, IPV6_TCLASS, word(carried.traffic_class)));
    }
    all
}

/// `struct sock_extended_err`, and the address of who answered.
fn extended_error(report: &Report, domain: Domain) -> (u32, u32, Vec<u8>) {
    let v4 = report.to.is_ipv4();
    let origin = if v4 { ORIGIN_ICMP } else { ORIGIN_ICMP6 };
    let mut value = (report.errno.number() as u32).to_le_bytes().to_vec();
    value.extend_from_slice(&[origin, report.kind, report.code, 0]);
    value.extend_from_slice(&report.mtu.to_le_bytes());
    value.extend_from_slice(&[0; 4]);
    let offender = Address::Inet(SocketAddr::new(report.offender, 0));
    let of_v6 = domain == Domain::Inet6;
    value.extend_from_slice(&offender.to_bytes(domain));
    if of_v6 {
        (IPV6, IPV6_RECVERR, value)
    } else {
        (IP, IP_RECVERR, value)
    }
}
