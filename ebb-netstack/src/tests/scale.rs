//! Many connections cost memory, and nothing else.

use super::*;

#[test]
fn twenty_thousand_idle_connections_cost_an_active_one_nothing() {
    let mut net = Net::new(Faults::default(), true, 15);
    let listener = net.hosts[1]
        .tcp_listen(SocketAddr::new(V4[1].into(), 80), 1024)
        .unwrap();
    let mut opened = 0;
    let mut last = None;
    net.run(600 * SECOND_NS, |net| {
        while net.hosts[1]
            .tcp_accept(listener)
            .map(|s| last = Some(s.0))
            .is_ok()
        {}
        if opened < 20_000 {
            for _ in 0..200 {
                last_client(net);
                opened += 1;
            }
        }
        net.hosts[1].inner.borrow().connections == 20_000
    });
    net.idle(SECOND_NS);
    // Nothing is scheduled for any of them.
    for host in &net.hosts {
        assert_eq!(host.next_deadline_ns(), None);
        assert!(!host.has_output());
    }

    fn last_client(net: &mut Net) -> SocketId {
        net.hosts[0]
            .tcp_connect(None, SocketAddr::new(V4[1].into(), 80), net.now_ns)
            .unwrap()
    }
}

#[test]
fn an_idle_connection_takes_little_memory() {
    let connection = size_of::<crate::connection::Connection>();
    let slot = size_of::<crate::host::Socket>();
    // A number and a byte; the hash table is between 7/16 and 7/8 full.
    let flow = 5 * 16 / 7;
    assert!(
        connection + slot + flow < 540,
        "{connection} + {slot} + {flow}"
    );
    // A class of the heap.
    assert!(connection <= 512, "{connection}");
}

/// `cargo test --release -p ebb-netstack --lib -- --ignored --nocapture idle_ratio`
#[test]
#[ignore = "a measurement"]
fn idle_ratio() {
    let mut nets: Vec<_> = [0, 20_000]
        .into_iter()
        .map(|idle| {
            let mut net = Net::new(Faults::default(), true, 20);
            let address = SocketAddr::new(V4[1].into(), 80);
            let listener = net.hosts[1].tcp_listen(address, 1024).unwrap();
            let mut last = None;
            let mut opened = 0;
            net.run(600 * SECOND_NS, |net| {
                while let Ok((id, _)) = net.hosts[1].tcp_accept(listener) {
                    last = Some(id);
                }
                for _ in 0..200.min(idle + 1 - opened) {
                    net.hosts[0].tcp_connect(None, address, net.now_ns).unwrap();
                    opened += 1;
                }
                net.hosts[1].inner.borrow().connections == idle + 1
            });
            net.idle(SECOND_NS);
            let server = last.unwrap();
            let peer = net.hosts[1].peer_address(server);
            let client = (0..)
                .map(SocketId)
                .find(|id| net.hosts[0].local_address(*id) == peer);
            (net, server, client.unwrap())
        })
        .collect();
    let mut best = [u128::MAX; 2];
    for _ in 0..200 {
        for (best, (net, server, client)) in best.iter_mut().zip(&mut nets) {
            let (server, client) = (*server, *client);
            let start = std::time::Instant::now();
            for _ in 0..200 {
                net.hosts[1].tcp_send(server, &[1; 64], net.now_ns).unwrap();
                net.exchange();
                net.now_ns += 2 * LATENCY_NS;
                while let Some(entry) = net.link.first_entry() {
                    let (to, frame) = entry.remove();
                    net.hosts[to].input(received(&frame, false), net.now_ns);
                }
                let taken = net.hosts[0].tcp_receive(client, &mut |bytes| bytes.len(), net.now_ns);
                assert_eq!(taken, Ok(true));
                for host in &net.hosts {
                    host.timers(net.now_ns);
                }
            }
            *best = (*best).min(start.elapsed().as_nanos());
        }
    }
    let ratio = best[1] as f64 / best[0] as f64;
    std::println!("ratio idle_20000 {ratio:.3} goal <= 1.05");
}
