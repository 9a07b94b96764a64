//! The slow path: addresses, groups.

use super::*;
use crate::{address::Address, control::Control};
use ::smoltcp::wire::{
    DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress, Ipv4Packet, UdpPacket,
};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
const OFFERED: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);

struct Bench {
    control: Control,
    shared: Arc<Shared>,
    now_ns: u64,
    sent: Vec<Vec<u8>>,
}

impl Bench {
    fn new(address: &str) -> Self {
        let (sender, receiver) = ebb::sync::queue::queue(256);
        core::mem::forget(receiver);
        let address = Address::parse(address).unwrap();
        let mut this = Self {
            control: Control::new(0, (MAC, 1500), address, 4, SECOND_NS),
            shared: Arc::new(Shared::new(Secret(1, 2), vec![sender])),
            now_ns: SECOND_NS,
            sent: Vec::new(),
        };
        this.poll();
        this
    }

    fn poll(&mut self) {
        let (frames, _) = self.control.poll(&self.shared, self.now_ns);
        self.sent.extend(frames);
    }

    fn wait(&mut self, time_ns: u64) {
        let end_ns = self.now_ns + time_ns;
        loop {
            self.poll();
            let next_ns = self.control.next_deadline_ns(self.now_ns);
            if next_ns > end_ns {
                break;
            }
            self.now_ns = next_ns.max(self.now_ns + 1);
        }
        self.now_ns = end_ns;
    }

    /// The kinds and the number of the DHCP messages that were sent since the last time.
    fn asked(&mut self) -> (Vec<DhcpMessageType>, u32) {
        let mut kinds = Vec::new();
        let mut number = 0;
        for frame in self.sent.drain(..) {
            let Ok(ip) = Ipv4Packet::new_checked(&frame[wire::ETHERNET..]) else {
                continue;
            };
            let Ok(udp) = UdpPacket::new_checked(ip.payload()) else {
                continue;
            };
            if udp.dst_port() == 67 {
                let packet = DhcpPacket::new_checked(udp.payload()).unwrap();
                kinds.push(DhcpRepr::parse(&packet).unwrap().message_type);
                number = packet.transaction_id();
            }
        }
        (kinds, number)
    }

    fn answer(&mut self, number: u32, kind: DhcpMessageType, server: Option<Ipv4Addr>) {
        let your_ip = match kind {
            DhcpMessageType::Nak => Ipv4Addr::BROADCAST,
            _ => OFFERED,
        };
        let repr = DhcpRepr {
            message_type: kind,
            transaction_id: number,
            secs: 0,
            client_hardware_address: EthernetAddress(MAC),
            client_ip: Ipv4Addr::UNSPECIFIED,
            your_ip,
            server_ip: SERVER,
            router: Some(SERVER),
            subnet_mask: Some(Ipv4Addr::new(255, 255, 255, 0)),
            relay_agent_ip: Ipv4Addr::UNSPECIFIED,
            broadcast: false,
            requested_ip: None,
            client_identifier: None,
            server_identifier: server,
            parameter_request_list: None,
            dns_servers: None,
            max_size: None,
            renew_duration: None,
            rebind_duration: None,
            lease_duration: Some(3600),
            additional_options: &[],
        };
        let mut message = vec![0; repr.buffer_len()];
        repr.emit(&mut DhcpPacket::new_unchecked(&mut message[..]))
            .unwrap();
        let path = wire::Path {
            source_mac: [2, 0, 0, 0, 0, 2],
            target_mac: MAC,
            source: SERVER.into_ip(),
            target: Ipv4Addr::BROADCAST.into_ip(),
            loopback: false,
            card: 0,
        };
        let length = wire::UDP + message.len();
        let mut frame = vec![0; path.headers()];
        path.write(&mut frame, wire::PROTOCOL_UDP, length);
        frame.extend_from_slice(&[0, 67, 0, 68]);
        frame.extend_from_slice(&(length as u16).to_be_bytes());
        frame.extend_from_slice(&[0, 0]);
        frame.extend_from_slice(&message);
        self.control.input(&frame, &self.shared, self.now_ns);
        self.poll();
    }

    fn configuration(&self) -> Configuration {
        self.shared.configuration.lock().clone()
    }
}

#[test]
fn a_lease_settles_what_the_address_is() {
    let mut t = Bench::new("dhcp");
    t.wait(SECOND_NS / 10);
    assert!(!t.configuration().settled_v4);
    let (kinds, number) = t.asked();
    assert_eq!(kinds, [DhcpMessageType::Discover]);
    t.answer(number, DhcpMessageType::Offer, Some(SERVER));
    t.wait(SECOND_NS / 10);
    let (kinds, number) = t.asked();
    assert_eq!(kinds, [DhcpMessageType::Request]);
    t.answer(number, DhcpMessageType::Ack, Some(SERVER));
    assert!(t.configuration().settled_v4);
    assert!(t.configuration().addresses.contains(&(OFFERED.into(), 24)));
    assert_eq!(t.configuration().gateways, [IpAddr::from(SERVER)]);
}

#[test]
fn a_refusal_that_does_not_say_who_refuses_starts_the_asking_anew() {
    let mut t = Bench::new("dhcp");
    t.wait(SECOND_NS / 10);
    let (_, number) = t.asked();
    t.answer(number, DhcpMessageType::Offer, Some(SERVER));
    t.wait(SECOND_NS / 10);
    let (_, number) = t.asked();
    t.answer(number.wrapping_add(1), DhcpMessageType::Nak, None);
    t.wait(SECOND_NS / 10);
    assert_eq!(t.asked().0, [], "another's exchange");
    t.answer(number, DhcpMessageType::Nak, None);
    t.wait(SECOND_NS / 10);
    assert_eq!(t.asked().0, [DhcpMessageType::Discover]);
}

#[test]
fn when_nobody_answers_that_is_settled_after_ten_seconds() {
    let mut t = Bench::new("dhcp");
    t.wait(9 * SECOND_NS);
    assert!(!t.configuration().settled_v4);
    t.wait(2 * SECOND_NS);
    assert!(t.configuration().settled_v4);
}

#[test]
fn a_fixed_address_is_settled_at_once_and_ipv6_when_no_router_has_answered() {
    let mut t = Bench::new("10.1.2.3/8,10.0.0.1");
    assert!(t.configuration().settled_v4);
    assert!(!t.configuration().settled_v6);
    t.wait(3 * SECOND_NS);
    assert!(t.configuration().settled_v6);
}

#[test]
fn routers_learn_of_the_groups_that_sockets_hear() {
    let mut t = Bench::new("10.1.2.3/8,10.0.0.1");
    t.wait(SECOND_NS);
    t.sent.clear();
    let group = Ipv4Addr::new(239, 1, 2, 3);
    assert!(t.shared.join(group.into_ip()));
    t.wait(SECOND_NS);
    let igmp = |frame: &Vec<u8>| {
        frame[12..14] == [8, 0]
            && frame[wire::ETHERNET + 9] == 2
            && frame.ends_with(&group.octets())
    };
    assert!(t.sent.iter().any(igmp), "{:?}", t.sent);
}
