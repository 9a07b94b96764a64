//! Values that travel: CBOR, with large buffers beside it.

use alloc::vec::Vec;

use bytes::Bytes;
use minicbor::{
    Decode, Decoder, Encode, Encoder, decode,
    encode::{self, Write},
};

use crate::frame::{MOST_BLOBS, Payload};

/// The buffers that a value refers to by number, beside its CBOR.
#[derive(Debug, Default)]
pub struct Blobs(Vec<Bytes>);

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
    /// The buffer of a number.
    fn get(&self, number: u32) -> Option<Bytes>;
}

impl BlobStore for Blobs {
    fn put(&mut self, bytes: Bytes) -> u32 {
        let number = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0.push(bytes);
        number
    }

    fn get(&self, number: u32) -> Option<Bytes> {
        self.0.get(number as usize).cloned()
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
        let blob = blobs.get(d.u32()?);
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

/// A value as it travels.
///
/// # Errors
/// [`NoPayload`] for more blobs than a frame has.
pub fn to_payload<T: Value>(value: &T) -> Result<Payload, NoPayload> {
    let mut blobs = Blobs::default();
    let head = minicbor::to_vec_with(value, &mut blobs).map_err(|_| NoPayload)?;
    if blobs.0.len() > MOST_BLOBS {
        return Err(NoPayload);
    }
    Ok(Payload {
        head: head.into(),
        blobs: blobs.0,
    })
}

/// The value in a payload, and nothing but the value.
///
/// # Errors
/// [`NoPayload`] when it is another type's.
pub fn from_payload<T: Value>(payload: Payload) -> Result<T, NoPayload> {
    let mut blobs = Blobs(payload.blobs);
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
