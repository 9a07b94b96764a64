//! What a thread that waits is written down as.

use crate::object::arena::wrong;
use crate::state::futex::Key;
use crate::state::thread::{AnyOf, Inheriting, Rare, Remainder, Waiting, Work};
use alloc::boxed::Box;
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
        let rare = waiting.rare();
        if rare.semaphores.is_some() || rare.record.is_some() || rare.child.is_some() {
            return Err(wrong(
                "a thread that waits for a semaphore, a lock or a child",
            ));
        }
        Ok(Self {
            deadline: waiting.deadline,
            woken: waiting.woken,
            futex: waiting.futex,
            inheriting: rare.inheriting,
            any_of: rare.any_of.clone(),
            begun: waiting.begun,
            remainder: waiting.remainder,
            progress: waiting.progress,
            messages: waiting.messages,
            until: rare.until,
            restore_mask: waiting.restore_mask,
            work: rare.work,
            network: waiting.network,
        })
    }

    pub(super) fn restore(self) -> Waiting {
        let rare = Rare {
            inheriting: self.inheriting,
            any_of: self.any_of,
            until: self.until,
            work: self.work,
            ..Rare::default()
        };
        Waiting {
            deadline: self.deadline,
            woken: self.woken,
            futex: self.futex,
            begun: self.begun,
            remainder: self.remainder,
            progress: self.progress,
            messages: self.messages,
            restore_mask: self.restore_mask,
            network: self.network,
            rare: Some(Box::new(rare)),
            ..Waiting::default()
        }
    }
}
