//! An invoker's machine on disks that stay, and when it came up.

use std::{
    fs,
    io::ErrorKind,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use test_support::{RUNNER, WORKSPACE, invoker::Invoker, scratch};

/// The function that is called first.
pub const HELLO: &str = "hello";
const SOURCE: &str = "exports.main = ({ name }) => ({ hello: name })";
const ANSWER: &str = r#"{"hello":"you"}"#;

/// Where a machine listens.
pub fn address(machine: &Invoker) -> SocketAddr {
    ([127, 0, 0, 1], machine.port()).into()
}

/// A machine that listens.
pub struct Started {
    pub machine: Invoker,
    begun: Instant,
    listens: f64,
}

/// Seconds to the first answer, since the start of the runner and of QEMU; and until it says that it listens.
pub struct Answered {
    pub runner: f64,
    pub qemu: f64,
    pub listens: f64,
}

/// The state's disk and that of snapshots.
pub struct Disks {
    state: PathBuf,
    snapshots: PathBuf,
}

fn fresh(name: &str) -> PathBuf {
    let path = scratch(name);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => panic!("{}: {error}", path.display()),
        _ => path,
    }
}

/// A disk with the bases of an image.
pub fn bake(image: &Path) -> PathBuf {
    let disk = fresh("starts-baked.snapshots");
    let done = Command::new(RUNNER)
        .arg("bake")
        .arg(image)
        .arg("-o")
        .arg(&disk)
        .current_dir(WORKSPACE)
        .env("EBB_CORES", "2")
        .env("EBB_MEMORY", "2G")
        .env("EBB_TIMEOUT", "300")
        .output()
        .expect("the runner starts");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    disk
}

impl Disks {
    /// Empty ones of that name.
    pub fn new(name: &str) -> Self {
        Self {
            state: fresh(&format!("starts-{name}.disk")),
            snapshots: fresh(&format!("starts-{name}.snapshots")),
        }
    }

    fn boot_on(image: &Path, disks: &str, arguments: &[&str]) -> Started {
        Self::start(Invoker::runner_of(image, "2G", disks), disks, arguments)
    }

    fn start(mut command: Command, disks: &str, arguments: &[&str]) -> Started {
        // A machine that was killed has its locks until its QEMU has ended.
        let files: Vec<_> = disks
            .split(';')
            .filter_map(|disk| disk.split(',').next())
            .collect();
        for _ in 0..500 {
            let locked =
                |path: &&str| fs::File::open(path).is_ok_and(|file| file.try_lock().is_err());
            if !files.iter().any(locked) {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        command
            .args(["--auth", "guest:key", "--quiet"])
            .args(arguments)
            .env("EBB_CORES", "2");
        let begun = Instant::now();
        let machine = Invoker::start(&mut command, &[]);
        Started {
            machine,
            begun,
            listens: begun.elapsed().as_secs_f64(),
        }
    }

    /// Boots an image on them.
    pub fn boot(&self, image: &Path, arguments: &[&str]) -> Started {
        let disks = format!(
            "{},size=4G;{},size=4G",
            self.state.display(),
            self.snapshots.display()
        );
        Self::boot_on(image, &disks, arguments)
    }

    /// With another disk of snapshots.
    pub fn boot_with(&self, image: &Path, snapshots: &str) -> Started {
        let disks = format!("{},size=4G;{snapshots}", self.state.display());
        Self::boot_on(image, &disks, &[])
    }

    /// With an empty disk of snapshots.
    pub fn boot_fresh(&self, image: &Path) -> Started {
        let empty = fresh("starts-empty.snapshots");
        self.boot_with(image, &format!("{},size=4G", empty.display()))
    }
}

/// Boots a build of before, which may keep nothing, from its checkout.
pub fn boot_before(checkout: &Path) -> Started {
    let mut command = Command::new(checkout.join("ebb-runner/run"));
    command
        .arg(checkout.join("target/release/examples/invoker"))
        .current_dir(checkout)
        .env("EBB_MEMORY", "2G")
        .env("EBB_TIMEOUT", "300")
        .env("EBB_DISK", "none")
        .env("EBB_FORWARD", "0:3233");
    Disks::start(command, "", &[])
}

/// How old the QEMU is that a runner has started, in seconds.
fn age_of_qemu(runner: u32) -> f64 {
    let processes = fs::read_dir("/proc").expect("Linux");
    let numbers =
        processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let begun = numbers.filter_map(|id| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // Behind the name, which may have anything in it: state, parent, and the 20th of them is the start.
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        (fields[1].parse() == Ok(runner)).then(|| fields[19].parse::<f64>().ok())?
    });
    let ticks = begun.fold(0.0, f64::max);
    let uptime = fs::read_to_string("/proc/uptime").expect("Linux");
    let now: f64 = uptime
        .split(' ')
        .next()
        .and_then(|n| n.parse().ok())
        .expect("seconds");
    // USER_HZ is 100 on every Linux that runs this.
    now - ticks / 100.0
}

impl Started {
    /// Calls the function that is deployed.
    pub fn first_answer(&self) -> Answered {
        let (status, answer) = self.machine.call(HELLO, r#"{"name":"you"}"#);
        let runner = self.begun.elapsed().as_secs_f64();
        assert_eq!((status, answer.as_str()), (200, ANSWER));
        let qemu = age_of_qemu(self.machine.runner_id());
        Answered {
            runner,
            // What passed since the answer.
            qemu: qemu - (self.begun.elapsed().as_secs_f64() - runner),
            listens: self.listens,
        }
    }

    /// Deploys the function.
    pub fn deploy(&self) {
        self.machine.deploy(HELLO, SOURCE);
    }

    /// Deploys it, and ends.
    pub fn deploy_hello(self) {
        self.deploy();
        self.machine.kill();
    }

    /// Deploys and calls it, waits until the disk has the base and its snapshot, and ends.
    pub fn leave_snapshots(self) {
        self.machine.deploy(HELLO, SOURCE);
        self.machine.until("ebb_base_ready", |ready| ready == 1);
        let (status, answer) = self.machine.call(HELLO, r#"{"name":"you"}"#);
        assert_eq!((status, answer.as_str()), (200, ANSWER));
        self.leave();
    }

    /// Waits until what was called is on the disk, and ends.
    pub fn leave(self) {
        self.machine.until("ebb_captures_put_off", |n| n == 0);
        // Bases are written in idle time, and functions' snapshots behind their bases.
        self.machine.until_kept();
        self.machine.kill();
    }
}
