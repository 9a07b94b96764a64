//! Drivers of queues against devices that do whatever: see `ebb_virtio::fuzzing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ebb_virtio::fuzzing::rings(data));
