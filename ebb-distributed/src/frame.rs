//! The format of frames: what a connection's two directions consist of, inside the protected channel.
//!
//! Everything is little-endian. A frame is its length (`u32`, of what follows), its kind (`u8`) and its fields, in the order
//! of [`Frame`]'s variants' fields, without padding. A [`Payload`] comes last: the number of its blobs (`u16`), the length
//! of its head (`u32`), the length of each blob (`u32`), the head, the blobs. [`Hello`] never changes its first fields, and
//! what follows them is ignored, so that any two versions can tell each other which they speak.
//!
//! What must hold: a decoder allocates nothing on the word of a length, and no sequence of bytes makes it panic.

use alloc::vec::Vec;
use core::mem;

use bytes::{BufMut, Bytes};
use smallvec::SmallVec;

/// The newest version of the protocol that is spoken here.
pub const VERSION: u16 = 1;
/// The oldest version of the protocol that is spoken here.
pub const OLDEST_VERSION: u16 = 1;
/// "ebbd": the first field of a greeting.
const MAGIC: u32 = u32::from_le_bytes(*b"ebbd");
/// A payload has at most so many blobs.
pub const MOST_BLOBS: usize = 256;
/// What is shorter is copied next to its frame; what is longer is passed on by reference, in both directions.
pub const COPIED: usize = 4096;

/// Buffers beside a value. Most values have none or one.
pub type BlobList = SmallVec<[Bytes; 1]>;

/// A value in CBOR. A short one, as most are, lies here itself.
#[derive(Clone, Debug)]
pub struct Head(Place);

#[derive(Clone, Debug)]
enum Place {
    Here(ShortHead),
    There(Bytes),
}

/// A head while it is written, and afterwards if it stayed short.
pub(crate) type ShortHead = SmallVec<[u8; 36]>;

impl core::ops::Deref for Head {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Place::Here(bytes) => bytes,
            Place::There(bytes) => bytes,
        }
    }
}

impl Default for Head {
    fn default() -> Self {
        Self(Place::Here(ShortHead::new()))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Head {}

impl From<ShortHead> for Head {
    fn from(bytes: ShortHead) -> Self {
        Self(if bytes.spilled() {
            Place::There(bytes.into_vec().into())
        } else {
            Place::Here(bytes)
        })
    }
}

impl From<Bytes> for Head {
    fn from(bytes: Bytes) -> Self {
        Self(Place::There(bytes))
    }
}

impl From<Head> for Bytes {
    fn from(head: Head) -> Self {
        match head.0 {
            Place::Here(bytes) => bytes.into_vec().into(),
            Place::There(bytes) => bytes,
        }
    }
}

/// A serialised value: its head, and the buffers that it refers to by number, which are never copied into it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payload {
    /// The value in CBOR.
    pub head: Head,
    /// What [`crate::Blob`]s in it stand for, in their order.
    pub blobs: BlobList,
}

impl Payload {
    /// A value without blobs.
    #[must_use]
    pub fn of(head: impl Into<Bytes>) -> Self {
        Self {
            head: head.into().into(),
            blobs: BlobList::new(),
        }
    }

    /// How many bytes it takes in a frame.
    #[must_use]
    pub fn len(&self) -> usize {
        let blobs: usize = self.blobs.iter().map(|b| 4 + b.len()).sum();
        2 + 4 + self.head.len() + blobs
    }

    /// Whether the value is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.head.is_empty() && self.blobs.is_empty()
    }
}

/// What each side says first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The oldest version that it speaks.
    pub oldest: u16,
    /// The newest version that it speaks.
    pub newest: u16,
    /// Its node.
    pub node: u64,
    /// Drawn when the node started: another one means that it has started anew and remembers nothing.
    pub incarnation: u64,
    /// How many calls it lets the peer have in flight.
    pub calls: u32,
    /// How many bytes of payload these may have together.
    pub call_bytes: u32,
    /// The longest frame that it accepts.
    pub frame_bytes: u32,
}

/// What the caller of a method gets; see `Failure`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// The payload is the answer.
    Ok = 0,
    /// Not run: overload.
    Refused = 1,
    /// Not run: no such Ebb.
    Gone = 2,
    /// Not run: no such method.
    Version = 3,
    /// Stopped at its deadline.
    Late = 4,
    /// Stopped because the caller asked for it.
    Cancelled = 5,
    /// The method ended without an answer.
    NoAnswer = 6,
}

impl Status {
    fn from_number(number: u8) -> Option<Self> {
        use Status::{Cancelled, Gone, Late, NoAnswer, Ok, Refused, Version};
        [Ok, Refused, Gone, Version, Late, Cancelled, NoAnswer]
            .into_iter()
            .find(|s| *s as u8 == number)
    }
}

/// Nobody waits for the answer; it only gives the credit back.
pub const ONEWAY: u8 = 1;
/// The caller sends items until it ends them.
pub const STREAM_UP: u8 = 2;
/// The callee sends items until it answers.
pub const STREAM_DOWN: u8 = 4;

/// A call, as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Rises from call to call of one direction of a connection; never used again.
    pub id: u64,
    /// Hash of the Ebb's name.
    pub ebb: u64,
    /// Hash of the method's name and signature.
    pub method: u64,
    /// Microseconds that are left of its time; `u64::MAX` for no deadline. A remaining time needs no common clock.
    pub remaining_us: u64,
    /// [`ONEWAY`], [`STREAM_UP`], [`STREAM_DOWN`].
    pub flags: u8,
    /// How many items the callee may send.
    pub credit: u32,
    /// The arguments.
    pub payload: Payload,
}

/// A frame. Ids are those of the calls of one direction: the kind says whose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// 0. First, and only once.
    Hello(Hello),
    /// 1. Caller to callee.
    Call(Call),
    /// 2. Callee to caller: ends the call.
    Answer(u64, Status, Payload),
    /// 3. Caller to callee: stop; an answer comes all the same.
    Cancel(u64),
    /// 4. Caller to callee: an item.
    Up(u64, Payload),
    /// 5. Caller to callee: no more items.
    UpEnd(u64),
    /// 6. Callee to caller: so many more items.
    UpCredit(u64, u32),
    /// 7. Callee to caller: an item.
    Down(u64, Payload),
    /// 8. Caller to callee: so many more items.
    DownCredit(u64, u32),
    /// 9. Answered at once by a pong of the same number.
    Ping(u64),
    /// 10.
    Pong(u64),
}

/// The bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Reads a frame's fields, one after the other.
struct Fields<'a> {
    rest: &'a [u8],
    /// What `rest` is the end of, where long parts may keep it.
    whole: Option<&'a Bytes>,
}

impl<'a> Fields<'a> {
    #[inline]
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (front, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed)?;
        self.rest = rest;
        Ok(*front)
    }

    fn bytes(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (front, rest) = self.rest.split_at_checked(length).ok_or(Malformed)?;
        self.rest = rest;
        Ok(front)
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.take::<1>()?[0])
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_le_bytes(self.take()?))
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.take()?))
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.take()?))
    }

    /// A part that is kept: short ones are copied, so that they do not keep the buffer that they came in.
    #[inline]
    fn part<T: From<Bytes>>(
        &mut self,
        length: usize,
        copied: impl FnOnce(&[u8]) -> T,
    ) -> Result<T, Malformed> {
        let part = self.bytes(length)?;
        Ok(match self.whole {
            Some(whole) if length >= COPIED => whole.slice_ref(part).into(),
            _ => copied(part),
        })
    }

    fn payload(&mut self) -> Result<Payload, Malformed> {
        let count = usize::from(self.u16()?);
        let head = self.u32()? as usize;
        if count > MOST_BLOBS {
            return Err(Malformed);
        }
        let (lengths, _) = self.bytes(4 * count)?.as_chunks::<4>();
        let head = self.part(head, |head| ShortHead::from_slice(head).into())?;
        let mut blobs = BlobList::with_capacity(count);
        for length in lengths {
            let length = u32::from_le_bytes(*length) as usize;
            blobs.push(self.part(length, Bytes::copy_from_slice)?);
        }
        Ok(Payload { head, blobs })
    }
}

impl Frame {
    /// Reads what follows a frame's length.
    ///
    /// # Errors
    /// [`Malformed`]: the connection cannot go on.
    pub fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        let whole = Some(&bytes);
        Self::from_fields(Fields {
            rest: &bytes,
            whole,
        })
    }

    /// The same of bytes that stay where they are.
    ///
    /// # Errors
    /// [`Malformed`]: the connection cannot go on.
    pub fn decode_copied(bytes: &[u8]) -> Result<Self, Malformed> {
        Self::from_fields(Fields {
            rest: bytes,
            whole: None,
        })
    }

    fn from_fields(mut fields: Fields<'_>) -> Result<Self, Malformed> {
        let f = &mut fields;
        let frame = match f.u8()? {
            0 => {
                if f.u32()? != MAGIC {
                    return Err(Malformed);
                }
                let hello = Hello {
                    oldest: f.u16()?,
                    newest: f.u16()?,
                    node: f.u64()?,
                    incarnation: f.u64()?,
                    calls: f.u32()?,
                    call_bytes: f.u32()?,
                    frame_bytes: f.u32()?,
                };
                return Ok(Self::Hello(hello));
            }
            1 => Self::Call(Call {
                id: f.u64()?,
                ebb: f.u64()?,
                method: f.u64()?,
                remaining_us: f.u64()?,
                flags: f.u8()?,
                credit: f.u32()?,
                payload: f.payload()?,
            }),
            2 => Self::Answer(
                f.u64()?,
                Status::from_number(f.u8()?).ok_or(Malformed)?,
                f.payload()?,
            ),
            3 => Self::Cancel(f.u64()?),
            4 => Self::Up(f.u64()?, f.payload()?),
            5 => Self::UpEnd(f.u64()?),
            6 => Self::UpCredit(f.u64()?, f.u32()?),
            7 => Self::Down(f.u64()?, f.payload()?),
            8 => Self::DownCredit(f.u64()?, f.u32()?),
            9 => Self::Ping(f.u64()?),
            10 => Self::Pong(f.u64()?),
            _ => return Err(Malformed),
        };
        if fields.rest.is_empty() {
            Ok(frame)
        } else {
            Err(Malformed)
        }
    }

    /// Appends the frame, with its length, to `out`; blobs that are passed on by reference are given to `push` with what
    /// lies before them.
    pub fn encode(self, out: &mut Vec<u8>, push: &mut dyn FnMut(Bytes)) {
        let start = out.len();
        out.put_u32_le(0);
        let payload = match self {
            Self::Hello(h) => {
                out.put_u8(0);
                out.put_u32_le(MAGIC);
                out.put_u16_le(h.oldest);
                out.put_u16_le(h.newest);
                out.put_u64_le(h.node);
                out.put_u64_le(h.incarnation);
                out.put_u32_le(h.calls);
                out.put_u32_le(h.call_bytes);
                out.put_u32_le(h.frame_bytes);
                None
            }
            Self::Call(call) => {
                // At once: to ask for room nine times takes longer than to write.
                let mut fields = [0; 38];
                fields[0] = 1;
                fields[1..9].copy_from_slice(&call.id.to_le_bytes());
                fields[9..17].copy_from_slice(&call.ebb.to_le_bytes());
                fields[17..25].copy_from_slice(&call.method.to_le_bytes());
                fields[25..33].copy_from_slice(&call.remaining_us.to_le_bytes());
                fields[33] = call.flags;
                fields[34..38].copy_from_slice(&call.credit.to_le_bytes());
                out.extend_from_slice(&fields);
                Some(call.payload)
            }
            Self::Answer(id, status, payload) => {
                let mut fields = [0; 10];
                fields[0] = 2;
                fields[1..9].copy_from_slice(&id.to_le_bytes());
                fields[9] = status as u8;
                out.extend_from_slice(&fields);
                Some(payload)
            }
            Self::Up(id, payload) => with_id(out, 4, id, Some(payload)),
            Self::Down(id, payload) => with_id(out, 7, id, Some(payload)),
            Self::Cancel(id) => with_id(out, 3, id, None),
            Self::UpEnd(id) => with_id(out, 5, id, None),
            Self::Ping(number) => with_id(out, 9, number, None),
            Self::Pong(number) => with_id(out, 10, number, None),
            Self::UpCredit(id, n) => {
                with_id(out, 6, id, None);
                out.put_u32_le(n);
                None
            }
            Self::DownCredit(id, n) => {
                with_id(out, 8, id, None);
                out.put_u32_le(n);
                None
            }
        };
        let length = out.len() - start - 4 + payload.as_ref().map_or(0, Payload::len);
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        out[start..start + 4].copy_from_slice(&length.to_le_bytes());
        if let Some(payload) = payload {
            put_payload(out, payload, push);
        }
    }
}

fn with_id(out: &mut Vec<u8>, kind: u8, id: u64, payload: Option<Payload>) -> Option<Payload> {
    out.put_u8(kind);
    out.put_u64_le(id);
    payload
}

fn put_payload(out: &mut Vec<u8>, payload: Payload, push: &mut dyn FnMut(Bytes)) {
    let blobs = u16::try_from(payload.blobs.len()).expect("checked when the call is made");
    let head = u32::try_from(payload.head.len()).expect("checked when the call is made");
    let mut lengths = [0; 6];
    lengths[..2].copy_from_slice(&blobs.to_le_bytes());
    lengths[2..].copy_from_slice(&head.to_le_bytes());
    out.extend_from_slice(&lengths);
    for blob in &payload.blobs {
        out.put_u32_le(u32::try_from(blob.len()).expect("checked when the call is made"));
    }
    let Payload { head, blobs } = payload;
    if head.len() < COPIED {
        out.extend_from_slice(&head);
    } else {
        push(mem::take(out).into());
        push(head.into());
    }
    for blob in blobs {
        if blob.len() < COPIED {
            out.extend_from_slice(&blob);
        } else {
            push(mem::take(out).into());
            push(blob);
        }
    }
}
