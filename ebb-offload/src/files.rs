//! The files of a directory of the front end, to be read.
//!
//! A path is relative to the shared directory and in UTF-8; `.` is the directory itself. Each call names its file anew: there
//! are no handles. [`Metadata::version`] tells whether it is still the same file with the same content.

use alloc::{string::String, sync::Arc};

use ebb_distributed::remote;
use ebb_runtime::ebb;
use spin::Mutex;

use crate::{
    host::Root,
    wire::{FileError, LONGEST_PART, Metadata, Page, Part},
};

/// The files that a front end [shares](crate::Share).
#[ebb(distributed)]
#[derive(Default)]
pub struct Files {
    root: Mutex<Option<Arc<dyn Root>>>,
}

impl Files {
    pub(crate) fn set(&self, root: Arc<dyn Root>) {
        *self.root.lock() = Some(root);
    }

    fn root(&self) -> Result<Arc<dyn Root>, FileError> {
        self.root.lock().clone().ok_or(FileError::NotShared)
    }
}

#[remote(name = "ebb.Files")]
impl Files {
    /// What is known of a file or a directory.
    pub async fn metadata(&self, path: String) -> Result<Metadata, FileError> {
        self.root()?.metadata(path).await
    }

    /// Bytes of a file from an offset on, at most so many and at most [`LONGEST_PART`].
    pub async fn read(&self, path: String, offset: u64, length: u32) -> Result<Part, FileError> {
        let length = length.min(LONGEST_PART);
        self.root()?.read(path, offset, length).await
    }

    /// What is in a directory, of names after this one.
    pub async fn list(&self, path: String, after: String) -> Result<Page, FileError> {
        self.root()?.list(path, after).await
    }
}
