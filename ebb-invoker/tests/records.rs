//! Records of activations are accounted as what they take, by an allocator that counts. Alone in its process, which counts for
//! all threads.

use std::sync::Arc;

use ebb_openwhisk::activation::Activation;
use ebb_openwhisk::activations::{Activations, Budget};
use ebb_openwhisk::json::Json;
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// A record as calls leave it.
fn record(number: u64, logs: usize, result: usize) -> Arc<Activation> {
    let line = "\"2026-11-28T17:00:00.000000000Z stdout: a line of a function\"";
    let logs = vec![line; logs].join(",");
    let result = "x".repeat(result);
    let document = format!(
        r#"{{"activationId":"{number:032x}","name":"hello","namespace":"guest","subject":"guest","version":"0.0.1","publish":false,
        "annotations":[{{"key":"path","value":"guest/hello"}},{{"key":"waitTime","value":12}},{{"key":"initTime","value":31}},
        {{"key":"kind","value":"nodejs:20"}},{{"key":"timeout","value":false}},
        {{"key":"limits","value":{{"concurrency":1,"logs":10,"memory":256,"timeout":60000}}}}],
        "start":1700000000000,"end":1700000000012,"duration":12,"logs":[{logs}],
        "response":{{"status":"success","statusCode":0,"success":true,"size":9,"result":{{"hello":"{result}"}}}}}}"#
    );
    let document = Json::parse(&document).expect("it is JSON");
    Arc::new(Activation::read(&document).expect("it is a record"))
}

#[test]
fn records_are_accounted_as_what_they_hold_in_memory_and_stay_within_their_budget() {
    const BUDGET: usize = 8 << 20;
    for (logs, result) in [(0, 8), (3, 200), (40, 8), (0, 9_000)] {
        let before = ALLOCATOR.current_usage();
        let mut records = Activations::new(Budget::bytes(BUDGET));
        let mut number = 0;
        let mut add = |records: &mut Activations, until: usize| {
            let begun = number;
            while number - begun < 400 || records.bytes() < until && number < 100_000 {
                number += 1;
                records.insert(record(number, logs, result));
            }
        };
        // Before and after the oldest make room.
        for until in [BUDGET / 3, BUDGET - 16_000] {
            add(&mut records, until);
            let held = ALLOCATOR.current_usage() - before;
            let ratio = records.bytes() as f64 / held as f64;
            println!("{logs} lines, {result} bytes: {held} bytes held, {ratio:.2} of it accounted");
            // The allocator that counts rounds nothing up.
            assert!((0.97..1.25).contains(&ratio), "{ratio}");
        }
        for _ in 0..3 {
            add(&mut records, 0);
        }
        let held = ALLOCATOR.current_usage() - before;
        assert!(
            records.bytes() <= BUDGET && held <= BUDGET * 103 / 100,
            "{held}"
        );
        drop(records);
        assert!(
            ALLOCATOR.current_usage() < before + 4096,
            "all of it is given back"
        );
    }
}
