//! The whole program: a broker, a database, functions in Node. The test plays the controller.

use std::time::{Duration, Instant};

use ebb::time;
use ebb_hosted::Config;
use ebb_openwhisk::json::Json;
use ebb_openwhisk_cluster::seam::Bus;
use serde_json::json;
use test_support::{
    broker::Broker,
    couch::{Couch, Fault},
};

use crate::controller::Controller;
use crate::messages::{action, completions, id, message, once_each};
use crate::running::Running;

pub fn with_parts(test: impl AsyncFnOnce(&mut Broker, &Couch) + Send + 'static) {
    with_broker(Broker::start, test);
}

pub fn with_broker<B: Send + 'static>(
    start: fn() -> Option<B>,
    test: impl AsyncFnOnce(&mut B, &Couch) + Send + 'static,
) {
    test_support::needs!("node", "/usr/bin/python3");
    let Some(mut broker) = start() else {
        return;
    };
    let couch = Couch::start();
    let health = json!({"attachmentName": "mem:ZnVuY3Rpb24gbWFpbihwYXJhbXMpIHsgcmV0dXJuIHBhcmFtczsgfQ==", "attachmentType": "text/plain"});
    let mut health = action("invokerHealthTestAction0", &health);
    health["_id"] = "whisk.system/invokerHealthTestAction0".into();
    couch.put_action(&health);
    ebb_hosted::run(
        &Config {
            cores: 1,
            pin: false,
        },
        async move || test(&mut broker, &couch).await,
    );
}

#[test]
fn functions_run_for_a_controller_from_the_health_check_to_the_drain() {
    with_parts(async |broker, couch| {
        let controller = Controller::new(&broker.address).await;
        let running = Running::start(&broker.address, &couch.url());
        let ping = controller.ping().await;
        assert_eq!(ping["isEnabled"], true);
        assert_eq!(ping["name"]["userMemory"], "1024 MB");
        let mut health = message(1, "invokerHealthTestAction0", "", false);
        health["action"]["path"] = "whisk.system".into();
        controller.send(&health).await;
        let told = controller.hear(1).await;
        assert_eq!(
            (told.len(), &told[0]["isSystemError"]),
            (1, &json!(false)),
            "{told:?}"
        );

        let code = "const main = x => { console.log('n is', x.n); return { n: x.n, key: process.env.KEY, id: process.env.__OW_ACTIVATION_ID } }";
        let revision = couch.put_action(&action("logs", &code.into()));
        let mut asked = message(2, "logs", &revision, true);
        asked["content"] = json!({"n": 7, "KEY": "of init"});
        asked["initArgs"] = json!(["KEY"]);
        controller.send(&asked).await;
        let told = controller.hear(1).await;
        let result = &told[0]["response"]["response"]["result"];
        assert_eq!(result, &json!({"n": 7, "key": "of init", "id": id(2)}));
        assert_eq!(told.len(), 2);

        couch.put_attachment(
            "guest/large",
            "uuid-1",
            b"exports.main = () => ({ from: 'an attachment' })",
        );
        let attached =
            json!({"attachmentName": "couch:uuid-1", "attachmentType": "text/plain", "length": 48});
        let revision = couch.put_action(&action("large", &attached));
        controller.send(&message(3, "large", &revision, true)).await;
        let revision = couch.put_action(&action(
            "throws",
            &"const main = () => { throw new Error('no') }".into(),
        ));
        controller
            .send(&message(4, "throws", &revision, true))
            .await;
        let told = controller.hear(2).await;
        let of = |wanted: usize| {
            let mut results = told
                .iter()
                .filter(|t| t["response"]["activationId"] == id(wanted));
            results.next().expect("a result")["response"]["response"].clone()
        };
        assert_eq!(of(3)["result"], json!({"from": "an attachment"}));
        assert_ne!(of(4)["statusCode"], 0);

        let metrics = running.http("GET /metrics");
        for line in [
            "ebb_whisk_messages_total 4",
            "ebb_whisk_malformed_total 0",
            "ebb_whisk_enabled 1",
            "ebb_whisk_cached_actions 4",
        ] {
            assert!(metrics.lines().any(|l| l == line), "{line} in {metrics}");
        }
        assert!(running.http("POST /disable").contains("now disabled"));
        while controller.ping().await["isEnabled"] == true {}
        assert!(
            running
                .http("GET /isEnabled")
                .contains("{\"isEnabled\":false}")
        );
        running.signal("-TERM");
        assert_eq!(running.ended(), Some(0));
        let records = couch.records();
        assert_eq!(records.len(), 4);
        let logs = &records[&format!("guest/{}", id(2))]["logs"];
        let line = logs[0].as_str().expect("a line");
        assert!(line.ends_with("stdout: n is 7"), "{line}");
    });
}

#[test]
fn what_is_in_the_topic_survives_a_killed_invoker_and_what_ran_is_not_run_again() {
    with_parts(async |broker, couch| {
        let controller = Controller::new(&broker.address).await;
        let slow =
            "const main = x => new Promise(done => setTimeout(() => done({ n: x.n }), 1500))";
        let revision = couch.put_action(&action("slow", &slow.into()));
        let running = Running::start(&broker.address, &couch.url());
        controller.ping().await;
        // Eight may run at once (1 GB); the others wait in the topic.
        for number in 0..20 {
            controller
                .send(&message(number, "slow", &revision, false))
                .await;
        }
        let began = Instant::now();
        while !running
            .http("GET /metrics")
            .contains("ebb_whisk_running 8\n")
        {
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "eight do not run"
            );
            time::sleep(Duration::from_millis(20)).await;
        }
        running.signal("-KILL");
        drop(running);
        let again = Running::start(&broker.address, &couch.url());
        // The first eight were committed when they were taken: their controller frees their slots when their time is up. (`CommonLoadBalancer.scala`)
        let told = controller.hear(12).await;
        let expected: std::collections::BTreeMap<String, usize> =
            (8..20).map(|n| (id(n), 1)).collect();
        assert_eq!(completions(&told), expected);
        again.signal("-TERM");
        assert_eq!(again.ended(), Some(0));
    });
}

#[test]
#[ignore = "takes long; a test below has as many"]
fn many_activations_of_many_functions_end_in_one_completion_each() {
    with_parts(async |broker, couch| {
        let controller = Controller::new(&broker.address).await;
        let running = Running::start(&broker.address, &couch.url());
        let mut revisions = Vec::new();
        for function in 0..5 {
            let code = format!("const main = x => ({{ n: x.n, function: {function} }})");
            revisions.push(couch.put_action(&action(&format!("f{function}"), &code.into())));
        }
        couch.fail("_bulk_docs", Fault::Status(503));
        couch.fail("PUT", Fault::Status(503));
        controller
            .kafka
            .send("invoker0", &Json::text("nothing"))
            .await
            .expect("sent");
        for number in 0..100 {
            let function = number % 5;
            let name = format!("f{function}");
            controller
                .send(&message(
                    number,
                    &name,
                    &revisions[function],
                    number % 2 == 0,
                ))
                .await;
        }
        let told = controller.hear(100).await;
        assert_eq!(completions(&told), once_each(100));
        for told in told.iter().filter(|t| t.get("instance").is_none()) {
            let record = &told["response"];
            let number = record["response"]["result"]["n"].as_u64().expect("n");
            assert_eq!(
                record["activationId"],
                id(usize::try_from(number).expect("small"))
            );
            assert_eq!(record["response"]["result"]["function"], number % 5);
        }
        running.signal("-TERM");
        assert_eq!(running.ended(), Some(0));
        assert_eq!(couch.records().len(), 100);
    });
}
