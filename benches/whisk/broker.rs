//! A broker that wakes the fetches that wait when something comes, as Kafka does (its "purgatory"): what can be installed here either answers
//! a fetch that finds nothing when its whole wait is up (librdkafka's mock), or looks again later (tansu), or at once, so that consumers
//! ask without end (noida-db).
//!
//! It speaks old versions of what its clients need (<https://kafka.apache.org/protocol>), keeps everything in memory, and answers one
//! request of a connection after the other. Topics have one partition. Whoever joined a group last has it.

use std::{
    collections::HashMap,
    io::{BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

/// Requests with the versions that it knows, from the first to the last.
const KNOWN: [(i16, i16, i16); 13] = [
    (PRODUCE, 3, 3),
    (FETCH, 4, 4),
    (LIST_OFFSETS, 1, 1),
    // librdkafka 2.12 sets aside too little memory to read shorter answers with several topics; kafkajs knows the first of these.
    (METADATA, 5, 8),
    (OFFSET_COMMIT, 2, 2),
    (OFFSET_FETCH, 1, 1),
    (FIND_COORDINATOR, 0, 0),
    (JOIN_GROUP, 1, 1),
    (HEARTBEAT, 0, 0),
    (LEAVE_GROUP, 0, 0),
    (SYNC_GROUP, 0, 0),
    (API_VERSIONS, 0, 0),
    (CREATE_TOPICS, 0, 0),
];
const PRODUCE: i16 = 0;
const FETCH: i16 = 1;
const LIST_OFFSETS: i16 = 2;
const METADATA: i16 = 3;
const OFFSET_COMMIT: i16 = 8;
const OFFSET_FETCH: i16 = 9;
const FIND_COORDINATOR: i16 = 10;
const JOIN_GROUP: i16 = 11;
const HEARTBEAT: i16 = 12;
const LEAVE_GROUP: i16 = 13;
const SYNC_GROUP: i16 = 14;
const API_VERSIONS: i16 = 18;
const CREATE_TOPICS: i16 = 19;

const OK: i16 = 0;
const UNKNOWN_MEMBER: i16 = 25;
const UNSUPPORTED_VERSION: i16 = 35;
/// The only broker.
const NODE: i32 = 1;
/// Where a batch has the number of its last record, counted from its first one.
const LAST_OFFSET_DELTA: std::ops::Range<usize> = 23..27;

/// The records of a partition.
#[derive(Default)]
struct Log {
    /// Batches, each with the offset of its first record.
    batches: Vec<(i64, Vec<u8>)>,
    end: i64,
}

#[derive(Default)]
struct Topic {
    log: Mutex<Log>,
    grown: Condvar,
}

impl Topic {
    fn append(&self, mut batch: Vec<u8>) -> i64 {
        let mut log = self.log.lock().expect("nothing panics with it");
        let base = log.end;
        batch[..8].copy_from_slice(&base.to_be_bytes());
        let delta = batch[LAST_OFFSET_DELTA].try_into().expect("four bytes");
        log.end += i64::from(i32::from_be_bytes(delta)) + 1;
        log.batches.push((base, batch));
        self.grown.notify_all();
        base
    }

    /// What is there from an offset on, at most so many bytes but a whole batch, and where the log ends. Waits for it.
    fn read(&self, from: i64, most: usize, wait: Duration) -> (Vec<u8>, i64) {
        let until = Instant::now() + wait;
        let mut log = self.log.lock().expect("nothing panics with it");
        while log.end <= from {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            log = self.grown.wait_timeout(log, left).expect("no panic").0;
        }
        let after = log.batches.partition_point(|(base, _)| *base <= from);
        let mut records = Vec::new();
        if from < log.end {
            for (_, batch) in &log.batches[after.saturating_sub(1)..] {
                if !records.is_empty() && records.len() + batch.len() > most {
                    break;
                }
                records.extend_from_slice(batch);
            }
        }
        (records, log.end)
    }
}

#[derive(Default)]
struct Group {
    generation: i32,
    member: String,
    assignment: Vec<u8>,
    committed: HashMap<String, i64>,
}

struct Shared {
    address: SocketAddr,
    topics: Mutex<HashMap<String, Arc<Topic>>>,
    groups: Mutex<HashMap<String, Group>>,
}

/// Starts one, for as long as this program runs.
pub fn start() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let shared = Arc::new(Shared {
        address: listener.local_addr().expect("it listens"),
        topics: Mutex::default(),
        groups: Mutex::default(),
    });
    let address = shared.address;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || shared.serve(stream));
        }
    });
    address
}

/// A request, read from its front on.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(count);
        self.0 = rest;
        bytes
    }
    fn i8(&mut self) -> i8 {
        i8::from_be_bytes(self.bytes(1).try_into().expect("one"))
    }
    fn i16(&mut self) -> i16 {
        i16::from_be_bytes(self.bytes(2).try_into().expect("two"))
    }
    fn i32(&mut self) -> i32 {
        i32::from_be_bytes(self.bytes(4).try_into().expect("four"))
    }
    fn i64(&mut self) -> i64 {
        i64::from_be_bytes(self.bytes(8).try_into().expect("eight"))
    }
    /// None is empty.
    fn text(&mut self) -> String {
        let length = usize::try_from(self.i16()).unwrap_or(0);
        String::from_utf8_lossy(self.bytes(length)).into()
    }
    fn blob(&mut self) -> Vec<u8> {
        let length = usize::try_from(self.i32()).unwrap_or(0);
        self.bytes(length).to_vec()
    }
    /// None is empty.
    fn array<T>(&mut self, mut of: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.i32().max(0)).map(|_| of(self)).collect()
    }
    /// What is asked of each topic's only partition.
    fn topics<T>(&mut self, mut of: impl FnMut(&mut Self) -> T) -> Vec<(String, T)> {
        let topics = self.array(|input| {
            let name = input.text();
            (name, input.array(|input| (input.i32(), of(input))))
        });
        let first = |(name, partitions): (String, Vec<(i32, T)>)| {
            Some((name, partitions.into_iter().next()?.1))
        };
        topics.into_iter().filter_map(first).collect()
    }
}

/// An answer.
struct Output(Vec<u8>);

impl Output {
    fn i16(&mut self, value: i16) -> &mut Self {
        self.0.extend(value.to_be_bytes());
        self
    }
    fn i32(&mut self, value: i32) -> &mut Self {
        self.0.extend(value.to_be_bytes());
        self
    }
    fn i64(&mut self, value: i64) -> &mut Self {
        self.0.extend(value.to_be_bytes());
        self
    }
    fn text(&mut self, value: &str) -> &mut Self {
        self.i16(value.len() as i16);
        self.0.extend(value.as_bytes());
        self
    }
    fn blob(&mut self, value: &[u8]) -> &mut Self {
        self.i32(value.len() as i32);
        self.0.extend(value);
        self
    }
    fn array<T>(&mut self, all: &[T], mut of: impl FnMut(&mut Self, &T)) -> &mut Self {
        self.i32(all.len() as i32);
        all.iter().for_each(|one| of(self, one));
        self
    }
    /// What is said of each topic's only partition.
    fn topics<T>(&mut self, all: &[(String, T)], mut of: impl FnMut(&mut Self, &str, &T)) {
        self.array(all, |output, (name, one)| {
            output.text(name).i32(1).i32(0);
            of(output, name, one);
        });
    }
}

impl Shared {
    fn topic(&self, name: &str) -> Arc<Topic> {
        let mut topics = self.topics.lock().expect("nothing panics with it");
        Arc::clone(topics.entry(name.to_owned()).or_default())
    }

    fn with_group<T>(&self, name: String, f: impl FnOnce(&mut Group) -> T) -> T {
        let mut groups = self.groups.lock().expect("nothing panics with it");
        f(groups.entry(name).or_default())
    }

    fn serve(&self, stream: TcpStream) {
        stream.set_nodelay(true).expect("a socket");
        let mut writer = stream.try_clone().expect("a socket");
        let mut reader = BufReader::with_capacity(64 << 10, stream);
        let mut request = Vec::new();
        let mut length = [0; 4];
        while reader.read_exact(&mut length).is_ok() {
            request.resize(u32::from_be_bytes(length) as usize, 0);
            if reader.read_exact(&mut request).is_err() {
                return;
            }
            let mut input = Input(&request);
            let (kind, version, number) = (input.i16(), input.i16(), input.i32());
            input.text();
            let mut output = Output(vec![0; 4]);
            output.i32(number);
            self.answer((kind, version), &mut input, &mut output);
            let length = output.0.len() as u32 - 4;
            output.0[..4].copy_from_slice(&length.to_be_bytes());
            if writer.write_all(&output.0).is_err() {
                return;
            }
        }
    }

    fn answer(&self, (kind, version): (i16, i16), input: &mut Input<'_>, output: &mut Output) {
        match kind {
            API_VERSIONS => {
                let is_known = version == 0;
                output.i16(if is_known { OK } else { UNSUPPORTED_VERSION });
                output.array(&KNOWN, |output, (kind, from, to)| {
                    output.i16(*kind).i16(*from).i16(*to);
                });
            }
            PRODUCE | FETCH | LIST_OFFSETS => self.records(kind, input, output),
            METADATA | FIND_COORDINATOR | CREATE_TOPICS => {
                self.places((kind, version), input, output)
            }
            _ => self.group(kind, input, output),
        }
    }

    fn records(&self, kind: i16, input: &mut Input<'_>, output: &mut Output) {
        match kind {
            PRODUCE => {
                let _ = (input.text(), input.i16(), input.i32());
                let batches = input.topics(Input::blob);
                let append = |(name, batch): (String, Vec<u8>)| {
                    let base = self.topic(&name).append(batch);
                    (name, base)
                };
                let appended: Vec<_> = batches.into_iter().map(append).collect();
                output.topics(&appended, |output, _, base| {
                    output.i16(OK).i64(*base).i64(-1);
                });
                output.i32(0);
            }
            FETCH => {
                let (_, wait_ms, _) = (input.i32(), input.i32(), input.i32());
                let _ = (input.i32(), input.i8());
                let asked = input.topics(|input| (input.i64(), input.i32()));
                // All consumers here ask for one topic.
                let wait = Duration::from_millis(wait_ms.max(0) as u64);
                output.i32(0);
                output.topics(&asked, |output, name, (from, most)| {
                    let (records, end) = self.topic(name).read(*from, *most as usize, wait);
                    output.i16(OK).i64(end).i64(end).i32(-1).blob(&records);
                });
            }
            _ => {
                input.i32();
                let asked = input.topics(Input::i64);
                output.topics(&asked, |output, name, time| {
                    let topic = self.topic(name);
                    let end = topic.log.lock().expect("nothing panics with it").end;
                    // The earliest, or the end.
                    let offset = if *time == -2 { 0 } else { end };
                    output.i16(OK).i64(-1).i64(offset);
                });
            }
        }
    }

    fn places(&self, (kind, version): (i16, i16), input: &mut Input<'_>, output: &mut Output) {
        let (host, port) = (
            self.address.ip().to_string(),
            i32::from(self.address.port()),
        );
        match kind {
            METADATA => {
                let mut names = input.array(Input::text);
                names.iter().for_each(|name| drop(self.topic(name)));
                if names.is_empty() {
                    let topics = self.topics.lock().expect("nothing panics with it");
                    names.extend(topics.keys().cloned());
                }
                output.i32(0);
                output.i32(1).i32(NODE).text(&host).i32(port).i16(-1);
                output.i16(-1).i32(NODE);
                output.array(&names, |output, name| {
                    output.i16(OK).text(name).0.push(0);
                    output.i32(1).i16(OK).i32(0).i32(NODE);
                    if version >= 7 {
                        output.i32(-1);
                    }
                    // Its replicas, those in sync, those that are away.
                    output.i32(1).i32(NODE).i32(1).i32(NODE).i32(0);
                    if version >= 8 {
                        output.i32(i32::MIN);
                    }
                });
                if version >= 8 {
                    output.i32(i32::MIN);
                }
            }
            FIND_COORDINATOR => {
                output.i16(OK).i32(NODE).text(&host).i32(port);
            }
            _ => {
                let names = input.array(|input| {
                    let (name, _, _) = (input.text(), input.i32(), input.i16());
                    input.array(|input| (input.i32(), input.array(Input::i32)));
                    input.array(|input| (input.text(), input.text()));
                    drop(self.topic(&name));
                    name
                });
                output.array(&names, |output, name| {
                    output.text(name).i16(OK);
                });
            }
        }
    }

    fn group(&self, kind: i16, input: &mut Input<'_>, output: &mut Output) {
        let group = input.text();
        match kind {
            JOIN_GROUP => {
                let _ = (input.i32(), input.i32(), input.text(), input.text());
                let protocols = input.array(|input| (input.text(), input.blob()));
                let (generation, member) = self.with_group(group, |group| {
                    group.generation += 1;
                    group.member = format!("member-{}", group.generation);
                    (group.generation, group.member.clone())
                });
                let (protocol, metadata) = &protocols[0];
                output.i16(OK).i32(generation).text(protocol);
                output.text(&member).text(&member);
                output.i32(1).text(&member).blob(metadata);
            }
            OFFSET_FETCH => {
                let asked = input.array(|input| (input.text(), input.array(Input::i32)));
                self.with_group(group, |group| {
                    output.topics(&asked, |output, name, _| {
                        let offset = group.committed.get(name).copied().unwrap_or(-1);
                        output.i64(offset).text("").i16(OK);
                    });
                });
            }
            LEAVE_GROUP => {
                output.i16(OK);
            }
            _ => {
                let (_, member) = (input.i32(), input.text());
                self.with_group(group, |group| {
                    let is_member = group.member == member;
                    let error = if is_member { OK } else { UNKNOWN_MEMBER };
                    match kind {
                        HEARTBEAT => {
                            output.i16(error);
                        }
                        SYNC_GROUP => {
                            let given = input.array(|input| (input.text(), input.blob()));
                            if let Some((_, first)) = given.into_iter().next() {
                                group.assignment = first;
                            }
                            output.i16(error).blob(&group.assignment);
                        }
                        _ => {
                            input.i64();
                            let offsets = input.topics(|input| (input.i64(), input.text()).0);
                            output.topics(&offsets, |output, name, offset| {
                                if is_member {
                                    group.committed.insert(name.to_owned(), *offset);
                                }
                                output.i16(error);
                            });
                        }
                    }
                });
            }
        }
    }
}
