//! Runs a list of tests on one side. A test that ends or hangs the machine is told as failed, and the machine is started
//! again for those behind it.

use std::{
    fs,
    fs::File,
    io::{BufRead, BufReader, Write, stderr},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use nix::sys::{prctl::set_pdeathsig, signal::Signal};
use test_support::{RUNNER, cargo, signal};

use crate::{
    fetch::Place,
    suite::{Ran, Suite, Test},
};

/// Who runs the tests.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// This machine.
    Linux,
    /// An image, on one core.
    Image,
}

/// Starts tests; the image brings it along under its own path.
const EACH: &str = env!("CARGO_BIN_EXE_each");

/// What came of the first tests of a list, each of which is told in a file as it comes: a run that is ended leaves them.
struct Told<'a> {
    tests: &'a [Test],
    ran: Vec<Ran>,
    file: File,
}

impl Told<'_> {
    fn push(&mut self, ran: Ran) {
        let name = self.tests.get(self.ran.len()).map_or("", |t| &t.name);
        let (status, took, output) = (&ran.status, ran.took_ms, &ran.output);
        let _ = write!(self.file, "== {name} {status} {took} ms\n{output}");
        self.ran.push(ran);
    }
}

/// Runs tests one after another until a moment; gives what came of each, in their order, as far as there was time. It is in
/// `NAME.linux` or `NAME.image` of the suite's folder too.
///
/// # Errors
/// When nothing can be started.
pub fn run(
    suite: &Suite,
    place: &Place,
    side: Side,
    tests: &[Test],
    until: Option<Instant>,
    name: &str,
) -> Result<Vec<Ran>, String> {
    let suffix = match side {
        Side::Linux => "linux",
        Side::Image => "image",
    };
    let list = place.folder.join(format!("list.{suffix}"));
    let lines: Vec<String> = tests.iter().map(Test::line).collect();
    fs::write(&list, lines.join("\n") + "\n").map_err(|e| format!("{}: {e}", list.display()))?;
    let archive = match side {
        Side::Linux => PathBuf::new(),
        Side::Image => pack(suite, place, &list)?,
    };
    // What a run that was ended has left.
    let work = place.folder.join("work");
    let _ = fs::remove_dir_all(&work);
    let mut progress = Progress::new(suite, side, tests.len());
    let told = place.folder.join(format!("{name}.{suffix}"));
    let mut results = Told {
        tests,
        ran: Vec::new(),
        file: File::create(&told).map_err(|e| format!("{}: {e}", told.display()))?,
    };
    while results.ran.len() < tests.len() {
        let mut command = match side {
            Side::Linux => Command::new(EACH),
            Side::Image => image(suite, &archive),
        };
        command
            .arg(&list)
            .arg(results.ran.len().to_string())
            .arg(suite.limit_s.to_string())
            .arg(match side {
                Side::Linux => work.clone(),
                Side::Image => PathBuf::from("/tmp/work"),
            })
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = command.spawn().map_err(|e| format!("{EACH}: {e}"))?;
        let before = results.ran.len();
        let ended = follow(child, suite, until, &mut results, &mut progress);
        match ended {
            Ended::Done => break,
            Ended::OutOfTime => {
                progress.say(&format!("out of time behind {} tests", results.ran.len()));
                break;
            }
            Ended::InTest(ran) => results.push(ran),
            // Nothing was started: it will not be otherwise the next time.
            Ended::Otherwise(why) if results.ran.len() == before => return Err(why),
            Ended::Otherwise(_) => {}
        }
    }
    progress.end();
    let _ = fs::remove_dir_all(&work);
    // The next run packs it anew, with a list of its own.
    let _ = fs::remove_file(&archive);
    Ok(results.ran)
}

enum Ended {
    Done,
    OutOfTime,
    /// What becomes of the test that was running.
    InTest(Ran),
    /// Between tests, with what was said.
    Otherwise(String),
}

/// Follows what `each` says until it or the machine ends.
fn follow(
    mut child: Child,
    suite: &Suite,
    until: Option<Instant>,
    results: &mut Told,
    progress: &mut Progress,
) -> Ended {
    let lines = lines_of(&mut child);
    let patience = Duration::from_secs(suite.limit_s + 60);
    let mut running: Option<(Instant, String)> = None;
    let mut beside = String::new();
    let ended = loop {
        let out_of_time = until.is_some_and(|until| Instant::now() > until);
        if out_of_time && running.is_none() && !results.ran.is_empty() {
            break Ended::OutOfTime;
        }
        if let Some((since, _)) = &running {
            progress.still(since.elapsed());
        }
        let (text, of_program) = match lines.recv_timeout(Duration::from_secs(1)) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => match &running {
                Some((since, said)) if since.elapsed() > patience => {
                    break Ended::InTest(ran("the machine hangs", since, said.clone() + &beside));
                }
                _ => continue,
            },
            Err(RecvTimeoutError::Disconnected) => match running.take() {
                Some((since, said)) => {
                    break Ended::InTest(ran("the machine ended", &since, said + &beside));
                }
                None => break Ended::Otherwise(beside),
            },
        };
        if !of_program {
            beside += &text;
            beside.push('\n');
        } else if text == "@@done" {
            break Ended::Done;
        } else if let Some(what) = text.strip_prefix("@@start ") {
            // The number in the list, then the name.
            let name = what.split_once(' ').map_or(what, |(_, name)| name);
            progress.at(results.ran.len(), name);
            running = Some((Instant::now(), String::new()));
        } else if let Some(what) = text.strip_prefix("@@end ") {
            let mut words = what.split(' ').skip(1);
            let status = words.next().unwrap_or_default().to_owned();
            let took_ms = words.next().and_then(|n| n.parse().ok()).unwrap_or(0);
            let output = running.take().map(|(_, said)| said).unwrap_or_default();
            results.push(Ran {
                status,
                output,
                took_ms,
            });
        } else if let (Some(line), Some((_, said))) = (text.strip_prefix("| "), &mut running) {
            *said += line;
            said.push('\n');
        } else {
            beside += &text;
            beside.push('\n');
        }
    };
    // The runner ends its QEMU when asked.
    signal(&child, Signal::SIGTERM as i32);
    let _ = child.wait();
    ended
}

fn ran(status: &str, since: &Instant, output: String) -> Ran {
    Ran {
        status: status.to_owned(),
        output,
        took_ms: u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX),
    }
}

/// The lines of both outputs as they come, and whether each is the program's own.
fn lines_of(child: &mut Child) -> Receiver<(String, bool)> {
    let (to, lines) = channel();
    let beside = to.clone();
    let (output, error) = (child.stdout.take(), child.stderr.take());
    thread::spawn(move || {
        let mut reader = BufReader::new(output.expect("piped"));
        let mut line = Vec::new();
        while matches!(reader.read_until(b'\n', &mut line), Ok(n) if n > 0) {
            let text = String::from_utf8_lossy(&line);
            let _ = to.send((text.trim_end_matches(['\r', '\n']).to_owned(), true));
            line.clear();
        }
    });
    thread::spawn(move || {
        let reader = BufReader::new(error.expect("piped"));
        for line in reader.lines().map_while(Result::ok) {
            let _ = beside.send((line, false));
        }
    });
    lines
}

/// The runner on the image, without the arguments of `each`.
fn image(suite: &Suite, archive: &Path) -> Command {
    let mut command = Command::new(RUNNER);
    command
        .arg(cargo::example("linux"))
        .env("EBB_ARCHIVE", archive)
        .env("EBB_CORES", "1")
        .env("EBB_MEMORY", format!("{}M", suite.memory))
        // All but what the image itself takes.
        .env(
            "EBB_OPTIONS",
            format!("memory={}", u64::from(suite.memory - 256) << 20),
        )
        .env("EBB_NET", "user")
        .env("EBB_QUIET", "1")
        .env_remove("EBB_TIMEOUT");
    // A run that is killed leaves no machine behind.
    let end_with_this = || Ok(set_pdeathsig(Signal::SIGTERM)?);
    // SAFETY: a system call that touches no memory.
    unsafe { command.pre_exec(end_with_this) };
    command
}

/// Makes the archive of a suite and a list.
fn pack(suite: &Suite, place: &Place, list: &Path) -> Result<PathBuf, String> {
    let (manifest, archive) = (
        place.folder.join("manifest"),
        place.folder.join("archive.ebb"),
    );
    let mut lines = vec![
        format!("program {EACH}"),
        format!("file {}", list.display()),
        "workdir /tmp".to_owned(),
        "directory /tmp 1777".to_owned(),
    ];
    lines.extend((suite.files)(place));
    fs::write(&manifest, lines.join("\n") + "\n").map_err(|e| e.to_string())?;
    let packed = Command::new(RUNNER)
        .args(["pack".as_ref(), manifest.as_os_str(), "-o".as_ref()])
        .arg(&archive)
        .output()
        .map_err(|e| format!("{RUNNER}: {e}"))?;
    match packed.status.success() {
        true => Ok(archive),
        false => Err(format!(
            "{} cannot be packed: {}",
            suite.name,
            String::from_utf8_lossy(&packed.stderr)
        )),
    }
}

/// Says on the error output how far it is: a line that is written anew on a terminal, else a line now and then, within a long
/// test too.
struct Progress {
    what: String,
    /// The test that runs.
    test: String,
    all: usize,
    terminal: bool,
    said: Instant,
}

impl Progress {
    fn new(suite: &Suite, side: Side, all: usize) -> Self {
        let side = match side {
            Side::Linux => "on Linux",
            Side::Image => "in the image",
        };
        Self {
            what: format!("{} {side}", suite.name),
            test: String::new(),
            all,
            terminal: std::io::IsTerminal::is_terminal(&stderr()),
            said: Instant::now(),
        }
    }

    /// A test begins.
    fn at(&mut self, n: usize, name: &str) {
        self.test = format!("{}: {} of {}, {name}", self.what, n + 1, self.all);
        let text = self.test.clone();
        self.now_and_then(
            Duration::from_secs(if self.terminal { 0 } else { 20 }),
            &text,
        );
    }

    /// It runs since then.
    fn still(&mut self, since: Duration) {
        let text = format!("{}, {} s", self.test, since.as_secs());
        self.now_and_then(
            Duration::from_secs(if self.terminal { 1 } else { 60 }),
            &text,
        );
    }

    fn now_and_then(&mut self, apart: Duration, text: &str) {
        if self.said.elapsed() < apart {
            return;
        }
        self.said = Instant::now();
        let _ = match self.terminal {
            true => write!(stderr(), "\r\x1b[K{text}"),
            false => writeln!(stderr(), "{text}"),
        };
    }

    fn say(&self, text: &str) {
        let _ = writeln!(stderr(), "{}: {text}", self.what);
    }

    fn end(&self) {
        if self.terminal {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}
