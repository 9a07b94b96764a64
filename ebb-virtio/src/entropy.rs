//! The entropy device (VIRTIO 1.2, 5.4): a seed of 256 bits, drawn once.
//!
//! What must hold: nobody waits for the device but as long as they say; what it gives is used as a seed beside other sources, never
//! instead of them, for the host may give whatever it likes.

use alloc::boxed::Box;
use core::ptr::NonNull;

use ebb::{EbbRef, platform::Clock};
use spin::mutex::SpinMutex as Mutex;
use virtio_drivers::{
    Hal,
    transport::{DeviceType, Transport},
};

use crate::{
    bus, device,
    queue::{Broken, Guarded, Lent, Span},
    transport::{Machine, Queues},
};

/// virtio's number for entropy devices.
const ENTROPY: u16 = 4;
/// Descriptors of the queue.
pub const QUEUE: usize = 8;
/// Bytes of a seed.
const SEED: usize = 32;
/// A device that gives a little at a time is asked so often.
const TRIES: u32 = 64;

/// A seed.
pub type Seed = [u8; SEED];

/// A device that is asked for a seed.
pub struct Device<H: Hal, T> {
    transport: T,
    queue: Guarded<H, (), QUEUE>,
    /// What the device writes to: never freed while it may.
    buffer: NonNull<Seed>,
    seed: Seed,
    has: usize,
    tries: u32,
}

// SAFETY: the buffer belongs to this alone, and to the device.
unsafe impl<H: Hal, T: Send> Send for Device<H, T> {}

impl<H: Hal, T: Transport> Device<H, T> {
    /// Sets a device up that was just reset, and asks it.
    pub fn new(mut transport: T) -> Option<Self> {
        device::agree(&mut transport, 0).ok()?;
        let queue = Guarded::new(&mut transport, 0).ok()?;
        device::start(&mut transport);
        let mut this = Self {
            transport,
            queue,
            buffer: NonNull::from(Box::leak(Box::new([0; SEED]))),
            seed: [0; SEED],
            has: 0,
            tries: 0,
        };
        this.queue.want_no_interrupt();
        this.ask().then_some(this)
    }

    fn ask(&mut self) -> bool {
        self.tries += 1;
        let span = Span {
            start: self.buffer.cast(),
            length: SEED,
        };
        let lent = Lent {
            read: [None, None],
            write: [Some(span), None],
        };
        // SAFETY: the buffer is never freed, and read only when it has come back.
        let added = unsafe { self.queue.add(lent, ()) }.is_ok();
        if added {
            self.queue.notify(&mut self.transport);
        }
        added && self.tries <= TRIES
    }

    /// The seed, once it is whole.
    ///
    /// # Errors
    /// When there will be none.
    pub fn take(&mut self) -> Result<Option<Seed>, Broken> {
        let Some(((), length)) = self.queue.pop()? else {
            return Ok(None);
        };
        // SAFETY: the device has given it back.
        let bytes = unsafe { self.buffer.read_volatile() };
        // The device may say what it likes; the buffer is as long as it is.
        let count = (length as usize).min(SEED - self.has);
        self.seed[self.has..self.has + count].copy_from_slice(&bytes[..count]);
        self.has += count;
        if self.has == SEED {
            return Ok(Some(self.seed));
        }
        if self.ask() { Ok(None) } else { Err(Broken) }
    }
}

enum State {
    Unasked,
    Asked(Box<Device<Machine, Queues>>),
    Known(Seed),
    /// There is no device, or none that answers.
    None,
}

static STATE: Mutex<State> = Mutex::new(State::Unasked);

/// The seed that the machine's entropy device has given. The first call asks it; calls wait for its answer at most `wait_ns`.
/// `None` when there is no answer, yet or at all.
pub fn seed(wait_ns: u64) -> Option<Seed> {
    let mut state = STATE.lock();
    if let State::Unasked = *state {
        let device = bus::find(ENTROPY).find_map(|at| {
            let registers = bus::Transport::new(at).ok()?;
            registers.no_config_vector();
            Device::new(Queues::without_interrupt(
                registers,
                DeviceType::EntropySource,
            ))
        });
        *state = device.map_or(State::None, |device| State::Asked(Box::new(device)));
    }
    let clock = EbbRef::<dyn Clock>::get();
    let begun_ns = clock.now_ns();
    loop {
        match &mut *state {
            State::Known(seed) => return Some(*seed),
            State::None | State::Unasked => return None,
            State::Asked(device) => match device.take() {
                Ok(Some(seed)) => *state = State::Known(seed),
                Err(Broken) => *state = State::None,
                Ok(None) if clock.now_ns() - begun_ns >= wait_ns => return None,
                Ok(None) => core::hint::spin_loop(),
            },
        }
    }
}
