//! What a node serves: the table from names to the functions that run methods.

use alloc::{boxed::Box, collections::BTreeMap, rc::Rc};
use core::{
    pin::Pin,
    task::{Context, Poll, Waker},
};

use ebb_runtime::{EbbRef, ebb};
use spin::Mutex;

use crate::{
    connection::ItemError,
    frame::{Payload, Status},
};

/// A method that runs.
pub type Answering = Pin<Box<dyn Future<Output = Result<Payload, Status>>>>;

/// What takes the items of an answer.
pub trait TakeItems {
    /// Takes one.
    ///
    /// # Errors
    /// [`ItemError::Full`]: the waker is woken when there is room.
    fn take(&self, item: Payload, waker: &Waker) -> Result<(), ItemError>;
}

/// What gives the items of a call.
pub trait GiveItems {
    /// The next one; `Ok(None)` after the last.
    ///
    /// # Errors
    /// [`ItemError::Over`]: the caller is gone, or stopped without an end.
    fn poll_item(&self, cx: &mut Context<'_>) -> Poll<Result<Option<Payload>, ItemError>>;
}

/// A call of an Ebb of this node.
pub struct Incoming {
    /// Hash of the method's name and signature.
    pub method: u64,
    /// The arguments.
    pub payload: Payload,
    /// Where items go, if the caller expects any.
    pub items: Option<Rc<dyn TakeItems>>,
    /// Where items come from, if the caller gives any.
    pub given: Option<Rc<dyn GiveItems>>,
}

/// Runs a method; `None` when there is none of this hash.
pub type Dispatch = fn(Incoming) -> Option<Answering>;

/// All that the node serves, for all cores.
#[ebb(shared)]
#[derive(Default)]
struct Services {
    dispatch: Mutex<BTreeMap<u64, Dispatch>>,
}

/// Serves an Ebb on this node.
pub fn serve(ebb: u64, dispatch: Dispatch) {
    EbbRef::<Services>::get()
        .dispatch
        .lock()
        .insert(ebb, dispatch);
}

/// Serves it no longer: further calls are `Gone`. What runs goes on.
pub fn withdraw(ebb: u64) {
    EbbRef::<Services>::get().dispatch.lock().remove(&ebb);
}

/// Starts to work on a call.
///
/// # Errors
/// What its caller is told.
pub fn start(ebb: u64, call: Incoming) -> Result<Answering, Status> {
    let dispatch = EbbRef::<Services>::get()
        .dispatch
        .lock()
        .get(&ebb)
        .copied()
        .ok_or(Status::Gone)?;
    dispatch(call).ok_or(Status::Version)
}
