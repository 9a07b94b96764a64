//! Sleeping and waking of cores, which are threads.

use ebb_runtime::{
    platform::{Clock, Cores},
    provides,
};

use super::{Linux, net};
use crate::parker::Parker;

/// Lets the calling thread run on the `n`th CPU of those that this process may use, if there are so many.
pub(crate) fn pin_to_cpu(n: usize) {
    // SAFETY: plain system calls on sets of this function's own.
    unsafe {
        let mut allowed: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, size_of_val(&allowed), &mut allowed) != 0 {
            return;
        }
        let Some(cpu) = (0..libc::CPU_SETSIZE as usize)
            .filter(|&c| libc::CPU_ISSET(c, &allowed))
            .nth(n)
        else {
            return;
        };
        let mut one: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut one);
        // Pinning is for speed only: a refusal changes nothing else.
        libc::sched_setaffinity(0, size_of_val(&one), &one);
    }
}

#[provides(Cores, instance = &Linux)]
impl Cores for Linux {
    fn wake(&self, token: usize) {
        Parker::from_token(token).wake();
    }

    fn park(&self, token: usize, deadline_ns: Option<u64>) {
        let parker = Parker::from_token(token);
        parker.park(
            deadline_ns.map(|d| d.saturating_sub(Linux.now_ns())),
            net::ready,
        );
    }

    fn poll(&self, token: usize) {
        Parker::from_token(token).poll(net::ready);
    }
}
