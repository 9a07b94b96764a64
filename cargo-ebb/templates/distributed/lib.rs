//! A counter that other machines call: each node has one, and adds what all of them are told.
#![no_std]

extern crate alloc;

use core::sync::atomic::{AtomicU64, Ordering};

use ebb::ebb;
use ebb_distributed::{Failure, NodeId, remote};

/// One for each machine: all its cores share it.
#[ebb(distributed)]
#[derive(Default)]
pub struct Counter {
    sum: AtomicU64,
}

// What it is called on the wire: the same in all programs that speak of it.
#[remote(name = "{{name}}.Counter")]
impl Counter {
    /// Adds to this node's sum; what it is then.
    pub async fn add(&self, n: u64) -> u64 {
        self.sum.fetch_add(n, Ordering::Relaxed) + n
    }

    /// This node's sum.
    pub async fn sum(&self) -> u64 {
        self.sum.load(Ordering::Relaxed)
    }
}

/// The sum of several nodes.
///
/// # Errors
/// With the first call that fails. It says whether the call may have run.
pub async fn total(nodes: &[NodeId]) -> Result<u64, Failure> {
    use ebb::EbbRef;
    use ebb_distributed::RemoteRef;

    let mut total = 0;
    for node in nodes {
        total += EbbRef::<Counter>::new().at(*node).sum().await?;
    }
    Ok(total)
}
