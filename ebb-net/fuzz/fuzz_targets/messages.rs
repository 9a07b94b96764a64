//! HTTP heads and DNS answers, however malformed: see `ebb_net::fuzzing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ebb_net::fuzzing::messages(data));
