//! What becomes of containers and connections in the course of time: idle ones that go, schedulers that come, an invoker that is disabled.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ebb::time;
use serde_json::json;

use crate::etcd::until;
use crate::messages::{action, completions, id, message};
use crate::scheduler::{Cluster, Scheduler, with_cluster_set};

const SOON: &[(&str, &str)] = &[
    (
        "CONFIG_whisk_containerProxy_timeouts_pauseGrace",
        "300 milliseconds",
    ),
    (
        "CONFIG_whisk_containerProxy_timeouts_idleContainer",
        "1 second",
    ),
    (
        "CONFIG_whisk_containerProxy_timeouts_keepingDuration",
        "1 hour",
    ),
];

impl Cluster {
    /// Has containers made for an action.
    async fn create(&self, numbers: std::ops::Range<usize>, name: &str, revision: &str) {
        for number in numbers {
            let creation = self.scheduler.creation(number, name, revision);
            self.ask(&creation).await;
            let answer = Self::next(&self.answers).await;
            assert_eq!(answer.get("error"), None, "{answer}");
        }
    }

    fn warmed(&self, name: &str) -> usize {
        let prefix = format!("whisk/warmed/guest/guest/{name}/");
        self.etcd.below(&prefix).len()
    }
}

#[test]
fn idle_containers_go_when_their_time_is_up_and_those_that_a_namespace_may_keep_later() {
    with_cluster_set(SOON, async |cluster| {
        let revision = cluster
            .couch
            .put_action(&action("idle", &"const main = x => x".into()));
        cluster.scheduler.add(message(0, "idle", &revision, false));
        cluster.create(0..1, "idle", &revision).await;
        cluster.completed(1).await;
        until("it rests", 10, || cluster.warmed("idle") == 1).await;
        let rests = Instant::now();
        until("it has gone", 10, || cluster.warmed("idle") == 0).await;
        let rested = rests.elapsed();
        assert!(
            rested > Duration::from_millis(700),
            "it went after {rested:?}"
        );
        until("it says so", 5, || {
            let fetches = cluster.scheduler.fetches("idle");
            fetches
                .last()
                .is_some_and(|fetch| !fetch.alive && fetch.warmed)
        })
        .await;
        until("nothing is left", 5, || {
            cluster
                .running
                .http("GET /pool/count")
                .ends_with("\r\n\r\n0")
                && cluster.etcd.below("whisk/namespace/").is_empty()
        })
        .await;

        // The namespace may keep one for two seconds more.
        let limits =
            json!({"warmedContainerKeepingCount": 1, "warmedContainerKeepingTimeout": "2 seconds"});
        cluster.couch.put_limits("guest", &limits);
        for number in 1..3 {
            cluster
                .scheduler
                .add(message(number, "idle", &revision, false));
        }
        cluster.create(1..3, "idle", &revision).await;
        cluster.completed(2).await;
        until("some rest", 10, || cluster.warmed("idle") > 0).await;
        until("one is left", 10, || cluster.warmed("idle") == 1).await;
        time::sleep(Duration::from_millis(1000)).await;
        assert_eq!(cluster.warmed("idle"), 1, "it is kept");
        until("it has gone, too", 10, || cluster.warmed("idle") == 0).await;
    });
}

#[test]
fn a_scheduler_that_comes_later_has_a_connection_before_the_first_container() {
    with_cluster_set(&[], async |cluster| {
        let other = Scheduler::start();
        let key = "whisk/scheduler/1";
        let state = |queues: u32| {
            let endpoints = json!({"host": "127.0.0.1", "rpcPort": other.port, "akkaPort": 7});
            json!({"queueSize": queues, "sid": {"asString": "1"}, "endpoints": endpoints})
                .to_string()
        };
        cluster.etcd.put(key, &state(0));
        until("it is asked", 10, || other.fetches("warmUp").len() == 1).await;
        let asked = &other.fetches("warmUp")[0];
        assert_eq!(asked.invocation_namespace, "whisk.system");
        // It says how it is again and again, which is no reason to ask again.
        for queues in 1..5 {
            cluster.etcd.put(key, &state(queues));
        }
        time::sleep(Duration::from_millis(500)).await;
        assert_eq!(other.fetches("warmUp").len(), 1);
        // One that went and came again is a new one.
        cluster.etcd.remove(key);
        cluster.etcd.put(key, &state(0));
        until("it is asked again", 10, || {
            other.fetches("warmUp").len() == 2
        })
        .await;
    });
}

#[test]
fn a_disabled_invoker_runs_what_waits_for_its_containers_and_then_has_none() {
    with_cluster_set(SOON, async |cluster| {
        let code = "const main = x => new Promise(done => setTimeout(() => done({ n: x.n }), 300))";
        let revision = cluster.couch.put_action(&action("drains", &code.into()));
        for number in 0..10 {
            cluster
                .scheduler
                .add(message(number, "drains", &revision, true));
        }
        cluster.create(0..2, "drains", &revision).await;
        let mut told = cluster.completed(1).await;
        let disabled = cluster.running.http("POST /disable");
        assert!(disabled.contains("now disabled"), "{disabled}");
        let freed: usize = completions(&told).values().sum();
        told.extend(cluster.completed(10 - freed).await);
        let expected: BTreeMap<String, usize> = (0..10).map(|n| (id(n), 1)).collect();
        assert_eq!(completions(&told), expected);
        until("it has no containers", 10, || {
            cluster
                .running
                .http("GET /metrics")
                .contains("ebb_whisk_containers 0\n")
        })
        .await;
        until("it says so", 5, || {
            cluster.status() == "down" && cluster.resources()["busyMemory"] == 0
        })
        .await;
        assert!(cluster.etcd.below("whisk/namespace/").is_empty());
        assert!(cluster.etcd.below("whisk/warmed/").is_empty());
        let last = cluster.scheduler.fetches("drains");
        assert_eq!(last.iter().filter(|fetch| !fetch.alive).count(), 2);
    });
}
