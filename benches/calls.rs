//! What does a call from an image to an Ebb in another image cost, beside what the machine's TCP needs to carry as many bytes there and back?
//!
//! `cargo bench --bench calls [-- --quick]`, as root. Two images of one vCPU each, in a network namespace of their own, with a tap interface
//! each on one bridge. Instructions of both machines are counted, which do not depend on what else the host does; the times beside them are
//! of QEMUs that count. The TCP echo is plain; calls are authenticated and encrypted, as they always are.

use std::{
    io::{Error, Read, Write},
    net::TcpStream,
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use benches::{goal, median, quick, sides::Counting};
use test_support::{RUNNER, WORKSPACE, cargo, signal};

/// The one that is called, and the one that calls.
const MACHINES: [&str; 2] = ["10.0.2.15", "10.0.2.16"];
const KEY: &str = "0303030303030303030303030303030303030303030303030303030303030303";
const TCP: u64 = 0;
const CALLS: u64 = 1;

fn ip(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status();
    assert!(
        status.is_ok_and(|s| s.success()),
        "`ip {}` failed; the bench needs root and iproute2",
        arguments.join(" ")
    );
}

/// A machine, and what counts its instructions.
struct Machine {
    runner: Child,
    counting: Counting,
}

impl Machine {
    /// Boots the number `index` of [`MACHINES`] on a tap interface of this thread's namespace.
    fn boot(index: usize) -> Self {
        let tap = format!("tap{index}");
        ip(&["tuntap", "add", "dev", &tap, "mode", "tap", "vnet_hdr"]);
        ip(&["link", "set", &tap, "master", "br0"]);
        ip(&["link", "set", &tap, "up"]);
        let counting = Counting::new(&format!("calls-{index}")).expect("a QEMU that counts");
        let node = index + 1;
        let options = format!(
            "ip={}/24 node={node} cluster-key={KEY} peers=1@{}:7000",
            MACHINES[index], MACHINES[0]
        );
        let mut command = Command::new(RUNNER);
        counting.counts(&mut command);
        command
            .arg(cargo::program("bench-calls"))
            .current_dir(WORKSPACE)
            .env("EBB_CORES", "1")
            .env("EBB_MEMORY", "256M")
            .env("EBB_NET", format!("tap:{tap},mac=52:54:00:12:34:0{node}"))
            .env("EBB_OPTIONS", options)
            .env("EBB_DISK", "none")
            .env("EBB_TIMEOUT", "600")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // SAFETY: one system call, which concerns the new process alone.
        unsafe {
            command.pre_exec(
                || match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) {
                    0 => Ok(()),
                    _ => Err(Error::last_os_error()),
                },
            );
        }
        Self {
            runner: command.spawn().expect("the runner starts"),
            counting,
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        signal(&self.runner, libc::SIGTERM);
        let _ = self.runner.wait();
    }
}

/// Waits for the machine's port 8.
fn orders(machine: &str) -> TcpStream {
    let begun = Instant::now();
    loop {
        let address = format!("{machine}:8").parse().expect("an address");
        if let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) {
            return stream;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "{machine} is not up"
        );
        thread::sleep(Duration::from_millis(100));
    }
}

/// Both machines, and the way to order the one that calls.
struct Pair {
    machines: [Machine; 2],
    orders: TcpStream,
}

impl Pair {
    fn run(&mut self, what: u64, count: u64, bytes: u64) {
        for number in [what, count, bytes] {
            let sent = self.orders.write_all(&number.to_le_bytes());
            sent.expect("the machine is up");
        }
        let mut done = [0; 8];
        self.orders.read_exact(&mut done).expect("an answer");
        assert_eq!(u64::from_le_bytes(done), count, "not all came back");
    }

    fn counts(&self) -> [u64; 2] {
        [0, 1].map(|index: usize| self.machines[index].counting.instructions())
    }

    /// Instructions of the machine that is called and of the one that calls, and microseconds, for each of `count`; what an order itself
    /// costs is left out.
    fn each(&mut self, what: u64, count: u64, bytes: u64) -> [f64; 3] {
        let mut took = |count| {
            let (before, begun) = (self.counts(), Instant::now());
            self.run(what, count, bytes);
            let micros = begun.elapsed().as_secs_f64() * 1e6;
            let after = self.counts();
            [
                (after[0] - before[0]) as f64,
                (after[1] - before[1]) as f64,
                micros,
            ]
        };
        let (few, many) = (took(count / 10), took(count));
        let more = (count - count / 10) as f64;
        [0, 1, 2].map(|index: usize| (many[index] - few[index]) / more)
    }
}

fn compare(pair: &mut Pair, bytes: u64, count: u64, rounds: usize) -> f64 {
    pair.run(TCP, 100, bytes);
    pair.run(CALLS, 100, bytes);
    let mut all = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        all[0].push(pair.each(TCP, count, bytes));
        all[1].push(pair.each(CALLS, count, bytes));
    }
    let of = |what: usize, index: usize| {
        let values = all[what].iter().map(|figures| figures[index]);
        median(&values.collect::<Vec<_>>())
    };
    let mut sums = [0.0; 2];
    for (what, name) in ["TCP echo", "call"].into_iter().enumerate() {
        sums[what] = of(what, 0) + of(what, 1);
        println!(
            "{bytes:>6} bytes, {name:<8}: {:>8.0} instructions ({:.0} called, {:.0} calling), {:.0} us",
            sums[what],
            of(what, 0),
            of(what, 1),
            of(what, 2)
        );
    }
    sums[1] / sums[0]
}

fn main() {
    // Cargo may have to download something, which the namespace could not.
    cargo::program("bench-calls");
    // SAFETY: concerns this thread alone, and the programs that it starts.
    let entered = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    assert_eq!(
        entered,
        0,
        "the bench needs root: {}",
        Error::last_os_error()
    );
    ip(&["link", "set", "lo", "up"]);
    ip(&["link", "add", "br0", "type", "bridge"]);
    ip(&["addr", "add", "10.0.2.2/24", "dev", "br0"]);
    ip(&["link", "set", "br0", "up"]);
    let machines = [Machine::boot(0), Machine::boot(1)];
    // The other one's echo is there before it is wanted.
    drop(orders(MACHINES[0]));
    let orders = orders(MACHINES[1]);
    let mut pair = Pair { machines, orders };
    let (count, rounds) = if quick() { (500, 1) } else { (3000, 5) };
    let small = compare(&mut pair, 64, count, rounds);
    let large = compare(&mut pair, 16 << 10, count / 5, rounds);
    println!("16 KiB: calls take {large:.2} of the instructions");
    goal("calls_instructions_64", small, 1.5);
}
