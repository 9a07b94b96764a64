//! A machine whose memory ends: an allocator with a budget, beyond which an allocation fails and, unless someone asked whether it
//! does, the process with it.

#[path = "memory/budget.rs"]
mod budget;
mod common;

use budget::Budget;
use common::{Client, Here};
use ebb_memcached::{Limits, Store};

const NO_MEMORY: &[u8] = b"SERVER_ERROR out of memory storing object\r\n";

/// A store that keeps 4 MiB of the budget free.
fn store(limit: usize) -> Store<Here> {
    let limits = Limits {
        memory: limit,
        ..Limits::default()
    };
    Store::new(limits, 1).keeping_free(4 << 20, Budget::spare)
}

/// A command that stores `len` bytes. It is no memory of the machine's.
fn set(key: &str, len: usize) -> Vec<u8> {
    budget::beside(|| {
        let value = "v".repeat(len);
        format!("set {key} 0 0 {len}\r\n{value}\r\n").into_bytes()
    })
}

/// The connection is at a command, and the store takes what is there.
fn goes_on(client: &mut Client<'_>) {
    assert!(!client.closed);
    assert!(client.send(b"version\r\n").starts_with(b"VERSION "));
}

#[test]
fn values_that_never_end_take_no_more_memory_than_there_is() {
    let store = store(16 << 20);
    let budget = Budget::of(32 << 20);
    let value = set("half", 1_000_000);
    let mut clients: Vec<_> = (0..100).map(|_| Client::new(&store)).collect();
    let mut refused = 0;
    for client in &mut clients {
        let answer = client.send(&value[..900_000]);
        assert!(answer.is_empty() || answer == NO_MEMORY);
        refused += usize::from(!answer.is_empty());
        assert!(Budget::spare() >= 1 << 20);
    }
    assert!((1..90).contains(&refused), "{refused} of 100 refused");
    // What was refused is swallowed to its end, and all are served.
    for client in &mut clients {
        client.send(&value[900_000..]);
        goes_on(client);
    }
    let mut one = Client::new(&store);
    assert_eq!(one.send(&set("whole", 1_000_000)), b"STORED\r\n");
    drop(budget);
}

#[test]
fn lines_that_never_end_take_no_more_memory_than_there_is() {
    let store = store(16 << 20);
    let budget = Budget::of(32 << 20);
    let line = [b"get".as_slice(), &b" key".repeat(200_000)].concat();
    let mut clients: Vec<_> = (0..100).map(|_| Client::new(&store)).collect();
    for client in &mut clients {
        let answer = client.send(&line);
        assert_eq!(client.closed, !answer.is_empty());
        let said = b"SERVER_ERROR out of memory reading request\r\n";
        assert!(answer.is_empty() || answer == said);
    }
    let closed = clients.iter().filter(|client| client.closed).count();
    assert!((1..95).contains(&closed), "{closed} of 100 closed");
    let mut open = clients.into_iter().filter(|client| !client.closed);
    let mut first = open.next().expect("some had room");
    drop(open.collect::<Vec<_>>());
    assert_eq!(first.send(b"\r\n"), b"END\r\n");
    goes_on(&mut first);
    drop(budget);
}

#[test]
fn a_value_waits_for_what_has_to_go_for_it() {
    let store = store(32 << 20);
    let budget = Budget::of(32 << 20);
    let mut client = Client::new(&store);
    for number in 0..60_000 {
        assert_eq!(
            client.send(&set(&format!("key{number}"), 100)),
            b"STORED\r\n"
        );
        Here::boundary();
    }
    let before = store.len();
    // Something else takes what is to stay free, but for a little.
    let other = vec![0u8; Budget::spare() - (2 << 20)];
    assert_eq!(client.send(&set("large", 1_000_000)), b"STORED\r\n");
    assert!(client.waits > 0 && client.waits < 20, "{}", client.waits);
    assert!(store.len() < before && store.len() > before / 4);
    assert_eq!(store.totals().evictions as usize, before + 1 - store.len());
    drop(other);
    drop(budget);
}

#[test]
fn short_writes_are_refused_while_memory_is_exhausted_and_taken_again_after() {
    let store = store(16 << 20);
    let budget = Budget::of(32 << 20);
    let mut client = Client::new(&store);
    assert_eq!(client.send(&set("key", 3)), b"STORED\r\n");
    assert_eq!(client.send(b"set number 0 0 1\r\n1\r\n"), b"STORED\r\n");
    let other = vec![0u8; Budget::spare() - (1 << 20)];
    let refused = (0..300).position(|_| client.send(&set("key", 3)) == NO_MEMORY);
    assert!(refused.is_some(), "still stored after 300 writes");
    // What was there before is not taken for what was refused.
    assert_eq!(client.send(b"get key\r\n"), b"END\r\n");
    assert_eq!(client.send(b"add new 0 0 1\r\nx\r\n"), NO_MEMORY);
    assert_eq!(
        client.send(b"set quiet 0 0 1 noreply\r\nx\r\nget quiet\r\n"),
        b"END\r\n"
    );
    let mut binary = Client::new(&store);
    let head = [0x80, 1, 0, 3, 8, 0, 0, 0, 0, 0, 0, 12, 7, 7, 7, 7];
    let request = [&head[..], &[0; 16], b"keyv"].concat();
    let answer = binary.send(&request);
    assert_eq!(
        (&answer[6..8], &answer[12..16]),
        (&[0, 0x82][..], &[7; 4][..])
    );
    assert!(answer.ends_with(b"Out of memory"));
    drop(other);
    assert_eq!(client.send(&set("key", 3)), b"STORED\r\n");
    assert_eq!(
        client.send(b"get key\r\n"),
        b"VALUE key 0 3\r\nvvv\r\nEND\r\n"
    );
    goes_on(&mut client);
    drop(budget);
}

#[test]
fn numbers_and_additions_say_so_too() {
    let store = store(16 << 20);
    let budget = Budget::of(32 << 20);
    let mut client = Client::new(&store);
    assert_eq!(client.send(&set("long", 500_000)), b"STORED\r\n");
    let other = vec![0u8; Budget::spare() - (1 << 20)];
    assert_eq!(client.send(b"append long 0 0 1\r\nx\r\n"), NO_MEMORY);
    let mut said = Vec::new();
    for number in 0..300 {
        let key = format!("number{number}");
        said = client.send(format!("set {key} 0 0 1\r\n1\r\nincr {key} 1\r\n").as_bytes());
        if said.starts_with(b"SERVER_ERROR") {
            break;
        }
    }
    assert_eq!(said, [NO_MEMORY, b"NOT_FOUND\r\n"].concat());
    drop(other);
    drop(budget);
}

#[test]
fn an_allocation_that_fails_refuses_its_value_only() {
    // Nothing is kept free: the allocator itself says no.
    let store = Store::<Here>::new(Limits::default(), 1);
    let budget = Budget::of(1 << 20);
    let mut client = Client::new(&store);
    let value = set("key", 1_000_000);
    assert_eq!(client.send(&value), NO_MEMORY);
    goes_on(&mut client);
    assert_eq!(client.send(&value[..value.len() - 2]), NO_MEMORY);
    assert_eq!(client.send(b"\r\nset key 0 0 1\r\n1\r\n"), b"STORED\r\n");
    drop(budget);
}

#[test]
fn an_order_that_cannot_grow_holds_fewer_items() {
    let store = Store::<Here>::new(Limits::default(), 1);
    let budget = Budget::in_pieces_of(8 << 10, 64 << 20);
    let mut client = Client::new(&store);
    for number in 0..20_000 {
        let key = format!("key{number}");
        assert_eq!(client.send(&set(&key, 10)), b"STORED\r\n");
        let get = format!("get {key}\r\n");
        assert!(client.send(get.as_bytes()).starts_with(b"VALUE"));
        client.answers.clear();
        Here::boundary();
    }
    // Of 16 shards each has as many as 8 KiB can tell of.
    assert!((1000..10_000).contains(&store.len()), "{}", store.len());
    drop(budget);
}
