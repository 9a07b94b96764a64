//! Data and the end of a connection (RFC 9293, 3.6 and 3.10.7.4).

use super::*;

#[test]
fn every_second_full_segment_is_acknowledged_at_once() {
    let mut t = Bench::established();
    send!(t, ACK seq 1 ack 1 len 1000);
    recv!(t, nothing);
    send!(t, ACK seq 1001 ack 1 len 1000);
    recv!(t, ACK seq 1 ack 2001);
}

#[test]
fn an_acknowledgement_waits_40_ms_for_company() {
    let mut t = Bench::established();
    send!(t, ACK seq 1 ack 1 len 10);
    t.wait_ms(39);
    recv!(t, nothing);
    t.wait_ms(1);
    recv!(t, ACK seq 1 ack 11);
}

#[test]
fn data_carries_the_acknowledgement_that_waited() {
    let mut t = Bench::established();
    send!(t, ACK seq 1 ack 1 len 10);
    t.write(5);
    recv!(t, ACK seq 1 ack 11 len 5);
    t.wait_ms(100);
    recv!(t, nothing);
}

#[test]
fn data_beyond_a_gap_is_kept_and_the_gap_is_told_at_once() {
    let mut t = Bench::established();
    send!(t, ACK seq 11 ack 1 len 10);
    recv!(t, ACK seq 1 ack 1);
    assert_eq!(t.read(), 0);
    send!(t, ACK seq 1 ack 1 len 10);
    recv!(t, ACK seq 1 ack 21);
    assert_eq!(t.read(), 20);
}

#[test]
fn what_is_known_already_is_acknowledged_again_and_not_taken_twice() {
    let mut t = Bench::established();
    send!(t, ACK seq 1 ack 1 len 10);
    assert_eq!(t.read(), 10);
    t.wait_ms(50);
    recv!(t, ACK seq 1 ack 11);
    send!(t, ACK seq 1 ack 1 len 10);
    recv!(t, ACK seq 1 ack 11);
    send!(t, ACK seq 6 ack 1 len 10);
    assert_eq!(t.read(), 5);
}

#[test]
fn data_beyond_the_window_is_cut_off() {
    let mut t = Bench::established();
    let edge = 1 + 65_535;
    send!(t, ACK seq (edge - 4) ack 1 len 10);
    assert!(t.c.receive.queue.has_early());
    assert_eq!(t.c.receive.queue.islands().0[0].1, IRS.wrapping_add(edge));
    recv!(t, ACK seq 1 ack 1);
}

#[test]
fn a_segment_without_ack_is_dropped() {
    let mut t = Bench::established();
    send!(t, PSH seq 1 len 10);
    recv!(t, nothing);
    assert_eq!(t.read(), 0);
}

#[test]
fn the_peers_end_is_told_when_all_before_it_has_come() {
    let mut t = Bench::established();
    send!(t, FIN | ACK seq 11 ack 1);
    recv!(t, ACK seq 1 ack 1);
    assert!(!t.c.receive.peer_closed);
    send!(t, ACK seq 1 ack 1 len 10);
    assert!(t.c.receive.peer_closed);
    recv!(t, ACK seq 1 ack 12);
    assert_eq!(t.c.state, State::CloseWait);
}

#[test]
fn after_the_peers_end_this_side_may_go_on_sending() {
    let mut t = Bench::established();
    send!(t, FIN | ACK seq 1 ack 1);
    recv!(t, ACK seq 1 ack 2);
    assert!(t.c.can_send());
    t.write(10);
    recv!(t, ACK seq 1 ack 2 len 10);
    t.shutdown();
    recv!(t, FIN | ACK seq 11 ack 2);
    assert_eq!(t.c.state, State::LastAck);
    send!(t, ACK seq 2 ack 12);
    assert_eq!(t.c.state, State::Closed);
    assert_eq!(t.c.error, None);
}

#[test]
fn after_its_own_end_this_side_still_receives() {
    let mut t = Bench::established();
    t.shutdown();
    recv!(t, FIN | ACK seq 1 ack 1);
    assert_eq!(t.c.state, State::FinWait1);
    assert!(!t.c.can_send());
    send!(t, ACK seq 1 ack 2);
    assert_eq!(t.c.state, State::FinWait2);
    send!(t, ACK seq 1 ack 2 len 10);
    assert_eq!(t.read(), 10);
    send!(t, FIN | ACK seq 11 ack 2);
    recv!(t, ACK seq 2 ack 12);
    assert_eq!(t.c.state, State::TimeWait);
}

#[test]
fn both_sides_may_end_at_once() {
    let mut t = Bench::established();
    t.shutdown();
    recv!(t, FIN | ACK seq 1 ack 1);
    send!(t, FIN | ACK seq 1 ack 1);
    assert_eq!(t.c.state, State::Closing);
    recv!(t, ACK seq 2 ack 2);
    send!(t, ACK seq 2 ack 2);
    assert_eq!(t.c.state, State::TimeWait);
}

#[test]
fn an_end_is_unacknowledged_until_the_peer_has_it() {
    let mut t = Bench::established();
    t.write(10);
    recv!(t, ACK seq 1 ack 1 len 10);
    assert_eq!(t.c.unacknowledged_with_end(), 10);
    t.shutdown();
    recv!(t, FIN | ACK seq 11 ack 1);
    assert_eq!(t.c.unacknowledged_with_end(), 11);
    send!(t, ACK seq 1 ack 11);
    assert_eq!(t.c.unacknowledged_with_end(), 1);
    send!(t, ACK seq 1 ack 12);
    assert_eq!(t.c.unacknowledged_with_end(), 0);
    let mut t = Bench::established();
    t.shutdown();
    recv!(t, FIN | ACK seq 1 ack 1);
    send!(t, RST seq 1);
    assert_eq!(t.c.unacknowledged_with_end(), 0);
}

#[test]
fn an_end_goes_with_the_last_data() {
    let mut t = Bench::established();
    t.c.send.queue.copy_in(&[7; 10], &mut t.pool);
    t.shutdown();
    recv!(t, FIN | ACK seq 1 ack 1 len 10);
}

#[test]
fn an_end_that_is_not_acknowledged_is_sent_again() {
    let mut t = Bench::established();
    t.shutdown();
    recv!(t, FIN | ACK seq 1 ack 1);
    t.wait_ms(1000);
    recv!(t, FIN | ACK seq 1 ack 1);
}

#[test]
fn after_the_peers_end_nothing_more_is_taken() {
    let mut t = Bench::established();
    send!(t, FIN | ACK seq 1 ack 1);
    send!(t, ACK seq 2 ack 1 len 10);
    assert_eq!(t.read(), 0);
}

#[test]
fn ending_before_the_connection_is_open_ends_it() {
    let mut t = Bench::connecting();
    t.flush();
    t.shutdown();
    assert_eq!(t.c.state, State::Closed);
}

#[test]
fn an_owner_that_leaves_received_bytes_behind_resets_the_peer() {
    let mut t = Bench::established();
    send!(t, ACK seq 1 ack 1 len 10);
    assert!(t.c.orphan(t.now_ns));
}

#[test]
fn data_for_a_connection_without_an_owner_is_reset() {
    let mut t = Bench::established();
    assert!(!t.c.orphan(t.now_ns));
    send!(t, ACK seq 1 ack 1 len 10);
    assert!(t.reset);
}

#[test]
fn a_connection_without_an_owner_has_a_minute_for_each_step() {
    let mut t = Bench::established();
    assert!(!t.c.orphan(t.now_ns));
    t.flush();
    send!(t, ACK seq 1 ack 2);
    assert_eq!(t.c.state, State::FinWait2);
    t.wait_ms(59_999);
    assert_eq!(t.c.state, State::FinWait2);
    t.wait_ms(1);
    assert_eq!(t.c.state, State::Closed);
}

#[test]
fn a_reset_after_both_ends_is_no_error() {
    let mut t = Bench::established();
    send!(t, FIN | ACK seq 1 ack 1);
    t.shutdown();
    send!(t, RST seq 2);
    assert_eq!(t.c.state, State::Closed);
    assert_eq!(t.c.error, None);
}
