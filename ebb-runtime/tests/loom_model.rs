//! Model checks of the cell that shared representatives and roots are built in: loom runs each test
//! under every interleaving that the C11 memory model allows.
//! `RUSTFLAGS="--cfg ebb_loom" cargo test -p ebb-runtime --release --test loom_model`
#![cfg(ebb_loom)]
#![allow(dead_code, missing_docs, unused_imports, unused_macros)]

#[path = "../src/sync"]
mod sync {
    pub(crate) mod atomic;
}
#[path = "../src/model/cell.rs"]
mod cell;

use cell::{BuildCell, Claim};
use loom::{
    cell::UnsafeCell,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

struct Shared {
    cell: BuildCell,
    built: AtomicUsize,
}

/// What a core does that wants the value, without the wait: gives up while another builds it.
/// `fails` says whether its constructor panics.
fn try_once(shared: &Shared, me: usize, fails: bool) -> Option<u32> {
    match shared.cell.claim(me) {
        Claim::Ready(value) => {
            let value = value.cast::<UnsafeCell<u32>>();
            // SAFETY: leaked by the builder; loom checks that its making comes before.
            Some(unsafe { (*value).with(|v| *v) })
        }
        Claim::Mine(_builder) if fails => None,
        Claim::Mine(builder) => {
            shared.built.fetch_add(1, Ordering::Relaxed);
            let value = Box::leak(Box::new(UnsafeCell::new(0)));
            // SAFETY: nobody else has it yet. Written apart, so that loom sees a write to order.
            value.with_mut(|v| unsafe { *v = 7 });
            builder.finish(std::ptr::from_mut(value).cast());
            Some(7)
        }
        Claim::Building(builder) => {
            assert_ne!(builder, me);
            None
        }
    }
}

fn race(fails: [bool; 3]) {
    loom::model(move || {
        let shared = Arc::new(Shared {
            cell: BuildCell::new(),
            built: AtomicUsize::new(0),
        });
        let others: Vec<_> = [1, 2]
            .into_iter()
            .map(|me| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    let first = try_once(&shared, me, fails[me]);
                    let again = try_once(&shared, me, fails[me]);
                    // What is there stays there.
                    assert!(first.is_none() || again == first, "{first:?} {again:?}");
                    again
                })
            })
            .collect();
        let mut got = vec![try_once(&shared, 0, fails[0])];
        got.extend(others.into_iter().map(|other| other.join().unwrap()));
        assert!(got.iter().flatten().all(|value| *value == 7), "{got:?}");
        // Nobody builds any more: whoever comes now finds the value or builds it.
        assert_eq!(try_once(&shared, 0, false), Some(7));
        assert_eq!(shared.built.load(Ordering::Relaxed), 1);
        let value = shared.cell.get().unwrap();
        // SAFETY: all threads have ended.
        drop(unsafe { Box::from_raw(value.cast::<UnsafeCell<u32>>()) });
    });
}

#[test]
fn a_value_is_built_once_and_seen_whole_by_all() {
    race([false; 3]);
}

#[test]
fn a_builder_that_fails_leaves_the_value_to_another() {
    race([true, false, false]);
    race([false, true, true]);
}

#[test]
fn when_all_builders_fail_the_next_one_builds() {
    race([true; 3]);
}
