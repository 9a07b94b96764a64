//! A slow device that all cores write to, such as a serial line: whoever finds another core at it leaves its bytes to that one
//! and goes on, so no core waits while another one's bytes go out.
//!
//! What must hold:
//! - Messages are sent whole, those of one core in their order.
//! - What was left is sent: a core that leaves bytes tries the device once more, and one that lets go of the device then looks for
//!   what was left. Both looks at what is left are under its lock, so one of the two cores sees the other.
//! - At most `N` bytes are left; whoever has more waits for the device, by reading.
//!
//! The core at the device sends for others as long as they leave something: no more than the device takes, since each of them can
//! only leave what fits.

use spin::mutex::SpinMutex;

/// What sends.
pub trait Device {
    /// Sends the bytes, and returns when they are sent or cannot be.
    fn send(&mut self, bytes: &[u8]);
}

/// See the module.
pub struct Outlet<D, const N: usize> {
    device: SpinMutex<D>,
    left: SpinMutex<Left<N>>,
}

/// Bytes that were left, a ring.
struct Left<const N: usize> {
    bytes: [u8; N],
    start: usize,
    len: usize,
}

impl<const N: usize> Left<N> {
    /// Adds all of it or nothing.
    fn push(&mut self, bytes: &[u8]) -> bool {
        if bytes.len() > N - self.len {
            return false;
        }
        let end = (self.start + self.len) % N;
        let (first, second) = bytes.split_at(bytes.len().min(N - end));
        self.bytes[end..end + first.len()].copy_from_slice(first);
        self.bytes[..second.len()].copy_from_slice(second);
        self.len += bytes.len();
        true
    }

    /// Takes the first of them, at most as many as `out` has room for.
    fn pop(&mut self, out: &mut [u8]) -> usize {
        let count = self.len.min(out.len()).min(N - self.start);
        out[..count].copy_from_slice(&self.bytes[self.start..self.start + count]);
        self.start = (self.start + count) % N;
        self.len -= count;
        count
    }
}

impl<D: Device, const N: usize> Outlet<D, N> {
    /// Before `device`.
    pub const fn new(device: D) -> Self {
        Self {
            device: SpinMutex::new(device),
            left: SpinMutex::new(Left {
                bytes: [0; N],
                start: 0,
                len: 0,
            }),
        }
    }

    /// Sends a message, or leaves it to the core that is sending. Where neither can be after about `patience` turns of a loop, because
    /// that core has stopped, the message is lost.
    pub fn write(&self, message: &[u8], patience: u32) {
        let mut turns = 0;
        while !self.send(message) && !self.left.lock().push(message) {
            if !self.wait(&mut turns, patience) {
                return;
            }
        }
        self.send_left();
    }

    /// Returns when everything that was written is sent, or after about `patience` turns.
    pub fn flush(&self, patience: u32) {
        let mut turns = 0;
        while !self.send(&[]) && self.wait(&mut turns, patience) {}
        self.send_left();
    }

    /// Uses the device, alone. Waits for it.
    pub fn with<R>(&self, f: impl FnOnce(&mut D) -> R) -> R {
        let result = f(&mut self.device.lock());
        self.send_left();
        result
    }

    /// Takes the device from cores that were stopped while they used it.
    ///
    /// # Safety
    /// No other core uses this outlet any more, or comes back to what it did; this core is not within a call of it.
    pub unsafe fn seize(&self) {
        // SAFETY: whoever holds a lock will not use what it guards again. The ring's numbers are kept below `N` by each step,
        // and a half done one loses or repeats bytes.
        unsafe {
            self.device.force_unlock();
            self.left.force_unlock();
        }
    }

    /// Waits for the device. False when it took too long.
    fn wait(&self, turns: &mut u32, patience: u32) -> bool {
        while self.device.is_locked() && *turns < patience {
            *turns += 1;
            core::hint::spin_loop();
        }
        *turns += 1;
        *turns <= patience
    }

    /// Sends what was left and then a message, unless another core is sending.
    fn send(&self, message: &[u8]) -> bool {
        let Some(mut device) = self.device.try_lock() else {
            return false;
        };
        let mut piece = [0; 256];
        loop {
            let count = self.left.lock().pop(&mut piece);
            if count == 0 {
                break;
            }
            device.send(&piece[..count]);
        }
        device.send(message);
        true
    }

    /// Sends what was left, unless another core is sending, which then does that.
    fn send_left(&self) {
        while self.left.lock().len > 0 && self.send(&[]) {}
    }
}

#[cfg(all(test, not(ebb_loom)))]
mod tests {
    use super::*;
    use alloc::{format, vec::Vec};
    use std::string::String;
    use std::thread;

    extern crate std;

    const PATIENCE: u32 = u32::MAX;

    /// Keeps what it was sent, slowly.
    #[derive(Default)]
    struct Slow(Vec<u8>);

    impl Device for Slow {
        fn send(&mut self, bytes: &[u8]) {
            for byte in bytes {
                self.0.push(*byte);
                (0..50).for_each(|_| core::hint::spin_loop());
            }
        }
    }

    fn text<const N: usize>(outlet: &Outlet<Slow, N>) -> String {
        outlet.with(|slow| String::from_utf8(core::mem::take(&mut slow.0)).unwrap())
    }

    #[test]
    fn lines_of_several_cores_come_whole_and_those_of_each_in_order() {
        let outlet = Outlet::<Slow, 100>::new(Slow::default());
        thread::scope(|scope| {
            for core in 0..4 {
                let outlet = &outlet;
                scope.spawn(move || {
                    for line in 0..2_000 {
                        outlet.write(format!("{core} {line}\n").as_bytes(), PATIENCE);
                    }
                });
            }
        });
        // Nothing is left, so nobody has to come and send it.
        assert_eq!(outlet.left.lock().len, 0);
        let text = text(&outlet);
        let mut next = [0; 4];
        for line in text.lines() {
            let (core, number) = line.split_once(' ').unwrap();
            let core: usize = core.parse().unwrap();
            assert_eq!(number.parse(), Ok(next[core]));
            next[core] += 1;
        }
        assert_eq!(next, [2_000; 4]);
    }

    #[test]
    fn what_is_left_behind_a_user_of_the_device_is_sent_when_that_one_goes() {
        let outlet = Outlet::<Slow, 8>::new(Slow::default());
        outlet.with(|slow| {
            outlet.write(b"left ", PATIENCE);
            // No room for this one, and the device is not to be had.
            outlet.write(b"lost", 1_000);
            outlet.flush(1_000);
            assert!(slow.0.is_empty());
        });
        outlet.write(b"longer than what can be left\n", PATIENCE);
        assert_eq!(text(&outlet), "left longer than what can be left\n");
    }

    #[test]
    fn a_core_that_stopped_at_the_device_can_be_followed() {
        let outlet = Outlet::<Slow, 8>::new(Slow::default());
        core::mem::forget(outlet.device.lock());
        outlet.write(b"left ", PATIENCE);
        // SAFETY: nobody else is here, and the lock is not held in any call.
        unsafe { outlet.seize() };
        outlet.write(b"told", PATIENCE);
        assert_eq!(text(&outlet), "left told");
    }
}
