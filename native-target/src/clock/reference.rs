//! The timers that the TSC and the local APIC's timer are measured with: HPET, ACPI timer, PIT.

use super::frequency_source::Source;
use super::tsc;
use crate::{acpi, paging};
use x86_64::instructions::port::Port;

/// The timer that the others are measured with.
#[derive(Clone, Copy, Debug)]
pub enum Reference {
    Hpet { registers: u64, femtoseconds: u64 },
    AcpiTimer { port: u16, wide: bool },
    Pit,
}

impl Reference {
    pub fn find() -> Option<Self> {
        let machine = acpi::get();
        if let Some(address) = machine.hpet
            && let Ok(registers) = paging::map_device(address, 1024)
        {
            let registers = registers as u64;
            // SAFETY: the HPET's registers are mapped uncached; reading its capabilities and setting
            // "enable" disturbs nobody.
            let femtoseconds = unsafe {
                let capabilities = (registers as *const u64).read_volatile();
                let configuration = (registers + 0x10) as *mut u64;
                configuration.write_volatile(configuration.read_volatile() | 1);
                capabilities >> 32
            };
            // The specification's bound: at least 10 MHz.
            if (1..=100_000_000).contains(&femtoseconds) {
                return Some(Self::Hpet {
                    registers,
                    femtoseconds,
                });
            }
        }
        if let Some(port) = machine.pm_timer {
            return Some(Self::AcpiTimer {
                port,
                wide: machine.pm_timer_32,
            });
        }
        Self::start_pit().then_some(Self::Pit)
    }

    /// Lets channel 2 of the PIT count down from 65535 once; false where there is none.
    fn start_pit() -> bool {
        // SAFETY: the PIT's and the speaker gate's ports, which nobody else uses.
        unsafe {
            let mut gate = Port::<u8>::new(0x61);
            let value = gate.read();
            gate.write(value & !2 | 1);
            Port::<u8>::new(0x43).write(0b1011_0000);
            let mut channel = Port::<u8>::new(0x42);
            channel.write(0xff);
            channel.write(0xff);
        }
        let first = Self::Pit.read();
        for _ in 0..10_000 {
            if Self::Pit.read() != first {
                return true;
            }
        }
        false
    }

    pub fn source(self) -> Source {
        match self {
            Self::Hpet { .. } => Source::Hpet,
            Self::AcpiTimer { .. } => Source::AcpiTimer,
            Self::Pit => Source::Pit,
        }
    }

    pub fn read(self) -> u64 {
        match self {
            Self::Hpet { registers, .. } => {
                let counter = (registers + 0xf0) as *const u32;
                // SAFETY: the main counter, mapped uncached; 32 bits are enough and always valid.
                u64::from(unsafe { counter.read_volatile() })
            }
            // SAFETY: reading the timer has no effect.
            Self::AcpiTimer { port, .. } => u64::from(unsafe { Port::<u32>::new(port).read() }),
            // SAFETY: latching and reading channel 2.
            Self::Pit => unsafe {
                Port::<u8>::new(0x43).write(0b1000_0000);
                let mut channel = Port::<u8>::new(0x42);
                let low = channel.read();
                0xffff - (u64::from(low) | u64::from(channel.read()) << 8)
            },
        }
    }

    pub fn mask(self) -> u64 {
        match self {
            Self::Hpet { .. } | Self::AcpiTimer { wide: true, .. } => 0xffff_ffff,
            Self::AcpiTimer { .. } => 0x00ff_ffff,
            Self::Pit => 0xffff,
        }
    }

    /// Nanoseconds of `ticks`.
    pub fn ns(self, ticks: u64) -> u64 {
        let ticks = u128::from(ticks);
        (match self {
            Self::Hpet { femtoseconds, .. } => ticks * u128::from(femtoseconds) / 1_000_000,
            Self::AcpiTimer { .. } => ticks * 1_000_000_000 / 3_579_545,
            Self::Pit => ticks * 1_000_000_000 / 1_193_182,
        }) as u64
    }

    /// The reference and the TSC at one moment: the tightest of a few tries.
    pub fn sample(self) -> Sample {
        let mut best = Sample::default();
        let mut width = u64::MAX;
        for _ in 0..6 {
            let before = tsc();
            let reference = self.read();
            let after = tsc();
            if after - before < width {
                width = after - before;
                best = Sample {
                    reference,
                    tsc: before + width / 2,
                };
            }
        }
        best
    }
}

#[derive(Clone, Copy, Default)]
pub struct Sample {
    pub reference: u64,
    pub tsc: u64,
}
