//! System calls that the entry answers by itself ([`ebb_guest`]): those whose result is a constant of the thread
//! while it runs, so that a program which asks for its number a million times does not enter the kernel a million times.
//!
//! What must hold: what such a call answers changes only while its thread does not run, or in a call that ends with
//! [`Stop::Replaced`](super::Stop::Replaced); [`set`] is called after both. A UC that is traced has none: strace sees every
//! call.

use crate::state::process::Process;
use crate::state::thread::Thread;
use crate::uc::Uc;
use ebb_guest::QuickCalls;

const PID: u8 = 1;
const PARENT: u8 = 2;
const TID: u8 = 3;
const UID: u8 = 4;
const GID: u8 = 5;
const EFFECTIVE_UID: u8 = 6;
const EFFECTIVE_GID: u8 = 7;

static CALLS: QuickCalls = QuickCalls::new(&NUMBERS);

const NUMBERS: [(u8, u8); 7] = [
    (39, PID),
    (110, PARENT),
    (186, TID),
    (102, UID),
    (104, GID),
    (107, EFFECTIVE_UID),
    (108, EFFECTIVE_GID),
];

/// Tells a thread's entry what it is to answer.
pub fn set(uc: &Uc, process: &Process, thread: &mut Thread) {
    if uc.options.trace {
        return;
    }
    let state = process.state.borrow();
    let who = &*state.credentials;
    let context = &mut thread.context;
    context.quick = &CALLS;
    for (answer, value) in [
        (PID, state.pid),
        (PARENT, state.parent),
        (TID, thread.tid),
        (UID, who.user.real),
        (GID, who.group.real),
        (EFFECTIVE_UID, who.user.effective),
        (EFFECTIVE_GID, who.group.effective),
    ] {
        context.answers[usize::from(answer)] = value.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_is_answered_at_the_entry_is_the_one_of_that_name() {
        let names = NUMBERS.map(|(number, answer)| (super::super::name(number.into()), answer));
        let wanted = [
            ("getpid", PID),
            ("getppid", PARENT),
            ("gettid", TID),
            ("getuid", UID),
            ("getgid", GID),
            ("geteuid", EFFECTIVE_UID),
            ("getegid", EFFECTIVE_GID),
        ];
        assert_eq!(names, wanted);
    }
}
