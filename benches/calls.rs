//! What does a call from an image to an Ebb in another image cost, beside what the machine's TCP needs to carry as many bytes there and back?
//!
//! `cargo bench --bench calls [-- --quick]`, as root. Two images of one vCPU each, in a network namespace of their own, with a tap interface
//! each on one bridge. Instructions of both machines are counted, which do not depend on what else the host does; the times beside them are
//! of QEMUs that count. The TCP echo is plain; calls are authenticated and encrypted, as they always are: by ChaCha20-Poly1305, which images
//! take on this emulator, and, on machines that do not say that they are emulated, by AES-256-GCM, as on a processor with AES.
//!
//! `-- --functions` says instead in which functions the instructions of each machine are spent.

use std::{
    io::{Error, Read, Write},
    net::TcpStream,
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use benches::{blocks::Functions, goal, median, quick, sides::Counting};
use test_support::{RUNNER, WORKSPACE, cargo, signal};

/// The one that is called, and the one that calls.
const MACHINES: [&str; 2] = ["10.0.2.15", "10.0.2.16"];
const KEY: &str = "0303030303030303030303030303030303030303030303030303030303030303";
const TCP: u64 = 0;
const CALLS: u64 = 1;
const KINDS: [(u64, &str); 2] = [(TCP, "TCP echo"), (CALLS, "call")];
/// The ciphers, and what has an image take each.
const CIPHERS: [(&str, &str, &str); 2] = [
    ("ChaCha20-Poly1305", "", "calls_instructions_64"),
    (
        "AES-256-GCM",
        "-cpu max,tcg-cpuid=off",
        "calls_instructions_64_aes",
    ),
];

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
    tap: String,
}

impl Machine {
    /// Boots the number `index` of [`MACHINES`] on a tap interface of this thread's namespace.
    fn boot(index: usize, qemu: &str, by_block: bool) -> Self {
        let tap = format!("tap{index}");
        ip(&["tuntap", "add", "dev", &tap, "mode", "tap", "vnet_hdr"]);
        ip(&["link", "set", &tap, "master", "br0"]);
        ip(&["link", "set", &tap, "up"]);
        let name = format!("calls-{index}");
        let counting = match by_block {
            true => Counting::of_blocks(&name),
            false => Counting::new(&name),
        };
        let counting = counting.expect("a QEMU that counts");
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
            .env("EBB_QEMU_ARGS", qemu)
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
            tap,
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        signal(&self.runner, libc::SIGTERM);
        let _ = self.runner.wait();
        ip(&["link", "del", &self.tap]);
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
    fn boot(qemu: &str, by_block: bool) -> Self {
        let machines = [0, 1].map(|index| Machine::boot(index, qemu, by_block));
        // The other one's echo is there before it is wanted.
        drop(orders(MACHINES[0]));
        let orders = orders(MACHINES[1]);
        let mut pair = Self { machines, orders };
        for (what, _) in KINDS {
            pair.run(what, 100, 64);
        }
        pair
    }

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

/// Instructions of a call by those of an echo.
fn compare(pair: &mut Pair, bytes: u64, count: u64, rounds: usize) -> f64 {
    let mut all = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for (what, _) in KINDS {
            all[what as usize].push(pair.each(what, count, bytes));
        }
    }
    let mut sums = [0.0; 2];
    for ((what, name), figures) in KINDS.into_iter().zip(&all) {
        let of = |index: usize| median(&figures.iter().map(|f| f[index]).collect::<Vec<_>>());
        let sum = of(0) + of(1);
        println!(
            "{bytes:>6} bytes, {name:<8}: {sum:>8.0} instructions ({:.0} called, {:.0} calling), {:.0} us",
            of(0),
            of(1),
            of(2)
        );
        sums[what as usize] = sum;
    }
    sums[1] / sums[0]
}

/// Prints the functions with the most instructions of each machine, an echo's beside a call's.
fn functions(pair: &mut Pair, bytes: u64, count: u64) {
    let functions = Functions::of(&cargo::program("bench-calls"));
    let mut spent = [const { Vec::new() }; 2];
    for (what, _) in KINDS {
        pair.run(what, count, bytes);
        let before = pair.machines.each_ref().map(|m| m.counting.blocks());
        pair.run(what, count, bytes);
        for (index, before) in before.iter().enumerate() {
            let after = pair.machines[index].counting.blocks();
            spent[index].push(functions.spent(before, &after));
        }
    }
    for (side, spent) in ["called", "calling"].into_iter().zip(&spent) {
        let each = |what: usize, name| *spent[what].get(name).unwrap_or(&0) / count;
        let mut names: Vec<_> = spent[0].keys().chain(spent[1].keys()).collect();
        names.sort_unstable();
        names.dedup();
        names.sort_by_key(|name| u64::MAX - each(0, **name).max(each(1, **name)));
        println!("{bytes} bytes, {side}: instructions of an echo and of a call");
        for name in names {
            let (echo, call) = (each(0, *name), each(1, *name));
            if echo.max(call) >= 20 {
                let name: String = name.chars().take(100).collect();
                println!("{echo:>8} {call:>8}  {name}");
            }
        }
    }
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
    let by_block = std::env::args().any(|argument| argument == "--functions");
    let (count, rounds) = if quick() { (500, 1) } else { (3000, 5) };
    for (cipher, qemu, name) in CIPHERS {
        println!("{cipher}");
        let mut pair = Pair::boot(qemu, by_block);
        if by_block {
            functions(&mut pair, 64, count);
            continue;
        }
        let small = compare(&mut pair, 64, count, rounds);
        let large = compare(&mut pair, 16 << 10, count / 5, rounds);
        println!("16 KiB: calls take {large:.2} of the instructions");
        goal(name, small, 1.5);
    }
}
