//! Peers that break the rules, and bytes that are no frames.

use bytes::{Bytes, BytesMut};
use ebb_distributed::{
    Failure, NotSent,
    connection::{Closed, Connection, Event, Limits, Request, drain},
    frame::{Call, Frame, Hello, Payload, Status, VERSION},
    sim::Chance,
};

const HELLO: Hello = Hello {
    oldest: 1,
    newest: VERSION,
    node: 2,
    incarnation: 9,
    calls: 4,
    call_bytes: 1 << 20,
    frame_bytes: 1 << 20,
};

fn bytes(frame: Frame) -> Bytes {
    let mut whole = Vec::new();
    let mut parts = Vec::new();
    frame.encode(&mut whole, &mut |part| parts.push(part));
    parts.push(Bytes::from(whole));
    parts.concat().into()
}

fn events(connection: &mut Connection) -> Vec<Event> {
    std::iter::from_fn(|| connection.poll_event()).collect()
}

/// A connection whose peer has greeted.
fn greeted() -> Connection {
    let mut connection = Connection::new(Limits::default(), 1, 1, 0);
    connection.receive(0, &bytes(Frame::Hello(HELLO)));
    assert_eq!(
        events(&mut connection),
        [Event::Ready {
            node: 2,
            incarnation: 9
        }]
    );
    connection
}

fn request() -> Request {
    Request {
        ebb: 5,
        method: 6,
        flags: 0,
        deadline_ns: None,
        payload: Payload::of("arguments"),
    }
}

fn call(id: u64) -> Frame {
    Frame::Call(Call {
        id,
        ebb: 5,
        method: 6,
        remaining_us: u64::MAX,
        flags: 0,
        credit: 0,
        payload: Payload::of("x"),
    })
}

fn answer(id: u64) -> Frame {
    Frame::Answer(id, Status::Ok, Payload::of("answer"))
}

#[test]
fn a_second_answer_reaches_nobody_and_ends_the_connection() {
    let mut connection = greeted();
    let first = connection.call(0, request()).unwrap();
    let second = connection.call(0, request()).unwrap();
    connection.receive(0, &bytes(answer(first)));
    connection.receive(0, &bytes(answer(first)));
    let expected = [
        Event::Answered {
            id: first,
            result: Ok(Payload::of("answer")),
        },
        Event::Answered {
            id: second,
            result: Err(Failure::NoAnswer),
        },
        Event::Closed(Closed::Protocol),
    ];
    assert_eq!(events(&mut connection), expected);
}

#[test]
fn an_answer_to_what_was_not_asked_ends_the_connection() {
    let mut connection = greeted();
    connection.receive(0, &bytes(answer(77)));
    assert_eq!(events(&mut connection), [Event::Closed(Closed::Protocol)]);
}

#[test]
fn an_answer_that_comes_after_its_deadline_reaches_nobody() {
    let mut connection = greeted();
    let id = connection
        .call(
            0,
            Request {
                deadline_ns: Some(1000),
                ..request()
            },
        )
        .unwrap();
    connection.tick(1000);
    assert_eq!(
        events(&mut connection),
        [Event::Answered {
            id,
            result: Err(Failure::Late)
        }]
    );
    connection.receive(2000, &bytes(answer(id)));
    assert_eq!(events(&mut connection), []);
    assert_eq!(connection.held().in_flight, 0);
}

#[test]
fn ids_that_do_not_rise_and_calls_beyond_the_credits_end_the_connection() {
    let mut connection = greeted();
    connection.receive(0, &bytes(call(3)));
    connection.receive(0, &bytes(call(3)));
    assert!(events(&mut connection).contains(&Event::Closed(Closed::Protocol)));

    let limits = Limits {
        calls: 2,
        ..Limits::default()
    };
    let mut connection = Connection::new(limits, 1, 1, 0);
    connection.receive(0, &bytes(Frame::Hello(HELLO)));
    for id in 1..=2 {
        connection.receive(0, &bytes(call(id)));
    }
    assert!(!connection.is_closed());
    connection.receive(0, &bytes(call(3)));
    assert!(connection.is_closed());
}

#[test]
fn calls_wait_for_credits_and_are_refused_when_too_many_wait() {
    let limits = Limits {
        waiting: 3,
        ..Limits::default()
    };
    let mut connection = Connection::new(limits, 1, 1, 0);
    connection.receive(0, &bytes(Frame::Hello(HELLO)));
    let ids: Vec<_> = (0..8).map(|_| connection.call(0, request())).collect();
    assert_eq!(ids.iter().filter(|id| id.is_ok()).count(), 4 + 3);
    assert_eq!(ids[7], Err(NotSent::Overload));
    assert_eq!(
        (connection.held().in_flight, connection.held().waiting),
        (4, 3)
    );
    // Each outcome says whether it was sent.
    connection.close(Closed::Transport);
    let failures: Vec<_> = events(&mut connection)
        .into_iter()
        .filter_map(|event| match event {
            Event::Answered { result, .. } => result.err(),
            _ => None,
        })
        .collect();
    let unsent = Failure::NotSent(NotSent::Unreachable);
    let sent = Failure::NoAnswer;
    assert_eq!(failures, [sent, sent, sent, sent, unsent, unsent, unsent]);
}

#[test]
fn a_cancelled_call_keeps_its_credit_until_the_peer_has_stopped() {
    let mut connection = greeted();
    let ids: Vec<u64> = (0..5)
        .map(|_| connection.call(0, request()).unwrap())
        .collect();
    connection.cancel(ids[0]);
    assert_eq!(
        (connection.held().in_flight, connection.held().waiting),
        (4, 1)
    );
    connection.receive(
        0,
        &bytes(Frame::Answer(ids[0], Status::Cancelled, Payload::default())),
    );
    assert_eq!(
        (connection.held().in_flight, connection.held().waiting),
        (4, 0)
    );
    assert_eq!(
        events(&mut connection),
        [Event::Ready {
            node: 2,
            incarnation: 9
        }][1..]
    );
}

#[test]
fn nothing_is_longer_than_a_greeting_before_the_greeting() {
    let mut connection = Connection::new(Limits::default(), 1, 1, 0);
    connection.receive(0, &1000_u32.to_le_bytes());
    assert_eq!(events(&mut connection), [Event::Closed(Closed::Protocol)]);
    let mut connection = Connection::new(Limits::default(), 1, 1, 0);
    connection.receive(0, &bytes(call(1)));
    assert_eq!(events(&mut connection), [Event::Closed(Closed::Protocol)]);
}

#[test]
fn versions_without_a_common_one_fail_calls_as_such() {
    let mut connection = Connection::new(Limits::default(), 1, 1, 0);
    let id = connection.call(0, request()).unwrap();
    let later = Hello {
        oldest: VERSION + 1,
        newest: VERSION + 3,
        ..HELLO
    };
    connection.receive(0, &bytes(Frame::Hello(later)));
    let expected = [
        Event::Answered {
            id,
            result: Err(Failure::Version),
        },
        Event::Closed(Closed::Version),
    ];
    assert_eq!(events(&mut connection), expected);
    // One that speaks this version beside newer ones is welcome, and what it adds to the greeting is ignored.
    let mut connection = Connection::new(Limits::default(), 1, 1, 0);
    let mut greeting = bytes(Frame::Hello(Hello {
        newest: VERSION + 3,
        ..HELLO
    }))
    .to_vec();
    greeting.extend_from_slice(b"more");
    let length = (greeting.len() - 4) as u32;
    greeting[..4].copy_from_slice(&length.to_le_bytes());
    connection.receive(0, &greeting);
    assert!(!connection.is_closed() && connection.peer().is_some());
}

#[test]
fn silence_is_asked_once_and_then_ends_the_connection() {
    let limits = Limits::default();
    let mut connection = greeted();
    drain(&mut connection);
    assert_eq!(connection.next_ns(), limits.heartbeat_ns);
    connection.tick(limits.heartbeat_ns);
    assert_eq!(
        drain(&mut connection).concat(),
        bytes(Frame::Ping(limits.heartbeat_ns))
    );
    assert_eq!(connection.next_ns(), limits.death_ns);
    connection.tick(limits.death_ns);
    assert_eq!(events(&mut connection), [Event::Closed(Closed::Silence)]);
}

#[test]
fn a_side_that_did_not_run_asks_before_it_takes_the_other_for_dead() {
    let limits = Limits::default();
    let mut connection = greeted();
    drain(&mut connection);
    let late_ns = 10 * limits.death_ns;
    connection.tick(late_ns);
    assert_eq!(drain(&mut connection).concat(), bytes(Frame::Ping(late_ns)));
    let due_ns = late_ns + limits.death_ns - limits.heartbeat_ns;
    assert_eq!(connection.next_ns(), due_ns);
    connection.tick(due_ns - 1);
    assert_eq!(events(&mut connection), []);
    connection.tick(due_ns);
    assert_eq!(events(&mut connection), [Event::Closed(Closed::Silence)]);
}

#[test]
fn pings_without_end_cost_one_pong() {
    let mut connection = greeted();
    drain(&mut connection);
    for number in 0..100_000 {
        connection.receive(0, &bytes(Frame::Ping(number)));
    }
    assert_eq!(drain(&mut connection).concat(), bytes(Frame::Pong(99_999)));
}

#[test]
fn large_buffers_are_passed_on_by_reference_in_both_directions() {
    let mut connection = greeted();
    drain(&mut connection);
    let blob = Bytes::from(vec![7; 100_000]);
    let payload = Payload {
        head: Bytes::from_static(b"head").into(),
        blobs: vec![blob.clone()].into(),
    };
    connection
        .call(
            0,
            Request {
                payload,
                ..request()
            },
        )
        .unwrap();
    let output = drain(&mut connection);
    assert!(
        output
            .iter()
            .any(|part| part.as_ptr() == blob.as_ptr() && part.len() == blob.len())
    );

    let mut other = Connection::new(Limits::default(), 2, 1, 0);
    other.receive(0, &bytes(Frame::Hello(HELLO)));
    for part in &output {
        other.receive(0, part);
    }
    let Some(Event::Called { payload, .. }) = events(&mut other).pop() else {
        panic!("no call")
    };
    assert_eq!(payload.blobs[..], [blob]);
}

/// Each kind of frame, with something in it.
fn samples() -> Vec<Frame> {
    let payload = Payload {
        head: Bytes::from_static(b"head").into(),
        blobs: vec![Bytes::from_static(b"one"), Bytes::new()].into(),
    };
    vec![
        Frame::Hello(HELLO),
        Frame::Call(Call {
            id: 1,
            ebb: 2,
            method: 3,
            remaining_us: 4,
            flags: 7,
            credit: 5,
            payload: payload.clone(),
        }),
        Frame::Answer(1, Status::Late, payload.clone()),
        Frame::Cancel(1),
        Frame::Up(1, payload.clone()),
        Frame::UpEnd(1),
        Frame::UpCredit(1, 2),
        Frame::Down(1, payload),
        Frame::DownCredit(1, 2),
        Frame::Ping(1),
        Frame::Pong(1),
    ]
}

#[test]
fn frames_come_out_as_they_went_in() {
    for frame in samples() {
        let bytes = bytes(frame.clone()).slice(4..);
        assert_eq!(Frame::decode_copied(&bytes), Ok(frame.clone()));
        assert_eq!(Frame::decode(bytes), Ok(frame));
    }
}

#[test]
fn frames_arrive_however_they_are_cut() {
    let mut chance = Chance::new(3);
    for _ in 0..200 {
        let payload = |length| Payload {
            head: Bytes::from_static(b"head").into(),
            blobs: vec![Bytes::from(vec![length as u8; length])].into(),
        };
        // Around what is copied, and around what room is made for.
        let lengths = [0, 64, 4000, 4096, 5000, 16_300, 16_400, 40_000];
        let (mut wire, mut payloads) = (Vec::new(), Vec::new());
        for id in 1..=4 {
            let payload = payload(lengths[chance.below(lengths.len() as u64) as usize]);
            payloads.push(payload.clone());
            let Frame::Call(call) = call(id) else {
                panic!("a call")
            };
            wire.extend_from_slice(&bytes(Frame::Call(Call { payload, ..call })));
        }
        let mut connection = greeted();
        drain(&mut connection);
        let mut rest = &*wire;
        while !rest.is_empty() {
            let most = rest.len().min([10, 1000, 50_000][chance.below(3) as usize]);
            let (piece, behind) = rest.split_at(1 + chance.below(most as u64) as usize);
            connection.receive(0, piece);
            rest = behind;
        }
        let came = events(&mut connection)
            .into_iter()
            .map(|event| match event {
                Event::Called { payload, .. } => payload,
                event => panic!("{event:?}"),
            });
        let running = payloads.iter().map(Payload::len).sum::<usize>();
        assert!(came.eq(payloads));
        assert_eq!(connection.held().bytes, running);
    }
}

#[test]
fn what_is_lent_is_what_would_be_handed_on() {
    let small = |connection: &mut Connection| {
        connection.receive(0, &bytes(Frame::Ping(5)));
        for _ in 0..3 {
            connection.call(0, request()).unwrap();
        }
    };
    let (mut one, mut other) = (greeted(), greeted());
    drain(&mut one);
    drain(&mut other);
    for connection in [&mut one, &mut other] {
        small(connection);
        assert!(connection.has_output() && !connection.is_single());
    }
    let mut lent = Vec::new();
    assert!(one.lend_output(|frames| lent.extend_from_slice(frames)));
    assert_eq!(lent, drain(&mut other).concat());
    assert_eq!(one.held(), other.held());
    assert!(!one.lend_output(|_| panic!("nothing is left")) && !one.has_output());
    // What is passed on by reference comes in its turn.
    let payload = Payload {
        head: Bytes::from_static(b"head").into(),
        blobs: vec![Bytes::from(vec![7; 100_000])].into(),
    };
    let large = Request {
        payload,
        ..request()
    };
    one.call(0, large).unwrap();
    assert!(!one.lend_output(|_| panic!("it is large")) && one.has_output());
}

#[test]
fn bytes_that_were_changed_neither_panic_nor_cost_more_than_they_are() {
    let limits = Limits {
        frame_bytes: 5000,
        call_bytes: 20_000,
        ..Limits::default()
    };
    for seed in 0..20_000 {
        let mut chance = Chance::new(seed);
        let mut stream = bytes(Frame::Hello(HELLO)).to_vec();
        let intact = stream.len();
        for _ in 0..chance.below(12) {
            let kinds = samples();
            let mut frame = match kinds[chance.below(kinds.len() as u64) as usize].clone() {
                Frame::Call(c) => Frame::Call(Call {
                    id: chance.below(20),
                    ..c
                }),
                other => other,
            };
            if chance.in_thousand(300) {
                frame = call(chance.below(20));
            }
            stream.extend_from_slice(&bytes(frame));
        }
        for _ in 0..chance.below(4) {
            let place = chance.below(stream.len() as u64) as usize;
            // Most of them leave the greeting alone, so that what follows is looked at.
            if place >= intact || chance.in_thousand(100) {
                stream[place] = chance.number() as u8;
            }
        }
        let mut connection = Connection::new(limits, 1, 1, 0);
        let own = connection.call(0, request()).unwrap();
        let (mut rest, mut outcomes) = (stream.as_slice(), 0);
        while !rest.is_empty() {
            let piece = 1 + chance.below(rest.len() as u64) as usize;
            connection.receive(0, &rest[..piece]);
            rest = &rest[piece..];
            assert!(
                connection.held().bytes < 5004 + 20_000 + 1000,
                "seed {seed}"
            );
            for event in events(&mut connection) {
                if let Event::Answered { id, .. } = event {
                    assert_eq!(id, own, "seed {seed}");
                    outcomes += 1;
                }
            }
        }
        connection.close(Closed::Here);
        outcomes += events(&mut connection)
            .iter()
            .filter(|e| matches!(e, Event::Answered { .. }))
            .count();
        assert_eq!(outcomes, 1, "seed {seed}");
    }
}

#[test]
fn what_was_answered_can_be_sent_again() {
    let mut connection = greeted();
    for _ in 0..500 {
        let payload = Payload::of(vec![1; 10_000]);
        let id = connection
            .call(
                0,
                Request {
                    payload,
                    ..request()
                },
            )
            .unwrap();
        drain(&mut connection);
        assert_eq!(
            (connection.held().in_flight, connection.held().waiting),
            (1, 0)
        );
        connection.receive(0, &bytes(answer(id)));
    }
}

/// Moves at most so many bytes of what has been said.
fn some(queue: &mut BytesMut, connection: &mut Connection, most: usize) -> Bytes {
    queue.extend_from_slice(&drain(connection).concat());
    queue.split_to(queue.len().min(most)).freeze()
}

#[test]
fn a_large_answer_over_a_slow_link_takes_longer_than_a_death_and_arrives() {
    const STEP_NS: u64 = 10_000_000;
    const BYTES: usize = 4 << 20;
    let limits = Limits::default();
    let mut caller = Connection::new(limits, 1, 1, 0);
    let mut callee = Connection::new(limits, 2, 1, 0);
    let (mut to_callee, mut to_caller) = (BytesMut::new(), BytesMut::new());
    caller.call(0, request()).unwrap();
    let (mut now_ns, mut nods) = (0, 0);
    let answered = loop {
        now_ns += STEP_NS;
        let said = some(&mut to_callee, &mut caller, 4 << 10);
        nods += usize::from(!said.is_empty());
        callee.receive(now_ns, &said);
        // 400 KiB a second.
        let said = some(&mut to_caller, &mut callee, 4 << 10);
        caller.receive(now_ns, &said);
        caller.tick(now_ns);
        callee.tick(now_ns);
        for event in events(&mut callee) {
            match event {
                Event::Called { id, .. } => callee.answer(id, Ok(Payload::of(vec![7; BYTES]))),
                other => assert!(matches!(other, Event::Ready { .. }), "{other:?}"),
            }
        }
        let answered = events(&mut caller)
            .into_iter()
            .find(|event| !matches!(event, Event::Ready { .. }));
        if let Some(event) = answered {
            break event;
        }
        assert!(caller.next_ns() > now_ns && callee.next_ns() > now_ns);
    };
    let Event::Answered { result, .. } = answered else {
        panic!("{answered:?}");
    };
    assert_eq!(result.expect("an answer").head.len(), BYTES);
    assert!(now_ns > 4 * limits.death_ns);
    // And the caller has not said more than that it is there.
    assert!(nods as u64 <= now_ns / limits.heartbeat_ns + 5, "{nods}");
}
