//! The feeds of `/whisk.system/alarms`, as clients call them, and when their alarms fire.

use crate::common::{Bed, Got, OTHER, basic, block_on};
use ebb_openwhisk::entity::kept;
use ebb_openwhisk::runtimes::Runtimes;
use ebb_openwhisk::{Step, perform};
use serde_json::{Value, json};

const GUEST: &str = crate::common::GUEST;
const NULL: Value = Value::Null;
const MINUTE: u64 = 60_000;

/// A time that is a whole minute.
const START: u64 = 1_760_000_040_000;

/// Calls a feed as `wsk` and the npm package do.
fn feed(bed: &Bed, name: &str, event: &str, trigger: &str, mut parameters: Value) -> Got {
    let members = parameters.as_object_mut().unwrap();
    members.insert("lifecycleEvent".into(), json!(event));
    members.insert("triggerName".into(), json!(trigger));
    members.insert("authKey".into(), json!(GUEST));
    let path = format!("/whisk.system/actions/alarms/{name}?blocking=true");
    bed.ask("POST", &path, parameters)
}

fn result(got: &Got) -> &Value {
    &got.body["response"]["result"]
}

#[track_caller]
fn set(bed: &Bed, name: &str, parameters: Value) {
    let got = feed(bed, name, "CREATE", "/_/t", parameters);
    assert_eq!(
        (got.status, result(&got)),
        (200, &json!({"status": "success"})),
        "{}",
        got.text()
    );
}

#[track_caller]
fn refused(bed: &Bed, name: &str, event: &str, parameters: Value, why: &str) {
    let got = feed(bed, name, event, "/_/t", parameters.clone());
    assert_eq!(got.status, 502, "{parameters}");
    assert_eq!(
        result(&got),
        &json!({"error": {"error": why}}),
        "{parameters}"
    );
}

/// A bed with the trigger `t`, and a rule by which it calls `a`.
fn bed() -> Bed {
    let bed = Bed::new();
    bed.now.set(START);
    bed.put_action("a");
    trigger(&bed);
    bed.put("/_/rules/r", json!({"trigger": "/_/t", "action": "/_/a"}));
    bed
}

fn trigger(bed: &Bed) {
    bed.put(
        "/_/triggers/t",
        json!({"annotations": [{"key": "feed", "value": "/whisk.system/alarms/alarm"}]}),
    );
}

/// What the platform does when time has come to this one; how many times something fired.
fn come_to(bed: &Bed, now: u64) -> usize {
    bed.now.set(now);
    let mut fired = 0;
    while bed
        .controller
        .borrow()
        .next_alarm_ms()
        .is_some_and(|due| due <= now)
    {
        let due = bed.controller.borrow().due_alarms(now);
        assert!(!due.is_empty());
        for name in due {
            let step = bed
                .controller
                .borrow_mut()
                .fire_alarm(&name, now)
                .expect("it fires");
            bed.controller.borrow_mut().alarm_passed(&name, now);
            if let Step::Invoke(plan, reply) = step {
                block_on(perform(bed, plan));
                bed.controller.borrow_mut().end(&reply.admission);
                fired += 1;
            }
        }
    }
    fired
}

/// How many times it fires until then, where somebody looks each second.
fn until(bed: &Bed, end: u64) -> usize {
    let begin = bed.now.get();
    (begin / 1000 + 1..=end / 1000)
        .map(|second| come_to(bed, second * 1000))
        .sum()
}

fn called_with(bed: &Bed) -> Value {
    let mut value = bed.last_run()["value"].clone();
    assert_eq!(
        value.as_object_mut().unwrap().remove("__ow_headers"),
        Some(json!({}))
    );
    value
}

#[test]
fn the_package_lists_its_feeds() {
    let package = Bed::new().get("/whisk.system/packages/alarms").body;
    assert_eq!(package["actions"], json!([]));
    let feeds = package["feeds"].as_array().unwrap();
    let names: Vec<&str> = feeds
        .iter()
        .map(|feed| feed["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["alarm", "interval", "once"]);
    let action = Bed::new().get("/whisk.system/actions/alarms/once").body;
    assert_eq!(action["exec"], json!({"kind": "builtin", "binary": false}));
}

#[test]
fn a_cron_alarm_fires_its_trigger_with_the_payload() {
    let bed = bed();
    set(
        &bed,
        "alarm",
        json!({"cron": "*/2 * * * *", "trigger_payload": {"name": "Odin"}}),
    );
    assert_eq!(until(&bed, START + 10 * MINUTE), 5);
    assert_eq!(called_with(&bed), json!({"name": "Odin"}));
    let records = bed.get("/_/activations?docs=true").body;
    let of = |name: &str| {
        records
            .as_array()
            .unwrap()
            .iter()
            .filter(|r| r["name"] == name)
            .count()
    };
    assert_eq!((of("t"), of("a"), of("alarm")), (5, 5, 1));
    // It is called in its owner's name, with a key that opens what the owner's does.
    bed.put(
        "/_/actions/a?overwrite=true",
        json!({"annotations": [{"key": "provide-api-key", "value": true}]}),
    );
    until(&bed, START + 12 * MINUTE);
    let key = bed.last_run()["api_key"].as_str().unwrap().to_owned();
    assert_ne!(key, GUEST);
    assert_eq!(bed.by(&key, "GET", "/_/triggers/t", NULL).status, 200);
}

#[test]
fn seconds_zones_and_delays_of_cron_alarms() {
    let bed = bed();
    set(&bed, "alarm", json!({"cron": "*/20 * * * * *"}));
    assert_eq!(until(&bed, START + MINUTE), 3);
    assert_eq!(feed(&bed, "alarm", "DELETE", "/_/t", json!({})).status, 200);

    // 1760000040 is 2025-10-09, 8:54 in UTC and 10:54 in Berlin.
    set(
        &bed,
        "alarm",
        json!({"cron": "0 12 * * *", "timezone": "Europe/Berlin"}),
    );
    let next = bed.controller.borrow().next_alarm_ms();
    assert_eq!(next, Some(1_760_004_000_000));
    let got = feed(&bed, "alarm", "READ", "/_/t", json!({}));
    assert_eq!(result(&got)["status"]["next"], "2025-10-09T10:00:00Z");
    assert_eq!(result(&got)["config"]["timezone"], "Europe/Berlin");
    assert_eq!(feed(&bed, "alarm", "DELETE", "/_/t", json!({})).status, 200);

    // Of many that may be late by some seconds not all are late by the same.
    let mut seconds = std::collections::HashSet::new();
    for number in 0..20 {
        let name = format!("t{number}");
        bed.put(&format!("/_/triggers/{name}"), json!({}));
        let got = feed(
            &bed,
            "alarm",
            "CREATE",
            &name,
            json!({"cron": "0 * * * *", "strict": "false"}),
        );
        assert_eq!(got.status, 200, "{}", got.text());
        let next = bed
            .controller
            .borrow()
            .store()
            .alarms()
            .find(|(_, n)| n.name == name)
            .unwrap()
            .0;
        seconds.insert(next % MINUTE / 1000);
        assert_eq!(next / MINUTE % 60, 0);
    }
    assert!(seconds.len() > 10, "{seconds:?}");
}

#[test]
fn start_stop_and_number_bound_an_alarm() {
    let bed = bed();
    let (start, stop) = (START + 3 * MINUTE, START + 6 * MINUTE);
    set(
        &bed,
        "alarm",
        json!({"cron": "* * * * *", "startDate": start, "stopDate": stop}),
    );
    assert_eq!(until(&bed, start - 1000), 0);
    // Both ends are times of the schedule.
    assert_eq!(until(&bed, START + 20 * MINUTE), 4);
    let got = feed(&bed, "alarm", "READ", "/_/t", json!({}));
    let status = &result(&got)["status"];
    assert_eq!(
        (
            &status["active"],
            &status["reason"]["message"],
            &status["dateChanged"]
        ),
        (
            &json!(false),
            &json!("Automatically disabled after reaching stop date"),
            &json!(stop)
        )
    );
    feed(&bed, "alarm", "DELETE", "/_/t", json!({}));
    set(
        &bed,
        "alarm",
        json!({"cron": "* * * * *", "maxTriggers": 3}),
    );
    assert_eq!(until(&bed, START + 60 * MINUTE), 3);
    let got = feed(&bed, "alarm", "READ", "/_/t", json!({}));
    assert_eq!(
        result(&got)["status"]["reason"]["message"],
        "Automatically disabled after reaching max triggers"
    );
}

#[test]
fn an_interval_counts_from_its_start() {
    let bed = bed();
    set(
        &bed,
        "interval",
        json!({"minutes": 5, "trigger_payload": "words"}),
    );
    assert_eq!(until(&bed, START + 31_000), 1);
    assert_eq!(called_with(&bed), json!({"payload": "words"}));
    assert_eq!(until(&bed, START + 5 * MINUTE + 29_000), 0);
    assert_eq!(until(&bed, START + 5 * MINUTE + 31_000), 1);
    let start = START + 20 * MINUTE + 7_000;
    let changed = feed(
        &bed,
        "interval",
        "UPDATE",
        "/_/t",
        json!({"minutes": 60, "startDate": start}),
    );
    assert_eq!(changed.status, 200, "{}", changed.text());
    assert_eq!(until(&bed, start - 1000), 0);
    assert_eq!(until(&bed, start), 1);
    assert_eq!(until(&bed, start + 60 * MINUTE), 1);
}

#[test]
fn an_alarm_that_fires_once_takes_along_what_it_is_told_to() {
    for (delete, trigger_stays, rule_stays) in [
        ("false", true, true),
        ("true", false, true),
        ("rules", false, false),
    ] {
        let bed = bed();
        let date = START + 10 * MINUTE + 500;
        set(
            &bed,
            "once",
            json!({"date": date, "deleteAfterFire": delete}),
        );
        assert_eq!(until(&bed, START + 60 * MINUTE), 1);
        assert_eq!(
            bed.get("/_/triggers/t").status == 200,
            trigger_stays,
            "{delete}"
        );
        assert_eq!(bed.get("/_/rules/r").status == 200, rule_stays, "{delete}");
        if trigger_stays {
            let got = feed(&bed, "once", "READ", "/_/t", json!({}));
            let (config, status) = (&result(&got)["config"], &result(&got)["status"]);
            assert_eq!(
                (&config["date"], &config["deleteAfterFire"]),
                (&json!(date), &json!("false"))
            );
            assert_eq!(
                (&status["active"], &status["reason"]["message"]),
                (
                    &json!(false),
                    &json!("Automatically disabled after firing once")
                )
            );
            // With another date it fires again.
            let again = feed(
                &bed,
                "once",
                "UPDATE",
                "/_/t",
                json!({"date": bed.now.get() + MINUTE}),
            );
            assert_eq!(again.status, 200, "{}", again.text());
            assert_eq!(until(&bed, START + 120 * MINUTE), 1);
        }
    }
}

#[test]
fn feeds_refuse_what_openwhisks_package_refuses() {
    let bed = bed();
    let past = START - 1;
    for (name, parameters, why) in [
        (
            "alarm",
            json!({}),
            "alarms trigger feed is missing the cron parameter",
        ),
        (
            "alarm",
            json!({"cron": "every day"}),
            "cron pattern 'every day' is not valid",
        ),
        ("alarm", json!({"cron": 5}), "cron pattern '5' is not valid"),
        (
            "alarm",
            json!({"cron": "* * * * *", "timezone": "Mars/Base"}),
            "timezone 'Mars/Base' is not valid",
        ),
        (
            "alarm",
            json!({"cron": "* * * * *", "startDate": "soon"}),
            "startDate parameter 'soon' is not a valid Date",
        ),
        (
            "alarm",
            json!({"cron": "* * * * *", "stopDate": past}),
            "stopDate parameter '1760000039999' must be in the future",
        ),
        (
            "alarm",
            json!({"cron": "* * * * *", "startDate": "2099-01-02", "stopDate": "2099-01-01"}),
            "stopDate parameter '2099-01-01' must be greater than the startDate parameter '2099-01-02'",
        ),
        (
            "alarm",
            json!({"cron": "0 0 1 1 *", "stopDate": START + MINUTE}),
            "the first scheduled trigger fire is not until after the stop date",
        ),
        (
            "alarm",
            json!({"cron": "* * * * *", "stopDate": START + MINUTE, "maxTriggers": 2}),
            "maxTriggers is not allowed when the stopDate parameter is specified",
        ),
        (
            "alarm",
            json!({"cron": "* * * * *", "missed": "all"}),
            "missed parameter must be one of [fire, skip].",
        ),
        (
            "alarm",
            json!({"cron": "* * * * *", "trigger_payload": [1]}),
            "trigger_payload parameter must be an object or a string",
        ),
        (
            "interval",
            json!({}),
            "interval trigger feed is missing the minutes parameter",
        ),
        (
            "interval",
            json!({"minutes": 1.5}),
            "the minutes parameter must be an integer",
        ),
        (
            "interval",
            json!({"minutes": "few"}),
            "the minutes parameter must be an integer",
        ),
        (
            "interval",
            json!({"minutes": -5}),
            "the minutes parameter must be an integer greater than zero",
        ),
        (
            "once",
            json!({}),
            "alarms once trigger feed is missing the date parameter",
        ),
        (
            "once",
            json!({"date": "never"}),
            "date parameter 'never' is not a valid Date",
        ),
        (
            "once",
            json!({"date": past}),
            "date parameter '1760000039999' must be in the future",
        ),
        (
            "once",
            json!({"date": "2099-01-01", "deleteAfterFire": "all"}),
            "deleteAfterFire parameter must be one of [false, true, rules].",
        ),
    ] {
        bed.now.set(START - 1);
        refused(&bed, name, "CREATE", parameters, why);
    }
    bed.now.set(START);
    refused(
        &bed,
        "alarm",
        "READ",
        json!({}),
        "could not find the trigger in the database",
    );
    refused(
        &bed,
        "alarm",
        "UPDATE",
        json!({"cron": "* * * * *"}),
        "could not find the trigger in the database",
    );
    refused(
        &bed,
        "alarm",
        "DELETE",
        json!({}),
        "could not find the trigger in the database",
    );
    refused(
        &bed,
        "alarm",
        "PAUSE",
        json!({}),
        "unsupported lifecycleEvent",
    );
    set(&bed, "alarm", json!({"cron": "* * * * *"}));
    refused(
        &bed,
        "alarm",
        "CREATE",
        json!({"cron": "* * * * *"}),
        "error creating alarm trigger.",
    );
    refused(
        &bed,
        "alarm",
        "UPDATE",
        json!({}),
        "no updatable parameters were specified",
    );
    refused(
        &bed,
        "alarm",
        "UPDATE",
        json!({"cron": "nonsense"}),
        "cron pattern 'nonsense' is not valid",
    );
    let missing = feed(
        &bed,
        "alarm",
        "CREATE",
        "/_/unknown",
        json!({"cron": "* * * * *"}),
    );
    assert_eq!(
        result(&missing)["error"]["error"],
        "Trigger authentication request failed."
    );
    // One whose trigger went first has nothing left to delete.
    assert_eq!(
        feed(&bed, "alarm", "DELETE", "/_/unknown", json!({})).status,
        200
    );
}

#[test]
fn a_feed_changes_only_triggers_of_whoever_has_their_key() {
    let bed = bed();
    let call = |key: &str, auth: &str, trigger: &str| {
        let body = json!({"lifecycleEvent": "CREATE", "triggerName": trigger, "authKey": auth, "cron": "* * * * *"});
        bed.by(
            key,
            "POST",
            "/whisk.system/actions/alarms/alarm?blocking=true&result=true",
            body,
        )
    };
    let failed = json!({"error": {"error": "Trigger authentication request failed."}});
    assert_eq!(call(OTHER, OTHER, "/guest/t").body, failed);
    assert_eq!(call(OTHER, GUEST, "/guest/t").body, failed);
    assert_eq!(call(GUEST, OTHER, "/guest/t").body, failed);
    assert_eq!(
        call(GUEST, GUEST, "/guest/t").body,
        json!({"status": "success"})
    );
    let nobody = bed.raw(
        "POST",
        "/api/v1/namespaces/whisk.system/actions/alarms/alarm",
        &[("Authorization", &basic("nobody:nothing"))],
        b"{}",
    );
    assert_eq!(nobody.status, 401);
}

#[test]
fn a_feed_can_be_called_through_a_binding() {
    let bed = bed();
    bed.put(
        "/_/packages/mine",
        json!({"binding": {"namespace": "whisk.system", "name": "alarms"}, "parameters": [{"key": "cron", "value": "* * * * *"}]}),
    );
    let body = json!({"lifecycleEvent": "CREATE", "triggerName": "t", "authKey": GUEST});
    assert_eq!(
        bed.ask("POST", "/_/actions/mine/alarm?blocking=true", body)
            .status,
        200
    );
    assert_eq!(until(&bed, START + 3 * MINUTE), 3);
}

#[test]
fn what_was_missed_is_one_firing_or_none() {
    for (parameters, expected) in [
        (json!({"cron": "* * * * *"}), 1),
        (json!({"cron": "* * * * *", "missed": "skip"}), 0),
    ] {
        let bed = bed();
        set(&bed, "alarm", parameters);
        // Three hours pass in which nobody looks: the machine was off, or asleep.
        let later = START + 180 * MINUTE + 30_000 + MINUTE;
        assert_eq!(come_to(&bed, later), expected);
        assert_eq!(until(&bed, later + 5 * MINUTE), 5);
    }
    let bed = bed();
    set(&bed, "once", json!({"date": START + MINUTE}));
    assert_eq!(come_to(&bed, START + 180 * MINUTE), 1);
    assert_eq!(until(&bed, START + 190 * MINUTE), 0);
}

#[test]
fn a_clock_that_is_set_back_neither_silences_nor_repeats() {
    let bed = bed();
    set(&bed, "alarm", json!({"cron": "* * * * *"}));
    bed.put("/_/triggers/u", json!({}));
    let once = feed(
        &bed,
        "once",
        "CREATE",
        "u",
        json!({"date": START + 2 * MINUTE}),
    );
    assert_eq!(once.status, 200);
    bed.put("/_/rules/s", json!({"trigger": "/_/u", "action": "/_/a"}));
    assert_eq!(until(&bed, START + 3 * MINUTE), 4);
    // By less than a minute: all that is to come has its time.
    bed.now.set(START + 3 * MINUTE - 20_000);
    bed.controller
        .borrow_mut()
        .clock_was_set_back(bed.now.get());
    assert_eq!(until(&bed, START + 5 * MINUTE), 2);
    // By an hour.
    bed.now.set(START - 60 * MINUTE);
    bed.controller
        .borrow_mut()
        .clock_was_set_back(bed.now.get());
    assert_eq!(until(&bed, START - 57 * MINUTE), 3);
    // What has fired once has.
    assert_eq!(until(&bed, START + 2 * MINUTE), 59);
}

#[test]
fn an_alarm_waits_for_a_namespace_that_fires_too_much() {
    let bed = Bed::with(ebb_openwhisk::limits::NamespaceLimits {
        fires_per_minute: 2,
        ..Default::default()
    });
    bed.now.set(START);
    bed.put_action("a");
    trigger(&bed);
    bed.put("/_/rules/r", json!({"trigger": "/_/t", "action": "/_/a"}));
    set(&bed, "alarm", json!({"cron": "*/10 * * * * *"}));
    let name = ebb_openwhisk::name::FullName::new("guest", "t");
    assert_eq!(until(&bed, START + 20_000), 2);
    bed.now.set(START + 30_000);
    let refused = bed
        .controller
        .borrow_mut()
        .fire_alarm(&name, START + 30_000);
    assert_eq!(refused.unwrap_err().status, 429);
    // It stays due, and fires when it may.
    assert_eq!(
        bed.controller.borrow().next_alarm_ms(),
        Some(START + 30_000)
    );
    assert_eq!(come_to(&bed, START + 85_000), 1);
}

#[test]
fn a_kept_alarm_is_the_same_alarm() {
    let bed = bed();
    for (name, parameters) in [
        (
            "alarm",
            json!({"cron": "5 4 * * sun", "timezone": "Asia/Kolkata", "strict": false, "maxTriggers": "7", "missed": "skip"}),
        ),
        (
            "interval",
            json!({"minutes": "3", "startDate": "2099-12-31T00:00:00Z", "trigger_payload": {"a": [1, "ü"]}}),
        ),
        (
            "once",
            json!({"date": "2099-12-31", "deleteAfterFire": "rules"}),
        ),
    ] {
        set(&bed, name, parameters);
        come_to(&bed, bed.now.get() + 8 * 24 * 60 * MINUTE);
        let controller = bed.controller.borrow();
        let name = ebb_openwhisk::name::FullName::new("guest", "t");
        let Some(ebb_openwhisk::entity::Entity::Trigger(trigger)) = controller.store().get(&name)
        else {
            panic!("there is no trigger");
        };
        let written = kept::write(&ebb_openwhisk::entity::Entity::Trigger(trigger.clone()));
        let read = kept::read(&written, &Runtimes::default()).unwrap();
        let ebb_openwhisk::entity::Entity::Trigger(read) = read else {
            panic!("it is something else now");
        };
        assert_eq!(read.alarm, trigger.alarm);
        assert!(read.alarm.as_ref().unwrap().due_ms().is_some());
        drop(controller);
        feed(&bed, "alarm", "DELETE", "/_/t", json!({}));
    }
}

#[test]
fn an_update_of_the_trigger_leaves_its_alarm_and_a_delete_takes_it_along() {
    let bed = bed();
    set(&bed, "alarm", json!({"cron": "* * * * *"}));
    bed.put(
        "/_/triggers/t?overwrite=true",
        json!({"parameters": [{"key": "p", "value": 1}]}),
    );
    assert_eq!(until(&bed, START + 2 * MINUTE), 2);
    assert_eq!(called_with(&bed), json!({"p": 1}));
    bed.ask("DELETE", "/_/triggers/t", NULL);
    assert_eq!(bed.controller.borrow().next_alarm_ms(), None);
    trigger(&bed);
    assert_eq!(until(&bed, START + 4 * MINUTE), 0);
}
