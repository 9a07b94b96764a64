//! The driver of virtio disks (VIRTIO 1.2, 5.2), above virtio-drivers' queue.
//!
//! A request becomes one or more parts, each a chain of a header, data and a status byte. Parts that the queue has no room for
//! wait in order. What has ended is taken back by a task that the device's interrupt wakes, and by a watchman that notices a
//! device that does not answer.
//!
//! What must hold: the memory of a request belongs to the driver until its last part has come back, whatever becomes of its
//! future; nothing that a device says is used as a length or an index without being checked.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    vec,
    vec::Vec,
};
use core::ptr::NonNull;

use ebb::sync::oneshot;
use ebb_block::{BLOCK, BlockDevice, Error, Pending, SECTOR, check, ready};
use spin::mutex::SpinMutex as Mutex;
use virtio_drivers::{Hal, transport::Transport};

use crate::{
    device,
    queue::{Broken, Guarded, Lent, Span},
};

/// Feature bits.
mod feature {
    pub const SIZE_MAX: u64 = 1 << 1;
    pub const RO: u64 = 1 << 5;
    pub const BLK_SIZE: u64 = 1 << 6;
    pub const FLUSH: u64 = 1 << 9;
}

/// Offsets in the device's configuration.
mod config {
    pub const CAPACITY: usize = 0;
    pub const SIZE_MAX: usize = 8;
    pub const BLK_SIZE: usize = 20;
}

/// Descriptors of the queue: 42 parts under way.
const QUEUE: usize = 128;
/// Most bytes of a part.
const PART: usize = 1 << 20;
/// How long a device may take for a part before it counts as broken.
pub const LIMIT_NS: u64 = 60_000_000_000;
/// A status that no device writes.
const UNWRITTEN: u8 = 0xff;

/// Why a device cannot be used.
pub type Fault = &'static str;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
enum Kind {
    Read = 0,
    Write = 1,
    Flush = 4,
}

/// What a device reads and writes besides the data.
#[repr(C)]
struct Frame {
    header: [u8; 16],
    status: u8,
}

/// A piece of a request.
struct Part {
    request: u64,
    kind: Kind,
    data: Option<Span>,
    frame: NonNull<Frame>,
    begun_ns: u64,
}

// SAFETY: the addresses are of memory that the driver owns.
unsafe impl Send for Part {}

/// Where the result goes.
enum Done {
    Read(oneshot::Sender<Result<Vec<u8>, Error>>),
    Other(oneshot::Sender<Result<(), Error>>),
}

/// A request under way.
struct Request {
    bytes: Vec<u8>,
    parts: usize,
    result: Result<(), Error>,
    done: Done,
}

impl Request {
    fn end(self) {
        // Nobody may wait any more.
        match self.done {
            Done::Read(done) => drop(done.send(self.result.map(|()| self.bytes))),
            Done::Other(done) => drop(done.send(self.result)),
        }
    }
}

struct State<H: Hal, T> {
    transport: T,
    queue: Guarded<H, Part, QUEUE>,
    requests: BTreeMap<u64, Request>,
    waiting: VecDeque<Part>,
    next: u64,
    broken: bool,
}

/// A disk.
pub struct Driver<H: Hal, T> {
    state: Mutex<State<H, T>>,
    size: u64,
    part: usize,
    read_only: bool,
    flushes: bool,
    now_ns: fn() -> u64,
}

impl<H: Hal, T: Transport> Driver<H, T> {
    /// Sets a device up that was just reset; it does nothing yet.
    pub fn new(mut transport: T, now_ns: fn() -> u64) -> Result<Self, Fault> {
        let wanted = feature::SIZE_MAX | feature::RO | feature::BLK_SIZE | feature::FLUSH;
        let features = device::agree(&mut transport, wanted)?;
        let has = |bit: u64| features & bit != 0;
        let short = |_| "its configuration is too short";
        let sectors: u64 = consistent(&transport, |t| t.read_config_space(config::CAPACITY))?;
        let size = sectors
            .checked_mul(SECTOR as u64)
            .ok_or("its size makes no sense")?;
        let mut part = PART;
        if has(feature::SIZE_MAX) {
            let most: u32 = transport
                .read_config_space(config::SIZE_MAX)
                .map_err(short)?;
            part = part.min(most as usize / BLOCK * BLOCK);
            if part == 0 {
                return Err("it takes fewer than 4,096 bytes at once");
            }
        }
        if has(feature::BLK_SIZE) {
            let block: u32 = transport
                .read_config_space(config::BLK_SIZE)
                .map_err(short)?;
            if block as usize > BLOCK {
                return Err("its blocks are larger than 4,096 bytes");
            }
        }
        let queue = Guarded::new(&mut transport, 0)
            .map_err(|_| "its queue is missing or has fewer than 128 descriptors")?;
        Ok(Self {
            state: Mutex::new(State {
                transport,
                queue,
                requests: BTreeMap::new(),
                waiting: VecDeque::new(),
                next: 0,
                broken: false,
            }),
            size: size / BLOCK as u64 * BLOCK as u64,
            part,
            read_only: has(feature::RO),
            flushes: has(feature::FLUSH),
            now_ns,
        })
    }

    /// Asks the transport something.
    pub fn with_transport<R>(&self, f: impl FnOnce(&T) -> R) -> R {
        f(&self.state.lock().transport)
    }

    /// Lets the device go.
    pub fn start(&self) {
        device::start(&mut self.state.lock().transport);
    }

    /// Takes back what has ended, and hands on what waits. True when there is more already.
    pub fn service(&self) -> bool {
        let mut ended = Vec::new();
        let more = {
            let mut state = self.state.lock();
            state.queue.want_no_interrupt();
            state.take_back(&mut ended);
            state.hand_on((self.now_ns)());
            state.queue.want_interrupt()
        };
        ended.into_iter().for_each(Request::end);
        more
    }

    /// Declares the device broken if a part of a request is older than the limit.
    pub fn watch(&self, limit_ns: u64) {
        let now_ns = (self.now_ns)();
        let mut ended = Vec::new();
        {
            let mut state = self.state.lock();
            // It may have answered, and its interrupt be lost.
            state.take_back(&mut ended);
            state.hand_on(now_ns);
            let late = |part: &Part| now_ns.saturating_sub(part.begun_ns) > limit_ns;
            if state.queue.tags().any(late) {
                state.give_up(&mut ended);
            }
        }
        ended.into_iter().for_each(Request::end);
    }

    /// Whether the device was given up.
    pub fn is_broken(&self) -> bool {
        self.state.lock().broken
    }

    fn begin<R: Send + 'static>(
        &self,
        kind: Kind,
        offset: u64,
        bytes: Vec<u8>,
        done: fn(oneshot::Sender<Result<R, Error>>) -> Done,
    ) -> Pending<R> {
        let (sender, receiver) = oneshot::channel();
        let mut ended = Vec::new();
        {
            let mut state = self.state.lock();
            if state.broken {
                return ready(Err(Error::Broken));
            }
            let number = state.next;
            state.next += 1;
            let mut request = Request {
                bytes,
                parts: 0,
                result: Ok(()),
                done: done(sender),
            };
            let start = request.bytes.as_mut_ptr();
            let length = request.bytes.len();
            let mut at = 0;
            while at < length || request.parts == 0 {
                let piece = self.part.min(length - at);
                // SAFETY: within the bytes.
                let start = NonNull::new(unsafe { start.add(at) });
                let span = start.filter(|_| piece > 0).map(|start| Span {
                    start,
                    length: piece,
                });
                state.waiting.push_back(Part {
                    request: number,
                    kind,
                    data: span,
                    frame: Frame::new(kind, (offset + at as u64) / SECTOR as u64),
                    begun_ns: 0,
                });
                request.parts += 1;
                at += piece;
            }
            state.requests.insert(number, request);
            state.take_back(&mut ended);
            state.hand_on((self.now_ns)());
        }
        ended.into_iter().for_each(Request::end);
        alloc::boxed::Box::pin(async move { receiver.await.unwrap_or(Err(Error::Broken)) })
    }
}

/// Reads configuration that the device may change, until it has not meanwhile.
fn consistent<T: Transport, V>(
    transport: &T,
    read: impl Fn(&T) -> virtio_drivers::Result<V>,
) -> Result<V, Fault> {
    for _ in 0..1_000 {
        let before = transport.read_config_generation();
        let value = read(transport).map_err(|_| "its configuration is too short")?;
        if transport.read_config_generation() == before {
            return Ok(value);
        }
    }
    Err("its configuration does not come to rest")
}

impl Frame {
    fn new(kind: Kind, sector: u64) -> NonNull<Self> {
        let mut header = [0; 16];
        header[..4].copy_from_slice(&(kind as u32).to_le_bytes());
        // Of a flush it has to be 0.
        let sector = if kind == Kind::Flush { 0 } else { sector };
        header[8..].copy_from_slice(&sector.to_le_bytes());
        let frame = Box::new(Self {
            header,
            status: UNWRITTEN,
        });
        NonNull::from(Box::leak(frame))
    }
}

impl Part {
    fn lent(&self) -> Lent {
        let frame = self.frame.as_ptr();
        // SAFETY: fields of a frame that is there; only their addresses are taken.
        let (header, status) = unsafe { (&raw mut (*frame).header, &raw mut (*frame).status) };
        let span = |start: *mut u8, length| NonNull::new(start).map(|start| Span { start, length });
        let status = span(status, 1);
        let mut lent = Lent {
            read: [span(header.cast(), 16), None],
            write: [status, None],
        };
        match self.kind {
            Kind::Read => lent.write = [self.data, status],
            Kind::Write => lent.read[1] = self.data,
            Kind::Flush => {}
        }
        lent
    }

    /// What the device says about it; it wrote `length` bytes, as it says. Frees the frame.
    fn result(self, length: u32) -> Result<(), Error> {
        // SAFETY: made by `Frame::new`; the device has given it back.
        let frame = unsafe { Box::from_raw(self.frame.as_ptr()) };
        let data = self.data.map_or(0, |d| d.length);
        match frame.status {
            // A device that read less than it was asked for has not read.
            0 if self.kind == Kind::Read && (length as usize) < data + 1 => Err(Error::Io),
            0 => Ok(()),
            2 if self.kind == Kind::Flush => Err(Error::NoFlush),
            _ => Err(Error::Io),
        }
    }
}

impl<H: Hal, T: Transport> State<H, T> {
    /// Gives the device what waits, as much as there is room for.
    fn hand_on(&mut self, now_ns: u64) {
        let mut added = false;
        while self.queue.has_room()
            && let Some(mut part) = self.waiting.pop_front()
        {
            part.begun_ns = now_ns;
            let lent = part.lent();
            // SAFETY: the frame is freed when the part comes back; the data is in its request's bytes, which are in
            // `requests` until all its parts have come back, and never resized.
            match unsafe { self.queue.add(lent, part) } {
                Ok(()) => added = true,
                Err(part) => {
                    self.waiting.push_front(part);
                    break;
                }
            }
        }
        if added {
            self.queue.notify(&mut self.transport);
        }
    }

    /// Takes back what the device has done; at most what it has now.
    fn take_back(&mut self, ended: &mut Vec<Request>) {
        for _ in 0..QUEUE {
            match self.queue.pop() {
                Ok(Some((part, length))) => {
                    let number = part.request;
                    let result = part.result(length);
                    self.end_part(number, result, ended);
                }
                Ok(None) => return,
                Err(Broken) if self.broken => return,
                Err(Broken) => return self.give_up(ended),
            }
        }
    }

    fn end_part(&mut self, number: u64, result: Result<(), Error>, ended: &mut Vec<Request>) {
        if let Some(request) = self.requests.get_mut(&number) {
            request.parts -= 1;
            request.result = request.result.and(result);
            if request.parts == 0 {
                ended.extend(self.requests.remove(&number));
            }
        }
    }

    /// Ends everything: the device breaks its protocol, or does not answer.
    fn give_up(&mut self, ended: &mut Vec<Request>) {
        self.broken = true;
        let is_reset = device::reset(&mut self.transport);
        let lent = self.queue.abandon();
        for part in &lent {
            // What a device may still write to is not freed.
            if !is_reset && let Some(request) = self.requests.get_mut(&part.request) {
                core::mem::forget(core::mem::take(&mut request.bytes));
            }
        }
        let frames = if is_reset { lent } else { Vec::new() };
        for part in frames.into_iter().chain(self.waiting.drain(..)) {
            // SAFETY: made by `Frame::new`; the device does not have it.
            drop(unsafe { Box::from_raw(part.frame.as_ptr()) });
        }
        for (_, mut request) in core::mem::take(&mut self.requests) {
            request.result = Err(Error::Broken);
            ended.push(request);
        }
    }
}

/// A driver as the disk that programs see.
pub struct Disk<H: Hal, T>(pub Arc<Driver<H, T>>);

impl<H: Hal, T: Transport + Send> BlockDevice for Disk<H, T> {
    fn size(&self) -> u64 {
        self.0.size
    }

    fn is_read_only(&self) -> bool {
        self.0.read_only
    }

    fn read(&self, offset: u64, length: usize) -> Pending<Vec<u8>> {
        match check(self.0.size, offset, length) {
            Ok(()) => self
                .0
                .begin(Kind::Read, offset, vec![0; length], Done::Read),
            Err(error) => ready(Err(error)),
        }
    }

    fn write(&self, offset: u64, bytes: Vec<u8>) -> Pending<()> {
        if self.0.read_only {
            return ready(Err(Error::ReadOnly));
        }
        match check(self.0.size, offset, bytes.len()) {
            Ok(()) => self.0.begin(Kind::Write, offset, bytes, Done::Other),
            Err(error) => ready(Err(error)),
        }
    }

    fn flush(&self) -> Pending<()> {
        // A device without VIRTIO_BLK_F_FLUSH says that a write has ended only when it lasts (VIRTIO 1.2, 5.2.6.2).
        if self.0.read_only || !self.0.flushes {
            let broken = self.0.is_broken();
            return ready(if broken { Err(Error::Broken) } else { Ok(()) });
        }
        self.0.begin(Kind::Flush, 0, Vec::new(), Done::Other)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
