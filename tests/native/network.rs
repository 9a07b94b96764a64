//! An image on a link that this program holds the other end of: addresses, pings, faults, floods, queues.

use std::{
    io::{self, Read, Write},
    mem::size_of,
    net::{Ipv4Addr, Shutdown, SocketAddr, UdpSocket},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use test_support::{
    Random,
    client::{memccapable, program, wrk},
    lan::{self, Faults, MAC, Machine, Relay, V4, V6, connect, lan, v4, v6},
};

/// Sends `size` bytes, ends the direction, and compares what comes back.
fn echo(address: SocketAddr, seed: usize, size: usize) {
    let mut stream = connect(address);
    let data: Vec<u8> = (0..size)
        .map(|n| (((n + seed) * 31) ^ (n >> 7)) as u8)
        .collect();
    thread::scope(|scope| {
        let mut writer = stream.try_clone().expect("a descriptor");
        let data = &data;
        scope.spawn(move || {
            writer.write_all(data).expect("the image takes it");
            writer.shutdown(Shutdown::Write).expect("connected");
        });
        let mut received = Vec::new();
        stream.read_to_end(&mut received).expect("it comes back");
        assert!(
            received == *data,
            "{} of {size} bytes came back",
            received.len()
        );
    });
}

/// The one's complement sum of RFC 1071, inverted.
fn checksum(parts: &[&[u8]]) -> u16 {
    let bytes = parts.concat();
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)))
        .sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Sends echo requests of several lengths through a raw socket; each must come back whole.
fn ping(v6: bool) {
    let (family, protocol) = if v6 {
        (libc::AF_INET6, libc::IPPROTO_ICMPV6)
    } else {
        (libc::AF_INET, libc::IPPROTO_ICMP)
    };
    // SAFETY: numbers.
    let socket = unsafe { libc::socket(family, libc::SOCK_RAW, protocol) };
    assert!(socket >= 0, "{}", io::Error::last_os_error());
    let limit = libc::timeval {
        tv_sec: 5,
        tv_usec: 0,
    };
    // SAFETY: a time that outlives the call.
    let set = unsafe {
        libc::setsockopt(
            socket,
            libc::SOL_SOCKET,
            libc::SO_RCVTIMEO,
            (&raw const limit).cast(),
            size_of::<libc::timeval>() as u32,
        )
    };
    assert_eq!(set, 0);
    let (request, answer) = if v6 { (128, 129) } else { (8, 0) };
    for (sequence, length) in [0, 1, 56, 1000, 1452].into_iter().enumerate() {
        let body: Vec<u8> = (0..length).map(|n| n as u8).collect();
        let mut message = vec![request, 0, 0, 0, 0xeb, 0xb0, 0, sequence as u8];
        message.extend_from_slice(&body);
        if !v6 {
            // The kernel does it for version 6.
            let sum = checksum(&[&message]);
            message[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        let sent = if v6 {
            let SocketAddr::V6(to) = lan::v6(0) else {
                unreachable!("an address of version 6")
            };
            // SAFETY: all zeros is an address.
            let mut address: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
            address.sin6_family = family as u16;
            address.sin6_addr.s6_addr = V6.octets();
            address.sin6_scope_id = to.scope_id();
            // SAFETY: a message and an address that outlive the call.
            unsafe {
                libc::sendto(
                    socket,
                    message.as_ptr().cast(),
                    message.len(),
                    0,
                    (&raw const address).cast(),
                    size_of::<libc::sockaddr_in6>() as u32,
                )
            }
        } else {
            // SAFETY: all zeros is an address.
            let mut address: libc::sockaddr_in = unsafe { std::mem::zeroed() };
            address.sin_family = family as u16;
            address.sin_addr.s_addr = u32::from_ne_bytes(V4);
            // SAFETY: a message and an address that outlive the call.
            unsafe {
                libc::sendto(
                    socket,
                    message.as_ptr().cast(),
                    message.len(),
                    0,
                    (&raw const address).cast(),
                    size_of::<libc::sockaddr_in>() as u32,
                )
            }
        };
        assert_eq!(
            sent,
            message.len() as isize,
            "{}",
            io::Error::last_os_error()
        );
        let mut buffer = [0; 2048];
        loop {
            // SAFETY: a buffer of that length.
            let count = unsafe { libc::recv(socket, buffer.as_mut_ptr().cast(), buffer.len(), 0) };
            assert!(count > 0, "no answer to a ping of {length} bytes");
            let received = &buffer[..count as usize];
            // Version 4 gives the IP header, too.
            let received = if v6 { received } else { &received[20..] };
            if received[0] == answer && received[4..8] == message[4..8] {
                assert_eq!(&received[8..], body);
                break;
            }
        }
    }
    // SAFETY: open, and not used any more.
    unsafe { libc::close(socket) };
}

#[test]
fn pings_datagrams_and_connections_work_over_both_versions_of_ip() {
    lan(|| {
        let image = Machine::on_tap(2, 1);
        ping(false);
        ping(true);
        for (any, address) in [("0.0.0.0:0", v4(7)), ("[::]:0", v6(7))] {
            let socket = UdpSocket::bind(any).expect("a free port");
            let limit = Some(Duration::from_secs(10));
            socket.set_read_timeout(limit).expect("above zero");
            // Beyond 1472 bytes in fragments, which the image puts together and makes, for version 4.
            for size in [0, 1, 1000, 1452, 9000, 65_507] {
                if address.is_ipv6() && size > 1452 {
                    continue;
                }
                let data: Vec<u8> = (0..size).map(|n| (n * 7) as u8).collect();
                socket.send_to(&data, address).expect("a way to the image");
                let mut buffer = vec![0; 65_536];
                let (count, from) = socket.recv_from(&mut buffer).expect("an echo");
                assert_eq!(from.ip(), address.ip());
                assert!(buffer[..count] == data, "{count} of {size} bytes");
            }
            echo(address, 1, 1_000_000);
        }
        assert_eq!(image.state().sum("malformed"), 0);
    });
}

#[test]
fn every_byte_arrives_whatever_the_link_does_to_frames() {
    lan(|| {
        let f = |lose, repeat, reorder, corrupt| Faults {
            lose,
            repeat,
            reorder,
            corrupt,
        };
        let image = Machine::behind(Relay::new(Faults::default()), 2, "10.0.2.15/24");
        image.is_up();
        for faults in [
            f(20, 0, 0, 0),
            f(0, 100, 0, 0),
            f(0, 0, 200, 0),
            f(0, 0, 0, 20),
            f(20, 20, 100, 20),
        ] {
            image.relay().set(faults);
            thread::scope(|scope| {
                for n in 0..4 {
                    scope.spawn(move || echo(v4(7), n, 100_000));
                }
            });
        }
        image.relay().set(Faults::default());
        let state = image.state();
        assert!(state.sum("malformed") > 0, "corrupt frames are seen");
        echo(v4(7), 9, 1_000_000);
    });
}

/// An answer of a DHCP server to a client's frame, if it asks for an address.
fn dhcp(frame: &[u8]) -> Option<Vec<u8>> {
    let asks = frame.len() > 300 && frame[12..14] == [8, 0] && frame[23] == 17;
    if !asks || frame[36..38] != [0, 67] {
        return None;
    }
    let bootp = &frame[42..];
    let options = &bootp[240..];
    let kind = *options.windows(3).find(|w| w[..2] == [53, 1])?.last()?;
    let mut body = bootp[..236].to_vec();
    body[0] = 2;
    body[16..20].copy_from_slice(&V4);
    body[20..24].copy_from_slice(&[10, 0, 2, 2]);
    body.extend([99, 130, 83, 99]);
    // Offer or acknowledgement; server, lease time, netmask, router.
    body.extend([53, 1, if kind == 1 { 2 } else { 5 }]);
    body.extend([54, 4, 10, 0, 2, 2, 51, 4, 0, 0, 14, 16]);
    body.extend([1, 4, 255, 255, 255, 0, 3, 4, 10, 0, 2, 2, 255]);
    let mut ip = vec![0x45, 0];
    ip.extend((28 + body.len() as u16).to_be_bytes());
    ip.extend([0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 2, 2, 255, 255, 255, 255]);
    let sum = checksum(&[&ip]);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut answer = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 2], &[8, 0], &ip].concat();
    answer.extend([0, 67, 0, 68]);
    answer.extend((8 + body.len() as u16).to_be_bytes());
    answer.extend([0, 0]);
    answer.extend(body);
    Some(answer)
}

#[test]
fn without_a_dhcp_server_an_image_says_so_and_asks_on_until_one_answers() {
    lan(|| {
        let image = Machine::behind(Relay::new(Faults::default()), 1, "dhcp");
        image.says("no DHCP server answers, so there is no IPv4 address yet");
        image.says("ip=ADDRESS/LENGTH,GATEWAY");
        image
            .relay()
            .answer(|frame| dhcp(frame).into_iter().collect());
        image.is_up();
        echo(v4(7), 1, 10_000);
    });
}

#[test]
fn without_a_dhcp_server_the_fallback_address_is_used() {
    lan(|| {
        let image = Machine::behind(Relay::new(Faults::default()), 1, "dhcp,10.0.2.15/24");
        image.says("no DHCP server answers; using 10.0.2.15/24, and asking on");
        image.is_up();
        echo(v4(7), 1, 10_000);
    });
}

/// A SYN from an address that nobody has.
fn syn(random: &mut Random) -> Vec<u8> {
    let source = Ipv4Addr::from(0x0a00_0310 | (random.next() as u32 & 0x0fff_0000)).octets();
    let mut ip = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0];
    ip.extend(source);
    ip.extend(V4);
    let sum = checksum(&[&ip]);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut tcp = (random.next() as u16 | 1024).to_be_bytes().to_vec();
    tcp.extend([0, 7]);
    tcp.extend((random.next() as u32).to_be_bytes());
    tcp.extend([0, 0, 0, 0, 0x50, 2, 0x20, 0, 0, 0, 0, 0]);
    let sum = checksum(&[&source, &V4, &[0, 6, 0, 20], &tcp]);
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    [&MAC[..], &[2, 0, 0, 0, 0, 9], &[8, 0], &ip, &tcp].concat()
}

#[test]
fn a_flood_of_syns_takes_bounded_memory_while_others_are_served() {
    lan(|| {
        let image = Machine::behind(Relay::new(Faults::default()), 2, "10.0.2.15/24,10.0.2.2");
        image.is_up();
        let flood = |image: &Machine, seconds: u64, seed: u64| {
            let stop = AtomicBool::new(false);
            thread::scope(|scope| {
                /// Ends the flood, also when a connection fails.
                struct Stop<'a>(&'a AtomicBool);
                impl Drop for Stop<'_> {
                    fn drop(&mut self) {
                        self.0.store(true, Relaxed);
                    }
                }
                let ends = Stop(&stop);
                scope.spawn(|| {
                    let mut random = Random::new(seed);
                    while !stop.load(Relaxed) {
                        (0..20).for_each(|_| image.relay().inject(&syn(&mut random)));
                        thread::sleep(Duration::from_millis(1));
                    }
                });
                let begun = Instant::now();
                let mut served = 0;
                while begun.elapsed() < Duration::from_secs(seconds) {
                    echo(v4(7), served, 10_000);
                    served += 1;
                }
                drop(ends);
                assert!(served > 3, "{served} connections served during the flood");
            });
            image.state()
        };
        // The first fills what has a bound: half-open connections, free buffers. The second finds it full.
        let first = flood(&image, 2, 3);
        let second = flood(&image, 3, 4);
        assert!(first.heap() < 32 << 20, "{} bytes", first.heap());
        let grown = second.heap().saturating_sub(first.heap());
        let cookies = second.sum("cookies") - first.sum("cookies");
        assert!(cookies > 1000, "{cookies} cookies");
        assert!(
            grown < 256 << 10,
            "{grown} bytes more for {cookies} SYNs more"
        );
    });
}

/// Bits of VIRTIO 1.2.
const PROMISED: [(&str, u32); 7] = [
    ("VIRTIO_NET_F_CSUM", 0),
    ("VIRTIO_NET_F_GUEST_CSUM", 1),
    ("VIRTIO_NET_F_GUEST_TSO4", 7),
    ("VIRTIO_NET_F_HOST_TSO4", 11),
    ("VIRTIO_NET_F_MRG_RXBUF", 15),
    ("VIRTIO_F_EVENT_IDX", 29),
    ("VIRTIO_F_VERSION_1", 32),
];

#[test]
fn each_core_has_its_pair_of_queues_and_its_interrupt() {
    lan(|| {
        let image = Machine::on_tap(2, 2);
        // One after the other, so that cores sleep in between.
        (0..40).for_each(|n| echo(v4(7), n, 1000));
        let state = image.state();
        for (name, bit) in PROMISED {
            assert!(state.of("device.features") >> bit & 1 == 1, "{name}");
        }
        assert!(
            state.of("device.features") >> 22 & 1 == 1,
            "VIRTIO_NET_F_MQ"
        );
        assert_eq!(state.of("device.pairs"), 2);
        for core in 0..2 {
            for what in ["frames_in", "accepted", "interrupts", "doorbells"] {
                let name = format!("core{core}.{what}");
                assert!(state.of(&name) > 0, "{name}");
            }
        }
        batches(&image);
    });
}

#[test]
fn one_pair_of_queues_serves_the_connections_of_all_cores() {
    lan(|| {
        let image = Machine::on_tap(2, 1);
        (0..40).for_each(|n| echo(v4(7), n, 1000));
        let state = image.state();
        assert_eq!(state.of("device.pairs"), 1);
        assert!(state.of("core0.accepted") > 0 && state.of("core1.accepted") > 0);
        assert!(state.of("core0.steered") > 0, "core 0 hands frames on");
        batches(&image);
    });
}

/// Under load there are fewer interrupts and doorbells than frames.
fn batches(image: &Machine) {
    let before = image.state();
    thread::scope(|scope| {
        for n in 0..8 {
            scope.spawn(move || echo(v4(7), n, 2_000_000));
        }
    });
    let after = image.state();
    let of = |name: &str| after.sum(name) - before.sum(name);
    let (frames_in, frames_out) = (of("frames_in"), of("frames_out"));
    let (interrupts, doorbells) = (of("interrupts"), of("doorbells"));
    println!(
        "{frames_in} frames in, {interrupts} interrupts; {frames_out} out, {doorbells} doorbells"
    );
    assert!(
        interrupts < frames_in / 2,
        "{interrupts} interrupts for {frames_in} frames"
    );
    assert!(
        doorbells <= frames_out,
        "{doorbells} doorbells for {frames_out} frames"
    );
}

#[test]
fn peers_that_misbehave_hold_up_nobody() {
    lan(|| {
        let image = Machine::on_tap(2, 1);
        (0..10).for_each(|n| echo(v4(7), n, 10_000));
        let before = image.state().heap();
        // They never read what they have sent and comes back.
        let greedy: Vec<_> = (0..20)
            .map(|_| {
                let mut stream = connect(v4(7));
                stream.set_nonblocking(true).expect("a socket");
                let begun = Instant::now();
                while begun.elapsed() < Duration::from_millis(200) {
                    let _ = stream.write(&[1; 65_536]);
                }
                stream
            })
            .collect();
        // They send a byte now and then, and never a whole request.
        let mut slow: Vec<_> = (0..20).map(|_| connect(v4(80))).collect();
        for byte in b"GET /" {
            for stream in &mut slow {
                stream.write_all(&[*byte]).expect("connected");
            }
            echo(v4(7), 1, 100_000);
            thread::sleep(Duration::from_millis(100));
        }
        // They half-close at once, or reset.
        for n in 0..40 {
            let stream = connect(v4(if n % 2 == 0 { 7 } else { 80 }));
            if n % 4 < 2 {
                stream.shutdown(Shutdown::Write).expect("connected");
            } else {
                reset(stream);
            }
        }
        let held = image.state().heap();
        // 256 KiB each way for each of the twenty, and the device's buffers.
        assert!(held < before + (24 << 20), "{} bytes", held - before);
        echo(v4(7), 2, 100_000);
        greedy.into_iter().for_each(reset);
        drop(slow);
        echo(v4(7), 3, 100_000);
    });
}

#[test]
fn a_machine_of_little_memory_outlives_peers_that_never_read() {
    lan(|| {
        let image = Machine::on_tap_with(2, 1, &[("EBB_MEMORY", "96M")]);
        echo(v4(7), 1, 100_000);
        // Each would have half a megabyte in the image: more than there is.
        let greedy: Vec<_> = (0..400)
            .map(|_| {
                let mut stream = connect(v4(7));
                stream.set_nonblocking(true).expect("a socket");
                let begun = Instant::now();
                while begun.elapsed() < Duration::from_millis(10) {
                    let _ = stream.write(&[1; 65_536]);
                }
                stream
            })
            .collect();
        let mut greedy = greedy;
        for stream in &mut greedy {
            let _ = stream.write(&[1; 65_536]);
        }
        echo(v4(7), 2, 100_000);
        let state = image.state();
        assert_eq!(state.sum("connections"), 401);
        println!("{} bytes of heap", state.of("heap"));
        assert!(state.of("heap") < 64 << 20, "{} bytes", state.of("heap"));
        greedy.into_iter().for_each(reset);
        echo(v4(7), 3, 1_000_000);
    });
}

/// Closes so that the peer sees a reset.
fn reset(stream: std::net::TcpStream) {
    let socket = socket2::SockRef::from(&stream);
    socket
        .set_linger(Some(Duration::ZERO))
        .expect("an open socket");
}

#[test]
fn curl_wrk_and_the_tools_of_libmemcached_get_what_they_ask_for() {
    lan(|| {
        let image = Machine::on_tap(2, 1);
        let at = |path: &str| format!("http://10.0.2.15{path}");
        let curl =
            |arguments: &[&str]| program("curl", &[&["-sSf", "-m", "20"], arguments].concat());
        if let Some(said) = curl(&[&at("/"), &at("/")]) {
            assert_eq!(said, "hello\nhello\n");
            let large = curl(&["-o", "/dev/null", "-w", "%{size_download}", &at("/large")]);
            assert_eq!(large.as_deref(), Some("1048576"));
            let body = "b".repeat(100_000);
            // Chunked, and with `Expect: 100-continue`.
            let chunked = [
                "-H",
                "transfer-encoding: chunked",
                "-d",
                &body,
                &at("/echo"),
            ];
            assert!(curl(&chunked).is_some_and(|said| said == body));
            assert!(curl(&["--http1.0", &at("/")]).is_some_and(|said| said == "hello\n"));
            let address = at("/").replace("10.0.2.15", "[fe80::5054:ff:fe12:3456%25tap0]");
            assert!(curl(&["-g", &address]).is_some_and(|said| said == "hello\n"));
        }
        wrk(&at("/"));
        memccapable("10.0.2.15", 11211);
        let load = [
            "--servers=10.0.2.15:11211",
            "--concurrency=8",
            "--execute-number=500",
        ];
        for test in ["--test=set", "--test=get", "--test=mget"] {
            program("memcslap", &[&load[..], &[test]].concat());
        }
        if let Some(said) = program("memcstat", &["--servers=10.0.2.15:11211"]) {
            assert!(said.contains("curr_items"), "{said}");
        }
        echo(v4(7), 1, 10_000);
        drop(image);
    });
}

/// Frames that the image has sent by a tap interface.
fn received_by(tap: &str) -> u64 {
    let path = format!("/sys/class/net/{tap}/statistics/rx_packets");
    // That of the thread's namespace, whatever is mounted.
    let said = std::process::Command::new("ip")
        .args(["-s", "-o", "link", "show", tap])
        .output()
        .expect("ip");
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let numbers = said.split("RX:").nth(1).expect(&path).split('\\').nth(1);
    let mut numbers = numbers.expect(&path).split_whitespace();
    numbers.nth(1).and_then(|n| n.parse().ok()).expect(&path)
}

#[test]
fn an_image_answers_by_the_card_that_was_asked_and_listens_where_it_is_told() {
    lan(|| {
        for cores in [1, 2] {
            two_cards(cores);
        }
    });
}

fn two_cards(cores: usize) {
    let machine = Machine::on_two_taps(cores);
    let second = |port: u16| SocketAddr::from(([10, 0, 3, 15], port));
    machine.says("card 1: network address 10.0.3.15/24");
    for address in [v4(7), second(7)] {
        echo(address, 1, 200_000);
        // Connected: what comes from another address is not heard.
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a port");
        let limit = Some(Duration::from_secs(20));
        socket.set_read_timeout(limit).expect("above zero");
        socket.connect(address).expect("a way");
        socket.send(b"by which?").expect("it is sent");
        let mut buffer = [0; 64];
        assert_eq!(socket.recv(&mut buffer).expect("an answer"), 9);
    }
    // One address alone is listened on.
    echo(second(8), 2, 1000);
    let refused = std::net::TcpStream::connect_timeout(&v4(8), Duration::from_secs(20));
    assert_eq!(
        refused.expect_err("nobody is there").kind(),
        io::ErrorKind::ConnectionRefused
    );
    // From beyond both networks, where the default route would lead out of the other card.
    let before = received_by("tap0");
    let mut stream = connect_from([192, 0, 2, 1], second(7));
    for _ in 0..200 {
        stream.write_all(b"there and back").expect("connected");
        stream.read_exact(&mut [0; 14]).expect("an answer");
    }
    let by_other = received_by("tap0") - before;
    assert!(by_other < 100, "{by_other} frames left by the other card");
    drop(machine);
    lan::remove_taps(&["tap0", "tap1"]);
}

/// Connects from one of the host's addresses.
fn connect_from(from: [u8; 4], to: SocketAddr) -> std::net::TcpStream {
    let SocketAddr::V4(to) = to else {
        panic!("IPv4 only")
    };
    let address = |ip: [u8; 4], port: u16| libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes(ip),
        },
        sin_zero: [0; 8],
    };
    let length = size_of::<libc::sockaddr_in>() as u32;
    // SAFETY: a new descriptor, which the stream owns; addresses of the length that is said.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0);
        assert!(socket >= 0);
        let stream = <std::net::TcpStream as std::os::fd::FromRawFd>::from_raw_fd(socket);
        let here = address(from, 0);
        let bound = libc::bind(socket, (&raw const here).cast(), length);
        assert_eq!(bound, 0, "{}", io::Error::last_os_error());
        let there = address(to.ip().octets(), to.port());
        let connected = libc::connect(socket, (&raw const there).cast(), length);
        assert_eq!(connected, 0, "{}", io::Error::last_os_error());
        let limit = Some(Duration::from_secs(30));
        stream.set_read_timeout(limit).expect("above zero");
        stream
    }
}
