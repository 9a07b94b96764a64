//! Floods, forgeries, mangled frames: bounded, and nobody else notices.

use super::*;

#[test]
fn a_flood_of_syns_costs_a_bounded_amount_and_true_peers_still_connect() {
    let limits = Limits {
        half_open: 64,
        ..Limits::default()
    };
    let mut net = Net::with_limits(Faults::default(), false, 10, limits);
    let listener = net.hosts[1]
        .tcp_listen(SocketAddr::new(V4[1].into(), 80), 16)
        .unwrap();
    for n in 0..20_000u32 {
        let source = (Ip::v4(0x0a00_0100 + n), 1000);
        let frame = forge(
            source,
            (V4[1].into_ip(), 80),
            |h| {
                h.flags = flags::SYN;
                h.mss = Some(1460);
                h.seq = n;
            },
            &[],
        );
        net.hosts[1].input(frame, net.now_ns);
        net.hosts[1].link.out.borrow_mut().clear();
    }
    assert_eq!(net.hosts[1].inner.borrow().flows.len(), 64);
    assert!(net.hosts[1].stats().cookies > 19_000);
    let client = net.hosts[0]
        .tcp_connect(None, SocketAddr::new(V4[1].into(), 80), net.now_ns)
        .unwrap();
    let mut server = None;
    net.run(10 * SECOND_NS, |net| {
        server = server.or(net.hosts[1].tcp_accept(listener).ok());
        server.is_some() && net.hosts[0].tcp_connected(client).is_ok()
    });
    // It went without state, and works.
    talk(&mut net, [client, server.unwrap().0], 100_000);
    // A guessed cookie is none.
    let before = net.hosts[1].inner.borrow().connections;
    for n in 0..10_000 {
        let frame = forge(
            (V4[0].into_ip(), 2000),
            (V4[1].into_ip(), 80),
            |h| {
                h.flags = flags::ACK;
                h.ack = n * 7919;
            },
            &[],
        );
        net.hosts[1].input(frame, net.now_ns);
    }
    assert_eq!(net.hosts[1].inner.borrow().connections, before);
    net.idle(30 * SECOND_NS);
    assert_eq!(net.hosts[1].inner.borrow().handshakes.count, 0);
}

#[test]
fn a_full_accept_queue_makes_peers_wait() {
    let mut net = Net::new(Faults::default(), false, 11);
    let listener = net.hosts[1]
        .tcp_listen(SocketAddr::new(V4[1].into(), 80), 4)
        .unwrap();
    let clients: Vec<_> = (0..20)
        .map(|_| {
            net.hosts[0]
                .tcp_connect(None, SocketAddr::new(V4[1].into(), 80), net.now_ns)
                .unwrap()
        })
        .collect();
    net.idle(SECOND_NS / 2);
    assert!(net.hosts[1].inner.borrow().connections <= 4);
    let mut accepted = 0;
    net.run(60 * SECOND_NS, |net| {
        while net.hosts[1].tcp_accept(listener).is_ok() {
            accepted += 1;
        }
        accepted == 20
            && clients
                .iter()
                .all(|c| net.hosts[0].tcp_connected(*c).is_ok())
    });
}

#[test]
fn blind_resets_and_syns_do_not_end_a_connection() {
    let mut net = Net::new(Faults::default(), false, 12);
    net.trace = Some(Vec::new());
    let (client, server, _) = net.connect(false);
    let (key, edge) = {
        let inner = net.hosts[1].inner.borrow();
        let crate::host::Socket::Connection(c) = &inner.sockets[server.0 as usize] else {
            panic!()
        };
        (c.key(), c.final_numbers().1)
    };
    for (n, flag) in [
        (1, flags::RST),
        (1000, flags::RST),
        (0, flags::SYN),
        (5, flags::SYN),
    ] {
        let frame = forge(
            (key.remote, key.remote_port),
            (key.local, key.local_port),
            |h| {
                h.flags = flag;
                h.seq = edge.0.wrapping_add(n);
            },
            &[],
        );
        net.hosts[1].input(frame, net.now_ns);
        net.idle(SECOND_NS);
    }
    assert!(net.hosts[1].take_error(server).is_none());
    talk(&mut net, [client, server], 10_000);
}

/// A short form of the fuzz target: frames of a real conversation, mangled, and noise.
#[test]
fn mangled_frames_neither_panic_nor_leave_anything_behind() {
    let mut net = Net::new(Faults::default(), false, 16);
    net.trace = Some(Vec::new());
    let (client, server, _) = net.connect(false);
    talk(&mut net, [client, server], 50_000);
    let (client6, server6) = {
        let listener = net.hosts[1]
            .tcp_listen(SocketAddr::new(V6[1].into(), 81), 4)
            .unwrap();
        let client = net.hosts[0]
            .tcp_connect(None, SocketAddr::new(V6[1].into(), 81), net.now_ns)
            .unwrap();
        let mut server = None;
        net.run(10 * SECOND_NS, |net| {
            server = server.or(net.hosts[1].tcp_accept(listener).ok());
            server.is_some()
        });
        (client, server.unwrap().0)
    };
    talk(&mut net, [client6, server6], 20_000);
    let udp = net.hosts[1]
        .udp_bind(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 53), false)
        .unwrap();
    let trace = net.trace.take().unwrap();
    let mut random = Random::new(17);
    for _ in 0..60_000 {
        let (from, frame) = &trace[random.below(trace.len() as u64) as usize];
        let mut frame = frame.clone();
        for _ in 0..random.below(4) {
            // Mostly in the headers.
            let reach = if random.chance(800) {
                80
            } else {
                frame.len() as u64
            };
            let at = random.below(reach.min(frame.len() as u64)) as usize;
            frame[at] = random.next() as u8;
        }
        if random.chance(100) {
            frame.truncate(random.below(frame.len() as u64 + 1) as usize);
        }
        let trusted = random.chance(700);
        let to = &net.hosts[1 - from];
        to.input(received(&frame, trusted), net.now_ns);
        if random.chance(200) {
            to.flush(net.now_ns);
            to.take_slow();
            net.now_ns += random.below(SECOND_NS);
            to.timers(net.now_ns);
            to.link.out.borrow_mut().clear();
        }
    }
    while net.hosts[1].udp_receive(udp, false, &mut |_| ()).is_ok() {}
    let now_ns = net.now_ns;
    for (host, id) in [(0, client), (0, client6), (1, server), (1, server6)] {
        net.hosts[host].close(id, now_ns);
    }
    net.faults.lose = 1000;
    net.idle(600 * SECOND_NS);
    for host in &net.hosts {
        let inner = host.inner.borrow();
        let waiting: usize = inner
            .sockets
            .iter()
            .map(|s| match s {
                crate::host::Socket::Listener(l) => l.ready.len(),
                _ => 0,
            })
            .sum();
        assert!(
            inner.connections <= waiting,
            "{} connections",
            inner.connections
        );
    }
}

#[test]
fn headers_are_read_as_they_are_written() {
    let frame = forge(
        (V6[0].into_ip(), 5),
        (V6[1].into_ip(), 80),
        |h| {
            h.flags = flags::ACK;
            h.sack = [(1, 2), (3, 4), (5, 6)];
            h.sack_count = 3;
        },
        b"abc",
    );
    let Ok(Parsed::Segment(segment)) = Parsed::of(frame.first.bytes(), frame.len()) else {
        panic!()
    };
    let options = &segment.tcp.options;
    assert_eq!(&options.sack[..3], &[(1, 2), (3, 4), (5, 6)]);
    assert_eq!(options.sack_count, 3);
    assert_eq!(&frame.first.bytes()[segment.packet.payload], b"abc");
}

#[test]
fn frames_from_outside_that_claim_to_be_this_machines_own_are_dropped() {
    let mut net = Net::new(Faults::default(), false, 18);
    let host = &net.hosts[1];
    let any = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 80);
    host.tcp_listen(any, 4).unwrap();
    let local = Ip::from(IpAddr::from(Ipv4Addr::LOCALHOST));
    let own = V4[1].into_ip();
    for (source, target) in [
        (own, own),
        (local, own),
        (local, local),
        (V4[0].into_ip(), local),
    ] {
        let syn = |h: &mut wire::TcpOut| h.flags = flags::SYN;
        host.input(forge((source, 9), (target, 80), syn, &[]), net.now_ns);
    }
    let mut zero = forge(
        (V4[0].into_ip(), 9),
        (own, 80),
        |h| h.flags = flags::SYN,
        &[],
    );
    zero.first.buffer[6..12].fill(0);
    host.input(zero, net.now_ns);
    assert_eq!(host.inner.borrow().flows.len(), 0);
    net.idle(SECOND_NS);
}

#[test]
fn when_received_memory_is_exhausted_those_who_read_are_still_served() {
    const HOARDERS: usize = 40;
    let limits = Limits {
        received: 1 << 20,
        ..Limits::default()
    };
    let mut net = Net::with_limits(Faults::default(), false, 23, limits);
    let (client, server, listener) = net.connect(false);
    let to = SocketAddr::new(V4[1].into(), 80);
    let mut hoarders = Vec::new();
    let mut accepted = 0;
    net.run(100 * SECOND_NS, |net| {
        while net.hosts[1].tcp_accept(listener).is_ok() {
            accepted += 1;
        }
        if hoarders.len() < HOARDERS {
            hoarders.push(net.hosts[0].tcp_connect(None, to, net.now_ns).unwrap());
        }
        accepted == HOARDERS
    });
    // Ten megabytes come, which nobody reads.
    for _ in 0..100 {
        for hoarder in &hoarders {
            let _ = net.hosts[0].tcp_send(*hoarder, &[1; 10_000], net.now_ns);
        }
        net.idle(SECOND_NS / 10);
    }
    // Beyond the limit each may still have the beginning of its next piece.
    let held = net.hosts[1].inner.borrow().received;
    let most = (1 << 20) + (HOARDERS + 1) * 3 * BUFFER;
    assert!(held > 1 << 19 && held < most, "{held} bytes");
    talk(&mut net, [client, server], 200_000);
}

#[test]
fn nothing_is_missing_from_what_came_while_received_memory_was_exhausted() {
    const SENDERS: usize = 40;
    const SIZE: usize = 20_000;
    let limits = Limits {
        received: 100_000,
        ..Limits::default()
    };
    for offload in [false, true] {
        let mut net = Net::with_limits(Faults::default(), offload, 26, limits);
        let (_, _, listener) = net.connect(false);
        let to = SocketAddr::new(V4[1].into(), 80);
        let (mut clients, mut servers) = (Vec::new(), Vec::new());
        net.run(100 * SECOND_NS, |net| {
            while let Ok((id, _)) = net.hosts[1].tcp_accept(listener) {
                servers.push((id, 0, false));
            }
            if clients.len() < SENDERS {
                clients.push(net.hosts[0].tcp_connect(None, to, net.now_ns).unwrap());
            }
            servers.len() == SENDERS
        });
        for id in &clients {
            let sent = net.hosts[0].tcp_send(*id, &[1; SIZE], net.now_ns);
            assert_eq!(sent, Ok(SIZE));
            net.hosts[0].tcp_shutdown_write(*id, net.now_ns).unwrap();
        }
        // Nobody reads for a while; then everybody does, to the end.
        net.idle(3 * SECOND_NS);
        net.run(100 * SECOND_NS, |net| {
            for (id, got, ended) in servers.iter_mut().filter(|(_, _, ended)| !ended) {
                loop {
                    let mut count = 0;
                    let mut take = |bytes: &[u8]| {
                        count = bytes.len();
                        count
                    };
                    match net.hosts[1].tcp_receive(*id, &mut take, net.now_ns) {
                        Ok(more) => *ended = !more,
                        Err(error) => {
                            assert_eq!(error, Error::WouldBlock);
                            break;
                        }
                    }
                    *got += count;
                    if *ended {
                        assert_eq!(*got, SIZE);
                        break;
                    }
                }
            }
            servers.iter().all(|(_, _, ended)| *ended)
        });
    }
}

#[test]
fn when_memory_for_sent_data_is_exhausted_those_who_read_are_still_served() {
    const READERS_NOT: usize = 40;
    let limits = Limits {
        sent: 1 << 20,
        ..Limits::default()
    };
    let mut net = Net::with_limits(Faults::default(), false, 25, limits);
    let (client, server, listener) = net.connect(false);
    let to = SocketAddr::new(V4[1].into(), 80);
    let (mut asked, mut accepted) = (0, Vec::new());
    net.run(100 * SECOND_NS, |net| {
        while let Ok((id, _)) = net.hosts[1].tcp_accept(listener) {
            accepted.push(id);
        }
        if asked < READERS_NOT {
            net.hosts[0].tcp_connect(None, to, net.now_ns).unwrap();
            asked += 1;
        }
        accepted.len() == READERS_NOT
    });
    // Each is sent as much as is taken, and reads nothing of it.
    for _ in 0..100 {
        for id in &accepted {
            let _ = net.hosts[1].tcp_send(*id, &[1; 10_000], net.now_ns);
        }
        net.idle(SECOND_NS / 10);
    }
    let sending = net.hosts[1].inner.borrow().sending;
    let most = (1 << 20) + READERS_NOT * (4 << 10) + 10_000;
    assert!(sending > 1 << 20 && sending <= most, "{sending} bytes");
    // One that could send nothing more is not writable; others go on.
    assert!(
        accepted
            .iter()
            .all(|id| !net.hosts[1].readiness(*id).writable)
    );
    talk(&mut net, [client, server], 200_000);
    // What is given up is not counted any more.
    for id in accepted {
        net.hosts[1].tcp_abort(id, net.now_ns);
        net.hosts[1].close(id, net.now_ns);
    }
    net.idle(SECOND_NS);
    assert_eq!(net.hosts[1].inner.borrow().sending, 0);
}

#[test]
fn a_device_with_room_for_two_frames_loses_nothing() {
    for offload in [false, true] {
        let mut net = Net::new(Faults::default(), offload, 24);
        net.hosts[0].link.room = 2;
        net.hosts[1].link.room = 2;
        let (client, server, _) = net.connect(offload);
        talk(&mut net, [client, server], 200_000);
    }
}
