//! Interest lists of epoll sets, and the ready list that wake-ups feed.

use alloc::collections::{BTreeMap, VecDeque};
use borsh::{BorshDeserialize, BorshSerialize};

use super::Events;
use crate::object::{
    arena::Arena,
    id::{DescId, Fd, Id, QueueId},
};

/// One watched descriptor.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug)]
pub struct Item {
    pub(crate) desc: DescId,
    pub(crate) fd: Fd,
    pub(crate) events: Events,
    pub(crate) data: u64,
    pub(crate) queue: QueueId,
    pub(crate) linked: bool,
    pub(crate) nested: Option<Id<Epoll>>,
}

/// An epoll set.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug)]
pub struct Epoll {
    pub(crate) items: Arena<Item>,
    pub(crate) index: BTreeMap<(DescId, Fd), Id<Item>>,
    pub(crate) ready: VecDeque<Id<Item>>,
    pub(crate) queue: QueueId,
    pub(crate) stamp: u64,
}

impl Epoll {
    /// An empty set; news of it arrive on `queue`.
    pub(crate) const fn new(queue: QueueId) -> Self {
        Self {
            items: Arena::new(),
            index: BTreeMap::new(),
            ready: VecDeque::new(),
            queue,
            stamp: 0,
        }
    }

    /// Marks an item as worth a look, as `ep_poll_callback` does; says whether the set's own
    /// waiters must hear of it.
    pub(crate) fn notify(&mut self, item: Id<Item>, events: Events) -> bool {
        let Some(found) = self.items.get_mut(item) else {
            return false;
        };
        if found.events.difference(Events::MODES).is_empty() || !found.events.intersects(events) {
            return false;
        }
        self.link(item);
        true
    }

    /// Puts an item on the ready list, if it is not there.
    pub(crate) fn link(&mut self, item: Id<Item>) {
        if let Some(found) = self.items.get_mut(item)
            && !core::mem::replace(&mut found.linked, true)
        {
            self.ready.push_back(item);
        }
    }

    pub(crate) fn remove(&mut self, item: Id<Item>) -> Option<Item> {
        let found = self.items.remove(item)?;
        self.index.remove(&(found.desc, found.fd));
        if found.linked {
            self.ready.retain(|&i| i != item);
        }
        Some(found)
    }
}
