//! System calls whose results are constants of a thread: the entry answers them without a trap.

/// How many answers a context has.
pub const ANSWERS: usize = 8;

/// An entry of [`Context::answers`](crate::Context::answers) that makes the call a trap.
pub const NO_ANSWER: u64 = u64::MAX;

/// For each of the first 256 system calls the number of its answer; 0 for those that have none.
///
/// An answer is a constant of the thread until it is entered again: whoever runs guests sets it before, and nothing else
/// of the core runs while the guest does.
#[repr(transparent)]
#[derive(Debug)]
pub struct QuickCalls([u8; 256]);

impl QuickCalls {
    /// None.
    pub const NONE: &'static Self = &Self([0; 256]);

    /// These system calls, each with the number of its answer, 1 to [`ANSWERS`] - 1.
    ///
    /// # Panics
    /// With a number out of range.
    #[must_use]
    pub const fn new(calls: &[(u8, u8)]) -> Self {
        let mut table = [0; 256];
        let mut i = 0;
        while i < calls.len() {
            let (call, answer) = calls[i];
            assert!(answer > 0 && (answer as usize) < ANSWERS);
            table[call as usize] = answer;
            i += 1;
        }
        Self(table)
    }
}
