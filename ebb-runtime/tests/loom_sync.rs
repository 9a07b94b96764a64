//! Model checks of the cross-core primitives: loom runs each test under every interleaving the C11 memory model allows
//! (up to the preemption bound). `RUSTFLAGS="--cfg ebb_loom" cargo test -p ebb-runtime --release --test loom_sync`
#![cfg(ebb_loom)]
#![allow(dead_code, unused_imports, missing_docs)]

extern crate alloc;

#[path = "../src/sync/mod.rs"]
mod sync;

use core::ptr::NonNull;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

/// Explores with at most three involuntary switches (`LOOM_MAX_PREEMPTIONS` sets another number).
fn model(f: impl Fn() + Send + Sync + 'static) {
    model_bounded(3, f);
}

fn model_bounded(preemptions: usize, f: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(preemptions);
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

mod oneshot {
    use super::sync::oneshot::{Closed, channel};
    use super::*;
    use loom::future::block_on;

    /// A value whose places in memory loom watches.
    struct Watched(Box<UnsafeCell<u32>>, Arc<AtomicUsize>);

    impl Drop for Watched {
        fn drop(&mut self) {
            // SAFETY: owned; loom checks that.
            self.0.with_mut(|v| unsafe { *v = 0 });
            self.1.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn watched(drops: &Arc<AtomicUsize>) -> Watched {
        Watched(Box::new(UnsafeCell::new(7)), drops.clone())
    }

    #[test]
    fn a_value_sent_on_one_core_arrives_on_another() {
        model(|| {
            let drops = Arc::new(AtomicUsize::new(0));
            let (tx, rx) = channel();
            let sender = thread::spawn({
                let drops = drops.clone();
                move || assert!(tx.send(watched(&drops)).is_ok())
            });
            let value = block_on(rx).ok().unwrap();
            // SAFETY: owned here.
            assert_eq!(value.0.with(|v| unsafe { *v }), 7);
            drop(value);
            sender.join().unwrap();
            assert_eq!(drops.load(Ordering::Relaxed), 1);
        });
    }

    #[test]
    fn a_sender_dropped_on_another_core_wakes_the_receiver() {
        model(|| {
            let (tx, rx) = channel::<u32>();
            let sender = thread::spawn(move || drop(tx));
            assert_eq!(block_on(rx), Err(Closed));
            sender.join().unwrap();
        });
    }

    #[test]
    fn a_value_is_dropped_once_when_the_receiver_leaves_at_any_moment() {
        use core::future::Future;
        use core::pin::Pin;
        use core::task::{Context, Waker};
        model(|| {
            let drops = Arc::new(AtomicUsize::new(0));
            let (tx, mut rx) = channel();
            let sender = thread::spawn({
                let drops = drops.clone();
                move || drop(tx.send(watched(&drops)))
            });
            // Polled first, so that a waker is in place or not.
            let _ = Pin::new(&mut rx).poll(&mut Context::from_waker(Waker::noop()));
            drop(rx);
            sender.join().unwrap();
            assert_eq!(drops.load(Ordering::Relaxed), 1);
        });
    }

    #[test]
    fn a_waker_changed_while_the_value_arrives_is_not_lost() {
        use core::future::Future;
        use core::pin::Pin;
        use core::task::{Context, Waker};
        model(|| {
            let (tx, mut rx) = channel();
            let sender = thread::spawn(move || tx.send(3u32).unwrap());
            let _ = Pin::new(&mut rx).poll(&mut Context::from_waker(Waker::noop()));
            // `block_on` polls with another waker; a lost wake-up would hang, which loom reports.
            let _ = block_on(rx);
            sender.join().unwrap();
        });
    }
}

mod epoch {
    use super::sync::epoch::Domain;
    use super::*;
    use loom::sync::atomic::AtomicPtr;

    type Slot = Arc<AtomicPtr<UnsafeCell<u32>>>;

    fn boxed(value: u32) -> *mut UnsafeCell<u32> {
        Box::into_raw(Box::new(UnsafeCell::new(value)))
    }

    /// One event: finds what is published and reads it.
    fn read(slot: &Slot) -> u32 {
        let current = slot.load(Ordering::Acquire);
        // SAFETY: that nobody frees it meanwhile is what the test proves.
        unsafe { (*current).with(|v| *v) }
    }

    fn replace(slot: &Slot, value: u32) -> Box<dyn FnOnce()> {
        let old = slot.swap(boxed(value), Ordering::AcqRel);
        Box::new(move || {
            // SAFETY: unlinked; loom fails the test if a reader is or was unordered with this write.
            unsafe {
                (*old).with_mut(|v| *v = 0);
                drop(Box::from_raw(old));
            }
        })
    }

    fn free(slot: &Slot) {
        // SAFETY: the last value; all threads have ended.
        drop(unsafe { Box::from_raw(slot.load(Ordering::Acquire)) });
    }

    #[test]
    fn what_a_running_core_reads_is_not_freed_under_it() {
        model(|| {
            let domain = Domain::new(2);
            let slot: Slot = Arc::new(AtomicPtr::new(boxed(1)));
            let reader = thread::spawn({
                let (domain, slot) = (domain.clone(), slot.clone());
                move || {
                    let core = domain.join(1);
                    core.unpark();
                    assert!(matches!(read(&slot), 1 | 2));
                    core.poll();
                    assert!(matches!(read(&slot), 1 | 2));
                    core.poll();
                }
            });
            let core = domain.join(0);
            core.unpark();
            core.retire(replace(&slot, 2));
            core.poll();
            core.poll();
            reader.join().unwrap();
            // The reader has been dropped, hence is parked: what is left ends now.
            for _ in 0..2 {
                core.poll();
            }
            assert!(!core.is_pending());
            free(&slot);
        });
    }

    #[test]
    fn a_core_that_wakes_up_while_something_is_freed_does_not_see_it() {
        model(|| {
            let domain = Domain::new(2);
            let slot: Slot = Arc::new(AtomicPtr::new(boxed(1)));
            let reader = thread::spawn({
                let (domain, slot) = (domain.clone(), slot.clone());
                move || {
                    let core = domain.join(1);
                    for _ in 0..2 {
                        core.unpark();
                        read(&slot);
                        core.park();
                    }
                }
            });
            let core = domain.join(0);
            core.unpark();
            core.retire(replace(&slot, 2));
            core.poll();
            core.poll();
            reader.join().unwrap();
            core.poll();
            core.poll();
            assert!(!core.is_pending());
            free(&slot);
        });
    }

    #[test]
    fn two_cores_that_retire_at_once_do_not_hold_each_other_up() {
        model(|| {
            let domain = Domain::new(2);
            let slots: [Slot; 2] = [1, 2].map(|v| Arc::new(AtomicPtr::new(boxed(v))));
            let run = |index: usize| {
                let (domain, slots) = (domain.clone(), slots.clone());
                move || {
                    let core = domain.join(index);
                    core.unpark();
                    read(&slots[1 - index]);
                    core.retire(replace(&slots[index], 3));
                    core.poll();
                    read(&slots[1 - index]);
                    // From here on this core needs nobody else to run events.
                    core.park();
                    while core.is_pending() {
                        core.poll();
                        thread::yield_now();
                    }
                }
            };
            let other = thread::spawn(run(1));
            run(0)();
            other.join().unwrap();
            slots.iter().for_each(free);
        });
    }
}

mod queue {
    use super::sync::queue::{PushError, TryRecvError, queue};
    use super::*;
    use loom::future::block_on;

    #[test]
    fn pushes_from_two_cores_share_the_places_without_meeting_in_one() {
        model(|| {
            let (tx, mut rx) = queue::<u32>(1);
            let senders: Vec<_> = [1, 2]
                .into_iter()
                .map(|n| {
                    let tx = tx.clone();
                    thread::spawn(move || tx.push(n).is_ok())
                })
                .collect();
            drop(tx);
            let mut got = Vec::new();
            got.extend(rx.try_recv());
            let sent = senders
                .into_iter()
                .filter_map(|s| s.join().unwrap().then_some(()))
                .count();
            got.extend(rx.try_recv());
            got.extend(rx.try_recv());
            assert!(
                sent >= 1,
                "two pushes to a queue with room cannot both fail"
            );
            assert_eq!(got.len(), sent);
            assert_eq!(rx.try_recv(), Err(TryRecvError::Closed));
        });
    }

    #[test]
    fn a_place_is_used_again_only_after_it_was_emptied() {
        model(|| {
            let (tx, mut rx) = queue::<u32>(2);
            tx.push(0).unwrap();
            let sender = thread::spawn(move || {
                let mut sent = 0;
                for n in 1..4 {
                    match tx.push(n) {
                        Ok(()) => sent += 1,
                        Err(PushError::Full(_)) => break,
                        Err(PushError::Closed(_)) => unreachable!(),
                    }
                }
                assert!(sent >= 1);
                sent
            });
            let mut got = Vec::new();
            got.extend(rx.try_recv());
            got.extend(rx.try_recv());
            let sent = sender.join().unwrap();
            while let Ok(n) = rx.try_recv() {
                got.push(n);
            }
            assert_eq!(got, (0..=sent).collect::<Vec<u32>>());
        });
    }

    #[test]
    fn a_sleeping_receiver_is_woken_for_every_value_and_for_the_end() {
        model_bounded(2, || {
            let (tx, mut rx) = queue::<u32>(2);
            let senders: Vec<_> = [1, 2]
                .into_iter()
                .map(|n| {
                    let tx = tx.clone();
                    thread::spawn(move || tx.push(n).unwrap())
                })
                .collect();
            drop(tx);
            let mut sum = 0;
            while let Some(n) = block_on(rx.recv()) {
                sum += n;
            }
            assert_eq!(sum, 3);
            senders.into_iter().for_each(|s| s.join().unwrap());
        });
    }
}

mod rcu {
    use super::sync::epoch::{Core, Domain, Quiescence, Retired};
    use super::sync::{Rcu, RcuMap};
    use super::*;
    use core::cell::RefCell;
    use std::rc::Rc;

    loom::thread_local! {
        static CORE: RefCell<Option<Rc<Core>>> = RefCell::new(None);
    }

    struct Here;

    impl Here {
        fn core() -> Rc<Core> {
            CORE.with(|core| core.borrow().clone().expect("not a core"))
        }

        fn enter(domain: &std::sync::Arc<Domain>, index: usize) {
            let core = domain.join(index);
            core.unpark();
            CORE.with(|place| *place.borrow_mut() = Some(Rc::new(core)));
        }

        fn leave() {
            CORE.with(|place| place.borrow_mut().take());
        }

        /// To be called when the other cores have left.
        fn drain() {
            for _ in 0..2 {
                Self::core().poll();
            }
            assert!(!Self::core().is_pending());
        }
    }

    // SAFETY: each model has one domain; the tests poll between reads only.
    unsafe impl Quiescence for Here {
        fn domain() -> usize {
            Self::core();
            1
        }

        fn retire(action: Retired) {
            Self::core().retire(action);
        }
    }

    /// Spoilt when dropped, under loom's eyes.
    struct Value(UnsafeCell<u32>);

    impl Value {
        fn get(&self) -> u32 {
            // SAFETY: nobody writes a value that can be read; loom checks that.
            self.0.with(|v| unsafe { *v })
        }
    }

    impl Drop for Value {
        fn drop(&mut self) {
            // SAFETY: owned; loom checks that.
            self.0.with_mut(|v| unsafe { *v = 0 });
        }
    }

    // SAFETY: written by its owner only.
    unsafe impl Sync for Value {}

    fn value(n: u32) -> Value {
        Value(UnsafeCell::new(n))
    }

    #[test]
    fn a_reader_keeps_the_value_it_found_until_its_event_ends() {
        model_bounded(2, || {
            let domain = Domain::new(2);
            let rcu = Arc::new(Rcu::<Value, Here>::new(value(1)));
            let reader = thread::spawn({
                let (domain, rcu) = (domain.clone(), rcu.clone());
                move || {
                    Here::enter(&domain, 1);
                    let first = rcu.read(Value::get);
                    Here::core().poll();
                    let second = rcu.read(Value::get);
                    assert!(1 <= first && first <= second && second <= 2);
                    Here::leave();
                }
            });
            Here::enter(&domain, 0);
            rcu.update(value(2));
            Here::core().poll();
            Here::core().poll();
            reader.join().unwrap();
            Here::drain();
            Here::leave();
        });
    }

    /// Every key in one chain.
    #[derive(Clone, Default)]
    struct Constant;

    impl core::hash::BuildHasher for Constant {
        type Hasher = Self;
        fn build_hasher(&self) -> Self {
            Self
        }
    }

    impl core::hash::Hasher for Constant {
        fn finish(&self) -> u64 {
            0
        }
        fn write(&mut self, _: &[u8]) {}
    }

    #[test]
    fn a_reader_finds_what_stays_in_the_map_while_neighbours_come_and_go() {
        model_bounded(2, || {
            let domain = Domain::new(2);
            let map = Arc::new(RcuMap::<u32, Value, Here, _>::with_hasher(Constant));
            Here::enter(&domain, 0);
            for key in 1..3 {
                map.insert(key, value(key));
            }
            let reader = thread::spawn({
                let (domain, map) = (domain.clone(), map.clone());
                move || {
                    Here::enter(&domain, 1);
                    assert_eq!(map.read(&2, |v| v.map(Value::get)), Some(2));
                    let one = map.read(&1, |v| v.map(Value::get));
                    assert!(matches!(one, None | Some(1 | 10)));
                    Here::leave();
                }
            });
            map.insert(1, value(10));
            Here::core().poll();
            map.remove(&1);
            Here::core().poll();
            Here::core().poll();
            reader.join().unwrap();
            Here::drain();
            Here::leave();
        });
    }
}

/// The way into a core: the flag that a task is on its way, the inbox, and the doorbell, put together as the executor does
/// it (`TaskPtr::wake_remote`, `Core::nudge`, the end of `turn`, `Core::sweep`).
mod doorbell {
    use super::sync::doorbell::{Doorbell, Rung};
    use super::sync::inbox::{Inbox, Link, Node};
    use super::*;
    use loom::sync::Notify;
    use loom::sync::atomic::AtomicBool;

    struct Task {
        link: Link<Task>,
        on_its_way: AtomicBool,
        /// What a waker writes for the task to find.
        message: AtomicUsize,
    }

    // SAFETY: the link is a field, used by the inbox only.
    unsafe impl Node for Task {
        unsafe fn link(this: NonNull<Self>) -> NonNull<Link<Self>> {
            // SAFETY: `this` is valid, so is the place of its field.
            unsafe { NonNull::new_unchecked(&raw mut (*this.as_ptr()).link) }
        }
    }

    struct Core {
        inbox: Inbox<Task>,
        doorbell: Doorbell,
        parker: Notify,
        sweeps: AtomicUsize,
        tasks: [Task; 2],
        swept: AtomicUsize,
    }

    impl Core {
        fn new() -> Arc<Self> {
            let task = || Task {
                link: Link::new(),
                on_its_way: AtomicBool::new(false),
                message: AtomicUsize::new(0),
            };
            Arc::new(Core {
                inbox: Inbox::new(),
                doorbell: Doorbell::new(),
                parker: Notify::new(),
                sweeps: AtomicUsize::new(0),
                tasks: [task(), task()],
                swept: AtomicUsize::new(0),
            })
        }

        fn wake(&self, task: usize) {
            let task = &self.tasks[task];
            if !task.on_its_way.swap(true, Ordering::AcqRel)
                // SAFETY: the flag was clear, so it is in no inbox; the core outlives the threads.
                && unsafe { self.inbox.push(NonNull::from(task)) }
            {
                match self.doorbell.ring() {
                    Rung::Awake => {}
                    Rung::Asleep => self.parker.notify(),
                    Rung::Shut => self.sweep(),
                }
            }
        }

        /// What the tasks that arrived find in their messages.
        fn drain(&self) -> Vec<usize> {
            // SAFETY: one thread at a time.
            unsafe { self.inbox.drain() }
                .map(|task| {
                    // SAFETY: a task of the core.
                    let task = unsafe { task.as_ref() };
                    task.on_its_way.swap(false, Ordering::AcqRel);
                    task.message.load(Ordering::Relaxed)
                })
                .collect()
        }

        fn sweep(&self) {
            if self.sweeps.fetch_add(1, Ordering::AcqRel) > 0 {
                return;
            }
            loop {
                let asked = self.sweeps.load(Ordering::Acquire);
                let found = self.drain().into_iter().sum();
                self.swept.fetch_add(found, Ordering::Relaxed);
                if self
                    .sweeps
                    .compare_exchange(asked, 0, Ordering::AcqRel, Ordering::Relaxed)
                    .is_ok()
                {
                    return;
                }
            }
        }
    }

    #[test]
    fn no_wake_of_a_task_is_slept_over() {
        model_bounded(2, || {
            let core = Core::new();
            // Both wake the same task.
            let wakers: Vec<_> = [(0, 1), (0, 2)]
                .into_iter()
                .map(|(task, message)| {
                    let core = core.clone();
                    thread::spawn(move || {
                        core.tasks[task]
                            .message
                            .fetch_add(message, Ordering::Relaxed);
                        core.wake(task);
                    })
                })
                .collect();
            // Until the task has seen both messages. Loom finds a lost wake as a deadlock.
            let mut seen = 0;
            while seen < 3 {
                if let Some(now) = core.drain().into_iter().max() {
                    seen = now;
                    continue;
                }
                core.doorbell.about_to_sleep();
                // SAFETY: this thread is the consumer.
                if unsafe { core.inbox.is_empty() } {
                    core.parker.wait();
                }
                core.doorbell.awake();
            }
            for waker in wakers {
                waker.join().unwrap();
            }
        });
    }

    #[test]
    fn what_is_sent_to_a_core_that_ends_is_taken_by_it_or_swept() {
        model_bounded(2, || {
            let core = Core::new();
            let wakers: Vec<_> = [(0, 1), (1, 4)]
                .into_iter()
                .map(|(task, message)| {
                    let core = core.clone();
                    thread::spawn(move || {
                        core.tasks[task].message.store(message, Ordering::Relaxed);
                        core.wake(task);
                    })
                })
                .collect();
            let taken: usize = core.drain().into_iter().sum();
            core.doorbell.shut();
            core.sweep();
            for waker in wakers {
                waker.join().unwrap();
            }
            assert_eq!(taken + core.swept.load(Ordering::Relaxed), 5);
        });
    }
}
