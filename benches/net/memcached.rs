//! How much more does memcached do as an image? Peak throughput, and latency at equal load, beside Debian's memcached in
//! a Linux guest on the same virtual hardware.
//!
//! `EBB_LINUX_GUEST=PROGRAM cargo bench --bench memcached [-- --quick]`, as root. Without the variable the image alone.
//!
//! Sizes follow Facebook's ETC pool (Atikoglu et al., SIGMETRICS 2012), cut to what EbbRT's evaluation used: keys of 20 to
//! 70 bytes, values from a generalised Pareto distribution cut to 1..1024 bytes, 30 GETs to one SET, uniform keys; binary
//! protocol, 8 connections with 4 requests each.

mod load;
mod sides;

use std::net::SocketAddr;

use ebb_benches::{goal, quick};
use load::{Figures, Generator, Load, Protocol, mix, uniform};
use sides::{Counting, Side, agent, goal_at_least, linux_guest, median, ratio, turns};

const IMAGE: &str = env!("CARGO_BIN_EXE_bench-memcached");
const KEYS: u64 = 10_000;
const CONNECTIONS: usize = 8;
const DEPTH: usize = 4;

struct Etc {
    random: u64,
    /// The next key to be stored, while keys are loaded.
    loading: Option<u64>,
}

fn key(number: u64) -> Vec<u8> {
    let mut key = format!("k{number}-").into_bytes();
    key.resize(20 + (mix(number) % 51) as usize, b'x');
    key
}

fn value_len(number: u64) -> usize {
    let u = uniform(mix(!number));
    let len = 214.476 / 0.348_238 * ((1.0 - u).powf(-0.348_238) - 1.0);
    (len as usize).clamp(1, 1024)
}

impl Protocol for Etc {
    fn request(&mut self, out: &mut Vec<u8>) -> u64 {
        let (number, get) = match &mut self.loading {
            Some(next) => {
                *next += 1;
                (*next - 1, false)
            }
            None => {
                self.random = mix(self.random);
                let number = self.random % KEYS;
                (number, uniform(mix(self.random)) < 30.0 / 31.0)
            }
        };
        let (key, len) = (key(number), value_len(number));
        let (extras, value) = if get { (0, 0) } else { (8, len) };
        let body = (extras + key.len() + value) as u32;
        out.extend([
            0x80,
            u8::from(!get),
            0,
            key.len() as u8,
            extras as u8,
            0,
            0,
            0,
        ]);
        out.extend(body.to_be_bytes());
        out.resize(out.len() + 12 + extras, 0);
        out.extend(key);
        out.resize(out.len() + value, 0);
        number << 1 | u64::from(get)
    }

    fn answer(&mut self, input: &[u8], note: u64) -> Option<usize> {
        let header: &[u8; 24] = input.first_chunk()?;
        let body = u32::from_be_bytes([header[8], header[9], header[10], header[11]]) as usize;
        if input.len() < 24 + body {
            return None;
        }
        let get = note & 1 == 1;
        assert_eq!(
            header[..2],
            [0x81, u8::from(!get)],
            "the answer to another request"
        );
        assert_eq!(
            header[6..8],
            [0, 0],
            "every key is there and every value fits"
        );
        if get {
            let len = body - usize::from(header[4]);
            assert_eq!(len, value_len(note >> 1), "another value");
        }
        Some(24 + body)
    }
}

fn main() {
    let mut generator = None;
    let mut etc = Etc {
        random: 1,
        loading: None,
    };
    let obey = |address: SocketAddr, order: &[f64]| -> Figures {
        let load = Load {
            depth: DEPTH,
            rate: order[0],
            seconds: order[1],
        };
        let generator = generator.get_or_insert_with(|| {
            let mut generator = Generator::new(address, CONNECTIONS);
            etc.loading = Some(0);
            let all = Load {
                rate: 0.0,
                seconds: 120.0,
                ..load
            };
            generator.run(all, Some(KEYS), &mut etc);
            etc.loading = None;
            generator
        });
        generator.run(load, None, &mut etc)
    };
    if agent(obey) {
        return;
    }
    let (rounds, seconds) = if quick() { (3, 2.0) } else { (7, 4.0) };
    let guest = linux_guest();
    count(guest.as_deref());
    for cores in [1, 2] {
        println!("\n{cores} vCPU, {rounds} rounds of {seconds} s, taking turns");
        let mut ours = Side::image(IMAGE, cores, 11211, &["-m", "512"], None);
        let mut theirs = guest
            .as_ref()
            .map(|guest| Side::linux(guest.as_ref(), cores, 11211, &["--app", "memcached"], None));
        // TCG translates code when it first runs.
        let warm = "0 2";
        ours.order(warm);
        if let Some(theirs) = &mut theirs {
            theirs.order(warm);
        }
        let order = format!("0 {seconds}");
        let peak = turns(
            "closed loop",
            "requests/s",
            rounds,
            &mut ours,
            theirs.as_mut(),
            &order,
        );
        let linux = peak
            .iter()
            .filter_map(|p| p.1)
            .map(|f| f.per_second)
            .collect::<Vec<_>>();
        if linux.is_empty() {
            continue;
        }
        // Requests that come one by one cost Linux several times what those in batches do: at half of the closed loop's peak
        // it would be saturated, and its latency without bound.
        let rate = median(linux) * 0.2;
        let order = format!("{rate} {seconds}");
        let name = format!("open loop at {rate:.0}/s");
        let equal = turns(
            &name,
            "requests/s",
            rounds,
            &mut ours,
            theirs.as_mut(),
            &order,
        );
        if let Some(ratio) = ratio(&peak, |f| f.per_second) {
            goal_at_least(&format!("memcached_throughput_{cores}_vcpu"), ratio, 2.0);
        }
        if let Some(ratio) = ratio(&equal, |f| f.p99_us) {
            goal(&format!("memcached_p99_{cores}_vcpu"), ratio, 0.5);
        }
    }
}

/// Instructions of the guest for each request, kernel and application, under closed load on one vCPU.
fn count(guest: Option<&std::ffi::OsStr>) {
    const SECONDS: f64 = 4.0;
    let Some(counting) = Counting::new("memcached") else {
        return;
    };
    let order = format!("0 {SECONDS}");
    let mut side = Side::image(IMAGE, 1, 11211, &["-m", "512"], Some(&counting));
    let ours = counting.per_request(&mut side, &order, SECONDS);
    drop(side);
    println!("\ninstructions per request, 1 vCPU: image {ours:.0}");
    if let Some(guest) = guest {
        let app = ["--app", "memcached"];
        let mut side = Side::linux(guest.as_ref(), 1, 11211, &app, Some(&counting));
        let theirs = counting.per_request(&mut side, &order, SECONDS);
        println!("instructions per request, 1 vCPU: Linux {theirs:.0}");
        // EbbRT: 5,557 and 13,604.
        goal("memcached_instructions", ours / theirs, 0.5);
    }
}
