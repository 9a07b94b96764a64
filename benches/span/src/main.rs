//! What does a call of an Ebb on another node cost, beside tarpc, tonic (gRPC), remoc and Cap'n Proto?
//!
//! `cargo run --release --manifest-path benches/span/Cargo.toml [-- --quick]`; it wants Debian's `capnproto`. All sides are in one
//! process and take turns, over loopback, each end a thread with one runtime that is pinned to a processor. The others are measured
//! plain and with TLS 1.3 (rustls with ring, its own choice of cipher), in which the server proves who it is. Ours is always
//! protected, by Noise, and both ends prove who they are; so the goals are beside the others with TLS. What they are without any is
//! printed too.

mod capnp_side;
mod ebb_side;
mod grpc;
mod idle;
mod remoc_side;
mod tarpc_side;
mod tokio_side;

#[allow(clippy::all, unused, missing_docs)]
mod echo_capnp {
    include!(concat!(env!("OUT_DIR"), "/echo_capnp.rs"));
}

use std::{
    sync::{OnceLock, mpsc},
    time::Duration,
};

use benches::{compare, goal, goal_at_least, quick};
use bytes::Bytes;
use tokio_side::Certificate;

#[global_allocator]
static ALLOCATOR: idle::Counting = idle::Counting;

/// Bytes of a small call, and of its answer.
pub const SMALL: usize = 64;
const LARGE: u32 = 1 << 20;

/// What is called.
#[derive(Clone, Copy)]
pub enum Ask {
    /// [`SMALL`] bytes there and back.
    Echo,
    /// So many bytes back.
    Give(u32),
}

/// Calls to make.
pub struct Order {
    pub ask: Ask,
    pub calls: u64,
    pub in_flight: usize,
    /// How long they took.
    pub done: mpsc::Sender<Duration>,
}

/// Who makes them.
pub struct Side(Box<dyn Fn(Order)>);

impl Side {
    pub fn new(give: impl Fn(Order) + 'static) -> Self {
        Self(Box::new(give))
    }

    fn run(&self, ask: Ask, calls: u64, in_flight: usize) -> Duration {
        let (done, told) = mpsc::channel();
        (self.0)(Order {
            ask,
            calls,
            in_flight,
            done,
        });
        told.recv().expect("the client does not panic")
    }
}

/// Where the two ends run, and how they are protected.
#[derive(Clone)]
pub struct Place {
    pub server: usize,
    pub client: usize,
    pub tls: Option<Certificate>,
}

/// Has this thread, and those that it starts, run on one processor.
pub fn pin(cpu: usize) {
    // SAFETY: a set of processors is a plain array of bits, which these calls fill and read within its size.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
    }
}

/// An answer of so many bytes, which lies ready.
pub fn large(length: u32) -> Bytes {
    static READY: OnceLock<Bytes> = OnceLock::new();
    let ready = READY.get_or_init(|| vec![7; LARGE as usize].into());
    ready.slice(..length as usize)
}

type Make = fn(Place) -> Side;
const OTHERS: [(&str, Make); 4] = [
    ("tarpc", tarpc_side::side),
    ("tonic", grpc::side),
    ("remoc", remoc_side::side),
    ("capnp-rpc", capnp_side::side),
];

fn name(of: &str, tls: bool) -> &'static str {
    format!("{of}{}", if tls { ", TLS" } else { ", plain" }).leak()
}

/// The sides with their ends on these processors.
fn sides(server: usize, client: usize) -> Vec<(&'static str, Side)> {
    let certificate = Certificate::new();
    let mut sides = vec![("ebb, Noise", ebb_side::side(server, client))];
    for tls in [Some(certificate), None] {
        for (of, make) in OTHERS {
            let place = Place {
                server,
                client,
                tls: tls.clone(),
            };
            sides.push((name(of, tls.is_some()), make(place)));
        }
    }
    sides
}

fn question(
    asked: &'static str,
    sides: &[(&'static str, Side)],
    ask: Ask,
    calls: u64,
    in_flight: usize,
    rounds: usize,
) -> benches::Comparison {
    let sides = sides.iter().map(|(name, side)| {
        benches::Side::new(name, move |calls| {
            side.run(ask, calls.max(in_flight as u64), in_flight)
        })
    });
    compare(asked, calls, rounds, sides.collect())
}

/// How many times the speed of the fastest of them ours is.
fn beside_the_best(comparison: &benches::Comparison, of: &[&str], tls: bool) -> f64 {
    let ratios = of
        .iter()
        .map(|of| comparison.ratio(name(of, tls), "ebb, Noise"));
    ratios.fold(f64::INFINITY, f64::min)
}

fn main() {
    let (small, large, rounds) = if quick() {
        (2_000, 20, 3)
    } else {
        (20_000, 200, 15)
    };
    let bytes = idle::bytes_of_a_connection(192);
    println!("an idle connection keeps {bytes:.0} bytes of the heap");
    goal("idle connection, KiB", bytes / 1024.0, 4.0);

    let apart = sides(0, 1);
    let one = question("a call of 64 bytes", &apart, Ask::Echo, small, 1, rounds);
    one.goal(
        "64-byte call beside tarpc, TLS",
        "ebb, Noise",
        name("tarpc", true),
        0.7,
    );
    one.goal(
        "64-byte call beside tonic, TLS",
        "ebb, Noise",
        name("tonic", true),
        0.5,
    );
    let give = Ask::Give(LARGE);
    let many = question("an answer of 1 MiB", &apart, give, large, 1, rounds);
    let all = ["tarpc", "tonic", "remoc", "capnp-rpc"];
    goal_at_least(
        "1 MiB answers beside the best with TLS",
        beside_the_best(&many, &all, true),
        1.5,
    );
    println!(
        "  beside the best without any: {:.3}",
        beside_the_best(&many, &all, false)
    );
    drop(apart);

    let together = sides(1, 1);
    let asked = "64-byte calls, 256 in flight, both ends on one processor";
    let flood = question(asked, &together, Ask::Echo, small, 256, rounds);
    let three = ["tarpc", "remoc", "capnp-rpc"];
    goal_at_least(
        "256 in flight beside the best with TLS",
        beside_the_best(&flood, &three, true),
        2.0,
    );
    println!(
        "  beside the best without any: {:.3}",
        beside_the_best(&flood, &three, false)
    );
    let asked = "an answer of 1 MiB, both ends on one processor";
    let _ = question(asked, &together, give, large, 1, rounds);
    std::process::exit(0);
}
