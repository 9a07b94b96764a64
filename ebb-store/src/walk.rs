//! Walking the log frame by frame, past what is damaged.

use alloc::{collections::VecDeque, sync::Arc, vec, vec::Vec};

use ebb_block::{BLOCK, BlockDevice, Error, Pending};

use crate::layout::{FRAME, Header, LOG, Place};

/// Most bytes of frames that are written before they are flushed, but for the frame that is over it.
pub const UNFLUSHED: u64 = 1 << 20;
/// How far ahead a frame is looked for when one is missing: every frame that a power cut left half done is within, with
/// what the end of the ring wastes.
pub const AHEAD: u64 = UNFLUSHED + 3 * FRAME as u64;

/// Pieces that are being read beside the one that is needed, while nobody writes.
const PIECES_AHEAD: usize = 2;

/// Reads of the log, a piece at a time.
pub struct Walk {
    device: Arc<dyn BlockDevice>,
    store: [u8; 16],
    /// End of the ring.
    end: u64,
    start: u64,
    bytes: Vec<u8>,
    /// The pieces behind these bytes that are being read, each with its length.
    coming: VecDeque<(usize, Pending<Vec<u8>>)>,
    /// How many that may be: the more, the further the walk has gone without a jump.
    pieces_ahead: usize,
    most_ahead: usize,
    /// Blocks that could not be read; zeros take their place.
    pub unreadable: Vec<u64>,
    /// What the last look ahead has found: from where it looked, and the frames (position, sequence number).
    ahead: Option<(u64, Vec<(u64, u64)>)>,
}

/// What follows in the log.
pub enum Next {
    /// The frame that was expected.
    Frame(u64, Header),
    /// It is damaged; the log goes on there.
    Damaged(Place),
    /// There is none.
    End,
}

impl Walk {
    pub fn new(device: Arc<dyn BlockDevice>, store: [u8; 16], end: u64) -> Self {
        Self {
            device,
            store,
            end,
            start: 0,
            bytes: Vec::new(),
            coming: VecDeque::new(),
            pieces_ahead: 0,
            most_ahead: 0,
            unreadable: Vec::new(),
            ahead: None,
        }
    }

    /// Reads ahead, which is only for as long as nobody writes.
    pub fn reading_ahead(mut self) -> Self {
        self.most_ahead = PIECES_AHEAD;
        self
    }

    /// Begins to read what comes behind the bytes that are here, or are coming.
    fn read_on(&mut self, pieces: usize) {
        let coming: usize = self.coming.iter().map(|(length, _)| length).sum();
        let mut position = self.start + (self.bytes.len() + coming) as u64;
        while self.coming.len() < pieces && position < self.end {
            let length = FRAME.min((self.end - position) as usize);
            let read = self.device.read(position, length);
            self.coming.push_back((length, read));
            position += length as u64;
        }
    }

    /// `length` bytes at a position, fewer at the end of the ring.
    pub async fn bytes(&mut self, position: u64, length: usize) -> Result<&[u8], Error> {
        let length = length.min((self.end - position) as usize);
        let has = |this: &Self| {
            position >= this.start
                && position + length as u64 <= this.start + this.bytes.len() as u64
        };
        if !has(self) {
            let here = self.start..=self.start + self.bytes.len() as u64;
            if self.most_ahead > 0 && here.contains(&position) {
                self.bytes.drain(..(position - self.start) as usize);
                self.pieces_ahead = (2 * self.pieces_ahead + 1).min(self.most_ahead);
            } else {
                self.pieces_ahead = 0;
                self.bytes.clear();
                self.coming.clear();
            }
            self.start = position;
            while self.bytes.len() < length {
                self.read_on(1 + self.pieces_ahead);
                let Some((piece, read)) = self.coming.pop_front() else {
                    return Err(Error::Io);
                };
                let at = self.start + self.bytes.len() as u64;
                let bytes = match read.await {
                    Ok(bytes) => bytes,
                    Err(Error::Io) => self.by_block(at, piece).await?,
                    Err(error) => return Err(error),
                };
                match self.bytes.is_empty() {
                    true => self.bytes = bytes,
                    false => self.bytes.extend(bytes),
                }
            }
        }
        let at = (position - self.start) as usize;
        self.bytes.get(at..at + length).ok_or(Error::Io)
    }

    async fn by_block(&mut self, position: u64, length: usize) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::with_capacity(length);
        for at in (position..position + length as u64).step_by(BLOCK) {
            match self.device.read(at, BLOCK).await {
                Ok(block) => bytes.extend(block),
                Err(Error::Io) => {
                    if !self.unreadable.contains(&at) {
                        self.unreadable.push(at);
                    }
                    bytes.extend(vec![0; BLOCK]);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(bytes)
    }

    /// The header at a position.
    pub async fn header(&mut self, position: u64) -> Result<Option<Header>, Error> {
        let store = self.store;
        let header = Header::decode(self.bytes(position, BLOCK).await?, &store);
        Ok(header.filter(|h| position + h.length as u64 <= self.end))
    }

    /// Whether there is a frame with a sequence number whose table can be read.
    async fn sound(&mut self, at: Place) -> Result<Option<Header>, Error> {
        let Some(header) = self.header(at.position).await? else {
            return Ok(None);
        };
        if header.sequence != at.sequence {
            return Ok(None);
        }
        let frame = self.bytes(at.position, header.length).await?;
        Ok(header.entries(frame).map(|_| header))
    }

    /// What is at a place. Frames before `known` are known to have been durable.
    pub async fn next(&mut self, expected: Place, known: Place) -> Result<Next, Error> {
        for position in [expected.position, LOG] {
            let at = Place {
                position,
                ..expected
            };
            if let Some(header) = self.sound(at).await? {
                return Ok(Next::Frame(position, header));
            }
        }
        let proven = known.sequence > expected.sequence;
        if let Some(place) = self.later(expected, proven).await? {
            return Ok(Next::Damaged(place));
        }
        Ok(if proven {
            Next::Damaged(known)
        } else {
            Next::End
        })
    }

    /// A frame ahead that comes after the expected one, if that one is known to have been durable or the frame says so.
    pub async fn later(&mut self, expected: Place, proven: bool) -> Result<Option<Place>, Error> {
        let mut found = Vec::new();
        self.ahead = None;
        for position in ahead(expected.position, self.end) {
            let Some(header) = self.header(position).await? else {
                continue;
            };
            found.push((position, header.sequence));
            if header.sequence > expected.sequence
                && (proven || header.durable >= expected.sequence)
            {
                let place = Place {
                    position,
                    sequence: header.sequence,
                };
                return Ok(Some(place));
            }
        }
        self.ahead = Some((expected.position, found));
        Ok(None)
    }

    /// The frames in the blocks after a position in which frames may be that a power cut left, with their sequence numbers.
    pub async fn frames_ahead(&mut self, position: u64) -> Result<Vec<(u64, u64)>, Error> {
        if let Some((from, found)) = self.ahead.take()
            && from == position
        {
            return Ok(found);
        }
        let mut found = Vec::new();
        for position in ahead(position, self.end) {
            let header = self.header(position).await?;
            found.extend(header.map(|header| (position, header.sequence)));
        }
        Ok(found)
    }
}

/// The blocks after a position in which frames may be that a power cut left.
fn ahead(position: u64, end: u64) -> impl Iterator<Item = u64> {
    let ring = end - LOG;
    (0..AHEAD.min(ring))
        .step_by(BLOCK)
        .map(move |n| LOG + (position - LOG + n) % ring)
}

/// Where the log goes on after a frame.
pub fn after(position: u64, length: usize, end: u64) -> u64 {
    let next = position + length as u64;
    if next >= end { LOG } else { next }
}
