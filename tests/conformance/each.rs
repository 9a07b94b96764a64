//! Starts every test of a list by itself: `each LIST SKIP LIMIT_S FOLDER`.
//!
//! A test has a session, an empty folder and a time limit of its own, and nothing that it has started outlives it. A line of
//! LIST is `NAME`, `link:NAME=TARGET` for links in the folder, `VARIABLE=VALUE` for its environment, then the program and its
//! arguments, separated by tabs. The same executable runs on Linux and in the image, so both sides are asked alike.
//!
//! What is printed: `@@start N NAME`, the end of the test's output with `| ` before each line, `@@end N STATUS MS` (`exit:1`,
//! `signal:11`, `limit`), and `@@done` at the end. N counts lines from 1; SKIP lines are left out, which is how a list goes on
//! behind a test that has ended the machine.

use std::{
    env, fs,
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::{
        fs::{PermissionsExt, symlink},
        process::CommandExt,
    },
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    libc,
    sys::{
        prctl,
        signal::{SigHandler, Signal, kill, signal},
        stat::{Mode, umask},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, setsid},
};

/// The most of a test's output that is told: its end.
const TAIL: u64 = 512 << 10;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [list, skip, limit, folder] = &arguments[..] else {
        eprintln!("each LIST SKIP LIMIT_S FOLDER");
        return ExitCode::from(2);
    };
    match run(list, skip, limit, Path::new(folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("each: {list}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(list: &str, skip: &str, limit: &str, folder: &Path) -> io::Result<()> {
    let number = |text: &str| text.parse::<u64>().map_err(io::Error::other);
    let (skip, limit) = (number(skip)?, Duration::from_secs(number(limit)?));
    // With who reads what is said here.
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    // What a test leaves behind becomes this process's child, and ends with the test.
    prctl::set_child_subreaper(true)?;
    umask(Mode::from_bits_truncate(0o022));
    // As in the image, also under `nice`: some tests look at it. Who may not raise it keeps what there is.
    // SAFETY: touches no memory.
    let _ = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 0) };
    for (number, line) in (1..).zip(fs::read_to_string(list)?.lines()) {
        if number > skip {
            one(number, line, limit, folder)?;
        }
    }
    println!("@@done");
    Ok(())
}

fn one(number: u64, line: &str, limit: Duration, folder: &Path) -> io::Result<()> {
    let mut words = line.split('\t').peekable();
    let name = words.next().unwrap_or_default();
    println!("@@start {number} {name}");
    let place = folder.join(number.to_string());
    let home = place.join("home");
    fs::create_dir_all(&home)?;
    let output = File::options()
        .read(true)
        .append(true)
        .create_new(true)
        .open(place.join("output"))?;
    let mut variables = Vec::new();
    while let Some(word) = words.next_if(|w| !w.starts_with('/')) {
        match (word.strip_prefix("link:"), word.split_once('=')) {
            (Some(link), _) => {
                let (from, to) = link.split_once('=').unwrap_or((link, link));
                symlink(to, home.join(from))?;
            }
            (None, Some(variable)) => variables.push(variable),
            (None, None) => return Err(io::Error::other(format!("{word}: VARIABLE=VALUE?"))),
        }
    }
    let mut command = Command::new(words.next().unwrap_or_default());
    command
        .args(words)
        .env_clear()
        .env("HOME", &home)
        .env("TMPDIR", &home)
        .env("LANG", "C.UTF-8")
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .envs(variables)
        .current_dir(&home)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output.try_clone()?);
    // SAFETY: system calls that touch no memory and set no handler.
    unsafe { command.pre_exec(begin) };
    let start = Instant::now();
    let status = match command.spawn() {
        Ok(child) => wait(child, limit),
        Err(error) => {
            writeln!(&output, "{error}")?;
            "exit:127".to_owned()
        }
    };
    let took = start.elapsed();
    end_what_is_left();
    tell(output)?;
    println!("@@end {number} {status} {}", took.as_millis());
    remove(&place);
    Ok(())
}

/// What a test's process does first: a session of its own, no signal ignored, as background programs ignore SIGINT, an
/// end with this one, and no descriptor that whoever started this one had open.
fn begin() -> io::Result<()> {
    for number in Signal::iterator().filter(|s| !matches!(s, Signal::SIGKILL | Signal::SIGSTOP)) {
        // SAFETY: no handler is set.
        unsafe { signal(number, SigHandler::SigDfl) }?;
    }
    setsid()?;
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    // Marked, not closed: the one by which a start that fails is told is among them.
    let flags = libc::CLOSE_RANGE_CLOEXEC;
    // SAFETY: touches no memory.
    Errno::result(unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, flags) })?;
    Ok(())
}

/// Waits for a test, which is killed when its time is over.
fn wait(child: Child, limit: Duration) -> String {
    let start = Instant::now();
    let pid = Pid::from_raw(child.id().cast_signed());
    loop {
        match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, status)) => return format!("exit:{status}"),
            Ok(WaitStatus::Signaled(_, signal, _)) => return format!("signal:{}", signal as i32),
            _ if start.elapsed() > limit => {
                let _ = kill(Pid::from_raw(-pid.as_raw()), Signal::SIGKILL);
                let _ = waitpid(pid, None);
                return "limit".to_owned();
            }
            _ => sleep(Duration::from_millis(10)),
        }
    }
}

/// Kills what has come to be this process's child, and what comes to be when those end.
fn end_what_is_left() {
    for _ in 0..1000 {
        for child in children() {
            let _ = kill(child, Signal::SIGKILL);
        }
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => sleep(Duration::from_millis(2)),
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

fn children() -> Vec<Pid> {
    let own = std::process::id().to_string();
    let Ok(all) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = all.flatten().filter_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        // `PID (NAME) STATE PARENT`: the name may hold anything.
        let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?;
        (parent == own).then(|| Pid::from_raw(pid))
    });
    pids.collect()
}

/// Prints the end of the output, as text, a mark before each line.
fn tell(mut output: File) -> io::Result<()> {
    let length = output.metadata()?.len();
    output.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut bytes = Vec::new();
    output.take(TAIL).read_to_end(&mut bytes)?;
    let text: String = String::from_utf8_lossy(&bytes)
        .chars()
        .map(|c| if c.is_control() && c != '\n' { '?' } else { c })
        .collect();
    let mut out = io::stdout().lock();
    for line in text.lines() {
        writeln!(out, "| {line}")?;
    }
    out.flush()
}

/// Removes a folder whose contents may have no rights.
fn remove(place: &Path) {
    if fs::remove_dir_all(place).is_ok() {
        return;
    }
    let mut folders = vec![place.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let _ = fs::set_permissions(&folder, fs::Permissions::from_mode(0o700));
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                folders.push(entry.path());
            }
        }
    }
    let _ = fs::remove_dir_all(place);
}
