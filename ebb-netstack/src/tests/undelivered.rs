//! What was not delivered reaches the socket that sent it, and only that.

use super::*;
use crate::{icmp, shared::Message};
use ebb_net::{Report, UdpOption};

fn at(ip: impl Into<IpAddr>, port: u16) -> SocketAddr {
    SocketAddr::new(ip.into(), port)
}

/// Does what the slow path does with answers of ICMP.
fn take_answers(net: &Net) {
    for host in &net.hosts {
        for frame in host.take_slow() {
            if let Some(what) = icmp::parse(&frame.flatten(), &host.shared, net.now_ns) {
                host.message(Message::Undelivered(what.into()), net.now_ns);
            }
        }
    }
}

/// A router's answer to a packet that host 0 has sent.
fn answer(kind: u8, code: u8, word: u32, quoted: &[u8]) -> Vec<u8> {
    let v4 = quoted[0] >> 4 == 4;
    let path = wire::Path {
        source_mac: MACS[1],
        target_mac: MACS[0],
        source: if v4 { V4[1].into_ip() } else { V6[1].into_ip() },
        target: if v4 { V4[0].into_ip() } else { V6[0].into_ip() },
        loopback: false,
        card: 0,
    };
    let mut body = vec![kind, code, 0, 0];
    body.extend_from_slice(&word.to_be_bytes());
    body.extend_from_slice(&quoted[..quoted.len().min(100)]);
    let (protocol, pseudo) = if v4 {
        (1, 0)
    } else {
        let pseudo = wire::pseudo_header(path.source, path.target, 58, body.len());
        (58, pseudo)
    };
    let check = !wire::fold(wire::sum(&body, pseudo));
    body[2..4].copy_from_slice(&check.to_ne_bytes());
    let mut frame = vec![0; path.headers()];
    path.write(&mut frame, protocol, body.len());
    frame.extend_from_slice(&body);
    frame
}

fn deliver(net: &Net, frame: &[u8]) {
    net.hosts[0].input(received(frame, false), net.now_ns);
    take_answers(net);
}

/// The last packet that host 0 has sent, from its IP header on.
fn last_sent(net: &mut Net) -> Vec<u8> {
    net.hosts[0].flush(net.now_ns);
    let out: Vec<_> = net.hosts[0].link.out.borrow_mut().drain(..).collect();
    out.last().expect("a packet")[wire::ETHERNET..].to_vec()
}

#[test]
fn a_datagram_for_a_port_that_nobody_has_is_refused_to_a_connected_sender_once() {
    for to in [IpAddr::from(V4[1]), V6[1].into()] {
        let mut net = Net::new(Faults::default(), false, 50);
        let socket = net.hosts[0]
            .udp_bind(at(Ipv6Addr::UNSPECIFIED, 1), false)
            .unwrap();
        net.hosts[0].udp_connect(socket, Some(at(to, 9))).unwrap();
        let send = |net: &Net| net.hosts[0].udp_send(socket, b"x", at(to, 9), None, net.now_ns);
        send(&net).unwrap();
        net.idle(SECOND_NS);
        take_answers(&net);
        assert!(net.hosts[0].readiness(socket).error);
        assert_eq!(send(&net), Err(Error::ConnectionRefused));
        let receive = || net.hosts[0].udp_receive(socket, false, &mut |_| ());
        assert_eq!(receive(), Err(Error::WouldBlock));
    }
}

#[test]
fn a_sender_without_a_peer_is_told_only_if_it_asked() {
    let mut net = Net::new(Faults::default(), false, 51);
    let any = at(Ipv4Addr::UNSPECIFIED, 0);
    let bind = || net.hosts[0].udp_bind(any, false).unwrap();
    let (asks, does_not) = (bind(), bind());
    net.hosts[0]
        .udp_set(asks, UdpOption::Reports(true))
        .unwrap();
    for socket in [asks, does_not] {
        net.hosts[0]
            .udp_send(socket, b"hello", at(V4[1], 9), None, net.now_ns)
            .unwrap();
    }
    net.idle(SECOND_NS);
    take_answers(&net);
    assert_eq!(net.hosts[0].take_error(does_not), None);
    assert_eq!(net.hosts[0].udp_take_report(does_not), None);
    let report = net.hosts[0].udp_take_report(asks);
    let expected = Report {
        to: at(V4[1], 9),
        offender: V4[1].into(),
        kind: 3,
        code: 3,
        mtu: 0,
        error: Error::ConnectionRefused,
        payload: b"hello".to_vec(),
    };
    assert_eq!(report, Some(expected));
    assert_eq!(net.hosts[0].take_error(asks), None, "told with the report");
}

#[test]
fn a_machine_refuses_its_own_datagrams_too() {
    let net = Net::new(Faults::default(), false, 52);
    let host = &net.hosts[0];
    let socket = host.udp_bind(at(Ipv4Addr::UNSPECIFIED, 1), false).unwrap();
    host.udp_connect(socket, Some(at(V4[0], 9))).unwrap();
    host.udp_send(socket, b"x", at(V4[0], 9), None, net.now_ns)
        .unwrap();
    host.flush(net.now_ns);
    assert_eq!(host.take_error(socket), Some(Error::ConnectionRefused));
}

#[test]
fn datagrams_for_nobody_are_answered_200_times_a_second_at_most() {
    let mut net = Net::new(Faults::default(), false, 53);
    let socket = net.hosts[0]
        .udp_bind(at(Ipv4Addr::UNSPECIFIED, 1), false)
        .unwrap();
    for _ in 0..1000 {
        net.hosts[0]
            .udp_send(socket, b"x", at(V4[1], 9), None, net.now_ns)
            .unwrap();
        let frames: Vec<_> = net.hosts[0].link.out.borrow_mut().drain(..).collect();
        for frame in frames {
            net.hosts[1].input(received(&frame, false), net.now_ns);
        }
        net.hosts[0]
            .shared
            .learn(0, V4[1].into_ip(), MACS[1], net.now_ns);
    }
    let answers = net.hosts[1].link.out.borrow_mut().drain(..).count();
    assert_eq!(answers, 200);
    net.idle(1);
}

#[test]
fn a_connection_that_cannot_be_opened_fails_at_once() {
    for (kind, code, error) in [
        (3, 1, Error::HostUnreachable),
        (3, 0, Error::NetworkUnreachable),
        (3, 3, Error::ConnectionRefused),
        (11, 0, Error::HostUnreachable),
    ] {
        let mut net = Net::new(Faults::default(), false, 54);
        net.hosts[0]
            .shared
            .learn(0, V4[1].into_ip(), MACS[1], net.now_ns);
        let client = net.hosts[0]
            .tcp_connect(None, at(V4[1], 80), net.now_ns)
            .unwrap();
        let syn = last_sent(&mut net);
        deliver(&net, &answer(kind, code, 0, &syn));
        assert_eq!(net.hosts[0].tcp_connected(client), Err(error));
    }
}

#[test]
fn what_nobody_has_sent_or_is_broken_ends_nothing() {
    let mut net = Net::new(Faults::default(), false, 55);
    net.hosts[0]
        .shared
        .learn(0, V4[1].into_ip(), MACS[1], net.now_ns);
    let client = net.hosts[0]
        .tcp_connect(None, at(V4[1], 80), net.now_ns)
        .unwrap();
    let syn = last_sent(&mut net);
    let at_seq = wire::IPV4 + 4;
    let mut guessed = syn.clone();
    guessed[at_seq] ^= 1;
    deliver(&net, &answer(3, 1, 0, &guessed));
    let mut foreign = syn.clone();
    foreign[12..16].copy_from_slice(&[10, 0, 0, 9]);
    deliver(&net, &answer(3, 1, 0, &foreign));
    let mut broken = answer(3, 1, 0, &syn);
    *broken.last_mut().unwrap() ^= 1;
    deliver(&net, &broken);
    for length in wire::ETHERNET..broken.len() {
        deliver(&net, &answer(3, 1, 0, &syn)[..length]);
    }
    assert_eq!(net.hosts[0].tcp_connected(client), Err(Error::WouldBlock));
}

#[test]
fn an_established_connection_outlives_a_host_that_is_unreachable_for_a_while() {
    let mut net = Net::new(Faults::default(), false, 56);
    let (client, ..) = net.connect(false);
    net.hosts[0]
        .tcp_send(client, &[1; 100], net.now_ns)
        .unwrap();
    let data = last_sent(&mut net);
    deliver(&net, &answer(3, 1, 0, &data));
    assert_eq!(net.hosts[0].take_error(client), None);
    assert_eq!(net.hosts[0].tcp_connected(client), Ok(()));
}

#[test]
fn a_path_that_takes_less_gets_shorter_segments_and_loses_nothing() {
    for v6 in [false, true] {
        let mut net = Net::new(Faults::default(), false, 57);
        let (client, server, _) = net.connect(v6);
        net.hosts[0]
            .tcp_send(client, &[1; 1460], net.now_ns)
            .unwrap();
        let long = last_sent(&mut net);
        let told = if v6 {
            answer(2, 0, 1300, &long)
        } else {
            answer(3, 4, 1300, &long)
        };
        deliver(&net, &told);
        net.hosts[0].flush(net.now_ns);
        let again: Vec<_> = net.hosts[0].link.out.borrow_mut().drain(..).collect();
        let sizes: Vec<_> = again.iter().map(|f| f.len() - wire::ETHERNET).collect();
        assert_eq!(sizes[0], 1300);
        assert!(sizes.iter().all(|size| *size <= 1300), "{sizes:?}");
        again.into_iter().for_each(|frame| net.put(1, frame));
        let to = if v6 {
            IpAddr::from(V6[1])
        } else {
            V4[1].into()
        };
        assert_eq!(net.hosts[0].path_mtu(to, net.now_ns), 1300);
        net.trace = Some(Vec::new());
        let mut received = 0;
        net.run(100 * SECOND_NS, |net| {
            let take = &mut |bytes: &[u8]| {
                received += bytes.len();
                bytes.len()
            };
            while net.hosts[1].tcp_receive(server, take, net.now_ns) == Ok(true) {}
            received == 1460
        });
    }
}

#[test]
fn a_forged_path_makes_segments_no_shorter_than_any_path_must_take() {
    let mut net = Net::new(Faults::default(), false, 58);
    let (client, ..) = net.connect(false);
    net.hosts[0]
        .tcp_send(client, &[1; 1460], net.now_ns)
        .unwrap();
    let long = last_sent(&mut net);
    deliver(&net, &answer(3, 4, 68, &long));
    assert_eq!(net.hosts[0].path_mtu(V4[1].into(), net.now_ns), 552);
    net.now_ns += 601 * SECOND_NS;
    assert_eq!(net.hosts[0].path_mtu(V4[1].into(), net.now_ns), 1500);
}

#[test]
fn a_datagram_longer_than_the_known_path_is_cut_or_refused() {
    let mut net = Net::new(Faults::default(), false, 59);
    let any = at(Ipv4Addr::UNSPECIFIED, 1);
    let socket = net.hosts[0].udp_bind(any, false).unwrap();
    net.hosts[0]
        .shared
        .learn(0, V4[1].into_ip(), MACS[1], net.now_ns);
    let set = |net: &Net, on| net.hosts[0].udp_set(socket, UdpOption::DontFragment(on));
    let send =
        |net: &Net| net.hosts[0].udp_send(socket, &[0; 1400], at(V4[1], 2), None, net.now_ns);
    set(&net, true).unwrap();
    send(&net).unwrap();
    let long = last_sent(&mut net);
    deliver(&net, &answer(3, 4, 1000, &long));
    assert_eq!(send(&net), Err(Error::MessageTooLong));
    set(&net, false).unwrap();
    send(&net).unwrap();
    net.hosts[0].flush(net.now_ns);
    let sizes: Vec<_> = net.hosts[0]
        .link
        .out
        .borrow_mut()
        .drain(..)
        .map(|frame| frame.len() - wire::ETHERNET)
        .collect();
    assert_eq!(sizes.len(), 2);
    assert!(sizes.iter().all(|size| *size <= 1000), "{sizes:?}");
}

#[test]
fn segments_longer_than_this_side_has_announced_are_taken() {
    let mut net = Net::new(Faults::default(), false, 60);
    let (_, server, _) = net.connect(false);
    let (key, next) = {
        let inner = net.hosts[1].inner.borrow();
        let crate::host::Socket::Connection(c) = &inner.sockets[server.0 as usize] else {
            panic!()
        };
        (c.key(), c.final_numbers())
    };
    let long = vec![5; 8000];
    let frame = forge(
        (key.remote, key.remote_port),
        (key.local, key.local_port),
        |h| {
            h.flags = flags::ACK;
            h.seq = next.1.0;
            h.ack = next.0.0;
            h.window = 1000;
        },
        &long,
    );
    net.hosts[1].input(frame, net.now_ns);
    assert_eq!(net.hosts[1].queued(server).unwrap().1, 8000);
}
