//! What the handles of a store and its writer share.

use alloc::{collections::VecDeque, sync::Arc, vec::Vec};
use core::task::Waker;

use ebb::sync::oneshot;
use ebb_block::BlockDevice;
use spin::mutex::SpinMutex as Mutex;

use crate::{Batch, Error, index::Index, open::Damage};

/// A batch that waits to be committed.
pub struct Queued {
    pub batch: Batch,
    pub done: oneshot::Sender<Result<(), Error>>,
}

pub struct Inner {
    pub index: Index,
    pub queue: VecDeque<Queued>,
    /// Wakes the writer.
    pub writer: Option<Waker>,
    pub closing: Option<oneshot::Sender<Result<(), Error>>>,
    pub closed: bool,
    pub damage: Vec<Damage>,
    /// Tidying did not help last time; it is tried again after a commit.
    pub tidy_failed: bool,
    /// Bytes of log.
    pub used: u64,
    /// Groups committed.
    pub commits: u64,
}

pub struct Shared {
    pub device: Arc<dyn BlockDevice>,
    /// Most bytes that may count.
    pub limit: u64,
    /// Never held across an await.
    pub inner: Mutex<Inner>,
}
