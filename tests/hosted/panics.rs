//! Panics: what ends, what goes on, and what the messages say. Hosted only, where unwinding exists.

use std::{
    cell::Cell,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use ebb::{CoreId, EbbRef, ebb, spawn, spawn_on};

#[ebb::test]
async fn a_panic_in_a_task_is_its_join_handles_error() {
    let error = spawn(async { panic!("seven") }).await.unwrap_err();
    assert_eq!(error.message(), Some("seven"));
    let error = spawn_on(CoreId::new(1), async || panic!("eight"))
        .await
        .unwrap_err();
    assert_eq!(error.message(), Some("eight"));
}

#[ebb(per_core, dynamic)]
#[derive(Default)]
struct Gone {
    _n: Cell<u32>,
}

#[ebb::test]
async fn use_after_destroy_says_which_ebb() {
    let gone = EbbRef::<Gone>::create(());
    gone.destroy().await;
    let error = spawn(async move { gone.with(|_| ()) }).await.unwrap_err();
    assert!(
        error
            .message()
            .unwrap()
            .contains("`Gone` (tests/hosted/panics.rs"),
        "{error}"
    );
    assert!(
        error
            .message()
            .unwrap()
            .contains("used after it was destroyed"),
        "{error}"
    );
}

#[ebb(per_core)]
struct A;

impl Default for A {
    fn default() -> Self {
        let _ = EbbRef::<B>::get();
        Self
    }
}

#[ebb(per_core)]
struct B;

impl Default for B {
    fn default() -> Self {
        let _ = EbbRef::<A>::get();
        Self
    }
}

#[ebb::test]
async fn a_construction_cycle_names_its_ebbs_in_order() {
    let error = spawn(async { _ = EbbRef::<A>::get() }).await.unwrap_err();
    let message = error.message().unwrap();
    let (a, b) = (message.find("`A`").unwrap(), message.find("`B`").unwrap());
    assert!(a < b && message[b..].contains("-> `A`"), "{message}");
}

#[ebb(per_core)]
struct Moody;

thread_local!(static MOOD: Cell<u32> = const { Cell::new(0) });

impl Default for Moody {
    fn default() -> Self {
        MOOD.set(MOOD.get() + 1);
        assert!(MOOD.get() > 1, "not yet");
        Self
    }
}

#[ebb::test]
async fn after_a_panic_in_a_constructor_the_next_use_tries_again() {
    assert!(spawn(async { _ = EbbRef::<Moody>::get() }).await.is_err());
    assert!(spawn(async { _ = EbbRef::<Moody>::get() }).await.is_ok());
}

#[test]
#[should_panic(expected = "`Moody` (tests/hosted/panics.rs")]
fn a_thread_that_is_not_a_core_gets_a_message_that_names_the_ebb() {
    let _ = EbbRef::<Moody>::get();
}

fn message(error: &ebb::JoinError) -> &str {
    error.message().expect("a panic with a text")
}

#[ebb::test]
async fn destroying_twice_says_which_ebb() {
    let gone = EbbRef::<Gone>::create(());
    gone.destroy().await;
    let error = spawn(async move { gone.destroy().await })
        .await
        .unwrap_err();
    assert!(
        message(&error).contains("`Gone` (tests/hosted/panics.rs"),
        "{error}"
    );
}

struct Limits;

#[ebb(per_core, root = Limits)]
struct Rooted;

impl ebb::FromRoot<Limits> for Rooted {
    fn from_root(_: Arc<Limits>, _: EbbRef<Self>) -> Self {
        Self
    }
}

#[ebb::test]
async fn a_root_that_was_not_given_is_asked_for_by_name() {
    let error = spawn(async { _ = EbbRef::<Rooted>::get() })
        .await
        .unwrap_err();
    assert!(
        message(&error).contains("call `EbbRef::<Rooted>::set_root` first"),
        "{error}"
    );
    // Not too late.
    assert!(EbbRef::<Rooted>::set_root(Limits).is_ok());
    let _ = EbbRef::<Rooted>::get();
}

/// Waits until both sides of a knot are under construction.
fn meet(place: &AtomicUsize) {
    place.fetch_add(1, Ordering::SeqCst);
    while place.load(Ordering::SeqCst) < 2 {
        std::thread::yield_now();
    }
}

static LEFT_AND_RIGHT: AtomicUsize = AtomicUsize::new(0);

#[ebb(shared)]
struct Left;

impl Default for Left {
    fn default() -> Self {
        meet(&LEFT_AND_RIGHT);
        let _ = EbbRef::<Right>::get();
        Self
    }
}

#[ebb(shared)]
struct Right;

impl Default for Right {
    fn default() -> Self {
        meet(&LEFT_AND_RIGHT);
        let _ = EbbRef::<Left>::get();
        Self
    }
}

#[ebb::test]
async fn shared_ebbs_that_need_each_other_on_two_cores_are_named() {
    let there = spawn_on(CoreId::new(1), async || _ = EbbRef::<Right>::get());
    let here = spawn(async { _ = EbbRef::<Left>::get() });
    let (here, there) = (here.await.unwrap_err(), there.await.unwrap_err());
    let both = format!("{here:?} {there:?}");
    assert!(
        both.contains("need each other") && both.contains("`Left`") && both.contains("`Right`"),
        "{both}"
    );
}

/// One of two, which need each other.
#[ebb(shared, dynamic, root = Knots)]
struct Knot;

#[derive(Clone, Default)]
struct Knots {
    other: Arc<OnceLock<EbbRef<Knot>>>,
    place: Arc<AtomicUsize>,
}

impl ebb::FromRoot<Knots> for Knot {
    fn from_root(knots: Arc<Knots>, _: EbbRef<Self>) -> Self {
        meet(&knots.place);
        knots.other.get().expect("set before use").with(|_| Self)
    }
}

#[ebb::test]
async fn ebbs_made_at_run_time_that_need_each_other_on_two_cores_are_named() {
    let place = Arc::default();
    let [left, right] = [(); 2].map(|()| Knots {
        other: Arc::default(),
        place: Arc::clone(&place),
    });
    let (a, b) = (
        EbbRef::<Knot>::create(left.clone()),
        EbbRef::<Knot>::create(right.clone()),
    );
    left.other.set(b).unwrap();
    right.other.set(a).unwrap();
    let there = spawn_on(CoreId::new(1), async move || b.with(|_| ()));
    let here = spawn(async move { a.with(|_| ()) });
    let (here, there) = (here.await.unwrap_err(), there.await.unwrap_err());
    let both = format!("{here:?} {there:?}");
    assert!(
        both.contains("need each other") && both.contains("`Knot`"),
        "{both}"
    );
}

static TRIES: AtomicUsize = AtomicUsize::new(0);

#[ebb(shared)]
struct Fickle;

impl Default for Fickle {
    fn default() -> Self {
        assert!(TRIES.fetch_add(1, Ordering::SeqCst) > 0, "not yet");
        Self
    }
}

#[ebb::test(cores = 4)]
async fn after_a_panic_in_a_shared_constructor_the_next_core_tries_again() {
    let tasks: Vec<_> = ebb::cores()
        .map(|core| spawn_on(core, async || _ = EbbRef::<Fickle>::get()))
        .collect();
    let mut failed = 0;
    for task in tasks {
        failed += usize::from(task.await.is_err());
    }
    assert_eq!((failed, TRIES.load(Ordering::SeqCst)), (1, 2));
}

#[ebb(per_core)]
#[derive(Default)]
struct Late;

#[test]
fn the_first_use_while_the_machine_stops_says_so() {
    static SAID: OnceLock<String> = OnceLock::new();
    struct UsesLate;
    impl Drop for UsesLate {
        fn drop(&mut self) {
            let panic = std::panic::catch_unwind(|| _ = EbbRef::<Late>::get()).unwrap_err();
            let text = panic.downcast_ref::<String>().cloned();
            SAID.set(text.unwrap_or_default()).unwrap();
        }
    }
    let config = ebb_hosted::Config {
        cores: 1,
        pin: false,
    };
    ebb_hosted::run(&config, || async {
        drop(spawn(async {
            let _held = UsesLate;
            std::future::pending::<()>().await;
        }));
        ebb::yield_now().await;
    });
    let said = SAID.get().expect("the task was dropped");
    assert!(
        said.contains("`Late` (tests/hosted/panics.rs") && said.contains("while the machine stops"),
        "{said}"
    );
}
