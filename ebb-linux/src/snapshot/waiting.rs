//! What a thread that waits is written down as.

use crate::object::arena::wrong;
use crate::state::futex::Key;
use crate::state::thread::{AnyOf, Inheriting, Remainder, Waiting, Work};
use borsh::{BorshDeserialize, BorshSerialize, io};

#[derive(BorshSerialize, BorshDeserialize)]
pub(super) struct StoredWaiting {
    deadline: Option<u64>,
    woken: bool,
    futex: Option<Key>,
    inheriting: Option<Inheriting>,
    any_of: Option<AnyOf>,
    begun: bool,
    remainder: Option<Remainder>,
    progress: usize,
    messages: u64,
    until: Option<u64>,
    restore_mask: Option<u64>,
    work: Option<Work>,
    network: bool,
}

impl StoredWaiting {
    pub(super) fn of(waiting: &Waiting) -> io::Result<Self> {
        // `Snapshot::capture` refuses the other ways to wait for something by name, or writing the objects does.
        if waiting.semaphores.is_some() || waiting.record.is_some() || waiting.child.is_some() {
            return Err(wrong(
                "a thread that waits for a semaphore, a lock or a child",
            ));
        }
        Ok(Self {
            deadline: waiting.deadline,
            woken: waiting.woken,
            futex: waiting.futex,
            inheriting: waiting.inheriting,
            any_of: waiting.any_of.clone(),
            begun: waiting.begun,
            remainder: waiting.remainder,
            progress: waiting.progress,
            messages: waiting.messages,
            until: waiting.until,
            restore_mask: waiting.restore_mask,
            work: waiting.work,
            network: waiting.network,
        })
    }

    pub(super) fn restore(self) -> Waiting {
        Waiting {
            deadline: self.deadline,
            woken: self.woken,
            futex: self.futex,
            inheriting: self.inheriting,
            any_of: self.any_of,
            begun: self.begun,
            remainder: self.remainder,
            progress: self.progress,
            messages: self.messages,
            until: self.until,
            restore_mask: self.restore_mask,
            work: self.work,
            network: self.network,
            ..Waiting::default()
        }
    }
}
