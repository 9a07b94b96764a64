//! The files of /proc/net: the interfaces and routes that netlink and the ioctls tell of.

use alloc::vec::Vec;
use core::{fmt::Write, net::IpAddr};

use super::text::{Subject, Text};
use crate::object::interfaces::{self, Interface, mask, network_of};

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

pub(crate) fn route(s: &Subject<'_>, out: &mut Vec<u8>) {
    let mut out = Text(out);
    let head =
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT";
    let _ = writeln!(out, "{head:<127}");
    let all = interfaces::all(s.env);
    let Some(outside) = all.iter().find(|i| !i.is_loopback()) else {
        return;
    };
    // Up, and by a router.
    let gateways = s.env.network().map(|n| n.gateways()).unwrap_or_default();
    for router in gateways {
        if let IpAddr::V4(router) = router {
            line(&mut out, outside, 0, word(router.octets()), 3, 0);
        }
    }
    for &(ip, length) in &outside.addresses {
        if let IpAddr::V4(net) = network_of(ip, length) {
            let mask = word(mask(length).octets());
            line(&mut out, outside, word(net.octets()), 0, 1, mask);
        }
    }
}

/// As the kernel prints it: the word that lies in memory.
fn word(octets: [u8; 4]) -> u32 {
    u32::from_le_bytes(octets)
}

fn line(out: &mut Text<'_>, interface: &Interface, to: u32, router: u32, flags: u32, mask: u32) {
    let name = interface.name;
    let text =
        alloc::format!("{name}\t{to:08X}\t{router:08X}\t{flags:04X}\t0\t0\t0\t{mask:08X}\t0\t0\t0");
    let _ = writeln!(out, "{text:<127}");
}
