//! Durable PUTs of actions beside redis with `appendfsync always`, by the same clients: each answered when it is on the disk.
//!
//! - hosted: the invoker as a Linux process and redis, both on this machine, with files in one folder;
//! - guest: the image and redis in the Linux guest, under the same QEMU, each with a virtio disk whose file is in that folder;
//! - emulated: the image beside the redis of this machine, which has no emulator below it.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use benches::{
    answer::whole,
    functions::{ARGUMENTS, IMAGE, request},
    goal, goal_at_least,
    load::{Figures, Generator, Load, Protocol},
    median, quick,
    sides::linux_guest,
};
use test_support::{cargo, invoker::Invoker, scratch, tools};

use crate::machine::{Disks, address};
use crate::rounds;

pub const CLIENTS: usize = 8;
/// Bytes of an action's code, and of a value of redis.
pub const CODE: usize = 1024;
/// How long a server has to come up.
const PATIENCE: Duration = Duration::from_secs(120);

/// Actions of that many bytes, each under a name of its own.
struct Puts {
    next: u64,
    code: usize,
}

impl Protocol for Puts {
    fn request(&mut self, out: &mut Vec<u8>) -> u64 {
        let number = self.next;
        self.next += 1;
        let code = format!(
            "exports.main = () => ({{ n: {number} }}); /*{}*/",
            "x".repeat(self.code)
        );
        let body = format!(r#"{{"exec":{{"kind":"nodejs:default","code":"{code}"}}}}"#);
        out.extend(request(IMAGE, "PUT", &format!("n{number:07}"), &body).as_bytes());
        number
    }

    fn answer(&mut self, input: &[u8], number: u64) -> Option<usize> {
        let answer = whole(input)?;
        let body = String::from_utf8_lossy(&input[answer.body.clone()]);
        assert!(
            answer.is_good && body.contains(&format!("n{number:07}")),
            "{body}"
        );
        Some(answer.body.end)
    }
}

/// Values of that many bytes, each under a key of its own, in the words of redis.
struct Sets {
    next: u64,
    value: String,
}

impl Protocol for Sets {
    fn request(&mut self, out: &mut Vec<u8>) -> u64 {
        let number = self.next;
        self.next += 1;
        let value = &self.value;
        let length = value.len();
        let set = format!("*3\r\n$3\r\nSET\r\n$8\r\nn{number:07}\r\n${length}\r\n{value}\r\n");
        out.extend(set.as_bytes());
        number
    }

    fn answer(&mut self, input: &[u8], _: u64) -> Option<usize> {
        let end = input.windows(2).position(|w| w == b"\r\n")? + 2;
        let said = String::from_utf8_lossy(&input[..end]);
        assert_eq!(said, "+OK\r\n");
        Some(end)
    }
}

const ENDLESS: f64 = 3600.0;

fn run(address: SocketAddr, count: usize, requests: &mut dyn Protocol) -> Figures {
    let load = Load {
        depth: 1,
        rate: 0.0,
        seconds: ENDLESS,
    };
    Generator::new(address, CLIENTS).run(load, Some(count as u64), requests)
}

/// Deploys so many actions.
pub fn fill(machine: &Invoker, count: usize, code: usize) -> Figures {
    run(address(machine), count, &mut Puts { next: 0, code })
}

/// An empty folder for files that servers write.
fn folder(name: &str) -> PathBuf {
    let folder = scratch(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a place for files");
    folder
}

/// A program that serves, and ends with this.
struct Serving {
    child: Child,
    address: SocketAddr,
    folder: PathBuf,
}

impl Drop for Serving {
    fn drop(&mut self) {
        // The Linux guest ends when nothing more can come.
        drop(self.child.stdin.take());
        let begun = Instant::now();
        while self.address.port() == GUEST_PORT && begun.elapsed() < Duration::from_secs(20) {
            if self.child.try_wait().is_ok_and(|ended| ended.is_some()) {
                break;
            }
            thread::sleep(Duration::from_millis(50));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Serving {
    /// Waits until redis answers there.
    fn until_redis(self) -> Self {
        let begun = Instant::now();
        let set = |address| {
            let mut stream = TcpStream::connect(address)?;
            stream.set_read_timeout(Some(Duration::from_secs(2)))?;
            std::io::Write::write_all(&mut stream, b"PING\r\n")?;
            let mut answer = String::new();
            BufReader::new(stream).read_line(&mut answer)?;
            Ok::<_, std::io::Error>(answer)
        };
        while !set(self.address).is_ok_and(|answer| answer == "+PONG\r\n") {
            assert!(begun.elapsed() < PATIENCE, "redis does not come up");
            thread::sleep(Duration::from_millis(50));
        }
        self
    }
}

const REDIS: [&str; 6] = [
    "--save",
    "",
    "--appendonly",
    "yes",
    "--appendfsync",
    "always",
];

fn redis() -> Serving {
    let folder = folder("bench-starts-redis");
    let child = Command::new("redis-server")
        .args(["--port", "16399", "--bind", "127.0.0.1", "--dir"])
        .arg(&folder)
        .args(REDIS)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server starts");
    let serving = Serving {
        child,
        address: ([127, 0, 0, 1], 16399).into(),
        folder,
    };
    serving.until_redis()
}

/// The invoker as a process of this machine.
fn hosted() -> Serving {
    let folder = folder("bench-starts-hosted");
    let mut child = Command::new(cargo::hosted_example("invoker"))
        .args(ARGUMENTS)
        .args(["--port", "0"])
        .env("EBB_CORES", "1")
        .env("EBB_DISK", folder.join("state.disk"))
        .env("TMPDIR", &folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it was just built");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let first = lines.next().expect("a banner").expect("text");
    let port = first.split(':').nth(3).and_then(|p| p.split('/').next());
    let port: u16 = port.and_then(|p| p.parse().ok()).expect("a port");
    // Read on, or the invoker would wait for a full pipe.
    thread::spawn(move || lines.for_each(drop));
    Serving {
        child,
        address: ([127, 0, 0, 1], port).into(),
        folder,
    }
}

const GUEST_PORT: u16 = 16398;

/// The driver of the Linux guest's disk, where the kit has unpacked its kernel.
fn disk_driver() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
    let modules = cache.or_else(home)?.join("ebb-baseline/root/lib/modules");
    let kernels = fs::read_dir(modules).ok()?.flatten();
    let mut drivers =
        kernels.map(|kernel| kernel.path().join("kernel/drivers/block/virtio_blk.ko"));
    drivers.find(|driver| driver.exists())
}

/// redis in the Linux guest, on an ext4 of a virtio disk. `None`, with a line that says why, where there is no such guest.
fn guest_redis() -> Option<Serving> {
    let guest = linux_guest()?;
    let Some(driver) = disk_driver() else {
        println!("the Linux guest has no driver for a disk: it is found once it has booted");
        return None;
    };
    if tools::lacks(&["/usr/sbin/mkfs.ext4"]) {
        return None;
    }
    let folder = folder("bench-starts-guest");
    let disk = folder.join("redis.disk");
    let file = fs::File::create(&disk).expect("a file");
    file.set_len(4 << 30).expect("a sparse file");
    let made = Command::new("/usr/sbin/mkfs.ext4")
        .arg("-q")
        .arg(&disk)
        .status();
    assert!(made.is_ok_and(|made| made.success()), "mkfs.ext4");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let qemu = std::env::split_paths(&path).map(|p| p.join("qemu-system-x86_64"));
    let qemu = qemu.into_iter().find(|p| p.exists()).expect("QEMU");
    // As the image's runner attaches one.
    let drive = format!(
        "file={},if=none,id=d0,format=raw,cache=writeback",
        disk.display()
    );
    let script = format!(
        "#!/bin/sh\nexec '{}' -drive '{drive}' -device virtio-blk-pci,drive=d0 \"$@\"\n",
        qemu.display()
    );
    let wrapper = folder.join("qemu-system-x86_64");
    fs::write(&wrapper, script).expect("a file to write to");
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).expect("one's own file");
    let paths = std::iter::once(folder.clone()).chain(std::env::split_paths(&path));
    let redis = REDIS.map(|word| format!("'{word}'")).join(" ");
    let run = format!(
        "insmod /app/virtio_blk.ko; mkdir /data; mount -t ext4 /dev/vda /data; \
         redis-server --port 80 --bind 0.0.0.0 --protected-mode no --dir /data {redis}"
    );
    let mut command = Command::new(guest);
    command
        .args([
            "--app", "run", "--smp", "2", "--mem", "2048", "--net", "user",
        ])
        .args(["--port", &GUEST_PORT.to_string(), "--timeout", "900"])
        .args(["--add", "/usr/bin/redis-server", "--add"])
        .arg(driver)
        .args(["--run", &run, "--", "cat"])
        .env("PATH", std::env::join_paths(paths).expect("as it came"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let serving = Serving {
        child: command.spawn().expect("the Linux guest starts"),
        address: ([127, 0, 0, 1], GUEST_PORT).into(),
        folder,
    };
    Some(serving.until_redis())
}

/// What is asked for, and whom.
struct Asked<'a> {
    name: &'a str,
    address: SocketAddr,
    requests: Box<dyn Protocol>,
    figures: Vec<Figures>,
}

impl<'a> Asked<'a> {
    fn redis(name: &'a str, of: &Serving) -> Self {
        let value = "x".repeat(CODE);
        Self::new(name, of.address, Box::new(Sets { next: 0, value }))
    }

    fn invoker(name: &'a str, address: SocketAddr) -> Self {
        let puts = Puts {
            next: 0,
            code: CODE,
        };
        Self::new(name, address, Box::new(puts))
    }

    fn new(name: &'a str, address: SocketAddr, requests: Box<dyn Protocol>) -> Self {
        Self {
            name,
            address,
            requests,
            figures: Vec::new(),
        }
    }

    fn of(&self, f: fn(&Figures) -> f64) -> f64 {
        median(&self.figures.iter().map(f).collect::<Vec<_>>())
    }

    fn print(&self) {
        println!(
            "  {:<34} {:>7.0}/s  p50 {:>7.2} ms  p99 {:>7.2} ms",
            self.name,
            self.of(|f| f.per_second),
            self.of(|f| f.p50_us) / 1000.0,
            self.of(|f| f.p99_us) / 1000.0,
        );
    }
}

/// Has the two take turns; tells what became of it, and under which name.
fn compare(name: &str, count: usize, mut sides: [Asked<'_>; 2]) {
    for round in 0..rounds() {
        for turn in 0..2 {
            // Every other round the other way about.
            let side = &mut sides[(round + turn) % 2];
            let figures = run(side.address, count, &mut *side.requests);
            side.figures.push(figures);
        }
    }
    sides.iter().for_each(Asked::print);
    let ratio = |f: fn(&Figures) -> f64| {
        let [ours, theirs] = &sides;
        let rounds = ours.figures.iter().zip(&theirs.figures);
        median(&rounds.map(|(a, b)| f(a) / f(b)).collect::<Vec<_>>())
    };
    goal_at_least(
        &format!("durable_puts_{name}"),
        ratio(|f| f.per_second),
        1.0,
    );
    goal(&format!("durable_put_p99_{name}"), ratio(|f| f.p99_us), 1.0);
}

/// Durable PUTs beside redis.
pub fn puts() {
    let count = if quick() { 2_000 } else { 10_000 };
    println!(
        "{count} durable PUTs of {CODE} bytes by {CLIENTS} clients, {} rounds, taking turns",
        rounds()
    );
    let redis = redis();
    let process = hosted();
    compare(
        "hosted",
        count,
        [
            Asked::invoker("the invoker, a process", process.address),
            Asked::redis("redis 7, a process", &redis),
        ],
    );
    drop(process);
    // An empty one each time.
    let image = || {
        let machine = Disks::new("puts")
            .boot(&cargo::example("invoker"), &[])
            .machine;
        machine.until("ebb_base_ready", |ready| ready == 1);
        machine
    };
    if let Some(guest) = guest_redis() {
        let machine = image();
        let ours = Asked::invoker("the image", address(&machine));
        let theirs = Asked::redis("redis 7 in the Linux guest", &guest);
        compare("guest", count, [ours, theirs]);
        machine.kill();
    }
    let machine = image();
    let ours = Asked::invoker("the image", address(&machine));
    let theirs = Asked::redis("redis 7, a process", &redis);
    compare("emulated", count, [ours, theirs]);
    machine.kill();
}
