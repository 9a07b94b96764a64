//! What does TCP cost in an image? A round trip of 64 bytes (as NetPIPE measures it) and bulk transfer in either direction,
//! beside the same in a Linux guest on the same virtual hardware.
//!
//! `EBB_LINUX_GUEST=PROGRAM cargo bench --bench net [-- --quick]`, as root. In the guest this program itself is the
//! server, with a thread for each connection. `-- --idle` measures only what idle connections cost an active one. Port 7 gives back what it gets, port 9 counts it, port 19 sends.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use benches::{
    goal, goal_at_least,
    held::hold,
    load::{Figures, connect},
    median, quick,
    sides::{Counting, Side, agent, effort, linux_guest},
    turns::{ratio, turns},
};
use test_support::cargo;

/// What an agent is to do, where the order gives no length of a message.
const RECEIVE: usize = 0;
const SEND: usize = 1;
/// Connections that are opened and left alone.
const CONNECT: usize = 2;
const IDLE: usize = 20_000;
/// One read or write of either end of a bulk transfer.
const PIECE: usize = 64 << 10;

/// The image, on one vCPU.
fn image(counting: Option<&Counting>) -> Side {
    Side::image(&cargo::program("bench-tcp"), 1, 7, &[], counting)
}

/// Serves a port with a thread for each connection.
fn listen(port: u16, serve: fn(TcpStream) -> std::io::Result<()>) {
    let listener = TcpListener::bind(("0.0.0.0", port)).expect("the guest's port");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.expect("a connection");
            let _ = stream.set_nodelay(true);
            thread::spawn(move || serve(stream));
        }
    });
}

fn serve() {
    listen(9, |mut stream| {
        let (mut buffer, mut total) = (vec![0; PIECE], 0u64);
        while let count @ 1.. = stream.read(&mut buffer)? {
            total += count as u64;
        }
        stream.write_all(&total.to_le_bytes())
    });
    listen(19, |mut stream| {
        let piece = vec![b'p'; PIECE];
        loop {
            stream.write_all(&piece)?;
        }
    });
    listen(7, |mut stream| {
        let mut buffer = vec![0; PIECE];
        while let count @ 1.. = stream.read(&mut buffer)? {
            stream.write_all(&buffer[..count])?;
        }
        Ok(())
    });
    loop {
        thread::park();
    }
}

/// Sends for a while; counts what has arrived by the server's own word. MiB a second.
fn send(mut address: SocketAddr, seconds: f64) -> f64 {
    address.set_port(9);
    let mut stream = connect(address);
    let piece = vec![b'p'; PIECE];
    let begun = Instant::now();
    while begun.elapsed().as_secs_f64() < seconds {
        stream.write_all(&piece).expect("the server reads");
    }
    stream.shutdown(Shutdown::Write).expect("connected");
    let mut count = [0; 8];
    stream.read_exact(&mut count).expect("the server counts");
    u64::from_le_bytes(count) as f64 / f64::from(1 << 20) / begun.elapsed().as_secs_f64()
}

/// Has messages come back one after the other, as NetPIPE does: a blocking write, blocking reads.
fn there_and_back(stream: &mut TcpStream, size: usize, seconds: f64) -> Figures {
    let (message, mut back) = (vec![b'e'; size], vec![0; size]);
    let mut latencies = Vec::new();
    let begun = Instant::now();
    let limit = Duration::from_secs_f64(seconds);
    while begun.elapsed() < limit {
        let sent = Instant::now();
        stream.write_all(&message).expect("connected");
        stream.read_exact(&mut back).expect("it comes back");
        latencies.push(sent.elapsed().as_secs_f64() * 1e6);
        assert!(back == message);
    }
    let elapsed = begun.elapsed().as_secs_f64();
    latencies.sort_by(f64::total_cmp);
    Figures {
        per_second: latencies.len() as f64 / elapsed,
        p50_us: latencies[latencies.len() / 2],
        p99_us: latencies[latencies.len() * 99 / 100],
    }
}

/// Receives for a while. MiB a second.
fn receive(mut address: SocketAddr, seconds: f64) -> f64 {
    address.set_port(19);
    let mut stream = connect(address);
    let (mut buffer, mut total) = (vec![0; PIECE], 0);
    let begun = Instant::now();
    let limit = Duration::from_secs_f64(seconds);
    while begun.elapsed() < limit {
        let count = stream.read(&mut buffer).expect("the server sends");
        assert!(buffer[..count].iter().all(|&b| b == b'p') && count > 0);
        total += count;
    }
    total as f64 / f64::from(1 << 20) / begun.elapsed().as_secs_f64()
}

fn main() {
    if std::env::args().nth(1).as_deref() == Some("serve") {
        return serve();
    }
    let mut echo = None;
    let mut idle = Vec::new();
    // Bytes of a message, or one of the numbers below; and seconds, or how many.
    let obey = |address: SocketAddr, order: &[f64]| -> Figures {
        let (what, seconds) = (order[0] as usize, order[1]);
        let per_second = match what {
            RECEIVE => receive(address, seconds),
            SEND => send(address, seconds),
            CONNECT => {
                idle.clear();
                idle = hold(address, order[1] as usize, |_| ());
                order[1]
            }
            _ => {
                let stream = echo.get_or_insert_with(|| {
                    let stream = connect(address);
                    stream.set_nodelay(true).expect("a TCP socket");
                    stream
                });
                return there_and_back(stream, what, seconds);
            }
        };
        Figures {
            per_second,
            p50_us: 0.0,
            p99_us: 0.0,
        }
    };
    if agent(obey) {
        return;
    }
    let guest = linux_guest();
    let (rounds, seconds) = effort(guest.as_deref(), (9, 2.0));
    // Alone it is only to be seen that it works.
    let idle = if quick() && guest.is_none() {
        2000
    } else {
        IDLE
    };
    if std::env::args().any(|a| a == "--idle") {
        return beside_idle_connections(idle, rounds, seconds);
    }
    let this = std::env::current_exe().expect("this program");
    let this = this.to_str().expect("a path of text");
    let name = this.rsplit('/').next().expect("a name");
    let start = format!("/bin/{name} serve");
    let mut ours = image(None);
    let app = ["--app", "run", "--add", this, "--run", &start];
    let mut theirs = guest
        .as_ref()
        .map(|guest| Side::linux(guest, 1, 7, &app, None));
    println!("\n1 vCPU, {rounds} rounds of {seconds} s, taking turns");
    for order in ["64 1", &format!("{RECEIVE} 1"), &format!("{SEND} 1")] {
        ours.order(order);
        // Whether it cannot is told when it is measured.
        let _ = theirs.as_mut().map(|theirs| theirs.try_order(order));
    }
    let mut measure = |name: &str, unit: &str, what: usize| {
        let order = format!("{what} {seconds}");
        turns(name, unit, rounds, &mut ours, theirs.as_mut(), &order)
    };
    let small = measure("64 bytes there and back", "messages/s", 64);
    let sent = measure("bulk, from the server", "MiB/s", RECEIVE);
    let received = measure("bulk, to the server", "MiB/s", SEND);
    if let Some(ratio) = ratio(&small, |f| f.p50_us) {
        goal("net_round_trip_64", ratio, 0.6);
    }
    if let Some(ratio) = ratio(&sent, |f| f.per_second) {
        goal_at_least("net_bulk_sent", ratio, 1.0);
    }
    if let Some(ratio) = ratio(&received, |f| f.per_second) {
        goal_at_least("net_bulk_received", ratio, 1.0);
    }
    drop((ours, theirs));
    // Alone it is only to be seen that it works.
    let idle = if quick() && guest.is_none() {
        2000
    } else {
        IDLE
    };
    beside_idle_connections(idle, rounds, seconds);
}

/// How much slower is a connection beside many that do nothing? Beside as many that the same machine has with another image,
/// in turns: what 20,000 sockets cost the host is in both. And instructions are counted, which do not depend on what else
/// the machine does.
fn beside_idle_connections(idle: usize, rounds: usize, seconds: f64) {
    println!("\n1 vCPU, beside {idle} idle connections, and beside as many of another image");
    let order = format!("64 {seconds}");
    let (open, close) = (format!("{CONNECT} {idle}"), format!("{CONNECT} 0"));
    let mut side = image(None);
    let mut other = image(None);
    side.order(&order);
    let beside = |side: &mut Side| {
        side.order(&open);
        let figures = side.order(&order);
        side.order(&close);
        figures.p50_us
    };
    let elsewhere = |side: &mut Side, other: &mut Side| {
        other.order(&open);
        let figures = side.order(&order);
        other.order(&close);
        figures.p50_us
    };
    let ratios = (0..rounds).map(|round| {
        let alone = side.order(&order).p50_us;
        let (beside, elsewhere) = if round % 2 == 0 {
            let beside = beside(&mut side);
            (beside, elsewhere(&mut side, &mut other))
        } else {
            let elsewhere = elsewhere(&mut side, &mut other);
            (beside(&mut side), elsewhere)
        };
        println!("p50: {beside:.1} us beside, {elsewhere:.1} us when another has them, {alone:.1} us without");
        beside / elsewhere
    });
    goal(
        "net_idle_connections",
        median(&ratios.collect::<Vec<_>>()),
        1.05,
    );
    drop(other);
    drop(side);
    if let Some(counting) = Counting::new("idle") {
        let mut side = image(Some(&counting));
        let alone = counting.per_request(&mut side, &order, seconds);
        side.order(&open);
        let beside = counting.per_request(&mut side, &order, seconds);
        println!("instructions for 64 bytes there and back: {alone:.0} alone, {beside:.0} beside");
        goal("net_idle_instructions", beside / alone, 1.05);
    }
}
