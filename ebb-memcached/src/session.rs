//! One client's bytes, in whatever pieces they arrive, turned into commands and answers.
//!
//! A command that lies whole in a received piece is read where it lies. Only one that is cut in two is put together in a
//! buffer of the session's own, and a value goes from the received piece straight into its item. What must hold: whatever
//! a client sends, a session
//! - never panics, and needs memory of at most [`LINE_MAX`] and twice the part of a value that has arrived, and less when the
//!   machine has none: then a value is refused and skipped, and a line ends the connection;
//! - does a bounded amount of work in one call, after which it says [`Progress::Pause`]: what its writes have replaced is
//!   freed only between events, so that is a bound on memory too.

use alloc::vec::Vec;

use ebb_runtime::sync::epoch::Quiescence;

use crate::{
    Output, Store, Time,
    binary::{self, Header, Quiet, StoreKind},
    item::Draft,
    text::{self, Retrieval, Verb},
};

/// Longest line of keys to retrieve, in bytes.
pub const LINE_MAX: usize = 1 << 20;
/// Longest line of any other command.
const SHORT_LINE_MAX: usize = 2048;
/// A line buffer of more than this is not kept for the next line.
const LINE_KEEP: usize = 4096;

/// Answers that may wait before they have to be sent.
const OUTPUT: usize = 64 << 10;
/// Work done in one call, in bytes moved.
const BUDGET: usize = 256 << 10;
/// What a command counts for in that.
const COMMAND: usize = 512;

/// Grace periods in which a value may wait for memory.
const WAITS: u32 = 64;

/// Whether a line, or as much of it as there is, is longer than one may be. Says the same of a line that has come whole and
/// of one that comes in pieces.
#[inline]
fn is_too_long(line: &[u8]) -> bool {
    if line.len() <= SHORT_LINE_MAX {
        return false;
    }
    let words = line[..SHORT_LINE_MAX].trim_ascii_start();
    let retrieval = words.starts_with(b"get") || words.starts_with(b"gat");
    !retrieval || line.len() > LINE_MAX
}

/// How a session goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Everything received is dealt with; more is needed.
    More,
    /// Enough for one event: send the answers, let other events run, and call again, if only with an empty input.
    Pause,
    /// As [`Pause`](Self::Pause), but call again after a grace period: memory is short, and by then what was evicted is free.
    Wait,
    /// Send the answers and end the connection.
    Close,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Text,
    Binary,
}

/// What the next bytes are.
enum State {
    /// A line, or a header with extras and key.
    Command,
    /// Nothing new: keys are left to be answered.
    Keys { line: Vec<u8>, retrieval: Retrieval },
    /// A value.
    Value { draft: Draft, purpose: Purpose },
    /// A value that nobody wants.
    Skip(u64),
    /// Nobody reads them.
    Closed,
}

/// What a value is for.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    Text {
        verb: Verb,
        reply: bool,
    },
    Binary {
        kind: StoreKind,
        header: Header,
        quiet: Quiet,
    },
}

/// What executing a command leads to.
pub(crate) enum Next {
    Command,
    /// Keys are left, from this place in the line on.
    Keys(Retrieval),
    Value(Draft, Purpose),
    Skip(u64),
    Close,
}

/// What a command is executed with.
pub(crate) struct Context<'a, 's, Q: Quiescence> {
    pub store: &'s Store<Q>,
    pub core: usize,
    pub time: Time,
    pub out: &'a mut Output,
    /// Work done, against `BUDGET`.
    pub spent: usize,
}

impl<Q: Quiescence> Context<'_, '_, Q> {
    #[inline]
    pub fn is_exhausted(&self) -> bool {
        self.spent >= BUDGET || self.out.len() >= OUTPUT
    }

    #[inline]
    pub fn command(&mut self) {
        self.spent += COMMAND;
    }

    /// Whether there are `bytes` of memory.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.store.has_room(bytes, self.time, self.core)
    }
}

/// One client's connection, without the connection.
pub struct Session<'s, Q: Quiescence> {
    store: &'s Store<Q>,
    core: usize,
    protocol: Option<Protocol>,
    /// The beginning of a command that was cut off.
    partial: Vec<u8>,
    state: State,
    /// How often a value has waited for memory since one last got some.
    waits: u32,
}

enum Step {
    Again,
    Starved,
    Wait,
    Close,
}

impl<'s, Q: Quiescence> Session<'s, Q> {
    /// A client that talks to this core.
    #[must_use]
    pub fn new(store: &'s Store<Q>, core: usize) -> Self {
        store.counters(core).connections_opened.add(1);
        Self {
            store,
            core,
            protocol: None,
            partial: Vec::new(),
            state: State::Command,
            waits: 0,
        }
    }

    /// Executes what `input` holds and adds the answers to `out`. Returns how many bytes it has taken; the others are to
    /// be given again, before any that come later.
    pub fn receive(&mut self, input: &[u8], time: Time, out: &mut Output) -> (usize, Progress) {
        self.store.tick(time);
        let before = out.len();
        let mut context = Context {
            store: self.store,
            core: self.core,
            time,
            out,
            spent: 0,
        };
        let mut rest = input;
        let progress = loop {
            if context.is_exhausted() {
                break Progress::Pause;
            }
            match self.step(&mut rest, &mut context) {
                Step::Again => {}
                Step::Starved => break Progress::More,
                Step::Wait => break Progress::Wait,
                Step::Close => {
                    self.state = State::Closed;
                    rest = &[];
                    break Progress::Close;
                }
            }
        };
        let written = context.out.len() - before;
        let taken = input.len() - rest.len();
        let counters = self.store.counters(self.core);
        counters.bytes_read.add(taken as u64);
        counters.bytes_written.add(written as u64);
        (taken, progress)
    }

    /// Bytes of memory that it keeps for commands that are not whole.
    #[must_use]
    pub fn memory(&self) -> usize {
        let state = match &self.state {
            State::Keys { line, .. } => line.capacity(),
            State::Value { draft, .. } => draft.memory(),
            State::Command | State::Skip(_) | State::Closed => 0,
        };
        self.partial.capacity() + state
    }

    #[inline]
    fn step(&mut self, rest: &mut &[u8], context: &mut Context<'_, 's, Q>) -> Step {
        match &mut self.state {
            State::Command => match self.protocol {
                Some(Protocol::Binary) => self.binary(rest, context),
                Some(Protocol::Text) => self.text(rest, context),
                None => {
                    let Some(first) = rest.first() else {
                        return Step::Starved;
                    };
                    self.protocol = Some(match *first {
                        binary::REQUEST => Protocol::Binary,
                        _ => Protocol::Text,
                    });
                    Step::Again
                }
            },
            State::Keys { line, retrieval } => {
                let line = core::mem::take(line);
                let retrieval = *retrieval;
                let next = context.retrieve(&line, retrieval);
                self.state = match next {
                    Next::Keys(retrieval) => State::Keys { line, retrieval },
                    _ => State::Command,
                };
                Step::Again
            }
            State::Value { .. } => self.value(rest, context),
            State::Skip(left) => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                *rest = &rest[count..];
                *left -= count as u64;
                if *left == 0 {
                    self.state = State::Command;
                    return Step::Again;
                }
                Step::Starved
            }
            State::Closed => Step::Close,
        }
    }

    #[inline]
    fn go(&mut self, next: Next, line: &[u8], context: &mut Context<'_, 's, Q>) -> Step {
        self.state = match next {
            Next::Command => return Step::Again,
            Next::Close => return Step::Close,
            Next::Value(draft, purpose) => State::Value { draft, purpose },
            Next::Skip(count) => State::Skip(count),
            Next::Keys(retrieval) => return self.keep_keys(line, retrieval, context),
        };
        Step::Again
    }

    /// Keeps the keys that are left of a line.
    #[cold]
    fn keep_keys(
        &mut self,
        line: &[u8],
        retrieval: Retrieval,
        context: &mut Context<'_, 's, Q>,
    ) -> Step {
        let mut keys = Vec::new();
        if !append(&mut keys, &line[retrieval.keys..], context) {
            return Self::no_memory_for_line(context);
        }
        self.state = State::Keys {
            line: keys,
            retrieval: Retrieval {
                keys: 0,
                ..retrieval
            },
        };
        Step::Again
    }

    // --- Text ----------------------------------------------------------------------------------------

    #[inline]
    fn text(&mut self, rest: &mut &[u8], context: &mut Context<'_, 's, Q>) -> Step {
        let end = text::find(b'\n', rest);
        let Some(end) = end else {
            return self.cut_line(rest, context);
        };
        let (piece, after) = (&rest[..end], &rest[end + 1..]);
        *rest = after;
        if self.partial.is_empty() {
            return self.line(piece, context);
        }
        let mut line = core::mem::take(&mut self.partial);
        if !append(&mut line, piece, context) {
            return Self::no_memory_for_line(context);
        }
        let step = self.line(&line, context);
        if line.capacity() <= LINE_KEEP {
            line.clear();
            self.partial = line;
        }
        step
    }

    fn line(&mut self, line: &[u8], context: &mut Context<'_, 's, Q>) -> Step {
        if is_too_long(line) {
            return Self::refuse_line(context);
        }
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        context.command();
        let next = match text::parse(line) {
            Ok(command) => context.text(line, command),
            Err(refusal) => {
                if refusal.reply {
                    context.out.copy(refusal.answer.as_bytes());
                    context.out.copy(b"\r\n");
                }
                match refusal.skip {
                    0 => Next::Command,
                    count => Next::Skip(count),
                }
            }
        };
        self.go(next, line, context)
    }

    /// Keeps the beginning of a line, if it is not too long for one.
    fn cut_line(&mut self, rest: &mut &[u8], context: &mut Context<'_, 's, Q>) -> Step {
        if rest.is_empty() {
            return Step::Starved;
        }
        if !append(&mut self.partial, rest, context) {
            return Self::no_memory_for_line(context);
        }
        *rest = &[];
        if is_too_long(&self.partial) {
            return Self::refuse_line(context);
        }
        Step::Starved
    }

    #[cold]
    fn no_memory_for_line(context: &mut Context<'_, 's, Q>) -> Step {
        context
            .out
            .copy(b"SERVER_ERROR out of memory reading request\r\n");
        Step::Close
    }

    #[cold]
    fn refuse_line(context: &mut Context<'_, 's, Q>) -> Step {
        context.out.copy(b"CLIENT_ERROR line too long\r\n");
        Step::Close
    }

    // --- Binary --------------------------------------------------------------------------------------

    #[inline]
    fn binary(&mut self, rest: &mut &[u8], context: &mut Context<'_, 's, Q>) -> Step {
        loop {
            let cut = !self.partial.is_empty();
            let have: &[u8] = if cut { &self.partial } else { rest };
            let header = match have.first_chunk::<{ binary::HEADER }>() {
                None => None,
                Some(bytes) => match Header::parse(bytes) {
                    Ok(header) => Some(header),
                    Err(binary::Malformed) => return Step::Close,
                },
            };
            let need = match &header {
                Some(header) if header.is_plausible() => header.head(),
                _ => binary::HEADER,
            };
            match header {
                Some(header) if have.len() >= need => {
                    context.command();
                    let next;
                    if cut {
                        let mut head = core::mem::take(&mut self.partial);
                        next = context.binary(&header, &head[binary::HEADER..]);
                        head.clear();
                        self.partial = head;
                    } else {
                        next = context.binary(&header, &have[binary::HEADER..need]);
                        *rest = &rest[need..];
                    }
                    return self.go(next, &[], context);
                }
                _ => {
                    let count = rest.len().min(need - if cut { have.len() } else { 0 });
                    if count == 0 {
                        return Step::Starved;
                    }
                    if !append(&mut self.partial, &rest[..count], context) {
                        return Step::Close;
                    }
                    *rest = &rest[count..];
                }
            }
        }
    }

    // --- Values --------------------------------------------------------------------------------------

    fn value(&mut self, rest: &mut &[u8], context: &mut Context<'_, 's, Q>) -> Step {
        let State::Value { draft, purpose } = &mut self.state else {
            return Step::Again;
        };
        let (count, whole) = match purpose {
            Purpose::Text { .. } => (draft.fill_line(rest), draft.is_line_filled()),
            Purpose::Binary { .. } => (draft.fill(rest), draft.is_filled()),
        };
        *rest = &rest[count..];
        context.spent += count;
        if !whole {
            return match rest.is_empty() {
                true => Step::Starved,
                false => self.grow(context),
            };
        }
        if let State::Value { draft, purpose } = core::mem::replace(&mut self.state, State::Command)
        {
            context.store_value(draft, purpose);
        }
        Step::Again
    }

    /// Makes room for more of a value, or waits for some, or lets the value go.
    #[cold]
    fn grow(&mut self, context: &mut Context<'_, 's, Q>) -> Step {
        let State::Value { draft, purpose } = &mut self.state else {
            return Step::Again;
        };
        if context.has_room(draft.next_room()) && draft.grow() {
            self.waits = 0;
            return Step::Again;
        }
        if self.waits < WAITS {
            self.waits += 1;
            return Step::Wait;
        }
        self.waits = 0;
        let left = draft.left();
        let next = context.no_memory_for(draft.key(), *purpose, left);
        self.state = State::Command;
        self.go(next, &[], context)
    }
}

/// Adds to the beginning of a command; false when there is no memory for that.
#[inline(never)]
fn append<Q: Quiescence>(to: &mut Vec<u8>, bytes: &[u8], context: &mut Context<'_, '_, Q>) -> bool {
    let length = to.len() + bytes.len();
    // A vector that is full doubles.
    let fits = length <= to.capacity() || length <= LINE_KEEP || context.has_room(2 * length);
    let fits = fits && to.try_reserve(bytes.len()).is_ok();
    if fits {
        to.extend_from_slice(bytes);
    }
    fits
}

impl<Q: Quiescence> Drop for Session<'_, Q> {
    fn drop(&mut self) {
        let counters = self.store.counters(self.core);
        counters.connections_closed.add(1);
    }
}

impl<Q: Quiescence> core::fmt::Debug for Session<'_, Q> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self.protocol {
            None => "Session(new)",
            Some(Protocol::Text) => "Session(text)",
            Some(Protocol::Binary) => "Session(binary)",
        })
    }
}
