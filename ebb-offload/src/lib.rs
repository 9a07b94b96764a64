#![no_std]
//! What an image asks of the Linux of its front end: files, environment, wall clock, addresses of names.
//!
//! Two distributed Ebbs, [`Files`] and [`FrontEnd`]. The front end, a Linux process, says what it [shares](Share); an image
//! calls it there:
//!
//! ```no_run
//! use ebb_distributed::{NodeId, RemoteRef};
//! use ebb_offload::Files;
//! use ebb_runtime::EbbRef;
//!
//! # async fn read() -> Result<(), ebb_offload::Error> {
//! let files = EbbRef::<Files>::new().at(NodeId(0));
//! let text = files.read_all("notes/today.txt", 1 << 20).await?;
//! # Ok(())
//! # }
//! ```
//!
//! What must hold: nothing outside of the shared directory is read, whatever a path or a symbolic link says; a caller costs the
//! front end a bounded amount; nothing is kept for it between two calls, so one that dies leaves nothing.

extern crate alloc;
// The macros name everything through `::ebb`.
extern crate ebb_runtime as ebb;

mod files;
mod front_end;
pub mod host;
mod reading;
mod share;
mod wire;

pub use crate::{
    files::{Files, FilesAt},
    front_end::{FrontEnd, FrontEndAt},
    reading::{Error, Reader},
    share::Share,
    wire::{Entry, FileError, Kind, LONGEST_PART, LookupError, Metadata, PAGE, Page, Part},
};
