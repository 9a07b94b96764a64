//! Frames, and a core's link to the device that carries them.

use alloc::{boxed::Box, vec::Vec};

use bytes::Bytes;

use crate::{
    queues::Chunk,
    wire::{MAX_HEADERS, Mac},
};

/// A received frame, in one device buffer or several.
#[derive(Debug)]
pub struct Frame {
    /// The first piece; the headers that the fast path reads lie in it.
    pub first: Chunk,
    /// The rest of a frame that is longer than a buffer.
    pub more: Vec<Chunk>,
    /// The device (or this machine itself) vouches for the transport's checksum.
    pub checked: bool,
    /// This machine has sent it to itself.
    pub local: bool,
    /// The number of the card that it came by.
    pub card: u8,
}

impl Frame {
    /// A frame in one buffer of its own.
    pub fn new(bytes: Box<[u8]>, checked: bool) -> Self {
        let end = bytes.len();
        Self {
            first: Chunk::new(bytes, 0, end),
            more: Vec::new(),
            checked,
            local: false,
            card: 0,
        }
    }

    /// A frame from this machine to itself.
    pub fn to_self(bytes: Box<[u8]>) -> Self {
        Self {
            local: true,
            ..Self::new(bytes, true)
        }
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.first.len() + self.more.iter().map(Chunk::len).sum::<usize>()
    }

    /// All of it in one piece.
    pub fn flatten(&self) -> Vec<u8> {
        let mut bytes = self.first.bytes().to_vec();
        for chunk in &self.more {
            bytes.extend_from_slice(chunk.bytes());
        }
        bytes
    }
}

/// What a device does for its packets.
#[derive(Clone, Copy, Debug)]
pub struct Capabilities {
    pub mac: Mac,
    /// Longest IP packet.
    pub mtu: usize,
    /// It fills in transport checksums.
    pub checksum: bool,
    /// It cuts long TCP segments up.
    pub segmentation: bool,
    /// Most fragments of one frame, besides the head.
    pub fragments: usize,
    /// It has a queue for each core and keeps a flow on one of them.
    pub spreads: bool,
}

/// Work for the device on one frame.
#[derive(Clone, Copy, Debug, Default)]
pub struct Offload {
    /// Sum from here on, in bytes of the frame, and store at this offset from there.
    pub checksum: Option<(u16, u16)>,
    /// Cut into segments of this payload; the length of all headers; IPv6.
    pub segment: Option<(u16, u16, bool)>,
}

/// The longest payload that is copied behind its headers: that is cheaper than a descriptor of its own.
pub const INLINE: usize = 512;
/// The longest head of a frame.
pub const HEAD: usize = MAX_HEADERS + INLINE;

/// One core's way to the machine's cards.
pub trait Link {
    fn capabilities(&self, card: u8) -> Capabilities;

    /// Queues a frame: a head of `head` bytes (at most [`HEAD`]), written by `fill`, and fragments, which it takes out of
    /// the vector and keeps until the device has read them. False when there is no room; `fill` is then not called.
    fn transmit(
        &self,
        card: u8,
        head: usize,
        offload: Offload,
        fragments: &mut Vec<Bytes>,
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> bool;

    /// Tells the devices of what was queued.
    fn kick(&self);
}
