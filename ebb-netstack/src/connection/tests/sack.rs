//! Selective acknowledgements (RFC 2018, 6675).

use super::*;

/// A connection with SACK that has sent ten segments.
fn full() -> Bench {
    let mut t = Bench::established_with(None, true);
    t.write(200_000);
    assert_eq!(t.drain(), (10, 10_000));
    t
}

fn blocks(ranges: &[(u32, u32)]) -> Options {
    let mut options = Options::default();
    for (n, (from, to)) in ranges.iter().enumerate() {
        options.sack[n] = (ISS.wrapping_add(*from), ISS.wrapping_add(*to));
    }
    options.sack_count = ranges.len() as u8;
    options
}

fn told(header: &TcpOut) -> Vec<(u32, u32)> {
    let blocks = &header.sack[..usize::from(header.sack_count)];
    let from_syn = |n: u32| n.wrapping_sub(IRS);
    let relative = blocks.iter().map(|(f, t)| (from_syn(*f), from_syn(*t)));
    relative.collect()
}

#[test]
fn what_came_early_is_told_the_newest_first() {
    let mut t = Bench::established_with(None, true);
    for seq in [2001, 4001, 6001, 8001] {
        send!(t, ACK seq seq ack 1 len 1000);
    }
    let last = t.sink.out.back().expect("an acknowledgement").1;
    assert_eq!(last.ack, IRS.wrapping_add(1));
    assert_eq!(told(&last), [(8001, 9001), (2001, 3001), (4001, 5001)]);
}

#[test]
fn a_range_that_grows_is_told_whole() {
    let mut t = Bench::established_with(None, true);
    send!(t, ACK seq 2001 ack 1 len 1000);
    send!(t, ACK seq 3001 ack 1 len 1000);
    t.next();
    assert_eq!(told(&t.next_header()), [(2001, 4001)]);
}

#[test]
fn nothing_is_told_to_a_peer_that_did_not_agree() {
    let mut t = Bench::established();
    send!(t, ACK seq 2001 ack 1 len 1000);
    assert_eq!(told(&t.next_header()), []);
}

#[test]
fn only_the_holes_are_sent_again() {
    let mut t = full();
    send!(t, ACK seq 1 ack 1 options blocks(&[(1001, 3001)]));
    recv!(t, nothing);
    send!(t, ACK seq 1 ack 1 options blocks(&[(4001, 6001), (1001, 3001)]));
    recv!(t, ACK seq 1 ack 1 len 1000);
    send!(t, ACK seq 1 ack 1 options blocks(&[(4001, 9001), (1001, 3001)]));
    recv!(t, ACK seq 3001 ack 1 len 1000);
    recv!(t, ACK seq 10_001 ack 1 len 1000);
}

#[test]
fn a_recovery_begins_when_more_than_two_segments_beyond_the_hole_have_come() {
    let mut t = full();
    send!(t, ACK seq 1 ack 1 options blocks(&[(1001, 3001)]));
    assert!(!t.c.congestion.recovering);
    send!(t, ACK seq 1 ack 1 options blocks(&[(1001, 4001)]));
    assert!(t.c.congestion.recovering);
}

#[test]
fn acknowledgements_that_tell_nothing_new_are_no_duplicates() {
    let mut t = full();
    for _ in 0..5 {
        send!(t, ACK seq 1 ack 1 options blocks(&[(1001, 2001)]));
    }
    assert!(!t.c.congestion.recovering);
    recv!(t, nothing);
}

#[test]
fn what_was_never_sent_is_not_believed() {
    let mut t = full();
    for end in [10_002, 20_001] {
        send!(t, ACK seq 1 ack 1 options blocks(&[(5001, end)]));
    }
    assert_eq!(t.c.congestion.pipe(&t.c.send), 10_000);
    assert!(!t.c.congestion.recovering);
}

#[test]
fn a_timeout_forgets_what_the_peer_has_said_it_has() {
    let mut t = full();
    send!(t, ACK seq 1 ack 1 options blocks(&[(1001, 3001)]));
    t.wait_ms(1000);
    recv!(t, ACK seq 1 ack 1 len 1000);
    send!(t, ACK seq 1 ack 1001);
    recv!(t, ACK seq 1001 ack 1 len 1000);
    recv!(t, ACK seq 2001 ack 1 len 1000);
}
