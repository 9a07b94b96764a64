//! A program: its main task, its arguments and its end.

use core::{
    fmt::{self, Display},
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll},
};

use crate::{EbbRef, event, machine::Machine, per_core::Part, platform::Environment};

/// What `main` may return, as an exit status. 0 is success.
#[diagnostic::on_unimplemented(
    message = "`main` returns `{Self}`, which is no exit status",
    label = "not an exit status",
    note = "`main` returns `()`, a `u8`, or a `Result` of one of them whose error is `Display`"
)]
pub trait Termination {
    /// The exit status; says on the console what went wrong, if something did.
    fn report(self) -> i32;
}

impl Termination for () {
    fn report(self) -> i32 {
        0
    }
}

/// An exit status.
impl Termination for u8 {
    fn report(self) -> i32 {
        i32::from(self)
    }
}

/// An error is said in its own words, as its `Display` has them: they are for whoever started the program.
impl<T: Termination, E: Display> Termination for Result<T, E> {
    fn report(self) -> i32 {
        match self {
            Ok(value) => value.report(),
            Err(error) => {
                crate::println!("Error: {error}");
                1
            }
        }
    }
}

/// The status of a program whose main task panicked; the one that Rust programs have.
pub const PANIC_STATUS: i32 = 101;

/// Used by `#[main]`: spawns the main task, and the one that ends the machine after it.
#[doc(hidden)]
pub fn run_main<F: Future<Output: Termination> + 'static>(main: F) {
    let main = event::spawn(main);
    event::spawn(async move {
        let status = match main.await {
            Ok(result) => result.report(),
            Err(_) => PANIC_STATUS,
        };
        Machine::current().stop(status);
    });
}

/// Ends the program with an exit status, 0 for success. Tasks are dropped on every core; the current
/// event is the last that this core runs.
///
/// # Panics
/// On a thread that is not a core.
pub fn exit(status: u8) {
    Machine::current().stop(i32::from(status));
}

/// Waits until the program is asked to end (Ctrl-C, a power button), so that it can finish what it has
/// begun and then [`exit`] or return from main. While nobody waits for it, being asked ends the
/// program at once; so does being asked a second time.
///
/// # Panics
/// On a thread that is not a core.
pub fn shutdown() -> Shutdown {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    Shutdown {
        number: NUMBER.fetch_add(1, Ordering::Relaxed),
        machine: Machine::current(),
    }
}

/// See [`shutdown`].
#[must_use = "futures do nothing until awaited"]
pub struct Shutdown {
    number: u64,
    machine: &'static Machine,
}

impl Future for Shutdown {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let request = &self.machine.shutdown;
        // The flag is set before the list is taken, so a waker put in now is not overlooked.
        let old = request
            .waiting
            .lock()
            .insert(self.number, cx.waker().clone());
        drop(old);
        if request.asked.load(Ordering::Acquire) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

impl Drop for Shutdown {
    fn drop(&mut self) {
        let waker = self.machine.shutdown.waiting.lock().remove(&self.number);
        drop(waker);
    }
}

impl fmt::Debug for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shutdown")
    }
}

/// The program's arguments, without a name of the program.
#[must_use]
pub fn args() -> &'static [&'static str] {
    EbbRef::<dyn Environment>::get().arguments()
}

/// Bytes of memory that the program may use in all: an image's heap, what a process's host or control group has. `None`
/// where the platform does not know.
#[must_use]
pub fn memory_bytes() -> Option<u64> {
    EbbRef::<dyn Environment>::get().memory_bytes()
}

/// Bytes of memory that nothing uses now and that lie together in pieces of 2 MiB or more. A program that keeps some of them
/// free never comes to an allocation that fails, which would end a machine. `None` where the platform does not know: a process
/// gets what it asks for, and its system decides later.
#[must_use]
pub fn spare_memory_bytes() -> Option<u64> {
    EbbRef::<dyn Environment>::get().spare_memory_bytes()
}
