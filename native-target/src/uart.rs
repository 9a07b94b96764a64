//! A 16550 (or 16450) UART at an I/O port, without interrupts but that for received bytes.
//!
//! What must hold: input that came before the machine was up is not lost. Switching the FIFO on
//! clears it, so it is switched on only when nothing has come yet; where something has, the UART
//! stays a 16450, which holds one byte and makes the sender wait.
//! Source: National Semiconductor, PC16550D data sheet.

use x86_64::instructions::port::Port;

/// Receiver buffer and transmitter holding register; divisor, low.
const DATA: u16 = 0;
/// Interrupt enable; divisor, high.
const INTERRUPTS: u16 = 1;
/// FIFO control (write), interrupt cause (read).
const FIFO: u16 = 2;
const LINE_CONTROL: u16 = 3;
const MODEM_CONTROL: u16 = 4;
const LINE_STATUS: u16 = 5;
const SCRATCH: u16 = 7;

/// So many looks without a byte are a quiet line: some ten microseconds.
const QUIET: u32 = 100;

const DATA_READY: u8 = 1;
const HOLDING_EMPTY: u8 = 1 << 5;

/// The UART.
pub struct Uart {
    base: u16,
    fifo: bool,
    received: bool,
}

impl Uart {
    /// Sets the UART up: 115200 baud, 8 bits, no parity. Bytes that wait in it go to `early`, which says whether it has room for
    /// more. `None` where there is no UART.
    ///
    /// # Safety
    /// The eight ports from `base` belong to nobody else.
    pub unsafe fn new(base: u16, mut early: impl FnMut(u8) -> bool) -> Option<Self> {
        let mut uart = Self {
            base,
            fifo: false,
            received: false,
        };
        uart.write(SCRATCH, 0x5a);
        if uart.read(SCRATCH) != 0x5a {
            return None;
        }
        uart.write(INTERRUPTS, 0);
        uart.write(LINE_CONTROL, 0x80);
        uart.write(DATA, 1);
        uart.write(INTERRUPTS, 0);
        uart.write(LINE_CONTROL, 3);
        // DTR, RTS, and OUT2, which lets interrupts through.
        uart.write(MODEM_CONTROL, 0x0b);
        let mut room = true;
        let mut quiet = QUIET;
        while room && quiet > 0 {
            if let Some(byte) = uart.receive() {
                room = early(byte);
                quiet = QUIET;
            } else if quiet == QUIET && !uart.received {
                break; // nothing has come, so nothing is on its way
            } else {
                quiet -= 1;
            }
        }
        // Switching the FIFO on clears what is on its way. Where input has come already, more may come at any
        // moment, so there the UART stays as it is.
        uart.fifo = room && !uart.received;
        if uart.fifo {
            // On, both cleared, trigger at 14 bytes.
            uart.write(FIFO, 0xc7);
            // QEMU looks for input again only when the buffer has been read; what has come since then is 0 only if nothing has.
            match uart.read(DATA) {
                0 => {}
                byte => {
                    uart.received = true;
                    early(byte);
                }
            }
        }
        Some(uart)
    }

    fn read(&mut self, register: u16) -> u8 {
        // SAFETY: our port; what reading changes is the callers' business.
        unsafe { Port::new(self.base + register).read() }
    }

    fn write(&mut self, register: u16, value: u8) {
        // SAFETY: our port; the values are what the data sheet allows.
        unsafe { Port::new(self.base + register).write(value) }
    }

    /// A byte that has arrived.
    pub fn receive(&mut self) -> Option<u8> {
        if self.read(LINE_STATUS) & DATA_READY == 0 {
            return None;
        }
        self.received = true;
        Some(self.read(DATA))
    }

    /// Sends the first of `bytes`, as many as fit; 0 while none does.
    pub fn send(&mut self, bytes: &[u8]) -> usize {
        if self.read(LINE_STATUS) & HOLDING_EMPTY == 0 {
            return 0;
        }
        let n = bytes.len().min(if self.fifo { 16 } else { 1 });
        for &byte in &bytes[..n] {
            self.write(DATA, byte);
        }
        n
    }

    /// Whether a received byte interrupts.
    pub fn interrupt(&mut self, on: bool) {
        self.write(INTERRUPTS, u8::from(on));
    }

    /// Acknowledges an interrupt.
    pub fn acknowledge(&mut self) {
        self.read(FIFO);
    }
}
