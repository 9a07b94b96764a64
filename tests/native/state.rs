//! What the invoker's image keeps on its disk.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use test_support::{
    Random,
    durable::cycles,
    invoker::{Invoker, try_ask},
    needs,
};

const LISTENS: &[&str] = &["invoker: http://localhost:", "key        guest:key"];

fn boot(disk: &str) -> Invoker {
    wait_for_lock(disk);
    Invoker::boot_with("2G", "", disk, LISTENS)
}

/// A machine that was killed has its lock until its QEMU has ended.
fn wait_for_lock(disk: &str) {
    let file = disk.split(',').next().unwrap_or_default();
    for _ in 0..500 {
        match fs::File::open(file).map(|file| file.try_lock()) {
            Ok(Err(_)) => thread::sleep(Duration::from_millis(20)),
            _ => break,
        }
    }
}

#[test]
fn what_was_answered_is_there_after_the_machine_was_killed() {
    needs!("qemu-system-x86_64", "node");
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("state.disk");
    let _ = fs::remove_file(&path);
    let disk = format!("{},size=64M", path.display());
    let image = boot(&disk);
    // Which file has it, and how it is forgotten.
    image.says(&format!("`rm {}` forgets them", path.display()));
    image.deploy("first", "exports.main = ({ name }) => ({ hello: name })");
    image.deploy("gone", "exports.main = () => ({})");
    let put = |image: &Invoker, path: &str, body: &str| {
        let (status, answer) = image.ask("PUT", &format!("/api/v1/namespaces/_/{path}"), body);
        assert_eq!(status, 200, "{answer}");
    };
    put(&image, "triggers/t", "{}");
    put(
        &image,
        "rules/r",
        r#"{"trigger":"/_/t","action":"/_/first"}"#,
    );
    let (status, _) = image.ask(
        "POST",
        "/api/v1/namespaces/_/rules/r",
        r#"{"status":"inactive"}"#,
    );
    assert_eq!(status, 200);
    let (status, answer) = image.call("first", r#"{"name":"you"}"#);
    assert_eq!((status, answer.as_str()), (200, r#"{"hello":"you"}"#));
    assert_eq!(image.action("DELETE", "gone", "", "").0, 200);
    // The record trails.
    thread::sleep(Duration::from_millis(1500));
    image.deploy("last", "exports.main = () => ({ last: true })");
    image.kill();

    let image = boot(&disk);
    let (status, answer) = image.call("first", r#"{"name":"again"}"#);
    assert_eq!((status, answer.as_str()), (200, r#"{"hello":"again"}"#));
    assert_eq!(image.call("last", "{}").1, r#"{"last":true}"#);
    assert_eq!(image.action("GET", "gone", "", "").0, 404);
    let (_, trigger) = image.ask("GET", "/api/v1/namespaces/_/triggers/t", "");
    assert!(trigger.contains(r#""status":"inactive""#), "{trigger}");
    let (_, records) = image.ask("GET", "/api/v1/namespaces/_/activations?name=first", "");
    assert!(records.matches("activationId").count() >= 2, "{records}");
    // An update goes on with the version.
    image.deploy("first", "exports.main = () => ({ v: 2 })");
    let (_, action) = image.action("GET", "first", "", "");
    assert!(action.contains(r#""version":"0.0.2""#), "{action}");
}

#[test]
fn an_alarm_that_came_while_the_machine_was_off_fires_at_the_next_start() {
    needs!("qemu-system-x86_64", "node");
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("alarms.disk");
    let _ = fs::remove_file(&path);
    let disk = format!("{},size=64M", path.display());
    let image = boot(&disk);
    image.deploy("woken", "exports.main = ({ who }) => ({ woken: who })");
    // A busy host boots for longer than that.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let once = now.as_millis() + 20_000;
    let set = |trigger: &str, feed: &str, parameters: &str| {
        let (status, answer) = image.ask(
            "PUT",
            &format!("/api/v1/namespaces/_/triggers/{trigger}"),
            "{}",
        );
        assert_eq!(status, 200, "{answer}");
        let rule = format!(r#"{{"trigger":"/_/{trigger}","action":"/_/woken"}}"#);
        let (status, answer) = image.ask(
            "PUT",
            &format!("/api/v1/namespaces/_/rules/of-{trigger}"),
            &rule,
        );
        assert_eq!(status, 200, "{answer}");
        let (status, answer) = image.ask(
            "POST",
            &format!("/api/v1/namespaces/whisk.system/actions/alarms/{feed}?blocking=true&result=true"),
            &format!(
                r#"{{"lifecycleEvent":"CREATE","triggerName":"/_/{trigger}","authKey":"guest:key","trigger_payload":{{"who":"{trigger}"}},{parameters}}}"#
            ),
        );
        assert_eq!((status, answer.as_str()), (200, r#"{"status":"success"}"#));
    };
    set("late", "once", &format!(r#""date":{once}"#));
    set("each", "alarm", r#""cron":"*/2 * * * * *""#);
    // One of them has time to fire before the end.
    thread::sleep(Duration::from_secs(5));
    image.kill();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let still = u64::try_from(once.saturating_sub(now.as_millis())).unwrap();
    thread::sleep(Duration::from_millis(still + 1000));

    let image = boot(&disk);
    let of = |who: &str| {
        let (_, records) = image.ask(
            "GET",
            "/api/v1/namespaces/_/activations?name=woken&docs=true&limit=200",
            "",
        );
        records.matches(&format!(r#""woken":"{who}""#)).count()
    };
    let woken = (0..200).any(|_| {
        thread::sleep(Duration::from_millis(100));
        of("late") > 0
    });
    assert!(woken, "the alarm of before is lost");
    let before = of("each");
    thread::sleep(Duration::from_secs(5));
    assert_eq!(of("late"), 1);
    assert!(of("each") > before, "what repeats goes on");
}

/// Code of so many bytes that is like no other's.
fn code(name: &str, version: u64, bytes: usize) -> String {
    let filling: String = (0..bytes as u64 / 16)
        .map(|n| format!("{:016x}", Random::new(n ^ version << 32).next()))
        .collect();
    format!("exports.main = () => ({{ is: '{name} {version}' }}); //{filling}")
}

/// The status of a PUT, and what was answered.
fn put(image: &Invoker, name: &str, code: &str) -> (u16, String) {
    let body = format!(r#"{{"exec":{{"kind":"nodejs:default","code":"{code}"}}}}"#);
    image.action("PUT", name, "?overwrite=true", &body)
}

#[test]
fn a_full_disk_refuses_changes_in_words_while_calls_and_deletes_go_on() {
    needs!("qemu-system-x86_64", "node");
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("full.disk");
    let _ = fs::remove_file(&path);
    let disk = format!("{},size=8M", path.display());
    let image = boot(&disk);
    image.deploy("hello", "exports.main = ({ name }) => ({ hello: name })");
    let hello = |image: &Invoker| {
        let (status, answer) = image.call("hello", r#"{"name":"you"}"#);
        assert_eq!((status, answer.as_str()), (200, r#"{"hello":"you"}"#));
    };
    hello(&image);
    let mut kept: BTreeMap<String, u64> = BTreeMap::new();
    let mut refused = None;
    for n in 0..40 {
        let name = format!("large{n}");
        match put(&image, &name, &code(&name, 1, 400_000)) {
            (200, _) => drop(kept.insert(name, 1)),
            (503, why) => {
                refused = Some((name, why));
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    let (name, why) = refused.expect("8 MiB are full by then");
    assert!(
        why.contains(
            "The change cannot be kept: the disk is full; deleting works, and makes room."
        ),
        "{why}"
    );
    assert!(kept.len() > 5, "{} had room", kept.len());
    // What was refused is not there; nor is a new version of what is.
    assert_eq!(image.action("GET", &name, "", "").0, 404);
    assert_eq!(put(&image, "large0", &code("large0", 2, 400_000)).0, 503);
    let version = |image: &Invoker, name: &str| {
        let (status, action) = image.action("GET", name, "", "");
        assert_eq!(status, 200, "{action}");
        let is = action.split_once("is: '").map(|(_, rest)| rest);
        let is = is.and_then(|rest| rest.split_once('\''));
        is.map(|(is, _)| is.to_owned())
    };
    assert_eq!(version(&image, "large0").as_deref(), Some("large0 1"));
    hello(&image);
    // Deleting makes room.
    for n in 1..4 {
        let name = format!("large{n}");
        assert_eq!(image.action("DELETE", &name, "", "").0, 200);
        kept.remove(&name);
    }
    let (status, answer) = put(&image, "large0", &code("large0", 3, 400_000));
    assert_eq!(status, 200, "{answer}");
    kept.insert("large0".into(), 3);
    image.kill();

    let image = boot(&disk);
    for (name, number) in &kept {
        let is = format!("{name} {number}");
        assert_eq!(version(&image, name), Some(is));
    }
    for name in ["large1", "large2", "large3", &name] {
        assert_eq!(image.action("GET", name, "", "").0, 404);
    }
    hello(&image);
}

#[test]
fn while_the_disk_is_slow_for_seconds_calls_of_hot_functions_go_on() {
    needs!("qemu-system-x86_64", "node");
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("slow.disk");
    fs::write(&path, []).expect("a place for disks");
    fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|file| file.set_len(64 << 20))
        .expect("a place for disks");
    let mut image = Invoker::start(
        Invoker::runner("2G", "none")
            .args(["--auth", "guest:key", "--quiet"])
            .env("EBB_CORES", "1")
            .env(
                "EBB_QEMU_ARGS",
                format!(
                    "-drive if=none,id=slow,format=raw,file={},throttling.bps-write=49152 \
                     -device virtio-blk-pci,drive=slow,disable-legacy=on",
                    path.display()
                ),
            ),
        LISTENS,
    );
    image.until("ebb_base_ready", |ready| ready == 1);
    image.deploy("hello", "exports.main = ({ name }) => ({ hello: name })");
    let call = || {
        let begun = Instant::now();
        let (status, answer) = image.call("hello", r#"{"name":"you"}"#);
        assert_eq!((status, answer.as_str()), (200, r#"{"hello":"you"}"#));
        begun.elapsed()
    };
    call();
    // QEMU lets one write pass, however large it is, and those behind it wait for it: for 6 s, less what a busy host takes to come to them.
    assert_eq!(put(&image, "earlier", &code("earlier", 1, 300_000)).0, 200);
    let (took, mut calls) = thread::scope(|scope| {
        let putting = scope.spawn(|| {
            let begun = Instant::now();
            let (status, answer) = put(&image, "large", &code("large", 1, 300_000));
            assert_eq!(status, 200, "{answer}");
            begun.elapsed()
        });
        let mut calls = Vec::new();
        while !putting.is_finished() {
            calls.push(call());
        }
        (putting.join().expect("it was answered"), calls)
    });
    assert!(
        took > Duration::from_secs(1),
        "the disk was not slow: {took:?}"
    );
    calls.sort();
    let (median, most) = (calls[calls.len() / 2], calls[calls.len() - 1]);
    println!(
        "{} calls in {took:?}: median {median:?}, most {most:?}",
        calls.len()
    );
    // None of them waited for it.
    assert!(calls.len() > 20 && most < took / 2, "{calls:?}");
    // At its end it waits until the disk has all of it, and says so, or does not wait.
    let port = image.port();
    thread::scope(|scope| {
        scope.spawn(|| {
            let body = format!(
                r#"{{"exec":{{"kind":"nodejs:default","code":"{}"}}}}"#,
                code("last", 1, 300_000)
            );
            try_ask(port, "PUT", "/api/v1/namespaces/_/actions/last", &body)
        });
        thread::sleep(Duration::from_millis(300));
        image.image().interrupt();
        image
            .image()
            .says("ending when the disk has the last changes");
        image.image().interrupt();
        image.image().wait();
    });
}

/// What a client knows of an action: the version that is there, or none; and one that may be, if an answer is due.
type Known = (Option<u64>, Option<Option<u64>>);

#[test]
fn every_answered_change_is_there_after_the_machine_was_killed_again_and_again() {
    needs!("qemu-system-x86_64", "node");
    const CLIENTS: usize = 4;
    const NAMES: u64 = 8;
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("killed.disk");
    let _ = fs::remove_file(&path);
    let disk = format!("{},size=64M", path.display());
    let mut known: Vec<BTreeMap<String, Known>> = vec![BTreeMap::new(); CLIENTS];
    let mut random = Random::new(0x6b69_6c6c);
    let mut answered = 0;
    for cycle in cycles(3) {
        let image = boot(&disk);
        for (name, (is, may_be)) in known.iter_mut().flatten() {
            let (status, action) = image.action("GET", name, "", "");
            let found = match status {
                404 => None,
                200 => {
                    let text = action.split_once(&format!("is: '{name} "));
                    let number = text.and_then(|(_, rest)| rest.split_once('\'')?.0.parse().ok());
                    Some(number.unwrap_or_else(|| panic!("cycle {cycle}, {name}: {action}")))
                }
                _ => panic!("cycle {cycle}, {name}: {status} {action}"),
            };
            let right = found == *is || *may_be == Some(found);
            assert!(
                right,
                "cycle {cycle}, {name}: {found:?} is not {is:?}, nor {may_be:?}"
            );
            (*is, *may_be) = (found, None);
        }
        let life = Duration::from_millis(300 + random.next() % 1500);
        let port = image.port();
        thread::scope(|scope| {
            let clients: Vec<_> = known
                .iter_mut()
                .enumerate()
                .map(|(client, known)| {
                    let mut random = Random::new(random.next());
                    scope.spawn(move || {
                        let mut answered = 0;
                        loop {
                            let name = format!("c{client}-{}", random.next() % NAMES);
                            let number = random.next() % 1_000_000;
                            let deletes = random.chance(200);
                            let entry = known.entry(name.clone()).or_default();
                            let wanted = (!deletes).then_some(number);
                            entry.1 = Some(wanted);
                            let bytes = (random.next() % 20_000) as usize;
                            let body = format!(
                                r#"{{"exec":{{"kind":"nodejs:default","code":"{}"}}}}"#,
                                code(&name, number, bytes)
                            );
                            let (method, body) = match deletes {
                                true => ("DELETE", ""),
                                false => ("PUT", &*body),
                            };
                            let path =
                                format!("/api/v1/namespaces/_/actions/{name}?overwrite=true");
                            // Nothing comes when the machine has gone.
                            match try_ask(port, method, &path, body) {
                                Some((200, _)) => *entry = (wanted, None),
                                Some((404, _)) if deletes && entry.0.is_none() => {
                                    *entry = (None, None)
                                }
                                Some(other) => panic!("{method} {name}: {other:?}"),
                                None => return answered,
                            }
                            answered += 1;
                        }
                    })
                })
                .collect();
            thread::sleep(life);
            image.kill();
            for client in clients {
                answered += client.join().expect("a client");
            }
        });
    }
    println!("{answered} changes were answered");
    assert!(answered > 0);
}
