//! Records that are larger than a value and can be made anew, so that it is better to find none than to wait for one or to find half
//! of one: a head that is read whole and a body that is read piece by piece, under keys that begin alike.
//!
//! What must hold: what is read is of one writing, whatever happens while it is written or read, and whatever an earlier one
//! has left. So all pieces begin with a tag that is drawn for each writing, and the first one, which says how many there are, is
//! written last: until then a reader finds the tag of another, or nothing.
//!
//! | | |
//! |---|---|
//! | key of a piece | the record's, number 4 (big endian) |
//! | first piece | tag 16, number of pieces 4, bytes of the head in whole lines 4, how many of them are used 4, content |
//! | others | tag 16, content |
//!
//! The content is the head, filled up with zeros to whole [lines](LINE), and the body. Numbers are little endian.

use alloc::{boxed::Box, collections::VecDeque, vec::Vec};
use core::{fmt, future::poll_fn, pin::Pin, task::Poll};

use crate::{Batch, Error, Store};

/// The body begins at a multiple of so many bytes, and so does what is read of it at once.
pub const LINE: usize = 64;
/// Bytes of the content in a piece.
const PIECE: usize = 60 << 10;
const _: () = assert!(PIECE.is_multiple_of(LINE));
/// Bytes of the largest content.
pub const LARGEST: usize = 32 << 20;
/// Pieces that are read at once, as many as a disk has under way.
const READS: usize = 32;
/// Pieces of a batch: the store takes 256 KiB at once.
const TOGETHER: usize = 4;

/// What a first piece begins with; the others have the tag.
#[derive(Clone, Copy)]
struct Header {
    tag: [u8; 16],
    /// How many pieces there are, at least one.
    count: u32,
    /// Bytes of the head in whole lines, and how many of them are used.
    head: u32,
    used: u32,
}

impl Header {
    fn to_bytes(self) -> Vec<u8> {
        let numbers = [self.count, self.head, self.used].map(u32::to_le_bytes);
        [&self.tag, numbers.as_flattened()].concat()
    }

    /// That of a first piece, and what follows.
    fn of_first(piece: &[u8]) -> Option<(Self, &[u8])> {
        let (tag, rest) = piece.split_first_chunk()?;
        let (numbers, rest) = rest.split_first_chunk::<12>()?;
        let (numbers, _) = numbers.as_chunks();
        let &[count, head, used] = numbers else {
            return None;
        };
        let [count, head, used] = [count, head, used].map(u32::from_le_bytes);
        let header = Self {
            tag: *tag,
            count,
            head,
            used,
        };
        let most = LARGEST.div_ceil(PIECE) as u32;
        let is_sound = (1..=most).contains(&count) && used <= head && head as usize <= LARGEST;
        is_sound.then_some((header, rest))
    }

    /// What follows in a later piece of the same writing.
    fn of_later(self, piece: &[u8]) -> Option<&[u8]> {
        let (tag, rest) = piece.split_first_chunk()?;
        (*tag == self.tag).then_some(rest)
    }
}

/// The key of a piece.
fn piece_key(key: &[u8], number: u32) -> Vec<u8> {
    [key, &number.to_be_bytes()].concat()
}

/// The body of a record that is to be written. It need not lie in one place.
pub trait Body {
    /// Its bytes.
    fn byte_count(&self) -> usize;
    /// Adds those from `at` on, `count` of them. Where one piece of the record ends and the next begins is a multiple of [`LINE`].
    fn append(&self, at: usize, count: usize, into: &mut Vec<u8>);
}

impl Body for [u8] {
    fn byte_count(&self) -> usize {
        self.len()
    }

    fn append(&self, at: usize, count: usize, into: &mut Vec<u8>) {
        into.extend_from_slice(&self[at..at + count]);
    }
}

/// A record that is to be written.
pub struct Record<'a, B: Body + ?Sized> {
    key: Vec<u8>,
    header: Header,
    head: &'a [u8],
    body: &'a B,
}

impl<'a, B: Body + ?Sized> Record<'a, B> {
    /// A record under a key that no other key begins with; `None` for one of more than [`LARGEST`] bytes. The tag is random.
    #[must_use]
    pub fn new(key: &[u8], tag: [u8; 16], head: &'a [u8], body: &'a B) -> Option<Self> {
        let lines = head.len().checked_next_multiple_of(LINE)?;
        let all = lines.checked_add(body.byte_count())?;
        if all > LARGEST {
            return None;
        }
        Some(Self {
            key: key.to_vec(),
            header: Header {
                tag,
                count: all.div_ceil(PIECE).max(1) as u32,
                head: lines as u32,
                used: head.len() as u32,
            },
            head,
            body,
        })
    }

    /// What is to be committed, in this order, each when the one before is durable.
    pub fn batches(&self) -> impl Iterator<Item = Batch> {
        // The first piece last.
        let numbers: Vec<u32> = (1..self.header.count).chain([0]).collect();
        let batches = numbers.len().div_ceil(TOGETHER);
        (0..batches).map(move |n| {
            let mut batch = Batch::default();
            for number in numbers.iter().copied().skip(n * TOGETHER).take(TOGETHER) {
                batch.put(piece_key(&self.key, number), self.piece(number));
            }
            batch
        })
    }

    fn piece(&self, number: u32) -> Vec<u8> {
        let lines = self.header.head as usize;
        let begin = number as usize * PIECE;
        let end = (lines + self.body.byte_count()).min(begin + PIECE);
        let mut piece = Vec::with_capacity(size_of::<Header>() + end - begin);
        match number {
            0 => piece.extend(self.header.to_bytes()),
            _ => piece.extend(self.header.tag),
        }
        let content = piece.len();
        if begin < lines {
            let used = self.head.get(begin..).unwrap_or_default();
            piece.extend_from_slice(&used[..used.len().min(end - begin)]);
            piece.resize(content + lines.min(end) - begin, 0);
        }
        if end > lines {
            let from = begin.max(lines);
            self.body.append(from - lines, end - from, &mut piece);
        }
        debug_assert_eq!(piece.len() - content, end - begin);
        piece
    }
}

/// Why a record cannot be read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// It was deleted or written anew while it was read, or never written to its end.
    Gone,
    /// A piece of it.
    Piece {
        /// Its number, from 0.
        number: u32,
        /// How many there are.
        count: u32,
        /// What is wrong with it.
        error: Error,
    },
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("it has gone"),
            Self::Piece {
                number,
                count,
                error,
            } => write!(f, "piece {number} of {count}: {error}"),
        }
    }
}

impl core::error::Error for ReadError {}

type Value = Result<Option<Vec<u8>>, Error>;

/// A read that was begun, or what it has come to.
enum Begun {
    Waits(Pin<Box<dyn Future<Output = Value> + Send>>),
    Ended(Value),
}

/// A record that is being read.
pub struct Reading {
    store: Store,
    key: Vec<u8>,
    /// The head.
    pub head: Vec<u8>,
    header: Header,
    /// What the last piece of the head has of the body.
    rest: Vec<u8>,
    /// Reads under way, those of the pieces before `next`.
    under_way: VecDeque<Begun>,
    next: u32,
    /// Pieces that have been taken.
    taken: u32,
}

impl Reading {
    /// Begins to read the record of a key; `None` where there is none.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn open(store: &Store, key: &[u8]) -> Result<Option<Self>, ReadError> {
        // More than there are when one that was longer before has left some.
        let count = u32::try_from(store.keys(key).len()).unwrap_or(u32::MAX);
        let none = Header {
            tag: [0; 16],
            count,
            head: 0,
            used: 0,
        };
        let mut reading = Self {
            store: store.clone(),
            key: key.to_vec(),
            head: Vec::new(),
            header: none,
            rest: Vec::new(),
            under_way: VecDeque::new(),
            next: 0,
            taken: 0,
        };
        let first = match reading.take().await {
            Err(ReadError::Gone) => return Ok(None),
            first => first?,
        };
        let Some((header, content)) = Header::of_first(&first) else {
            return Ok(None);
        };
        reading.header = header;
        let mut head = content.to_vec();
        while head.len() < header.head as usize {
            match reading.piece().await? {
                Some(piece) => head.extend_from_slice(&piece),
                None => return Err(ReadError::Gone),
            }
        }
        reading.rest = head.split_off(header.head as usize);
        head.truncate(header.used as usize);
        reading.head = head;
        Ok(Some(reading))
    }

    /// What comes next of the body, whole lines unless it is the last; `None` at its end.
    ///
    /// # Errors
    /// [`ReadError`]; nothing that was read counts then.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, ReadError> {
        if !self.rest.is_empty() {
            return Ok(Some(core::mem::take(&mut self.rest)));
        }
        self.piece().await
    }

    /// The content of the next piece.
    async fn piece(&mut self) -> Result<Option<Vec<u8>>, ReadError> {
        if self.taken == self.header.count {
            return Ok(None);
        }
        let piece = self.take().await?;
        let content = self.header.of_later(&piece).ok_or(ReadError::Gone)?;
        Ok(Some(content.to_vec()))
    }

    /// The next value in order. Those behind it are begun first.
    async fn take(&mut self) -> Result<Vec<u8>, ReadError> {
        while self.under_way.len() < READS && self.next < self.header.count {
            let (store, key) = (self.store.clone(), piece_key(&self.key, self.next));
            self.next += 1;
            // Its first poll begins it.
            let mut read: Pin<Box<dyn Future<Output = Value> + Send>> =
                Box::pin(async move { store.get(key).await });
            let begun = poll_fn(|context| Poll::Ready(read.as_mut().poll(context))).await;
            self.under_way.push_back(match begun {
                Poll::Ready(value) => Begun::Ended(value),
                Poll::Pending => Begun::Waits(read),
            });
        }
        let value = match self.under_way.pop_front().ok_or(ReadError::Gone)? {
            Begun::Waits(read) => read.await,
            Begun::Ended(value) => value,
        };
        let value = value.map_err(|error| ReadError::Piece {
            number: self.taken,
            count: self.header.count,
            error,
        })?;
        self.taken += 1;
        value.ok_or(ReadError::Gone)
    }
}
