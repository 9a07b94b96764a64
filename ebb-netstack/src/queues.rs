//! What a connection holds: bytes to send until they are acknowledged, and received bytes until they are taken.

use alloc::{boxed::Box, collections::VecDeque, vec::Vec};

use bytes::{Buf, Bytes, BytesMut};

use crate::seq::Seq;

// --- Sending -------------------------------------------------------------------------------------------

/// Smallest allocation for bytes that are copied in.
const TAIL: usize = 2048;

/// Bytes from the first unacknowledged one on. What they need is lent by the core's [`Pool`] until all of them are acknowledged: most
/// connections have nothing to send.
#[derive(Debug, Default)]
pub struct SendQueue {
    pieces: Option<Box<Sending>>,
    len: usize,
}

/// Buffers as they were handed over, and a tail that copied bytes are added to.
#[derive(Debug, Default)]
struct Sending {
    chunks: VecDeque<Bytes>,
    tail: BytesMut,
    /// Where the last reading ended: chunk, offset in it, offset in the queue. Sending goes on from there.
    cursor: (usize, usize, usize),
}

impl SendQueue {
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    #[inline]
    fn pieces(&mut self, pool: &mut Pool) -> &mut Sending {
        self.pieces.get_or_insert_with(|| pool.sending.take())
    }

    pub fn copy_in(&mut self, bytes: &[u8], pool: &mut Pool) {
        if bytes.is_empty() {
            return;
        }
        self.len += bytes.len();
        self.pieces(pool).copy_in(bytes);
    }

    pub fn push(&mut self, buffer: Bytes, pool: &mut Pool) {
        if buffer.is_empty() {
            return;
        }
        self.len += buffer.len();
        let pieces = self.pieces(pool);
        pieces.freeze();
        pieces.chunks.push_back(buffer);
    }

    /// Drops the first `count` bytes.
    pub fn advance(&mut self, count: usize, pool: &mut Pool) {
        let count = count.min(self.len);
        self.len -= count;
        let Some(pieces) = &mut self.pieces else {
            return;
        };
        pieces.advance(count);
        if self.len == 0 {
            pieces.cursor = (0, 0, 0);
            pool.sending.give(self.pieces.take());
        }
    }

    /// Gives the pieces that make up `len` bytes from `offset` on to `f`: the chunk and a range of it.
    pub fn read(&mut self, offset: usize, len: usize, f: impl FnMut(&Bytes, usize, usize)) {
        if let Some(pieces) = &mut self.pieces {
            pieces.read(offset, len, f);
        }
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Where its bytes lie, for tests of what is copied.
    #[cfg(test)]
    pub fn places(&mut self) -> Vec<core::ops::Range<usize>> {
        let Some(pieces) = &mut self.pieces else {
            return Vec::new();
        };
        pieces.freeze();
        let place = |chunk: &Bytes| chunk.as_ptr().addr()..chunk.as_ptr().addr() + chunk.len();
        pieces.chunks.iter().map(place).collect()
    }
}

impl Sending {
    fn copy_in(&mut self, bytes: &[u8]) {
        if self.tail.capacity() - self.tail.len() < bytes.len() {
            self.freeze();
            self.tail.reserve(bytes.len().max(TAIL));
        }
        self.tail.extend_from_slice(bytes);
    }

    #[inline]
    fn freeze(&mut self) {
        if !self.tail.is_empty() {
            self.chunks.push_back(self.tail.split().freeze());
        }
    }

    fn advance(&mut self, mut count: usize) {
        self.freeze();
        let (mut chunk, mut within, offset) = self.cursor;
        let keep = offset >= count;
        let total = count;
        while count > 0 {
            let Some(front) = self.chunks.front_mut() else {
                break;
            };
            if front.len() > count {
                front.advance(count);
                if keep && chunk == 0 {
                    within -= count;
                }
                break;
            }
            count -= front.len();
            if keep {
                if chunk == 0 {
                    // The cursor stands at the end of this chunk.
                    within = 0;
                } else {
                    chunk -= 1;
                }
            }
            self.chunks.pop_front();
        }
        self.cursor = if keep {
            (chunk, within, offset - total)
        } else {
            (0, 0, 0)
        };
    }

    fn read(&mut self, offset: usize, len: usize, mut f: impl FnMut(&Bytes, usize, usize)) {
        self.freeze();
        let (mut chunk, mut within, at) = self.cursor;
        if at != offset {
            let mut left = offset;
            (chunk, within) = (0, 0);
            while let Some(c) = self.chunks.get(chunk) {
                if left < c.len() {
                    within = left;
                    break;
                }
                left -= c.len();
                chunk += 1;
            }
        }
        let mut left = len;
        while left > 0 {
            let Some(c) = self.chunks.get(chunk) else {
                break;
            };
            let part = (c.len() - within).min(left);
            if part > 0 {
                f(c, within, within + part);
            }
            left -= part;
            within += part;
            if within == c.len() {
                chunk += 1;
                within = 0;
            }
        }
        self.cursor = (chunk, within, offset + len - left);
    }
}

// --- Receiving -----------------------------------------------------------------------------------------

/// A received piece in the device's buffer: `buffer[start..end]`.
#[derive(Debug)]
pub struct Chunk {
    pub buffer: Box<[u8]>,
    pub start: u32,
    pub end: u32,
}

impl Chunk {
    pub fn new(buffer: Box<[u8]>, start: usize, end: usize) -> Self {
        Self {
            buffer,
            start: start as u32,
            end: end as u32,
        }
    }

    #[inline]
    pub fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.start as usize..self.end as usize]
    }
}

/// What the connections of a core use in turn: device buffers, at most so many, and what queues need that are not empty.
#[derive(Debug)]
pub struct Pool {
    free: Vec<Box<[u8]>>,
    size: usize,
    most: usize,
    sending: Spare<Sending>,
    receiving: Spare<Receiving>,
}

impl Pool {
    pub fn new(size: usize, most: usize) -> Self {
        Self {
            free: Vec::new(),
            size,
            most,
            sending: Spare::default(),
            receiving: Spare::default(),
        }
    }

    /// How many buffers are free.
    pub fn len(&self) -> usize {
        self.free.len()
    }

    /// Bytes of the lists.
    pub fn table(&self) -> usize {
        self.free.capacity() * size_of::<Box<[u8]>>()
            + (self.sending.0.capacity() + self.receiving.0.capacity()) * size_of::<usize>()
    }

    #[inline]
    pub fn take(&mut self) -> Box<[u8]> {
        match self.free.pop() {
            Some(buffer) => buffer,
            None => alloc::vec![0; self.size].into_boxed_slice(),
        }
    }

    #[inline]
    pub fn give(&mut self, buffer: Box<[u8]>) {
        if self.free.len() < self.most && buffer.len() == self.size {
            self.free.push(buffer);
        }
    }
}

/// Boxes that are empty but keep their memory, the one used last in front.
#[derive(Debug, Default)]
struct Spare<T>(Vec<Box<T>>);

impl<T: Default> Spare<T> {
    /// Connections that have something in one direction at the same moment, usually.
    const MOST: usize = 64;

    #[inline]
    fn take(&mut self) -> Box<T> {
        self.0.pop().unwrap_or_default()
    }

    #[inline]
    fn give(&mut self, spare: Option<Box<T>>) {
        if let Some(spare) = spare
            && self.0.len() < Self::MOST
        {
            self.0.push(spare);
        }
    }
}

/// A payload that fits behind the last piece is copied there if it is no longer than this: many small segments must
/// not hold a device buffer each.
const COALESCE: usize = 1024;
/// Pieces that wait for a gap to be filled.
const MAX_ISLANDS: usize = 128;

/// Received bytes. What they need is lent by the core's [`Pool`], as with [`SendQueue`].
#[derive(Debug, Default)]
pub struct ReceiveQueue {
    pieces: Option<Box<Receiving>>,
    len: usize,
}

/// Those in order, and behind gaps those that came early.
#[derive(Debug, Default)]
struct Receiving {
    ready: VecDeque<Chunk>,
    /// Sorted, disjoint. The sequence number is that of the first byte.
    early: Vec<(Seq, Chunk)>,
    /// Where the newest early piece was put, to tell the peer first (RFC 2018).
    newest: Seq,
    /// Bytes of the buffers held.
    held: usize,
}

impl ReceiveQueue {
    /// Bytes in order that wait to be taken.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Memory of the buffers held, in bytes.
    #[inline]
    pub fn held(&self) -> usize {
        self.pieces.as_ref().map_or(0, |pieces| pieces.held)
    }

    pub fn has_early(&self) -> bool {
        let pieces = self.pieces.as_ref();
        pieces.is_some_and(|pieces| !pieces.early.is_empty())
    }

    /// Puts bytes that start at `seq` in their place; `next` is the first that is missing. Returns the new first
    /// missing one. The caller has cut off what lies outside the window.
    #[inline]
    pub fn insert(&mut self, mut seq: Seq, mut chunk: Chunk, next: Seq, pool: &mut Pool) -> Seq {
        if seq.lt(next) {
            let known = next - seq;
            if known as usize >= chunk.len() {
                pool.give(chunk.buffer);
                return next;
            }
            chunk.start += known;
            seq = next;
        }
        if chunk.len() == 0 {
            pool.give(chunk.buffer);
            return next;
        }
        let pieces = self.pieces.get_or_insert_with(|| pool.receiving.take());
        if seq != next {
            pieces.insert_early(seq, chunk, pool);
            return next;
        }
        let mut end = next + chunk.len() as u32;
        pieces.append(chunk, pool);
        if !pieces.early.is_empty() {
            end = pieces.join(end, pool);
        }
        self.len += (end - next) as usize;
        end
    }

    /// Up to three ranges that came early, the newest first.
    pub fn islands(&self) -> ([(u32, u32); 3], u8) {
        let pieces = self.pieces.as_ref();
        pieces.map_or(([(0, 0); 3], 0), |pieces| pieces.islands())
    }

    /// Takes the first piece out, to be lent.
    #[inline]
    pub fn take_front(&mut self) -> Option<Chunk> {
        let pieces = self.pieces.as_mut()?;
        let chunk = pieces.ready.pop_front()?;
        pieces.held -= chunk.buffer.len();
        self.len -= chunk.len();
        Some(chunk)
    }

    /// Puts back what is left of it.
    #[inline]
    pub fn put_front(&mut self, chunk: Chunk) {
        self.len += chunk.len();
        let pieces = self.pieces.get_or_insert_default();
        pieces.held += chunk.buffer.len();
        pieces.ready.push_front(chunk);
    }

    /// After something was taken out: gives back what an empty queue does not need.
    #[inline]
    pub fn rest(&mut self, pool: &mut Pool) {
        if self.len == 0 && !self.has_early() {
            pool.receiving.give(self.pieces.take());
        }
    }

    /// Drops what came early; the peer sends it again.
    pub fn forget_early(&mut self, pool: &mut Pool) {
        if let Some(pieces) = &mut self.pieces {
            for (_, chunk) in pieces.early.drain(..) {
                pieces.held -= chunk.buffer.len();
                pool.give(chunk.buffer);
            }
            self.rest(pool);
        }
    }

    pub fn clear(&mut self, pool: &mut Pool) {
        if let Some(pieces) = &mut self.pieces {
            let early = pieces.early.drain(..).map(|(_, chunk)| chunk);
            early
                .chain(pieces.ready.drain(..))
                .for_each(|chunk| pool.give(chunk.buffer));
            pieces.held = 0;
        }
        self.len = 0;
        self.rest(pool);
    }
}

impl Receiving {
    /// Adds the next bytes in order.
    #[inline]
    fn append(&mut self, chunk: Chunk, pool: &mut Pool) {
        if let Some(last) = self.ready.back_mut()
            && chunk.len() <= COALESCE
        {
            let end = last.end as usize;
            if let Some(room) = last.buffer.get_mut(end..end + chunk.len()) {
                room.copy_from_slice(chunk.bytes());
                last.end += chunk.end - chunk.start;
                pool.give(chunk.buffer);
                return;
            }
        }
        self.held += chunk.buffer.len();
        self.ready.push_back(chunk);
    }

    /// Appends what has become contiguous; `next` is the first that is missing, before and after.
    fn join(&mut self, mut next: Seq, pool: &mut Pool) -> Seq {
        let mut joined = 0;
        while let Some((at, _)) = self.early.get(joined)
            && at.le(next)
        {
            joined += 1;
            let (at, early) = &mut self.early[joined - 1];
            let known = (next - *at).min(early.end - early.start);
            early.start += known;
            next += early.end - early.start;
        }
        if joined > 0 {
            let early: Vec<_> = self.early.drain(..joined).collect();
            for (_, chunk) in early {
                self.held -= chunk.buffer.len();
                if chunk.len() == 0 {
                    pool.give(chunk.buffer);
                } else {
                    self.append(chunk, pool);
                }
            }
        }
        next
    }

    fn insert_early(&mut self, mut seq: Seq, mut chunk: Chunk, pool: &mut Pool) {
        let mut at = self
            .early
            .iter()
            .rposition(|(start, _)| start.le(seq))
            .map_or(0, |n| n + 1);
        // The one before keeps what both have.
        if at > 0 {
            let (start, before) = &self.early[at - 1];
            let end = *start + before.len() as u32;
            if end.gt(seq) {
                let known = end - seq;
                if known as usize >= chunk.len() {
                    return pool.give(chunk.buffer);
                }
                chunk.start += known;
                seq = end;
            }
        }
        // Those after it give way, wholly or in front.
        let end = seq + chunk.len() as u32;
        while let Some((start, after)) = self.early.get_mut(at)
            && start.lt(end)
        {
            let common = end - *start;
            if common as usize >= after.len() {
                let (_, gone) = self.early.remove(at);
                self.held -= gone.buffer.len();
                pool.give(gone.buffer);
            } else {
                after.start += common;
                *start = end;
                break;
            }
        }
        if self.early.len() >= MAX_ISLANDS {
            // The peer will send it again. The furthest is the one that is needed last.
            if at == self.early.len() {
                return pool.give(chunk.buffer);
            }
            if let Some((_, gone)) = self.early.pop() {
                self.held -= gone.buffer.len();
                pool.give(gone.buffer);
            }
            at = at.min(self.early.len());
        }
        self.newest = seq;
        self.held += chunk.buffer.len();
        self.early.insert(at, (seq, chunk));
    }

    /// See [`ReceiveQueue::islands`].
    fn islands(&self) -> ([(u32, u32); 3], u8) {
        let mut out = [(0, 0); 3];
        let mut count = 0;
        let mut first = None;
        let mut ranges: [(Seq, Seq); 8] = [(Seq(0), Seq(0)); 8];
        let mut known = 0;
        for (start, chunk) in &self.early {
            let end = *start + chunk.len() as u32;
            match ranges[..known].last_mut() {
                Some((_, last)) if *last == *start => *last = end,
                _ => {
                    if known == ranges.len() {
                        // Keep the last place for the newest.
                        if first.is_some() {
                            break;
                        }
                        known -= 1;
                    }
                    ranges[known] = (*start, end);
                    known += 1;
                }
            }
            let (from, to) = ranges[known - 1];
            if from.le(self.newest) && self.newest.lt(to) {
                first = Some(known - 1);
            }
        }
        let order = first
            .into_iter()
            .chain((0..known).filter(|n| Some(*n) != first));
        for n in order.take(3) {
            let (from, to) = ranges[n];
            out[count] = (from.0, to.0);
            count += 1;
        }
        (out, count as u8)
    }
}
