//! The console: COM1, written with polling, read by interrupt.
//!
//! What must hold: the UART is driven by one core at a time ([`Outlet`]); the others leave it what they print. A core that
//! reports the end of the image waits only so long, because the one at the UART may have been stopped.

use crate::uart::Uart;
use crate::{cpu, io_apic};
use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, Ordering};
use ebb_runtime::sync::outlet::{Device, Outlet};
use spin::mutex::{SpinMutex as Mutex, SpinMutexGuard as Guard};

const COM1: u16 = 0x3f8;

/// Bytes that may be left to the core that is writing: some tens of lines.
const LEFT: usize = 4096;

/// COM1, if it is there.
struct Line(Option<Uart>);

static UART: Outlet<Line, LEFT> = Outlet::new(Line(None));

impl Device for Line {
    fn send(&mut self, bytes: &[u8]) {
        let Some(uart) = &mut self.0 else { return };
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
}

/// Turns of a loop that waits for a core which may have been stopped.
const PATIENCE: u32 = 50_000_000;

/// Takes a lock, but gives up after a while (`None`).
pub fn patiently<T>(lock: &Mutex<T>) -> Option<Guard<'_, T>> {
    for _ in 0..PATIENCE {
        // By reading: each attempt would take the line from whoever holds the lock.
        if !lock.is_locked()
            && let Some(guard) = lock.try_lock()
        {
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
        UART.seize();
        RECEIVED.force_unlock();
    }
}

/// Sets the UART up; without one, output is lost and input never comes.
pub fn init() {
    UART.with(|Line(uart)| {
        let mut ring = RECEIVED.lock();
        // SAFETY: COM1's ports belong to this driver alone.
        *uart = unsafe { Uart::new(COM1, |byte| ring.push(byte)) };
    });
}

/// Writes bytes as they are; another core that is writing may do that a little later.
pub fn write(bytes: &[u8]) {
    UART.write(bytes, PATIENCE);
}

/// Returns when what was written is out.
pub fn flush() {
    UART.flush(PATIENCE);
}

/// Takes what has arrived, without waiting.
pub fn read(buffer: &mut [u8]) -> usize {
    UART.with(|Line(uart)| {
        let Some(uart) = uart else { return 0 };
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
    })
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
    if io_apic::bind(4, core, |_| receive(), 0).is_none() {
        return;
    }
    UART.with(|Line(uart)| {
        if let Some(uart) = uart {
            LISTENING.store(true, Ordering::Relaxed);
            uart.interrupt(!RECEIVED.lock().is_full());
        }
    });
}

fn receive() {
    UART.with(|Line(uart)| {
        let Some(uart) = uart else { return };
        let mut ring = RECEIVED.lock();
        uart.acknowledge();
        while !ring.is_full() {
            let Some(byte) = uart.receive() else { return };
            ring.push(byte);
        }
        // Nobody reads: the rest waits in the UART, and the sender with it.
        uart.interrupt(false);
    });
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
