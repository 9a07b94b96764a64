//! virtio-drivers' queue, used so that neither its gaps nor a device that breaks the protocol do harm.
//!
//! Seen in virtio-drivers 0.13.0, and what is done about it here:
//!
//! 1. With `VIRTIO_F_EVENT_IDX`, `should_notify` compares the 16-bit index with the device's wish as if it never wrapped: of
//!    the batch that takes it over its end the device is not told, and both wait for ever. The feature is not negotiated;
//!    the device's wish is then a flag; where it has to be ([`Guarded::with_event_index`]), the device is told of each batch
//!    whatever it wishes.
//! 2. `add` publishes its index with a release store only, and `should_notify` may read the device's wish before the device
//!    can see the index (x86 lets a load pass an earlier store). A full fence is between the two: [`Guarded::notify`].
//! 3. `set_dev_notify(true)` has the same gap to the next `can_pop`: [`Guarded::want_interrupt`] has the fence and looks.
//! 4. `peek_used` cuts the device's 32-bit number of a chain to 16 bits, and `pop_used` panics when the chain is not as long
//!    as the caller's buffers: a device could end the machine. Only numbers of chains that are lent are popped, with
//!    the very buffers that they were lent with.
//! 5. `pop_used` reads the number again; when a device has changed it meanwhile, it says `WrongToken`, which is a broken device.
//! 6. Dropping the queue frees its rings although the device may still use them: the rings of [`Machine`](crate::transport::Machine)
//!    are never freed, and after a fault the buffers are, only if the device has confirmed its reset.
//!
//! What must hold: the buffers of a chain are neither freed nor touched until `pop` has given it back.

use alloc::{boxed::Box, vec::Vec};
use core::{
    ptr::{NonNull, slice_from_raw_parts, slice_from_raw_parts_mut},
    sync::atomic::{Ordering, fence},
};

use virtio_drivers::{Hal, queue::VirtQueue, transport::Transport};

/// The device has broken the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// A range of memory that a device is lent.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub start: NonNull<u8>,
    pub length: usize,
}

/// What is lent with a chain: parts that the device reads, then parts that it writes. Empty ones are left out.
#[derive(Clone, Copy, Debug)]
pub struct Lent {
    pub read: [Option<Span>; 2],
    pub write: [Option<Span>; 2],
}

// SAFETY: addresses of memory that the holder of the chain owns.
unsafe impl Send for Lent {}

/// A queue of a device; what is lent is told apart by `Tag`s.
pub struct Guarded<H: Hal, Tag, const SIZE: usize> {
    number: u16,
    queue: Box<VirtQueue<H, SIZE>>,
    lent: Vec<Option<(Lent, Tag)>>,
    broken: bool,
    /// The event index was negotiated.
    tells_always: bool,
}

/// Descriptors that a chain may take.
const CHAIN: usize = 4;

impl<H: Hal, Tag, const SIZE: usize> Guarded<H, Tag, SIZE> {
    /// Makes a queue of a device that was just reset and has taken its features, without event index or indirect descriptors.
    pub fn new(transport: &mut impl Transport, number: u16) -> Result<Self, virtio_drivers::Error> {
        Self::with_event_index(transport, number, false)
    }

    /// The same for a device that has taken or refused the event index.
    pub fn with_event_index(
        transport: &mut impl Transport,
        number: u16,
        event_index: bool,
    ) -> Result<Self, virtio_drivers::Error> {
        Ok(Self {
            number,
            queue: Box::new(VirtQueue::new(transport, number, false, event_index)?),
            lent: (0..SIZE).map(|_| None).collect(),
            broken: false,
            tells_always: event_index,
        })
    }

    /// Whether another chain fits.
    pub fn has_room(&self) -> bool {
        !self.broken && self.queue.available_desc() >= CHAIN
    }

    /// Lends the device a chain, which it sees at once and may not notice before [`notify`](Self::notify).
    ///
    /// # Errors
    /// Gives the tag back when there is no room.
    ///
    /// # Safety
    /// The spans are valid, apart from each other, and touched by nobody until [`pop`](Self::pop) gives the tag back, or
    /// for ever.
    pub unsafe fn add(&mut self, lent: Lent, tag: Tag) -> Result<(), Tag> {
        if !self.has_room() {
            return Err(tag);
        }
        // SAFETY: the caller's promise.
        let added = unsafe { with_slices(&lent, |read, write| self.queue.add(read, write)) };
        match added {
            Ok(head)
                if self
                    .lent
                    .get(usize::from(head))
                    .is_some_and(Option::is_none) =>
            {
                self.lent[usize::from(head)] = Some((lent, tag));
                Ok(())
            }
            _ => {
                self.broken = true;
                Err(tag)
            }
        }
    }

    /// Tells the device of what was added, if it wants to be told.
    pub fn notify(&mut self, transport: &mut impl Transport) {
        // The device sees the index before its wish is read.
        fence(Ordering::SeqCst);
        if self.tells_always || self.queue.should_notify() {
            transport.notify(self.number);
        }
    }

    /// Takes back a chain that the device has done: its tag, and how many bytes the device says it wrote.
    ///
    /// # Errors
    /// When the device gives back what it does not have. The queue is dead then.
    pub fn pop(&mut self) -> Result<Option<(Tag, u32)>, Broken> {
        if self.broken {
            return Err(Broken);
        }
        let Some(head) = self.queue.peek_used() else {
            return Ok(None);
        };
        let Some((lent, tag)) = self.lent.get_mut(usize::from(head)).and_then(Option::take) else {
            self.broken = true;
            return Err(Broken);
        };
        // SAFETY: the buffers that this chain was made of; its owner has not touched them.
        let popped =
            unsafe { with_slices(&lent, |read, write| self.queue.pop_used(head, read, write)) };
        match popped {
            Ok(length) => Ok(Some((tag, length))),
            Err(_) => {
                // The device still has the chain.
                self.lent[usize::from(head)] = Some((lent, tag));
                self.broken = true;
                Err(Broken)
            }
        }
    }

    /// Asks for no interrupts. A hint.
    pub fn want_no_interrupt(&mut self) {
        self.queue.set_dev_notify(false);
    }

    /// Asks for an interrupt when a chain is done; true when one is already, of which there may be none.
    pub fn want_interrupt(&mut self) -> bool {
        self.queue.set_dev_notify(true);
        fence(Ordering::SeqCst);
        !self.broken && self.queue.can_pop()
    }

    /// The tags of what is lent.
    pub fn tags(&self) -> impl Iterator<Item = &Tag> {
        self.lent.iter().flatten().map(|(_, tag)| tag)
    }

    /// Takes every tag back: the device was reset, or its buffers will never be touched again. The queue is dead.
    pub fn abandon(&mut self) -> Vec<Tag> {
        self.broken = true;
        let lent = self.lent.iter_mut().filter_map(Option::take);
        lent.map(|(_, tag)| tag).collect()
    }
}

/// Calls `f` with the spans as slices.
///
/// # Safety
/// As [`Guarded::add`]; the slices are used for their addresses only.
unsafe fn with_slices<R>(
    lent: &Lent,
    f: impl for<'a> FnOnce(&'a [&'a [u8]], &'a mut [&'a mut [u8]]) -> R,
) -> R {
    // SAFETY: valid spans, the caller's promise.
    let read = |s: Span| unsafe { &*slice_from_raw_parts(s.start.as_ptr(), s.length) };
    // SAFETY: as above, and apart from each other.
    let write = |s: Span| unsafe { &mut *slice_from_raw_parts_mut(s.start.as_ptr(), s.length) };
    let mut reads: [&[u8]; 2] = [&[], &[]];
    let mut writes: [&mut [u8]; 2] = [&mut [], &mut []];
    let (mut r, mut w) = (0, 0);
    for span in lent.read.iter().flatten() {
        reads[r] = read(*span);
        r += 1;
    }
    for span in lent.write.iter().flatten() {
        writes[w] = write(*span);
        w += 1;
    }
    f(&reads[..r], &mut writes[..w])
}
