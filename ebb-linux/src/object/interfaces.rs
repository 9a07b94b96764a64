//! The machine's network interfaces as a UC sees them: what netlink, the interface ioctls and /proc/net tell alike.

use alloc::{vec, vec::Vec};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::object::env::Env;

/// `IFF_*`.
pub const UP: u32 = 1;
const BROADCAST: u32 = 2;
const LOOPBACK: u32 = 8;
const RUNNING: u32 = 0x40;
const MULTICAST: u32 = 0x1000;
/// `ARPHRD_*`.
const ARPHRD_ETHER: u16 = 1;
const ARPHRD_LOOPBACK: u16 = 772;

/// The number of the loopback interface.
pub const LO: u32 = 1;
/// The names of those that lead out, whose numbers follow; one for each card.
const CARDS: [&str; 8] = [
    "eth0", "eth1", "eth2", "eth3", "eth4", "eth5", "eth6", "eth7",
];

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: &'static str,
    /// `ARPHRD_*`.
    pub kind: u16,
    /// `IFF_*`.
    pub flags: u32,
    /// The longest IP packet.
    pub mtu: u32,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// Its addresses, with the bits that name its network.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Its routers, and what Linux calls the metric: the default route has the lowest.
    pub gateways: Vec<(IpAddr, u32)>,
}

impl Interface {
    /// The first IPv4 address and its prefix.
    pub fn v4(&self) -> Option<(Ipv4Addr, u8)> {
        self.addresses.iter().find_map(|(ip, length)| match ip {
            IpAddr::V4(ip) => Some((*ip, *length)),
            IpAddr::V6(_) => None,
        })
    }

    /// Whether it leads nowhere but to the machine itself.
    pub fn is_loopback(&self) -> bool {
        self.flags & LOOPBACK != 0
    }
}

/// The mask of a prefix.
pub fn mask(length: u8) -> Ipv4Addr {
    let bits = u32::MAX.checked_shl(32 - u32::from(length.min(32)));
    Ipv4Addr::from_bits(bits.unwrap_or(0))
}

/// The network that an address is in.
pub fn network_of(ip: IpAddr, length: u8) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() & mask(length).to_bits()).into(),
        IpAddr::V6(ip) => {
            let bits = u128::MAX.checked_shl(128 - u32::from(length.min(128)));
            Ipv6Addr::from_bits(ip.to_bits() & bits.unwrap_or(0)).into()
        }
    }
}

/// All interfaces.
pub fn all(env: &dyn Env) -> Vec<Interface> {
    let mut all = vec![Interface {
        index: LO,
        name: "lo",
        kind: ARPHRD_LOOPBACK,
        flags: UP | LOOPBACK | RUNNING,
        mtu: 65_536,
        mac: [0; 6],
        addresses: vec![
            (Ipv4Addr::LOCALHOST.into(), 8),
            (Ipv6Addr::LOCALHOST.into(), 128),
        ],
        gateways: Vec::new(),
    }];
    let Some(network) = env.network() else {
        return all;
    };
    let order = network.gateways();
    for ((name, index), card) in CARDS.iter().zip(LO + 1..).zip(network.cards()) {
        let metric = |router: &IpAddr| {
            let mut of_family = order.iter().filter(|o| o.is_ipv4() == router.is_ipv4());
            100 * of_family.position(|o| o == router).unwrap_or(0) as u32
        };
        all.push(Interface {
            index,
            name,
            kind: ARPHRD_ETHER,
            flags: UP | BROADCAST | RUNNING | MULTICAST,
            mtu: card.mtu,
            mac: card.mac,
            addresses: card.addresses,
            gateways: card.gateways.iter().map(|g| (*g, metric(g))).collect(),
        });
    }
    all
}

/// The number of the interface that has an address; 0 for none in particular.
pub fn index_of(env: &dyn Env, ip: IpAddr) -> Option<u32> {
    if ip.is_unspecified() {
        return Some(0);
    }
    if ip.is_loopback() {
        return Some(LO);
    }
    let has = |i: &Interface| i.addresses.iter().any(|(a, _)| *a == ip);
    all(env).iter().find(|i| has(i)).map(|i| i.index)
}
