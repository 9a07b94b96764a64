//! The lists of tasks that a core keeps, linked through the tasks' headers. Only the home core touches them.

use core::cell::Cell;

use super::TaskPtr;

/// The run queue: first in, first out, linked through `next`. Queued tasks keep the executor's
/// reference until they are popped.
#[derive(Default)]
pub(crate) struct RunQueue {
    head: Cell<Option<TaskPtr>>,
    tail: Cell<Option<TaskPtr>>,
}

impl RunQueue {
    #[inline]
    pub(super) fn push(&self, task: TaskPtr) {
        task.next.set(None);
        match self.tail.replace(Some(task)) {
            Some(tail) => tail.next.set(Some(task)),
            None => self.head.set(Some(task)),
        }
    }

    #[inline]
    pub fn pop(&self) -> Option<TaskPtr> {
        let head = self.head.get()?;
        let next = head.next.get();
        self.head.set(next);
        if next.is_none() {
            self.tail.set(None);
        }
        Some(head)
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.head.get().is_none()
    }
}

/// Every task of the core that has not ended, linked through `live`. They have the executor's
/// reference.
#[derive(Default)]
pub(crate) struct LiveList {
    head: Cell<Option<TaskPtr>>,
    count: Cell<usize>,
}

const NEXT: usize = 0;
const PREVIOUS: usize = 1;

impl LiveList {
    pub(super) fn insert(&self, task: TaskPtr) {
        let head = self.head.replace(Some(task));
        task.live[NEXT].set(head);
        task.live[PREVIOUS].set(None);
        if let Some(head) = head {
            head.live[PREVIOUS].set(Some(task));
        }
        self.count.set(self.count.get() + 1);
    }

    pub(super) fn remove(&self, task: TaskPtr) {
        let (next, previous) = (task.live[NEXT].get(), task.live[PREVIOUS].get());
        match previous {
            Some(previous) => previous.live[NEXT].set(next),
            None => self.head.set(next),
        }
        if let Some(next) = next {
            next.live[PREVIOUS].set(previous);
        }
        self.count.set(self.count.get() - 1);
    }

    pub fn first(&self) -> Option<TaskPtr> {
        self.head.get()
    }

    pub fn len(&self) -> usize {
        self.count.get()
    }
}
