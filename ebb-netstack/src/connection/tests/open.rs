//! Opening (RFC 9293, 3.5 and 3.10.7.3).

use super::*;

fn syn_options() -> Options {
    Options {
        mss: Some(900),
        window_scale: Some(3),
        sack_permitted: true,
        ..Options::default()
    }
}

#[test]
fn an_open_sends_a_syn_and_acknowledges_the_answer() {
    let mut t = Bench::connecting();
    t.flush();
    recv!(t, SYN seq 0);
    send!(t, SYN | ACK seq 0 ack 1);
    recv!(t, ACK seq 1 ack 1);
    assert_eq!(t.c.state, State::Established);
}

#[test]
fn a_syn_offers_segment_size_window_scale_and_sack() {
    let mut t = Bench::connecting();
    t.flush();
    let syn = t.next_header();
    assert_eq!(syn.mss, Some(MSS));
    assert_eq!(syn.window_scale, Some(WINDOW_SCALE));
    assert!(syn.sack_permitted);
}

#[test]
fn the_peers_options_are_agreed_upon() {
    let mut t = Bench::connecting();
    t.flush();
    send!(t, SYN | ACK seq 0 ack 1 window 500 options syn_options());
    assert_eq!(t.c.congestion.mss, 900);
    assert!(t.c.congestion.sack);
    assert_eq!(t.c.send.peer_scale, 3);
    assert_eq!(t.c.send.window, 500, "a SYN's window is never scaled");
}

#[test]
fn without_an_mss_option_segments_are_536_bytes() {
    let mut t = Bench::connecting();
    t.flush();
    send!(t, SYN | ACK seq 0 ack 1);
    assert_eq!(t.c.congestion.mss, 536);
}

#[test]
fn absurdly_small_segments_are_not_believed() {
    let mut t = Bench::connecting();
    t.flush();
    let options = Options {
        mss: Some(1),
        ..Options::default()
    };
    send!(t, SYN | ACK seq 0 ack 1 options options);
    assert_eq!(t.c.congestion.mss, u32::from(MIN_MSS));
}

#[test]
fn a_reset_that_acknowledges_the_syn_refuses_the_connection() {
    let mut t = Bench::connecting();
    t.flush();
    send!(t, RST | ACK seq 0 ack 1);
    assert_eq!(t.c.state, State::Closed);
    assert_eq!(t.c.error, Some(Error::ConnectionRefused));
}

#[test]
fn a_reset_that_does_not_acknowledge_the_syn_is_ignored() {
    let mut t = Bench::connecting();
    t.flush();
    send!(t, RST seq 0);
    send!(t, RST | ACK seq 0 ack 2);
    assert_eq!(t.c.state, State::SynSent);
    assert!(!t.reset);
}

#[test]
fn an_answer_to_another_syn_is_reset() {
    let mut t = Bench::connecting();
    t.flush();
    send!(t, ACK seq 0 ack 0);
    assert!(t.reset);
    send!(t, SYN | ACK seq 0 ack 2);
    assert!(t.reset);
    assert_eq!(t.c.state, State::SynSent);
}

#[test]
fn both_sides_may_open_at_once() {
    let mut t = Bench::connecting();
    t.flush();
    recv!(t, SYN seq 0);
    send!(t, SYN seq 0);
    assert_eq!(t.c.state, State::SynReceived);
    recv!(t, SYN | ACK seq 0 ack 1);
    send!(t, ACK seq 1 ack 1);
    assert_eq!(t.c.state, State::Established);
}

#[test]
fn a_wrong_acknowledgement_of_a_simultaneous_open_is_reset() {
    let mut t = Bench::connecting();
    t.flush();
    send!(t, SYN seq 0);
    send!(t, ACK seq 1 ack 0);
    assert!(t.reset);
    assert_eq!(t.c.state, State::SynReceived);
}

#[test]
fn a_syn_is_sent_again_after_1_2_4_seconds_and_given_up_after_six_times() {
    let mut t = Bench::connecting();
    t.flush();
    recv!(t, SYN seq 0);
    for seconds in [1, 2, 4, 8, 16, 32] {
        t.wait_ms(seconds * 1000 - 1);
        recv!(t, nothing);
        t.wait_ms(1);
        recv!(t, SYN seq 0);
    }
    t.wait_ms(60_000);
    recv!(t, nothing);
    assert_eq!(t.c.error, Some(Error::TimedOut));
}

#[test]
fn nothing_is_sent_before_the_next_hops_hardware_address_is_known() {
    let mut t = Bench::connecting();
    t.c.resolved = false;
    t.flush();
    recv!(t, nothing);
    t.c.resolved = true;
    t.flush();
    recv!(t, SYN seq 0);
}

#[test]
fn what_a_full_device_did_not_take_is_sent_later() {
    let mut t = Bench::established();
    t.sink.full = true;
    t.write(10);
    recv!(t, nothing);
    assert!(t.c.wants_output());
    t.sink.full = false;
    t.flush();
    recv!(t, ACK seq 1 ack 1 len 10);
}
