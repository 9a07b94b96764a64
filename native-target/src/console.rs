//! The console: COM1, written with polling, read by interrupt.
//!
//! What must hold: the UART is driven under its lock. A core that reports the end of the image
//! waits for the lock only so long, because its holder may have been stopped.

use crate::uart::Uart;
use crate::{cpu, io_apic};
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, Ordering};
use spin::mutex::{SpinMutex as Mutex, SpinMutexGuard as Guard};
const COM1: u16 = 0x3f8;

static UART: Mutex<Option<Uart>> = Mutex::new(None);

/// Takes a lock, but gives up after a while (`None`).
pub fn patiently<T>(lock: &Mutex<T>) -> Option<Guard<'_, T>> {
    for _ in 0..50_000_000u32 {
        if let Some(guard) = lock.try_lock() {
            return Some(guard);
        }
        core::hint::spin_loop();
    }
    None
}

/// Takes the console from cores that were stopped while they used it.
///
/// # Safety
/// No other core runs, or comes back to what it did; and what this core did itself is over.
pub unsafe fn seize() {
    // SAFETY: the caller's promise: whoever holds a lock will not use what it guards again. The
    // UART is a few ports, the ring a few numbers that may lose a byte.
    unsafe {
        UART.force_unlock();
        RECEIVED.force_unlock();
    }
}

/// Sets the UART up; without one, output is lost and input never comes.
pub fn init() {
    let mut uart = UART.lock();
    let mut ring = RECEIVED.lock();
    // SAFETY: COM1's ports belong to this driver alone.
    *uart = unsafe { Uart::new(COM1, |byte| ring.push(byte)) };
}

/// Writes bytes as they are.
pub fn write(bytes: &[u8]) {
    let Some(mut guard) = patiently(&UART) else {
        return;
    };
    let Some(uart) = guard.as_mut() else { return };
    let mut rest = bytes;
    // A UART that nobody drains must not stop the machine.
    let mut patience = 1_000_000u32;
    while !rest.is_empty() && patience > 0 {
        match uart.send(rest) {
            0 => patience -= 1,
            n => {
                rest = &rest[n..];
                patience = 1_000_000;
            }
        }
    }
}

/// Takes what has arrived, without waiting.
pub fn read(buffer: &mut [u8]) -> usize {
    let mut guard = UART.lock();
    let Some(uart) = guard.as_mut() else { return 0 };
    let mut ring = RECEIVED.lock();
    let full = ring.is_full();
    let mut n = 0;
    while n < buffer.len() {
        let Some(byte) = ring.pop().or_else(|| uart.receive()) else {
            break;
        };
        buffer[n] = byte;
        n += 1;
    }
    if full && n > 0 && LISTENING.load(Ordering::Relaxed) {
        uart.interrupt(true);
    }
    n
}

/// What the interrupt handler took out of the UART's 16 bytes.
struct Ring {
    bytes: [u8; 1024],
    start: usize,
    len: usize,
}

static RECEIVED: Mutex<Ring> = Mutex::new(Ring {
    bytes: [0; 1024],
    start: 0,
    len: 0,
});

/// Whether the UART may interrupt.
static LISTENING: AtomicBool = AtomicBool::new(false);

impl Ring {
    fn is_full(&self) -> bool {
        self.len == self.bytes.len()
    }

    /// Adds a byte, for which there must be room; says whether there is still some.
    fn push(&mut self, byte: u8) -> bool {
        let end = (self.start + self.len) % self.bytes.len();
        self.bytes[end] = byte;
        self.len += 1;
        !self.is_full()
    }

    fn pop(&mut self) -> Option<u8> {
        (self.len > 0).then(|| {
            let byte = self.bytes[self.start];
            self.start = (self.start + 1) % self.bytes.len();
            self.len -= 1;
            byte
        })
    }
}

/// Lets the UART interrupt core 0 when something arrives. Without the interrupt, input waits in
/// the UART until somebody reads.
pub fn listen(core: &'static cpu::CpuBlock) {
    if io_apic::bind(4, core, |_| receive(), 0).is_some()
        && let Some(uart) = UART.lock().as_mut()
    {
        LISTENING.store(true, Ordering::Relaxed);
        uart.interrupt(!RECEIVED.lock().is_full());
    }
}

fn receive() {
    let mut guard = UART.lock();
    let Some(uart) = guard.as_mut() else { return };
    let mut ring = RECEIVED.lock();
    uart.acknowledge();
    while !ring.is_full() {
        let Some(byte) = uart.receive() else { return };
        ring.push(byte);
    }
    // Nobody reads: the rest waits in the UART, and the sender with it.
    uart.interrupt(false);
}

/// Formats to the console.
pub struct Out;

impl Write for Out {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        write(s.as_bytes());
        Ok(())
    }
}

/// Prints a line to the console.
#[macro_export]
macro_rules! say {
    ($($arg:tt)*) => {{
        let _ = core::fmt::Write::write_fmt(&mut $crate::console::Out, format_args!("{}\n", format_args!($($arg)*)));
    }};
}
