//! UDP sockets: who hears what.

use super::*;
use crate::wire::IpOptions;
use ebb_net::{BindAddress, UdpOption};

fn at(ip: impl Into<IpAddr>, port: u16) -> SocketAddr {
    SocketAddr::new(ip.into(), port)
}

fn any(port: u16) -> SocketAddr {
    at(Ipv4Addr::UNSPECIFIED, port)
}

impl Net {
    fn quiet() -> Self {
        Self::new(Faults::default(), false, 40)
    }

    fn bind(&self, host: usize, address: SocketAddr) -> SocketId {
        self.hosts[host].udp_bind(address, false).unwrap()
    }

    fn bind_shared(&self, host: usize, port: u16) -> SocketId {
        self.hosts[host].udp_bind(any(port), true).unwrap()
    }

    fn say(&self, host: usize, socket: SocketId, text: &[u8], to: SocketAddr) {
        self.hosts[host]
            .udp_send(socket, text, to, None, self.now_ns)
            .unwrap();
    }

    /// What a socket has heard, as text.
    fn heard(&mut self, host: usize, socket: SocketId) -> Vec<Vec<u8>> {
        self.idle(SECOND_NS);
        let mut all = Vec::new();
        while self.hosts[host]
            .udp_receive(socket, false, &mut |d| all.push(d.bytes.to_vec()))
            .is_ok()
        {}
        all
    }
}

#[test]
fn a_connected_socket_hears_its_peer_only() {
    let mut net = Net::quiet();
    let (friend, stranger) = (net.bind(0, any(1000)), net.bind(0, any(1001)));
    let socket = net.bind(1, any(53));
    net.say(0, stranger, b"before", at(V4[1], 53));
    net.idle(SECOND_NS);
    net.hosts[1]
        .udp_connect(socket, Some(at(V4[0], 1000)))
        .unwrap();
    net.say(0, stranger, b"no", at(V4[1], 53));
    net.say(0, friend, b"yes", at(V4[1], 53));
    assert_eq!(net.heard(1, socket), [b"before".to_vec(), b"yes".to_vec()]);
    assert_eq!(net.hosts[1].local_address(socket), Ok(at(V4[1], 53)));
    assert_eq!(net.hosts[1].peer_address(socket), Ok(at(V4[0], 1000)));
    net.hosts[1].udp_connect(socket, None).unwrap();
    assert_eq!(net.hosts[1].local_address(socket), Ok(any(53)));
    net.say(0, stranger, b"again", at(V4[1], 53));
    assert_eq!(net.heard(1, socket), [b"again".to_vec()]);
}

#[test]
fn a_connected_socket_goes_before_one_that_hears_all() {
    let mut net = Net::quiet();
    let peer = net.bind(0, any(1000));
    let connected = net.bind_shared(1, 53);
    let open = net.bind_shared(1, 53);
    net.hosts[1]
        .udp_connect(connected, Some(at(V4[0], 1000)))
        .unwrap();
    net.say(0, peer, b"x", at(V4[1], 53));
    assert_eq!(net.heard(1, connected).len(), 1);
    assert_eq!(net.heard(1, open).len(), 0);
}

#[test]
fn a_port_is_shared_only_by_sockets_that_all_say_so_and_the_newest_hears() {
    let mut net = Net::quiet();
    let peer = net.bind(0, any(1000));
    let first = net.bind_shared(1, 53);
    assert_eq!(
        net.hosts[1].udp_bind(any(53), false),
        Err(Error::AddressInUse)
    );
    let second = net.bind_shared(1, 53);
    net.say(0, peer, b"x", at(V4[1], 53));
    assert_eq!(net.heard(1, first).len(), 0);
    assert_eq!(net.heard(1, second).len(), 1);
}

#[test]
fn sockets_for_all_addresses_of_one_family_each_share_a_port() {
    let mut net = Net::quiet();
    let peer = net.bind(0, any(1000));
    let only_v6 = BindAddress {
        address: at(Ipv6Addr::UNSPECIFIED, 53),
        only_v6: true,
    };
    let both: BindAddress = only_v6.address.into();
    let sixth = net.hosts[1].udp_bind(only_v6, false).unwrap();
    let fourth = net.bind(1, any(53));
    for taken in [both, only_v6] {
        let again = net.hosts[1].udp_bind(taken, false);
        assert_eq!(again, Err(Error::AddressInUse));
    }
    net.say(0, peer, b"four", at(V4[1], 53));
    assert_eq!(net.heard(1, fourth), [b"four".to_vec()]);
    let peer = net.bind(0, at(Ipv6Addr::UNSPECIFIED, 1001));
    net.say(0, peer, b"six", at(V6[1], 53));
    assert_eq!(net.heard(1, sixth), [b"six".to_vec()]);
    // The same of listeners.
    net.hosts[1].tcp_listen(any(53), 4).unwrap();
    let listen = net.hosts[1].tcp_listen(both, 4);
    assert_eq!(listen, Err(Error::AddressInUse));
    net.hosts[1].tcp_listen(only_v6, 4).unwrap();
}

#[test]
fn a_datagram_that_is_only_seen_stays() {
    let mut net = Net::quiet();
    let (a, b) = (net.bind(0, any(1)), net.bind(1, any(2)));
    net.say(0, a, b"one", at(V4[1], 2));
    net.say(0, a, b"three", at(V4[1], 2));
    net.idle(SECOND_NS);
    for _ in 0..2 {
        let mut seen = Vec::new();
        let see = &mut |d: &ebb_net::Datagram<'_>| seen = d.bytes.to_vec();
        net.hosts[1].udp_receive(b, true, see).unwrap();
        assert_eq!(seen, b"one");
    }
    assert_eq!(net.heard(1, b), [b"one".to_vec(), b"three".to_vec()]);
}

#[test]
fn a_datagram_says_where_it_was_sent_to_and_how_far_it_might_have_gone() {
    let mut net = Net::quiet();
    let (a, b) = (
        net.bind(0, any(1)),
        net.bind(1, at(Ipv6Addr::UNSPECIFIED, 2)),
    );
    for option in [UdpOption::HopLimit(7), UdpOption::TrafficClass(0xb8)] {
        net.hosts[0].udp_set(a, option).unwrap();
    }
    let a6 = net.bind(0, at(V6[0], 3));
    net.hosts[0]
        .udp_set(a6, UdpOption::TrafficClass(0x2c))
        .unwrap();
    net.say(0, a, b"four", at(V4[1], 2));
    net.say(0, a6, b"six", at(V6[1], 2));
    net.idle(SECOND_NS);
    for (to, hop_limit, traffic_class) in [(IpAddr::from(V4[1]), 7, 0xb8), (V6[1].into(), 64, 0x2c)]
    {
        let mut said = None;
        let see = &mut |d: &ebb_net::Datagram<'_>| {
            said = Some((d.to, d.hop_limit, d.traffic_class));
        };
        net.hosts[1].udp_receive(b, false, see).unwrap();
        assert_eq!(said, Some((to, hop_limit, traffic_class)));
    }
}

#[test]
fn ip_options_survive_being_written() {
    for source in [V4[0].into_ip(), V6[0].into_ip()] {
        let path = wire::Path {
            source_mac: MACS[0],
            target_mac: MACS[1],
            source,
            target: source,
            loopback: false,
            card: 0,
        };
        let mut head = vec![0; path.headers()];
        path.write(&mut head, wire::PROTOCOL_UDP, 0);
        let options = IpOptions {
            hop_limit: 3,
            traffic_class: 0xa5,
        };
        options.write(&mut head);
        assert_eq!(IpOptions::of(&head), options);
    }
}

#[test]
fn a_machines_own_address_is_where_its_datagrams_to_itself_come_from() {
    let net = Net::quiet();
    let (a, b) = (net.bind(0, any(1)), net.bind(0, any(2)));
    net.say(0, a, b"x", at(V4[0], 2));
    net.hosts[0].flush(net.now_ns);
    let mut from = None;
    net.hosts[0]
        .udp_receive(b, false, &mut |d| from = Some(d.from))
        .unwrap();
    assert_eq!(from, Some(at(V4[0], 1)));
}

#[test]
fn a_source_may_be_chosen_among_the_machines_addresses() {
    let net = Net::quiet();
    let socket = net.bind(0, any(1));
    let send = |from: [u8; 4]| {
        let from = Some(IpAddr::from(from));
        net.hosts[0].udp_send(socket, b"x", at(V4[1], 2), from, net.now_ns)
    };
    assert_eq!(send(V4[0].octets()), Ok(()));
    assert_eq!(send([10, 0, 0, 77]), Err(Error::AddressNotAvailable));
}

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);
const GROUP6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x123);

#[test]
fn every_member_of_a_group_hears_what_is_sent_to_it_and_nobody_else() {
    for group in [IpAddr::from(GROUP), GROUP6.into()] {
        let mut net = Net::quiet();
        let everywhere = at(Ipv6Addr::UNSPECIFIED, 5353);
        let bind = |net: &Net, host: usize| net.hosts[host].udp_bind(everywhere, true).unwrap();
        let sender = net.bind(0, at(Ipv6Addr::UNSPECIFIED, 9));
        let (own, first, second) = (bind(&net, 0), bind(&net, 1), bind(&net, 1));
        net.say(0, sender, b"early", at(group, 5353));
        assert_eq!(net.heard(1, first).len(), 0, "nobody is a member");
        for (host, socket) in [(0, own), (1, first), (1, second)] {
            net.hosts[host]
                .udp_set(socket, UdpOption::Join(group))
                .unwrap();
        }
        net.say(0, sender, b"all", at(group, 5353));
        assert_eq!(net.heard(0, own).len(), 1, "this machine's, too");
        assert_eq!(net.heard(1, first).len(), 1);
        assert_eq!(net.heard(1, second).len(), 1);
        net.hosts[0]
            .udp_set(sender, UdpOption::GroupLoop(false))
            .unwrap();
        net.say(0, sender, b"others", at(group, 5353));
        assert_eq!(net.heard(0, own).len(), 0);
        assert_eq!(net.heard(1, first).len(), 1);
        net.hosts[1]
            .udp_set(first, UdpOption::Leave(group))
            .unwrap();
        net.hosts[1].close(second, net.now_ns);
        net.say(0, sender, b"late", at(group, 5353));
        assert_eq!(net.heard(1, first).len(), 0, "both have left");
    }
}

#[test]
fn a_member_hears_listed_senders_only_or_all_but_these() {
    for (group, senders) in [
        (IpAddr::from(GROUP), V4.map(IpAddr::from)),
        (GROUP6.into(), V6.map(IpAddr::from)),
    ] {
        let mut net = Net::quiet();
        let any = at(Ipv6Addr::UNSPECIFIED, 5353);
        let heard = net.hosts[1].udp_bind(any, true).unwrap();
        let sender = net.hosts[0].udp_bind(at(senders[0], 9), false).unwrap();
        let set = |net: &Net, option| net.hosts[1].udp_set(heard, option);
        let no_member = set(&net, UdpOption::Filter { group, only: true });
        assert_eq!(no_member, Err(Error::AddressNotAvailable));
        set(&net, UdpOption::Join(group)).unwrap();
        for (only, listed, hears) in [
            (true, None, 0),
            (true, Some(senders[0]), 1),
            (true, Some(senders[1]), 0),
            (false, None, 1),
            (false, Some(senders[0]), 0),
            (false, Some(senders[1]), 1),
        ] {
            set(&net, UdpOption::Filter { group, only }).unwrap();
            if let Some(sender) = listed {
                set(&net, UdpOption::List { group, sender }).unwrap();
            }
            net.say(0, sender, b"to the group", at(group, 5353));
            assert_eq!(net.heard(1, heard).len(), hears, "{only} {listed:?}");
        }
    }
}

#[test]
fn groups_are_joined_once_and_left_by_members_only() {
    let net = Net::quiet();
    let socket = net.bind(0, any(1));
    let set = |option| net.hosts[0].udp_set(socket, option);
    assert_eq!(set(UdpOption::Join(GROUP.into())), Ok(()));
    assert_eq!(set(UdpOption::Join(GROUP.into())), Err(Error::AddressInUse));
    assert_eq!(set(UdpOption::Join(V4[1].into())), Err(Error::InvalidInput));
    assert_eq!(set(UdpOption::Leave(GROUP.into())), Ok(()));
    assert_eq!(
        set(UdpOption::Leave(GROUP.into())),
        Err(Error::AddressNotAvailable)
    );
}

#[test]
fn a_groups_hop_limit_is_one_unless_said_otherwise() {
    let mut net = Net::quiet();
    let (a, b) = (net.bind(0, any(1)), net.bind(1, any(2)));
    net.hosts[1]
        .udp_set(b, UdpOption::Join(GROUP.into()))
        .unwrap();
    for (set, hops) in [(None, 1), (Some(5), 5)] {
        if let Some(hops) = set {
            net.hosts[0]
                .udp_set(a, UdpOption::GroupHopLimit(hops))
                .unwrap();
        }
        net.say(0, a, b"x", at(GROUP, 2));
        net.idle(SECOND_NS);
        let mut said = 0;
        net.hosts[1]
            .udp_receive(b, false, &mut |d| said = d.hop_limit)
            .unwrap();
        assert_eq!(said, hops);
    }
}

#[test]
fn everybody_on_the_link_hears_a_broadcast() {
    for to in [Ipv4Addr::BROADCAST, Ipv4Addr::new(10, 0, 0, 255)] {
        let mut net = Net::quiet();
        let a = net.bind(0, any(1));
        let (b, c) = (net.bind_shared(1, 2), net.bind_shared(1, 2));
        net.say(0, a, b"x", at(to, 2));
        assert_eq!(net.heard(1, b).len(), 1);
        assert_eq!(net.heard(1, c).len(), 1);
    }
}

#[test]
fn a_datagram_that_must_not_be_cut_and_is_too_long_is_refused() {
    let net = Net::quiet();
    let socket = net.bind(0, any(1));
    let send = || net.hosts[0].udp_send(socket, &[0; 1473], at(V4[1], 2), None, net.now_ns);
    assert_eq!(send(), Ok(()));
    net.hosts[0]
        .udp_set(socket, UdpOption::DontFragment(true))
        .unwrap();
    assert_eq!(send(), Err(Error::MessageTooLong));
}
