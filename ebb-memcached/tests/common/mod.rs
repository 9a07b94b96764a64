//! A store of one thread, and a client that speaks to it without sockets.

use std::cell::RefCell;

use ebb_memcached::{Output, Progress, Session, Store, Time};
use ebb_runtime::sync::epoch::{Quiescence, Retired};

/// The calling thread as the one core of a machine of its own.
pub struct Here;

thread_local!(static RETIRED: RefCell<Vec<Retired>> = RefCell::default());

impl Here {
    /// The end of an event: frees what was replaced in it.
    pub fn boundary() {
        RETIRED.take().into_iter().for_each(|action| action());
    }
}

// SAFETY: every store is used by the test's thread only, which runs actions in `boundary` alone, outside of all reads.
unsafe impl Quiescence for Here {
    fn domain() -> usize {
        1
    }

    fn retire(action: Retired) {
        RETIRED.with_borrow_mut(|retired| retired.push(action));
    }
}

/// So many seconds after the start.
pub fn time(uptime: u64) -> Time {
    Time::new(uptime, 1_000_000_000)
}

/// A client and what it was answered.
pub struct Client<'s> {
    session: Session<'s, Here>,
    pub time: Time,
    pub answers: Vec<u8>,
    pub closed: bool,
    /// How often it waited for memory.
    pub waits: usize,
    /// Most bytes that waited to be sent.
    pub most_waiting: usize,
}

impl<'s> Client<'s> {
    pub fn new(store: &'s Store<Here>) -> Self {
        Self {
            session: Session::new(store, 0),
            time: time(0),
            answers: Vec::new(),
            closed: false,
            waits: 0,
            most_waiting: 0,
        }
    }

    /// Sends bytes in one piece; returns what is answered.
    pub fn send(&mut self, mut input: &[u8]) -> Vec<u8> {
        let before = self.answers.len();
        let mut out = Output::default();
        while !self.closed {
            let (taken, progress) = self.session.receive(input, self.time, &mut out);
            input = &input[taken..];
            self.most_waiting = self.most_waiting.max(out.len());
            self.answers.extend(out.take().iter().flatten());
            match progress {
                Progress::More => {
                    assert!(input.is_empty(), "more is asked for before all is taken");
                    break;
                }
                Progress::Pause => {}
                Progress::Wait => {
                    self.waits += 1;
                    Here::boundary();
                }
                Progress::Close => self.closed = true,
            }
        }
        self.answers[before..].to_vec()
    }

    /// Bytes of memory that the session keeps.
    #[allow(dead_code, reason = "not every test program asks")]
    pub fn session_bytes(&self) -> usize {
        self.session.memory()
    }
}
