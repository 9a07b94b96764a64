//! Socket addresses as guests write them: `sockaddr_un`, `sockaddr_in`, `sockaddr_in6`.

use alloc::{sync::Arc, vec::Vec};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use super::SocketKind;
use crate::abi::errno::{Errno, Result};

/// `AF_UNSPEC`.
pub const AF_UNSPEC: u16 = 0;
/// `AF_UNIX`.
pub const AF_UNIX: u16 = 1;
/// `AF_INET`.
pub const AF_INET: u16 = 2;
/// `AF_INET6`.
pub const AF_INET6: u16 = 10;
/// `AF_NETLINK`.
pub const AF_NETLINK: u16 = 16;
/// The largest address: `struct sockaddr_storage`.
pub const MAX_LEN: usize = 128;
/// What a `sockaddr_in6` has at least: it may be without a scope.
const V6_LEN: usize = 24;
/// The longest `sun_path`.
const PATH_LEN: usize = 108;

/// Where a socket is or another one is to be found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Address {
    /// `AF_UNSPEC`, to a Unix socket: ends the connection of one for datagrams.
    Unspecified,
    /// No address: an unnamed Unix socket, or `AF_UNSPEC`.
    #[default]
    Unnamed,
    /// A path in the file system.
    Path(Arc<[u8]>),
    /// A name outside the file system (Linux' abstract namespace).
    Abstract(Arc<[u8]>),
    /// An internet address.
    Inet(SocketAddr),
    /// A netlink port; 0 is the kernel.
    Netlink(u32),
}

/// A protocol family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// Sockets within the UC.
    Unix,
    /// IPv4.
    Inet,
    /// IPv6, and IPv4 by mapped addresses.
    Inet6,
    /// Questions to the kernel about its network.
    Netlink,
}

impl Domain {
    /// The `AF_*` number.
    pub const fn number(self) -> u16 {
        match self {
            Domain::Unix => AF_UNIX,
            Domain::Inet => AF_INET,
            Domain::Inet6 => AF_INET6,
            Domain::Netlink => AF_NETLINK,
        }
    }

    /// The address of a socket that has none.
    pub(crate) fn unspecified(self) -> Address {
        match self {
            Domain::Unix => Address::Unnamed,
            Domain::Inet => Address::Inet((Ipv4Addr::UNSPECIFIED, 0).into()),
            Domain::Inet6 => Address::Inet((Ipv6Addr::UNSPECIFIED, 0).into()),
            Domain::Netlink => Address::Netlink(0),
        }
    }
}

/// What a call gives an address for, which says what may stand in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// `bind`.
    Name,
    /// `connect`: `AF_UNSPEC` ends a connection.
    Connect,
    /// `sendto` and the like, to which a connection says more.
    Send,
}

impl Address {
    /// From the guest's memory, for a call on a socket of such a kind; `None`: the call takes no notice of it.
    ///
    /// # Errors
    /// `EINVAL` for a wrong length, `EAFNOSUPPORT` for another family; `ENETUNREACH` for IPv4 of a socket that is for IPv6 only.
    pub fn for_call(
        purpose: Purpose,
        (domain, kind, only_v6): (Domain, SocketKind, bool),
        bytes: &[u8],
    ) -> Result<Option<Address>> {
        let family = bytes
            .first_chunk()
            .map(|family| u16::from_le_bytes(*family));
        let datagram = kind == SocketKind::Datagram;
        match (domain, purpose, family) {
            (Domain::Unix, Purpose::Send, _) if bytes.is_empty() => return Ok(None),
            (Domain::Unix, Purpose::Send, _) if kind == SocketKind::SeqPacket => return Ok(None),
            // Not looked at: that there is one is wrong.
            (Domain::Unix, Purpose::Send, _) if !datagram => return Ok(Some(Address::Unspecified)),
            (Domain::Netlink, Purpose::Connect, Some(AF_UNSPEC)) => {
                return Ok(Some(Address::Unspecified));
            }
            (Domain::Unix | Domain::Netlink, ..) => {}
            (_, Purpose::Send, _) if !datagram => return Ok(None),
            (_, Purpose::Connect, Some(AF_UNSPEC)) => return Ok(Some(Address::Unnamed)),
            (Domain::Inet, Purpose::Send, Some(AF_UNSPEC)) => {
                let body = bytes.get(2..).and_then(<[u8]>::first_chunk);
                return Ok(Some(Address::Inet(parse_v4(body.ok_or(Errno::EINVAL)?))));
            }
            (Domain::Inet6, Purpose::Send, Some(AF_UNSPEC)) => return Ok(None),
            (Domain::Inet6, Purpose::Send, Some(AF_INET)) if only_v6 => {
                return Err(Errno::ENETUNREACH);
            }
            (Domain::Inet6, Purpose::Connect, Some(AF_INET)) if datagram && only_v6 => {
                return Err(Errno::EAFNOSUPPORT);
            }
            (Domain::Inet6, Purpose::Connect | Purpose::Send, Some(AF_INET)) if datagram => {
                return Address::parse(Domain::Inet, bytes).map(|v4| Some(v4.mapped()));
            }
            (Domain::Inet6, Purpose::Send, Some(family)) if family != AF_INET6 => {
                return Err(Errno::EINVAL);
            }
            (Domain::Inet6, ..) if bytes.len() < V6_LEN => return Err(Errno::EINVAL),
            (Domain::Inet6, Purpose::Name, Some(AF_UNSPEC)) => return Err(Errno::EAFNOSUPPORT),
            (Domain::Inet, Purpose::Name, Some(AF_UNSPEC)) => {
                // Taken for `AF_INET`, as long as the address is any.
                let body = bytes.get(2..).and_then(<[u8]>::first_chunk);
                let at = parse_v4(body.ok_or(Errno::EINVAL)?);
                return match at.ip().is_unspecified() {
                    true => Ok(Some(Address::Inet(at))),
                    false => Err(Errno::EAFNOSUPPORT),
                };
            }
            _ => {}
        }
        Address::parse(domain, bytes).map(Some)
    }

    /// An IPv4 address as a socket for IPv6 has it.
    fn mapped(self) -> Address {
        match self {
            Address::Inet(SocketAddr::V4(at)) => {
                Address::Inet((at.ip().to_ipv6_mapped(), at.port()).into())
            }
            other => other,
        }
    }

    /// From the guest's memory, for a socket of `domain`.
    ///
    /// # Errors
    /// `EINVAL` for a wrong length, `EAFNOSUPPORT` for another family.
    pub fn parse(domain: Domain, bytes: &[u8]) -> Result<Address> {
        let (family, rest) = bytes.split_first_chunk::<2>().ok_or(Errno::EINVAL)?;
        let family = u16::from_le_bytes(*family);
        match domain {
            Domain::Unix => {
                if family == AF_UNSPEC {
                    return Ok(Address::Unspecified);
                }
                if family != AF_UNIX || rest.len() > PATH_LEN {
                    return Err(Errno::EINVAL);
                }
                Ok(match rest {
                    [] => Address::Unnamed,
                    [0, name @ ..] => Address::Abstract(name.into()),
                    path => {
                        let end = path.iter().position(|&b| b == 0).unwrap_or(path.len());
                        Address::Path(path[..end].into())
                    }
                })
            }
            Domain::Inet => {
                let Some(body) = rest.first_chunk::<14>() else {
                    return Err(Errno::EINVAL);
                };
                match family {
                    AF_INET => Ok(Address::Inet(parse_v4(body))),
                    AF_UNSPEC => Ok(Address::Unnamed),
                    _ => Err(Errno::EAFNOSUPPORT),
                }
            }
            Domain::Inet6 => match family {
                AF_INET6 => {
                    let Some(body) = rest.first_chunk::<22>() else {
                        return Err(Errno::EINVAL);
                    };
                    let scope = rest.get(22..26).and_then(|s| s.try_into().ok());
                    Ok(Address::Inet(parse_v6(
                        body,
                        scope.map_or(0, u32::from_le_bytes),
                    )))
                }
                AF_UNSPEC => Ok(Address::Unnamed),
                _ => Err(Errno::EAFNOSUPPORT),
            },
            Domain::Netlink => match (family, rest.get(2..6)) {
                (AF_NETLINK, Some(&[a, b, c, d])) => {
                    Ok(Address::Netlink(u32::from_le_bytes([a, b, c, d])))
                }
                _ => Err(Errno::EINVAL),
            },
        }
    }

    /// As it lies in the guest's memory, for a socket of `domain`.
    pub fn to_bytes(&self, domain: Domain) -> Vec<u8> {
        let mut out = Vec::from(domain.number().to_le_bytes());
        match self {
            Address::Unspecified => {}
            Address::Unnamed if domain == Domain::Unix => {}
            Address::Unnamed => return domain.unspecified().to_bytes(domain),
            Address::Path(path) => {
                out.extend_from_slice(path);
                if path.len() < PATH_LEN {
                    out.push(0);
                }
            }
            Address::Abstract(name) => {
                out.push(0);
                out.extend_from_slice(name);
            }
            // Padding before, groups behind.
            Address::Netlink(port) => {
                out.extend_from_slice(&[0; 2]);
                out.extend_from_slice(&port.to_le_bytes());
                out.extend_from_slice(&[0; 4]);
            }
            Address::Inet(address) => {
                out.extend_from_slice(&address.port().to_be_bytes());
                match (domain, address.ip()) {
                    (Domain::Inet6, ip) => {
                        let (flow, scope) = match address {
                            SocketAddr::V6(a) => (a.flowinfo(), a.scope_id()),
                            SocketAddr::V4(_) => (0, 0),
                        };
                        let ip = match ip {
                            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                            IpAddr::V6(ip) => ip,
                        };
                        out.extend_from_slice(&flow.to_be_bytes());
                        out.extend_from_slice(&ip.octets());
                        out.extend_from_slice(&scope.to_le_bytes());
                    }
                    (_, ip) => {
                        let ip = match ip.to_canonical() {
                            IpAddr::V4(ip) => ip,
                            IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
                        };
                        out.extend_from_slice(&ip.octets());
                        out.extend_from_slice(&[0; 8]);
                    }
                }
            }
        }
        out
    }
}

fn parse_v4(body: &[u8; 14]) -> SocketAddr {
    let [p, q, a, b, c, d, ..] = *body;
    SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([p, q])).into()
}

fn parse_v6(body: &[u8; 22], scope: u32) -> SocketAddr {
    let [p, q, f, g, h, i, ip @ ..] = *body;
    let (port, flow) = (u16::from_be_bytes([p, q]), u32::from_be_bytes([f, g, h, i]));
    SocketAddrV6::new(Ipv6Addr::from(ip), port, flow, scope).into()
}

/// An address as the stack below sees it: mapped IPv4 addresses are IPv4.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Whether a packet to this address stays within the UC.
pub(crate) fn is_loopback(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    ip.is_loopback() || ip.is_unspecified()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_way_to_the_guest_and_back() {
        for (domain, address) in [
            (Domain::Inet, Address::Inet("10.1.2.3:80".parse().unwrap())),
            (
                Domain::Inet6,
                Address::Inet("[fe80::1]:65535".parse().unwrap()),
            ),
            (Domain::Unix, Address::Path(b"/run/x".as_slice().into())),
            (Domain::Unix, Address::Abstract(b"a\0b".as_slice().into())),
            (Domain::Unix, Address::Unnamed),
        ] {
            assert_eq!(
                Address::parse(domain, &address.to_bytes(domain)),
                Ok(address)
            );
        }
    }

    #[test]
    fn short_long_and_foreign_addresses_are_errors() {
        assert_eq!(Address::parse(Domain::Inet, &[2, 0, 0]), Err(Errno::EINVAL));
        assert_eq!(
            Address::parse(Domain::Inet, &[10; 16]),
            Err(Errno::EAFNOSUPPORT)
        );
        assert_eq!(
            Address::parse(Domain::Inet6, &[2; 28]),
            Err(Errno::EAFNOSUPPORT)
        );
        assert_eq!(Address::parse(Domain::Unix, &[1]), Err(Errno::EINVAL));
        assert_eq!(Address::parse(Domain::Unix, &[1; 111]), Err(Errno::EINVAL));
    }
}
