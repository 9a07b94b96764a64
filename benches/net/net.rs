//! What does TCP cost in an image? A round trip of 64 bytes (as NetPIPE measures it) and bulk transfer through an echo
//! server, beside the same in a Linux guest on the same virtual hardware.
//!
//! `EBB_LINUX_GUEST=PROGRAM cargo bench --bench net [-- --quick]`, as root. In the guest this program itself is the echo
//! server, with a thread for each connection.

mod load;
#[allow(dead_code)]
mod sides;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    thread,
};

use ebb_benches::{goal, quick};
use load::{Figures, Generator, Load, Protocol};
use sides::{Side, agent, goal_at_least, linux_guest, ratio, turns};

const IMAGE: &str = env!("CARGO_BIN_EXE_bench-echo");

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

fn serve() {
    let listener = TcpListener::bind("0.0.0.0:7").expect("the guest's port");
    for stream in listener.incoming() {
        let mut stream = stream.expect("a connection");
        thread::spawn(move || {
            let _ = stream.set_nodelay(true);
            let mut buffer = vec![0; 64 << 10];
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                if stream.write_all(&buffer[..count]).is_err() {
                    break;
                }
            }
        });
    }
}

fn main() {
    if std::env::args().nth(1).as_deref() == Some("serve") {
        return serve();
    }
    let mut generator = None;
    // Bytes of a message, messages outstanding, seconds.
    let obey = |address: SocketAddr, order: &[f64]| -> Figures {
        let load = Load {
            depth: order[1] as usize,
            rate: 0.0,
            seconds: order[2],
        };
        generator
            .get_or_insert_with(|| Generator::new(address, 1))
            .run(load, None, &mut Echo(order[0] as usize))
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
    for order in ["64 1 1", "65536 4 1"] {
        ours.order(order);
        if let Some(theirs) = &mut theirs {
            theirs.order(order);
        }
    }
    let order = format!("64 1 {seconds}");
    let small = turns(
        "64 bytes there and back",
        "messages/s",
        rounds,
        &mut ours,
        theirs.as_mut(),
        &order,
    );
    let order = format!("65536 4 {seconds}");
    let bulk = turns(
        "64 KiB there and back",
        "messages/s",
        rounds,
        &mut ours,
        theirs.as_mut(),
        &order,
    );
    if let Some(ratio) = ratio(&small, |f| f.p50_us) {
        goal("net_round_trip_64", ratio, 0.6);
    }
    if let Some(ratio) = ratio(&bulk, |f| f.per_second) {
        goal_at_least("net_bulk_echo", ratio, 1.0);
    }
}
