//! Disks that hold whatever: see `ebb_store::fuzzing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ebb_store::fuzzing::open(data));
