//! Segments that somebody else may have forged (RFC 5961).

use super::*;

#[test]
fn a_reset_with_exactly_the_next_number_ends_the_connection() {
    let mut t = Bench::established();
    send!(t, RST seq 1);
    assert_eq!(t.c.error, Some(Error::ConnectionReset));
    recv!(t, nothing);
}

#[test]
fn a_reset_elsewhere_in_the_window_is_challenged() {
    let mut t = Bench::established();
    send!(t, RST seq 2);
    assert_eq!(t.c.state, State::Established);
    recv!(t, ACK seq 1 ack 1);
}

#[test]
fn a_reset_outside_the_window_is_dropped() {
    let mut t = Bench::established();
    send!(t, RST seq 0);
    send!(t, RST seq 70_000);
    assert_eq!(t.c.state, State::Established);
    recv!(t, nothing);
}

#[test]
fn a_syn_is_challenged_whatever_its_number() {
    for seq in [1, 1000, 70_000] {
        let mut t = Bench::established();
        send!(t, SYN seq seq);
        assert_eq!(t.c.state, State::Established);
        recv!(t, ACK seq 1 ack 1);
    }
}

#[test]
fn an_acknowledgement_of_what_was_not_sent_is_challenged_and_its_data_dropped() {
    let mut t = Bench::established();
    send!(t, ACK seq 1 ack 2 len 10);
    recv!(t, ACK seq 1 ack 1);
    assert_eq!(t.read(), 0);
}

#[test]
fn an_acknowledgement_that_is_older_than_any_window_is_challenged_and_its_data_dropped() {
    let mut t = Bench::established();
    send!(t, ACK seq 1 ack (0u32.wrapping_sub(70_000)) len 10);
    recv!(t, ACK seq 1 ack 1);
    assert_eq!(t.read(), 0);
}

#[test]
fn challenges_are_at_least_100_ms_apart() {
    let mut t = Bench::established();
    send!(t, RST seq 2);
    recv!(t, ACK seq 1 ack 1);
    t.wait_ms(99);
    send!(t, RST seq 2);
    recv!(t, nothing);
    t.wait_ms(1);
    send!(t, RST seq 2);
    recv!(t, ACK seq 1 ack 1);
}
