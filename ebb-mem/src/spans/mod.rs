//! What a core allocates from: spans of blocks of one size class, cut from chunks of frames.
//!
//! What must hold: a core's state is used by one thread at a time. Who that is, the layers above decide: a core's own
//! thread finds it in its slot, the others share one under a lock.

mod block;
pub(crate) mod class;
mod core;
pub(crate) mod span;

pub(crate) use self::core::Core;
