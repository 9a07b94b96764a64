//! Frames, however malformed, in whatever order: see `ebb_netstack::fuzzing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ebb_netstack::fuzzing::receive(data));
