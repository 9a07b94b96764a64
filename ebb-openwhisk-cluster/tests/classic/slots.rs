//! A controller whose topic takes nothing, beside one whose topic does.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ebb::time;
use serde_json::{Value, json};

use crate::{SLOTS, World, completions, id, message, on_a_machine};

const DEAD: &str = "completed7";

/// Of a controller whose topic takes nothing.
fn of_the_dead(number: usize, changes: Value) -> Value {
    let mut message = message(number, changes);
    message["rootControllerIndex"]["asString"] = "7".into();
    message
}

impl World {
    /// Waits until this controller's topic has ended so many.
    async fn until(&self, topic: &str, count: usize) -> Vec<Value> {
        let began = Instant::now();
        loop {
            let told = self.sent.to(topic);
            if completions(&told).values().sum::<usize>() == count {
                return told;
            }
            let waited = began.elapsed();
            assert!(waited < Duration::from_secs(40), "{} told", told.len());
            time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[test]
fn a_topic_that_takes_nothing_holds_no_slots() {
    on_a_machine(async || {
        let mut world = World::new();
        world.sent.hold(Some(DEAD));
        for number in 0..3 * SLOTS {
            let message = of_the_dead(number, json!({}));
            world.topic.push(message.to_string());
        }
        world.topic.push(message(100, json!({})).to_string());
        let told = world.until("completed0", 1).await;
        assert_eq!(completions(&told), BTreeMap::from([(id(100), 1)]));
        assert_eq!(world.invoker.counts().running() as usize, 3 * SLOTS);
        assert!(world.invoker.counts().unsent_bytes.get() > 0);
        world.sent.hold(None);
        world.finish().await;
        let all: BTreeMap<String, usize> = (0..3 * SLOTS).map(|n| (id(n), 1)).collect();
        assert_eq!(completions(&world.sent.to(DEAD)), all);
        assert_eq!(world.invoker.counts().unsent_bytes.get(), 0);
    });
}

#[test]
fn a_topic_that_takes_nothing_costs_bounded_memory_and_time() {
    on_a_machine(async || {
        const LARGE: usize = 20;
        const SMALL: usize = 3000;
        let mut world = World::new();
        world.sent.hold(Some(DEAD));
        let large = json!({"content": {"text": "x".repeat(1 << 20)}});
        for number in 0..LARGE {
            let message = of_the_dead(number, large.clone());
            world.topic.push(message.to_string());
        }
        for number in LARGE..LARGE + SMALL {
            let message = of_the_dead(number, json!({"blocking": false}));
            world.topic.push(message.to_string());
        }
        let after = LARGE + SMALL;
        world.topic.push(message(after, json!({})).to_string());
        world.until("completed0", 1).await;
        let counts = world.invoker.counts();
        assert!(counts.unsent_bytes.get() < 4 << 20);
        // What found no room is not told, and is not waited for.
        let lost = counts.unacknowledged.get() as usize;
        assert!((1..SMALL).contains(&lost), "{lost} lost");
        world.sent.hold(None);
        world.finish().await;
        let told = world.sent.to(DEAD);
        let ended = completions(&told).values().sum::<usize>();
        // Two are told of a blocking one with logs.
        assert!((after - lost..after).contains(&ended), "{ended} ended");
        let in_full = told.iter().filter(|told| told["response"].is_object());
        assert!((2..4).contains(&in_full.count()));
        assert_eq!(world.database.records().len(), after + 1);
    });
}

#[test]
fn however_many_topics_take_nothing_memory_is_bounded_and_others_are_told() {
    on_a_machine(async || {
        const CONTROLLERS: usize = 60;
        let mut world = World::new();
        world.sent.hold(Some(DEAD));
        let large = json!({"content": {"text": "x".repeat(600 << 10)}});
        for number in 0..2 * CONTROLLERS {
            let mut message = of_the_dead(number, large.clone());
            let controller = format!("7-{}", number % CONTROLLERS);
            message["rootControllerIndex"]["asString"] = controller.into();
            world.topic.push(message.to_string());
        }
        let after = 2 * CONTROLLERS;
        world.topic.push(message(after, json!({})).to_string());
        world.until("completed0", 1).await;
        let unsent = world.invoker.counts().unsent_bytes.get();
        assert!((8 << 20..=16 << 20).contains(&unsent), "{unsent} bytes");
        world.sent.hold(None);
        world.finish().await;
        let told = |number| world.sent.to(&format!("{DEAD}-{number}"));
        let ended: usize = (0..CONTROLLERS)
            .map(|number| completions(&told(number)).len())
            .sum();
        let lost = world.invoker.counts().unacknowledged.get() as usize;
        // Two are told of each.
        assert!(ended >= after - lost, "{ended} ended, {lost} lost");
        assert_eq!(world.invoker.counts().unsent_bytes.get(), 0);
    });
}
