//! Both protocols on a store of one thread: against a model, against junk, cut anywhere, and with little memory.

mod common;

use std::collections::HashMap;

use common::{Client, Here, time};
use ebb_memcached::{Limits, Store};
use proptest::prelude::*;

fn store() -> Store<Here> {
    Store::new(Limits::default(), 1)
}

#[track_caller]
fn check(store: &Store<Here>, input: &[u8], answer: &str) {
    let got = Client::new(store).send(input);
    assert_eq!(String::from_utf8_lossy(&got), answer);
}

#[test]
fn text_commands_answer_as_memcached_does() {
    let store = store();
    for (input, answer) in [
        ("set a 5 0 3\r\nabc\r\n", "STORED\r\n"),
        ("get a\r\n", "VALUE a 5 3\r\nabc\r\nEND\r\n"),
        (
            "gets a b a\r\n",
            "VALUE a 5 3 1\r\nabc\r\nVALUE a 5 3 1\r\nabc\r\nEND\r\n",
        ),
        (
            "add a 0 0 1\r\nx\r\nadd b 0 0 1\r\nx\r\n",
            "NOT_STORED\r\nSTORED\r\n",
        ),
        ("replace c 0 0 1\r\nx\r\n", "NOT_STORED\r\n"),
        (
            "append a 9 9 2\r\nde\r\nprepend a 0 0 1\r\n_\r\n",
            "STORED\r\nSTORED\r\n",
        ),
        ("get a\r\n", "VALUE a 5 6\r\n_abcde\r\nEND\r\n"),
        ("append c 0 0 1\r\nx\r\n", "NOT_STORED\r\n"),
        (
            "set n 0 0 2\r\n10\r\nincr n 5\r\ndecr n 100\r\n",
            "STORED\r\n15\r\n0\r\n",
        ),
        (
            "set n 0 0 20\r\n18446744073709551615\r\nincr n 1\r\n",
            "STORED\r\n0\r\n",
        ),
        (
            "set n 0 0 3\r\n 41\r\nincr n 1\r\nset n 0 0 4\r\n41 x\r\nincr n +1\r\nset n 0 0 3\r\n+41\r\ndecr n 1\r\n",
            "STORED\r\n42\r\nSTORED\r\n42\r\nSTORED\r\n40\r\n",
        ),
        (
            "set n 0 0 24\r\n000000000000000000000041\r\nincr n 01\r\nset n 0 0 2\r\n-1\r\nincr n 1\r\nincr n -1\r\n",
            "STORED\r\n42\r\nSTORED\r\nCLIENT_ERROR cannot increment or decrement non-numeric value\r\n\
             CLIENT_ERROR invalid numeric delta argument\r\n",
        ),
        (
            "set f +1 +0 +1\r\nv\r\nget f\r\nset f 4294967297 0 4294967297\r\nv\r\nget f\r\n",
            "STORED\r\nVALUE f 1 1\r\nv\r\nEND\r\nSTORED\r\nVALUE f 1 1\r\nv\r\nEND\r\n",
        ),
        ("incr c 1\r\n", "NOT_FOUND\r\n"),
        (
            "incr a 1\r\n",
            "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n",
        ),
        (
            "incr n x\r\n",
            "CLIENT_ERROR invalid numeric delta argument\r\n",
        ),
        ("delete b\r\ndelete b\r\n", "DELETED\r\nNOT_FOUND\r\n"),
        ("cas c 0 0 1 1\r\nx\r\n", "NOT_FOUND\r\n"),
        ("cas a 0 0 1 1\r\nx\r\n", "EXISTS\r\n"),
        ("touch a 10\r\ntouch c 10\r\n", "TOUCHED\r\nNOT_FOUND\r\n"),
        ("gat 0 a c\r\n", "VALUE a 5 6\r\n_abcde\r\nEND\r\n"),
        (
            "set q 0 0 1 noreply\r\nx\r\nget q\r\n",
            "VALUE q 0 1\r\nx\r\nEND\r\n",
        ),
        (
            "set a 0 0 3\r\nabcd\r\n",
            "CLIENT_ERROR bad data chunk\r\nERROR\r\n",
        ),
        (
            "verbosity 1\r\nflush_all\r\nget a\r\n",
            "OK\r\nOK\r\nEND\r\n",
        ),
        ("what\r\n\r\n", "ERROR\r\nERROR\r\n"),
    ] {
        check(&store, input.as_bytes(), answer);
    }
}

#[test]
fn a_value_that_cannot_be_stored_is_swallowed() {
    let store = store();
    check(&store, b"set big 0 0 1\r\nx\r\n", "STORED\r\n");
    // Were it read as commands, `get` would be answered once for every line.
    let value = b"get big\r\n".repeat(200_000);
    let input = [
        format!("set big 0 0 {}\r\n", value.len()).as_bytes(),
        &value,
        b"\r\nget big\r\n",
    ]
    .concat();
    check(
        &store,
        &input,
        "SERVER_ERROR object too large for cache\r\nEND\r\n",
    );
    let input = [
        &b"set "[..],
        &[b'k'; 251],
        b" 0 0 9\r\nget big\r\n\r\nversion\r\n",
    ]
    .concat();
    let answer = Client::new(&store).send(&input);
    assert!(answer.starts_with(b"CLIENT_ERROR bad command line format\r\nVERSION "));
}

#[test]
fn a_line_that_is_too_long_is_refused_however_it_is_cut() {
    let store = store();
    let long = [b"delete ", &[b'k'; 3000][..], b"\r\n"].concat();
    for size in [1, 7, 2048, 2049, long.len()] {
        let mut client = Client::new(&store);
        long.chunks(size).for_each(|piece| _ = client.send(piece));
        assert_eq!(client.answers, b"CLIENT_ERROR line too long\r\n", "{size}");
        assert!(client.closed);
    }
}

#[test]
fn a_client_that_speaks_http_is_hung_up_on_without_an_answer() {
    for line in ["GET / HTTP/1.0", "PUT /a/b HTTP/1.1 ", "DELETE HTTP/1.1"] {
        for size in [1, 100] {
            let store = store();
            let mut client = Client::new(&store);
            let request = format!("{line}\r\nset key 0 0 1\r\nx\r\n");
            for piece in request.as_bytes().chunks(size) {
                client.send(piece);
            }
            assert!(client.closed && client.answers.is_empty(), "{line}");
            check(&store, b"get key\r\n", "END\r\n");
        }
    }
    // A key may look like it.
    check(
        &store(),
        b"get HTTP/1.1\r\nnothing / http\r\n",
        "END\r\nERROR\r\n",
    );
}

#[test]
fn a_line_without_end_closes_the_connection() {
    let store = store();
    for (line, limit) in [(&b"set "[..], 4 << 10), (b"get ", 2 << 20)] {
        let mut client = Client::new(&store);
        client.send(line);
        client.send(&vec![b'k'; limit]);
        assert!(client.closed);
        assert!(client.answers.ends_with(b"CLIENT_ERROR line too long\r\n"));
    }
}

#[test]
fn many_large_values_are_answered_a_few_at_a_time() {
    let store = store();
    let mut client = Client::new(&store);
    let value = vec![b'v'; 500_000];
    client.send(b"set big 0 0 500000\r\n");
    client.send(&[&value, &b"\r\n"[..]].concat());
    client.answers.clear();
    let line = [&b"get"[..], &b" big".repeat(1000), b"\r\n"].concat();
    client.send(&line);
    let one = "VALUE big 0 500000\r\n".len() + 500_002;
    assert_eq!(client.answers.len(), 1000 * one + 5);
    // Shared, not copied; and no more of them at once than one event may queue.
    assert!(client.most_waiting < 2 * one, "{}", client.most_waiting);
}

#[test]
fn items_expire_and_a_sweep_takes_them_out() {
    let store = store();
    let mut client = Client::new(&store);
    client.send(b"set a 0 10 1\r\nx\r\nset b 0 0 1\r\nx\r\nset c 0 -1 1\r\nx\r\nset d 0 1000000050 1\r\nx\r\n");
    client.answers.clear();
    client.time = time(9);
    assert_eq!(client.send(b"get a b c d\r\n").len(), 3 * 16 + 5);
    client.time = time(10);
    assert_eq!(client.send(b"get a\r\n"), b"END\r\n");
    assert_eq!(store.len(), 4);
    let used = store.used();
    for shard in 0..store.shards() {
        while store.sweep(shard, 1, client.time, 0) {}
    }
    assert_eq!(store.len(), 2);
    assert_eq!(store.used(), used / 2);
    client.time = time(50);
    assert_eq!(client.send(b"get d\r\n"), b"END\r\n");
}

#[test]
fn a_flush_may_be_put_off() {
    let store = store();
    let mut client = Client::new(&store);
    client.send(b"set a 0 0 1\r\nx\r\nflush_all 10\r\n");
    client.time = time(9);
    assert!(client.send(b"get a\r\n").starts_with(b"VALUE"));
    client.send(b"set b 0 0 1\r\nx\r\n");
    client.time = time(10);
    assert_eq!(client.send(b"get a b\r\n"), b"END\r\n");
    assert_eq!(
        client.send(b"set b 0 0 1\r\nx\r\nget b\r\n").len(),
        8 + 16 + 5
    );
}

#[test]
fn memory_stays_within_the_limit_and_what_is_asked_for_stays() {
    let limits = Limits {
        memory: 1 << 20,
        ..Limits::default()
    };
    let store = Store::<Here>::new(limits, 1);
    let mut client = Client::new(&store);
    for hot in 0..100 {
        client.send(format!("set hot{hot} 0 0 3\r\nhot\r\n").as_bytes());
    }
    for cold in 0..20_000 {
        let value = "c".repeat(cold % 1000);
        client.send(format!("set cold{cold} 0 0 {}\r\n{value}\r\n", value.len()).as_bytes());
        client.send(format!("get hot{}\r\n", cold % 100).as_bytes());
        assert!(store.used() <= limits.memory);
        client.answers.clear();
        Here::boundary();
    }
    let hot = (0..100).filter(|hot| {
        let answer = Client::new(&store).send(format!("get hot{hot}\r\n").as_bytes());
        answer.starts_with(b"VALUE")
    });
    assert!(hot.count() >= 95);
    // One item that takes nearly all evicts across shards.
    client.send(format!("set huge 0 0 1000000\r\n{}\r\n", "x".repeat(1_000_000)).as_bytes());
    assert!(store.used() <= limits.memory && store.len() < 300);
}

// --- Properties --------------------------------------------------------------------------------------

fn key() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "c"])
}

#[derive(Clone, Debug)]
enum Op {
    Store(&'static str, &'static str, String),
    Get(&'static str),
    Delete(&'static str),
    Incr(&'static str, u64),
}

fn op() -> impl Strategy<Value = Op> {
    let verb = prop::sample::select(vec!["set", "add", "replace", "append", "prepend"]);
    prop_oneof![
        (verb, key(), "[0-9]{0,4}|[a-z]{3}").prop_map(|(v, k, t)| Op::Store(v, k, t)),
        key().prop_map(Op::Get),
        key().prop_map(Op::Delete),
        (key(), 0..100u64).prop_map(|(k, n)| Op::Incr(k, n)),
    ]
}

/// What the operation does to a plain map, as the text protocol says it.
fn model(map: &mut HashMap<&'static str, String>, op: &Op) -> (String, String) {
    match op {
        Op::Store(verb, key, text) => {
            let old = map.get(key).cloned();
            let new = match (*verb, old) {
                ("set", _) | ("add", None) | ("replace", Some(_)) => Some(text.clone()),
                ("append", Some(old)) => Some(old + text),
                ("prepend", Some(old)) => Some(text.clone() + &old),
                _ => None,
            };
            let answer = if new.is_some() {
                "STORED\r\n"
            } else {
                "NOT_STORED\r\n"
            };
            if let Some(new) = new {
                map.insert(key, new);
            }
            (
                format!("{verb} {key} 0 0 {}\r\n{text}\r\n", text.len()),
                answer.into(),
            )
        }
        Op::Get(key) => {
            let value = map.get(key).map_or(String::new(), |text| {
                format!("VALUE {key} 0 {}\r\n{text}\r\n", text.len())
            });
            (format!("get {key}\r\n"), value + "END\r\n")
        }
        Op::Delete(key) => {
            let answer = if map.remove(key).is_some() {
                "DELETED\r\n"
            } else {
                "NOT_FOUND\r\n"
            };
            (format!("delete {key}\r\n"), answer.into())
        }
        Op::Incr(key, by) => {
            let answer = match map.get_mut(key) {
                None => "NOT_FOUND\r\n".into(),
                Some(text) => match text.parse::<u64>() {
                    Err(_) => {
                        "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n".into()
                    }
                    Ok(number) => {
                        *text = number.wrapping_add(*by).to_string();
                        format!("{text}\r\n")
                    }
                },
            };
            (format!("incr {key} {by}\r\n"), answer)
        }
    }
}

/// Commands of both kinds, whole, broken and made up.
fn junk() -> impl Strategy<Value = Vec<u8>> {
    let fragment = prop_oneof![
        4 => op().prop_map(|op| model(&mut HashMap::new(), &op).0.into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..40),
        1 => "(get|gets|gat 5|set|cas|incr|touch|flush_all|stats|verbosity|delete)( [a-c0-9-]{0,9}){0,6}\r?\n"
            .prop_map(String::into_bytes),
        2 => Just(b"a 0 0 99999999\r\n".to_vec()),
        1 => Just([&b"get "[..], &[b'k'; 260], b" a\r\n"].concat()),
    ];
    prop::collection::vec(fragment, 1..20).prop_map(|f| f.concat())
}

/// Binary requests, some with lengths that do not fit.
fn binary_junk() -> impl Strategy<Value = Vec<u8>> {
    let request = (
        0u8..0x28,
        prop::sample::select(vec![0usize, 1, 1, 3, 250, 251]),
        prop::sample::select(vec![0usize, 0, 4, 8, 8, 20, 21]),
        prop::sample::select(vec![0usize, 0, 1, 5, 300]),
        prop_oneof![9 => Just(0i64), 1 => -3i64..4],
        0u64..3,
        any::<u8>(),
    )
        .prop_map(|(opcode, key, extras, value, lie, cas, fill)| {
            let body = (key + extras + value) as i64 + lie;
            // As above: no statistics.
            let mut bytes = vec![0x80, if opcode == 0x10 { 0x0a } else { opcode }];
            bytes.extend((key as u16).to_be_bytes());
            bytes.extend([extras as u8, 0, 0, 0]);
            bytes.extend((body.max(0) as u32).to_be_bytes());
            bytes.extend([1, 2, 3, 4]);
            bytes.extend(cas.to_be_bytes());
            bytes.extend(vec![0; extras]);
            bytes.extend(vec![b'a' + fill % 3; key]);
            bytes.extend(vec![b'1'; value]);
            bytes
        });
    prop::collection::vec(request, 1..20).prop_map(|r| r.concat())
}

/// What a fresh server answers when the input comes in these pieces.
fn answers(pieces: &[&[u8]]) -> (Vec<u8>, bool) {
    let store = store();
    let mut client = Client::new(&store);
    for piece in pieces {
        client.send(piece);
        assert!(client.session_bytes() <= 4 << 20);
    }
    Here::boundary();
    // How many bytes have been read so far does depend on the cuts.
    let lines = client.answers.split_inclusive(|b| *b == b'\n');
    let same = lines.filter(|line| !line.starts_with(b"STAT bytes_"));
    (same.flatten().copied().collect(), client.closed)
}

fn cut<'a>(input: &'a [u8], places: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = places.iter().map(|p| p.index(input.len() + 1)).collect();
    places.extend([0, input.len()]);
    places.sort_unstable();
    places.windows(2).map(|w| &input[w[0]..w[1]]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_does_what_a_map_does(ops in prop::collection::vec(op(), 1..60)) {
        let store = store();
        let mut map = HashMap::new();
        let (input, answer): (Vec<_>, Vec<_>) = ops.iter().map(|op| model(&mut map, op)).unzip();
        let got = Client::new(&store).send(input.concat().as_bytes());
        prop_assert_eq!(String::from_utf8_lossy(&got), answer.concat());
        Here::boundary();
    }

    #[test]
    fn text_means_the_same_however_it_is_cut(
        input in junk(), places in prop::collection::vec(any::<prop::sample::Index>(), 0..12)
    ) {
        let single: Vec<&[u8]> = input.chunks(1).collect();
        let whole = answers(&[&input]);
        prop_assert_eq!(&answers(&cut(&input, &places)), &whole);
        prop_assert_eq!(&answers(&single), &whole);
    }

    #[test]
    fn binary_means_the_same_however_it_is_cut(
        input in binary_junk(), places in prop::collection::vec(any::<prop::sample::Index>(), 0..12)
    ) {
        let single: Vec<&[u8]> = input.chunks(1).collect();
        let whole = answers(&[&input]);
        prop_assert_eq!(&answers(&cut(&input, &places)), &whole);
        prop_assert_eq!(&answers(&single), &whole);
    }
}
