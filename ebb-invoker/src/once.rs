//! Reads that several callers want at once, done once: whoever comes while one is under way gets what it comes to.
//!
//! What must hold: nothing is kept beyond the read, and nobody waits for a read that has been given up. A caller whose reading is
//! dropped leaves it to one of those who wait.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use ebb::sync::oneshot;
use spin::mutex::SpinMutex;

/// Those who wait for a read.
type Waiting<T> = Vec<oneshot::Sender<T>>;

/// The reads that are under way on all cores, by name.
pub(crate) struct Reads<T> {
    under_way: SpinMutex<BTreeMap<u128, Waiting<T>>>,
}

impl<T> Default for Reads<T> {
    fn default() -> Self {
        Self {
            under_way: SpinMutex::new(BTreeMap::new()),
        }
    }
}

/// The turn of the one who reads. Dropped, it ends the read: whoever waits then without a value begins it anew.
struct Turn<'a, T> {
    reads: &'a Reads<T>,
    name: u128,
}

impl<T> Turn<'_, T> {
    fn end(&self) -> Waiting<T> {
        let waiting = self.reads.under_way.lock().remove(&self.name);
        waiting.unwrap_or_default()
    }
}

impl<T> Drop for Turn<'_, T> {
    fn drop(&mut self) {
        drop(self.end());
    }
}

impl<T: Clone> Reads<T> {
    /// What is read under this name: by `read`, or by another caller's that is under way.
    pub(crate) async fn once<F: Future<Output = T>>(
        &self,
        name: u128,
        read: impl FnOnce() -> F,
    ) -> T {
        loop {
            let under_way = {
                let mut reads = self.under_way.lock();
                match reads.get_mut(&name) {
                    Some(waiting) => {
                        let (sender, receiver) = oneshot::channel();
                        waiting.push(sender);
                        Some(receiver)
                    }
                    None => {
                        reads.insert(name, Vec::new());
                        None
                    }
                }
            };
            let Some(receiver) = under_way else {
                let turn = Turn { reads: self, name };
                let value = read().await;
                for waiting in turn.end() {
                    // Whoever has gone does not want it.
                    let _ = waiting.send(value.clone());
                }
                // There may be a read of the same name again.
                core::mem::forget(turn);
                return value;
            };
            if let Ok(value) = receiver.await {
                return value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{boxed::Box, cell::Cell, vec::Vec};

    use ebb::sync::oneshot;
    use futures_executor::block_on;
    use futures_util::future::{join_all, poll_immediate};

    use super::Reads;

    #[test]
    fn what_many_want_at_once_is_read_once_and_later_again() {
        let reads = Reads::default();
        let begun = Cell::new(0);
        let (end, ended) = oneshot::channel();
        let ended = Cell::new(Some(ended));
        let read = || async {
            begun.set(begun.get() + 1);
            let ended = ended.take().expect("nobody else reads");
            ended.await.expect("it is sent")
        };
        block_on(async {
            let mut all: Vec<_> = (0..5).map(|_| Box::pin(reads.once(7, read))).collect();
            for one in &mut all {
                assert!(poll_immediate(one).await.is_none());
            }
            // Another name waits for nobody.
            assert_eq!(reads.once(8, || async { 3 }).await, 3);
            end.send(41).expect("one of them waits");
            assert_eq!(join_all(all).await, [41; 5]);
            assert_eq!(begun.get(), 1);
            assert_eq!(reads.once(7, || async { 42 }).await, 42);
        });
    }

    #[test]
    fn a_read_that_is_given_up_goes_on_with_one_who_waits() {
        let reads = Reads::default();
        block_on(async {
            let mut first = Box::pin(reads.once(7, std::future::pending));
            assert!(poll_immediate(&mut first).await.is_none());
            let read = |n| move || std::future::ready(n);
            let mut waiting: Vec<_> = (1..=3).map(|n| Box::pin(reads.once(7, read(n)))).collect();
            for one in &mut waiting {
                assert!(poll_immediate(one).await.is_none());
            }
            drop(waiting.remove(0));
            drop(first);
            // Each is told that it was given up; whoever is first reads.
            assert_eq!(join_all(waiting).await, [2, 3]);
        });
    }
}
