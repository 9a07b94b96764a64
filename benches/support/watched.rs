//! Programs whose output is heard, and whose end is noticed.

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
};

/// The last lines of an output.
#[derive(Clone, Default)]
pub(crate) struct Heard(Arc<Mutex<VecDeque<String>>>);

impl Heard {
    const LINES: usize = 40;

    /// Hears an output to its end, or whoever writes there would wait for a full pipe.
    pub fn listen(
        &self,
        stream: impl Read + Send + 'static,
        at_end: impl FnOnce() + Send + 'static,
    ) {
        let heard = self.clone();
        thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                let mut lines = heard.0.lock().expect("no panic");
                lines.push_back(String::from_utf8_lossy(&line).into_owned());
                if lines.len() > Self::LINES {
                    lines.pop_front();
                }
            }
            at_end();
        });
    }

    pub fn text(&self) -> String {
        let lines = self.0.lock().expect("no panic");
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        lines.join(" / ")
    }
}

/// The program behind the server.
pub(crate) struct Machine {
    pub child: Child,
    pub said: Heard,
    /// It is to end; else its end is that of the agent, which may wait for an answer for ever.
    pub over: Arc<AtomicBool>,
    /// It says nothing more, so it ends.
    pub is_silent: Arc<AtomicBool>,
}

impl Machine {
    pub fn start(mut program: Command) -> Self {
        let child = program
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{program:?}: {error}"));
        Self {
            child,
            said: Heard::default(),
            over: Arc::default(),
            is_silent: Arc::default(),
        }
    }

    pub fn watch(&mut self, agent: &Child) {
        let pid = agent.id().cast_signed();
        let (over, is_silent) = (Arc::clone(&self.over), Arc::clone(&self.is_silent));
        let (output, errors) = (self.child.stdout.take(), self.child.stderr.take());
        self.said.listen(errors.expect("piped"), || {});
        self.said.listen(output.expect("piped"), move || {
            is_silent.store(true, Relaxed);
            if !over.load(Relaxed) {
                // SAFETY: signals the agent, which is waited for only after `over` is set.
                unsafe { libc::kill(pid, libc::SIGTERM) };
            }
        });
    }
}
