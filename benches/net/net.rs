//! What does TCP cost in an image? A round trip of 64 bytes (as NetPIPE measures it) and bulk transfer in either direction,
//! beside the same in a Linux guest on the same virtual hardware.
//!
//! `EBB_LINUX_GUEST=PROGRAM cargo bench --bench net [-- --quick]`, as root. In the guest this program itself is the
//! server, with a thread for each connection. Port 7 gives back what it gets, port 9 counts it, port 19 sends.

mod load;
#[allow(dead_code)]
mod sides;

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use ebb_benches::{goal, quick};
use load::{Figures, Generator, Load, Protocol, connect};
use sides::{Counting, Side, agent, goal_at_least, linux_guest, ratio, turns, turns_of};

const IMAGE: &str = env!("CARGO_BIN_EXE_bench-tcp");
/// What an agent is to do, where the order gives no length of a message.
const RECEIVE: usize = 0;
const SEND: usize = 1;
/// Connections that are opened and left alone.
const CONNECT: usize = 2;
const IDLE: usize = 20_000;
/// One read or write of either end of a bulk transfer.
const PIECE: usize = 64 << 10;

/// So many bytes there and back.
struct Echo(usize);

impl Protocol for Echo {
    fn request(&mut self, out: &mut Vec<u8>) -> u64 {
        out.resize(out.len() + self.0, b'e');
        0
    }

    fn answer(&mut self, input: &[u8], _note: u64) -> Option<usize> {
        (input.len() >= self.0).then_some(self.0)
    }
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
    let mut generator = None;
    // Bytes of a message, or one of the numbers below; and seconds, or how many.
    let obey = |address: SocketAddr, order: &[f64]| -> Figures {
        let (what, seconds) = (order[0] as usize, order[1]);
        let bulk = match what {
            RECEIVE => receive(address, seconds),
            SEND => send(address, seconds),
            CONNECT => {
                hold(address, order[1] as usize);
                order[1]
            }
            _ => {
                let load = Load {
                    depth: 1,
                    rate: 0.0,
                    seconds,
                };
                return generator
                    .get_or_insert_with(|| Generator::new(address, 1))
                    .run(load, None, &mut Echo(what));
            }
        };
        Figures {
            per_second: bulk,
            p50_us: 0.0,
            p99_us: 0.0,
        }
    };
    if agent(obey) {
        return;
    }
    let (rounds, seconds) = if quick() { (3, 2.0) } else { (9, 2.0) };
    let guest = linux_guest();
    let this = std::env::current_exe().expect("this program");
    let this = this.to_str().expect("a path of text");
    let name = this.rsplit('/').next().expect("a name");
    let start = format!("/bin/{name} serve");
    let mut ours = Side::image(IMAGE, 1, 7, &[], None);
    let app = ["--app", "run", "--add", this, "--run", &start];
    let mut theirs = guest
        .as_ref()
        .map(|guest| Side::linux(guest.as_ref(), 1, 7, &app, None));
    println!("\n1 vCPU, {rounds} rounds of {seconds} s, taking turns");
    for order in ["64 1", &format!("{RECEIVE} 1"), &format!("{SEND} 1")] {
        ours.order(order);
        if let Some(theirs) = &mut theirs {
            theirs.order(order);
        }
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
    beside_idle_connections(rounds, seconds);
}

/// How much slower is a connection beside many that do nothing? Two images take turns; and instructions are counted,
/// which do not depend on what else the machine does.
fn beside_idle_connections(rounds: usize, seconds: f64) {
    println!("\n1 vCPU, beside {IDLE} idle connections and alone");
    let order = format!("64 {seconds}");
    let connect = format!("{CONNECT} {IDLE}");
    let mut alone = Side::image(IMAGE, 1, 7, &[], None);
    let mut beside = Side::image(IMAGE, 1, 7, &[], None);
    beside.order(&connect);
    alone.order(&order);
    beside.order(&order);
    let both = turns_of(
        ["beside", "alone"],
        "64 bytes there and back",
        "messages/s",
        rounds,
        &mut beside,
        Some(&mut alone),
        &order,
    );
    if let Some(ratio) = ratio(&both, |f| f.p50_us) {
        goal("net_idle_connections", ratio, 1.05);
    }
    drop((alone, beside));
    if let Some(counting) = Counting::new("idle") {
        let mut side = Side::image(IMAGE, 1, 7, &[], Some(&counting));
        let alone = counting.per_request(&mut side, &order, seconds);
        side.order(&connect);
        let beside = counting.per_request(&mut side, &order, seconds);
        println!("instructions for 64 bytes there and back: {alone:.0} alone, {beside:.0} beside");
        goal("net_idle_instructions", beside / alone, 1.05);
    }
}

/// Opens connections and leaves them alone for as long as this program runs. A thread with a table of descriptors of its
/// own holds each part of them: a process may often have no more than 20,000.
fn hold(address: SocketAddr, count: usize) {
    const PART: usize = 10_000;
    let parts = (0..count).step_by(PART).map(|from| {
        let (done, wait) = std::sync::mpsc::channel();
        thread::spawn(move || {
            // SAFETY: concerns this thread alone.
            assert_eq!(unsafe { libc::unshare(libc::CLONE_FILES) }, 0);
            let part = PART.min(count - from);
            let held: Vec<_> = (0..part).map(|_| connect(address)).collect();
            let _ = done.send(());
            thread::park();
            drop(held);
        });
        wait
    });
    for part in parts {
        part.recv().expect("connected; enough files may be open");
    }
}
