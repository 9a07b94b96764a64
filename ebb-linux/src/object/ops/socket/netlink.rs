//! Routing netlink (`AF_NETLINK`, `NETLINK_ROUTE`), as far as programs ask which interfaces and addresses there are: the dumps of
//! `RTM_GETLINK` and `RTM_GETADDR`, which `getifaddrs` is made of, and `RTM_GETROUTE`; one interface by its number; no
//! neighbours and no rules. Nothing can be changed (`EPERM`), and other requests are `EOPNOTSUPP`.
//!
//! What must hold: a request is whatever the guest wrote. At most one dump waits in an inbox, so asking again and again
//! costs nothing.
//!
//! Source: RFC 3549, and Linux' `include/uapi/linux/{netlink,rtnetlink,if_link,if_addr}.h`.

use alloc::{vec, vec::Vec};
use core::net::IpAddr;

use crate::object::{
    Objects,
    env::Env,
    errno::{Errno, Result},
    id::DescId,
    interfaces::{self, Interface, mask, network_of},
    io::Source,
    kind::socket::{
        SocketId,
        address::{AF_INET, AF_INET6, AF_UNSPEC, Address},
        option::{CAP_ACK, NETLINK},
    },
};

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_MULTI: u16 = 2;
const NLM_F_DUMP: u16 = 0x300;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
/// Numbers of sockets below this one, as signed numbers below -4096, are no process's.
const NOT_PROCESSES: u32 = -4096i32 as u32;
const NLM_F_ACK: u16 = 4;
/// Of an answer: it holds no more of the request than its header.
const NLM_F_CAPPED: u16 = 0x100;
/// The first and the last kind of routing messages, of which each four are new, delete, get and set.
const RTM_FIRST: u16 = 16;
const RTM_LAST: u16 = 123;
const RTM_GETNEIGH: u16 = 30;
const RTM_NEWRULE: u16 = 32;
const RTM_GETRULE: u16 = 34;
/// The largest request that is read.
const MAX_REQUEST: usize = 1024;
/// What the answers to one socket may cost.
const LIMIT: usize = 64 << 10;

/// Of `RTM_NEWLINK` alone: the cable is in.
const IFF_LOWER_UP: u32 = 0x1_0000;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;

/// One message: what follows its header is `body` and the attributes.
fn message(
    kind: u16,
    flags: u16,
    sequence: u32,
    port: u32,
    body: &[u8],
    attributes: &[(u16, &[u8])],
) -> Vec<u8> {
    let mut out = vec![0; 4];
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&flags.to_le_bytes());
    out.extend_from_slice(&sequence.to_le_bytes());
    out.extend_from_slice(&port.to_le_bytes());
    out.extend_from_slice(body);
    // The padding behind each attribute belongs to the message, the last one's, too (`nla_put`).
    out.resize(out.len().next_multiple_of(4), 0);
    for (kind, value) in attributes {
        out.extend_from_slice(&(value.len() as u16 + 4).to_le_bytes());
        out.extend_from_slice(&kind.to_le_bytes());
        out.extend_from_slice(value);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    let len = out.len() as u32;
    out[..4].copy_from_slice(&len.to_le_bytes());
    out
}

/// `RTM_NEWLINK`: `struct ifinfomsg`, address, broadcast address, name, MTU, queue, state.
fn link(interface: &Interface, flags: u16, sequence: u32, port: u32) -> Vec<u8> {
    let mut body = [0; 16];
    body[2..4].copy_from_slice(&interface.kind.to_le_bytes());
    body[4..8].copy_from_slice(&interface.index.to_le_bytes());
    let state_flags = interface.flags | IFF_LOWER_UP;
    body[8..12].copy_from_slice(&state_flags.to_le_bytes());
    let name = [interface.name.as_bytes(), &[0]].concat();
    let broadcast = match interface.is_loopback() {
        true => [0; 6],
        false => [0xff; 6],
    };
    // Loopback's state is unknown (0), as on Linux; the other is up (6).
    let state = [if interface.is_loopback() { 0 } else { 6 }];
    let attributes: [(u16, &[u8]); 6] = [
        (1, &interface.mac),
        (2, &broadcast),
        (3, &name),
        (4, &interface.mtu.to_le_bytes()),
        (13, &1000u32.to_le_bytes()),
        (16, &state),
    ];
    message(RTM_NEWLINK, flags, sequence, port, &body, &attributes)
}

fn octets(ip: IpAddr) -> (u16, Vec<u8>) {
    match ip {
        IpAddr::V4(ip) => (AF_INET, ip.octets().to_vec()),
        IpAddr::V6(ip) => (AF_INET6, ip.octets().to_vec()),
    }
}

/// `RTM_NEWADDR`: `struct ifaddrmsg`, address, local address, broadcast address, label.
fn address(ip: IpAddr, prefix: u8, interface: &Interface, sequence: u32, port: u32) -> Vec<u8> {
    let (family, octets) = octets(ip);
    // Scope: host, link, or the world.
    let scope = match ip {
        _ if ip.is_loopback() => 254,
        IpAddr::V6(ip) if ip.is_unicast_link_local() => 253,
        _ => 0,
    };
    let mut body = [0; 8];
    body[..4].copy_from_slice(&[family as u8, prefix, 0x80, scope]);
    body[4..].copy_from_slice(&interface.index.to_le_bytes());
    let name = [interface.name.as_bytes(), &[0]].concat();
    let mut attributes: Vec<(u16, &[u8])> = vec![(1, &octets)];
    let broadcast = match ip {
        IpAddr::V4(ip) => (ip.to_bits() | !mask(prefix).to_bits()).to_be_bytes(),
        IpAddr::V6(_) => [0; 4],
    };
    if family == AF_INET {
        attributes.push((2, &octets));
        if !interface.is_loopback() {
            attributes.push((4, &broadcast));
        }
        attributes.push((3, &name));
    }
    // Flags as in the body, and a life without end.
    let long_flags = 0x80u32.to_le_bytes();
    let life = [u32::MAX, u32::MAX, 0, 0].map(u32::to_le_bytes).concat();
    attributes.extend([(8, &long_flags[..]), (6, &life[..])]);
    message(RTM_NEWADDR, NLM_F_MULTI, sequence, port, &body, &attributes)
}

/// `RTM_NEWRULE`, one for each table that is asked from the start: `struct fib_rule_hdr`, table, protocol, place.
fn rules(family: u16, sequence: u32, port: u32) -> Vec<u8> {
    const TO_TABLE: u8 = 1;
    let tables: &[(u8, u32)] = match family {
        AF_INET => &[(255, 0), (254, 32766), (253, 32767)],
        _ => &[(255, 0), (254, 32766)],
    };
    let mut all = Vec::new();
    for &(table, place) in tables {
        let body = [family as u8, 0, 0, 0, table, 0, 0, TO_TABLE, 0, 0, 0, 0];
        let (number, place) = (u32::from(table).to_le_bytes(), place.to_le_bytes());
        // FRA_TABLE, FRA_SUPPRESS_PREFIXLEN (none), FRA_PROTOCOL (the kernel's), FRA_PRIORITY.
        let mut attributes: Vec<(u16, &[u8])> = vec![(15, &number), (14, &[255; 4]), (21, &[2])];
        if place != [0; 4] {
            attributes.push((6, &place));
        }
        let flags = NLM_F_MULTI;
        all.extend(message(
            RTM_NEWRULE,
            flags,
            sequence,
            port,
            &body,
            &attributes,
        ));
    }
    all
}

/// How something is reached: by a router, or directly from an own address.
enum Via {
    /// With its metric.
    Router(IpAddr, u32),
    Link(IpAddr),
}

/// `RTM_NEWROUTE`: `struct rtmsg`, destination, interface, router or the address to send from.
fn route(
    to: Option<(IpAddr, u8)>,
    via: Via,
    interface: &Interface,
    sequence: u32,
    port: u32,
) -> Vec<u8> {
    let (kind, (family, hop)) = match via {
        Via::Router(ip, _) => (5, octets(ip)),
        Via::Link(own) => (7, octets(own)),
    };
    let metric = match via {
        Via::Router(_, metric) => metric,
        Via::Link(_) => 0,
    };
    // The main table, by DHCP or the kernel; to the world or the link; to one host.
    let (protocol, scope) = if matches!(via, Via::Router(..)) {
        (16, 0)
    } else {
        (2, 253)
    };
    let length = to.map_or(0, |(_, length)| length);
    let mut body = [0; 12];
    body[..8].copy_from_slice(&[family as u8, length, 0, 0, 254, protocol, scope, 1]);
    let to = to.map(|(ip, _)| octets(ip).1).unwrap_or_default();
    let (table, index) = (254u32.to_le_bytes(), interface.index.to_le_bytes());
    let mut attributes: Vec<(u16, &[u8])> = vec![(15, &table)];
    if !to.is_empty() {
        attributes.push((1, &to));
    }
    attributes.push((kind, &hop));
    let metric = metric.to_le_bytes();
    if metric != [0; 4] {
        attributes.push((6, &metric));
    }
    attributes.push((4, &index));
    message(
        RTM_NEWROUTE,
        NLM_F_MULTI,
        sequence,
        port,
        &body,
        &attributes,
    )
}

/// All routes: those to the networks that the machine is in, and the default ones.
fn routes(env: &dyn Env, family: u16, sequence: u32, port: u32) -> Vec<u8> {
    let is_wanted = |ip: IpAddr| family == AF_UNSPEC || (family == AF_INET) == ip.is_ipv4();
    let all = interfaces::all(env);
    let mut answer = Vec::new();
    for outside in all.iter().filter(|i| !i.is_loopback()) {
        let routers = outside.gateways.iter().filter(|(ip, _)| is_wanted(*ip));
        for &(router, metric) in routers {
            let via = Via::Router(router, metric);
            answer.extend(route(None, via, outside, sequence, port));
        }
        for &(own, length) in outside.addresses.iter().filter(|(ip, _)| is_wanted(*ip)) {
            let net = Some((network_of(own, length), length));
            answer.extend(route(net, Via::Link(own), outside, sequence, port));
        }
    }
    answer
}

impl Objects {
    /// Takes a name for a netlink socket: the one asked for if it is free, else one of the kernel's choice.
    pub(super) fn bind_netlink(
        &mut self,
        env: &dyn Env,
        id: SocketId,
        wanted: Address,
    ) -> Result<()> {
        let Address::Netlink(port) = wanted else {
            return Err(Errno::EINVAL);
        };
        let Address::Netlink(old) = self.socket(id)?.local else {
            return Err(Errno::EINVAL);
        };
        if old != 0 {
            return if port == old {
                Ok(())
            } else {
                Err(Errno::EINVAL)
            };
        }
        let taken = |objects: &Self, port| {
            let mut all = objects.kinds.sockets.iter();
            all.any(|(_, s)| s.local == Address::Netlink(port))
        };
        if port != 0 && taken(self, port) {
            return Err(Errno::EADDRINUSE);
        }
        // The process's own number, else one that none has: as many as there may be sockets, and one.
        let own = env.process().pid();
        let others = (1..=self.kinds.sockets.len() as u32 + 1).map(|n| NOT_PROCESSES - n);
        let free = core::iter::once(own)
            .chain(others)
            .find(|&port| !taken(self, port));
        let port = if port != 0 { port } else { free.unwrap_or(own) };
        self.socket_mut(id)?.local = Address::Netlink(port);
        Ok(())
    }

    /// A request, whose answer is in the inbox when this returns.
    pub(super) fn send_netlink(
        &mut self,
        env: &dyn Env,
        id: SocketId,
        source: &mut dyn Source,
        to: Option<Address>,
    ) -> Result<usize> {
        if !matches!(to, None | Some(Address::Netlink(0))) {
            return Err(Errno::ECONNREFUSED);
        }
        self.bind_netlink(env, id, self.socket(id)?.local.clone())?;
        let Address::Netlink(port) = self.socket(id)?.local else {
            return Err(Errno::EINVAL);
        };
        let len = source.remaining();
        if len == 0 {
            return Err(Errno::ENODATA);
        }
        let mut request = vec![0; len.min(MAX_REQUEST)];
        if source.take(&mut request) < request.len() {
            return Err(Errno::EFAULT);
        }
        let word = |at: usize| {
            request
                .get(at..at + 4)
                .map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        };
        if request.len() < 16 || (word(0) as usize) < 16 || word(0) as usize > request.len() {
            // What is no message is not read.
            return Ok(len);
        }
        let (kind, flags, sequence) = (word(4) as u16, (word(4) >> 16) as u16, word(8));
        let family = u16::from(request.get(16).copied().unwrap_or(0));
        let mut answer = Vec::new();
        match kind {
            RTM_GETLINK if flags & NLM_F_DUMP == NLM_F_DUMP => {
                for interface in interfaces::all(env) {
                    answer.extend(link(&interface, NLM_F_MULTI, sequence, port));
                }
            }
            RTM_GETADDR if flags & NLM_F_DUMP == NLM_F_DUMP => {
                for interface in interfaces::all(env) {
                    for &(ip, prefix) in &interface.addresses {
                        if family == AF_UNSPEC || (family == AF_INET) == ip.is_ipv4() {
                            answer.extend(address(ip, prefix, &interface, sequence, port));
                        }
                    }
                }
            }
            RTM_GETROUTE if flags & NLM_F_DUMP == NLM_F_DUMP => {
                answer.extend(routes(env, family, sequence, port));
            }
            RTM_GETRULE if flags & NLM_F_DUMP == NLM_F_DUMP => {
                for of in [AF_INET, AF_INET6] {
                    if family == AF_UNSPEC || family == of {
                        answer.extend(rules(of, sequence, port));
                    }
                }
            }
            RTM_GETNEIGH if flags & NLM_F_DUMP == NLM_F_DUMP => {}
            _ => {
                let all = interfaces::all(env);
                let found = all.iter().find(|i| i.index == word(20));
                let result = match (kind, found) {
                    (..RTM_FIRST, _) => Ok(()),
                    (RTM_GETLINK, Some(interface)) => {
                        let one = link(interface, 0, sequence, port);
                        self.answer_netlink(id, &one)?;
                        Ok(())
                    }
                    (RTM_GETLINK, None) if word(20) != 0 => Err(Errno::ENODEV),
                    // New, delete, set: who is to change something needs the right to it.
                    (..=RTM_LAST, _) if kind % 4 != 2 => Err(Errno::EPERM),
                    _ => Err(Errno::EOPNOTSUPP),
                };
                if result.is_ok() && flags & NLM_F_ACK == 0 {
                    return Ok(len);
                }
                let end = word(0) as usize;
                let capped = self.socket(id)?.options.flag(NETLINK, CAP_ACK);
                let (code, flags, told) = match result {
                    Ok(()) => (0, NLM_F_CAPPED, &request[..16]),
                    Err(errno) if capped => (-errno.number(), NLM_F_CAPPED, &request[..16]),
                    Err(errno) => (-errno.number(), 0, &request[..end]),
                };
                let body = [&code.to_le_bytes()[..], told].concat();
                let error = message(NLMSG_ERROR, flags, sequence, port, &body, &[]);
                return self.answer_netlink(id, &error).map(|()| len);
            }
        }
        // The interfaces are few: one datagram holds them all.
        answer.extend(message(
            NLMSG_DONE,
            NLM_F_MULTI,
            sequence,
            port,
            &[0; 4],
            &[],
        ));
        self.answer_netlink(id, &answer).map(|()| len)
    }

    fn answer_netlink(&mut self, id: SocketId, answer: &[u8]) -> Result<()> {
        let from = Address::Netlink(0);
        match self.deliver(id, LIMIT, from, Vec::<DescId>::new(), &mut &answer[..]) {
            Ok(_) => Ok(()),
            // Who does not read loses answers, and is told.
            Err(_) => Err(Errno::ENOBUFS),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{
        socket::message::MessageFlags,
        testing::{World, objects},
    };

    fn ask(kind: u16, flags: u16) -> Vec<u8> {
        message(kind, flags, 7, 0, &[0; 16], &[])
    }

    /// Kinds of the messages of an answer.
    fn kinds(answer: &[u8]) -> Vec<u16> {
        let mut at = 0;
        let mut kinds = Vec::new();
        while let Some(head) = answer.get(at..at + 16) {
            let len = u32::from_le_bytes(head[..4].try_into().unwrap()) as usize;
            kinds.push(u16::from_le_bytes([head[4], head[5]]));
            assert_eq!(head[8], 7, "the request's sequence number");
            assert_eq!(
                len % 4,
                0,
                "the last attribute's padding belongs to the message"
            );
            at += len.next_multiple_of(4);
        }
        assert_eq!(at, answer.len());
        kinds
    }

    #[test]
    fn interfaces_and_addresses_are_listed_and_nothing_else_is_done() {
        let (mut o, w) = (objects(), World::default());
        let fd = o.socket_create(16, 3, 0).unwrap();
        let d = o.lookup_fd(fd).unwrap();
        o.bind(&w, d, Address::Netlink(0)).unwrap();
        let mut round = |request: &[u8]| {
            let sent = o.send(&w, d, &mut &request[..], None, &[], MessageFlags::default())?;
            assert_eq!(sent, request.len());
            let mut buffer = vec![0; 8192];
            let n = o.read(&w, fd, &mut &mut buffer[..])?;
            buffer.truncate(n);
            Ok::<_, Errno>(buffer)
        };
        let links = round(&ask(RTM_GETLINK, 1 | NLM_F_DUMP)).unwrap();
        assert_eq!(kinds(&links).first(), Some(&RTM_NEWLINK));
        assert_eq!(kinds(&links).last(), Some(&NLMSG_DONE));
        assert!(links.windows(3).any(|w| w == b"lo\0"));
        let addresses = round(&ask(RTM_GETADDR, 1 | NLM_F_DUMP)).unwrap();
        assert!(kinds(&addresses).starts_with(&[RTM_NEWADDR, RTM_NEWADDR]));
        assert!(addresses.windows(4).any(|w| w == [127, 0, 0, 1]));
        // A change of an interface, and what is no message, to which nobody answers.
        assert_eq!(kinds(&round(&ask(16, 1)).unwrap()), [NLMSG_ERROR]);
        assert_eq!(round(&[]), Err(Errno::ENODATA));
        for len in 1..16 {
            assert_eq!(round(&[0xff; 16][..len]), Err(Errno::EAGAIN));
        }
        assert_eq!(round(&[0xff; 64]), Err(Errno::EAGAIN));
    }

    #[test]
    fn every_attribute_fits_its_message_with_its_padding() {
        let lo = &interfaces::all(&World::default())[0];
        let ip = core::net::Ipv4Addr::LOCALHOST.into();
        for (head, answer) in [
            (16 + 16, link(lo, NLM_F_MULTI, 7, 1)),
            (16 + 8, address(ip, 8, lo, 7, 1)),
        ] {
            let mut rest = &answer[head..];
            while let [a, b, ..] = rest {
                let len = usize::from(u16::from_le_bytes([*a, *b])).next_multiple_of(4);
                assert!((4..=rest.len()).contains(&len), "{rest:?}");
                rest = &rest[len..];
            }
        }
    }

    #[test]
    fn who_does_not_read_loses_answers_and_takes_no_more_memory() {
        let (mut o, w) = (objects(), World::default());
        let fd = o.socket_create(16, 3, 0).unwrap();
        let d = o.lookup_fd(fd).unwrap();
        let request = ask(RTM_GETLINK, NLM_F_DUMP);
        let mut send = || o.send(&w, d, &mut &request[..], None, &[], MessageFlags::default());
        assert!((0..10_000).any(|_| send() == Err(Errno::ENOBUFS)));
    }
}
