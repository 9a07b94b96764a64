//! An image under the runner, and all that it says. [`lan`](crate::lan) and [`invoker`](crate::invoker) are built on it.
//!
//! What must hold: both of its streams are read to their ends, or it would wait for a full pipe; and dropped, it is asked to end and
//! waited for, so that no QEMU is left.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread,
    time::Duration,
};

use crate::{RUNNER, cargo, signal};

/// How long an image may take until it says what is waited for.
const PATIENCE: Duration = Duration::from_secs(180);

/// A runner that would boot `program`.
pub fn runner(program: &Path, memory: &str, limit_s: u32) -> Command {
    let mut command = Command::new(RUNNER);
    command
        .arg(program)
        .env("EBB_MEMORY", memory)
        .env("EBB_TIMEOUT", limit_s.to_string());
    command
}

/// Boots a small machine of two cores, without network and disk unless the settings say otherwise, and waits for its end.
///
/// # Panics
/// When there is no runner.
pub fn boot_small(program: &Path, arguments: &[&str], settings: &[(&str, &str)]) -> Output {
    runner(program, "128M", 60)
        .args(arguments)
        .envs([
            ("EBB_CORES", "2"),
            ("EBB_NET", "none"),
            ("EBB_DISK", "none"),
        ])
        .envs(settings.iter().copied())
        .stdin(Stdio::null())
        .output()
        .expect("the runner starts")
}

/// An image that runs.
pub struct Image {
    child: Child,
    said: Arc<Said>,
}

#[derive(Default)]
struct Said {
    text: Mutex<Text>,
    changed: Condvar,
}

#[derive(Default)]
struct Text {
    lines: String,
    /// Streams that are at their ends.
    ended: usize,
}

impl Said {
    fn text(&self) -> MutexGuard<'_, Text> {
        self.text.lock().expect("no panic")
    }

    /// Takes a stream's lines to its end.
    fn read(&self, stream: impl Read) {
        let mut lines = BufReader::new(stream);
        let mut line = Vec::new();
        while matches!(lines.read_until(b'\n', &mut line), Ok(1..)) {
            self.text().lines += &String::from_utf8_lossy(&line);
            self.changed.notify_all();
            line.clear();
        }
        self.text().ended += 1;
        self.changed.notify_all();
    }
}

impl Image {
    /// Starts a runner.
    ///
    /// # Panics
    /// When there is none.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the runner starts");
        let said: Arc<Said> = Arc::default();
        let console = child.stdout.take().expect("piped");
        let messages = child.stderr.take().expect("piped");
        for stream in [
            Box::new(console) as Box<dyn Read + Send>,
            Box::new(messages),
        ] {
            let said = Arc::clone(&said);
            thread::spawn(move || said.read(stream));
        }
        Self { child, said }
    }

    /// Waits until a line holds `what`; gives the first one.
    ///
    /// # Panics
    /// When it ends, or minutes pass, before that.
    pub fn says(&self, what: &str) -> String {
        let find = |text: &Text| {
            let lines = text.lines.split_inclusive('\n');
            // One that has not ended may go on.
            let mut whole = lines.filter(|line| line.ends_with('\n'));
            whole.find(|line| line.contains(what)).map(str::to_owned)
        };
        let waits = |text: &mut Text| text.ended < 2 && find(text).is_none();
        let (text, _) = self
            .said
            .changed
            .wait_timeout_while(self.said.text(), PATIENCE, waits)
            .expect("no panic");
        let found = find(&text);
        drop(text);
        // What it has said instead is told when it is dropped.
        let line = found.unwrap_or_else(|| panic!("the image did not say {what:?}"));
        line.trim_end().to_owned()
    }

    /// The process of its runner.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// All that it has said.
    pub fn said(&self) -> String {
        self.said.text().lines.clone()
    }

    /// Asks it to end, as Ctrl-C does.
    pub fn interrupt(&self) {
        signal(&self.child, libc::SIGINT);
    }

    /// How many of this machine's processors its QEMU keeps busy during that time.
    ///
    /// # Panics
    /// When it has ended.
    pub fn busy_processors(&self, during: Duration) -> f64 {
        let before = processor_time(self.child.id());
        thread::sleep(during);
        (processor_time(self.child.id()) - before).as_secs_f64() / during.as_secs_f64()
    }

    /// Ends it as a power failure does.
    ///
    /// # Panics
    /// When it has ended.
    pub fn kill(mut self) {
        self.child.kill().expect("it runs");
        let _ = self.child.wait();
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When that cannot be told.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("a child")
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // Asked, so that the runner can end its QEMU.
            signal(&self.child, libc::SIGTERM);
            let _ = self.child.wait();
        }
        if thread::panicking() {
            eprintln!("{}", self.said());
        }
    }
}

/// Processor time of a process and those that it has started, as proc(5) tells it.
///
/// # Panics
/// When there is no such process.
pub fn processor_time(pid: u32) -> Duration {
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).expect("it runs");
    let stat = read("stat");
    let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
    let ticks = |field: usize| -> u64 {
        let field = fields.split_whitespace().nth(field);
        field.and_then(|f| f.parse().ok()).expect("a number")
    };
    // Fields 14 and 15 of the file, in hundredths of a second.
    let own = Duration::from_millis(10 * (ticks(11) + ticks(12)));
    // Each thread has those that it has started; one may end meanwhile.
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let children = tasks.flatten().flat_map(|task| {
        let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        let pids = children
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok());
        pids.collect::<Vec<u32>>()
    });
    own + children.map(processor_time).sum::<Duration>()
}

/// An image behind QEMU's user networking, one of whose ports is a port of this machine. Takes no root.
pub struct Server {
    image: Image,
    /// Where its port is reached.
    pub address: SocketAddr,
}

impl Server {
    /// Boots the example `webserver` on two cores.
    ///
    /// # Panics
    /// When the image ends before it serves.
    pub fn webserver(settings: &[(&str, &str)]) -> Self {
        let settings = [&[("EBB_CORES", "2")], settings].concat();
        let program = cargo::example("webserver");
        Self::boot(&program, &[], 80, "serving HTTP on ", &settings)
    }

    /// Boots `program` with these arguments, forwards a port, and waits until it has its address and has said `says`.
    ///
    /// # Panics
    /// When the image ends before that.
    pub fn boot(
        program: &Path,
        arguments: &[&str],
        port: u16,
        says: &str,
        settings: &[(&str, &str)],
    ) -> Self {
        let image = Image::start(
            runner(program, "256M", 120)
                .args(arguments)
                .env("EBB_FORWARD", format!("0:{port}"))
                .envs(settings.iter().copied()),
        );
        // "... TCP 127.0.0.1:PORT is port 7 of the image"
        let line = image.says("TCP 127.0.0.1:");
        let told = line.split_once("TCP 127.0.0.1:").map(|(_, rest)| rest);
        let port = told.and_then(|rest| rest.split(' ').next()?.parse().ok());
        // Whichever of its addresses came first.
        image.says(" 10.0.2.15/24");
        image.says(says);
        Self {
            image,
            address: ([127, 0, 0, 1], port.expect("a port")).into(),
        }
    }

    /// The process of its runner.
    pub fn id(&self) -> u32 {
        self.image.id()
    }
}
