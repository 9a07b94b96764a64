//! What a message takes while it is read and answered, lent by the core: a connection that waits for a request has none of it.
//!
//! What must hold: what is given back is empty or will be overwritten as a whole, and how much is kept for the next message has a bound.

use alloc::{boxed::Box, vec::Vec};
use core::cell::RefCell;

use ebb::{EbbRef, ebb};

use super::Head;

/// What nobody has now; the one used last is lent first.
#[ebb(per_core)]
#[derive(Default)]
pub(super) struct Spare {
    buffers: RefCell<Vec<Vec<u8>>>,
    #[expect(clippy::vec_box, reason = "the boxes themselves go to and fro")]
    heads: RefCell<Vec<Box<Head>>>,
}

impl Spare {
    /// How many of each are kept.
    const MOST: usize = 16;
    /// An unusually large buffer is not.
    const LARGEST_BYTES: usize = 64 << 10;

    /// An empty buffer.
    pub fn buffer() -> Vec<u8> {
        let spare = EbbRef::<Self>::get();
        spare.buffers.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes a buffer back.
    pub fn give_buffer(mut buffer: Vec<u8>) {
        buffer.clear();
        let spare = EbbRef::<Self>::get();
        let mut buffers = spare.buffers.borrow_mut();
        if (1..=Self::LARGEST_BYTES).contains(&buffer.capacity()) && buffers.len() < Self::MOST {
            buffers.push(buffer);
        }
    }

    /// A head to be read into.
    pub fn head() -> Box<Head> {
        let spare = EbbRef::<Self>::get();
        spare.heads.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes a head back.
    pub fn give_head(head: Box<Head>) {
        let spare = EbbRef::<Self>::get();
        let mut heads = spare.heads.borrow_mut();
        if heads.len() < Self::MOST {
            heads.push(head);
        }
    }
}
