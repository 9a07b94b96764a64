//! Signals: sending one, delivering it, and its frame on the handler's stack.
//!
//! What must hold: `SIGKILL` and `SIGSTOP` are never blocked or handled; a mask never has their bits.

mod deliver;
mod frame;
pub(crate) mod ready;
mod send;

pub use crate::state::pending::take_process_signals;
pub use deliver::{Interruption, bad_frame, deliver, fault, has_work, interruption, is_due};
pub use frame::restore;
pub use send::{
    Sent, child_info, forget, has_room_of, processor_time, send_noted, send_process, send_thread,
    timer_due, wants_zombies,
};
