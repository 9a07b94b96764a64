//! Devices that one event serves, on the core that opened them, whenever their interrupt says that something has come.
//!
//! What must hold: an interrupt's argument is a waker that is never freed.

use alloc::boxed::Box;
use core::{future::poll_fn, task::Poll};

use atomic_waker::AtomicWaker;

use crate::{
    bus::{Place, Transport},
    registers::Fault,
};

/// What a device has left to be done.
pub struct Served {
    /// It has more, after others.
    pub more: bool,
    /// It broke its protocol.
    pub is_broken: bool,
}

/// Opens a device's registers, and has its interrupt wake what will [`serve`] it.
pub fn open(at: Place) -> Result<(Transport, &'static AtomicWaker), Fault> {
    let registers = Transport::new(at)?;
    let waker: &'static AtomicWaker = Box::leak(Default::default());
    registers.no_config_vector();
    let argument = core::ptr::from_ref(waker).expose_provenance();
    if !registers.bind(0, interrupt, argument) {
        return Err("there is no interrupt for it");
    }
    Ok((registers, waker))
}

/// Runs on the core of the interrupt, outside of any event.
fn interrupt(argument: usize) {
    // SAFETY: `argument` is a waker that `open` leaked.
    let waker: &AtomicWaker = unsafe { &*core::ptr::with_exposed_provenance(argument) };
    waker.wake();
}

/// Serves a device until it breaks its protocol, which is said.
pub fn serve(
    name: &'static str,
    at: Place,
    waker: &'static AtomicWaker,
    mut service: impl FnMut() -> Served + 'static,
) {
    ebb::spawn(poll_fn(move |context| {
        waker.register(context.waker());
        let served = service();
        if served.is_broken {
            ebb::inform!("ebb: the {name} device at {at} broke its protocol and is used no more");
            return Poll::Ready(());
        }
        if served.more {
            // Others first.
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }));
}
