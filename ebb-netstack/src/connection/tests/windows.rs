//! Windows: scaling (RFC 7323), zero windows, silly windows, Nagle (RFC 9293, 3.8.6; RFC 1122, 4.2.3).

use super::*;

#[test]
fn the_peers_window_is_scaled_by_its_shift() {
    let mut t = Bench::established_with(Some(3), false);
    t.c.congestion.cwnd = 1_000_000;
    send!(t, ACK seq 1 ack 1 window 1000);
    t.write(20_000);
    assert_eq!(t.drain(), (8, 8000));
}

#[test]
fn windows_are_said_in_units_of_the_own_shift() {
    let mut t = Bench::established_with(Some(0), false);
    t.write(1);
    let window = t.next_header().window;
    assert_eq!(u32::from(window) << WINDOW_SCALE, 256 << 10);
}

#[test]
fn without_the_peers_shift_nothing_is_scaled() {
    let mut t = Bench::established();
    t.write(1);
    assert_eq!(t.next_header().window, 65_535);
}

#[test]
fn no_more_is_sent_than_the_window_takes() {
    let mut t = Bench::established();
    send!(t, ACK seq 1 ack 1 window 3000);
    t.write(10_000);
    assert_eq!(t.drain(), (3, 3000));
    send!(t, ACK seq 1 ack 3001 window 2000);
    assert_eq!(t.drain(), (2, 2000));
}

#[test]
fn an_old_segment_does_not_change_the_window() {
    let mut t = Bench::established();
    send!(t, ACK seq 1 ack 1 window 5000 len 10);
    send!(t, ACK seq 1 ack 1 window 1);
    assert_eq!(t.c.send.window, 5000);
}

#[test]
fn a_zero_window_is_probed_and_goes_on_when_it_opens() {
    let mut t = Bench::established();
    send!(t, ACK seq 1 ack 1 window 0);
    t.write(10);
    recv!(t, nothing);
    t.wait_ms(1000);
    recv!(t, ACK seq 0 ack 1);
    send!(t, ACK seq 1 ack 1 window 0);
    recv!(t, nothing);
    send!(t, ACK seq 1 ack 1 window 1000);
    recv!(t, ACK seq 1 ack 1 len 10);
}

#[test]
fn probes_of_a_zero_window_come_at_doubling_intervals_and_never_give_up() {
    let mut t = Bench::established();
    send!(t, ACK seq 1 ack 1 window 0);
    t.write(10);
    for seconds in [1, 2, 4, 8] {
        t.wait_ms(seconds * 1000 - 1);
        recv!(t, nothing);
        t.wait_ms(1);
        recv!(t, ACK seq 0 ack 1);
        send!(t, ACK seq 1 ack 1 window 0);
    }
    for _ in 0..100 {
        t.wait_ms(60_000);
        send!(t, ACK seq 1 ack 1 window 0);
    }
    assert_eq!(t.c.state, State::Established);
}

#[test]
fn the_right_edge_of_the_own_window_never_moves_back() {
    let mut t = Bench::established();
    send!(t, ACK seq 1 ack 1 len 1000);
    let edge = t.c.receive.edge;
    t.c.receive.limit = 4096;
    send!(t, ACK seq 1001 ack 1 len 1000);
    let header = t.next_header();
    assert_eq!(Seq(header.ack) + header.window.into(), edge);
}

#[test]
fn a_reader_that_was_slow_tells_of_room_only_when_it_is_worth_a_segment() {
    let mut t = Bench::established();
    t.c.receive.limit = 8192;
    t.c.receive.edge = t.c.receive.nxt + 8192;
    for n in 0..8 {
        send!(t, ACK seq (1 + n * 1024) ack 1 len 1024);
    }
    let last = t.sink.out.pop_back().expect("an acknowledgement").1;
    assert_eq!(last.window, 0);
    t.drain();
    // 100 bytes are not worth it.
    let mut front = t.c.receive.queue.take_front().expect("data");
    front.start += 100;
    t.c.receive.queue.put_front(front);
    t.c.after_take();
    t.flush();
    recv!(t, nothing);
    t.read();
    assert_eq!(t.next_header().window, 8192);
}

#[test]
fn reading_says_nothing_when_the_window_cannot_be_said_larger() {
    let mut t = Bench::established();
    send!(t, ACK seq 1 ack 1 len 100);
    assert_eq!(t.read(), 100);
    recv!(t, nothing);
}

#[test]
fn a_small_piece_waits_for_the_acknowledgement_of_the_one_before_if_the_application_allows() {
    let mut t = Bench::established();
    t.c.send.nodelay = false;
    t.write(10);
    recv!(t, ACK seq 1 ack 1 len 10);
    t.write(10);
    t.write(10);
    recv!(t, nothing);
    send!(t, ACK seq 1 ack 11);
    recv!(t, ACK seq 11 ack 1 len 20);
}

#[test]
fn small_pieces_leave_at_once_by_default() {
    let mut t = Bench::established();
    t.write(10);
    t.write(10);
    recv!(t, ACK seq 1 ack 1 len 10);
    recv!(t, ACK seq 11 ack 1 len 10);
}

#[test]
fn a_window_of_less_than_half_the_largest_is_not_filled_while_something_is_in_flight() {
    let mut t = Bench::established();
    send!(t, ACK seq 1 ack 1 window 1500);
    t.write(5000);
    recv!(t, ACK seq 1 ack 1 len 1000);
    recv!(t, nothing);
}

#[test]
fn a_full_send_queue_has_room_again_when_a_quarter_is_free() {
    let mut t = Bench::established();
    t.c.send.limit = 8000;
    t.write(8000);
    assert_eq!(t.c.send.take_room(false), 0);
    send!(t, ACK seq 1 ack 1001);
    assert_eq!(t.c.send.room(false), 0);
    send!(t, ACK seq 1 ack 2001);
    assert_eq!(t.c.send.room(false), 2000);
}
