//! Instances of the invoker's image from outside: what copies of a snapshot do not share, and what becomes of them when the
//! machine's memory is used up.

use std::{
    collections::HashSet,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use test_support::{invoker::Invoker, needs};

/// Draws from all sources of chance when it is loaded and when it is called; `LOADED` is what it draws when it is loaded.
const CHANCE: &str = r#"
const crypto = require('crypto');
const drawn = LOADED;
exports.main = ({ wait = 0 }) => new Promise((done) => setTimeout(done, wait)).then(() => ({
  all: [
    crypto.randomUUID(), (globalThis.crypto ?? crypto.webcrypto).randomUUID(), crypto.randomInt(2 ** 47), crypto.randomBytes(16).toString('hex'),
    Math.random(), process.pid, crypto.generateKeyPairSync('ed25519').publicKey.export({ format: 'jwk' }).x,
    crypto.getRandomValues(new Uint32Array(4)).join(),
  ].join(' '), drawn: drawn.join(' '), now: Date.now() }));
const main = exports.main;
"#;

/// That, drawing when it is loaded or not.
fn chance(loaded: bool) -> String {
    let all = "[crypto.randomUUID(), crypto.randomInt(2 ** 40), Math.random()]";
    CHANCE.replace("LOADED", if loaded { all } else { "['nothing']" })
}

fn member<'a>(json: &'a str, name: &str) -> &'a str {
    let at = json.find(&format!("\"{name}\":")).expect("a member");
    let rest = json[at + name.len() + 3..].trim_start();
    let rest = rest.strip_prefix('"').unwrap_or(rest);
    rest.split(['"', ',', '}']).next().unwrap_or("")
}

#[test]
fn functions_answer_before_the_base_is_warmed_and_share_no_chance() {
    needs!("qemu-system-x86_64", "node");
    // On a busy host the base may be the faster one.
    let answered_first = (0..4).find_map(|_| {
        let image = Invoker::boot_until("2G", "", &["invoker: http://localhost:"]);
        image.deploy("first", "exports.main = () => ({})");
        let (status, answer) = image.call("first", "{}");
        assert_eq!(status, 200, "{answer}");
        (image.metric("ebb_base_ready") == 0).then_some(image)
    });
    let image = answered_first.expect("one machine of four answers before that");
    let drawn = ["one", "two"].map(|name| {
        image.deploy(name, &chance(true));
        let (status, answer) = image.call(name, "{}");
        assert_eq!(status, 200, "{answer}");
        ["drawn", "all"].map(|of| member(&answer, of).to_owned())
    });
    for (one, two) in drawn[0].iter().zip(&drawn[1]) {
        for (one, two) in one.split(' ').zip(two.split(' ')) {
            assert_ne!(one, two);
        }
    }
    // The same instances go on, and new functions get copies of the warmed one.
    image.until("ebb_base_ready", |ready| ready == 1);
    image.deploy("three", &chance(true));
    for name in ["one", "three"] {
        let (status, answer) = image.call(name, "{}");
        assert_eq!(status, 200, "{answer}");
    }
}

#[test]
fn copies_of_one_snapshot_draw_different_numbers_and_know_the_time() {
    needs!("qemu-system-x86_64", "node");
    const COPIES: usize = 6;
    let image = Invoker::boot("2G", "");
    // From the base.
    for name in ["one", "two"] {
        image.deploy(name, &chance(false));
    }
    let mut answers: Vec<String> = ["one", "two"]
        .map(|name| {
            let (status, answer) = image.call(name, "{}");
            assert_eq!(status, 200, "{answer}");
            answer
        })
        .into();
    // From the function's own snapshot: its instance is busy with the first of them.
    image.until("ebb_snapshots", |n| n >= 2);
    thread::scope(|scope| {
        let running: Vec<_> = (0..COPIES)
            .map(|_| scope.spawn(|| image.call("one", r#"{"wait":1500}"#)))
            .collect();
        for call in running {
            let (status, answer) = call.join().expect("a call");
            assert_eq!(status, 200, "{answer}");
            assert_eq!(member(&answer, "drawn"), member(&answers[0], "drawn"));
            answers.push(answer);
        }
    });
    let warm = image.metric("ebb_activation_seconds_count{start=\"warm\"}");
    assert!(warm >= 1, "no call was served by a copy of the snapshot");
    // Each number by itself: two copies must not share one of them. (The first two and one of the others are of one instance
    // or of different ones, which draw different numbers as well; only the process id of an instance stays.)
    let draws: Vec<Vec<&str>> = answers
        .iter()
        .map(|answer| member(answer, "all").split(' ').collect())
        .collect();
    for what in 0..draws[0].len() {
        let different: HashSet<&str> = draws.iter().map(|draw| draw[what]).collect();
        // A process id is that of its instance: the two first ones, and each copy.
        let least = if what == 5 {
            2 + warm as usize
        } else {
            draws.len()
        };
        assert!(different.len() >= least, "{what}: {draws:?}");
    }
    let host = SystemTime::now().duration_since(UNIX_EPOCH).expect("now");
    for answer in &answers {
        let now: u128 = member(answer, "now").parse().expect("milliseconds");
        assert!(now.abs_diff(host.as_millis()) < 60_000, "{answer}");
    }
    // Blank copies are made in advance, and used.
    image.until("ebb_instances_ahead", |n| n > 0);
    let before = image.metric("ebb_deployed_ahead_total");
    image.deploy("three", &chance(true));
    let (status, answer) = image.call("three", "{}");
    assert_eq!(status, 200, "{answer}");
    assert!(draws.iter().all(|draw| !answer.contains(draw[0])));
    assert_eq!(image.metric("ebb_deployed_ahead_total"), before + 1);
}

/// Functions that keep what they drew, as packages do. `kept` tells two instances apart.
const KEEPERS: [(&str, bool, &str); 5] = [
    // When it is loaded: an id of the process, bson's manner.
    ("loading", false, "const kept = crypto.randomUUID();"),
    ("mathing", false, "const kept = Math.random().toString(36);"),
    // At the first call: a pool of random bytes, nanoid's and uuid's manner.
    (
        "pooling",
        true,
        "let kept; begin = () => { kept ??= crypto.randomBytes(8).toString('hex'); };",
    ),
    (
        "lazy",
        true,
        "let kept; begin = () => { kept ??= Math.random().toString(36); };",
    ),
    // With a hook for being copied.
    (
        "hooked",
        true,
        "let kept = crypto.randomUUID(); exports.afterRestore = async () => { kept = crypto.randomUUID(); };",
    ),
];

#[test]
fn instances_share_nothing_that_one_of_them_has_drawn() {
    needs!("qemu-system-x86_64", "node");
    const CALLS: usize = 4;
    let image = Invoker::boot("2G", "");
    for (name, has_snapshot, code) in KEEPERS {
        let before = image.metric("ebb_snapshots");
        let warm = "ebb_activation_seconds_count{start=\"warm\"}";
        let started_warm = image.metric(warm);
        image.deploy(
            name,
            &format!(
                "const crypto = require('crypto'); let begin = () => {{}};\n{code}\n\
                 exports.main = async ({{ wait = 0 }}) => {{ begin(); await new Promise((f) => setTimeout(f, wait)); return {{ kept }}; }};"
            ),
        );
        let (status, first) = image.call(name, "{}");
        assert_eq!(status, 200, "{first}");
        if has_snapshot {
            image.until("ebb_snapshots", |n| n > before);
        }
        let kept: HashSet<String> = thread::scope(|scope| {
            let running: Vec<_> = (0..CALLS)
                .map(|_| scope.spawn(|| image.call(name, r#"{"wait":1500}"#)))
                .collect();
            running
                .into_iter()
                .map(|call| {
                    let (status, answer) = call.join().expect("a call");
                    assert_eq!(status, 200, "{answer}");
                    member(&answer, "kept").to_owned()
                })
                .collect()
        });
        // One of them may be the first instance, which keeps what it has.
        assert_eq!(kept.len(), CALLS, "{name}: {kept:?}");
        let copies = image.metric(warm) - started_warm;
        assert_eq!(copies > 0, has_snapshot, "{name}: {copies} started warm");
    }
    assert_eq!(image.metric("ebb_snapshots"), 3);
}

/// Deploys a small function and one that knows by itself whether its memory is what it was, in small objects, in a table and in a
/// string; has them rest, and calls them again.
fn gives_memory_back(family: &str, greeting: &str, remembering: &str) {
    let image = Invoker::boot("2G", "");
    let bytes = || image.metric("ebb_instances_bytes");
    let kind = format!("{family}:default");
    let before = bytes();
    image.deploy_kind("small", &kind, greeting, "");
    let (status, answer) = image.call("small", r#"{"name":"you"}"#);
    assert_eq!(status, 200, "{answer}");
    assert!(bytes() - before > 1 << 20, "{}", bytes() - before);
    // It rests, and then rests for long: 0.4 MiB.
    image.until("ebb_instances_bytes", |now| now < before + (420 << 10));
    let (status, answer) = image.call("small", r#"{"name":"again"}"#);
    assert_eq!((status, member(&answer, "hello")), (200, "again"));

    image.deploy_kind("remembering", &kind, remembering, "");
    for call in 1..=6 {
        let (status, answer) = image.call("remembering", "{}");
        assert_eq!(status, 200, "{answer}");
        let is =
            |what, value: u64| assert_eq!(member(&answer, what), value.to_string(), "{answer}");
        is("calls", call);
        is("sum", 7 * 19_999 * 20_000 / 2);
        is("names", call);
        is("last", call - 1);
        // No rest, a rest, a long one.
        let awake = bytes();
        match call % 3 {
            0 => {}
            1 => image.until("ebb_instances_bytes", |now| now < awake),
            _ => thread::sleep(Duration::from_secs(13)),
        }
    }
    // The same instance all the time.
    let hot = image.metric("ebb_activation_seconds_count{start=\"hot\"}");
    assert!(hot >= 6, "{hot}");
}

#[test]
fn idle_instances_of_node_give_memory_back_and_go_on_with_what_they_had() {
    needs!("qemu-system-x86_64", "node");
    gives_memory_back(
        "nodejs",
        GREETING,
        "let calls = 0; const table = Array.from({ length: 20000 }, (_, i) => i * 7); const names = new Map();\n\
         const main = () => { names.set('n' + calls, { calls }); calls += 1; \
         return { calls, sum: table.reduce((a, b) => a + b, 0), names: names.size, last: names.get('n' + (calls - 1)).calls }; };",
    );
}

#[test]
fn idle_instances_of_python_give_memory_back_and_go_on_with_what_they_had() {
    needs!("qemu-system-x86_64", "node", "/usr/bin/python3");
    gives_memory_back(
        "python",
        "def main(args):\n    return {'hello': args.get('name')}\n",
        "calls = 0\ntable = [i * 7 for i in range(20000)]\nnames = {}\n\
         def main(args):\n    global calls\n    names['n' + str(calls)] = {'calls': calls}\n    calls += 1\n    \
         return {'calls': calls, 'sum': sum(table), 'names': len(names), 'last': names['n' + str(calls - 1)]['calls']}\n",
    );
}

/// What wakes an instance that nobody calls has it copy pages that it has given back.
#[test]
fn idle_instances_stay_at_rest() {
    needs!("qemu-system-x86_64", "node");
    const COUNT: u64 = 16;
    let image = Invoker::boot("2G", "");
    for n in 0..COUNT {
        let name = format!("idle{n}");
        image.deploy(&name, GREETING);
        let (status, answer) = image.call(&name, "{}");
        assert_eq!(status, 200, "{answer}");
    }
    // All rest for long.
    image.until("ebb_instances_bytes", |now| now < COUNT * (300 << 10));
    thread::sleep(Duration::from_secs(2));
    let free = || image.metric("ebb_memory_free_bytes");
    let before = free();
    // The longest that is worth waiting for: V8 looks 20 seconds after an instance of WebAssembly was made how it is compiled.
    thread::sleep(Duration::from_secs(15));
    let taken = before.saturating_sub(free());
    assert!(taken < COUNT * (16 << 10), "{taken} bytes");
}

/// One that its own timers wake, which rests once more for what it takes meanwhile, goes on with what they have done.
#[test]
fn instances_that_timers_wake_rest_again_and_go_on() {
    needs!("qemu-system-x86_64", "node");
    let image = Invoker::boot("2G", "");
    image.deploy(
        "ticking",
        "let ticks = 0; const table = Array.from({ length: 20000 }, (_, i) => i * 7); const names = new Map();\n\
         setInterval(() => { ticks += 1; names.set('n' + ticks, { ticks }); table[ticks] = ticks * 7; }, 700);\n\
         const main = () => ({ ticks, sum: table.reduce((a, b) => a + b, 0), names: names.size, last: names.get('n' + ticks)?.ticks ?? 0 });",
    );
    let call = || {
        let (status, answer) = image.call("ticking", "{}");
        assert_eq!(status, 200, "{answer}");
        let value = |what| member(&answer, what).parse::<u64>().expect("a number");
        assert_eq!(value("sum"), 7 * 19_999 * 20_000 / 2, "{answer}");
        let ticks = value("ticks");
        assert_eq!([value("names"), value("last")], [ticks; 2], "{answer}");
        ticks
    };
    let before = call();
    // It rests after 0.5, 10 and 30 seconds.
    thread::sleep(Duration::from_secs(33));
    let after = call();
    assert!(after > before + 20, "{before}, {after}");
}

const GREETING: &str = "const main = ({ name }) => ({ hello: name });";

/// Says what the next call takes after a rest, beside calls in turns without one: medians of some functions.
#[test]
#[ignore = "a measurement: its minute is nearly all rest"]
fn next_calls_after_a_rest() {
    needs!("qemu-system-x86_64", "node");
    const FUNCTIONS: usize = 16;
    let image = Invoker::boot("2G", "");
    let bytes = || image.metric("ebb_instances_bytes");
    let before = bytes();
    for number in 0..FUNCTIONS {
        image.deploy(&format!("next-{number}"), GREETING);
    }
    let turn = || {
        let mut times: Vec<Duration> = (0..FUNCTIONS)
            .map(|number| {
                let begun = Instant::now();
                let (status, answer) = image.call(&format!("next-{number}"), r#"{"name":"you"}"#);
                assert_eq!(status, 200, "{answer}");
                begun.elapsed()
            })
            .collect();
        times.sort_unstable();
        times[FUNCTIONS / 2]
    };
    for (pause_s, rounds) in [
        (0, 3),
        (3, 1),
        (0, 2),
        (13, 1),
        (0, 3),
        (3, 1),
        (0, 2),
        (13, 1),
        (0, 2),
    ] {
        thread::sleep(Duration::from_secs(pause_s));
        let each = bytes().saturating_sub(before) / FUNCTIONS as u64 / 1024;
        let times: Vec<_> = (0..rounds).map(|_| turn()).collect();
        println!("after {pause_s} s: {each} KiB each; calls of each in turns take {times:.2?}");
    }
}

#[test]
fn a_machine_whose_memory_is_used_up_makes_room_and_gives_all_back() {
    needs!("qemu-system-x86_64", "node");
    // The books believe that there is as much as they like. When all functions are gone, there is room for all blank copies again: as
    // many each time, or what is free would say how many of them there are.
    let image = Invoker::boot("432M", "budget=68719476736");
    let code = "function main(a) { return { hello: a.name }; }";
    let round = |count: usize| {
        for n in 0..count {
            let name = format!("f{n}");
            image.deploy(&name, code);
            let (status, answer) = image.call(&name, r#"{"name":"you"}"#);
            assert_eq!(
                (status, &*answer),
                (200, r#"{"hello":"you"}"#),
                "call {n}: {:?}",
                [
                    "ebb_memory_free_bytes",
                    "ebb_relieved_total",
                    "ebb_instances",
                    "ebb_snapshots"
                ]
                .map(|name| (name, image.metric(name)))
            );
        }
        // Those that were made room for are still there: of their snapshot, or anew.
        for n in (0..count).step_by(count / 8) {
            let (status, answer) = image.call(&format!("f{n}"), r#"{"name":"you"}"#);
            assert_eq!(status, 200, "{answer}");
        }
    };
    // Of Node's base, which the functions are copies of.
    const BLANKS: u64 = 4;
    let empty = || {
        for n in 0..1000 {
            if image.action("DELETE", &format!("f{n}"), "", "").0 == 404 {
                break;
            }
        }
        image.until("ebb_instances", |n| n == 0);
        image.until("ebb_snapshots", |n| n == 0);
        image.until("ebb_captures_put_off", |n| n == 0);
        image.until("ebb_instances_ahead", |n| n == BLANKS);
        thread::sleep(Duration::from_millis(200));
        image.metric("ebb_memory_free_bytes")
    };
    // More than there is room for, about a MiB each.
    let many = (image.metric("ebb_memory_free_bytes") >> 20) as usize + 40;
    // What is lost is lost in each round. The heap and the books keep what their fullest moment took, and when that is follows from how
    // far the captures have come: one round in which nothing is lost says that nothing is. Records of activations are kept, within a
    // budget; in the heap, which takes 2 MiB at once, each takes up to three times the bytes of its document.
    const ROUNDS: usize = 6;
    let (mut free, mut records) = (0, image.metric("ebb_records_bytes"));
    let gave_all_back = (0..ROUNDS).any(|n| {
        let relieved = image.metric("ebb_relieved_total");
        round(many);
        let relieved = image.metric("ebb_relieved_total") - relieved;
        let before = std::mem::replace(&mut free, empty());
        let kept = image.metric("ebb_records_bytes") - records;
        records += kept;
        println!("round {n}: {many} functions, {relieved} had room made for them; free {free}, was {before}; {kept} in records");
        n > 0 && relieved > 0 && free + 3 * kept + (1 << 20) > before
    });
    assert!(
        gave_all_back,
        "each of {ROUNDS} rounds took memory for good, or none had to make room"
    );
}
