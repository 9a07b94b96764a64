//! Mixed load in rounds, the heap's level after each: what comes with a round goes with it.
//!
//! `EBB_SOAK=SECONDS cargo test --test native soak::` goes on for so long; without it there are few rounds.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use test_support::{
    Random,
    lan::{Machine, connect, lan, v4, v6},
};

/// How long the long form takes.
fn extra_time() -> Duration {
    let seconds = std::env::var("EBB_SOAK").ok();
    Duration::from_secs(seconds.map_or(0, |s| s.parse().expect("EBB_SOAK is a number of seconds")))
}

fn echo(random: &mut Random) {
    let address = if random.chance(300) { v6(7) } else { v4(7) };
    let mut stream = connect(address);
    let size = 1 + random.next() as usize % 100_000;
    let data: Vec<u8> = (0..size).map(|n| (n ^ n >> 8) as u8).collect();
    thread::scope(|scope| {
        let mut writer = stream.try_clone().expect("a descriptor");
        let data = &data;
        scope.spawn(move || {
            writer.write_all(data).expect("the image takes it");
            writer.shutdown(Shutdown::Write).expect("connected");
        });
        let mut received = Vec::new();
        stream.read_to_end(&mut received).expect("it comes back");
        assert!(received == *data, "{} of {size} bytes", received.len());
    });
}

/// Sends a request and reads the answer's head and body; keeps the connection.
fn ask(stream: &mut TcpStream, request: &[u8]) -> Vec<u8> {
    stream.write_all(request).expect("connected");
    let mut answer = Vec::new();
    let mut buffer = [0; 16 << 10];
    loop {
        let count = stream.read(&mut buffer).expect("an answer");
        assert!(count > 0, "the end within an answer");
        answer.extend_from_slice(&buffer[..count]);
        let Some(end) = answer.windows(4).position(|w| w == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        let length: usize = head
            .lines()
            .find_map(|l| l.strip_prefix("content-length: ")?.parse().ok())
            .expect("a length");
        if answer.len() >= end + 4 + length {
            return answer.split_off(end + 4);
        }
    }
}

fn http(random: &mut Random) {
    let mut stream = connect(v4(80));
    for _ in 0..1 + random.next() % 20 {
        match random.next() % 4 {
            0 => assert_eq!(
                ask(&mut stream, b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n").len(),
                1 << 20
            ),
            1 => {
                let body = vec![b'b'; random.next() as usize % 50_000];
                let head = format!(
                    "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                );
                let request = [head.as_bytes(), &body].concat();
                assert!(ask(&mut stream, &request) == body);
            }
            _ => assert_eq!(
                ask(&mut stream, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"),
                b"hello\n"
            ),
        }
    }
    match random.next() % 4 {
        // It leaves in the middle of a request, or breaks the protocol.
        0 => stream.write_all(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nab"),
        1 => stream.write_all(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: x\r\n\r\n"),
        _ => Ok(()),
    }
    .expect("connected");
}

fn memcached(random: &mut Random) {
    let mut stream = connect(v4(11211));
    for _ in 0..1 + random.next() % 50 {
        // Always the same keys with values of the same lengths, so that the table's level does not move.
        let key = random.next() % 200;
        let value = vec![b'v'; key as usize * 20];
        let mut request = format!("set key{key} 0 0 {}\r\n", value.len()).into_bytes();
        request.extend_from_slice(&value);
        request.extend_from_slice(format!("\r\nget key{key}\r\n").as_bytes());
        stream.write_all(&request).expect("connected");
        let mut expected = format!("STORED\r\nVALUE key{key} 0 {}\r\n", value.len()).into_bytes();
        expected.extend_from_slice(&value);
        expected.extend_from_slice(b"\r\nEND\r\n");
        let mut answer = vec![0; expected.len()];
        stream.read_exact(&mut answer).expect("an answer");
        assert!(answer == expected);
    }
}

fn datagrams(random: &mut Random) {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a free port");
    let limit = Some(Duration::from_millis(500));
    socket.set_read_timeout(limit).expect("above zero");
    let mut sent: Vec<Vec<u8>> = Vec::new();
    for number in 0..20 {
        sent.push(vec![number; 1 + random.next() as usize % 20_000]);
        socket
            .send_to(&sent[usize::from(number)], v4(7))
            .expect("a way");
        let mut buffer = [0; 65_536];
        // One may be lost on the way, or be late on a busy machine.
        while let Ok(count) = socket.recv(&mut buffer) {
            let received = buffer[0];
            assert!(buffer[..count] == sent[usize::from(received)]);
            if received == number {
                break;
            }
        }
    }
}

/// Connects and goes away: at once, with unread bytes, without a word for a while.
fn rude(random: &mut Random) {
    let mut stream = connect(v4([7, 80, 11211][random.next() as usize % 3]));
    match random.next() % 3 {
        0 => {}
        1 => {
            let _ = stream.write_all(&[b'x'; 30_000]);
        }
        _ => thread::sleep(Duration::from_millis(20)),
    }
}

fn round(seed: u64) {
    thread::scope(|scope| {
        for n in 0..6 {
            scope.spawn(move || {
                let mut random = Random::new(seed * 100 + n);
                for _ in 0..6 {
                    match random.next() % 6 {
                        0 | 1 => echo(&mut random),
                        2 => http(&mut random),
                        3 => memcached(&mut random),
                        4 => datagrams(&mut random),
                        _ => rude(&mut random),
                    }
                }
            });
        }
    });
}

/// Fills everything that keeps what it has once: each key of the table, the devices' buffers.
fn fill() {
    let mut stream = connect(v4(11211));
    for key in 0..200 {
        let value = vec![b'v'; key * 20];
        let mut request = format!("set key{key} 0 0 {}\r\n", value.len()).into_bytes();
        request.extend_from_slice(&value);
        request.extend_from_slice(b"\r\n");
        stream.write_all(&request).expect("connected");
        let mut answer = [0; 8];
        stream.read_exact(&mut answer).expect("an answer");
    }
    (0..6).for_each(round);
}

/// The heap's level once what lingers has gone: an HTTP client that left within a request.
fn level(image: &Machine) -> u64 {
    thread::sleep(Duration::from_millis(1300));
    let begun = Instant::now();
    loop {
        let state = image.state();
        // The one that asks.
        if state.sum("connections") <= 1 {
            println!(
                "{} bytes, {} of them free buffers and {} tables; {} ended connections, {} tasks",
                state.of("heap"),
                state.sum("free_buffers") * 2048,
                state.sum("tables"),
                state.sum("time_wait"),
                state.sum("tasks"),
            );
            return state.heap();
        }
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "connections stay"
        );
        thread::sleep(Duration::from_millis(200));
    }
}

/// The lowest of some levels, with a round of load before each: what is kept for a while goes, what is lost does not.
fn lowest(image: &Machine, count: u64) -> u64 {
    let levels = (0..count).map(|n| {
        round(n);
        level(image)
    });
    levels.min().expect("one at the least")
}

#[test]
fn the_heap_is_at_the_end_as_it_was_at_the_start() {
    lan(|| {
        let long = extra_time();
        let limit = (180 + long.as_secs()).to_string();
        let image = Machine::on_tap_with(2, 1, &[("EBB_TIMEOUT", &limit)]);
        fill();
        let levels = if long.is_zero() { 4 } else { 20 };
        let begun = Instant::now();
        let mut rounds = 0;
        let mut until = |least: u64, time: Duration| {
            while rounds < least || begun.elapsed() < time {
                round(rounds + 100);
                rounds += 1;
                if rounds % 100 == 0 {
                    let heap = image.state().heap();
                    println!("{rounds} rounds in {:?}: {heap} bytes", begun.elapsed());
                }
            }
            rounds
        };
        // Tables keep the size that they once had. A quarter of the load shows them all that the rest will.
        let before = until(24, long / 4);
        let start = lowest(&image, levels);
        let rounds = until(before + 8, long) - before;
        let end = lowest(&image, levels);
        let state = image.state();
        println!(
            "{rounds} rounds, {} connections, {} frames: {start} bytes at the start, {end} at the end",
            state.sum("accepted"),
            state.sum("frames_in") + state.sum("frames_out")
        );
        let grown = end.saturating_sub(start);
        assert!(
            grown < 192 << 10,
            "{grown} bytes more after {rounds} rounds"
        );
    });
}
