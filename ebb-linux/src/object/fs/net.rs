//! The files of /proc/net and /sys/class/net: the interfaces and routes that netlink and the ioctls tell of, and the UC's
//! sockets.

use alloc::{format, string::String, vec::Vec};
use core::{
    fmt::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::text::{Subject, Text};
use crate::object::{
    interfaces::{self, Interface, mask, network_of},
    kind::{
        Face, Kind as _,
        socket::{
            Member, Message, Socket, SocketKind, State,
            address::{Address, Domain},
        },
    },
};

pub(crate) fn dev(s: &Subject<'_>, out: &mut Vec<u8>) {
    let mut out = Text(out);
    let _ = writeln!(
        out,
        "Inter-|   Receive                                                |  Transmit\n \
         face |bytes    packets errs drop fifo frame compressed multicast|\
         bytes    packets errs drop fifo colls carrier compressed"
    );
    for interface in interfaces::all(s.env) {
        let _ = writeln!(
            out,
            "{:>6}:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0",
            interface.name
        );
    }
}

pub(crate) fn if_inet6(s: &Subject<'_>, out: &mut Vec<u8>) {
    let mut out = Text(out);
    for interface in interfaces::all(s.env) {
        for (ip, length) in &interface.addresses {
            let IpAddr::V6(ip) = ip else { continue };
            let scope = match ip {
                ip if ip.is_loopback() => 0x10,
                ip if ip.is_unicast_link_local() => 0x20,
                _ => 0,
            };
            let _ = writeln!(
                out,
                "{:032x} {:02x} {length:02x} {scope:02x} 80 {:>8}",
                ip.to_bits(),
                interface.index,
                interface.name
            );
        }
    }
}

/// The groups that sockets have entered on an interface, the last first, with how many sockets have.
fn entered(s: &Subject<'_>, interface: &Interface) -> Vec<(IpAddr, usize)> {
    let mut groups: Vec<(IpAddr, usize)> = Vec::new();
    for member in members(s, interface) {
        match groups.iter_mut().find(|(group, _)| *group == member.group) {
            Some((_, users)) => *users += 1,
            None => groups.insert(0, (member.group, 1)),
        }
    }
    groups
}

fn members<'a>(s: &'a Subject<'_>, interface: &Interface) -> impl Iterator<Item = &'a Member> {
    let (index, loopback) = (interface.index, interface.is_loopback());
    // Who names no interface means the way to the outside.
    let there = move |m: &&Member| m.interface == index || m.interface == 0 && !loopback;
    let sockets = s.sockets.iter();
    sockets.flat_map(|(_, socket)| &socket.groups).filter(there)
}

/// The groups of IPv4 in which an interface is, that of all hosts included.
pub(crate) fn igmp(s: &Subject<'_>, out: &mut Vec<u8>) {
    let mut out = Text(out);
    let _ = writeln!(
        out,
        "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter"
    );
    for interface in interfaces::all(s.env) {
        let mut groups = entered(s, &interface);
        groups.push((Ipv4Addr::new(224, 0, 0, 1).into(), 1));
        groups.retain(|(group, _)| group.is_ipv4());
        // What the stack below speaks.
        let version = if interface.is_loopback() { "V3" } else { "V2" };
        let _ = writeln!(
            out,
            "{}\t{:<10}: {:>5} {version:>7}",
            interface.index,
            interface.name,
            groups.len()
        );
        for (group, users) in groups {
            let IpAddr::V4(group) = group else { continue };
            let group = u32::from_le_bytes(group.octets());
            let _ = writeln!(out, "\t\t\t\t{group:08X} {users:>5} 0:00000000\t\t0");
        }
    }
}

/// The groups of IPv6 in which an interface is: those that sockets entered, those by which neighbours ask for its addresses, and
/// those of all nodes. With each its users, and flags: that it is told to the link (4), that it never is (8).
fn groups_v6(s: &Subject<'_>, interface: &Interface) -> Vec<(Ipv6Addr, usize, u32)> {
    let mut groups = Vec::new();
    for (group, users) in entered(s, interface) {
        if let IpAddr::V6(group) = group {
            groups.push((group, users, 4));
        }
    }
    if !interface.is_loopback() {
        for (ip, _) in interface.addresses.iter().rev() {
            let IpAddr::V6(ip) = ip else { continue };
            let [.., a, b, c] = ip.octets();
            let solicited = 0xff02_u128 << 112 | 0x1_ff00_0000;
            let solicited = solicited | u128::from(u32::from_be_bytes([0, a, b, c]));
            let solicited = Ipv6Addr::from_bits(solicited);
            match groups.iter_mut().find(|(group, ..)| *group == solicited) {
                Some((_, users, _)) => *users += 1,
                None => groups.push((solicited, 1, 4)),
            }
        }
    }
    groups.push((Ipv6Addr::from_bits(0xff02_u128 << 112 | 1), 1, 0xc));
    groups.push((Ipv6Addr::from_bits(0xff01_u128 << 112 | 1), 1, 8));
    groups
}

pub(crate) fn igmp6(s: &Subject<'_>, out: &mut Vec<u8>) {
    let mut out = Text(out);
    for interface in interfaces::all(s.env) {
        let (index, name) = (interface.index, &interface.name);
        for (group, users, flags) in groups_v6(s, &interface) {
            let group = group.to_bits();
            let _ = writeln!(
                out,
                "{index:<4} {name:<15} {group:032x} {users:>5} {flags:08X} 0"
            );
        }
    }
}

/// Whom sockets hear in groups, and whom they do not: how many list the sender to hear it, how many not to.
fn filters(s: &Subject<'_>, v4: bool, mut line: impl FnMut(&Interface, [IpAddr; 2], [usize; 2])) {
    for interface in interfaces::all(s.env) {
        let mut listed: Vec<([IpAddr; 2], [usize; 2])> = Vec::new();
        for member in members(s, &interface).filter(|m| m.group.is_ipv4() == v4) {
            for sender in member.senders.iter().flatten() {
                let (key, at) = ([member.group, *sender], usize::from(!member.only));
                match listed.iter_mut().find(|(known, _)| *known == key) {
                    Some((_, counts)) => counts[at] += 1,
                    None => listed.insert(0, (key, [1 - at, at])),
                }
            }
        }
        let groups = entered(s, &interface);
        listed.sort_by_key(|(key, _)| groups.iter().position(|(group, _)| *group == key[0]));
        for (key, counts) in listed {
            line(&interface, key, counts);
        }
    }
}

pub(crate) fn mcfilter(s: &Subject<'_>, out: &mut Vec<u8>) {
    let mut out = Text(out);
    let _ = writeln!(out, "Idx Device        MCA        SRC    INC    EXC");
    filters(s, true, |interface, key, [heard, not]| {
        if let [IpAddr::V4(group), IpAddr::V4(sender)] = key {
            let (group, sender) = (group.to_bits(), sender.to_bits());
            let (index, name) = (interface.index, &interface.name);
            let _ = writeln!(
                out,
                "{index:>3} {name:>6.6} {group:#010x} {sender:#010x} {heard:>6} {not:>6}"
            );
        }
    });
}

pub(crate) fn mcfilter6(s: &Subject<'_>, out: &mut Vec<u8>) {
    let mut out = Text(out);
    let _ = writeln!(
        out,
        "Idx Device {:>32} {:>32}    INC    EXC",
        "Multicast Address", "Source Address"
    );
    filters(s, false, |interface, key, [heard, not]| {
        if let [IpAddr::V6(group), IpAddr::V6(sender)] = key {
            let (group, sender) = (group.to_bits(), sender.to_bits());
            let (index, name) = (interface.index, &interface.name);
            let _ = writeln!(
                out,
                "{index:>3} {name:>6.6} {group:032x} {sender:032x} {heard:>6} {not:>6}"
            );
        }
    });
}

/// The Ethernet addresses of the groups in which interfaces are.
pub(crate) fn dev_mcast(s: &Subject<'_>, out: &mut Vec<u8>) {
    let mut out = Text(out);
    for interface in interfaces::all(s.env).iter().filter(|i| !i.is_loopback()) {
        let mut addresses: Vec<([u8; 6], usize)> = Vec::new();
        let mut add = |address: [u8; 6]| match addresses.iter_mut().find(|a| a.0 == address) {
            Some((_, groups)) => *groups += 1,
            None => addresses.push((address, 1)),
        };
        let all = [(Ipv4Addr::new(224, 0, 0, 1).into(), 1)];
        for (group, _) in entered(s, interface).into_iter().chain(all) {
            if let IpAddr::V4(group) = group {
                let [_, a, b, c] = group.octets();
                add([1, 0, 0x5e, a & 0x7f, b, c]);
            }
        }
        for (group, ..) in groups_v6(s, interface) {
            // What is the machine's own affair needs no address.
            if group.octets()[1] & 15 >= 2 {
                let [.., a, b, c, d] = group.octets();
                add([0x33, 0x33, a, b, c, d]);
            }
        }
        for (address, groups) in addresses {
            let (index, name) = (interface.index, &interface.name);
            let _ = write!(out, "{index:<4} {name:<15} {groups:<5} 0     ");
            let _ = address.iter().try_for_each(|b| write!(out, "{b:02x}"));
            let _ = writeln!(out);
        }
    }
}

pub(crate) fn route(s: &Subject<'_>, out: &mut Vec<u8>) {
    let mut out = Text(out);
    let head =
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT";
    let _ = writeln!(out, "{head:<127}");
    let all = interfaces::all(s.env);
    for outside in all.iter().filter(|i| !i.is_loopback()) {
        // Up, and by a router.
        for &(router, metric) in &outside.gateways {
            if let IpAddr::V4(router) = router {
                let router = word(router.octets());
                line(&mut out, outside, (0, 0), (router, 3, metric));
            }
        }
        for &(ip, length) in &outside.addresses {
            if let IpAddr::V4(net) = network_of(ip, length) {
                let mask = word(mask(length).octets());
                line(&mut out, outside, (word(net.octets()), mask), (0, 1, 0));
            }
        }
    }
}

/// As the kernel prints it: the word that lies in memory.
fn word(octets: [u8; 4]) -> u32 {
    u32::from_le_bytes(octets)
}

/// A network with its mask; by which router, with what flags and metric.
fn line(
    out: &mut Text<'_>,
    interface: &Interface,
    (to, mask): (u32, u32),
    (router, flags, metric): (u32, u32, u32),
) {
    let name = interface.name;
    let text = alloc::format!(
        "{name}\t{to:08X}\t{router:08X}\t{flags:04X}\t0\t0\t{metric}\t{mask:08X}\t0\t0\t0"
    );
    let _ = writeln!(out, "{text:<127}");
}

/// An address as the kernel prints it: words that lie in memory.
fn place(address: &Address, v6: bool) -> String {
    let (ip, port) = match address {
        Address::Inet(at) => (at.ip(), at.port()),
        _ => (IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
    };
    if !v6 {
        let ip = match ip.to_canonical() {
            IpAddr::V4(ip) => ip,
            IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
        };
        return format!("{:08X}:{port:04X}", word(ip.octets()));
    }
    let octets = match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => [0; 16],
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    };
    let mut text = String::new();
    for word in octets.chunks_exact(4) {
        let word: [u8; 4] = [word[0], word[1], word[2], word[3]];
        let _ = write!(text, "{:08X}", u32::from_le_bytes(word));
    }
    let _ = write!(text, ":{port:04X}");
    text
}

/// Sockets of one sort that have a port.
fn sockets<'a>(
    s: &'a Subject<'_>,
    kind: SocketKind,
    domain: Domain,
) -> impl Iterator<Item = (u32, &'a Socket)> {
    let has_port = |socket: &Socket| matches!(socket.local, Address::Inet(at) if at.port() != 0);
    s.sockets
        .iter()
        .filter(move |(_, k)| k.kind == kind && k.domain == domain && has_port(k))
        .map(|(id, k)| (id.index(), k))
}

/// The inode number of a socket, as `fstat` gives it.
fn inode(index: u32) -> u64 {
    match Socket::FACE {
        Face::Numbered { base, .. } => u64::from(base) + u64::from(index),
        Face::Anonymous(_) => u64::from(index),
    }
}

/// A table of `/proc/net` of sockets with ports.
fn table(s: &Subject<'_>, out: &mut Vec<u8>, kind: SocketKind, domain: Domain) {
    let (v6, datagrams) = (domain == Domain::Inet6, kind == SocketKind::Datagram);
    let mut out = Text(out);
    let blank = if v6 { "                        " } else { "" };
    let edge = if datagrams && !v6 { "   " } else { "  " };
    let more = if datagrams { " ref pointer drops" } else { "" };
    let head = format!(
        "{edge}sl  local_address{blank} {} st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode{more}",
        if v6 {
            "remote_address                       "
        } else {
            "rem_address  "
        }
    );
    let _ = writeln!(
        out,
        "{head:<width$}",
        width = if v6 {
            0
        } else {
            149 - 22 * usize::from(datagrams)
        }
    );
    for (n, (index, socket)) in sockets(s, kind, domain).enumerate() {
        let (local, remote) = (place(&socket.local, v6), place(&socket.remote, v6));
        let state = match (datagrams, socket.state) {
            (true, State::Connected) => 1,
            (true, _) => 7,
            _ => socket.tcp_state(),
        };
        let sent = 0;
        let waiting: usize = match socket.state {
            State::Listening => socket.backlog.len(),
            _ => socket.inbox.iter().map(Message::left).sum(),
        };
        let uid = socket.owner.as_ref().map_or(0, |o| o.who.user.effective);
        let line = format!(
            "{n:>4}: {local} {remote} {state:02X} {sent:08X}:{waiting:08X} 00:00000000 00000000 {uid:>5}        0 {} {} 0000000000000000{}",
            inode(index),
            if datagrams { 2 } else { 1 },
            if datagrams { " 0" } else { " 100 0 0 10 0" },
        );
        let _ = writeln!(out, "{line:<149}");
    }
}

pub(crate) fn tcp(s: &Subject<'_>, out: &mut Vec<u8>) {
    table(s, out, SocketKind::Stream, Domain::Inet);
}

pub(crate) fn tcp6(s: &Subject<'_>, out: &mut Vec<u8>) {
    table(s, out, SocketKind::Stream, Domain::Inet6);
}

pub(crate) fn udp(s: &Subject<'_>, out: &mut Vec<u8>) {
    table(s, out, SocketKind::Datagram, Domain::Inet);
}

pub(crate) fn udp6(s: &Subject<'_>, out: &mut Vec<u8>) {
    table(s, out, SocketKind::Datagram, Domain::Inet6);
}

pub(crate) fn unix(s: &Subject<'_>, out: &mut Vec<u8>) {
    let mut text = Text(out);
    let _ = writeln!(
        text,
        "Num       RefCount Protocol Flags    Type St Inode Path"
    );
    for (id, socket) in s.sockets.iter().filter(|(_, k)| k.domain == Domain::Unix) {
        let listens = socket.state == State::Listening;
        let flags = if listens { 0x1_0000 } else { 0 };
        let state = match socket.state {
            State::Connected => 3,
            State::Connecting => 2,
            State::Idle | State::Listening => 1,
        };
        let (kind, inode) = (socket.kind.number(), inode(id.index()));
        let _ = write!(
            text,
            "{:016x}: 00000002 00000000 {flags:08X} {kind:04X} {state:02X} {inode:>5}",
            0
        );
        match &socket.local {
            Address::Path(path) => {
                text.0.push(b' ');
                text.0.extend_from_slice(path);
            }
            Address::Abstract(name) => {
                text.0.extend_from_slice(b" @");
                let shown = name.iter().map(|&b| if b == 0 { b'@' } else { b });
                text.0.extend(shown);
            }
            _ => {}
        }
        text.0.push(b'\n');
    }
}

/// How many connections are established.
fn established(s: &Subject<'_>) -> usize {
    let inet = |k: &Socket| matches!(k.domain, Domain::Inet | Domain::Inet6);
    let streams = s
        .sockets
        .iter()
        .filter(|(_, k)| k.kind == SocketKind::Stream && inet(k));
    streams
        .filter(|(_, k)| matches!(k.tcp_state(), 1 | 8))
        .count()
}

/// What is counted is how many connections there are; packets are not.
pub(crate) fn snmp(s: &Subject<'_>, out: &mut Vec<u8>) {
    let mut out = Text(out);
    let _ = write!(
        out,
        "Ip: Forwarding DefaultTTL InReceives InHdrErrors InAddrErrors ForwDatagrams InUnknownProtos InDiscards InDelivers OutRequests OutDiscards OutNoRoutes ReasmTimeout ReasmReqds ReasmOKs ReasmFails FragOKs FragFails FragCreates\n\
         Ip: 2 64 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n\
         Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets CurrEstab InSegs OutSegs RetransSegs InErrs OutRsts InCsumErrors\n\
         Tcp: 1 200 120000 -1 0 0 0 0 {} 0 0 0 0 0 0\n\
         Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti MemErrors\n\
         Udp: 0 0 0 0 0 0 0 0 0\n",
        established(s)
    );
}

pub(crate) fn netstat(_: &Subject<'_>, out: &mut Vec<u8>) {
    let _ = write!(
        Text(out),
        "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 0 0 0\nIpExt: InOctets OutOctets\nIpExt: 0 0\n"
    );
}

pub(crate) fn sockstat(s: &Subject<'_>, out: &mut Vec<u8>) {
    let count = |kind, domain| {
        let of = |k: &Socket| k.kind == kind && k.domain == domain;
        s.sockets.iter().filter(|(_, k)| of(k)).count()
    };
    let tcp = count(SocketKind::Stream, Domain::Inet);
    let udp = count(SocketKind::Datagram, Domain::Inet);
    let _ = write!(
        Text(out),
        "sockets: used {}\nTCP: inuse {tcp} orphan 0 tw 0 alloc {tcp} mem 0\nUDP: inuse {udp} mem 0\nUDPLITE: inuse 0\nRAW: inuse 0\nFRAG: inuse 0 memory 0\n",
        s.sockets.len()
    );
}

pub(crate) fn sockstat6(s: &Subject<'_>, out: &mut Vec<u8>) {
    let count = |kind| {
        let of = |k: &Socket| k.kind == kind && k.domain == Domain::Inet6;
        s.sockets.iter().filter(|(_, k)| of(k)).count()
    };
    let (tcp, udp) = (count(SocketKind::Stream), count(SocketKind::Datagram));
    let _ = write!(
        Text(out),
        "TCP6: inuse {tcp}\nUDP6: inuse {udp}\nUDPLITE6: inuse 0\nRAW6: inuse 0\nFRAG6: inuse 0 memory 0\n",
    );
}

/// A file of an interface's directory in /sys/class/net.
fn link(s: &Subject<'_>, out: &mut Vec<u8>, f: impl FnOnce(&Interface) -> String) {
    let name = s.path.split('/').nth(4).unwrap_or_default();
    let all = interfaces::all(s.env);
    if let Some(interface) = all.iter().find(|i| i.name == name) {
        let _ = writeln!(Text(out), "{}", f(interface));
    }
}

fn mac(octets: [u8; 6]) -> String {
    let [a, b, c, d, e, f] = octets;
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}

macro_rules! links {
    ($($name:ident = $f:expr;)*) => {
        $(pub(crate) fn $name(s: &Subject<'_>, out: &mut Vec<u8>) { link(s, out, $f); })*
    };
}

links! {
    link_addr_len = |_| String::from("6");
    link_address = |i| mac(i.mac);
    link_broadcast = |i| mac(if i.is_loopback() { [0; 6] } else { [0xff; 6] });
    link_carrier = |_| String::from("1");
    link_flags = |i| format!("{:#x}", i.flags);
    link_ifindex = |i| format!("{}", i.index);
    link_iflink = |i| format!("{}", i.index);
    link_mtu = |i| format!("{}", i.mtu);
    link_operstate = |i| String::from(if i.is_loopback() { "unknown" } else { "up" });
    link_type = |i| format!("{}", i.kind);
}
