//! The ioctls of sockets: which interfaces there are (netdevice(7)), and how much waits in a socket.

use super::{Call, Outcome, file};
use crate::abi::errno::Errno;
use crate::object::id::DescId;
use crate::object::interfaces::{self, Interface};
use crate::object::kind::socket::{SocketKind, address::Domain};
use core::net::{IpAddr, Ipv4Addr};

/// `SIOCOUTQ`: bytes that were sent and not acknowledged.
const SIOCOUTQ: u32 = 0x5411;
/// `SIOCOUTQNSD`: bytes that were not sent yet.
const SIOCOUTQNSD: u32 = 0x894b;
const FIOSETOWN: u32 = 0x8901;
const SIOCSPGRP: u32 = 0x8902;
const FIOGETOWN: u32 = 0x8903;
const SIOCGPGRP: u32 = 0x8904;
const SIOCATMARK: u32 = 0x8905;
/// `SIOCGSTAMP` and `SIOCGSTAMPNS`, and the same with 64 bits on any machine.
const SIOCGSTAMP: u32 = 0x8906;
const SIOCGSTAMPNS: u32 = 0x8907;
const SIOCGSTAMP_NEW: u32 = 0x8010_8906;
const SIOCGSTAMPNS_NEW: u32 = 0x8010_8907;
const SIOCGIFNAME: u32 = 0x8910;
const SIOCGIFCONF: u32 = 0x8912;
const SIOCGIFFLAGS: u32 = 0x8913;
const SIOCGIFADDR: u32 = 0x8915;
const SIOCGIFDSTADDR: u32 = 0x8917;
const SIOCGIFBRDADDR: u32 = 0x8919;
const SIOCGIFNETMASK: u32 = 0x891b;
const SIOCGIFMETRIC: u32 = 0x891d;
const SIOCGIFMTU: u32 = 0x8921;
const SIOCGIFHWADDR: u32 = 0x8927;
const SIOCGIFINDEX: u32 = 0x8933;
const SIOCGIFTXQLEN: u32 = 0x8942;
const SIOCETHTOOL: u32 = 0x8946;
const SIOCGIFMAP: u32 = 0x8970;

/// `struct ifreq`: a name, and 24 bytes of which each request uses some.
const IFREQ: usize = 40;
const NAME: usize = 16;

/// Whether a request is one of those here.
pub fn is_known(request: u32) -> bool {
    matches!(
        request,
        SIOCOUTQ | 0x8900..=0x89ff | SIOCGSTAMP_NEW | SIOCGSTAMPNS_NEW
    )
}

/// A request on a socket.
pub fn ioctl(call: &Call<'_>, id: DescId, request: u32, argument: u64) -> Outcome {
    let (domain, kind) = call.objects().socket_kind(id)?;
    let stream = kind == SocketKind::Stream;
    match request {
        FIOSETOWN | SIOCSPGRP => {
            let owner: i32 = call.space().get(argument)?;
            file::set_owner_number(call, owner)
        }
        FIOGETOWN | SIOCGPGRP => {
            let owner = file::owner_number(call)?;
            call.space().put(argument, owner)?;
            Ok(0)
        }
        SIOCGSTAMP | SIOCGSTAMP_NEW | SIOCGSTAMPNS | SIOCGSTAMPNS_NEW => {
            let at_ns = call.objects().last_received(id)?;
            let unit_ns = match request {
                SIOCGSTAMP | SIOCGSTAMP_NEW => 1000,
                _ => 1,
            };
            let rest = at_ns % 1_000_000_000 / unit_ns;
            call.space().put(argument, [at_ns / 1_000_000_000, rest])?;
            Ok(0)
        }
        SIOCATMARK if !stream && domain == Domain::Unix => Err(Errno::EOPNOTSUPP.into()),
        SIOCATMARK if !stream => no_request(call, argument),
        SIOCOUTQNSD if !stream || domain == Domain::Unix => no_request(call, argument),
        // Addresses of interfaces are the internet protocols'.
        SIOCGIFADDR..=0x891b if domain == Domain::Unix || domain == Domain::Netlink => {
            Err(Errno::ENOTTY.into())
        }
        SIOCATMARK => {
            let at_mark = call.on_objects(|o, _| o.is_at_mark(id))?;
            call.space().put(argument, i32::from(at_mark))?;
            Ok(0)
        }
        SIOCOUTQ => {
            let sent = call.on_objects(|o, w| o.bytes_sent(w, id))?;
            call.space().put(argument, sent as i32)?;
            Ok(0)
        }
        SIOCOUTQNSD => {
            call.space().put(argument, 0i32)?;
            Ok(0)
        }
        _ => {
            call.wait_for_network(None)?;
            interface(call, request, argument)
        }
    }
}

/// What a socket does not know may be an interface's, whose structure is looked at first.
fn no_request(call: &Call<'_>, argument: u64) -> Outcome {
    call.space().read(argument, &mut [0; IFREQ])?;
    Err(Errno::ENOTTY.into())
}

fn interface(call: &Call<'_>, request: u32, argument: u64) -> Outcome {
    let all = interfaces::all(&call.world());
    if request == SIOCGIFCONF {
        return list(call, &all, argument);
    }
    let mut ifreq = [0u8; IFREQ];
    call.space().read(argument, &mut ifreq)?;
    let index = u32::from_le_bytes([ifreq[16], ifreq[17], ifreq[18], ifreq[19]]);
    let name = &ifreq[..NAME - 1];
    let name = &name[..name.iter().position(|b| *b == 0).unwrap_or(name.len())];
    // An alias (`eth0:1`) is the interface before the colon.
    let name = name.split(|b| *b == b':').next().unwrap_or_default();
    let wanted = |i: &&Interface| match request {
        SIOCGIFNAME => i.index == index,
        _ => i.name.as_bytes() == name,
    };
    let Some(found) = all.iter().find(wanted) else {
        return Err(match request {
            0x8910..=0x89ff => Errno::ENODEV,
            _ => Errno::ENOTTY,
        }
        .into());
    };
    let v4 = found.v4().ok_or(Errno::EADDRNOTAVAIL);
    let value = &mut ifreq[NAME..];
    match request {
        SIOCGIFNAME => {
            ifreq[..NAME].fill(0);
            ifreq[..found.name.len()].copy_from_slice(found.name.as_bytes());
        }
        SIOCGIFFLAGS => value[..2].copy_from_slice(&(found.flags as u16).to_le_bytes()),
        SIOCGIFADDR | SIOCGIFDSTADDR => put_address(value, v4?.0),
        SIOCGIFBRDADDR => {
            let (ip, length) = v4?;
            let host = !interfaces::mask(length).to_bits();
            let broadcast = match found.is_loopback() {
                true => Ipv4Addr::UNSPECIFIED,
                false => Ipv4Addr::from_bits(ip.to_bits() | host),
            };
            put_address(value, broadcast);
        }
        SIOCGIFNETMASK => put_address(value, interfaces::mask(v4?.1)),
        SIOCGIFMETRIC => value[..4].fill(0),
        SIOCGIFMTU => value[..4].copy_from_slice(&found.mtu.to_le_bytes()),
        SIOCGIFHWADDR => {
            value[..16].fill(0);
            value[..2].copy_from_slice(&found.kind.to_le_bytes());
            value[2..8].copy_from_slice(&found.mac);
        }
        SIOCGIFINDEX => value[..4].copy_from_slice(&found.index.to_le_bytes()),
        SIOCGIFTXQLEN => value[..4].copy_from_slice(&1000u32.to_le_bytes()),
        SIOCGIFMAP => value.fill(0),
        SIOCETHTOOL => return Err(Errno::EOPNOTSUPP.into()),
        // What would change an interface: nobody in a UC may.
        0x8914 | 0x8916 | 0x8918 | 0x891a | 0x891c | 0x891e | 0x8922..=0x8925 | 0x8943 => {
            return Err(Errno::EPERM.into());
        }
        _ => return Err(Errno::ENOTTY.into()),
    }
    call.space().write(argument, &ifreq)?;
    Ok(0)
}

/// `struct sockaddr_in` without a port.
fn put_address(value: &mut [u8], ip: Ipv4Addr) {
    value[..16].fill(0);
    value[..2].copy_from_slice(&2u16.to_le_bytes());
    value[4..8].copy_from_slice(&ip.octets());
}

/// `SIOCGIFCONF`: the interfaces that have an IPv4 address, as many as there is room for; without room how much they need.
fn list(call: &Call<'_>, all: &[Interface], argument: u64) -> Outcome {
    let [len, at]: [u64; 2] = call.space().get(argument)?;
    // Who asks for the length may have left anything there.
    let room = usize::try_from(len as i32).unwrap_or(0);
    let mut out = alloc::vec::Vec::new();
    for interface in all {
        for (ip, _) in &interface.addresses {
            let IpAddr::V4(ip) = ip else { continue };
            let mut ifreq = [0u8; IFREQ];
            ifreq[..interface.name.len()].copy_from_slice(interface.name.as_bytes());
            put_address(&mut ifreq[NAME..], *ip);
            out.extend_from_slice(&ifreq);
        }
    }
    let given = if at == 0 {
        out.len()
    } else {
        room.min(out.len()) / IFREQ * IFREQ
    };
    let mut space = call.space();
    if at != 0 {
        space.write(at, &out[..given])?;
    }
    space.put(argument, given as i32)?;
    Ok(0)
}
