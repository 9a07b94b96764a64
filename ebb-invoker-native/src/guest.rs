//! One instance: a UC, the channel to its loader, the channels of its two streams.

use alloc::{format, rc::Rc, string::String, sync::Arc, vec::Vec};
use core::{
    future::poll_fn,
    pin::pin,
    sync::atomic::{AtomicU32, Ordering},
    task::Poll,
};

use borsh::{BorshDeserialize, BorshSerialize};
use ebb::{EbbRef, platform::Entropy, time::unix_time};
use ebb_invoker::instance::{
    Boxed, Instance, InstanceLimits, InstanceRequest, LONGEST_ANSWER, Lost, NotMade, Notes,
    SharedSnapshot, frame, take_answer,
};
use ebb_invoker::parts::Parts;
use ebb_invoker::relay::{Framed, Numbers};
use ebb_linux::{
    Access, Channel, ChannelId, Errno, Exit, Options, Program, Uc,
    snapshot::{self, Snapshot},
};
use ebb_openwhisk::logs::{Collector, Stream};
use ebb_openwhisk::runtimes::{Launch, Loader};
use spin::Once;

/// Bytes of log that wait to be drained; what is more is dropped, so that an action cannot fill the memory.
const LOG_LIMIT: usize = 12 << 20;
/// What V8 says on standard error before it gives up.
const OUT_OF_MEMORY: &[u8] = b"JavaScript heap out of memory";
/// Bytes that Node itself takes besides an action's heap, and Python.
const NODE: u64 = 192 << 20;
const PYTHON: u64 = 64 << 20;
/// The program of Python's loader where the launch names none.
pub const PYTHON_PROGRAM: &str = "/usr/bin/python3";
/// Bytes that an action may use beyond its limit before its UC is ended: V8's young generation and garbage.
const SLACK: u64 = 64 << 20;

/// The channels of an instance: to its loader, and from its two streams.
struct Channels {
    /// Answers, and requests unless they have a channel of their own.
    link: Channel,
    requests: Option<Channel>,
    streams: [Channel; 2],
}

/// Their names, which copies of the instance have as well.
#[derive(BorshSerialize, BorshDeserialize, Clone, Copy)]
pub struct ChannelIds {
    link: ChannelId,
    requests: Option<ChannelId>,
    streams: [ChannelId; 2],
}

impl Channels {
    fn open(uc: &Rc<Uc>) -> Result<Self, Errno> {
        Ok(Self {
            link: uc.open_channel(3, Access::ReadWrite)?,
            requests: None,
            streams: [
                uc.open_channel(1, Access::Write)?,
                uc.open_channel(2, Access::Write)?,
            ],
        })
    }

    /// Those of a program that is asked on its standard input.
    fn of_program(uc: &Rc<Uc>) -> Result<Self, Errno> {
        Ok(Self {
            requests: Some(uc.open_channel(0, Access::Read)?),
            link: uc.open_channel(3, Access::Write)?,
            streams: [
                uc.open_channel(1, Access::Write)?,
                uc.open_channel(2, Access::Write)?,
            ],
        })
    }

    /// Those of a copy.
    fn of(uc: &Rc<Uc>, ids: ChannelIds) -> Self {
        Self {
            link: uc.channel(ids.link),
            requests: ids.requests.map(|id| uc.channel(id)),
            streams: ids.streams.map(|id| uc.channel(id)),
        }
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Channel> {
        let requests = self.requests.iter_mut();
        [&mut self.link]
            .into_iter()
            .chain(requests)
            .chain(&mut self.streams)
    }

    fn ids(&self) -> ChannelIds {
        ChannelIds {
            link: self.link.id(),
            requests: self.requests.as_ref().map(Channel::id),
            streams: self.streams.each_ref().map(Channel::id),
        }
    }
}

/// One instance.
pub struct Guest {
    uc: Rc<Uc>,
    channels: Channels,
    /// The request that is being given, from `given` on.
    output: Vec<u8>,
    given: usize,
    /// What has come of an answer.
    input: Vec<u8>,
    logs: Vec<(Stream, u64, Vec<u8>)>,
    logged: usize,
    out_of_memory: bool,
    /// What the loader has noted of the function, and how often the programs had drawn randomness when that was asked last.
    notes: Notes,
    drawn: u64,
    numbers: Numbers,
    /// Bytes of its own, and how many it had ever taken, when that was last counted.
    counted: (u64, u64),
    /// The next page of the working set to be fetched, while there is one.
    unfetched: Option<usize>,
    /// It has been told what the calls of its key have in common, or what it is a copy of has.
    told_key: bool,
    /// It has rested before.
    rested: bool,
    /// It has rested for long, and is to be woken.
    asleep: bool,
}

impl Guest {
    /// Boots one with a loader. What has none is started by [`Guest::start_program`].
    pub fn boot(launch: &Launch, limits: InstanceLimits) -> Result<Self, Errno> {
        let heap = limits.memory_mb;
        let named = launch.program.as_deref();
        let (mut program, besides) = match launch.loader {
            // V8 gives up beyond that memory, and the UC ends it beyond what Node needs besides.
            Loader::Node => {
                let heap_option = format!("--max-old-space-size={heap}");
                let words = [&heap_option[..], "/loader.js", "--fd", "3", "--no-marker"];
                let mut program = Program::archived(&words)?;
                if let Some(named) = named {
                    program.path = named.into();
                    program.arguments[0] = named.into();
                }
                (program, NODE)
            }
            Loader::Python => {
                let python = named.unwrap_or(PYTHON_PROGRAM);
                let words = [python, "-B", "/python/loader.py", "--fd", "3"];
                (Program::named(&words)?, PYTHON)
            }
            Loader::Executable => return Err(Errno::ENOEXEC),
        };
        for variable in &launch.environment {
            program.set_variable(variable.as_bytes().to_vec());
        }
        Self::start(program, (u64::from(heap) << 20) + besides, Channels::open)
    }

    /// Starts a program that answers lines.
    pub fn start_program(program: Program, limits: InstanceLimits) -> Result<Self, Errno> {
        let memory = u64::from(limits.memory_mb) << 20;
        Self::start(program, memory, Channels::of_program)
    }

    fn start(
        program: Program,
        memory: u64,
        open: fn(&Rc<Uc>) -> Result<Channels, Errno>,
    ) -> Result<Self, Errno> {
        let uc = Uc::start(options(memory), program)?;
        // Its first thread runs after this event, and then finds these descriptors.
        let channels = open(&uc).inspect_err(|_| uc.end(Exit::Signal(9)))?;
        Ok(Self::with(uc, channels))
    }

    fn with(uc: Rc<Uc>, channels: Channels) -> Self {
        Self {
            notes: Notes::default(),
            drawn: uc.draws(),
            uc,
            channels,
            output: Vec::new(),
            given: 0,
            input: Vec::new(),
            logs: Vec::new(),
            logged: 0,
            out_of_memory: false,
            numbers: Numbers::new(),
            counted: (OBJECTS, 0),
            unfetched: None,
            told_key: false,
            rested: false,
            asleep: false,
        }
    }

    /// What it uses in its next requests is what copies of its snapshot need again and again, and is remembered for them
    /// ([`learn_needed`](Self::learn_needed)).
    pub fn begin_use(&self) {
        self.uc.begin_use();
    }

    /// See [`begin_use`](Self::begin_use).
    pub fn learn_needed(&self) {
        if let Some(origin) = self.uc.origin() {
            origin.learn_needed(&self.uc);
        }
    }

    /// Tells its loader what a copy is told, so that it is warmed for that as well.
    pub fn thaw_as_copy(&mut self) {
        self.thaw(new_pid());
    }

    fn thaw(&mut self, pid: u32) {
        let mut payload = [0; 20];
        EbbRef::<dyn Entropy>::get().fill(&mut payload[..16]);
        payload[16..].copy_from_slice(&pid.to_le_bytes());
        self.give(0, InstanceRequest::Thaw, &payload);
    }

    /// Ends a long rest, if it is in one.
    fn wake(&mut self) {
        if core::mem::take(&mut self.asleep) {
            self.uc.wake();
        }
    }

    /// A snapshot of it, when each of its threads waits.
    pub async fn capture_parked(&mut self) -> Result<Frozen, String> {
        self.uc.parked().await;
        self.exchange();
        self.frozen().map_err(|refused| format!("{refused}"))
    }

    /// A snapshot of it as it is.
    pub fn freeze(&mut self) -> Result<Frozen, snapshot::Refused> {
        self.exchange();
        let frozen = self.frozen()?;
        self.counted = (self.own(), self.uc.taken());
        Ok(frozen)
    }

    /// Whether each of its threads waits.
    pub fn is_parked(&self) -> bool {
        self.uc.is_parked()
    }

    /// A snapshot of one that is no copy, as it is; it is a copy of that from now on.
    pub fn freeze_as_origin(&mut self) -> Result<Frozen, snapshot::Refused> {
        self.exchange();
        let frozen = Frozen {
            snapshot: Snapshot::capture_as_origin(&self.uc)?,
            channels: self.channels.ids(),
        };
        self.counted = (self.own(), self.uc.taken());
        Ok(frozen)
    }

    fn frozen(&self) -> Result<Frozen, snapshot::Refused> {
        Ok(Frozen {
            snapshot: Snapshot::capture_delta(&self.uc)?,
            channels: self.channels.ids(),
        })
    }

    /// Bytes that it shares with no snapshot.
    pub fn own(&self) -> u64 {
        let pages = match self.uc.origin() {
            // What nobody else shares with it either is its own.
            Some(snapshot) if snapshot.is_last() => snapshot.beyond(&self.uc) + snapshot.added(),
            Some(snapshot) => snapshot.beyond(&self.uc),
            None => self.uc.used(),
        };
        pages + OBJECTS
    }

    /// Fetches some of the working set; whether there is more.
    pub fn fetch(&mut self) -> bool {
        let next = self.unfetched.take();
        self.unfetched = next.and_then(|next| self.uc.prefetch(next, PIECE));
        if self.unfetched.is_none() {
            // What it is told before its first request it can do now.
            self.exchange();
        }
        self.unfetched.is_some()
    }

    /// Moves what can be moved between this side and the guest.
    fn exchange(&mut self) {
        let Channels {
            link,
            requests,
            streams,
        } = &mut self.channels;
        while self.given < self.output.len() {
            match requests
                .as_mut()
                .unwrap_or(link)
                .try_write(&self.output[self.given..])
            {
                Ok(n) => self.given += n,
                Err(_) => break,
            }
        }
        while link.try_read(&mut self.input).is_ok_and(|n| n > 0) {}
        // After the link: what was logged before an answer is there when the answer is.
        for (stream, channel) in [Stream::Out, Stream::Err].into_iter().zip(streams) {
            let mut bytes = Vec::new();
            while channel.try_read(&mut bytes).is_ok_and(|n| n > 0) {
                self.out_of_memory |= bytes
                    .windows(OUT_OF_MEMORY.len())
                    .any(|part| part == OUT_OF_MEMORY);
                let bytes = core::mem::take(&mut bytes);
                if self.logged < LOG_LIMIT {
                    let time_ns = u64::try_from(unix_time().as_nanos()).unwrap_or(u64::MAX);
                    self.logged += bytes.len();
                    self.logs.push((stream, time_ns, bytes));
                }
            }
        }
    }

    /// The answer to request `id`, if it has come; answers to earlier ones are dropped.
    fn answer(&mut self, id: u32) -> Option<Result<(u16, Vec<u8>), Lost>> {
        loop {
            match take_answer(&mut self.input) {
                Ok(Some(answer)) => {
                    self.notes.drew |= answer.notes.drew;
                    self.notes.hooks |= answer.notes.hooks;
                    if answer.id == id {
                        return Some(Ok((answer.status, answer.body)));
                    }
                }
                Ok(None) => return None,
                Err(_) => {
                    // Nothing that follows can be trusted.
                    self.uc.end(Exit::Signal(9));
                    return Some(Err(Lost::Gone));
                }
            }
        }
    }

    /// Moves bytes until something is found in what has come, or the program has ended.
    async fn until<T>(&mut self, mut find: impl FnMut(&mut Self) -> Option<T>) -> Result<T, Lost> {
        let uc = Rc::clone(&self.uc);
        let mut ended = pin!(uc.wait());
        let found = poll_fn(|task| {
            let over = ended.as_mut().poll(task).is_ready();
            self.exchange();
            if let Some(found) = find(self) {
                return Poll::Ready(Ok(found));
            }
            if over {
                let lost = if self.out_of_memory || self.uc.ran_out_of_memory() {
                    Lost::Memory
                } else {
                    Lost::Gone
                };
                return Poll::Ready(Err(lost));
            }
            for channel in self.channels.all() {
                channel.wake_on_change(task.waker());
            }
            Poll::Pending
        })
        .await;
        for channel in self.channels.all() {
            channel.cancel_wake();
        }
        found
    }

    /// The answer to a request that has been given.
    async fn asked(&mut self, id: u32) -> Result<(u16, Vec<u8>), Lost> {
        self.until(|guest| guest.answer(id)).await?
    }

    /// Gives the program a line. Lines that came before this one was given answer nothing.
    pub fn give_line(&mut self, line: Vec<u8>) {
        self.wake();
        self.exchange();
        self.input.clear();
        self.output = line;
        self.given = 0;
    }

    /// Waits for the program's next line.
    pub async fn next_line(&mut self) -> Result<Vec<u8>, Lost> {
        let mut looked_at = 0;
        self.until(|guest| {
            // An answer without an end is not kept for ever.
            if guest.input.len() > LONGEST_ANSWER {
                guest.uc.end(Exit::Signal(9));
                return Some(Err(Lost::Gone));
            }
            // What was looked at when less had come is not looked at again.
            let from = core::mem::replace(&mut looked_at, guest.input.len());
            let rest = &guest.input[from..];
            let end = from + rest.iter().position(|byte| *byte == b'\n')?;
            let rest = guest.input.split_off(end + 1);
            let mut line = core::mem::replace(&mut guest.input, rest);
            line.pop();
            Some(Ok(line))
        })
        .await?
    }

    /// Ends it.
    pub fn kill(&mut self) {
        self.uc.end(Exit::Signal(9));
    }

    /// Waits until each of its threads waits, and for nothing that this side does not do; false if it has ended.
    pub async fn settled(&mut self) -> bool {
        loop {
            self.uc.parked().await;
            // One that waited for room in a stream goes on now.
            self.exchange();
            ebb::yield_now().await;
            if self.uc.exit_status().is_some() {
                return false;
            }
            if self.uc.is_parked() {
                return true;
            }
        }
    }
}

impl Framed for Guest {
    fn new_id(&mut self) -> u32 {
        // The rest of one that has not come whole is left, or what follows would be read from its middle.
        while !self.input.is_empty() && matches!(take_answer(&mut self.input), Ok(Some(_))) {}
        self.numbers.draw()
    }

    fn give(&mut self, id: u32, request: InstanceRequest, payload: &[u8]) {
        self.wake();
        self.output.drain(..self.given);
        self.given = 0;
        self.told_key |= matches!(
            request,
            InstanceRequest::Init | InstanceRequest::Run | InstanceRequest::RunInParts
        );
        self.output.extend_from_slice(&frame(id, request, payload));
    }

    async fn next(&mut self, id: u32) -> Result<(u16, Vec<u8>), Lost> {
        self.asked(id).await
    }

    fn end(&mut self) {
        self.kill();
    }
}

impl Instance for Guest {
    fn ask<'a>(
        &'a mut self,
        request: InstanceRequest,
        payload: &'a str,
    ) -> Boxed<'a, Result<(u16, Vec<u8>), Lost>> {
        self.ask_by_frame(request, payload)
    }

    fn run_in_parts<'a>(
        &'a mut self,
        payload: &'a str,
        parts: &'a Parts,
    ) -> Boxed<'a, Result<(u16, Vec<u8>), Lost>> {
        self.run_by_frames(payload, parts)
    }

    /// Its loader does, and an instance serves calls of one key.
    fn remembers_key(&self) -> bool {
        self.told_key
    }

    fn drain_logs(&mut self, into: &mut Collector) {
        self.exchange();
        self.logged = 0;
        for (stream, time, bytes) in core::mem::take(&mut self.logs) {
            into.push(stream, time, &bytes);
        }
    }

    fn is_alive(&self) -> bool {
        self.uc.exit_status().is_none()
    }

    fn memory_bytes(&mut self) -> u64 {
        // To count takes long: when what it has taken since, or what a child process has given back, may be much.
        let taken = self.uc.taken();
        let (bytes, then) = self.counted;
        let more = taken.saturating_sub(then);
        if more > bytes / 4 && more > UNCOUNTED || taken < then {
            self.counted = (self.own(), taken);
            return self.counted.0;
        }
        bytes + more
    }

    fn take_notes(&mut self) -> Notes {
        let drawn = self.uc.draws();
        let drew = core::mem::replace(&mut self.drawn, drawn) != drawn;
        let mut notes = core::mem::take(&mut self.notes);
        notes.drew |= drew;
        notes
    }

    fn capture(&mut self) -> Option<SharedSnapshot> {
        Some(Arc::new(self.freeze().ok()?))
    }

    fn learn(&mut self) {
        if let Some(origin) = self.uc.origin() {
            origin.learn(&self.uc);
        }
    }

    fn can_rest(&self) -> bool {
        self.uc.origin().is_some()
    }

    fn rest(&mut self, long: bool) {
        self.exchange();
        if self.given == self.output.len() {
            // A function's code may have been among it.
            (self.output, self.given) = (Vec::new(), 0);
        }
        self.input.shrink_to_fit();
        if long {
            self.uc.rest_long();
        } else {
            self.uc.rest(!self.rested);
        }
        self.rested = true;
        self.asleep = long;
        self.counted = (self.own(), self.uc.taken());
    }

    fn has_stirred(&self) -> bool {
        self.uc.taken() != self.counted.1
    }
}

/// Bytes of kernel objects of an instance or a snapshot, about.
const OBJECTS: u64 = 24 << 10;
/// Bytes that an instance may take before its memory is counted again: a first call takes less.
const UNCOUNTED: u64 = 4 << 20;
/// Pages that are fetched at once while the core is idle, and that are copied for later.
const PIECE: usize = 32;
const SPARES: usize = 8;

/// How the addresses of all programs are varied: drawn once. Copies of a base have one layout anyway, and what programs have in common, the
/// dynamic linker and the C library first of all, an emulator then translates once.
fn layout() -> u64 {
    static LAYOUT: Once<u64> = Once::new();
    *LAYOUT.call_once(|| {
        let mut bits = [0; 8];
        EbbRef::<dyn Entropy>::get().fill(&mut bits);
        u64::from_le_bytes(bits)
    })
}

fn options(memory: u64) -> Options {
    Options {
        name: String::from("action"),
        memory,
        close_mappings: true,
        layout: Some(layout()),
        ..Options::default()
    }
}

/// What the caller of an action is told, and whether it is worth another try.
pub fn not_made(errno: Errno, what: &str) -> NotMade {
    let out_of_memory = errno == Errno::ENOMEM;
    let why = if out_of_memory {
        format!("{what}: the machine's memory is used up. Try again, or give it more memory.")
    } else {
        format!("{what}: {}", errno.text())
    };
    NotMade { out_of_memory, why }
}

/// A process id that no instance has had for long.
fn new_pid() -> u32 {
    static LAST: AtomicU32 = AtomicU32::new(1);
    2 + LAST.fetch_add(1, Ordering::Relaxed) % 4_000_000
}

/// An instance as it was once.
pub struct Frozen {
    snapshot: Snapshot,
    channels: ChannelIds,
}

impl Frozen {
    /// The snapshot, and the names of its channels.
    pub const fn parts(&self) -> (&Snapshot, ChannelIds) {
        (&self.snapshot, self.channels)
    }

    /// Bytes of memory that only it holds, about.
    pub fn own(&self) -> u64 {
        self.snapshot.added() + OBJECTS
    }

    /// An instance of these parts.
    pub const fn from_parts(snapshot: Snapshot, channels: ChannelIds) -> Self {
        Self { snapshot, channels }
    }

    /// An instance of the function that this is a snapshot of: it remembers what it was told.
    pub fn copy_function(&self, limits: InstanceLimits) -> Result<Guest, NotMade> {
        let mut guest = self.copy_guest(limits)?;
        guest.told_key = true;
        Ok(guest)
    }

    /// An instance that goes on from here.
    pub fn copy_guest(&self, limits: InstanceLimits) -> Result<Guest, NotMade> {
        self.copy_with(limits, false)
    }

    /// The same, whose working set is still to be fetched ([`Guest::fetch`]).
    pub fn copy_bare(&self, limits: InstanceLimits) -> Result<Guest, NotMade> {
        let mut guest = self.copy_with(limits, true)?;
        guest.unfetched = Some(0);
        Ok(guest)
    }

    fn copy_with(&self, limits: InstanceLimits, no_prefetch: bool) -> Result<Guest, NotMade> {
        let pid = new_pid();
        // What it shares with the snapshot is not the action's.
        let memory = self.snapshot.used() + (u64::from(limits.memory_mb) << 20) + SLACK;
        let options = snapshot::CloneOptions {
            options: Some(options(memory)),
            pid: Some(pid),
            no_prefetch,
        };
        let uc = self
            .snapshot
            .start_clone(options)
            .map_err(|errno| not_made(errno, "an instance cannot be started"))?;
        let channels = Channels::of(&uc, self.channels);
        let mut guest = Guest::with(uc, channels);
        if self.channels.requests.is_some() {
            // It has no loader that would have to be told.
            return Ok(guest);
        }
        guest.thaw(pid);
        Ok(guest)
    }

    /// The same, with those file pages mapped that a copy reads on its first run ([`Guest::learn`]): copies share the page
    /// tables for them.
    pub fn settled(&self) -> Result<Self, String> {
        let options = snapshot::CloneOptions {
            no_prefetch: true,
            ..snapshot::CloneOptions::default()
        };
        let uc = self
            .snapshot
            .start_clone(options)
            .map_err(|errno| format!("the base cannot be copied: {}", errno.text()))?;
        uc.prefetch_read();
        // It has not run: its threads wait where they did.
        let snapshot = Snapshot::capture(&uc).map_err(|refused| format!("{refused}"));
        uc.end(Exit::Signal(9));
        Ok(Self {
            snapshot: snapshot?,
            channels: self.channels,
        })
    }

    /// Makes some copies of pages that copies need when they wake up; whether more are to be made.
    pub fn make_spares(&self) -> bool {
        self.snapshot.make_spares(SPARES)
    }

    /// Pages that copies write to and read at first.
    pub fn working_set(&self) -> (usize, usize) {
        let set = self.snapshot.working_set();
        set.map_or((0, 0), |set| (set.written(), set.read()))
    }

    /// Pages that copies need in every call.
    pub fn needed(&self) -> usize {
        self.snapshot.needed()
    }

    /// See [`Snapshot::used`].
    pub fn used(&self) -> u64 {
        self.snapshot.used()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.uc.end(Exit::Signal(9));
    }
}
