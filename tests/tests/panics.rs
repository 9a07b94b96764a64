//! Panics: what ends, what goes on, and what the messages say. Hosted only, where unwinding exists.

use std::cell::Cell;

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
            .contains("`Gone` (tests/tests/panics.rs"),
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
#[should_panic(expected = "`Moody` (tests/tests/panics.rs")]
fn a_thread_that_is_not_a_core_gets_a_message_that_names_the_ebb() {
    let _ = EbbRef::<Moody>::get();
}
