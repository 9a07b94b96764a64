//! What crates that are written for Linux ask of the C library even without `std`: random numbers. ring takes them by the crate
//! getrandom, whose Linux half calls `syscall(SYS_getrandom, ...)` and has a way round by `/dev/urandom`.
//!
//! What must hold: that system call never fails, so the way round is never taken; whoever calls another of these functions meant a
//! program of Linux, and the image ends with a message.

use core::arch::global_asm;

use ebb_runtime::{EbbRef, platform::Entropy};

/// `SYS_getrandom` of x86-64.
const GETRANDOM: i64 = 318;

global_asm!(
    r#"
    .pushsection .text.libc, "ax", @progbits
    .globl syscall
    .globl __errno_location
    .globl open
    .globl read
    .globl close
    .globl poll
    .globl pthread_mutex_lock
    .globl pthread_mutex_unlock
    .type syscall, @function
syscall:
    jmp {system_call}
    .size syscall, . - syscall
__errno_location:
open:
read:
close:
poll:
pthread_mutex_lock:
pthread_mutex_unlock:
    jmp {missing}
    .popsection
    "#,
    system_call = sym system_call,
    missing = sym missing,
    options(att_syntax)
);

/// `getrandom(buffer, length, flags)` and nothing else.
///
/// # Safety
/// As of C's `syscall`: `buffer` is valid for writes of `length` bytes.
unsafe extern "C" fn system_call(number: i64, buffer: *mut u8, length: usize) -> i64 {
    if number != GETRANDOM {
        missing()
    }
    // The test whether the call exists asks for nothing, and its pointer is of an empty slice.
    if length > 0 {
        // SAFETY: the caller's.
        let bytes = unsafe { core::slice::from_raw_parts_mut(buffer, length) };
        EbbRef::<dyn Entropy>::get().fill(bytes);
    }
    length as i64
}

extern "C" fn missing() -> ! {
    panic!("a library called a function of the C library that an image does not have")
}
