//! The console: COM1, written with polling, read by interrupt.
//!
//! What must hold: the UART is driven under its lock. A core that reports the end of the image
//! waits for the lock only so long, because its holder may have been stopped.

use core::fmt::{self, Write};
use spin::mutex::{SpinMutex as Mutex, SpinMutexGuard as Guard};
use uart_16550::{BaudRate, Config, Uart16550, backend::PioBackend};

const COM1: u16 = 0x3f8;

static UART: Mutex<Option<Uart16550<PioBackend>>> = Mutex::new(None);

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

/// Sets the UART up; without one, output is lost and input never comes.
pub fn init() {
    // SAFETY: COM1's ports belong to this driver alone.
    let Ok(mut uart) = (unsafe { Uart16550::new_port(COM1) }) else {
        return;
    };
    if uart
        .init(Config {
            baud_rate: BaudRate::Baud115200,
            ..Config::default()
        })
        .is_ok()
    {
        *UART.lock() = Some(uart);
    }
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
        match uart.send_bytes(rest) {
            0 => patience -= 1,
            n => {
                rest = &rest[n..];
                patience = 1_000_000;
            }
        }
    }
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
