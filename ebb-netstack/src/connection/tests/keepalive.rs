//! Keep-alive (RFC 9293, 3.8.4).

use super::*;

fn alive() -> Bench {
    let mut t = Bench::established();
    let how = KeepAlive::after(Duration::from_secs(40));
    t.c.set_keepalive(Some(how), t.now_ns);
    t
}

#[test]
fn probes_are_as_many_and_as_far_apart_as_was_said() {
    let mut t = Bench::established();
    let how = KeepAlive {
        idle: Duration::from_secs(7),
        interval: Duration::from_secs(2),
        probes: 3,
    };
    t.c.set_keepalive(Some(how), t.now_ns);
    t.wait_ms(6999);
    recv!(t, nothing);
    t.wait_ms(1 + 2 * 2000);
    assert_eq!(t.drain().0, 3);
    t.wait_ms(1999);
    assert_eq!(t.c.error, None);
    t.wait_ms(1);
    assert_eq!(t.c.error, Some(Error::TimedOut));
}

#[test]
fn by_default_a_silent_connection_is_left_alone() {
    let mut t = Bench::established();
    t.wait_ms(86_400_000);
    recv!(t, nothing);
}

#[test]
fn a_silent_connection_is_probed_with_a_number_that_the_peer_has() {
    let mut t = alive();
    t.wait_ms(39_999);
    recv!(t, nothing);
    t.wait_ms(1);
    recv!(t, ACK seq 0 ack 1);
}

#[test]
fn what_the_peer_sends_puts_the_probe_off() {
    let mut t = alive();
    t.wait_ms(20_000);
    send!(t, ACK seq 1 ack 1);
    t.wait_ms(39_999);
    recv!(t, nothing);
    t.wait_ms(1);
    recv!(t, ACK seq 0 ack 1);
}

#[test]
fn five_probes_without_an_answer_fail_the_connection() {
    let mut t = alive();
    t.wait_ms(40_000 + 4 * 10_000);
    assert_eq!(t.drain().0, 5);
    assert_eq!(t.c.state, State::Established);
    t.wait_ms(10_000);
    assert_eq!(t.c.error, Some(Error::TimedOut));
}

#[test]
fn an_answer_to_a_probe_starts_anew() {
    let mut t = alive();
    t.wait_ms(45_000);
    assert_eq!(t.drain().0, 1);
    send!(t, ACK seq 1 ack 1);
    t.wait_ms(34_999);
    recv!(t, nothing);
    t.wait_ms(10_000);
    assert_eq!(t.drain().0, 1);
}
