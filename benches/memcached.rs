//! How much more does memcached do as an image? Peak throughput, and latency at equal load, beside Debian's memcached in
//! a Linux guest on the same virtual hardware.
//!
//! `EBB_LINUX_GUEST=PROGRAM cargo bench --bench memcached [-- --quick]`, as root. Without the variable the image alone.
//!
//! Sizes follow Facebook's ETC pool (Atikoglu et al., SIGMETRICS 2012), cut to what EbbRT's evaluation used: keys of 20 to
//! 70 bytes, values from a generalised Pareto distribution cut to 1..1024 bytes, 30 GETs to one SET, uniform keys; binary
//! protocol, 8 connections with 4 requests each.
//!
//! `-- --hosted` compares the Linux process with Debian's memcached beside it, over the loopback interface; `-- --sharing`
//! asks from which length on a value is better sent from where it lies than copied.

use std::net::SocketAddr;

use benches::{
    goal, goal_at_least,
    load::{Figures, Generator, Load, Protocol, mix, uniform},
    quick,
    servers::Servers,
    sides::{Counting, Side, agent, effort, linux_guest},
    turns::{Pair, ratio, turns_of},
};
use test_support::cargo;

const PORT: u16 = 11211;
const KEYS: u64 = 10_000;
const CONNECTIONS: usize = 8;
const DEPTH: usize = 4;

struct Etc {
    /// All values have this length, if it is given.
    fixed: Option<usize>,
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
        let (key, len) = (key(number), self.fixed.unwrap_or_else(|| value_len(number)));
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
            assert_eq!(
                len,
                self.fixed.unwrap_or_else(|| value_len(note >> 1)),
                "another value"
            );
        }
        Some(24 + body)
    }
}

fn main() {
    let mut generator = None;
    let mut etc = Etc {
        fixed: None,
        random: 1,
        loading: None,
    };
    let obey = |address: SocketAddr, order: &[f64]| -> Figures {
        let load = Load {
            depth: DEPTH,
            rate: order[0],
            seconds: order[1],
        };
        let fixed = order.get(2).map(|&size| size as usize);
        let stored = generator.is_some() && etc.fixed == fixed;
        let generator = generator.get_or_insert_with(|| Generator::new(address, CONNECTIONS));
        if !stored {
            etc.fixed = fixed;
            etc.loading = Some(0);
            let all = Load {
                rate: 0.0,
                seconds: 120.0,
                ..load
            };
            generator.run(all, Some(KEYS), &mut etc);
            etc.loading = None;
        }
        generator.run(load, None, &mut etc)
    };
    match std::env::args().nth(1).as_deref() {
        Some("serve") => return serve_hosted(),
        Some("--hosted") => return hosted(),
        Some("--sharing") => return sharing(),
        _ => {}
    }
    if agent(obey) {
        return;
    }
    let guest = linux_guest();
    let (rounds, seconds) = effort(guest.as_deref(), (7, 4.0));
    let server = cargo::example("memcached");
    let servers = Servers {
        name: "memcached",
        port: PORT,
        image: (&server, &["-m", "512"]),
        linux: guest
            .as_deref()
            .map(|guest| (guest, &["--app", "memcached"][..])),
    };
    // EbbRT: 5,557 and 13,604.
    servers.count(0.5);
    for cores in [1, 2] {
        let (mut pair, peak) = servers.press(cores, rounds, seconds);
        if let Some(ratio) = ratio(&peak, |f| f.per_second) {
            goal_at_least(&format!("memcached_throughput_{cores}_vcpu"), ratio, 2.0);
        }
        // Requests that come one by one cost Linux several times what those in batches do: at half of the closed loop's peak
        // it is near its limit, and at four fifths beyond it.
        for percent in [20, 50, 80] {
            let Some(equal) = pair.open_loop(f64::from(percent) / 100.0, &peak) else {
                break;
            };
            if let Some(ratio) = ratio(&equal, |f| f.p99_us) {
                goal(
                    &format!("memcached_p99_{cores}_vcpu_at_{percent}"),
                    ratio,
                    0.5,
                );
            }
        }
    }
}

/// A port that nobody listens on now.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

/// `serve PORT CORES`: the example's server as this process.
fn serve_hosted() {
    let argument = |n: usize| std::env::args().nth(n).and_then(|a| a.parse::<u16>().ok());
    let (port, cores) = (argument(2).expect("a port"), argument(3).expect("cores"));
    let config = ebb_hosted::Config {
        cores: cores.into(),
        pin: false,
    };
    ebb_hosted::run(&config, move || async move {
        let limits = ebb_memcached::Limits {
            memory: 512 << 20,
            ..Default::default()
        };
        let server = ebb_memcached::server::Server::new(limits);
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let listening = server.listen(address).await;
        let _ = listening.expect("the port is free").failed().await;
    });
}

/// The Linux process beside Debian's memcached, with as many threads.
fn hosted() {
    let (rounds, seconds) = if quick() { (3, 2.0) } else { (9, 3.0) };
    for cores in [1u16, 2] {
        println!("\n{cores} threads, {rounds} rounds of {seconds} s, taking turns");
        let port = free_port();
        let this = std::env::current_exe().expect("this program");
        let mut command = std::process::Command::new(this);
        command.args(["serve", &port.to_string(), &cores.to_string()]);
        let ours = Side::process(command, port);
        let port = free_port();
        let mut command = std::process::Command::new("memcached");
        command.args(["-u", "nobody", "-l", "127.0.0.1", "-m", "512"]);
        command.args(["-p", &port.to_string(), "-t", &cores.to_string()]);
        let theirs = Side::process(command, port);
        let mut pair = Pair {
            names: ["ebb", "memcached"],
            ours,
            theirs: Some(theirs),
            rounds,
            seconds,
        };
        pair.warm_up(seconds);
        let peak = pair.closed_loop();
        if let Some(ratio) = ratio(&peak, |f| f.per_second) {
            goal_at_least(&format!("memcached_hosted_{cores}"), ratio, 1.0);
        }
    }
}

/// Values of one length, copied and shared: instructions and requests.
fn sharing() {
    let (rounds, seconds) = if quick() { (3, 1.0) } else { (7, 2.0) };
    let copy = ["-m", "512", "--share", "2000000"];
    let share = ["-m", "512", "--share", "1"];
    let server = cargo::example("memcached");
    let side = |arguments: &[&str], counting: Option<&Counting>| {
        Side::image(&server, 1, PORT, arguments, counting)
    };
    let (mut copying, mut sharing) = (side(&copy, None), side(&share, None));
    for size in [512, 1024, 2048, 4096, 8192, 16_384] {
        let order = format!("0 {seconds} {size}");
        copying.order(&order);
        sharing.order(&order);
        let name = format!("values of {size} bytes");
        let both = turns_of(
            ["shared", "copied"],
            &name,
            "requests/s",
            rounds,
            &mut sharing,
            Some(&mut copying),
            &order,
        );
        if let Some(ratio) = ratio(&both, |f| f.per_second) {
            println!("shared by copied, values of {size} bytes: {ratio:.3}");
        }
    }
    drop((copying, sharing));
    if let (Some(one), Some(other)) = (Counting::new("copied"), Counting::new("shared")) {
        let mut copying = side(&copy, Some(&one));
        let mut sharing = side(&share, Some(&other));
        for size in [512, 1024, 2048, 4096, 8192, 16_384] {
            let order = format!("0 {seconds} {size}");
            let copied = one.per_request(&mut copying, &order, seconds);
            let shared = other.per_request(&mut sharing, &order, seconds);
            println!(
                "instructions per request, values of {size} bytes: {copied:.0} copied, {shared:.0} shared"
            );
        }
    }
}
