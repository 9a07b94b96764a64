//! Captures and clones `/bin/snapshot` (`guests/snapshot.c`) and checks what clones share and what they do not. Takes the
//! number of deploy and destroy cycles, that of clones which write at random, and the port of a server on the host that sends
//! back what it gets (0 without a network); says `snapshots are well` at the end.

#![no_std]
#![no_main]

extern crate alloc;

mod random;

use alloc::{format, rc::Rc, string::String, vec::Vec};
use core::time::Duration;

use ebb::{println, time};
use ebb_linux::snapshot::{CloneOptions, LINE_BYTES, PAGE_BYTES, Refused, Restoring, Unusable};
use ebb_linux::{Access, Channel, Errno, Exit, Options, Program, Snapshot, Stdio, Uc};
use ebb_mem::frame::{self, Node};

use self::random::{damaged, isolated};

/// As in the program.
const PAGES: usize = 600;

fn free() -> u64 {
    ebb_mem::trim();
    frame::stats().free
}

fn start() -> Rc<Uc> {
    let options = Options {
        name: String::from("snapshot"),
        memory: 64 << 20,
        stdio: Stdio::Owner,
        ..Options::default()
    };
    let program = Program::archived(&["/bin/snapshot"]).expect("the program is in the archive");
    Uc::start(options, program).expect("it starts")
}

async fn ask(uc: &Uc, line: &str) -> String {
    uc.give(format!("{line}\n").as_bytes()).expect("it reads");
    let Ok(answer) = time::timeout(Duration::from_secs(20), uc.output()).await else {
        panic!("no answer to `{line}`: {}", ebb_linux::threads(uc));
    };
    String::from(String::from_utf8_lossy(&answer).trim_end())
}

async fn end(uc: Rc<Uc>) {
    uc.end(Exit::Signal(9));
    drop(uc);
    // Its threads' tasks hold it until they have run once more.
    time::sleep(Duration::from_millis(1)).await;
}

fn hash(model: &[u8]) -> u32 {
    let step = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(16_777_619);
    model.iter().fold(2_166_136_261, step)
}

async fn kept(snapshot: &Snapshot) {
    let [a, b] = [11, 12].map(|pid| {
        let pid = Some(pid);
        let options = CloneOptions {
            pid,
            ..CloneOptions::default()
        };
        snapshot.start_clone(options).expect("there is memory")
    });
    assert_eq!(ask(&a, "thread").await, "thread 1");
    assert_eq!(ask(&a, "thread").await, "thread 2");
    assert_eq!(ask(&b, "thread").await, "thread 1");
    assert_eq!(ask(&a, "pipe").await, "pipe 1 kept");
    assert_eq!(ask(&b, "pipe").await, "pipe 1 kept");
    assert_eq!(
        ask(&a, "clock").await,
        "clock 1 1",
        "its clock goes on from the capture"
    );
    assert_eq!(ask(&a, "loop").await, "loop way back");
    assert_eq!(ask(&b, "loop").await, "loop way back");
    let (a, b) = (ask(&a, "random").await, ask(&b, "random").await);
    assert!(a.ends_with(" 11") && b.ends_with(" 12"), "{a}, {b}");
    assert_ne!(a.split(' ').next(), b.split(' ').next());
    println!(
        "kept: threads, pipes, epoll sets, loopback connections, timers and the clock; fresh: entropy and process id"
    );
}

/// A file that is mapped privately: each clone sees what is written to its own. What is to be wiped in copies is.
async fn mapped(snapshot: &Snapshot) {
    let clone = |of: &Snapshot| {
        let clone = of.start_clone(CloneOptions::default());
        clone.expect("there is memory")
    };
    let first = clone(snapshot);
    assert_eq!(ask(&first, "map").await, "mapped");
    first.parked().await;
    let taken = Snapshot::capture(&first).expect("it can be captured");
    let (a, b) = (clone(&taken), clone(&taken));
    assert_eq!(ask(&a, "seen").await, "seen 1 9 3 secret 0");
    assert_eq!(ask(&a, "file 50").await, "file 50");
    assert_eq!(ask(&first, "file 60").await, "file 60");
    assert_eq!(ask(&a, "seen").await, "seen 50 9 3 secret 0");
    assert_eq!(ask(&first, "seen").await, "seen 60 9 3 secret 7");
    assert_eq!(ask(&b, "touch 5").await, "touched");
    b.parked().await;
    let delta = Snapshot::capture_delta(&b).expect("it can be captured");
    assert_eq!(ask(&b, "file 70").await, "file 70");
    assert_eq!(ask(&b, "touch 6").await, "touched");
    let (c, d, e) = (clone(&delta), clone(&delta), clone(&taken));
    assert_eq!(ask(&c, "file 80").await, "file 80");
    for (uc, right) in [
        (&d, "seen 1 9 5 secret 0"),
        (&c, "seen 80 9 5 secret 0"),
        (&b, "seen 70 9 6 secret 0"),
        (&e, "seen 1 9 3 secret 0"),
    ] {
        assert_eq!(ask(uc, "seen").await, right);
    }
    for uc in [first, a, b, c, d, e] {
        end(uc).await;
    }
    println!(
        "mapped: clones see what is written to their own file, and nothing of what no copy may have"
    );
}

/// Sends so many bytes through the program, and what it says of them.
async fn relay(uc: &Uc, channel: &mut Channel, count: usize) -> String {
    let sent: Vec<u8> = (0..count).map(|n| (n % 251) as u8).collect();
    uc.give(format!("relay {count}\n").as_bytes())
        .expect("it reads");
    channel.write(&sent).await.expect("it reads that too");
    let mut got = Vec::new();
    while got.len() < count && channel.read(&mut got).await > 0 {}
    assert!(
        got.iter()
            .eq(sent.iter().map(|byte| byte + 1).collect::<Vec<_>>().iter())
    );
    String::from(String::from_utf8_lossy(&uc.output().await).trim_end())
}

/// The owner's ends of channels: of a program, and of a clone that goes on with them.
async fn channels(snapshot: &Snapshot) {
    let parent = snapshot
        .start_clone(CloneOptions::default())
        .expect("there is memory");
    let mut channel = parent
        .open_channel(20, Access::ReadWrite)
        .expect("there is a descriptor");
    // More than a channel holds: both sides wait for one another.
    assert_eq!(
        relay(&parent, &mut channel, 300_000).await,
        "relayed 300000"
    );
    assert_eq!(channel.try_read(&mut Vec::new()), Err(Errno::EAGAIN));
    parent.parked().await;
    let snapshot = Snapshot::capture(&parent).expect("it can be captured");
    let clone = snapshot
        .start_clone(CloneOptions::default())
        .expect("there is memory");
    let mut of_clone = clone.channel(channel.id());
    assert_eq!(relay(&clone, &mut of_clone, 1000).await, "relayed 1000");
    assert_eq!(channel.try_read(&mut Vec::new()), Err(Errno::EAGAIN));
    // The program closes its end.
    clone.give(b"hang up\n").expect("it reads");
    let patience = Duration::from_secs(20);
    let ended = time::timeout(patience, of_clone.ended()).await;
    ended.expect("its end is told");
    assert_eq!(of_clone.read(&mut Vec::new()).await, 0);
    assert_eq!(of_clone.write(b"x").await, Err(Errno::EPIPE));
    // The owner closes its own: the program reads the end.
    parent.give(b"relay 10\n").expect("it reads");
    channel.write(b"half").await.expect("it reads that too");
    drop(channel);
    assert_eq!(parent.output().await, b"relayed 0\n");
    // The end of the program ends what waits for it.
    let mut last = clone
        .open_channel(20, Access::Write)
        .expect("there is a descriptor");
    clone.end(Exit::Signal(9));
    let read = time::timeout(patience, last.read(&mut Vec::new())).await;
    assert_eq!(read, Ok(0));
    drop((of_clone, last));
    end(parent).await;
    end(clone).await;
    println!("channels: both ends wait, close and are there in a clone");
}

/// A connection to another machine belongs to the one that opened it.
async fn connected(snapshot: &Snapshot, port: u32) {
    // The machine has an address by then.
    let host = ([10, 0, 2, 2], port as u16);
    for tried in 0.. {
        match ebb::net::tcp::TcpStream::connect(host).await {
            Ok(_) => break,
            Err(error) => assert!(tried < 200, "the host listens: {error:?}"),
        }
        time::sleep(Duration::from_millis(50)).await;
    }
    let first = snapshot
        .start_clone(CloneOptions::default())
        .expect("there is memory");
    assert_eq!(ask(&first, &format!("connect {port}")).await, "connected");
    assert_eq!(ask(&first, "echo").await, "echo 1 1 x");
    first.parked().await;
    for capture in [Snapshot::capture, Snapshot::capture_delta] {
        let taken = capture(&first).expect("it can be captured");
        let clone = taken
            .start_clone(CloneOptions::default())
            .expect("there is memory");
        let answer = ask(&clone, "echo").await;
        assert!(answer.starts_with("echo -1"), "{answer}");
        // It has a network all the same, and the first keeps its connection.
        assert_eq!(ask(&clone, &format!("connect {port}")).await, "connected");
        assert_eq!(ask(&clone, "echo").await, "echo 1 1 x");
        assert_eq!(ask(&first, "echo").await, "echo 1 1 x");
        end(clone).await;
        assert_eq!(ask(&first, "echo").await, "echo 1 1 x");
    }
    end(first).await;
    println!("connected: clones inherit no connection, and open their own");
}

/// Captures a program that sleeps in a system call, whose clones wake when it does.
async fn asleep(snapshot: &Snapshot) {
    let uc = snapshot
        .start_clone(CloneOptions::default())
        .expect("there is memory");
    uc.give(b"sleep\n").expect("it reads");
    time::sleep(Duration::from_millis(30)).await;
    uc.parked().await;
    let taken = Snapshot::capture(&uc).expect("it can be captured");
    let clone = taken
        .start_clone(CloneOptions::default())
        .expect("there is memory");
    for uc in [&uc, &clone] {
        let said = time::timeout(Duration::from_secs(20), uc.output()).await;
        assert_eq!(said.as_deref(), Ok(&b"slept\n"[..]));
    }
    end(uc).await;
    end(clone).await;
    println!("asleep: a clone of a sleeping program wakes");
}

/// What each of the waiting threads of the program says when it is woken.
const WOKEN: &str = "4 read, 1 1, 1, 0 1, 6 twoand, 100000, 1, 8 sent, 0, 0, 8 halfway, window 50 132, echo 1, in order 1";

/// Captures a program whose threads wait in a call of each kind, with parts of some done, and which has a terminal with half a
/// line: it and its clones go on where they were.
async fn waiting(snapshot: &Snapshot) {
    let uc = snapshot
        .start_clone(CloneOptions::default())
        .expect("there is memory");
    assert_eq!(ask(&uc, "wait").await, "waiting");
    time::sleep(Duration::from_millis(300)).await;
    uc.parked().await;
    let taken = Snapshot::capture(&uc).expect("it can be captured");
    let clones = [(); 3].map(|()| {
        taken
            .start_clone(CloneOptions::default())
            .expect("there is memory")
    });
    for uc in clones.iter().chain([&uc]) {
        assert_eq!(ask(uc, "wake").await, WOKEN);
    }
    for gone in clones {
        end(gone).await;
    }
    end(uc).await;
    println!("waiting: calls that wait go on in clones, and so does a terminal");
}

/// Snapshots of clones, whose parents end: what is left goes on, and dropping one gives back what only it held.
async fn orphaned(snapshot: &Snapshot, whole: bool) {
    // What a UC and a snapshot take besides the guest's memory.
    const OBJECTS: u64 = 16;
    let before = free();
    let mut chain: Vec<Snapshot> = Vec::new();

    for generation in 0..6 {
        let from = chain.last().unwrap_or(snapshot);
        let uc = from
            .start_clone(CloneOptions::default())
            .expect("there is memory");
        let lines: String = (0..40)
            .map(|page| format!("write {} {generation}\n", generation * 40 + page))
            .collect();
        uc.give(lines.as_bytes()).expect("it reads");
        ask(&uc, "hash").await;
        uc.parked().await;
        let taken = if whole {
            Snapshot::capture(&uc)
        } else {
            Snapshot::capture_delta(&uc)
        };
        chain.push(taken.expect("it can be captured"));
        end(uc).await;
    }
    let mut model: Vec<u8> = (0..PAGES).map(|i| i as u8).collect();
    for (at, byte) in model.iter_mut().take(240).enumerate() {
        *byte = (at / 40) as u8;
    }
    let last = chain.pop().expect("six of them");
    let youngest = last
        .start_clone(CloneOptions::default())
        .expect("there is memory");
    drop(last);
    while !chain.is_empty() {
        // Any of them: nothing of what the clone has depends on it.
        let gone = chain.remove(chain.len() / 2);
        let (was, private) = (free(), gone.private() / 4096);
        drop(gone);
        let more = free() - was;
        // Differences are in blocks of the heap, which does not give back a frame for each, but a whole chunk of 2 MiB with its
        // last block.
        let (least, chunk) = if whole { (private, 0) } else { (0, 512) };
        assert!(
            (least..=private + OBJECTS + chunk).contains(&more),
            "{more} frames came back, of which only it held {private}"
        );
        assert_eq!(
            ask(&youngest, "hash").await,
            format!("{}", hash(&model)),
            "the clone's memory is whole"
        );
    }
    end(youngest).await;
    let after = free();
    assert!(after + OBJECTS >= before, "{before} before, {after} after");
    let what = if whole {
        "whole snapshots"
    } else {
        "differences"
    };
    println!(
        "orphaned ({what}): clones outlive their parents, and a snapshot gives back what only it held"
    );
}

/// What a snapshot is as bytes: its record, and its pages or, if it is one of differences, its lines.
fn bytes_of(snapshot: &Snapshot) -> Result<(Vec<u8>, Vec<u8>), Unusable> {
    let (mut recording, mut pages) = (snapshot.record(), Vec::new());
    while recording.pages(100, &mut pages)? {}
    let lines = recording.lines();
    assert!(pages.is_empty() || lines.byte_count() == 0);
    for at in (0..lines.byte_count()).step_by(5 * LINE_BYTES) {
        lines.append(at, 5 * LINE_BYTES, &mut pages);
    }
    Ok((recording.finish()?, pages))
}

/// The snapshot of these bytes.
fn restored(record: &[u8], pages: &[u8], root: Option<&Snapshot>) -> Result<Snapshot, Unusable> {
    let mut restoring = Restoring::new(record)?;
    if restoring.contents() == 0 {
        for some in pages.chunks(7 * LINE_BYTES) {
            restoring.put_lines(some)?;
        }
        return restoring.finish(root);
    }
    let (pages, _) = pages.as_chunks::<PAGE_BYTES>();
    assert_eq!(restoring.contents() as usize, pages.len());
    for (number, part) in pages.chunks(70).enumerate() {
        restoring.put(number as u32 * 70, part)?;
    }
    restoring.finish(root)
}

/// The same snapshot, written down and read.
fn rewritten(snapshot: &Snapshot) -> Snapshot {
    let (record, pages) = bytes_of(snapshot).expect("it can be written down");
    restored(&record, &pages, Some(snapshot.root())).expect("it can be read")
}

/// Snapshots as bytes: what is read again is what was written, and what cannot be written is named.
async fn stored(snapshot: &Snapshot, clones: usize) {
    let why = bytes_of(snapshot).expect_err("it has a connection over loopback");
    assert_eq!(format!("{why}"), "a socket");
    let uc = snapshot
        .start_clone(CloneOptions::default())
        .expect("there is memory");
    assert_eq!(ask(&uc, "unloop").await, "unlooped");
    uc.parked().await;
    let plain = Snapshot::capture(&uc).expect("it can be captured");
    assert_eq!(ask(&uc, "map").await, "mapped");
    uc.parked().await;
    let why = bytes_of(&Snapshot::capture(&uc).expect("it can be captured"));
    let why = format!("{}", why.expect_err("it has mapped a file that it wrote"));
    assert!(why.contains("a changed file"), "{why}");
    end(uc).await;

    let (record, pages) = bytes_of(&plain).expect("it can be written down");
    println!(
        "stored: a record of {} bytes, {} pages",
        record.len(),
        pages.len() / PAGE_BYTES
    );
    let before = free();
    let again = restored(&record, &pages, None).expect("it can be read");
    assert_eq!((again.threads(), again.used()), (2, plain.used()));
    assert_eq!(
        bytes_of(&again).expect("it can be written down"),
        (record.clone(), pages.clone()),
        "the same bytes"
    );
    for pid in [11, 12] {
        let options = CloneOptions {
            pid: Some(pid),
            ..CloneOptions::default()
        };
        let uc = again.start_clone(options).expect("there is memory");
        assert_eq!(ask(&uc, "thread").await, "thread 1");
        assert_eq!(ask(&uc, "pipe").await, "pipe 1 kept");
        assert_eq!(ask(&uc, "clock").await, "clock 1 1");
        let random = ask(&uc, "random").await;
        assert!(random.ends_with(&format!(" {pid}")), "{random}");
        uc.give(b"sleep\n").expect("it reads");
        let said = time::timeout(Duration::from_secs(20), uc.output()).await;
        assert_eq!(said.as_deref(), Ok(&b"slept\n"[..]));
        end(uc).await;
    }
    // Differences from the one are differences from the other.
    let model: Vec<u8> = (0..PAGES).map(|page| page as u8 ^ 5).collect();
    let uc = plain
        .start_clone(CloneOptions::default())
        .expect("there is memory");
    for part in (0..PAGES).collect::<Vec<_>>().chunks(100) {
        let write = |page: &usize| format!("write {page} {}\n", *page as u8 ^ 5);
        let lines: String = part.iter().map(write).collect();
        uc.give(lines.as_bytes()).expect("it reads");
        ask(&uc, "hash").await;
    }
    uc.parked().await;
    let delta = Snapshot::capture_delta(&uc).expect("it can be captured");
    end(uc).await;
    let (small, lines) = bytes_of(&delta).expect("it can be written down");
    assert!(!lines.is_empty());
    let why = restored(&small, &lines, None).err();
    assert!(why.is_some(), "it is nothing without the other");
    let few = &lines[..lines.len() - LINE_BYTES];
    for part in [few, &[], &lines[1..]] {
        let why = restored(&small, part, Some(&plain)).err();
        assert!(why.is_some(), "it is nothing without all lines");
    }
    for root in [&plain, &again] {
        let delta = restored(&small, &lines, Some(root)).expect("it can be read");
        let uc = delta
            .start_clone(CloneOptions::default())
            .expect("there is memory");
        assert_eq!(ask(&uc, "hash").await, format!("{}", hash(&model)));
        end(uc).await;
    }
    drop(delta);
    isolated(&again, 7, clones, true).await;
    drop(again);
    let after = free();
    assert!(after + 600 >= before, "{before} before, {after} after");

    // Bytes that nobody has written are refused, or are some program; nothing else comes of them.
    let refused = damaged(&record, &pages, None).await;
    println!("stored: what was written is read; {refused} of 1000 damaged records were refused");
    let refused = damaged(&small, &lines, Some(&plain)).await;
    println!("stored: {refused} of 1000 damaged records of differences were refused");
    let last = free();
    assert!(last + 64 >= after, "{after} before, {last} after");
}

/// Two processes with memory and pipes in common, and a record lock of one: a clone has both, and all of it is its own.
async fn families(snapshot: &Snapshot) {
    let uc = snapshot
        .start_clone(CloneOptions::default())
        .expect("there is memory");
    assert_eq!(ask(&uc, "family").await, "family");
    assert_eq!(ask(&uc, "add 5").await, "sum 5 own 101 locked 1");
    uc.parked().await;
    let taken = Snapshot::capture(&uc).expect("it can be captured");
    assert_eq!(taken.threads(), 3, "two of the parent and one of the child");
    let [a, b] = [(); 2].map(|()| {
        taken
            .start_clone(CloneOptions::default())
            .expect("there is memory")
    });
    assert_eq!(ask(&a, "add 10").await, "sum 15 own 102 locked 1");
    assert_eq!(ask(&a, "add 10").await, "sum 25 own 103 locked 1");
    assert_eq!(ask(&b, "add 1").await, "sum 6 own 102 locked 1");
    assert_eq!(ask(&uc, "add 2").await, "sum 7 own 102 locked 1");
    // A clone of a clone, which outlives where it came from.
    a.parked().await;
    let again = Snapshot::capture(&a).expect("it can be captured");
    for gone in [a, b, uc] {
        end(gone).await;
    }
    drop(taken);
    let c = again
        .start_clone(CloneOptions::default())
        .expect("there is memory");
    assert_eq!(ask(&c, "add 100").await, "sum 125 own 104 locked 1");
    assert_eq!(ask(&c, "thread").await, "thread 1");
    end(c).await;
    println!("families: clones of two processes share nothing that changes");
}

/// Why a program that was told this cannot be captured.
async fn refusal(snapshot: &Snapshot, line: &str) -> String {
    let uc = snapshot
        .start_clone(CloneOptions::default())
        .expect("there is memory");
    uc.give(line.as_bytes()).expect("it reads");
    let why = loop {
        time::sleep(Duration::from_millis(1)).await;
        match Snapshot::capture(&uc) {
            Err(Refused::NotRestartable(why)) => break why,
            Err(other) => panic!("{other}"),
            Ok(_) => {}
        }
    };
    let why = format!("{}", Refused::NotRestartable(why));
    // It goes on: nothing has been changed.
    assert_eq!(uc.exit_status(), None);
    end(uc).await;
    why
}

async fn refused(snapshot: &Snapshot) {
    let why = refusal(snapshot, "fifo\n").await;
    assert!(
        why.contains(" waits in open") && why.contains("one end of a FIFO"),
        "{why}"
    );
    let why = refusal(snapshot, "vfork\n").await;
    assert!(
        why.contains(" waits in vfork") && why.contains("its parent's memory"),
        "{why}"
    );
    let uc = snapshot
        .start_clone(CloneOptions::default())
        .expect("there is memory");
    uc.end(Exit::Signal(9));
    assert_eq!(Snapshot::capture(&uc).err(), Some(Refused::Ended));
    drop(uc);
    time::sleep(Duration::from_millis(1)).await;

    let before = free();
    let mut taken = Vec::with_capacity(1 << 16);
    while frame::stats().free >= 512 {
        match frame::alloc(3, Node::LOCAL) {
            Some(block) => taken.push(block),
            None => break,
        }
    }
    assert_eq!(
        snapshot.start_clone(CloneOptions::default()).err(),
        Some(Errno::ENOMEM)
    );
    for block in taken.drain(..) {
        // SAFETY: allocated above with this order.
        unsafe { frame::free(block, 3) };
    }
    drop(taken);
    assert_eq!(free(), before, "a deploy that fails leaves nothing behind");
    println!(
        "refused: a capture while a FIFO is opened, during a vfork, after the end; a deploy without memory"
    );
}

async fn cycles(snapshot: &Snapshot, count: usize) {
    let mut begun = None;
    for round in 0..count + 100 {
        // What allocators keep for next time is there after the first few.
        if round == 100 {
            begun = Some(free());
        }
        let uc = snapshot
            .start_clone(CloneOptions::default())
            .expect("there is memory");
        if round % 2 == 0 {
            assert_eq!(ask(&uc, "thread").await, "thread 1");
        }
        if round % 16 == 0 {
            uc.parked().await;
            drop(Snapshot::capture(&uc).expect("it can be captured"));
        }
        snapshot.learn(&uc);
        uc.end(Exit::Signal(9));
        drop(uc);
        ebb::yield_now().await;
        ebb::yield_now().await;
    }
    time::sleep(Duration::from_millis(5)).await;
    let (before, after) = (begun.unwrap_or_default(), free());
    println!("cycles: {count}, frames free: {before} before, {after} after");
    assert!(after + 8 >= before, "frames are lost");
}

#[ebb::main]
async fn main() {
    let argument = |at: usize| ebb::args().get(at).and_then(|n| n.parse().ok());
    let cycles_wanted = argument(0).unwrap_or(1000);
    let clones = argument(1).unwrap_or(200);
    let port = argument(2).unwrap_or(0);
    let uc = start();
    let ready = time::timeout(Duration::from_secs(20), uc.output()).await;
    assert_eq!(
        ready.as_deref(),
        Ok(&b"ready\n"[..]),
        "{}",
        ebb_linux::threads(&uc)
    );
    uc.parked().await;
    let snapshot = Snapshot::capture(&uc).expect("it can be captured");
    assert!(snapshot.parent().is_none());
    // The captured program goes on, and so do clones without it.
    assert_eq!(ask(&uc, "thread").await, "thread 1");
    end(uc).await;
    time::sleep(Duration::from_secs(3)).await;
    kept(&snapshot).await;
    for seed in [1, 20_261_123] {
        isolated(&snapshot, seed, clones / 2, false).await;
    }
    asleep(&snapshot).await;
    waiting(&snapshot).await;
    orphaned(&snapshot, true).await;
    orphaned(&snapshot, false).await;
    if port > 0 {
        connected(&snapshot, port as u32).await;
    }
    stored(&snapshot, clones / 2).await;
    mapped(&snapshot).await;
    channels(&snapshot).await;
    families(&snapshot).await;
    refused(&snapshot).await;
    cycles(&snapshot, cycles_wanted).await;
    println!("snapshots are well");
}
