//! Which machine a call goes to: the one that the function's key names, where its instances are, unless that one has far more to do than
//! the others.
//!
//! Rendezvous hashing with bounded loads (Mirrokni, Thorup and Zadimoghaddam, "Consistent Hashing with Bounded Loads", 2018): a machine
//! takes a call while it has no more than its share of all calls and a quarter; else the next in the function's order does. A machine that
//! has no call for each of its cores is never busy, so that few calls stay where they are hot.

use alloc::vec::Vec;

use ebb_distributed::{NodeId, placement};

/// A machine that takes calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub node: NodeId,
    /// Its cores.
    pub cores: usize,
    /// Calls of ours that it has.
    pub calls: usize,
}

impl Candidate {
    /// Calls that it may have when there are so many on so many cores in all.
    fn bound(&self, calls: usize, cores: usize) -> usize {
        let share = (5 * (calls + 1) * self.cores).div_ceil(4 * cores.max(1));
        share.max(self.cores)
    }
}

/// The machines in the order in which a call of the function with this hash is offered to them.
pub fn order(candidates: &[Candidate], key: u64) -> Vec<NodeId> {
    let nodes: Vec<NodeId> = candidates.iter().map(|c| c.node).collect();
    let calls = candidates.iter().map(|c| c.calls).sum();
    let cores = candidates.iter().map(|c| c.cores).sum();
    let mut order = placement::order(&nodes, key);
    // A stable sort: those that are not busy stay in the function's order, and so do the others.
    order.sort_by_key(|node| {
        let candidate = candidates.iter().find(|c| c.node == *node);
        candidate.is_some_and(|c| c.calls >= c.bound(calls, cores))
    });
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn idle(count: u64) -> Vec<Candidate> {
        let candidate = |n| Candidate {
            node: NodeId(n),
            cores: 2,
            calls: 0,
        };
        (1..=count).map(candidate).collect()
    }

    #[test]
    fn a_function_stays_on_its_machine_while_that_has_a_core_for_it() {
        let mut machines = idle(3);
        let home = order(&machines, 7)[0];
        for calls in 0..2 {
            let at = machines.iter_mut().find(|m| m.node == home);
            at.expect("the home").calls = calls;
            assert_eq!(order(&machines, 7)[0], home, "{calls}");
        }
    }

    #[test]
    fn calls_of_one_function_spread_when_its_machine_is_busy_and_no_machine_has_much_more_than_its_share()
     {
        let mut machines = idle(4);
        for _ in 0..400 {
            let node = order(&machines, 7)[0];
            let machine = machines.iter_mut().find(|m| m.node == node);
            machine.expect("it was chosen").calls += 1;
        }
        assert!(machines.iter().all(|m| m.calls <= 126), "{machines:?}");
    }

    #[test]
    fn a_machine_with_more_cores_gets_more() {
        let mut machines = idle(2);
        machines[0].cores = 6;
        for key in 0..4000 {
            let node = order(&machines, key)[0];
            let machine = machines.iter_mut().find(|m| m.node == node);
            machine.expect("it was chosen").calls += 1;
        }
        assert!(machines[1].calls <= 1251, "{machines:?}");
    }

    #[test]
    fn every_machine_is_offered_the_call_once() {
        let machines = idle(9);
        let mut order = order(&machines, 1);
        order.sort_unstable();
        assert_eq!(order, machines.iter().map(|m| m.node).collect::<Vec<_>>());
    }
}
