//! The two sides: an image under the runner, and a Linux guest of the same virtual hardware.
//!
//! Each has a network namespace with a tap interface (as root). The load comes from an agent: this program once more,
//! inside the namespace, which takes orders on its standard input, so that the two sides can take turns while both are up.
//!
//! What must hold: nothing stays behind, however this program ends. The namespace has no name, so it ends with the
//! processes in it; those are told when this program dies, and the agent sees the end of its orders.

use std::{
    any::Any,
    ffi::OsString,
    fs::File,
    io::{self, BufRead, BufReader, Error, Read, Write},
    net::SocketAddr,
    ops::Range,
    os::{fd::AsRawFd, unix::process::CommandExt},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    sync::atomic::Ordering::Relaxed,
    thread,
};

use test_support::{RUNNER, WORKSPACE, scratch, signal};

use crate::{
    load::Figures,
    quick,
    watched::{Heard, Machine},
};

/// Of the guest on both sides, and of the host.
const GUEST: &str = "10.0.2.15";

/// The host's addresses on the guest's network are 10.0.2.N for these N. Loads come from the first, where nothing else is said.
pub const SOURCES: [u8; 10] = [2, 3, 4, 5, 6, 7, 8, 9, 10, 11];

/// Seconds after which a side's machine is ended, if the bench has not done it.
const TIMEOUT_S: &str = "3000";

/// MiB of memory of each side: what follows `--memory`, else 2048.
fn memory() -> String {
    value_of("--memory").unwrap_or_else(|| String::from("2048"))
}

/// What follows an option of the command line.
pub fn value_of(option: &str) -> Option<String> {
    std::env::args().skip_while(|a| a != option).nth(1)
}

/// A network namespace with `tap0`, without a name: it lasts as long as this and the programs in it.
struct Namespace(File);

impl Namespace {
    fn new(queues: usize) -> Self {
        // A thread of its own enters the namespace, and with it the programs that the thread starts.
        let made = thread::spawn(move || {
            // SAFETY: concerns this thread alone.
            let entered = unsafe { libc::unshare(libc::CLONE_NEWNET) };
            assert_eq!(
                entered,
                0,
                "the bench needs root: {}",
                Error::last_os_error()
            );
            let mut tap = vec!["tuntap", "add", "dev", "tap0", "mode", "tap", "vnet_hdr"];
            if queues > 1 {
                tap.push("multi_queue");
            }
            run(&tap);
            for source in SOURCES {
                run(&["addr", "add", &format!("10.0.2.{source}/24"), "dev", "tap0"]);
            }
            run(&["link", "set", "tap0", "up"]);
            run(&["link", "set", "lo", "up"]);
            File::open("/proc/thread-self/ns/net").expect("procfs")
        });
        Self(made.join().expect("a namespace"))
    }

    /// A program that runs in it, and is asked to end when this one dies.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        let space = self.0.as_raw_fd();
        // SAFETY: system calls only, with a descriptor that is open until the program is started.
        unsafe {
            command.pre_exec(move || {
                if libc::setns(space, libc::CLONE_NEWNET) != 0
                    || libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) != 0
                {
                    return Err(Error::last_os_error());
                }
                Ok(())
            });
        }
        command
    }
}

fn run(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status();
    assert!(
        status.is_ok_and(|s| s.success()),
        "`ip {}` failed; the bench needs root and iproute2",
        arguments.join(" ")
    );
}

/// A QEMU that counts instructions, found in the PATH by whoever looks for QEMU.
pub struct Counting {
    path: OsString,
    file: PathBuf,
}

impl Counting {
    /// Builds the plugin; `name` tells apart two that run at the same time. `None`, with a line that says why, where it
    /// cannot be built.
    ///
    /// # Panics
    /// When there is no folder to write to.
    pub fn new(name: &str) -> Option<Self> {
        Self::with_file(name, "", None)
    }

    /// One that counts for several vCPUs, and the lines of memory that each writes: what it has counted is in its [file](Self::file).
    ///
    /// # Panics
    /// As `new`.
    pub fn of_lines(name: &str) -> Option<Self> {
        Self::with_plugin(name, "lines.c", "", None)
    }

    /// Where the plugin counts.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// As [`new`](Self::new); with the addresses of a function it is [marked](Self::between_marks) where this begins and returns.
    ///
    /// # Panics
    /// As `new`.
    pub fn within(name: &str, function: Range<u64>) -> Option<Self> {
        Self::with_file(name, "", Some(function))
    }

    /// The same for a program that starts several machines: see [`each`](Self::each).
    ///
    /// # Panics
    /// When there is no folder to write to.
    pub fn of_several(name: &str) -> Option<Self> {
        // Of machines that have been.
        let _ = std::fs::remove_dir_all(scratch(&format!("counting-{name}")));
        Self::with_file(name, ".$$", None)
    }

    /// `suffix` is the shell's, of a file for each process.
    fn with_file(name: &str, suffix: &str, function: Option<Range<u64>>) -> Option<Self> {
        Self::with_plugin(name, "count.c", suffix, function)
    }

    pub(crate) fn with_plugin(
        name: &str,
        source: &str,
        suffix: &str,
        function: Option<Range<u64>>,
    ) -> Option<Self> {
        let folder = scratch(&format!("counting-{name}"));
        std::fs::create_dir_all(&folder).expect("a directory to write to");
        let (plugin, file) = (folder.join("count.so"), folder.join("count"));
        let built = Command::new("cc")
            .args(["-O2", "-shared", "-fPIC", "-o"])
            .arg(&plugin)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/guests/").to_owned() + source)
            .status();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let qemu = std::env::split_paths(&path)
            .map(|p| p.join("qemu-system-x86_64"))
            .find(|p| p.exists());
        let (Ok(true), Some(qemu)) = (built.map(|s| s.success()), qemu) else {
            println!("instructions are not counted: it takes a C compiler and QEMU");
            return None;
        };
        let wrapper = folder.join("qemu-system-x86_64");
        let range = function.map_or(String::new(), |function| {
            let Range { start, end } = function;
            format!("export COUNT_FROM={start:x} COUNT_TO={end:x}\n")
        });
        let script = format!(
            "#!/bin/sh\n{range}COUNT_FILE='{}'{suffix} exec '{}' -plugin '{}' \"$@\"\n",
            file.display(),
            qemu.display(),
            plugin.display()
        );
        std::fs::write(&wrapper, script).expect("a file to write to");
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&wrapper, executable).expect("one's own file");
        let paths = std::iter::once(folder).chain(std::env::split_paths(&path));
        Some(Self {
            path: std::env::join_paths(paths).expect("as it came"),
            file,
        })
    }

    /// Has a command find this QEMU.
    pub fn counts(&self, command: &mut Command) {
        command.env("PATH", &self.path);
    }

    fn words(&self) -> Vec<u64> {
        words_in(&self.file)
    }

    /// Instructions since the start.
    ///
    /// # Panics
    /// When no QEMU has been started that counts.
    pub fn instructions(&self) -> u64 {
        self.words()[0]
    }

    /// Instructions of each machine that has been started since [`of_several`](Self::of_several), in any order that stays.
    ///
    /// # Panics
    /// When QEMU has no plugin.
    pub fn each(&self) -> Vec<u64> {
        let folder = self.file.parent().expect("a folder");
        let files = std::fs::read_dir(folder).expect("it was made").flatten();
        let mut files: Vec<PathBuf> = files.map(|entry| entry.path()).collect();
        let is_count = |file: &PathBuf| file.file_stem() == self.file.file_name();
        files.retain(|file| is_count(file) && file.extension().is_some_and(|pid| pid != "so"));
        files.sort();
        files.iter().map(|file| words_in(file)[0]).collect()
    }

    /// Instructions between each pair of marks that the guest has made (`guests/count.c`).
    pub fn between_marks(&self) -> Vec<u64> {
        let words = self.words();
        let marks = &words[2..][..words[1] as usize];
        marks.chunks_exact(2).map(|m| m[1] - m[0]).collect()
    }

    /// Instructions for each request of a closed loop.
    ///
    /// # Panics
    /// When the side is not run by the QEMU that counts.
    pub fn per_request(&self, side: &mut Side, order: &str, seconds: f64) -> f64 {
        let counted = self.try_per_request(side, order, seconds);
        counted.unwrap_or_else(|reason| panic!("the order {order:?} failed: {reason}"))
    }

    /// Instructions for each of `count` things that an order does, all that the machine does meanwhile included.
    ///
    /// # Panics
    /// When the order is not carried out.
    pub fn per_start(&self, side: &mut Side, order: &str, count: usize) -> f64 {
        let before = self.instructions();
        side.order(order);
        (self.instructions() - before) as f64 / count as f64
    }

    fn try_per_request(&self, side: &mut Side, order: &str, seconds: f64) -> Result<f64, String> {
        side.try_order(order)?;
        let before = self.instructions();
        let figures = side.try_order(order)?;
        Ok((self.instructions() - before) as f64 / (figures.per_second * seconds))
    }
}

/// Instructions of the guest for each request, kernel and application, under closed load on one vCPU. Returns ours by
/// theirs.
pub fn count_instructions(
    name: &str,
    ours: impl FnOnce(&Counting) -> Side,
    theirs: Option<impl FnOnce(&Counting) -> Side>,
) -> Option<f64> {
    let seconds = if quick() && theirs.is_none() {
        1.0
    } else {
        4.0
    };
    let counting = Counting::new(name)?;
    let order = format!("0 {seconds}");
    let image = counting.per_request(&mut ours(&counting), &order, seconds);
    println!("\ninstructions per request, 1 vCPU: image {image:.0}");
    match counting.try_per_request(&mut theirs?(&counting), &order, seconds) {
        Ok(linux) => {
            println!("instructions per request, 1 vCPU: Linux {linux:.0}");
            Some(image / linux)
        }
        Err(reason) => {
            println!("instructions per request, 1 vCPU: Linux failed: {reason}");
            None
        }
    }
}

pub(crate) fn words_in(file: &Path) -> Vec<u64> {
    let bytes = std::fs::read(file).expect("QEMU has the plugin");
    let words = bytes.chunks_exact(8);
    words
        .map(|word| u64::from_ne_bytes(word.try_into().expect("eight bytes")))
        .collect()
}

/// What the QEMU has counted whose [`Counting`] has this name, as an agent sees it: instructions, and blocks that were translated,
/// since the start.
///
/// # Panics
/// When there is none.
pub fn counted(name: &str) -> (u64, u64) {
    let words = words_in(&scratch(&format!("counting-{name}")).join("count"));
    (words[0], words[words.len() - 1])
}

fn find_in(command: &mut Command, counting: Option<&Counting>) {
    if let Some(counting) = counting {
        counting.counts(command);
    }
}

/// An image, and the runner that boots it.
pub struct Build {
    runner: PathBuf,
    image: PathBuf,
    workspace: PathBuf,
    /// As in `EBB_DISK`.
    disks: String,
}

impl Build {
    /// An image of this build.
    pub fn this(image: &Path) -> Self {
        Self {
            runner: RUNNER.into(),
            image: image.to_owned(),
            workspace: WORKSPACE.into(),
            disks: "none".into(),
        }
    }

    /// With these disks, as in `EBB_DISK`; else it has none.
    #[must_use]
    pub fn with_disks(mut self, disks: String) -> Self {
        self.disks = disks;
        self
    }

    /// An example in another checkout, released.
    pub fn of(checkout: &Path, example: &str) -> Self {
        Self {
            runner: checkout.join("ebb-runner/run"),
            image: checkout.join("target/release/examples").join(example),
            workspace: checkout.to_owned(),
            disks: "none".into(),
        }
    }
}

/// A server that is up, and the agent that loads it.
pub struct Side {
    agent: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    /// The last that the agent, or what started it, has complained of.
    complaints: Heard,
    machine: Option<Machine>,
}

impl Side {
    /// Boots an image of this build whose server listens on `port`.
    ///
    /// # Panics
    /// When this user may not make a network namespace.
    pub fn image(
        image: &Path,
        cores: usize,
        port: u16,
        arguments: &[&str],
        counting: Option<&Counting>,
    ) -> Self {
        Self::build(&Build::this(image), cores, port, arguments, counting)
    }

    /// Boots an image of whichever build.
    ///
    /// # Panics
    /// When this user may not make a network namespace.
    pub fn build(
        build: &Build,
        cores: usize,
        port: u16,
        arguments: &[&str],
        counting: Option<&Counting>,
    ) -> Self {
        let space = Namespace::new(cores);
        let queues = if cores > 1 {
            format!(",queues={cores}")
        } else {
            String::new()
        };
        let mut machine = space.command(&build.runner);
        find_in(&mut machine, counting);
        machine
            .arg(&build.image)
            .args(arguments)
            .current_dir(&build.workspace)
            .env("EBB_CORES", cores.to_string())
            .env("EBB_MEMORY", format!("{}M", memory()))
            .env("EBB_NET", format!("tap:tap0{queues}"))
            .env("EBB_OPTIONS", format!("ip={GUEST}/24"))
            .env("EBB_DISK", &build.disks)
            .env("EBB_TIMEOUT", TIMEOUT_S);
        let machine = Machine::start(machine);
        let mut agent = space.command(std::env::current_exe().expect("this program"));
        agent.args(["agent", GUEST, &port.to_string()]);
        Self::with_agent(agent, Some(machine))
    }

    /// Boots a Linux guest by `EBB_LINUX_GUEST`, which runs a command in the guest's network namespace:
    /// `PROGRAM --smp N --mem MIB --net tap --queues N APP... -- COMMAND`.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn linux(
        guest: &Path,
        cores: usize,
        port: u16,
        app: &[&str],
        counting: Option<&Counting>,
    ) -> Self {
        let mut agent = Command::new(guest);
        find_in(&mut agent, counting);
        let cores = cores.to_string();
        agent
            .args([
                "--smp",
                &cores,
                "--mem",
                &memory(),
                "--net",
                "tap",
                "--queues",
                &cores,
            ])
            .args(["--timeout", TIMEOUT_S])
            .args(app)
            .arg("--")
            .arg(std::env::current_exe().expect("this program"))
            .args(["agent", GUEST, &port.to_string()]);
        Self::with_agent(agent, None)
    }

    /// A program of this machine that listens on a port of the loopback interface.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn process(program: Command, port: u16) -> Self {
        let machine = Machine::start(program);
        let mut agent = Command::new(std::env::current_exe().expect("this program"));
        agent.args(["agent", "127.0.0.1", &port.to_string()]);
        Self::with_agent(agent, Some(machine))
    }

    fn with_agent(mut agent: Command, mut machine: Option<Machine>) -> Self {
        let mut agent = agent
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{agent:?}: {error}"));
        let answers = BufReader::new(agent.stdout.take().expect("piped"));
        let complaints = Heard::default();
        complaints.listen(agent.stderr.take().expect("piped"), || {});
        if let Some(machine) = &mut machine {
            machine.watch(&agent);
        }
        Self {
            orders: agent.stdin.take(),
            agent,
            answers,
            complaints,
            machine,
        }
    }

    /// Gives an order; waits for its figures.
    ///
    /// # Panics
    /// When it is not carried out.
    pub fn order(&mut self, order: &str) -> Figures {
        let done = self.try_order(order);
        done.unwrap_or_else(|reason| panic!("the order {order:?} failed: {reason}"))
    }

    /// The same, for a side that may be too slow, or may not have come up at all.
    ///
    /// # Errors
    /// What went wrong, in words. The side takes further orders unless it has ended.
    pub fn try_order(&mut self, order: &str) -> Result<Figures, String> {
        let orders = self.orders.as_mut().expect("open until the end");
        let mut answers = match writeln!(orders, "{order}") {
            Ok(()) => self.answers.by_ref().lines(),
            Err(_) => return Err(self.end()),
        };
        while let Some(Ok(line)) = answers.next() {
            if let Some(figures) = line.strip_prefix("figures ") {
                let mut numbers = figures
                    .split_whitespace()
                    .map(|n| n.parse().expect("a number"));
                let mut next = || numbers.next().expect("three numbers");
                return Ok(Figures {
                    per_second: next(),
                    p50_us: next(),
                    p99_us: next(),
                });
            }
            if let Some(reason) = line.strip_prefix("failed ") {
                return Err(reason.to_owned());
            }
        }
        Err(self.end())
    }

    /// Why there are no more answers.
    fn end(&mut self) -> String {
        let words = |ended: io::Result<ExitStatus>| match ended {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        if let Some(machine) = &mut self.machine {
            // Its silence has ended the agent, which may be known before its own end is.
            let ended = match machine.is_silent.load(Relaxed) {
                true => Some(words(machine.child.wait())),
                false => machine
                    .child
                    .try_wait()
                    .ok()
                    .flatten()
                    .map(|s| s.to_string()),
            };
            if let Some(status) = ended {
                return format!("the machine has ended ({status}): {}", machine.said.text());
            }
        }
        if let Some(machine) = &self.machine {
            machine.over.store(true, Relaxed);
        }
        let status = words(self.agent.wait());
        format!("it has ended ({status}): {}", self.complaints.text())
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        if let Some(machine) = &self.machine {
            machine.over.store(true, Relaxed);
        }
        // Without orders the agent ends, and with it the Linux guest.
        drop(self.orders.take());
        let _ = self.agent.wait();
        if let Some(Machine { child, .. }) = &mut self.machine
            && matches!(child.try_wait(), Ok(None))
        {
            // The runner passes the signal on to QEMU.
            signal(child, libc::SIGTERM);
            let _ = child.wait();
        }
    }
}

/// If this program was started as an agent: takes orders until there are none. `obey` does one.
///
/// # Panics
/// When an order is no list of numbers. When `obey` panics, its order has failed, and the next one is awaited.
pub fn agent(mut obey: impl FnMut(SocketAddr, &[f64]) -> Figures) -> bool {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, mode, host, port] = &arguments[..] else {
        return false;
    };
    if mode != "agent" {
        return false;
    }
    let address = format!("{host}:{port}").parse().expect("an address");
    for order in std::io::stdin().lines() {
        let order = order.expect("text");
        let numbers: Vec<f64> = order
            .split_whitespace()
            .map(|n| n.parse().expect("a number"))
            .collect();
        // A server that is too slow, or answers wrongly, ends the order, not the bench.
        match catch_unwind(AssertUnwindSafe(|| obey(address, &numbers))) {
            Ok(Figures {
                per_second,
                p50_us,
                p99_us,
            }) => println!("figures {per_second} {p50_us} {p99_us}"),
            Err(panic) => println!("failed {}", words_of(&*panic)),
        }
    }
    true
}

/// What a panic said, on one line.
fn words_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic").replace('\n', " ")
}

/// The program that boots a Linux guest, if `EBB_LINUX_GUEST` names it. A relative path is one from the workspace's folder: Cargo runs
/// benches in their package's.
pub fn linux_guest_program() -> Option<PathBuf> {
    let guest = PathBuf::from(std::env::var_os("EBB_LINUX_GUEST")?);
    let there = Path::new(WORKSPACE).join(&guest);
    Some(if there.is_file() { there } else { guest })
}

/// As [`linux_guest_program`]; says so if there is none.
pub fn linux_guest() -> Option<PathBuf> {
    let guest = linux_guest_program();
    if guest.is_none() {
        println!(
            "EBB_LINUX_GUEST names no program that boots a Linux guest: the image is measured alone, without ratios"
        );
    }
    guest
}

/// How many rounds of how many seconds. The short form of an image alone only shows that it works.
pub fn effort(guest: Option<&Path>, long: (usize, f64)) -> (usize, f64) {
    match (quick(), guest) {
        (false, _) => long,
        (true, Some(_)) => (3, 2.0),
        (true, None) => (1, 1.0),
    }
}
