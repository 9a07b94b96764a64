//! Machines that a Linux process starts: the provider of [`Launcher`], which `ebb_distributed::Nodes` stands on. A program links it by
//! naming it, `#[ebb::main(hosted = ebb_launch)]`.
//!
//! A machine is a child process, the runner with an image or a program for Linux; a thread for each starts it and waits for its end.
//!
//! What must hold: no machine outlives this process, whatever ends it. The kernel kills a child when the thread that started it is gone
//! (`PR_SET_PDEATHSIG`), and that thread stays until the child has ended; the runner does the same with its QEMU.

extern crate ebb_runtime as ebb;

use std::{
    collections::VecDeque,
    env,
    ffi::OsString,
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpListener,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    task::{Context, Poll, Waker},
    thread,
};

use ebb_distributed::launch::{Launch, Launched, Launcher, Said};
use ebb_runtime::provides;

/// What `EBB_RUNNER` stands in for: the checkout's, where this was built in one, else the installed one.
const RUNNER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../ebb-runner/run");
/// A longer line is broken.
const LONGEST_LINE: u64 = 4096;

/// Linux, as the provider.
struct Linux;

#[derive(Default)]
struct Shared {
    said: VecDeque<Said>,
    waker: Option<Waker>,
    /// While it runs: its number cannot be another's before it has been waited for.
    process: Option<i32>,
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    // Nothing panics while it is locked, and if it did the data would be whole.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn say(shared: &Mutex<Shared>, said: Said) {
    let waker = {
        let mut shared = lock(shared);
        shared.said.push_back(said);
        shared.waker.take()
    };
    if let Some(waker) = waker {
        waker.wake();
    }
}

struct Machine(Arc<Mutex<Shared>>);

impl Machine {
    fn signal(&self, signal: i32) {
        if let Some(process) = lock(&self.0).process {
            // SAFETY: takes two numbers; the process has not been waited for, so the number is its own.
            unsafe { libc::kill(process, signal) };
        }
    }
}

impl Launched for Machine {
    fn poll_said(&self, cx: &mut Context<'_>) -> Poll<Said> {
        let mut shared = lock(&self.0);
        match shared.said.pop_front() {
            Some(said) => Poll::Ready(said),
            None => {
                shared.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn ask_to_end(&self) {
        self.signal(libc::SIGTERM);
    }

    fn kill(&self) {
        self.signal(libc::SIGKILL);
    }

    fn process(&self) -> Option<u32> {
        u32::try_from(lock(&self.0).process?).ok()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.kill();
    }
}

#[provides(Launcher, instance = &Linux)]
impl Launcher for Linux {
    fn is_there(&self) -> bool {
        true
    }

    fn free_port(&self) -> Result<u16, String> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).and_then(|l| l.local_addr());
        let address = listener.map_err(|error| format!("there is no free port: {error}"))?;
        Ok(address.port())
    }

    fn launch(&self, launch: Launch) -> Result<Box<dyn Launched>, String> {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let (tell, told) = mpsc::channel();
        let of_thread = Arc::clone(&shared);
        let name = format!("machine at port {}", launch.port);
        let runs = move || match start(&launch) {
            Ok(child) => {
                lock(&of_thread).process = i32::try_from(child.id()).ok();
                let _ = tell.send(Ok(()));
                attend(child, &launch.typed, &of_thread);
            }
            Err(error) => drop(tell.send(Err(error))),
        };
        thread::Builder::new()
            .name(name)
            .spawn(runs)
            .map_err(|error| format!("a machine's thread cannot be started: {error}"))?;
        let started = told
            .recv()
            .unwrap_or_else(|_| Err("its thread has ended".into()));
        started.map(|()| Box::new(Machine(shared)) as Box<dyn Launched>)
    }
}

fn runner() -> OsString {
    let named = env::var_os("EBB_RUNNER").filter(|named| !named.is_empty());
    let usual = if Path::new(RUNNER).exists() {
        RUNNER
    } else {
        "ebb-runner"
    };
    named.unwrap_or_else(|| usual.into())
}

/// Starts the runner with the machine's program. The thread that this runs on stays until it has ended.
fn start(launch: &Launch) -> Result<Child, String> {
    let runner = runner();
    let program = &launch.program;
    match Path::new(program) {
        path if path.is_file() => {}
        path if path.exists() => return Err(format!("{program} is not a file: name an image")),
        _ => {
            return Err(format!(
                "{program} is not there: build it first, or name another one"
            ));
        }
    }
    let mut command = Command::new(&runner);
    command.arg(&launch.program);
    command.args(&launch.arguments);
    // What this process was told for itself is not for its machines.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let kept = [
            "EBB_QEMU",
            "EBB_ACCEL",
            "EBB_NO_INSTALL",
            "EBB_NODE",
            "EBB_PYTHON",
        ];
        if text.starts_with("EBB_") && !kept.contains(&&*text) {
            command.env_remove(&name);
        }
    }
    command
        .envs(launch.settings.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A Ctrl-C is this program's: it says when its machines end.
        .process_group(0);
    // SAFETY: between fork and exec only async-signal-safe calls are made: prctl, getppid.
    unsafe {
        let parent = std::process::id();
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(io::Error::last_os_error());
            }
            // It may have gone before the kernel was told.
            if u32::try_from(libc::getppid()) != Ok(parent) {
                return Err(io::Error::other("the program that starts it has ended"));
            }
            Ok(())
        });
    }
    command.spawn().map_err(|error| {
        format!(
            "the runner {} cannot be started: {error}; EBB_RUNNER names another one, `cargo install ebb-runner` makes one",
            runner.display()
        )
    })
}

/// Hands on what it says, until it has ended.
fn attend(mut child: Child, typed: &str, shared: &Arc<Mutex<Shared>>) {
    let mut input = child.stdin.take();
    if let Some(input) = &mut input {
        // One that has ended already says why.
        let _ = input.write_all(typed.as_bytes());
    }
    let output = child.stdout.take().map(|from| hand_on(from, shared));
    let errors = child.stderr.take().map(|from| hand_on(from, shared));
    for reader in [output, errors].into_iter().flatten().flatten() {
        let _ = reader.join();
    }
    let status = child.wait();
    // The number is free now.
    lock(shared).process = None;
    drop(input);
    say(shared, Said::Ended(told(status)));
}

/// Hands lines on in a thread of its own.
fn hand_on(
    from: impl Read + Send + 'static,
    shared: &Arc<Mutex<Shared>>,
) -> io::Result<thread::JoinHandle<()>> {
    let shared = Arc::clone(shared);
    thread::Builder::new()
        .name("lines of a machine".into())
        .spawn(move || {
            let mut from = BufReader::new(from);
            loop {
                let mut line = Vec::new();
                match from
                    .by_ref()
                    .take(LONGEST_LINE)
                    .read_until(b'\n', &mut line)
                {
                    Ok(0) | Err(_) => return,
                    Ok(_) => {
                        let text = String::from_utf8_lossy(&line);
                        say(&shared, Said::Line(text.trim_end().to_owned()));
                    }
                }
            }
        })
}

fn told(status: io::Result<ExitStatus>) -> String {
    match status {
        Err(error) => format!("it cannot be waited for: {error}"),
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("it ended with status {code}"),
            (None, signal) => format!("it was killed by signal {}", signal.unwrap_or(0)),
        },
    }
}
