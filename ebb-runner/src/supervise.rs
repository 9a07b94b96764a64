//! Runs QEMU: one thread that waits for signals, the console's two directions, the report, the
//! monitor and QEMU's own messages, and ends QEMU whatever happens.
//!
//! What must hold: QEMU is in a process group of its own, so a Ctrl-C reaches it only through the
//! runner; the kernel kills it when the runner dies without a word (`PR_SET_PDEATHSIG`, which
//! counts on the runner having one thread); buffers are bounded in both directions, and a reader
//! of the console that is slow slows the image instead of the runner.

use std::{
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
        unix::{net::UnixStream, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, FdFlag, OFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        prctl,
        signal::{SigHandler, SigSet, SigmaskHow, Signal, killpg, raise, signal, sigprocmask},
        signalfd::{SfdFlags, SignalFd},
        wait::{Id, WaitPidFlag, WaitStatus, waitid},
    },
    unistd::{Pid, getpid, getppid, pipe2, read, write},
};

use crate::tell::tell;
use crate::{
    backlog,
    config::Console,
    failure::Failure,
    machine::Inherited,
    messages::Messages,
    monitor::{Core, Event, Monitor},
    report::{Report, Request},
    terminal::{ESCAPE, Terminal},
    vsock::Backend,
};

/// After the image has said `exit`, or QEMU was asked to end.
const GRACE: Duration = Duration::from_secs(3);
/// For an image to say that it has seen its power button.
const NOTICE: Duration = Duration::from_secs(2);
/// A second signal within this time is the first one once more.
const REPEAT: Duration = Duration::from_millis(300);
/// For a look at the cores of a machine that stopped or hangs.
const INSPECTION: Duration = Duration::from_secs(2);
/// For a core file to be written.
const WRITING: Duration = Duration::from_secs(120);
/// How often a background job checks whether it may read the terminal again.
const FOREGROUND_CHECK: Duration = Duration::from_millis(200);
/// A write of this size to a pipe that is ready does not block.
const CHUNK: usize = 4096;
/// The end of the input, as a terminal would say it.
const END_OF_INPUT: u8 = 4;

/// Why the runner ended QEMU, if it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// The machine stopped without a word; QMP's reason.
    Stopped(String),
    /// The time limit.
    TimeLimit,
    /// A signal to the runner.
    Signal(Signal),
    /// The key that ends an image in raw mode.
    Escape,
    /// Nobody reads the console any more.
    ConsoleClosed,
    /// The image said `exit` and stayed.
    Stayed,
}

/// How it ended.
#[derive(Debug)]
pub struct Ended {
    /// What the image said.
    pub exit: Option<u8>,
    /// Why the runner ended it.
    pub cause: Option<Cause>,
    /// Where its cores were, if it stopped or hung.
    pub cores: Vec<Core>,
    /// How QEMU itself ended.
    pub qemu: ExitStatus,
    /// Whether QEMU came up.
    pub started: bool,
    /// QEMU's last messages.
    pub messages: Vec<String>,
}

/// What to run and how.
pub struct Task<'a> {
    /// The QEMU program.
    pub program: &'a Path,
    /// Makes its arguments from the descriptors it inherits.
    pub arguments: &'a dyn Fn(Inherited) -> Vec<std::ffi::OsString>,
    /// The program behind its socket device.
    pub vsock: Option<&'a Backend>,
    /// A file of the image's symbols, which it inherits.
    pub symbols: Option<RawFd>,
    /// Where report lines go.
    pub report: Report,
    /// The terminal's mode at start.
    pub console: Console,
    /// The time limit.
    pub timeout: Option<Duration>,
    /// Where a core file goes.
    pub core: Option<&'a Path>,
}

/// Runs QEMU until it has ended.
///
/// # Errors
/// When it cannot be started.
pub fn run(task: Task<'_>) -> Result<Ended, Failure> {
    let failed = |what: &str, error: io::Error| Failure::unusable(format!("{what}: {error}"));
    let signals = take_signals().map_err(|e| failed("signals", e))?;
    let mut terminal = Terminal::open();
    if task.console == Console::Raw {
        terminal.set(Console::Raw);
    }

    let (report, report_end) = pipe2(OFlag::O_CLOEXEC).map_err(|e| failed("pipe", e.into()))?;
    let (monitor, monitor_end) = UnixStream::pair().map_err(|e| failed("socket", e))?;
    monitor
        .set_nonblocking(true)
        .map_err(|e| failed("socket", e))?;
    let inherited = Inherited {
        report: report_end.as_raw_fd(),
        monitor: monitor_end.as_raw_fd(),
        vsock: task.vsock.map(Backend::fd),
        symbols: task.symbols,
    };
    let mut child = spawn(task.program, &(task.arguments)(inherited), inherited)
        .map_err(|e| failed(&format!("cannot start {}", task.program.display()), e))?;
    drop((report_end, monitor_end));

    let taken = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(input), Some(output), Some(errors)) = taken else {
        unreachable!("all three were piped");
    };
    let mut input = OwnedFd::from(input);
    let _ = fcntl(&input, FcntlArg::F_SETPIPE_SZ(CHUNK as i32));
    let [output, errors] = [OwnedFd::from(output), OwnedFd::from(errors)];
    for fd in [&input, &output, &errors, &report] {
        fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(|e| failed("pipe", e.into()))?;
    }
    let limit = task.timeout.map(|t| Instant::now() + t);
    let mut run = Run {
        child,
        vsock: task.vsock,
        terminal,
        monitor: Monitor::new(monitor),
        report_state: task.report,
        phase: Phase::Running { until: limit },
        limit,
        core_file: task.core.map(Path::to_path_buf),
        has_power_button: false,
        wants_sizes: false,
        told_size: None,
        asked: None,
        cause: None,
        cores: Vec::new(),
        messages: Messages::default(),
        input_open: true,
        pending_input: Vec::new(),
        pending_output: Vec::new(),
    };
    let status = run.wait(&signals, &mut input, output, errors, report)?;
    Ok(Ended {
        exit: run.report_state.exit,
        cause: run.cause.take(),
        cores: std::mem::take(&mut run.cores),
        qemu: status,
        started: run.monitor.greeted,
        messages: std::mem::take(&mut run.messages.last),
    })
}

/// Blocks the signals that the loop handles, and makes a descriptor that delivers them.
fn take_signals() -> io::Result<SignalFd> {
    // SAFETY: sets a default action, no handler of ours is involved.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }?;
    let mut handled = SigSet::empty();
    for s in [
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGQUIT,
        Signal::SIGCHLD,
        Signal::SIGTSTP,
        Signal::SIGCONT,
        Signal::SIGWINCH,
    ] {
        handled.add(s);
    }
    let mut blocked = handled;
    // A background job's use of the terminal then fails instead of stopping it.
    blocked.add(Signal::SIGTTIN);
    blocked.add(Signal::SIGTTOU);
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&blocked), None)?;
    Ok(SignalFd::with_flags(
        &handled,
        SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK,
    )?)
}

fn spawn(
    program: &Path,
    arguments: &[std::ffi::OsString],
    inherited: Inherited,
) -> io::Result<Child> {
    let runner = getpid();
    let keep = [
        Some(inherited.report),
        Some(inherited.monitor),
        inherited.symbols,
    ];
    let mut command = Command::new(program);
    command.args(arguments).process_group(0);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let prepare = move || {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        if getppid() != runner {
            return Err(io::ErrorKind::NotConnected.into());
        }
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
        for fd in keep.into_iter().flatten() {
            // SAFETY: all are open in the parent while it forks, and so in the child.
            let fd = unsafe { BorrowedFd::borrow_raw(fd) };
            fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
        }
        Ok(())
    };
    // SAFETY: the closure makes system calls only; it neither allocates nor takes a lock.
    unsafe { command.pre_exec(prepare) };
    command.spawn()
}

/// What is going on.
#[derive(Clone, Copy)]
enum Phase {
    /// The image runs, perhaps with a time limit.
    Running { until: Option<Instant> },
    /// It was asked to end with its power button, by this signal, and has not said that it saw it.
    Asked { until: Instant, signal: Signal },
    /// It stopped or hangs, and the monitor was asked where.
    Inspecting { until: Instant },
    /// It said `exit`, or was interrupted to say where it is.
    Finishing { until: Instant },
    /// QEMU writes the core file; then what `inspect` does, or the end.
    Dumping { until: Instant },
    /// QEMU was told to end.
    Ending { until: Instant },
    /// QEMU was killed.
    Killed,
}

struct Run<'a> {
    child: Child,
    vsock: Option<&'a Backend>,
    terminal: Terminal,
    monitor: Monitor,
    report_state: Report,
    phase: Phase,
    /// When the time limit is over.
    limit: Option<Instant>,
    /// Where a core file goes; taken when it is written.
    core_file: Option<PathBuf>,
    /// The image listens to its power button.
    has_power_button: bool,
    /// The image wants to hear how large the window is.
    wants_sizes: bool,
    /// The size that it was told last.
    told_size: Option<String>,
    /// When it was pressed.
    asked: Option<Instant>,
    cause: Option<Cause>,
    cores: Vec<Core>,
    messages: Messages,
    /// More may come on standard input.
    input_open: bool,
    /// Read from standard input, not yet taken by QEMU.
    pending_input: Vec<u8>,
    /// Read from the console, not yet taken by standard output.
    pending_output: Vec<u8>,
}

/// What poll found ready.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Signal,
    StandardInput,
    StandardOutput,
    Input,
    Output,
    Errors,
    Report,
    Monitor,
}

impl Run<'_> {
    fn wait(
        &mut self,
        signals: &SignalFd,
        input: &mut OwnedFd,
        output: OwnedFd,
        errors: OwnedFd,
        report: OwnedFd,
    ) -> Result<ExitStatus, Failure> {
        let (stdin, stdout) = (io::stdin(), io::stdout());
        // Its end may have been before signals were waited for.
        self.vsock.map(Backend::tell_if_ended);
        let mut pipes = [
            (Source::Output, Some(output)),
            (Source::Errors, Some(errors)),
            (Source::Report, Some(report)),
        ];
        // Set when QEMU has ended: what it wrote last is still in the pipes.
        let mut drain_until: Option<Instant> = None;
        loop {
            let now = Instant::now();
            let mut sources = Vec::with_capacity(8);
            let mut fds = Vec::with_capacity(8);
            let mut watch = |source, fd, flags| {
                sources.push(source);
                fds.push(PollFd::new(fd, flags));
            };
            watch(Source::Signal, signals.as_fd(), PollFlags::POLLIN);
            for (source, pipe) in &pipes {
                // A console whose reader is slow is not read further.
                let wanted = *source != Source::Output || self.pending_output.is_empty();
                if let Some(pipe) = pipe.as_ref().filter(|_| wanted) {
                    watch(*source, pipe.as_fd(), PollFlags::POLLIN);
                }
            }
            if !self.pending_output.is_empty() {
                watch(Source::StandardOutput, stdout.as_fd(), PollFlags::POLLOUT);
            }
            let mut timer = self.deadline();
            if drain_until.is_none() {
                if let Some(fd) = self.monitor.poll_fd() {
                    watch(Source::Monitor, fd, PollFlags::POLLIN);
                }
                if !self.pending_input.is_empty() {
                    watch(Source::Input, input.as_fd(), PollFlags::POLLOUT);
                } else if self.input_open && self.terminal.is_ours() {
                    watch(Source::StandardInput, stdin.as_fd(), PollFlags::POLLIN);
                } else if self.input_open {
                    timer = Some(
                        timer
                            .unwrap_or(now + FOREGROUND_CHECK)
                            .min(now + FOREGROUND_CHECK),
                    );
                }
            } else {
                timer = drain_until;
            }
            let ready = wait_for(&mut fds, timer.map(|t| t.saturating_duration_since(now)))?;
            let found: Vec<Source> = sources
                .into_iter()
                .zip(ready)
                .filter_map(|(s, r)| r.then_some(s))
                .collect();

            for source in found {
                match source {
                    Source::Signal => self.take_signals(signals),
                    Source::Monitor => self.take_events(),
                    Source::StandardInput => self.take_input(),
                    Source::Input => self.pass_input(input),
                    Source::StandardOutput => self.pass_output(),
                    Source::Output | Source::Errors | Source::Report => {
                        for (_, pipe) in pipes.iter_mut().filter(|(s, _)| *s == source) {
                            let open = pipe.as_ref().is_some_and(|fd| self.take_pipe(source, fd));
                            pipe.take_if(|_| !open);
                        }
                    }
                }
            }
            if drain_until.is_none() {
                self.advance();
                if self.has_ended()? {
                    // A program that QEMU started (a wrapper's child, a network script) goes with it.
                    let _ = killpg(self.group(), Signal::SIGKILL);
                    drain_until = Some(Instant::now() + GRACE);
                }
            }
            let drained =
                pipes.iter().all(|(_, pipe)| pipe.is_none()) && self.pending_output.is_empty();
            if drain_until.is_some_and(|until| drained || until <= Instant::now()) {
                self.messages.finish();
                return self
                    .child
                    .wait()
                    .map_err(|e| Failure::unusable(format!("waiting for QEMU: {e}")));
            }
        }
    }

    /// Whether QEMU has ended. It stays a zombie until the end, so that its group's number is not
    /// given to others.
    fn has_ended(&self) -> Result<bool, Failure> {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        match waitid(Id::Pid(self.group()), flags) {
            Ok(state) => Ok(state != WaitStatus::StillAlive),
            Err(Errno::EINTR) => Ok(false),
            Err(error) => Err(Failure::unusable(format!("waiting for QEMU: {error}"))),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Running { until } => until,
            Phase::Asked { until, .. }
            | Phase::Inspecting { until }
            | Phase::Dumping { until }
            | Phase::Finishing { until }
            | Phase::Ending { until } => Some(until),
            Phase::Killed => None,
        }
    }

    /// Moves on when the phase's time is over.
    fn advance(&mut self) {
        if self.deadline().is_none_or(|until| Instant::now() < until) {
            return;
        }
        match self.phase {
            Phase::Running { .. } => self.inspect(Cause::TimeLimit),
            Phase::Asked { signal, .. } => self.stop(Cause::Signal(signal)),
            Phase::Inspecting { .. } => self.end(),
            Phase::Dumping { .. } => {
                self.dumped(Err(format!("not done after {} s", WRITING.as_secs())));
            }
            Phase::Finishing { .. } => {
                self.cause.get_or_insert(Cause::Stayed);
                self.end();
            }
            Phase::Ending { .. } => self.kill(),
            Phase::Killed => {}
        }
    }

    /// Asks where the cores are before it ends QEMU.
    fn inspect(&mut self, cause: Cause) {
        self.cause.get_or_insert(cause);
        if self.monitor.greeted {
            self.monitor.ask_cores();
            self.phase = Phase::Inspecting {
                until: Instant::now() + INSPECTION,
            };
        } else {
            self.end();
        }
    }

    /// Tells QEMU to end.
    fn end(&mut self) {
        let _ = killpg(self.group(), Signal::SIGTERM);
        self.phase = Phase::Ending {
            until: Instant::now() + GRACE,
        };
    }

    fn kill(&mut self) {
        let _ = killpg(self.group(), Signal::SIGKILL);
        self.phase = Phase::Killed;
    }

    fn group(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    fn stop(&mut self, cause: Cause) {
        let again = matches!(self.phase, Phase::Ending { .. });
        self.cause.get_or_insert(cause);
        if again { self.kill() } else { self.end() }
    }

    fn take_signals(&mut self, signals: &SignalFd) {
        while let Ok(Some(info)) = signals.read_signal() {
            match Signal::try_from(info.ssi_signo.cast_signed()) {
                Ok(Signal::SIGCHLD) => {
                    self.vsock.map(Backend::tell_if_ended);
                }
                Ok(Signal::SIGCONT) | Err(_) => {}
                Ok(Signal::SIGTSTP) => self.pause(),
                Ok(Signal::SIGWINCH) => self.pass_size(),
                Ok(signal @ (Signal::SIGINT | Signal::SIGTERM)) if self.can_be_asked() => {
                    self.asked = Some(Instant::now());
                    self.monitor.power_button();
                    self.phase = Phase::Asked {
                        until: Instant::now() + NOTICE,
                        signal,
                    };
                }
                // A shell's job control and `timeout` send one signal to the group and to the process.
                Ok(_) if self.asked.is_some_and(|at| at.elapsed() < REPEAT) => {}
                Ok(signal) => self.stop(Cause::Signal(signal)),
            }
        }
    }

    /// Whether the image ends in its own way when asked to, and has not been.
    fn can_be_asked(&self) -> bool {
        let runs = matches!(self.phase, Phase::Running { .. });
        runs && self.has_power_button && self.asked.is_none() && self.monitor.greeted
    }

    /// Ctrl-Z: stops QEMU and the runner, and goes on with both.
    fn pause(&mut self) {
        let _ = killpg(self.group(), Signal::SIGSTOP);
        self.terminal.restore();
        let _ = raise(Signal::SIGSTOP);
        self.terminal.apply();
        let _ = killpg(self.group(), Signal::SIGCONT);
        // The window may have changed meanwhile.
        self.pass_size();
    }

    /// Tells the image the window's size, if it wants to hear that.
    fn pass_size(&mut self) {
        if self.wants_sizes
            && self.terminal.is_raw()
            && let size @ Some(_) = self.terminal.size()
            && self.told_size != size
        {
            self.told_size = size;
            let told = self.told_size.iter().flat_map(|size| size.bytes());
            self.pending_input.extend(told);
        }
    }

    fn take_events(&mut self) {
        for event in self.monitor.read() {
            match (event, self.phase) {
                (Event::Running, _) => {
                    backlog::widen(self.group());
                }
                (Event::Stopped(reason), Phase::Running { .. } | Phase::Asked { .. }) => {
                    self.inspect(Cause::Stopped(reason))
                }
                (Event::Cores(cores), Phase::Inspecting { .. }) => {
                    self.cores = cores;
                    self.dump();
                }
                // An interrupted image reset the machine instead of saying anything.
                (Event::Stopped(_), Phase::Finishing { .. }) => self.end(),
                (Event::Dumped(result), Phase::Dumping { .. }) => self.dumped(result),
                _ => {}
            }
        }
    }

    /// Writes the core file, if there is to be one; goes on when that is done.
    fn dump(&mut self) {
        let Some(file) = self.core_file.as_ref().and_then(|path| path.to_str()) else {
            return self.inspected();
        };
        self.monitor.dump(file);
        self.phase = Phase::Dumping {
            until: Instant::now() + WRITING,
        };
    }

    fn dumped(&mut self, result: Result<(), String>) {
        let Some(path) = self.core_file.take() else {
            return self.end();
        };
        let file = path.display();
        let fault = self.report_state.fault.as_ref();
        let put = |()| fault.map_or(Ok(()), |f| f.put_into(&path).map_err(|e| e.to_string()));
        match result.and_then(put) {
            Ok(()) => {
                tell!("ebb-runner: the core file is {file}: cargo ebb debug --core {file}")
            }
            Err(why) => tell!("ebb-runner: the core file {file} cannot be written: {why}"),
        }
        self.inspected();
    }

    /// What is to be seen from outside has been.
    fn inspected(&mut self) {
        if self.cause == Some(Cause::TimeLimit) {
            // A chance for the image to say where it hangs.
            self.monitor.interrupt();
            self.phase = Phase::Finishing {
                until: Instant::now() + INSPECTION,
            };
        } else {
            self.end();
        }
    }

    fn take_requests(&mut self, requests: &[Request]) {
        for request in requests {
            match request {
                Request::Console(mode) => self.terminal.set(*mode),
                Request::Sizes => {
                    self.wants_sizes = true;
                    self.pass_size();
                }
                Request::PowerButton => self.has_power_button = true,
                Request::Shutdown => {
                    if matches!(self.phase, Phase::Asked { .. }) {
                        self.phase = Phase::Running { until: self.limit };
                    }
                }
                // Once: an image that is interrupted at its time limit has been written already.
                Request::Dump if matches!(self.phase, Phase::Ending { .. } | Phase::Killed) => {}
                Request::Dump if self.core_file.is_some() => self.dump(),
                Request::Dump => self.end(),
                Request::Exit(_) => {
                    if matches!(self.phase, Phase::Running { .. } | Phase::Asked { .. }) {
                        self.phase = Phase::Finishing {
                            until: Instant::now() + GRACE,
                        };
                    }
                }
            }
        }
    }

    /// Reads one pipe of QEMU's; false when it is closed.
    fn take_pipe(&mut self, source: Source, fd: &OwnedFd) -> bool {
        let mut buffer = [0; 16 << 10];
        let count = match read(fd, &mut buffer) {
            Ok(0) => return false,
            Ok(count) => count,
            Err(Errno::EAGAIN | Errno::EINTR) => return true,
            Err(_) => return false,
        };
        let bytes = &buffer[..count];
        match source {
            Source::Output => self.pending_output.extend_from_slice(bytes),
            Source::Report => {
                let requests = self.report_state.feed(bytes);
                self.take_requests(&requests);
            }
            // Once the runner ends it, QEMU only says so.
            _ => self.messages.feed(bytes, self.cause.is_none()),
        }
        true
    }

    fn take_input(&mut self) {
        let mut buffer = [0; CHUNK];
        // Past the standard library's buffer, which poll does not see.
        match read(io::stdin(), &mut buffer) {
            Ok(0) => {
                self.pending_input.push(END_OF_INPUT);
                // A terminal goes on after Ctrl-D.
                self.input_open = self.terminal.is_terminal();
            }
            Ok(count) => {
                let mut bytes = &buffer[..count];
                if self.terminal.is_raw()
                    && let Some(at) = bytes.iter().position(|b| *b == ESCAPE)
                {
                    bytes = &bytes[..at];
                    self.stop(Cause::Escape);
                }
                self.pending_input.extend_from_slice(bytes);
            }
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            // The terminal has just gone to another job.
            Err(Errno::EIO) if !self.terminal.is_ours() => {}
            Err(_) => self.input_open = false,
        }
    }

    fn pass_input(&mut self, input: &OwnedFd) {
        match write(input, &self.pending_input) {
            Ok(count) => {
                self.pending_input.drain(..count);
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(_) => {
                self.pending_input.clear();
                self.input_open = false;
            }
        }
    }

    fn pass_output(&mut self) {
        let chunk = &self.pending_output[..self.pending_output.len().min(CHUNK)];
        match write(io::stdout(), chunk) {
            Ok(count) => {
                self.pending_output.drain(..count);
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(_) => {
                self.pending_output.clear();
                if !matches!(self.phase, Phase::Ending { .. } | Phase::Killed) {
                    self.stop(Cause::ConsoleClosed);
                }
            }
        }
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        // Only after an error of the runner's own is there anything left to kill.
        if matches!(self.child.try_wait(), Ok(None)) {
            self.kill();
            let _ = self.child.wait();
        }
    }
}

/// Waits for at most `limit`; tells for each descriptor whether there is something to do.
fn wait_for(fds: &mut [PollFd<'_>], limit: Option<Duration>) -> Result<Vec<bool>, Failure> {
    let timeout = match limit {
        None => PollTimeout::NONE,
        // Rounded up, lest the loop spins through the last millisecond.
        Some(limit) => {
            PollTimeout::try_from(limit + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
        }
    };
    match poll(fds, timeout) {
        Ok(_) => Ok(fds.iter().map(|fd| fd.any().unwrap_or(true)).collect()),
        Err(Errno::EINTR | Errno::EAGAIN) => Ok(vec![false; fds.len()]),
        Err(error) => Err(Failure::unusable(format!("poll: {error}"))),
    }
}
