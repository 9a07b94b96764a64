//! What each command does, and how each protocol answers.

use core::fmt::{self, Write};

use ebb_runtime::sync::epoch::Quiescence;

use crate::{
    VERSION,
    binary::{Header, Operation, Quiet, Status, StoreKind, operation},
    item::{Draft, Item},
    session::{Context, Next, Purpose},
    store::{Condition, Outcome, Side},
    text::{BAD_FORMAT, Command, Retrieval, Storage, Verb, word},
    time::NEVER,
};

const TOO_LARGE: &[u8] = b"SERVER_ERROR object too large for cache\r\n";
const NO_MEMORY: &[u8] = b"SERVER_ERROR out of memory storing object\r\n";

// --- What both protocols share -----------------------------------------------------------------------

impl<Q: Quiescence> Context<'_, '_, Q> {
    /// Finds an item, or changes its expiry time and finds it.
    #[inline]
    fn find<R>(
        &mut self,
        key: &[u8],
        touch: Option<u32>,
        answer: impl FnOnce(&mut crate::Output, &Item) -> R,
    ) -> Option<R> {
        let counters = self.store.counters(self.core);
        let out = &mut *self.out;
        let found = match touch {
            None => self.store.get(key, self.time, |item| answer(out, item)),
            Some(expires) => {
                counters.touch.add(1);
                let found = self
                    .store
                    .touch(key, expires, self.time, |item| answer(out, item));
                counters.touch_hits.add(u64::from(found.is_some()));
                found
            }
        };
        counters.get.add(1);
        counters.get_hits.add(u64::from(found.is_some()));
        found
    }

    fn touch(&mut self, key: &[u8], expires: u32) -> Option<(u32, u64)> {
        let counters = self.store.counters(self.core);
        let found = self
            .store
            .touch(key, expires, self.time, |item| (item.flags(), item.cas()));
        counters.touch.add(1);
        counters.touch_hits.add(u64::from(found.is_some()));
        found
    }

    fn delete(&mut self, key: &[u8], cas: u64) -> Outcome {
        let outcome = self.store.delete(key, cas, self.time);
        let counters = self.store.counters(self.core);
        match outcome {
            Outcome::Stored(_) => counters.delete_hits.add(1),
            Outcome::NotFound => counters.delete_misses.add(1),
            _ => {}
        }
        outcome
    }

    fn add(
        &mut self,
        key: &[u8],
        delta: u64,
        decrement: bool,
        initial: Option<(u64, u32)>,
        cas: u64,
    ) -> Result<(u64, u64), Outcome> {
        let (time, core) = (self.time, self.core);
        let result = self
            .store
            .add(key, delta, decrement, initial, cas, time, core);
        let counters = self.store.counters(core);
        let (hits, misses) = match decrement {
            false => (&counters.incr_hits, &counters.incr_misses),
            true => (&counters.decr_hits, &counters.decr_misses),
        };
        match result {
            Ok(_) => hits.add(1),
            Err(Outcome::NotFound) => misses.add(1),
            Err(_) => {}
        }
        result
    }

    fn flush(&mut self, delay: i64) {
        self.store.counters(self.core).flush.add(1);
        let at = match delay {
            0 => NEVER,
            delay => self.time.deadline(delay),
        };
        self.store.flush(at, self.time);
    }

    /// A value that cannot be stored. Nor may what was there before be taken for it.
    fn refuse_value(&mut self, key: &[u8], overwrite: bool) {
        if overwrite {
            self.store.delete(key, 0, self.time);
        }
    }

    /// There is no memory for a value of which `left` bytes are to come: says so, and has them skipped.
    #[cold]
    pub fn no_memory_for(&mut self, key: &[u8], purpose: Purpose, left: usize) -> Next {
        self.store.counters(self.core).set.add(1);
        match purpose {
            Purpose::Text { verb, reply } => {
                self.line(reply, NO_MEMORY);
                self.refuse_value(key, verb == Verb::Set);
                Next::Skip(left as u64 + 2)
            }
            Purpose::Binary {
                kind,
                header,
                quiet,
            } => {
                self.status(&header, Status::OutOfMemory, 0, quiet);
                self.refuse_value(key, kind == StoreKind::Set);
                match left {
                    0 => Next::Command,
                    count => Next::Skip(count as u64),
                }
            }
        }
    }

    /// A value is whole: stores it and answers.
    pub fn store_value(&mut self, draft: Draft, purpose: Purpose) {
        self.store.counters(self.core).set.add(1);
        match purpose {
            Purpose::Text { verb, reply } => self.store_text(draft, verb, reply),
            Purpose::Binary {
                kind,
                header,
                quiet,
            } => self.store_binary(draft, kind, &header, quiet),
        }
    }

    fn put(&mut self, draft: Draft, condition: Condition<'_>) -> Outcome {
        let outcome = self.store.put(draft, condition, self.time, self.core);
        if let Condition::Cas(_) = condition {
            let counters = self.store.counters(self.core);
            match outcome {
                Outcome::Stored(_) => counters.cas_hits.add(1),
                Outcome::NotFound => counters.cas_misses.add(1),
                _ => counters.cas_badval.add(1),
            }
        }
        outcome
    }

    /// Adds to a value. What it makes counts as work: it may be much more than what was sent.
    fn extend(&mut self, draft: &Draft, side: Side, cas: u64) -> Outcome {
        let (time, core) = (self.time, self.core);
        let length = self
            .store
            .get(draft.key(), time, |item| item.value().len())
            .unwrap_or(0);
        self.spent += length;
        self.store
            .extend(draft.key(), draft.value(), side, cas, time, core)
    }
}

// --- Text --------------------------------------------------------------------------------------------

impl<Q: Quiescence> Context<'_, '_, Q> {
    fn line(&mut self, reply: bool, text: &[u8]) {
        if reply {
            self.out.copy(text);
        }
    }

    /// Executes a text command, up to its value if it has one.
    #[inline]
    pub fn text(&mut self, line: &[u8], command: Command<'_>) -> Next {
        match command {
            Command::Retrieve(retrieval) => return self.retrieve(line, retrieval),
            Command::Store(storage) => return self.begin_text(&storage),
            Command::Add {
                key,
                delta,
                decrement,
                reply,
            } => match self.add(key, delta, decrement, None, 0) {
                Ok((number, _)) if reply => {
                    self.out.number(number);
                    self.out.copy(b"\r\n");
                }
                Ok(_) => {}
                Err(Outcome::NotANumber) => self.line(
                    reply,
                    b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n",
                ),
                Err(Outcome::OutOfMemory) => self.line(reply, b"SERVER_ERROR out of memory\r\n"),
                Err(_) => self.line(reply, b"NOT_FOUND\r\n"),
            },
            Command::Touch {
                key,
                expires,
                reply,
            } => {
                let expires = self.time.deadline(expires);
                match self.touch(key, expires) {
                    Some(_) => self.line(reply, b"TOUCHED\r\n"),
                    None => self.line(reply, b"NOT_FOUND\r\n"),
                }
            }
            Command::Delete { key, reply } => match self.delete(key, 0) {
                Outcome::Stored(_) => self.line(reply, b"DELETED\r\n"),
                _ => self.line(reply, b"NOT_FOUND\r\n"),
            },
            Command::Flush { delay, reply } => {
                self.flush(delay);
                self.line(reply, b"OK\r\n");
            }
            Command::Stats(topic) => self.text_stats(topic),
            Command::Version => {
                self.out.copy(b"VERSION ");
                self.out.copy(VERSION.as_bytes());
                self.out.copy(b"\r\n");
            }
            Command::Verbosity { reply } => self.line(reply, b"OK\r\n"),
            Command::Quit => return Next::Close,
        }
        Next::Command
    }

    /// Answers the keys of a line, as many as fit into this event.
    #[inline]
    pub fn retrieve(&mut self, line: &[u8], retrieval: Retrieval) -> Next {
        let touch = retrieval.touch.map(|expires| self.time.deadline(expires));
        let mut at = retrieval.keys;
        while let Some((key, end)) = word(line, at) {
            if self.is_exhausted() {
                return Next::Keys(Retrieval {
                    keys: at,
                    ..retrieval
                });
            }
            if key.len() > crate::KEY_MAX {
                self.out.copy(BAD_FORMAT.as_bytes());
                self.out.copy(b"\r\n");
                return Next::Command;
            }
            self.command();
            self.find(key, touch, |out, item| {
                if retrieval.cas {
                    out.copy(&item.answer()[..item.value_offset() - 2]);
                    out.copy(b" ");
                    out.number(item.cas());
                    out.copy(b"\r\n");
                    out.share(item.answer(), item.value_offset(), 0);
                } else {
                    out.share(item.answer(), 0, 0);
                }
            });
            at = end;
        }
        self.out.copy(b"END\r\n");
        Next::Command
    }

    fn begin_text(&mut self, storage: &Storage<'_>) -> Next {
        let Storage {
            verb,
            key,
            flags,
            expires,
            len,
            reply,
        } = *storage;
        if !self.store.fits(key.len(), len) {
            self.line(reply, TOO_LARGE);
            self.refuse_value(key, verb == Verb::Set);
            return Next::Skip(len as u64 + 2);
        }
        let purpose = Purpose::Text { verb, reply };
        match Draft::new(key, flags, self.time.deadline(expires), len) {
            Some(draft) => Next::Value(draft, purpose),
            None => self.no_memory_for(key, purpose, len),
        }
    }

    fn store_text(&mut self, mut draft: Draft, verb: Verb, reply: bool) {
        if !draft.end_line() {
            self.out.copy(b"CLIENT_ERROR bad data chunk\r\n");
            return;
        }
        let outcome = match verb {
            Verb::Set => self.put(draft, Condition::Any),
            Verb::Add => self.put(draft, Condition::Absent),
            Verb::Replace => self.put(draft, Condition::Present),
            Verb::Cas(cas) => self.put(draft, Condition::Cas(cas)),
            Verb::Append => self.extend(&draft, Side::Append, 0),
            Verb::Prepend => self.extend(&draft, Side::Prepend, 0),
        };
        let answer: &[u8] = match (outcome, verb) {
            (Outcome::Stored(_), _) => b"STORED\r\n",
            (Outcome::TooLarge, _) => TOO_LARGE,
            (Outcome::OutOfMemory, _) => NO_MEMORY,
            (Outcome::NotFound, Verb::Cas(_)) => b"NOT_FOUND\r\n",
            (_, Verb::Cas(_)) => b"EXISTS\r\n",
            _ => b"NOT_STORED\r\n",
        };
        self.line(reply, answer);
    }

    fn text_stats(&mut self, topic: &[u8]) {
        match topic {
            b"reset" => {
                self.store.reset_counters();
                self.out.copy(b"RESET\r\n");
                return;
            }
            b"" => self.stats(|out, name, value| {
                let _ = write!(out, "STAT {name} {value}\r\n");
            }),
            b"settings" => self.settings(|out, name, value| {
                let _ = write!(out, "STAT {name} {value}\r\n");
            }),
            // The other topics are about memcached's slabs, which are not here.
            _ => {}
        }
        self.out.copy(b"END\r\n");
    }
}

// --- Binary ------------------------------------------------------------------------------------------

/// An expiry time that says: do not make a number that is not there.
const DO_NOT_CREATE: u32 = u32::MAX;

fn be32(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |b| u32::from_be_bytes(*b))
}

fn be64(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |b| u64::from_be_bytes(*b))
}

impl Status {
    fn of(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Stored(_) => Self::Ok,
            Outcome::Exists => Self::Exists,
            Outcome::NotFound => Self::NotFound,
            Outcome::TooLarge => Self::TooLarge,
            Outcome::NotANumber => Self::NotANumber,
            Outcome::OutOfMemory => Self::OutOfMemory,
        }
    }
}

impl<Q: Quiescence> Context<'_, '_, Q> {
    fn answer(&mut self, header: &Header, status: Status, value: &[u8], cas: u64) {
        let head = header.answer(status, 0, 0, value.len() as u32, cas);
        self.out.copy(&head);
        self.out.copy(value);
    }

    /// Answers how it went: nothing but the status, or the reason in words.
    fn status(&mut self, header: &Header, status: Status, cas: u64, quiet: Quiet) {
        if status == Status::Ok && quiet == Quiet::Success
            || status == Status::NotFound && quiet == Quiet::Misses
        {
            return;
        }
        self.answer(header, status, status.text().as_bytes(), cas);
    }

    /// Executes a binary request, given its extras and its key, up to its value if it has one.
    #[inline]
    pub fn binary(&mut self, header: &Header, head: &[u8]) -> Next {
        let skip = match head {
            // What does not fit was not waited for.
            [] => header.body() as u64,
            _ => header.value as u64,
        };
        let refused = match skip {
            0 => Next::Command,
            count => Next::Skip(count),
        };
        let Some((operation, quiet)) = operation(header.opcode) else {
            self.status(header, Status::Unknown, 0, Quiet::No);
            return refused;
        };
        if !operation.fits(header) || head.len() != header.extras + header.key {
            self.status(header, Status::Invalid, 0, Quiet::No);
            return refused;
        }
        let (extras, key) = head.split_at(header.extras);
        match operation {
            Operation::Get {
                key: with_key,
                touch,
            } => {
                let touch = touch.then(|| self.time.deadline(be32(extras).into()));
                let name = if with_key { key } else { &[] };
                let found = self.find(key, touch, |out, item| {
                    let value = item.value().len() as u32;
                    let cas = item.cas();
                    out.copy(&header.answer(Status::Ok, 4, name.len() as u16, value, cas));
                    out.copy(&item.flags().to_be_bytes());
                    out.copy(name);
                    out.share(item.answer(), item.value_offset(), 2);
                });
                if found.is_none() && quiet != Quiet::Misses {
                    self.miss(header, name);
                }
            }
            Operation::Touch => {
                let expires = self.time.deadline(be32(extras).into());
                match self.touch(key, expires) {
                    Some((flags, cas)) => {
                        let head = header.answer(Status::Ok, 4, 0, 0, cas);
                        self.out.copy(&head);
                        self.out.copy(&flags.to_be_bytes());
                    }
                    None => self.status(header, Status::NotFound, 0, quiet),
                }
            }
            Operation::Store(kind) => return self.begin_binary(kind, header, quiet, extras, key),
            Operation::Delete => {
                let status = Status::of(self.delete(key, header.cas));
                self.status(header, status, 0, quiet);
            }
            Operation::Add { decrement } => {
                let (delta, start, expires) =
                    (be64(extras), be64(&extras[8..]), be32(&extras[16..]));
                let initial =
                    (expires != DO_NOT_CREATE).then(|| (start, self.time.deadline(expires.into())));
                match self.add(key, delta, decrement, initial, header.cas) {
                    Ok(_) if quiet == Quiet::Success => {}
                    Ok((number, cas)) => {
                        self.answer(header, Status::Ok, &number.to_be_bytes(), cas);
                    }
                    Err(outcome) => self.status(header, Status::of(outcome), 0, quiet),
                }
            }
            Operation::Quit => {
                self.status(header, Status::Ok, 0, quiet);
                return Next::Close;
            }
            Operation::Flush => {
                self.flush(be32(extras).into());
                self.status(header, Status::Ok, 0, quiet);
            }
            Operation::Noop | Operation::Verbosity => self.status(header, Status::Ok, 0, quiet),
            Operation::Version => self.answer(header, Status::Ok, VERSION.as_bytes(), 0),
            Operation::Stats => self.binary_stats(header, key),
        }
        Next::Command
    }

    /// A miss of a GET with its key answers the key, any other the reason.
    fn miss(&mut self, header: &Header, name: &[u8]) {
        if name.is_empty() {
            return self.status(header, Status::NotFound, 0, Quiet::No);
        }
        let head = header.answer(Status::NotFound, 0, name.len() as u16, 0, 0);
        self.out.copy(&head);
        self.out.copy(name);
    }

    fn begin_binary(
        &mut self,
        kind: StoreKind,
        header: &Header,
        quiet: Quiet,
        extras: &[u8],
        key: &[u8],
    ) -> Next {
        if !self.store.fits(key.len(), header.value) {
            self.status(header, Status::TooLarge, 0, quiet);
            self.refuse_value(key, kind == StoreKind::Set);
            return match header.value {
                0 => Next::Command,
                count => Next::Skip(count as u64),
            };
        }
        let (flags, expires) = match extras {
            [] => (0, NEVER),
            _ => (be32(extras), self.time.deadline(be32(&extras[4..]).into())),
        };
        let purpose = Purpose::Binary {
            kind,
            header: *header,
            quiet,
        };
        match Draft::new(key, flags, expires, header.value) {
            Some(draft) => Next::Value(draft, purpose),
            None => self.no_memory_for(key, purpose, header.value),
        }
    }

    fn store_binary(&mut self, draft: Draft, kind: StoreKind, header: &Header, quiet: Quiet) {
        let outcome = match kind {
            StoreKind::Append => self.extend(&draft, Side::Append, header.cas),
            StoreKind::Prepend => self.extend(&draft, Side::Prepend, header.cas),
            _ if header.cas != 0 => self.put(draft, Condition::Cas(header.cas)),
            StoreKind::Set => self.put(draft, Condition::Any),
            StoreKind::Add => self.put(draft, Condition::Absent),
            StoreKind::Replace => self.put(draft, Condition::Present),
        };
        let cas = match outcome {
            Outcome::Stored(cas) => cas,
            _ => 0,
        };
        let status = match (outcome, kind) {
            (Outcome::NotFound, StoreKind::Append | StoreKind::Prepend) => Status::NotStored,
            (outcome, _) => Status::of(outcome),
        };
        self.status(header, status, cas, quiet);
    }

    fn binary_stats(&mut self, header: &Header, topic: &[u8]) {
        let mut text = alloc::string::String::new();
        let mut stat = |out: &mut crate::Output, name: &str, value: fmt::Arguments<'_>| {
            text.clear();
            let _ = text.write_fmt(value);
            let (key, len) = (name.len() as u16, text.len() as u32);
            out.copy(&header.answer(Status::Ok, 0, key, len, 0));
            out.copy(name.as_bytes());
            out.copy(text.as_bytes());
        };
        match topic {
            b"" => self.stats(&mut stat),
            b"settings" => self.settings(&mut stat),
            b"reset" => self.store.reset_counters(),
            _ => {}
        }
        self.status(header, Status::Ok, 0, Quiet::No);
    }
}

// --- Figures -----------------------------------------------------------------------------------------

impl<Q: Quiescence> Context<'_, '_, Q> {
    fn settings(&mut self, mut stat: impl FnMut(&mut crate::Output, &str, fmt::Arguments<'_>)) {
        let out = &mut *self.out;
        let limits = self.store.limits();
        stat(out, "maxbytes", format_args!("{}", limits.memory));
        stat(out, "item_size_max", format_args!("{}", limits.item));
        stat(out, "num_threads", format_args!("{}", self.store.cores()));
        stat(out, "evictions", format_args!("on"));
        stat(out, "cas_enabled", format_args!("yes"));
    }

    fn stats(&mut self, mut stat: impl FnMut(&mut crate::Output, &str, fmt::Arguments<'_>)) {
        let out = &mut *self.out;
        let totals = self.store.totals();
        stat(out, "pid", format_args!("1"));
        stat(out, "uptime", format_args!("{}", self.time.uptime()));
        stat(out, "time", format_args!("{}", self.time.unix));
        stat(out, "version", format_args!("{VERSION}"));
        stat(out, "pointer_size", format_args!("{}", usize::BITS));
        let open = totals
            .connections_opened
            .saturating_sub(totals.connections_closed);
        let figures = [
            ("curr_connections", open),
            ("total_connections", totals.connections_opened),
            ("cmd_get", totals.get),
            ("cmd_set", totals.set),
            ("cmd_flush", totals.flush),
            ("cmd_touch", totals.touch),
            ("get_hits", totals.get_hits),
            ("get_misses", totals.get.saturating_sub(totals.get_hits)),
            ("delete_misses", totals.delete_misses),
            ("delete_hits", totals.delete_hits),
            ("incr_misses", totals.incr_misses),
            ("incr_hits", totals.incr_hits),
            ("decr_misses", totals.decr_misses),
            ("decr_hits", totals.decr_hits),
            ("cas_misses", totals.cas_misses),
            ("cas_hits", totals.cas_hits),
            ("cas_badval", totals.cas_badval),
            ("touch_hits", totals.touch_hits),
            (
                "touch_misses",
                totals.touch.saturating_sub(totals.touch_hits),
            ),
            ("bytes_read", totals.bytes_read),
            ("bytes_written", totals.bytes_written),
            ("limit_maxbytes", self.store.limits().memory as u64),
            ("threads", self.store.cores() as u64),
            ("bytes", self.store.used() as u64),
            ("curr_items", self.store.len() as u64),
            ("total_items", totals.items),
            ("evictions", totals.evictions),
            ("reclaimed", totals.expired),
        ];
        for (name, value) in figures {
            stat(out, name, format_args!("{value}"));
        }
    }
}
