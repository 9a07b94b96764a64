//! Values that travel: CBOR, with large buffers beside it.

use core::convert::Infallible;

use bytes::Bytes;
use minicbor::{
    Decode, Decoder, Encode, Encoder, decode,
    encode::{self, Write},
};

use crate::frame::{BlobList, MOST_BLOBS, Payload, ShortHead};

/// The buffers that a value refers to by number, beside its CBOR.
#[derive(Debug, Default)]
pub struct Blobs {
    all: BlobList,
    /// A bit for each that was taken.
    taken: [u64; MOST_BLOBS / 64],
}

/// Bytes that are passed on by reference, also to the frame and out of it. Within CBOR a blob is its number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Blob(pub Bytes);

impl<T: Into<Bytes>> From<T> for Blob {
    fn from(bytes: T) -> Self {
        Self(bytes.into())
    }
}

impl core::ops::Deref for Blob {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// Where the buffers of a value go, and come from. A struct of one's own with a [`Blob`] in it says so:
/// `#[cbor(context_bound = "BlobStore")]`.
pub trait BlobStore {
    /// Puts a buffer beside the value; gives its number.
    fn put(&mut self, bytes: Bytes) -> u32;
    /// The buffer of a number, once.
    fn take(&mut self, number: u32) -> Option<Bytes>;
}

impl BlobStore for Blobs {
    fn put(&mut self, bytes: Bytes) -> u32 {
        let number = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        self.all.push(bytes);
        number
    }

    fn take(&mut self, number: u32) -> Option<Bytes> {
        let number = number as usize;
        let taken = self.taken.get_mut(number / 64)?;
        let bit = 1 << (number % 64);
        let blob = self.all.get_mut(number)?;
        if *taken & bit != 0 {
            return None;
        }
        *taken |= bit;
        // Not shared: a second owner of short buffers takes memory of its own.
        Some(core::mem::take(blob))
    }
}

impl<C: BlobStore> Encode<C> for Blob {
    fn encode<W: Write>(
        &self,
        e: &mut Encoder<W>,
        blobs: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        e.u32(blobs.put(self.0.clone()))?.ok()
    }
}

impl<'b, C: BlobStore> Decode<'b, C> for Blob {
    fn decode(d: &mut Decoder<'b>, blobs: &mut C) -> Result<Self, decode::Error> {
        let blob = blobs.take(d.u32()?);
        blob.map(Self)
            .ok_or_else(|| decode::Error::message("no such blob"))
    }
}

/// What can be an argument or a result of a method that is called from another machine: what encodes to CBOR and decodes from
/// it and borrows nothing.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot travel to another machine",
    label = "neither an argument nor a result of a remote method",
    note = "give it `#[derive(minicbor::Encode, minicbor::Decode)]`, with a number for each field: `#[n(0)]`",
    note = "large buffers travel as `ebb_distributed::Blob`"
)]
pub trait Value: Encode<Blobs> + for<'b> Decode<'b, Blobs> + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Encode<Blobs> + for<'b> Decode<'b, Blobs> + 'static> Value for T {}

struct HeadWriter(ShortHead);

impl Write for HeadWriter {
    type Error = Infallible;

    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> Result<(), Infallible> {
        // Most of what CBOR writes at a time.
        if let [byte] = bytes {
            self.0.push(*byte);
        } else {
            self.0.extend_from_slice(bytes);
        }
        Ok(())
    }
}

/// A value as it travels.
///
/// # Errors
/// [`NoPayload`] for more blobs than a frame has.
pub fn to_payload<T: Value>(value: &T) -> Result<Payload, NoPayload> {
    let mut blobs = Blobs::default();
    let mut head = HeadWriter(ShortHead::new());
    minicbor::encode_with(value, &mut head, &mut blobs).map_err(|_| NoPayload)?;
    if blobs.all.len() > MOST_BLOBS {
        return Err(NoPayload);
    }
    Ok(Payload {
        head: head.0.into(),
        blobs: blobs.all,
    })
}

/// The value in a payload, and nothing but the value.
///
/// # Errors
/// [`NoPayload`] when it is another type's.
pub fn from_payload<T: Value>(payload: Payload) -> Result<T, NoPayload> {
    let mut blobs = Blobs {
        all: payload.blobs,
        ..Blobs::default()
    };
    let mut decoder = Decoder::new(&payload.head);
    let value = decoder.decode_with(&mut blobs).map_err(|_| NoPayload)?;
    if decoder.position() == payload.head.len() {
        Ok(value)
    } else {
        Err(NoPayload)
    }
}

/// A value does not fit its payload, or a payload its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoPayload;

/// Hash of a name that travels in its place: FNV-1a, 64 bits.
#[must_use]
pub const fn hash(text: &str) -> u64 {
    let bytes = text.as_bytes();
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut i = 0;
    while i < bytes.len() {
        hash = (hash ^ bytes[i] as u64).wrapping_mul(0x0100_0000_01b3);
        i += 1;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{vec, vec::Vec};

    #[test]
    fn values_come_back_whatever_they_take() {
        for length in [0, 1, 35, 36, 37, 100, 5000] {
            let value = (vec![7_u64; length], Blob::from(vec![1; length]), 3_u8);
            let payload = to_payload(&value).unwrap();
            assert_eq!(payload.blobs.len(), 1);
            assert_eq!(from_payload(payload), Ok(value));
        }
    }

    #[test]
    fn a_buffer_is_named_once() {
        let mut payload = to_payload(&Blob::from("once")).unwrap();
        let twice = (Blob::default(), Blob::default());
        payload.head = to_payload(&twice).unwrap().head;
        assert_eq!(from_payload::<(Blob, Blob)>(payload), Err(NoPayload));
        // Two numbers, one buffer.
        let mut payload = to_payload(&twice).unwrap();
        let mut head = payload.head.to_vec();
        *head.last_mut().unwrap() = head[1];
        payload.head = Bytes::from(head).into();
        assert_eq!(from_payload::<(Blob, Blob)>(payload), Err(NoPayload));
        assert_eq!(
            from_payload::<Vec<Blob>>(
                to_payload(&vec![Blob::default(); 257][..256].to_vec()).unwrap()
            )
            .map(|blobs| blobs.len()),
            Ok(256)
        );
        assert_eq!(to_payload(&vec![Blob::default(); 257]), Err(NoPayload));
    }
}
