//! The guest's network: which kind, which ports are forwarded, and whether they are free.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
};

use crate::failure::Failure;

/// Networks that an image may have.
const MOST: usize = 8;

/// What a virtual network card is connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Net {
    /// QEMU's user networking: the image reaches out, forwarded ports reach in.
    User,
    /// A tap device that exists.
    Tap(Tap),
}

/// A tap device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tap {
    /// The name of the interface.
    pub interface: String,
    /// Queue pairs; more than one needs a `multi_queue` tap device.
    pub queues: u32,
    /// The guest's MAC address; QEMU's default when absent.
    pub mac: Option<String>,
    /// Whether the host's kernel moves the packets.
    pub vhost: bool,
}

impl Net {
    /// Parses a value of `EBB_NET`: what each card is connected to.
    ///
    /// # Errors
    /// What is accepted.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, String> {
        if text == "none" {
            return Ok(Vec::new());
        }
        let all: Vec<Self> = text.split(';').map(Self::parse).collect::<Result<_, _>>()?;
        if all.len() > MOST {
            return Err(format!("at most {MOST} networks"));
        }
        Ok(all)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let wanted = || {
            "none, or user or tap:INTERFACE[,queues=1..64][,mac=52:54:00:x:y:z][,vhost], ; between several"
                .to_string()
        };
        let rest = match text {
            "user" => return Ok(Self::User),
            _ => text.strip_prefix("tap:").ok_or_else(wanted)?,
        };
        let mut words = rest.split(',');
        let interface = words.next().unwrap_or_default();
        let fine = |b: u8| b.is_ascii_graphic() && b != b'/';
        if interface.is_empty() || interface.len() > 15 || !interface.bytes().all(fine) {
            return Err(wanted());
        }
        let mut tap = Tap {
            interface: interface.into(),
            queues: 1,
            mac: None,
            vhost: false,
        };
        for word in words {
            match word.split_once('=').unwrap_or((word, "")) {
                ("vhost", "") => tap.vhost = true,
                ("mac", mac) if is_mac(mac) => tap.mac = Some(mac.into()),
                ("queues", n) => {
                    tap.queues = n
                        .parse()
                        .ok()
                        .filter(|n| (1..=64).contains(n))
                        .ok_or_else(wanted)?;
                }
                _ => return Err(wanted()),
            }
        }
        Ok(Self::Tap(tap))
    }
}

/// Six hexadecimal bytes of a unicast address.
fn is_mac(text: &str) -> bool {
    let bytes: Vec<_> = text
        .split(':')
        .map(|b| {
            (b.len() == 2)
                .then(|| u8::from_str_radix(b, 16).ok())
                .flatten()
        })
        .collect();
    bytes.len() == 6 && bytes.iter().all(Option::is_some) && bytes[0].is_some_and(|b| b & 1 == 0)
}

/// The transport of a forwarded port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// TCP
    Tcp,
    /// UDP
    Udp,
}

/// One forwarded port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The host's address.
    pub address: Ipv4Addr,
    /// The host's port; 0 until [`Forward::reserve`] has picked one.
    pub host: u16,
    /// The image's port.
    pub guest: u16,
}

impl Forward {
    /// Parses a value of `EBB_FORWARD`.
    ///
    /// # Errors
    /// What is accepted.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, String> {
        let wanted = || {
            "[tcp:|udp:][ADDRESS:]HOST:GUEST[,...], such as 8080:80 or udp:5353:53, ADDRESS one of IPv4".to_string()
        };
        let forwards: Vec<Self> = text
            .split(',')
            .map(|item| Self::parse(item.trim()).ok_or_else(wanted))
            .collect::<Result<_, _>>()?;
        for (i, a) in forwards.iter().enumerate() {
            if a.host != 0
                && forwards[..i]
                    .iter()
                    .any(|b| (a.protocol, a.host) == (b.protocol, b.host))
            {
                return Err(format!(
                    "each host port once (port {} is there twice)",
                    a.host
                ));
            }
        }
        Ok(forwards)
    }

    fn parse(item: &str) -> Option<Self> {
        let (protocol, rest) = match item.split_once(':')? {
            ("tcp", rest) => (Protocol::Tcp, rest),
            ("udp", rest) => (Protocol::Udp, rest),
            _ => (Protocol::Tcp, item),
        };
        let (rest, guest) = rest.rsplit_once(':')?;
        let (address, host) = match rest.rsplit_once(':') {
            Some((address, host)) => (address.parse().ok()?, host),
            None => (Ipv4Addr::LOCALHOST, rest),
        };
        let guest = guest.parse().ok().filter(|g| *g != 0)?;
        Some(Self {
            protocol,
            address,
            host: host.parse().ok()?,
            guest,
        })
    }

    /// Makes sure that the host's port is free, and picks one if it is 0.
    ///
    /// # Errors
    /// Says which port is in use (or not allowed) and what to do.
    pub fn reserve(&mut self) -> Result<(), Failure> {
        let at = SocketAddr::new(IpAddr::V4(self.address), self.host);
        let bound = match self.protocol {
            Protocol::Tcp => TcpListener::bind(at).and_then(|s| s.local_addr()),
            Protocol::Udp => UdpSocket::bind(at).and_then(|s| s.local_addr()),
        };
        match bound {
            Ok(local) => {
                self.host = local.port();
                Ok(())
            }
            Err(error) => Err(port_failure(
                &error,
                at,
                &self.protocol.to_string(),
                "EBB_FORWARD",
            )),
        }
    }
}

/// Makes sure that nothing listens on this port of 127.0.0.1.
///
/// # Errors
/// Says which port is in use and which variable asked for it.
pub fn check_tcp_port(port: u16, variable: &str) -> Result<(), Failure> {
    let at = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    TcpListener::bind(at)
        .map(drop)
        .map_err(|error| port_failure(&error, at, "TCP", variable))
}

fn port_failure(error: &io::Error, at: SocketAddr, protocol: &str, variable: &str) -> Failure {
    let port = at.port();
    Failure::unusable(match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "{protocol} port {port} of {} is in use by another program (asked for by {variable}).\n\
             Choose another port; `ss -lnp 'sport = {port}'` shows who has it.",
            at.ip()
        ),
        io::ErrorKind::PermissionDenied => format!(
            "{protocol} port {port} needs root's rights (asked for by {variable}). Choose a port from 1024 up."
        ),
        _ => format!("cannot listen on {protocol} {at} (asked for by {variable}): {error}"),
    })
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forward_has_an_optional_protocol_and_address() {
        let list = Forward::parse_list("8080:80,udp:5353:53, tcp:0.0.0.0:0:443").unwrap();
        let local = Ipv4Addr::LOCALHOST;
        assert_eq!(
            list,
            [
                Forward {
                    protocol: Protocol::Tcp,
                    address: local,
                    host: 8080,
                    guest: 80
                },
                Forward {
                    protocol: Protocol::Udp,
                    address: local,
                    host: 5353,
                    guest: 53
                },
                Forward {
                    protocol: Protocol::Tcp,
                    address: Ipv4Addr::UNSPECIFIED,
                    host: 0,
                    guest: 443
                },
            ]
        );
    }

    #[test]
    fn malformed_forwards_are_refused() {
        for text in [
            "",
            "80",
            ":",
            "80:",
            ":80",
            "80:0",
            "65536:80",
            "80:80,",
            "tcp:80",
            "x:80:80",
            "1:2:3:4",
            "::1:80:80",
        ] {
            assert!(Forward::parse_list(text).is_err(), "{text}");
        }
        assert!(
            Forward::parse_list("80:1,80:2")
                .unwrap_err()
                .contains("port 80")
        );
        assert!(Forward::parse_list("80:1,udp:80:2").is_ok());
        assert!(Forward::parse_list("0:1,0:2").is_ok());
    }

    #[test]
    fn a_port_in_use_is_named_and_a_free_one_is_picked() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let mut forward = Forward::parse_list(&format!("{port}:80")).unwrap()[0];
        let failure = forward.reserve().unwrap_err();
        assert!(
            failure.message.contains(&format!("port {port}"))
                && failure.message.contains("EBB_FORWARD"),
            "{failure}"
        );
        forward.host = 0;
        forward.reserve().unwrap();
        assert!(forward.host != 0 && forward.host != port);
        assert!(
            check_tcp_port(port, "EBB_GDB")
                .unwrap_err()
                .message
                .contains("EBB_GDB")
        );
    }

    #[test]
    fn a_tap_device_has_queues_a_mac_and_vhost() {
        let tap = |text| match Net::parse(text) {
            Ok(Net::Tap(tap)) => tap,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            tap("tap:ebb0"),
            Tap {
                interface: "ebb0".into(),
                queues: 1,
                mac: None,
                vhost: false
            }
        );
        let full = tap("tap:ebb0,queues=4,mac=52:54:00:aa:0B:cc,vhost");
        assert_eq!(
            (full.queues, full.mac.as_deref(), full.vhost),
            (4, Some("52:54:00:aa:0B:cc"), true)
        );
    }

    #[test]
    fn malformed_networks_are_refused() {
        for text in [
            "",
            "tap",
            "tap:",
            "tap:a/b",
            "tap:0123456789abcdef",
            "tap:a,queues=0",
            "tap:a,queues=65",
            "tap:a,queues",
            "tap:a,mac=1",
            "tap:a,mac=53:54:00:00:00:00",
            "tap:a,vhost=on",
            "tap:a,",
            "USER",
            "tap:a,script=x",
        ] {
            assert!(Net::parse(text).is_err(), "{text}");
        }
        for text in ["", "user;", "user;none", ";", &["user"; 9].join(";")] {
            assert!(Net::parse_list(text).is_err(), "{text}");
        }
        assert_eq!(Net::parse_list("none"), Ok(Vec::new()));
        assert_eq!(Net::parse_list("user;user"), Ok(vec![Net::User; 2]));
        let mixed = Net::parse_list("tap:t0,queues=2;user").unwrap();
        assert!(matches!(&mixed[..], [Net::Tap(tap), Net::User] if tap.queues == 2));
    }
}
