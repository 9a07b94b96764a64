//! Slow start to fast recovery, without SACK (RFC 5681, 6582, 6928).

use super::*;

/// A connection that has sent a full initial window of ten segments.
fn full() -> Bench {
    let mut t = Bench::established();
    t.write(200_000);
    assert_eq!(t.drain(), (10, 10_000));
    t
}

#[test]
fn the_first_window_is_ten_segments() {
    full();
}

#[test]
fn slow_start_grows_by_what_is_acknowledged() {
    let mut t = full();
    send!(t, ACK seq 1 ack 2001);
    assert_eq!(t.drain(), (4, 4000));
}

#[test]
fn congestion_avoidance_grows_by_a_segment_for_each_window() {
    let mut t = full();
    t.c.congestion.ssthresh = 10_000;
    for acknowledged in 1..=10 {
        send!(t, ACK seq 1 ack (1 + 1000 * acknowledged));
    }
    assert!((10_900..=11_000).contains(&t.c.congestion.cwnd));
}

#[test]
fn a_window_that_was_not_used_does_not_grow() {
    let mut t = Bench::established();
    t.write(1000);
    send!(t, ACK seq 1 ack 1001);
    assert_eq!(t.c.congestion.cwnd, 10_000);
}

#[test]
fn two_duplicates_send_nothing_again() {
    let mut t = full();
    send!(t, ACK seq 1 ack 1);
    send!(t, ACK seq 1 ack 1);
    recv!(t, nothing);
}

#[test]
fn the_third_duplicate_sends_the_missing_segment_at_once() {
    let mut t = full();
    for _ in 0..3 {
        send!(t, ACK seq 1 ack 1);
    }
    recv!(t, ACK seq 1 ack 1 len 1000);
    recv!(t, nothing);
    assert_eq!(t.c.congestion.ssthresh, 5000, "half of what was in flight");
    assert_eq!(t.c.congestion.cwnd, 8000, "and three that have left");
}

#[test]
fn segments_with_data_or_another_window_are_no_duplicates() {
    let mut t = full();
    send!(t, ACK seq 1 ack 1 len 1);
    send!(t, ACK seq 2 ack 1 len 1);
    send!(t, ACK seq 3 ack 1 window 50_000);
    send!(t, ACK seq 3 ack 1 window 40_000);
    assert!(!t.c.congestion.recovering);
}

#[test]
fn each_further_duplicate_lets_a_new_segment_out() {
    let mut t = full();
    for _ in 0..5 {
        send!(t, ACK seq 1 ack 1);
    }
    t.drain();
    send!(t, ACK seq 1 ack 1);
    recv!(t, ACK seq 10_001 ack 1 len 1000);
    recv!(t, nothing);
}

#[test]
fn a_partial_acknowledgement_sends_the_next_missing_segment() {
    let mut t = full();
    for _ in 0..3 {
        send!(t, ACK seq 1 ack 1);
    }
    t.drain();
    send!(t, ACK seq 1 ack 3001);
    recv!(t, ACK seq 3001 ack 1 len 1000);
    assert!(t.c.congestion.recovering);
}

#[test]
fn a_full_acknowledgement_ends_the_recovery_at_half_the_window() {
    let mut t = full();
    for _ in 0..3 {
        send!(t, ACK seq 1 ack 1);
    }
    send!(t, ACK seq 1 ack 10_001);
    assert!(!t.c.congestion.recovering);
    assert_eq!(t.c.congestion.cwnd, 5000);
}

#[test]
fn a_timeout_starts_again_with_one_segment_and_half_the_flight_as_threshold() {
    let mut t = full();
    t.wait_ms(1000);
    assert_eq!(t.c.congestion.cwnd, 1000);
    assert_eq!(t.c.congestion.ssthresh, 5000);
    t.wait_ms(2000);
    assert_eq!(t.c.congestion.ssthresh, 5000, "once for one loss");
}

#[test]
fn duplicates_after_a_timeout_begin_no_recovery_for_what_was_sent_before_it() {
    let mut t = full();
    t.wait_ms(1000);
    t.drain();
    for _ in 0..4 {
        send!(t, ACK seq 1 ack 1);
    }
    assert!(!t.c.congestion.recovering);
}
