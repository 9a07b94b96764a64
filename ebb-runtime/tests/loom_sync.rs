//! Model checks of the cross-core primitives: loom runs each test under every interleaving the C11 memory model allows
//! (up to the preemption bound). `RUSTFLAGS="--cfg loom" cargo test -p ebb-runtime --release --test loom_sync`
#![cfg(loom)]
#![allow(dead_code, missing_docs)]

extern crate alloc;

#[path = "../src/sync/mod.rs"]
mod sync;

use core::ptr::NonNull;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

fn model(f: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(3);
    builder.check(f);
}

mod inbox {
    use super::sync::inbox::{Inbox, Link, Node};
    use super::*;

    struct Item {
        link: Link<Item>,
        value: UnsafeCell<usize>,
    }

    // SAFETY: the link is a field, used by the inbox only.
    unsafe impl Node for Item {
        unsafe fn link(this: NonNull<Self>) -> NonNull<Link<Self>> {
            // SAFETY: `this` is valid, so is the place of its field.
            unsafe { NonNull::new_unchecked(&raw mut (*this.as_ptr()).link) }
        }
    }

    fn push(inbox: &Inbox<Item>, value: usize) -> bool {
        let node = Box::new(Item {
            link: Link::new(),
            value: UnsafeCell::new(0),
        });
        // SAFETY: nobody else has the node. Written apart from its making, so that loom sees a write to order.
        node.value.with_mut(|v| unsafe { *v = value });
        // SAFETY: leaked here, freed when drained.
        unsafe { inbox.push(NonNull::from(Box::leak(node))) }
    }

    fn drain(inbox: &Inbox<Item>) -> Vec<usize> {
        // SAFETY: one thread of each test drains at a time; the node came from `push`.
        unsafe { inbox.drain() }
            .map(|node| {
                unsafe { Box::from_raw(node.as_ptr()) }
                    .value
                    .with(|v| unsafe { *v })
            })
            .collect()
    }

    #[test]
    fn a_consumer_that_only_drains_when_told_gets_every_node_in_order() {
        model(|| {
            let inbox = Arc::new(Inbox::<Item>::new());
            let told = Arc::new(AtomicUsize::new(0));
            let producers: Vec<_> = [10, 20]
                .into_iter()
                .map(|base| {
                    let (inbox, told) = (inbox.clone(), told.clone());
                    thread::spawn(move || {
                        for n in 0..if base == 10 { 2 } else { 1 } {
                            if push(&inbox, base + n) {
                                told.fetch_add(1, Ordering::Release);
                            }
                        }
                    })
                })
                .collect();
            // The consumer runs once for each time it was told, at any moment after that.
            let mut got = Vec::new();
            let mut heeded = 0;
            for _ in 0..2 {
                let now = told.load(Ordering::Acquire);
                if now > heeded {
                    heeded = now;
                    got.extend(drain(&inbox));
                }
            }
            for producer in producers {
                producer.join().unwrap();
            }
            if told.load(Ordering::Acquire) > heeded {
                got.extend(drain(&inbox));
            }
            // SAFETY: this thread is the consumer.
            assert!(unsafe { inbox.is_empty() });
            assert_eq!(got.len(), 3, "{got:?}");
            let first: Vec<_> = got.iter().filter(|v| **v < 20).collect();
            assert_eq!(first, [&10, &11]);
        });
    }
}
