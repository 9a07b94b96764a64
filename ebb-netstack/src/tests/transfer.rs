//! Every byte arrives, whatever the link does and however the peer behaves.

use super::*;

#[test]
fn bytes_arrive_in_order_over_a_perfect_link() {
    for offload in [false, true] {
        for v6 in [false, true] {
            conversation(Faults::default(), offload, v6, 1, 2_000_000);
        }
    }
}

#[test]
fn bytes_arrive_in_order_whatever_the_link_does_to_them() {
    let f = |lose, repeat, reorder, corrupt| Faults {
        lose,
        repeat,
        reorder,
        corrupt,
    };
    let all = [
        f(10, 0, 0, 0),
        f(50, 0, 0, 0),
        f(200, 0, 0, 0),
        f(0, 200, 0, 0),
        f(0, 0, 300, 0),
        f(0, 0, 0, 50),
        f(0, 0, 0, 200),
        f(20, 20, 100, 20),
        f(100, 100, 300, 100),
    ];
    for (n, faults) in all.into_iter().enumerate() {
        for seed in 0..6 {
            conversation(
                faults,
                seed % 2 == 0,
                seed % 3 == 0,
                seed + 100 * n as u64,
                300_000,
            );
        }
    }
}

#[test]
fn a_bulk_transfer_fills_the_window_and_recovers_from_a_loss_without_a_timeout() {
    let mut net = Net::new(Faults::default(), false, 3);
    let (client, server, _) = net.connect(false);
    let start = net.now_ns;
    converse(&mut net, [client, server], 4_000_000, 1000);
    // 256 KiB for each round trip of 10 ms: 25 MB/s, two ways.
    let took = net.now_ns - start;
    assert!(took < SECOND_NS, "{took}");
    assert_eq!(net.hosts[0].stats().timeouts, 0);

    let mut net = Net::new(
        Faults {
            lose: 5,
            ..Faults::default()
        },
        false,
        4,
    );
    let (client, server, _) = net.connect(false);
    converse(&mut net, [client, server], 2_000_000, 1000);
    let timeouts = net.hosts[0].stats().timeouts + net.hosts[1].stats().timeouts;
    assert!(timeouts <= 4, "{timeouts} timeouts for 20 losses");
}

#[test]
fn a_reader_that_stops_closes_the_window_and_opens_it_again() {
    let mut net = Net::new(
        Faults {
            lose: 50,
            ..Faults::default()
        },
        false,
        5,
    );
    let (client, server, _) = net.connect(false);
    let bytes = vec![1; 1 << 20];
    let mut sent = 0;
    net.run(60 * SECOND_NS, |net| {
        let now_ns = net.now_ns;
        while let Ok(n) = net.hosts[0].tcp_send(client, &bytes, now_ns) {
            sent += n;
        }
        // The receiver holds its limit, the sender its own.
        net.hosts[1].queued(server).unwrap().1 >= (256 << 10) - 2048
    });
    let held = net.hosts[1].inner.borrow().received;
    assert!(held < 3 * (256 << 10), "{held} bytes of buffers");
    net.idle(300 * SECOND_NS);
    assert_eq!(net.hosts[0].tcp_connected(client), Ok(()));
    assert!(net.hosts[0].take_error(client).is_none());
    let mut received = 0;
    net.run(600 * SECOND_NS, |net| {
        let now_ns = net.now_ns;
        while let Ok(true) = net.hosts[1].tcp_receive(
            server,
            &mut |bytes| {
                received += bytes.len();
                bytes.len()
            },
            now_ns,
        ) {}
        received == sent
    });
}

#[test]
fn small_segments_do_not_hold_a_buffer_each() {
    let mut net = Net::new(Faults::default(), false, 6);
    let (client, server, _) = net.connect(false);
    let mut sent = 0;
    net.run(60 * SECOND_NS, |net| {
        let now_ns = net.now_ns;
        for _ in 0..20 {
            if net.hosts[0].tcp_send(client, b"x", now_ns).is_ok() {
                sent += 1;
            }
            net.hosts[0].flush(now_ns);
        }
        sent >= 20_000
    });
    net.idle(SECOND_NS);
    let queued = net.hosts[1].queued(server).unwrap().1;
    assert_eq!(queued, sent);
    let held = net.hosts[1].inner.borrow().received;
    assert!(
        held < 2 * queued + 8192,
        "{held} bytes of buffers for {queued}"
    );
}

#[test]
fn a_silent_peer_fails_the_connection() {
    let mut net = Net::new(Faults::default(), false, 7);
    let (client, server, _) = net.connect(false);
    let now_ns = net.now_ns;
    net.hosts[0]
        .tcp_set(
            client,
            TcpOption::KeepAlive(Some(KeepAlive::after(core::time::Duration::from_secs(10)))),
            now_ns,
        )
        .unwrap();
    net.idle(100 * SECOND_NS);
    assert_eq!(net.hosts[0].take_error(client), None);
    net.faults.lose = 1000;
    net.idle(60 * SECOND_NS);
    assert_eq!(net.hosts[0].take_error(client), Some(Error::TimedOut));
    // Without keep-alive it is noticed when something is sent.
    let now_ns = net.now_ns;
    net.hosts[1].tcp_send(server, b"hello", now_ns).unwrap();
    net.idle(900 * SECOND_NS);
    assert_eq!(net.hosts[1].take_error(server), Some(Error::TimedOut));
}

#[test]
fn nobody_listens_and_nobody_answers_are_errors() {
    let mut net = Net::new(Faults::default(), false, 8);
    let to = SocketAddr::new(V4[1].into(), 9);
    let now_ns = net.now_ns;
    let refused = net.hosts[0].tcp_connect(None, to, now_ns).unwrap();
    net.idle(SECOND_NS);
    assert_eq!(
        net.hosts[0].tcp_connected(refused),
        Err(Error::ConnectionRefused)
    );
    net.faults.lose = 1000;
    let now_ns = net.now_ns;
    let lost = net.hosts[0].tcp_connect(None, to, now_ns).unwrap();
    net.idle(200 * SECOND_NS);
    assert_eq!(net.hosts[0].tcp_connected(lost), Err(Error::TimedOut));
    let nowhere = SocketAddr::new(Ipv4Addr::new(8, 8, 8, 8).into(), 9);
    let now_ns = net.now_ns;
    assert_eq!(
        net.hosts[0].tcp_connect(None, nowhere, now_ns),
        Err(Error::NetworkUnreachable)
    );
    let absent = SocketAddr::new(Ipv4Addr::new(10, 0, 0, 77).into(), 9);
    let absent = net.hosts[0].tcp_connect(None, absent, now_ns).unwrap();
    net.idle(10 * SECOND_NS);
    assert_eq!(
        net.hosts[0].tcp_connected(absent),
        Err(Error::HostUnreachable)
    );
}

#[test]
fn an_abort_and_a_close_with_unread_bytes_reset_the_peer() {
    let mut net = Net::new(Faults::default(), false, 9);
    let (client, server, listener) = net.connect(false);
    let now_ns = net.now_ns;
    net.hosts[0].tcp_abort(client, now_ns);
    net.idle(SECOND_NS);
    assert_eq!(
        net.hosts[1].take_error(server),
        Some(Error::ConnectionReset)
    );
    net.hosts[1].close(listener, now_ns);
    let (client, server, _) = net.connect(false);
    let now_ns = net.now_ns;
    net.hosts[0].tcp_send(client, b"unread", now_ns).unwrap();
    net.idle(SECOND_NS);
    let now_ns = net.now_ns;
    net.hosts[1].close(server, now_ns);
    net.idle(SECOND_NS);
    assert_eq!(
        net.hosts[0].take_error(client),
        Some(Error::ConnectionReset)
    );
}

#[test]
fn datagrams_arrive_whole_also_those_longer_than_a_frame() {
    let mut net = Net::new(Faults::default(), false, 13);
    let any = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 53);
    let (a, b) = (
        net.hosts[0].udp_bind(any, false).unwrap(),
        net.hosts[1].udp_bind(any, false).unwrap(),
    );
    for to in [IpAddr::from(V4[1]), V6[1].into()] {
        net.hosts[0]
            .udp_send(a, b"query", SocketAddr::new(to, 53), None, net.now_ns)
            .unwrap();
    }
    net.idle(SECOND_NS);
    for from in [IpAddr::from(V4[0]), V6[0].into()] {
        let mut got = None;
        net.hosts[1]
            .udp_receive(b, false, &mut |d| got = Some((d.bytes.to_vec(), d.from)))
            .unwrap();
        assert_eq!(got, Some((b"query".to_vec(), SocketAddr::new(from, 53))));
    }
    let many = [0; 1000];
    for _ in 0..2000 {
        net.hosts[0]
            .udp_send(
                a,
                &many,
                SocketAddr::new(V4[1].into(), 53),
                None,
                net.now_ns,
            )
            .unwrap();
        net.exchange();
    }
    net.idle(SECOND_NS);
    let mut count = 0;
    while net.hosts[1]
        .udp_receive(b, false, &mut |_| count += 1)
        .is_ok()
    {}
    assert!((100..=512).contains(&count), "{count}");
}

#[test]
fn a_machine_talks_to_itself() {
    let net = Net::new(Faults::default(), false, 14);
    let host = &net.hosts[0];
    for ip in [
        IpAddr::from(Ipv4Addr::LOCALHOST),
        V4[0].into(),
        Ipv6Addr::LOCALHOST.into(),
    ] {
        let listener = host.tcp_listen(SocketAddr::new(ip, 0), 4).unwrap();
        let client = host
            .tcp_connect(None, host.local_address(listener).unwrap(), net.now_ns)
            .unwrap();
        host.flush(net.now_ns);
        let (server, _) = host.tcp_accept(listener).unwrap();
        assert_eq!(host.tcp_connected(client), Ok(()));
        host.tcp_send(client, &vec![3; 100_000], net.now_ns)
            .unwrap();
        host.flush(net.now_ns);
        assert_eq!(host.queued(server).unwrap().1, 65_000);
    }
}
