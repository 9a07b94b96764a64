//! The retransmission timer (RFC 6298).

use super::*;

/// Sends a byte whose acknowledgement takes so long.
fn exchange(t: &mut Bench, from: u32, rtt_ms: u64) {
    t.write(1);
    recv!(t, ACK seq from ack 1 len 1);
    t.wait_ms(rtt_ms);
    send!(t, ACK seq 1 ack (from + 1));
}

fn rto_ms(t: &Bench) -> u64 {
    t.c.timers.round_trip.rto_ns() / MILLISECOND_NS
}

#[test]
fn the_first_timeout_is_a_second() {
    let mut t = Bench::established();
    t.write(10);
    recv!(t, ACK seq 1 ack 1 len 10);
    t.wait_ms(999);
    recv!(t, nothing);
    t.wait_ms(1);
    recv!(t, ACK seq 1 ack 1 len 10);
}

#[test]
fn the_first_measurement_sets_the_timeout_to_three_times_itself() {
    let mut t = Bench::established();
    exchange(&mut t, 1, 100);
    assert_eq!(rto_ms(&t), 100 + 4 * 50);
}

#[test]
fn later_measurements_are_smoothed_by_an_eighth_and_their_variation_by_a_quarter() {
    let mut t = Bench::established();
    exchange(&mut t, 1, 400);
    exchange(&mut t, 2, 480);
    // SRTT = 7/8 * 400 + 1/8 * 480, RTTVAR = 3/4 * 200 + 1/4 * |400 - 480|.
    assert_eq!(rto_ms(&t), 410 + 4 * 170);
}

#[test]
fn the_timeout_is_at_least_200_ms() {
    let mut t = Bench::established();
    for from in 1..20 {
        exchange(&mut t, from, 1);
    }
    assert_eq!(rto_ms(&t), 200);
}

#[test]
fn what_was_sent_twice_measures_nothing() {
    let mut t = Bench::established();
    t.write(1);
    t.wait_ms(1000);
    send!(t, ACK seq 1 ack 2);
    assert_eq!(rto_ms(&t), 1000, "Karn's rule");
}

#[test]
fn each_timeout_doubles_the_next_up_to_a_minute() {
    let mut t = Bench::established();
    t.write(1);
    recv!(t, ACK seq 1 ack 1 len 1);
    for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
        t.wait_ms(seconds * 1000 - 1);
        recv!(t, nothing);
        t.wait_ms(1);
        recv!(t, ACK seq 1 ack 1 len 1);
    }
}

#[test]
fn something_new_acknowledged_ends_the_doubling_and_starts_the_timer_anew() {
    let mut t = Bench::established();
    t.write(1);
    t.wait_ms(1000);
    t.write(1);
    t.drain();
    send!(t, ACK seq 1 ack 2);
    t.drain();
    t.wait_ms(999);
    recv!(t, nothing);
    t.wait_ms(1);
    recv!(t, ACK seq 2 ack 1 len 1);
}

#[test]
fn with_everything_acknowledged_no_timer_runs() {
    let mut t = Bench::established();
    exchange(&mut t, 1, 10);
    assert_eq!(t.c.deadline_ns(), NEVER_NS);
}

#[test]
fn a_timeout_sends_the_oldest_segment_alone() {
    let mut t = Bench::established();
    t.write(5000);
    assert_eq!(t.drain(), (5, 5000));
    t.wait_ms(1000);
    recv!(t, ACK seq 1 ack 1 len 1000);
    recv!(t, nothing);
}

#[test]
fn after_twelve_timeouts_the_connection_has_failed() {
    let mut t = Bench::established();
    t.write(1);
    t.wait_ms(3_600_000);
    assert_eq!(t.drain().0, 13);
    assert_eq!(t.c.error, Some(Error::TimedOut));
}

#[test]
fn the_applications_limit_ends_it_sooner() {
    let mut t = Bench::established();
    t.c.timers.user_timeout_ns = 3 * SECOND_NS;
    t.write(1);
    t.wait_ms(2_999);
    assert_eq!(t.c.error, None);
    t.wait_ms(5_000);
    assert_eq!(t.c.error, Some(Error::TimedOut));
}
