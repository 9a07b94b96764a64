//! The seam below a directory: what keeps its names.

use alloc::{boxed::Box, string::String};
use core::{future::Future, pin::Pin, time::Duration};

use super::types::{Away, Change, Owner, Refusal, Renewal};

/// What a store answers, in time.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// What keeps the names of a directory: the memory of its node ([`Embedded`](super::Embedded)), or something that the directories of several
/// front ends share.
///
/// What must hold, whatever fails: a name has one owner. A lease lasts for at least its length from the moment at which a claim or a
/// renewal was asked for, unless it is released, and is then free in a bounded time. Epochs of a name rise with its claims. A future
/// that is dropped may or may not have done what it was to do.
pub trait NameStore: Send + Sync {
    /// Gives a name to a node, unless somebody has it.
    fn claim(
        &self,
        name: String,
        node: u64,
        value: String,
        lease: Duration,
    ) -> Pending<'_, Result<Owner, Refusal>>;
    /// Lets the lease of a claim last for its whole length again.
    fn renew(&self, name: String, epoch: u64, lease: Duration) -> Pending<'_, Renewal>;
    /// Frees a name, if it still is of this claim. What is not freed so is free when its lease has run out.
    fn release(&self, name: String, epoch: u64) -> Pending<'_, ()>;
    /// Who has a name.
    fn owner(&self, name: String) -> Pending<'_, Result<Option<Owner>, Away>>;
    /// The names with this beginning that there are, and from then on what changes. Of what changes more than once in a short time, or while
    /// the store is away, at least the last is told.
    fn watch(&self, beginning: String) -> Box<dyn Changes>;
}

/// What becomes of the names that somebody watches.
pub trait Changes {
    /// The next change; `None` when there will be no more.
    fn next(&mut self) -> Pending<'_, Option<Change>>;
}
