//! Against another TCP: smoltcp's (an older release, so that its features are not those of the images' one), behind its
//! own fault injector.

use alloc::{collections::VecDeque, rc::Rc};

use smoltcp_peer::{
    iface::{Config, Interface, SocketSet},
    phy::{Device, DeviceCapabilities, FaultInjector, Medium, RxToken, TxToken},
    socket::tcp,
    time::Instant,
    wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr},
};

use super::*;

type Frames = Rc<RefCell<VecDeque<Vec<u8>>>>;

/// The link's other end.
#[derive(Default)]
struct Link {
    input: Frames,
    output: Frames,
}

struct Received(Vec<u8>);
struct Sent(Frames);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Sent {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        let mut frame = vec![0; length];
        let result = f(&mut frame);
        self.0.borrow_mut().push_back(frame);
        result
    }
}

impl Device for Link {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sent;

    fn receive(&mut self, _: Instant) -> Option<(Received, Sent)> {
        let frame = self.input.borrow_mut().pop_front()?;
        Some((Received(frame), Sent(Rc::clone(&self.output))))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sent> {
        Some(Sent(Rc::clone(&self.output)))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

/// Both sides send `SIZE` bytes and end; the rates are in hundredths, as the injector has them.
fn talk(drop: u8, corrupt: u8, seed: u32) {
    const SIZE: usize = 200_000;
    let ours = host(1, false, Limits::default());
    let any = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 80);
    let listener = ours.tcp_listen(any, 4).unwrap();
    let link = Link::default();
    let (to_peer, from_peer) = (Rc::clone(&link.input), Rc::clone(&link.output));
    let mut link = FaultInjector::new(link, seed);
    link.set_drop_chance(drop);
    link.set_corrupt_chance(corrupt);
    let mac = HardwareAddress::Ethernet(EthernetAddress(MACS[0]));
    let mut peer = Interface::new(Config::new(mac), &mut link, Instant::ZERO);
    peer.update_ip_addrs(|all| {
        let v4 = IpAddress::Ipv4(V4[0]);
        all.push(IpCidr::new(v4, 24)).unwrap();
    });
    let buffer = || tcp::SocketBuffer::new(vec![0; 65_535]);
    let mut socket = tcp::Socket::new(buffer(), buffer());
    socket
        .connect(peer.context(), (IpAddress::Ipv4(V4[1]), 80), 5000)
        .unwrap();
    let mut sockets = SocketSet::new(Vec::new());
    let handle = sockets.add(socket);

    let mut server = None;
    let (mut sent, mut received) = ([0; 2], [0; 2]);
    let mut ended = [false; 2];
    let mut now_ns = SECOND_NS;
    while ended != [true, true] {
        assert!(
            now_ns < 3600 * SECOND_NS,
            "{sent:?} {received:?} {:?}",
            ours.stats()
        );
        now_ns += MILLISECOND_NS;
        ours.shared.learn(0, V4[0].into_ip(), MACS[0], now_ns);
        if now_ns.is_multiple_of(SECOND_NS) {
            // The peer learns our hardware address from our question for its own.
            let question = crate::control::arp(MACS[1], V4[1], V4[0]);
            to_peer.borrow_mut().push_back(question);
        }
        peer.poll(
            Instant::from_millis((now_ns / MILLISECOND_NS) as i64),
            &mut link,
            &mut sockets,
        );
        for frame in from_peer.borrow_mut().drain(..) {
            ours.input(received_frame(&frame), now_ns);
        }
        drop_slow(&ours);
        ours.timers(now_ns);
        ours.flush(now_ns);
        to_peer
            .borrow_mut()
            .extend(ours.link.out.borrow_mut().drain(..));
        server = server.or_else(|| Some(ours.tcp_accept(listener).ok()?.0));

        let socket = sockets.get_mut::<tcp::Socket<'_>>(handle);
        if sent[0] < SIZE && socket.can_send() {
            sent[0] += socket
                .send(|room| {
                    let n = room.len().min(SIZE - sent[0]);
                    room[..n]
                        .iter_mut()
                        .zip(sent[0]..)
                        .for_each(|(to, at)| *to = byte(at));
                    (n, n)
                })
                .unwrap();
            if sent[0] == SIZE {
                socket.close();
            }
        }
        while socket.can_recv() {
            socket
                .recv(|bytes| {
                    let at = received[0];
                    assert!(bytes.iter().zip(at..).all(|(b, at)| *b == byte(at)));
                    received[0] += bytes.len();
                    (bytes.len(), ())
                })
                .unwrap();
        }
        ended[0] = !socket.may_recv() && received[0] == SIZE;
        let Some(server) = server else { continue };
        if sent[1] < SIZE {
            let piece: Vec<u8> = (sent[1]..SIZE.min(sent[1] + 3000)).map(byte).collect();
            sent[1] += ours.tcp_send(server, &piece, now_ns).unwrap_or(0);
        }
        let at = &mut received[1];
        loop {
            let took = ours.tcp_receive(
                server,
                &mut |bytes| {
                    assert!(bytes.iter().zip(*at..).all(|(b, at)| *b == byte(at)));
                    *at += bytes.len();
                    bytes.len()
                },
                now_ns,
            );
            match took {
                Ok(true) => {}
                Ok(false) => {
                    assert_eq!(*at, SIZE);
                    // Not before: when both ends close at once, smoltcp 0.12 forgets its retransmission timer.
                    if sent[1] == SIZE && !ended[1] {
                        ours.tcp_shutdown_write(server, now_ns).unwrap();
                        ended[1] = true;
                    }
                    break;
                }
                Err(Error::WouldBlock) => break,
                Err(error) => panic!("{error} {:?}", ours.stats()),
            }
        }
    }
}

fn received_frame(frame: &[u8]) -> Frame {
    super::received(frame, false)
}

fn drop_slow(host: &Host<TestLink>) {
    std::mem::drop(host.take_slow());
}

#[test]
fn every_byte_arrives_between_ours_and_smoltcps_tcp_through_its_fault_injector() {
    for (n, (drop, corrupt)) in [(0, 0), (1, 0), (5, 0), (15, 0), (0, 1), (0, 10), (5, 5)]
        .into_iter()
        .enumerate()
    {
        talk(drop, corrupt, 30 + n as u32);
    }
}
