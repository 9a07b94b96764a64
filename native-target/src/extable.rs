//! Places in assembly that may fault on purpose, each with the place to go on at.
//!
//! What must hold: code at a named place treats every caller-saved register as lost when it
//! arrives at its second address (the fault handler is ordinary Rust). An entry is two 64-bit
//! addresses in the section `ebb_extable`.

unsafe extern "C" {
    static __start_ebb_extable: [u64; 2];
    static __stop_ebb_extable: [u64; 2];
}

/// Where to go on after a fault at `rip`, if it is a named place.
pub fn find(rip: u64) -> Option<u64> {
    let start = &raw const __start_ebb_extable;
    // SAFETY: both symbols bound one array that the linker gathered.
    let len = unsafe { (&raw const __stop_ebb_extable).offset_from_unsigned(start) };
    // SAFETY: as above.
    let entries = unsafe { core::slice::from_raw_parts(start, len) };
    entries
        .iter()
        .find(|entry| entry[0] == rip)
        .map(|entry| entry[1])
}
