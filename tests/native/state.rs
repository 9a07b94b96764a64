//! What the invoker's image keeps on its disk.

use std::{
    fs,
    path::PathBuf,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use test_support::{invoker::Invoker, needs};

const LISTENS: &[&str] = &["invoker: http://localhost:", "key        guest:key"];

fn boot(disk: &str) -> Invoker {
    let image = Invoker::boot_with("2G", "", disk, LISTENS);
    // QEMU takes a connection before the machine has an address, and then tries again after seconds only.
    thread::sleep(Duration::from_millis(400));
    image
}

#[test]
fn what_was_answered_is_there_after_the_machine_was_killed() {
    needs!("qemu-system-x86_64", "node");
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("state.disk");
    let _ = fs::remove_file(&path);
    let disk = format!("{},size=64M", path.display());
    let image = boot(&disk);
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
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let once = now.as_millis() + 20_000;
    let image = boot(&disk);
    image.deploy("woken", "exports.main = ({ who }) => ({ woken: who })");
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
