//! The slow path: what is not TCP or UDP in one piece, on one core, through smoltcp's interface.
//!
//! smoltcp answers ARP, neighbour solicitations and echo requests, reassembles fragments, and speaks DHCPv4 and SLAAC.
//! Here are the questions for neighbours, the options, and the way between it and the rest. A malformed frame is dropped by
//! smoltcp; what it holds is bounded by its compile-time limits.

use alloc::{boxed::Box, collections::VecDeque, format, string::String, vec, vec::Vec};
use core::{
    fmt::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use smoltcp::{
    iface::{Config, Interface, SocketHandle, SocketSet},
    phy::{self, ChecksumCapabilities, DeviceCapabilities, Medium},
    socket::{dhcpv4, raw},
    time::Instant,
    wire::{
        ArpOperation, ArpPacket, ArpRepr, DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress,
        EthernetFrame, EthernetProtocol, EthernetRepr, HardwareAddress, Icmpv6Packet, Icmpv6Repr,
        IpCidr, IpProtocol, IpVersion, Ipv4Packet, Ipv6Packet, Ipv6Repr, NdiscRepr, UdpPacket,
    },
};

use crate::{
    address::Address,
    icmp,
    link::Frame,
    shared::{Message, Protocol, Routes, Shared, Undelivered, same_prefix},
    time::{NEVER_NS, SECOND_NS},
    wire::{ETHERNET, IPV4, Ip, Mac, Path, UDP},
};
use ebb_net::Configuration;

/// Without an answer after this long, it is said, and the fallback is used.
const DHCP_PATIENCE_NS: u64 = 10 * SECOND_NS;
/// How long a router may take to announce IPv6 addresses (RFC 4861, 6.3.7: three solicitations, here one).
const ROUTER_PATIENCE_NS: u64 = 2 * SECOND_NS;
/// Between two questions for a neighbour, and how many there are.
const ASK_AGAIN_NS: u64 = SECOND_NS;
const ASK_TIMES: u8 = 4;
/// Frames that wait for smoltcp, and packets that it may reassemble at once.
const MAX_FRAMES: usize = 256;
const MAX_REASSEMBLED: usize = 8;

/// A device of two queues.
struct Queues {
    input: VecDeque<Vec<u8>>,
    output: Vec<Vec<u8>>,
    mtu: usize,
}

struct Received(Vec<u8>);
struct Sending<'a>(&'a mut Vec<Vec<u8>>);

impl phy::RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl phy::TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        let mut frame = vec![0; length];
        let result = f(&mut frame);
        self.0.push(frame);
        result
    }
}

impl phy::Device for Queues {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, Sending<'_>)> {
        let frame = self.input.pop_front()?;
        Some((Received(frame), Sending(&mut self.output)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sending<'_>> {
        (self.output.len() < MAX_FRAMES).then_some(Sending(&mut self.output))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = self.mtu + ETHERNET;
        capabilities.max_burst_size = Some(1);
        capabilities
    }
}

struct Question {
    ip: Ip,
    at: u64,
    times: u8,
}

/// See the module.
pub struct Control {
    /// The number of its card.
    card: u8,
    interface: Box<Interface>,
    sockets: SocketSet<'static>,
    dhcp: Option<SocketHandle>,
    reassembled: Vec<SocketHandle>,
    device: Queues,
    mac: Mac,
    address: Address,
    leased: Option<Lease>,
    patience_ns: u64,
    questions: Vec<Question>,
    /// Groups that smoltcp was told to hear.
    groups: Vec<Ip>,
    /// The number of the DHCP exchange that is under way.
    exchange: u32,
    /// Until when a router's announcement is waited for.
    routers_until_ns: u64,
    published: Option<Configuration>,
    notices: Vec<String>,
}

#[derive(Clone, Debug)]
struct Lease {
    address: (IpAddr, u8),
    gateway: Option<IpAddr>,
    dns: Vec<IpAddr>,
}

fn instant(now_ns: u64) -> Instant {
    Instant::from_micros((now_ns / 1000) as i64)
}

fn packets() -> raw::PacketBuffer<'static> {
    raw::PacketBuffer::new(
        vec![raw::PacketMetadata::EMPTY; MAX_REASSEMBLED],
        vec![0; 128 << 10],
    )
}

impl Control {
    /// Starts configuring.
    pub fn new(
        card: u8,
        (mac, mtu): (Mac, usize),
        address: Address,
        seed: u64,
        now_ns: u64,
    ) -> Self {
        let mut device = Queues {
            input: VecDeque::new(),
            output: Vec::new(),
            mtu,
        };
        // A device with a group address would make smoltcp panic.
        let mac_usable = if mac[0] & 1 == 1 {
            [mac[0] & !1, mac[1], mac[2], mac[3], mac[4], mac[5]]
        } else {
            mac
        };
        let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(mac_usable)));
        config.random_seed = seed;
        config.slaac = true;
        let mut interface = Box::new(Interface::new(config, &mut device, instant(now_ns)));
        interface.update_ip_addrs(|all| {
            let _ = all.push(IpCidr::new(link_local(mac_usable).into(), 64));
        });
        let mut sockets = SocketSet::new(Vec::new());
        let dhcp = address.dhcp.then(|| sockets.add(dhcpv4::Socket::new()));
        // Whole TCP and UDP packets never come here, so these get only what was in fragments.
        let reassembled = [
            (IpVersion::Ipv4, IpProtocol::Udp),
            (IpVersion::Ipv4, IpProtocol::Tcp),
        ]
        .into_iter()
        .map(|(version, protocol)| {
            let none = raw::PacketBuffer::new(Vec::new(), Vec::new());
            sockets.add(raw::Socket::new(
                Some(version),
                Some(protocol),
                packets(),
                none,
            ))
        })
        .collect();
        let mut this = Self {
            card,
            interface,
            sockets,
            dhcp,
            reassembled,
            device,
            mac: mac_usable,
            address,
            leased: None,
            patience_ns: now_ns + DHCP_PATIENCE_NS,
            questions: Vec::new(),
            groups: Vec::new(),
            exchange: 0,
            routers_until_ns: now_ns + ROUTER_PATIENCE_NS,
            published: None,
            notices: Vec::new(),
        };
        if !this.address.dhcp {
            this.use_fixed();
        }
        this
    }

    fn use_fixed(&mut self) {
        if let Some(address) = self.address.fixed {
            self.leased = Some(Lease {
                address,
                gateway: self.address.gateway,
                dns: self.address.gateway.into_iter().collect(),
            });
            self.apply();
        }
    }

    /// Tells smoltcp of the address.
    fn apply(&mut self) {
        let keep = |cidr: &IpCidr| matches!(cidr, IpCidr::Ipv6(_));
        let lease = self.leased.clone();
        self.interface.update_ip_addrs(|all| {
            all.retain(keep);
            if let Some(lease) = &lease {
                let cidr = IpCidr::new(lease.address.0.into(), lease.address.1);
                if !all.contains(&cidr) {
                    let _ = all.push(cidr);
                }
            }
        });
        let routes = self.interface.routes_mut();
        routes.remove_default_ipv4_route();
        match lease.and_then(|l| l.gateway) {
            Some(IpAddr::V4(gateway)) => {
                let _ = routes.add_default_ipv4_route(gateway);
            }
            Some(IpAddr::V6(gateway)) => {
                let _ = routes.add_default_ipv6_route(gateway);
            }
            None => {}
        }
    }

    /// Takes a frame for the slow path.
    pub fn input(&mut self, frame: &[u8], shared: &Shared, now_ns: u64) {
        self.learn(frame, shared, now_ns);
        if let Some(what) = icmp::parse(frame, shared, now_ns) {
            Self::tell(shared, what);
            return;
        }
        if self.is_refusal(frame)
            && let Some(handle) = self.dhcp
        {
            self.sockets.get_mut::<dhcpv4::Socket<'_>>(handle).reset();
        }
        if self.device.input.len() < MAX_FRAMES {
            self.device.input.push_back(frame.to_vec());
        }
    }

    /// Lets the cores know of something that was not delivered which may have sent it.
    fn tell(shared: &Shared, what: Undelivered) {
        let one = match what.protocol {
            Protocol::Tcp if shared.cores > 1 => shared.owner(&what.key).map(|core| 1 << core),
            Protocol::Tcp => Some(1),
            Protocol::Udp => Some(shared.cores_of(Protocol::Udp, what.key.local_port)),
        };
        let cores: u64 = one.unwrap_or(0);
        for core in (0..shared.cores).filter(|core| cores >> core & 1 == 1) {
            shared.tell(core, Message::Undelivered(Box::new(what.clone())));
        }
    }

    /// Whether a DHCP server refuses what was asked for without saying who it is, as that of QEMU's user network does
    /// (libslirp 4.7). smoltcp ignores such a message, and would ask for the same for minutes.
    fn is_refusal(&self, frame: &[u8]) -> bool {
        let read = || {
            let ethernet = EthernetFrame::new_checked(frame).ok()?;
            let ip = Ipv4Packet::new_checked(ethernet.payload()).ok()?;
            let udp = UdpPacket::new_checked(ip.payload()).ok()?;
            let packet = DhcpPacket::new_checked(udp.payload()).ok()?;
            let is_ours = ethernet.ethertype() == EthernetProtocol::Ipv4
                && (udp.src_port(), udp.dst_port()) == (67, 68)
                && packet.transaction_id() == self.exchange;
            let repr = DhcpRepr::parse(&packet).ok().filter(|_| is_ours)?;
            let is_refusal = repr.message_type == DhcpMessageType::Nak
                && repr.server_identifier.is_none()
                && repr.client_hardware_address.0 == self.mac;
            Some(is_refusal)
        };
        read().unwrap_or(false)
    }

    /// Notes the number of the exchange in which a DHCP message leaves.
    fn note_exchange(&mut self) {
        for frame in &self.device.output {
            let at = ETHERNET + IPV4 + UDP;
            if frame.len() > at + 8
                && frame[12..14] == [0x08, 0x00]
                && frame[ETHERNET + IPV4..][..4] == [0, 68, 0, 67]
            {
                let number = [frame[at + 4], frame[at + 5], frame[at + 6], frame[at + 7]];
                self.exchange = u32::from_be_bytes(number);
            }
        }
    }

    /// Hears the groups that sockets hear.
    fn follow_groups(&mut self, shared: &Shared) {
        let wanted = shared.groups();
        if wanted == self.groups {
            return;
        }
        for gone in self.groups.iter().filter(|g| !wanted.contains(g)) {
            let _ = self.interface.leave_multicast_group(IpAddr::from(*gone));
        }
        for new in wanted.iter().filter(|g| !self.groups.contains(g)) {
            // There is room for as many as `Shared` takes.
            let _ = self.interface.join_multicast_group(IpAddr::from(*new));
        }
        self.groups = wanted;
    }

    /// Sees who is where.
    fn learn(&self, frame: &[u8], shared: &Shared, now_ns: u64) {
        let Ok(ethernet) = EthernetFrame::new_checked(frame) else {
            return;
        };
        match ethernet.ethertype() {
            EthernetProtocol::Arp => {
                let Ok(packet) = ArpPacket::new_checked(ethernet.payload()) else {
                    return;
                };
                let Ok(ArpRepr::EthernetIpv4 {
                    source_hardware_addr,
                    source_protocol_addr,
                    target_protocol_addr,
                    ..
                }) = ArpRepr::parse(&packet)
                else {
                    return;
                };
                let routes = shared.routes();
                let source = Ip::from(IpAddr::from(source_protocol_addr));
                if routes.is_local(Ip::from(IpAddr::from(target_protocol_addr)))
                    && is_near(&routes, source, self.card)
                {
                    shared.learn(self.card, source, source_hardware_addr.0, now_ns);
                }
            }
            EthernetProtocol::Ipv6 => {
                let Ok(packet) = Ipv6Packet::new_checked(ethernet.payload()) else {
                    return;
                };
                if packet.next_header() != IpProtocol::Icmpv6 || packet.hop_limit() != 255 {
                    return;
                }
                let source = packet.src_addr();
                let Ok(icmp) = Icmpv6Packet::new_checked(packet.payload()) else {
                    return;
                };
                let checks = ChecksumCapabilities::default();
                let parsed = Icmpv6Repr::parse(&source, &packet.dst_addr(), &icmp, &checks);
                let Ok(Icmpv6Repr::Ndisc(ndisc)) = parsed else {
                    return;
                };
                let (ip, hardware) = match ndisc {
                    NdiscRepr::NeighborAdvert {
                        target_addr,
                        lladdr,
                        ..
                    } => (target_addr, lladdr),
                    NdiscRepr::NeighborSolicit { lladdr, .. }
                    | NdiscRepr::RouterAdvert { lladdr, .. } => (source, lladdr),
                    _ => return,
                };
                let mac = match hardware.map(|h| h.parse(Medium::Ethernet)) {
                    Some(Ok(HardwareAddress::Ethernet(mac))) => mac,
                    _ => ethernet.src_addr(),
                };
                shared.learn(self.card, Ip::from(IpAddr::from(ip)), mac.0, now_ns);
            }
            _ => {}
        }
    }

    /// Does what is to be done now. Gives the frames to send and the packets that were reassembled.
    pub fn poll(&mut self, shared: &Shared, now_ns: u64) -> (Vec<Vec<u8>>, Vec<Frame>) {
        let time = instant(now_ns);
        self.follow_groups(shared);
        self.interface
            .poll(time, &mut self.device, &mut self.sockets);
        self.interface.poll_maintenance(time);
        self.poll_dhcp(now_ns);
        self.ask(shared, now_ns);
        let mut frames = Vec::new();
        for handle in &self.reassembled {
            let socket = self.sockets.get_mut::<raw::Socket<'_>>(*handle);
            while let Ok(packet) = socket.recv() {
                let mut frame = vec![0; ETHERNET + packet.len()];
                // Not from this machine itself, and no more is known.
                frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 0]);
                frame[12..14].copy_from_slice(&[0x08, 0x00]);
                frame[ETHERNET..].copy_from_slice(packet);
                let mut frame = Frame::new(frame.into_boxed_slice(), false);
                frame.card = self.card;
                frames.push(frame);
            }
        }
        self.note_exchange();
        self.publish(shared, now_ns);
        (core::mem::take(&mut self.device.output), frames)
    }

    /// What people should know, one line each.
    pub fn take_notices(&mut self) -> Vec<String> {
        core::mem::take(&mut self.notices)
    }

    /// When [`poll`](Self::poll) is to be called.
    pub fn next_deadline_ns(&mut self, now_ns: u64) -> u64 {
        let smoltcp = self
            .interface
            .poll_at(instant(now_ns), &self.sockets)
            .map_or(NEVER_NS, |at| {
                (at.total_micros().max(0) as u64)
                    .saturating_mul(1000)
                    .max(now_ns + 1_000_000)
            });
        let questions = self
            .questions
            .iter()
            .map(|q| q.at)
            .min()
            .unwrap_or(NEVER_NS);
        let patience_ns = if self.leased.is_none() && self.dhcp.is_some() {
            self.patience_ns
        } else {
            NEVER_NS
        };
        let routers_ns = match &self.published {
            Some(known) if known.settled_v6 => NEVER_NS,
            _ => self.routers_until_ns,
        };
        smoltcp.min(questions).min(patience_ns).min(routers_ns)
    }

    fn poll_dhcp(&mut self, now_ns: u64) {
        let Some(handle) = self.dhcp else { return };
        match self.sockets.get_mut::<dhcpv4::Socket<'_>>(handle).poll() {
            Some(dhcpv4::Event::Configured(config)) => {
                self.leased = Some(Lease {
                    address: (config.address.address().into(), config.address.prefix_len()),
                    gateway: config.router.map(IpAddr::from),
                    dns: config
                        .dns_servers
                        .iter()
                        .map(|d| IpAddr::from(*d))
                        .collect(),
                });
                self.apply();
            }
            Some(dhcpv4::Event::Deconfigured) if self.leased.is_some() => {
                self.notices
                    .push("the DHCP lease of the network address has ended; asking again".into());
                self.leased = None;
                self.patience_ns = now_ns + DHCP_PATIENCE_NS;
                self.apply();
            }
            _ => {}
        }
        if self.leased.is_none() && now_ns >= self.patience_ns {
            self.patience_ns = NEVER_NS;
            match self.address.fixed {
                Some((ip, length)) => self.notices.push(format!(
                    "no DHCP server answers; using {ip}/{length}, and asking on"
                )),
                None => self.notices.push(
                    "no DHCP server answers, so there is no IPv4 address yet; asking on. The option \
                     ip=ADDRESS/LENGTH,GATEWAY sets one, ip=dhcp,ADDRESS/LENGTH,GATEWAY a fallback"
                        .into(),
                ),
            }
            self.use_fixed();
        }
    }

    /// Asks for neighbours that are wanted.
    fn ask(&mut self, shared: &Shared, now_ns: u64) {
        let wanted: Vec<Ip> = {
            let all = shared.wanted.lock();
            let own = all.iter().filter(|(card, _)| *card == self.card);
            own.map(|(_, ip)| *ip).collect()
        };
        self.questions.retain(|q| wanted.contains(&q.ip));
        for ip in wanted {
            if !self.questions.iter().any(|q| q.ip == ip) {
                self.questions.push(Question {
                    ip,
                    at: now_ns,
                    times: 0,
                });
            }
        }
        let routes = shared.routes();
        let mut given_up = Vec::new();
        for question in &mut self.questions {
            if question.at > now_ns {
                continue;
            }
            if question.times >= ASK_TIMES {
                given_up.push(question.ip);
                continue;
            }
            question.times += 1;
            question.at = now_ns + ASK_AGAIN_NS;
            if let Some(frame) = request((self.card, self.mac), &routes, question.ip) {
                self.device.output.push(frame);
            }
        }
        if !given_up.is_empty() {
            let is_given_up = |(card, ip): &(u8, Ip)| *card == self.card && given_up.contains(ip);
            shared.wanted.lock().retain(|w| !is_given_up(w));
            self.questions.retain(|q| !given_up.contains(&q.ip));
        }
    }

    /// Tells everybody of a new configuration.
    fn publish(&mut self, shared: &Shared, now_ns: u64) {
        let addresses: Vec<(IpAddr, u8)> = self
            .interface
            .ip_addrs()
            .iter()
            .map(|cidr| (cidr.address().into(), cidr.prefix_len()))
            .collect();
        let known = self.published.as_ref();
        let lease = self.leased.as_ref();
        let v6_router = self.interface.routes().get_default_ipv6_route();
        let gateways: Vec<IpAddr> = lease
            .and_then(|l| l.gateway)
            .into_iter()
            .chain(v6_router.map(|r| r.via_router.into()))
            .collect();
        let dns_servers = lease.map(|l| l.dns.clone()).unwrap_or_default();
        // With the patience has ended the asking; what comes later changes the configuration as it comes.
        let settled_v4 = self.dhcp.is_none() || lease.is_some() || self.patience_ns == NEVER_NS;
        let beyond_the_link =
            |ip: &IpAddr| matches!(ip, IpAddr::V6(ip) if !ip.is_unicast_link_local());
        let settled_v6 =
            now_ns >= self.routers_until_ns || addresses.iter().any(|(ip, _)| beyond_the_link(ip));
        if known.is_some_and(|k| {
            k.addresses == addresses
                && k.gateways == gateways
                && k.dns_servers == dns_servers
                && (k.settled_v4, k.settled_v6) == (settled_v4, settled_v6)
        }) {
            return;
        }
        let configuration = Configuration {
            addresses,
            gateways,
            dns_servers,
            hardware_address: Some(self.mac),
            mtu: self.device.mtu,
            settled_v4,
            settled_v6,
            cards: Vec::new(),
        };
        let had = known.map_or(0, |k| k.addresses.len());
        if configuration.addresses.len() > had.max(1) {
            let mut text = String::from("network address");
            for (ip, length) in &configuration.addresses {
                if !matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local()) {
                    let _ = write!(text, " {ip}/{length}");
                }
            }
            self.notices.push(text);
        }
        self.published = Some(configuration.clone());
        shared.configure(self.card, configuration);
    }
}

/// Whether an address is on the link of a card.
fn is_near(routes: &Routes, ip: Ip, card: u8) -> bool {
    let own = routes.addresses.iter();
    let mut of_card = own.filter(|(.., of)| *of == card);
    of_card.any(|(a, length, _)| same_prefix(*a, ip, *length))
}

/// The interface's own address on its link (RFC 4291, appendix A).
fn link_local(mac: Mac) -> Ipv6Addr {
    let mut bytes = [0; 16];
    bytes[..2].copy_from_slice(&[0xfe, 0x80]);
    bytes[8..].copy_from_slice(&[
        mac[0] ^ 2,
        mac[1],
        mac[2],
        0xff,
        0xfe,
        mac[3],
        mac[4],
        mac[5],
    ]);
    bytes.into()
}

/// The question where an address is: ARP or a neighbour solicitation.
fn request((card, mac): (u8, Mac), routes: &Routes, ip: Ip) -> Option<Vec<u8>> {
    let of_card = || routes.addresses.iter().filter(|(.., of)| *of == card);
    let (source, ..) = *of_card()
        .find(|(a, length, _)| same_prefix(*a, ip, *length))
        .or_else(|| of_card().find(|(a, ..)| a.is_v4() == ip.is_v4()))?;
    match (IpAddr::from(source), IpAddr::from(ip)) {
        (IpAddr::V4(source), IpAddr::V4(target)) => Some(arp(mac, source, target)),
        (IpAddr::V6(source), IpAddr::V6(target)) => Some(solicit(mac, source, target)),
        _ => None,
    }
}

pub(super) fn arp(mac: Mac, source: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let arp = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: EthernetAddress(mac),
        source_protocol_addr: source,
        target_hardware_addr: EthernetAddress([0; 6]),
        target_protocol_addr: target,
    };
    let ethernet = EthernetRepr {
        src_addr: EthernetAddress(mac),
        dst_addr: EthernetAddress::BROADCAST,
        ethertype: EthernetProtocol::Arp,
    };
    let mut bytes = vec![0; ETHERNET + arp.buffer_len()];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes[..]);
    ethernet.emit(&mut frame);
    arp.emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
    bytes
}

fn solicit(mac: Mac, source: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    let [.., a, b, c] = target.octets();
    let group = Ipv6Addr::new(
        0xff02,
        0,
        0,
        0,
        0,
        1,
        0xff00 | u16::from(a),
        u16::from_be_bytes([b, c]),
    );
    let icmp = Icmpv6Repr::Ndisc(NdiscRepr::NeighborSolicit {
        target_addr: target,
        lladdr: Some(EthernetAddress(mac).into()),
    });
    let ip = Ipv6Repr {
        src_addr: source,
        dst_addr: group,
        next_header: IpProtocol::Icmpv6,
        payload_len: icmp.buffer_len(),
        hop_limit: 255,
    };
    let path = Path {
        source_mac: mac,
        target_mac: [0x33, 0x33, 0xff, a, b, c],
        source: Ip::from(IpAddr::from(source)),
        target: Ip::from(IpAddr::from(group)),
        loopback: false,
        card: 0,
    };
    let mut bytes = vec![0; ETHERNET + ip.buffer_len() + icmp.buffer_len()];
    path.write(&mut bytes, 58, icmp.buffer_len());
    ip.emit(&mut Ipv6Packet::new_unchecked(&mut bytes[ETHERNET..]));
    let at = ETHERNET + ip.buffer_len();
    icmp.emit(
        &source,
        &group,
        &mut Icmpv6Packet::new_unchecked(&mut bytes[at..]),
        &ChecksumCapabilities::default(),
    );
    bytes
}
