//! Clocks and timers.

use core::time::Duration;

use ebb::{
    CoreId, EbbRef, cores,
    platform::{Clock, Entropy},
    spawn_on, time,
};

fn now() -> u64 {
    EbbRef::<dyn Clock>::get().now_ns()
}

#[ebb::test]
async fn the_clock_never_goes_back_even_from_core_to_core() {
    let mut last = now();
    for _ in 0..50 {
        for core in cores() {
            let there = spawn_on(core, async || now()).await.unwrap();
            assert!(there >= last, "{core:?}: {there} after {last}");
            last = there;
        }
    }
}

#[ebb::test]
async fn a_timer_never_fires_early() {
    for micros in [1, 50, 300, 1000, 5000] {
        let wait = Duration::from_micros(micros);
        let begun = now();
        time::sleep(wait).await;
        let spent = now() - begun;
        assert!(spent >= wait.as_nanos() as u64, "{spent} ns for {wait:?}");
        assert!(spent < 2_000_000_000, "{spent} ns for {wait:?}");
    }
}

#[ebb::test(cores = 2)]
async fn timers_fire_on_every_core() {
    for core in [CoreId::new(1), CoreId::new(0)] {
        spawn_on(core, async || time::sleep(Duration::from_millis(3)).await)
            .await
            .unwrap();
    }
}

/// The date of the test's writing and one that no test will see.
#[ebb::test]
fn the_wall_clock_tells_a_date_of_this_century() {
    let seconds = EbbRef::<dyn Clock>::get().unix_time_ns() / 1_000_000_000;
    assert!(
        (1_700_000_000..4_102_444_800).contains(&seconds),
        "{seconds}"
    );
}

#[ebb::test]
async fn the_wall_clock_and_the_clock_run_alike() {
    let clock = EbbRef::<dyn Clock>::get();
    let (wall, ticks) = (clock.unix_time_ns(), clock.now_ns());
    time::sleep(Duration::from_millis(20)).await;
    let (wall, ticks) = (clock.unix_time_ns() - wall, clock.now_ns() - ticks);
    // The two are read one after the other, and a busy host may lie between.
    assert!(
        wall.abs_diff(ticks) < 50_000_000,
        "{wall} ns against {ticks} ns"
    );
}

#[ebb::test]
fn random_bytes_are_not_twice_the_same() {
    let entropy = EbbRef::<dyn Entropy>::get();
    let (mut a, mut b) = ([0; 37], [0; 37]);
    entropy.fill(&mut a);
    entropy.fill(&mut b);
    assert_ne!(a, b);
    assert!(a.iter().filter(|&&byte| byte == 0).count() < 20);
}
