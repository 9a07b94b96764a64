//! The platform seam: what the runtime needs from whatever it runs on.
//!
//! Each trait is a component: exactly one crate in a program provides it (`native-target` or
//! `ebb-hosted`, or an application that brings its own), and calls go straight to that crate. A
//! component that nobody uses needs no provider.

use alloc::boxed::Box;
use core::any::Any;

use crate::{CoreId, component};

/// Time, in nanoseconds.
#[component(replaceable)]
pub trait Clock {
    /// Nanoseconds since the machine started. Monotonic, the same on all cores.
    fn now_ns(&self) -> u64;
    /// Nanoseconds since 1970-01-01 00:00 UTC.
    fn unix_time_ns(&self) -> u64;
}

/// Sleeping and waking of cores. The runtime is the only caller.
#[component]
pub trait Cores {
    /// Ends a [`park`](Cores::park) of that core, or makes its next one return at once. Called from
    /// any thread; `token` is the one that the machine's maker gave for the core.
    fn wake(&self, token: usize);
    /// Sleeps until woken, an interrupt or I/O readiness arrives, or the clock reaches `deadline_ns`.
    /// May return early. Called by the core itself, between events.
    fn park(&self, token: usize, deadline_ns: Option<u64>);
    /// Lets pending interrupts and I/O readiness in, without waiting. Called often.
    fn poll(&self, token: usize);
}

/// Where messages for people go.
#[component(replaceable)]
pub trait Console {
    /// Writes all of `bytes`. Never fails: a console that is gone swallows them.
    fn write(&self, bytes: &[u8]);
    /// Takes what was typed, at most `buffer.len()` bytes, without waiting. 0 when there is none.
    fn read(&self, buffer: &mut [u8]) -> usize;
    /// Says a line about the run to whoever started the program, apart from what the program prints where that is possible:
    /// the runner shows it on its standard error.
    fn note(&self, line: &str) {
        self.write(line.as_bytes());
        self.write(b"\n");
    }
    /// As [`note`](Console::note), for lines that only tell how the run goes: a quiet run (`EBB_QUIET=1`) is without them.
    fn inform(&self, line: &str) {
        self.note(line);
    }
    /// Asks whoever types to hand on every key as it is, or (false) whole lines. Nobody need heed it.
    fn pass_keys(&self, every_key: bool) {
        let _ = every_key;
    }
    /// Asks whoever types to say how large the window is, now and whenever it changes, among the keys: `CSI 48;ROWS;COLUMNS;HEIGHT;WIDTH
    /// t`, as terminals themselves do in their mode 2048. Nobody need heed it.
    fn pass_sizes(&self) {}
}

/// The end of the program.
#[component(replaceable)]
pub trait Power {
    /// Ends the machine with an exit status, at once. Status 0 is success.
    fn exit(&self, status: i32) -> !;
}

/// Randomness fit for keys.
#[component(replaceable)]
pub trait Entropy {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]);
}

/// What the program was started with.
#[component(replaceable)]
pub trait Environment {
    /// The application's arguments, without a program name.
    fn arguments(&self) -> &'static [&'static str];
    /// The value of a platform option (`EBB_OPTIONS`, or the kernel command line), if given.
    fn option(&self, name: &str) -> Option<&'static str>;
    /// The boot archive that the program was started with: pages that never change, beginning on a page. Empty when there
    /// is none.
    fn archive(&self) -> &'static [u8];
    /// Bytes of memory that the program may use in all, where the platform knows.
    fn memory_bytes(&self) -> Option<u64> {
        None
    }
    /// Bytes of memory that nothing uses now and that lie together in pieces of 2 MiB or more, so that a small allocation finds
    /// room whatever lies between the pieces. `None` where the platform does not know.
    fn spare_memory_bytes(&self) -> Option<u64> {
        None
    }
}

/// An option that an application or a component reads with [`Environment::option`]; made by
/// [`option!`](crate::option!).
pub struct OptionSpec {
    /// Its name.
    pub name: &'static str,
    /// What it takes, in words, for messages.
    pub takes: &'static str,
    /// Whether it takes a value.
    pub accepts: fn(&str) -> bool,
}

/// Whether a command line can name an option so.
#[doc(hidden)]
pub const fn is_option_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if !bytes[at].is_ascii_graphic() || matches!(bytes[at], b'=' | b'"' | b'\'') {
            return false;
        }
        at += 1;
    }
    !bytes.is_empty()
}

/// Declares an option: its name, what it takes in words, and which values that is. A program that is
/// started with an option that nobody declares, or with a value that its option does not
/// take, ends before `main` with status 78 and a message that says what would be right.
///
/// ```
/// ebb_runtime::option!("trace", "0 or 1", |value| matches!(value, "0" | "1"));
/// ```
#[macro_export]
macro_rules! option {
    ($name:expr, $takes:expr, $accepts:expr $(,)?) => {
        const _: () = {
            ::core::assert!(
                $crate::platform::is_option_name($name),
                "an option is given as NAME=VALUE, so its name is one word without `=` and quotes"
            );
            // The linker gathers the section, see `options::declared`.
            #[used]
            #[unsafe(link_section = "ebb_options")]
            static __EBB_OPTION: $crate::platform::OptionSpec = $crate::platform::OptionSpec {
                name: $name,
                takes: $takes,
                accepts: $accepts,
            };
        };
    };
}

/// Unwinding, where it exists.
#[component]
pub trait Unwind {
    /// Calls `f`. A panic that leaves it comes back as an error; without unwinding a panic has
    /// stopped the machine before that.
    fn catch(&self, f: &mut dyn FnMut()) -> Result<(), Box<dyn Any + Send>>;
}

/// The CPU's vector registers.
///
/// Compiled code uses SSE2, which every 64-bit CPU has, and may do so at any time. Libraries that ask the CPU what it has (ciphers,
/// mostly) go on to AVX and more, where an image may still have the state of the Linux program that ran last.
#[component]
pub trait VectorRegisters {
    /// Makes all of the registers free for use, until this event ends or enters a guest. Cheap when they are: a few instructions.
    fn claim(&self);
}

/// Devices on the machine's bus. Only native platforms provide it.
#[component]
pub trait Hardware {
    /// Bytes of ordinary memory that the machine has.
    fn memory_bytes(&self) -> u64;
    /// Every PCI function that was found.
    fn pci_functions(&self) -> &'static [PciFunction];
    /// Reads an aligned 32-bit register of a function's configuration space.
    fn pci_read(&self, function: PciAddress, offset: u16) -> u32;
    /// Writes an aligned 32-bit register of a function's configuration space.
    fn pci_write(&self, function: PciAddress, offset: u16, value: u32);
    /// Maps `length` bytes of device memory at a physical address, uncached. The mapping lasts as
    /// long as the machine. `None` when there is no room or the range is memory.
    fn map_device(&self, physical: u64, length: usize) -> Option<core::ptr::NonNull<u8>>;
    /// The physical address of a byte of ordinary memory (heap, frames, statics).
    fn physical_address(&self, virtual_address: *const u8) -> u64;
    /// The linear-map address of a physical address of ordinary memory.
    fn virtual_address(&self, physical: u64) -> *mut u8;
    /// Allocates an interrupt vector on a core; whenever it arrives, `handler(argument)` runs there
    /// with interrupts off, outside any event. It may only record and wake tasks. `None` when the
    /// core has no vector left.
    fn bind_interrupt(
        &self,
        core: CoreId,
        handler: fn(usize),
        argument: usize,
    ) -> Option<MsiMessage>;
    /// Every virtio device that the machine's monitor names by its address, in its order.
    fn virtio_mmio(&self) -> &'static [MmioDevice];
    /// Has an interrupt line call `handler(argument)` on a core, each time that it is raised; as in `bind_interrupt`. The
    /// handler must take away every reason that the device has to raise it. False when there is no such line, it is
    /// bound already, or the core has no vector left.
    fn bind_line(&self, line: u32, core: CoreId, handler: fn(usize), argument: usize) -> bool;
}

/// Where a device is that is on no bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MmioDevice {
    /// Physical address of its registers.
    pub address: u64,
    /// Bytes of its registers.
    pub length: u64,
    /// Its interrupt line.
    pub line: u32,
}

/// Bus, device and function numbers of a PCI function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PciAddress {
    /// Bus, 0 to 255.
    pub bus: u8,
    /// Device, 0 to 31.
    pub device: u8,
    /// Function, 0 to 7.
    pub function: u8,
}

/// A PCI function that enumeration found.
#[derive(Clone, Copy, Debug)]
pub struct PciFunction {
    /// Where it is.
    pub address: PciAddress,
    /// Vendor number.
    pub vendor: u16,
    /// Device number.
    pub device: u16,
    /// Class, subclass, programming interface, revision: the register at offset 8.
    pub class: u32,
}

/// What a device writes where to raise an interrupt: an MSI or MSI-X entry.
#[derive(Clone, Copy, Debug)]
pub struct MsiMessage {
    /// Message address.
    pub address: u64,
    /// Message data.
    pub data: u32,
}
