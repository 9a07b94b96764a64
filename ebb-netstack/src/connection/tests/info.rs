//! What is told of a connection (`TCP_INFO`).

use super::*;

#[test]
fn bytes_are_told_as_sent_acknowledged_resent_and_received() {
    let mut t = Bench::established();
    t.write(1500);
    recv!(t, ACK seq 1 ack 1 len 1000);
    recv!(t, ACK seq 1001 ack 1 len 500);
    let info = t.c.info(t.now_ns);
    assert_eq!((info.in_flight, info.unsent), (1500, 0));
    assert_eq!((info.bytes_acknowledged, info.segments_resent), (0, 0));
    t.wait_ms(1000);
    recv!(t, ACK seq 1 ack 1 len 1000);
    let info = t.c.info(t.now_ns);
    assert_eq!((info.bytes_resent, info.segments_resent), (1000, 1));
    assert_eq!((info.timeouts, info.backoff), (1, 1));
    assert_eq!(info.retransmission_timeout, Duration::from_secs(2));
    t.wait_ms(30);
    send!(t, ACK seq 1 ack 1501 len 70);
    t.wait_ms(5);
    let info = t.c.info(t.now_ns);
    assert_eq!((info.bytes_acknowledged, info.in_flight), (1500, 0));
    assert_eq!((info.bytes_received, info.timeouts), (70, 0));
    assert_eq!(info.silence, Duration::from_millis(5));
}

#[test]
fn the_round_trip_is_what_an_acknowledgement_took() {
    let mut t = Bench::established();
    assert_eq!(t.c.info(t.now_ns).round_trip, Duration::ZERO);
    t.write(1);
    t.wait_ms(80);
    send!(t, ACK seq 1 ack 2);
    let info = t.c.info(t.now_ns);
    assert_eq!(info.round_trip, Duration::from_millis(80));
    assert_eq!(info.round_trip_variation, Duration::from_millis(40));
    assert_eq!(info.mss, u32::from(MSS));
}

#[test]
fn a_fin_is_no_byte() {
    let mut t = Bench::established();
    t.write(10);
    t.shutdown();
    let info = t.c.info(t.now_ns);
    assert_eq!((info.in_flight, info.unsent), (10, 0));
    t.wait_ms(1000);
    assert_eq!(t.c.info(t.now_ns).bytes_resent, 10);
    send!(t, ACK seq 1 ack 12);
    assert_eq!(t.c.info(t.now_ns).bytes_acknowledged, 10);
}
