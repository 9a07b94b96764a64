//! What does an existing OpenWhisk cost? The example `whisk-invoker` in front of one image with one vCPU, activations coming through
//! Kafka, beside the same image called through its own REST API, and beside a consumer of Kafka (kafkajs) that runs nothing and
//! answers each message at once.
//!
//! `cargo bench --bench whisk [-- --quick] [--kafka HOST:PORT | --mock] [--wait MS] [--before PROGRAM]`, without root. The broker is `broker`, which wakes
//! fetches that wait as Kafka does, if none is named; the topics of this bench are not to be there. With `--mock` it is librdkafka's mock of a
//! cluster, which answers a fetch that finds nothing when its whole wait is up. All consumers ask for waits of `--wait` milliseconds (500; with
//! the mock 1). The broker and the load, a controller, are in this program.
//!
//! With `--before`, the path of another build of `whisk-invoker`, that one takes its turns beside this one.
//!
//! - hot: one function, 32 calls at once, and one at a time.
//! - distinct: 100 functions, each with one call at once: the worst one's 99 of 100 beside the median of all.
//! - memory: the front end's, with 10,000 actions in its cache.

mod broker;
mod controller;
mod parts;

use std::{
    collections::VecDeque,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use benches::{
    functions::{Client, Greeting, IMAGE, metrics, request},
    goal, goal_at_least,
    load::{Figures, Generator, Load, Protocol},
    median, quick,
    sides::value_of,
};
use rdkafka::{mocking::MockCluster, producer::DefaultProducerContext};
use serde_json::{Value, json};
use test_support::{Server, cargo, couch::Couch, processor_time};

use controller::{Action, Controller, Times, make_topics};

const SOURCE: &str = "function main(a) { return {greeting: 'hello ' + a.name}; }";
/// The topic of the invoker, and of the consumer that only answers; they answer to controllers of these numbers.
const OURS: (&str, u32) = ("invoker0", 0);
const FLOOR: (&str, u32) = ("invoker1", 1);
const BEFORE: (&str, u32) = ("invoker2", 2);

/// The same call for ever.
const HOT: Greeting = Greeting {
    port: IMAGE,
    function: "hot",
    right: "{\"greeting\":\"hello you\"}",
};

fn rest(address: SocketAddr, connections: usize, seconds: f64) -> Figures {
    let load = Load {
        depth: 1,
        rate: 0.0,
        seconds,
    };
    Generator::new(address, connections).run(load, None, &mut { HOT })
}

fn is_right(response: &Value) {
    assert_eq!(response["statusCode"], 0, "{response}");
    assert_eq!(response["result"], json!({"greeting": "hello you"}));
}

fn figures(times: &Times, elapsed: f64) -> Figures {
    let mut seconds: Vec<f64> = times.iter().map(|(_, seconds)| *seconds).collect();
    seconds.sort_by(f64::total_cmp);
    let at = |part: usize| rank(&seconds, part) * 1e6;
    Figures {
        per_second: seconds.len() as f64 / elapsed,
        p50_us: at(50),
        p99_us: at(99),
    }
}

/// Hot calls through Kafka.
fn through(
    side: &mut Controller,
    (topic, number): (&str, u32),
    action: &Action,
    outstanding: usize,
    seconds: f64,
) -> Figures {
    let actions = std::slice::from_ref(action);
    let (times, elapsed) = side.press(
        topic,
        number,
        actions,
        outstanding,
        (seconds, usize::MAX),
        is_right,
    );
    figures(&times, elapsed)
}

fn say(name: &str, side: &str, figures: &Figures) {
    println!(
        "{name:<28} {side:<10} {:>8.0} calls/s, p50 {:>8.0} us, p99 {:>8.0} us",
        figures.per_second, figures.p50_us, figures.p99_us
    );
}

/// The sides in turns; the median of each, and of the ratios of the first one to each other one, by `of`.
fn turns(
    name: &str,
    rounds: usize,
    of: fn(&Figures) -> f64,
    sides: &mut [(&str, &mut dyn FnMut() -> Figures)],
) -> Vec<f64> {
    let mut all: Vec<Vec<Figures>> = sides.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds {
        for turn in 0..sides.len() {
            let side = if round % 2 == 0 {
                turn
            } else {
                sides.len() - 1 - turn
            };
            all[side].push((sides[side].1)());
        }
    }
    for ((side, _), rounds) in sides.iter().zip(&all) {
        let middle = |f: fn(&Figures) -> f64| median(&rounds.iter().map(f).collect::<Vec<_>>());
        let figures = Figures {
            per_second: middle(|f| f.per_second),
            p50_us: middle(|f| f.p50_us),
            p99_us: middle(|f| f.p99_us),
        };
        say(name, side, &figures);
    }
    let ratio = |side: &Vec<Figures>| {
        let ratios = all[0]
            .iter()
            .zip(side)
            .map(|(ours, other)| of(ours) / of(other));
        median(&ratios.collect::<Vec<_>>())
    };
    all[1..].iter().map(ratio).collect()
}

/// The sample below which so many of 100 are (nearest rank), of some in order.
fn rank(sorted: &[f64], percent: usize) -> f64 {
    sorted[(sorted.len() * percent).div_ceil(100).max(1) - 1]
}

/// Of some functions, each with one call at once: the worst one's p99 by the median of all.
fn spread(side: &str, count: usize, times: &Times) -> f64 {
    let sorted = |times: &mut dyn Iterator<Item = f64>| {
        let mut sorted: Vec<f64> = times.collect();
        sorted.sort_by(f64::total_cmp);
        sorted
    };
    let all = sorted(&mut times.iter().map(|t| t.1));
    let worst = (0..count).map(|number| {
        let of_this = times.iter().filter(|t| t.0 == number).map(|t| t.1);
        rank(&sorted(&mut { of_this }), 99)
    });
    let worst = worst.fold(0.0, f64::max);
    println!(
        "{count} functions at once         {side:<10} {:>8} calls, p50 {:.1} ms, p99 {:.1} ms, p99 of the worst function {:.1} ms",
        all.len(),
        rank(&all, 50) * 1e3,
        rank(&all, 99) * 1e3,
        worst * 1e3
    );
    worst / rank(&all, 50)
}

fn distinct_name(number: usize) -> String {
    format!("distinct{number}")
}

/// Calls of distinct functions through Kafka.
fn distinct(
    side: &mut Controller,
    to: (&str, u32),
    couch: &Couch,
    count: usize,
    seconds: f64,
) -> Times {
    let actions: Vec<Action> = (0..count)
        .map(|number| {
            let name = distinct_name(number);
            let revision = couch.put_action(&parts::action(&name, SOURCE));
            Action { name, revision }
        })
        .collect();
    // A few of each first, so that all are hot.
    let first = (600.0, 5 * count);
    side.press(to.0, to.1, &actions, count, first, is_right);
    let limits = (seconds, usize::MAX);
    side.press(to.0, to.1, &actions, count, limits, is_right).0
}

/// The same over REST.
struct Distinct {
    /// Those that are not being called.
    free: VecDeque<usize>,
    begun: Vec<Instant>,
    times: Times,
}

impl Protocol for Distinct {
    fn request(&mut self, out: &mut Vec<u8>) -> u64 {
        let number = self.free.pop_front().expect("as many as connections");
        let body = "{\"name\":\"you\"}";
        out.extend(request(IMAGE, "POST", &distinct_name(number), body).as_bytes());
        self.begun[number] = Instant::now();
        number as u64
    }

    fn answer(&mut self, input: &[u8], note: u64) -> Option<usize> {
        let end = { HOT }.answer(input, 0)?;
        let number = note as usize;
        self.times
            .push((number, self.begun[number].elapsed().as_secs_f64()));
        self.free.push_back(number);
        Some(end)
    }
}

fn distinct_by_rest(address: SocketAddr, count: usize, seconds: f64) -> Times {
    let mut client = Client::of_image(address);
    (0..count).for_each(|number| client.register(&distinct_name(number), SOURCE));
    let mut calls = Distinct {
        free: (0..count).collect(),
        begun: vec![Instant::now(); count],
        times: Times::new(),
    };
    let mut generator = Generator::new(address, count);
    let load = Load {
        depth: 1,
        rate: 0.0,
        seconds: 600.0,
    };
    generator.run(load, Some(5 * count as u64), &mut calls);
    calls.times.clear();
    generator.run(Load { seconds, ..load }, None, &mut calls);
    calls.times
}

/// Has the front end fetch so many actions. None is run: the user's limits forbid it, which is looked at when it is there.
fn fill(side: &mut Controller, couch: &Couch, count: usize) {
    let code = format!("/*{}*/ {SOURCE}", "x".repeat(1024));
    let actions: Vec<Action> = (0..count)
        .map(|number| {
            let name = format!("cached{number}");
            let revision = couch.put_action(&parts::action(&name, &code));
            Action { name, revision }
        })
        .collect();
    side.limits = json!({"maxActionMemory": "64 MB"});
    let refused = |response: &Value| assert_eq!(response["statusCode"], 1, "{response}");
    side.press(OURS.0, OURS.1, &actions, 64, (600.0, count), refused);
    side.limits = json!({});
}

/// What a call takes where, in microseconds: processor time, which depends less on what else the host does than time, of the front end, its
/// image, broker and controller, and the image alone; and the time from taking a message to its last acknowledgement.
fn cost(
    invoker: &parts::Program,
    alone: &Server,
    (ours, to): (&mut Controller, (&str, u32)),
    hot: &Action,
    (calls, seconds): (usize, f64),
) -> [f64; 5] {
    let us = |time: Duration, calls: f64| time.as_secs_f64() * 1e6 / calls;
    let latency = |what: &str| invoker.figure(&format!("ebb_whisk_latency_seconds_{what}"));
    let (own, all) = (invoker.busy(), processor_time(invoker.id()));
    let (sum, count) = (latency("sum"), latency("count"));
    let this = parts::busy(std::process::id());
    through(ours, to, hot, calls, seconds);
    let this = parts::busy(std::process::id()) - this;
    let (own, all) = (invoker.busy() - own, processor_time(invoker.id()) - all);
    let count = latency("count") - count;
    let late = Duration::from_secs_f64(latency("sum") - sum);
    let before = processor_time(alone.id());
    let rested = rest(alone.address, calls, seconds);
    let by_rest = processor_time(alone.id()) - before;
    [
        us(own, count),
        us(all.saturating_sub(own), count),
        us(this, count),
        us(by_rest, rested.per_second * seconds),
        us(late, count),
    ]
}

fn say_cost(name: &str, calls: usize, rounds: &[[f64; 5]]) {
    let [own, image, this, alone, late] =
        [0, 1, 2, 3, 4].map(|of| median(&rounds.iter().map(|round| round[of]).collect::<Vec<_>>()));
    println!(
        "{name}: {calls} at once, processor time of a call: front end {own:.0} us, its image {image:.0} us, broker and controller {this:.0} us; \
         the image alone {alone:.0} us. From taking a message to its last acknowledgement {late:.0} us"
    );
}

/// A broker with the topics, and how long fetches may wait there.
fn broker() -> (
    SocketAddr,
    Option<MockCluster<'static, DefaultProducerContext>>,
    u64,
) {
    let topics = [
        OURS.0,
        FLOOR.0,
        BEFORE.0,
        "completed0",
        "completed1",
        "completed2",
        "health",
    ];
    if std::env::args().any(|argument| argument == "--mock") {
        let mock = MockCluster::new(1).expect("a mock of a cluster");
        for topic in topics {
            mock.create_topic(topic, 1, 1).expect("a topic");
        }
        let broker = mock.bootstrap_servers().parse().expect("an address");
        return (broker, Some(mock), 1);
    }
    let named = value_of("--kafka").map(|named| named.parse().expect("an address and a port"));
    let broker = named.unwrap_or_else(broker::start);
    make_topics(broker, &topics);
    (broker, None, 500)
}

fn main() {
    let (rounds, seconds) = if quick() { (3, 3.0) } else { (7, 5.0) };
    let (program, image) = (
        cargo::hosted_example("whisk-invoker"),
        cargo::example("invoker"),
    );
    let (broker, _mock, wait_ms) = broker();
    let wait_ms = value_of("--wait").map_or(wait_ms, |text| text.parse().expect("milliseconds"));
    let couch = Couch::start();
    let revision = couch.put_action(&parts::action("hot", SOURCE));
    let hot = Action {
        name: "hot".into(),
        revision,
    };
    let start =
        |program: &Path, number| parts::invoker(program, number, &image, broker, &couch, wait_ms);
    let invoker = start(&program, OURS.1);
    let before = value_of("--before").map(|program| start(Path::new(&program), BEFORE.1));
    let alone = parts::image(&image);
    let floor = parts::consumer(broker, FLOOR.0, wait_ms);
    Client::of_image(alone.address).register("hot", SOURCE);
    // Both images make the same before they are as they will be; this one began last.
    while metrics(alone.address)("ebb_base_ready") == 0.0 {
        std::thread::sleep(Duration::from_millis(200));
    }
    let mut ours = Controller::new(broker, OURS.1, wait_ms);
    let mut theirs = Controller::new(broker, FLOOR.1, wait_ms);
    let mut earlier = Controller::new(broker, BEFORE.1, wait_ms);
    println!("1 vCPU, {rounds} rounds of {seconds} s, taking turns");
    // Until what is hot has been compiled, and translated by QEMU.
    through(&mut ours, OURS, &hot, 32, 3.0 * seconds);
    rest(alone.address, 32, 3.0 * seconds);
    if floor.is_some() {
        through(&mut theirs, FLOOR, &hot, 32, seconds);
    }
    if before.is_some() {
        through(&mut earlier, BEFORE, &hot, 32, 3.0 * seconds);
    }
    let mut ratios = Vec::new();
    for (name, calls, of) in [
        (
            "32 at once",
            32,
            (|f| 1.0 / f.per_second) as fn(&Figures) -> f64,
        ),
        ("one at a time", 1, |f| f.p50_us),
    ] {
        let mut kafka = || through(&mut ours, OURS, &hot, calls, seconds);
        let mut http = || rest(alone.address, calls, seconds);
        let mut answer = || through(&mut theirs, FLOOR, &hot, calls, seconds);
        let mut sides: Vec<(&str, &mut dyn FnMut() -> Figures)> =
            vec![("Kafka", &mut kafka), ("REST", &mut http)];
        if floor.is_some() {
            sides.push(("kafkajs", &mut answer));
        }
        let mut build_before = || through(&mut earlier, BEFORE, &hot, calls, seconds);
        if before.is_some() {
            sides.push(("before", &mut build_before));
        }
        ratios.push(turns(name, rounds, of, &mut sides));
    }
    for calls in [1, 32] {
        let (mut now, mut earlier_ones) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let load = (calls, seconds);
            let side = (&mut ours, OURS);
            now.push(cost(&invoker, &alone, side, &hot, load));
            if let Some(before) = &before {
                let side = (&mut earlier, BEFORE);
                earlier_ones.push(cost(before, &alone, side, &hot, load));
            }
        }
        say_cost("this build", calls, &now);
        if before.is_some() {
            say_cost("before", calls, &earlier_ones);
        }
    }
    goal_at_least("hot_throughput_to_rest", 1.0 / ratios[0][0], 0.7);
    goal("acknowledgement_p50_to_rest", ratios[1][0], 2.0);
    if let (true, Some(many), Some(one)) = (floor.is_some(), ratios[0].get(1), ratios[1].get(1)) {
        goal("time_per_message_to_kafkajs", *many, 3.0);
        goal("p50_to_kafkajs", *one, 3.0);
    }
    if let (Some(_), [.., many], [.., one]) = (&before, &ratios[0][..], &ratios[1][..]) {
        println!("ratio time_of_a_call_to_the_build_before: {many:.3}");
        println!("ratio p50_to_the_build_before: {one:.3}");
    }
    drop(floor);
    let times = distinct_by_rest(alone.address, 100, 6.0 * seconds);
    let beside = spread("REST", 100, &times);
    drop(alone);
    if before.is_some() {
        let times = distinct(&mut earlier, BEFORE, &couch, 100, 6.0 * seconds);
        let of_before = spread("before", 100, &times);
        println!("ratio worst_p99_of_100_to_median, of the build before: {of_before:.3}");
    }
    drop(before);
    let times = distinct(&mut ours, OURS, &couch, 100, 6.0 * seconds);
    goal(
        "worst_p99_of_100_to_median",
        spread("Kafka", 100, &times),
        3.0,
    );
    println!("ratio worst_p99_of_100_to_median, of the image alone: {beside:.3}");
    let (before, _) = invoker.mib();
    let count = 10_000;
    fill(&mut ours, &couch, count);
    let (after, most) = invoker.mib();
    let cached = invoker.figure("ebb_whisk_cached_actions");
    println!("{cached} actions cached: {after:.1} MiB (before {before:.1}, at most {most:.1})");
    goal("front_end_mib", after, 64.0);
}
