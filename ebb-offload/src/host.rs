//! The seam to what has files: the component [`Host`]. `ebb-offload-hosted` provides it on Linux; an image has none.

use alloc::{boxed::Box, string::String, sync::Arc, vec::Vec};
use core::{net::IpAddr, pin::Pin};

use ebb_runtime::{component, provides};

use crate::wire::{FileError, LookupError, Metadata, Page, Part};

/// An answer that comes later; the core that asks does not wait.
pub type Pending<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// A directory that is shared. No path leads out of it.
pub trait Root: Send + Sync {
    /// What is known of a file or a directory.
    fn metadata(&self, path: String) -> Pending<Metadata, FileError>;
    /// Bytes of a regular file from an offset on, at most so many.
    fn read(&self, path: String, offset: u64, length: u32) -> Pending<Part, FileError>;
    /// Entries of a directory of names after this one.
    fn list(&self, path: String, after: String) -> Pending<Page, FileError>;
}

/// The Linux that this program runs on.
#[component(replaceable)]
pub trait Host {
    /// Opens a directory to share it.
    ///
    /// # Errors
    /// Why that cannot be, in words for people.
    fn open_root(&self, path: &str) -> Result<Arc<dyn Root>, String>;
    /// A variable of the environment.
    fn variable(&self, name: &str) -> Option<String>;
    /// The addresses of a name.
    fn lookup(&self, name: String) -> Pending<Vec<IpAddr>, LookupError>;
}

/// Where nothing provides the component.
struct Nobody;

const NOBODY: &str = "this program has no files to share: it has to run as a Linux process, and to name what opens them, as \
     `#[ebb::main(hosted = ebb_offload_hosted)]`";

#[provides(Host, default, instance = &Nobody)]
impl Host for Nobody {
    fn open_root(&self, _: &str) -> Result<Arc<dyn Root>, String> {
        Err(NOBODY.into())
    }

    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    fn lookup(&self, _: String) -> Pending<Vec<IpAddr>, LookupError> {
        Box::pin(core::future::ready(Err(LookupError::NotShared)))
    }
}
