//! Where bytes lie on their way: nowhere but in the device's buffers when received, copied at most once when sent.

use super::*;

/// Takes frames off the wire into device buffers; gives the places of these.
fn deliver(net: &mut Net, to: usize) -> Vec<core::ops::Range<usize>> {
    let mut places = Vec::new();
    net.exchange();
    net.now_ns += 2 * LATENCY_NS;
    while let Some(entry) = net.link.first_entry() {
        let (host, frame) = entry.remove();
        let frame = received(&frame, false);
        if host == to {
            let start = frame.first.buffer.as_ptr().addr();
            places.push(start..start + frame.first.buffer.len());
        }
        net.hosts[host].input(frame, net.now_ns);
    }
    places
}

#[test]
fn received_bytes_are_lent_where_the_device_has_put_them() {
    let mut net = Net::new(Faults::default(), false, 21);
    let (client, server, _) = net.connect(false);
    let sent = net.hosts[0].tcp_send(client, &[7; 14_000], net.now_ns);
    assert_eq!(sent, Ok(14_000));
    let mut places = Vec::new();
    let mut lent = 0;
    while lent < 14_000 {
        places.extend(deliver(&mut net, 1));
        while let Ok(true) = net.hosts[1].tcp_receive(
            server,
            &mut |bytes| {
                let at = bytes.as_ptr().addr();
                assert!(places.iter().any(|place| place.contains(&at)));
                lent += bytes.len();
                bytes.len()
            },
            net.now_ns,
        ) {}
    }
}

#[test]
fn sent_buffers_reach_the_device_where_they_lie_and_written_bytes_are_copied_once() {
    static PAGE: [u8; 20_000] = [3; 20_000];
    let mut net = Net::new(Faults::default(), true, 22);
    let (client, _, _) = net.connect(false);
    let given = |net: &Net| -> Vec<core::ops::Range<usize>> {
        net.hosts[0].link.given.borrow_mut().drain(..).collect()
    };
    let within = |part: &core::ops::Range<usize>, bytes: &[u8]| {
        let start = bytes.as_ptr().addr();
        start <= part.start && part.end <= start + bytes.len()
    };
    given(&net);
    let mut buffers = [Bytes::from_static(&PAGE)].into();
    let now_ns = net.now_ns;
    let sent = net.hosts[0].tcp_send_buffers(client, &mut buffers, now_ns);
    assert_eq!(sent, Ok(PAGE.len()));
    net.idle(SECOND_NS);
    let parts = given(&net);
    assert!(parts.iter().all(|part| within(part, &PAGE)), "no copy");
    assert_eq!(parts.iter().map(|p| p.len()).sum::<usize>(), PAGE.len());

    let now_ns = net.now_ns;
    assert_eq!(net.hosts[0].tcp_send(client, &PAGE, now_ns), Ok(PAGE.len()));
    let mut copy = net.hosts[0].inner.borrow_mut();
    let held: Vec<_> = copy
        .sockets
        .iter_mut()
        .filter_map(|socket| match socket {
            crate::host::Socket::Connection(c) => Some(c.send.queue.places()),
            _ => None,
        })
        .flatten()
        .collect();
    drop(copy);
    net.idle(SECOND_NS);
    let parts = given(&net);
    assert_eq!(parts.iter().map(|p| p.len()).sum::<usize>(), PAGE.len());
    for part in parts {
        assert!(!within(&part, &PAGE));
        let once = held
            .iter()
            .any(|h| h.start <= part.start && part.end <= h.end);
        assert!(once, "the device reads the one copy");
    }
}
