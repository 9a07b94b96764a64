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
/// Users and groups: see `misc::zero`.
const ZERO: u8 = 4;

static CALLS: QuickCalls = QuickCalls::new(&NUMBERS);

const NUMBERS: [(u8, u8); 7] = [
    (39, PID),
    (110, PARENT),
    (186, TID),
    (102, ZERO),
    (104, ZERO),
    (107, ZERO),
    (108, ZERO),
];

/// Tells a thread's entry what it is to answer.
pub fn set(uc: &Uc, process: &Process, thread: &mut Thread) {
    if uc.options.trace {
        return;
    }
    let (pid, parent) = {
        let state = process.state.borrow();
        (state.pid, state.parent)
    };
    let context = &mut thread.context;
    context.quick = &CALLS;
    for (answer, value) in [(PID, pid), (PARENT, parent), (TID, thread.tid), (ZERO, 0)] {
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
            ("getuid", ZERO),
            ("getgid", ZERO),
            ("geteuid", ZERO),
            ("getegid", ZERO),
        ];
        assert_eq!(names, wanted);
    }
}
