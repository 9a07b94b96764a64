//! Calls on files and directories, by path and by descriptor.

mod attributes;
mod change;
mod content;
mod dir;
mod fdinfo;
mod flags;
mod open;
pub(crate) mod path;
pub(super) mod permission;
pub(super) mod proc;
mod program;
mod stat;

pub use attributes::{AttributeFlags, Named};
pub use change::{RenameFlags, SetTime};
pub use dir::Entries;
pub use open::{Opened, PendingFifo};
pub use path::Resolve;
pub use program::Executable;
