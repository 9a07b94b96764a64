//! Names from their owner's side: claiming, renewing, and refusing owners that have been.
//!
//! What must hold: an owner believes in its lease for less time than the directory keeps it, because it counts from before it asked, and as if its
//! clock were slow.

use alloc::{rc::Rc, string::String};
use core::{
    cell::Cell,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use ebb_runtime::{
    JoinHandle, spawn,
    time::{Instant, sleep},
};

use super::DirectoryAt;
use super::types::{LONGEST_LEASE_MS, Refusal, Renewal};
use crate::{failure::Failure, node::this_node};

fn now_ns() -> u64 {
    Instant::now().as_nanos()
}

/// How long an owner believes in a lease: the clock of its machine may be slower than the directory's by a thousandth. NTP lets each go
/// wrong by half of that at most.
fn lease_ns(lease_ms: u32) -> u64 {
    u64::from(lease_ms) * (1_000_000 - 1_000)
}

/// A name that this node has, for as long as this is held and the directory hears of it.
pub struct Lease {
    directory: DirectoryAt,
    name: String,
    epoch: u64,
    until_ns: Rc<Cell<u64>>,
    renews: JoinHandle<()>,
}

/// Claims a name for this node, and renews the claim until the lease is dropped. The inner `Err` is who has it, or why nobody has got it.
///
/// # Errors
/// The directory did not answer. If the call [may have run](Failure::may_have_run), the name may be taken until the lease runs out; so after
/// [`Refusal::Away`].
pub async fn claim(
    directory: DirectoryAt,
    name: &str,
    value: &str,
    lease: Duration,
) -> Result<Result<Lease, Refusal>, Failure> {
    let node = this_node().map_or(0, |node| node.0);
    let lease_ms = u32::try_from(lease.as_millis()).unwrap_or(LONGEST_LEASE_MS);
    let lease_ms = lease_ms.min(LONGEST_LEASE_MS);
    let asked_ns = now_ns();
    let claimed = directory
        .claim(name.into(), node, value.into(), lease_ms)
        .await?;
    let owner = match claimed {
        Ok(owner) => owner,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let until_ns = Rc::new(Cell::new(asked_ns + lease_ns(lease_ms)));
    let renewed = renew(
        directory,
        name.into(),
        owner.epoch,
        lease_ms,
        Rc::clone(&until_ns),
    );
    Ok(Ok(Lease {
        directory,
        name: name.into(),
        epoch: owner.epoch,
        until_ns,
        renews: spawn(renewed),
    }))
}

/// Renews a lease three times in its length; a renewal may be asked for again.
async fn renew(
    directory: DirectoryAt,
    name: String,
    epoch: u64,
    lease_ms: u32,
    until_ns: Rc<Cell<u64>>,
) {
    let pause = Duration::from_millis(u64::from(lease_ms / 3).max(1));
    loop {
        sleep(pause).await;
        let asked_ns = now_ns();
        if asked_ns >= until_ns.get() {
            return;
        }
        let renewed = directory.within(pause).renew(name.clone(), epoch, lease_ms);
        match renewed.await {
            Ok(Renewal::Held) => until_ns.set(asked_ns + lease_ns(lease_ms)),
            Ok(Renewal::Lost) => {
                until_ns.set(0);
                return;
            }
            // It is tried again, for as long as the lease lasts.
            Ok(Renewal::Away) | Err(_) => {}
        }
    }
}

impl Lease {
    /// Of the claim. What is done in the name's name goes with it.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether this node has the name.
    #[must_use]
    pub fn is_held(&self) -> bool {
        now_ns() < self.until_ns.get()
    }

    /// Waits until this node does not have the name any more.
    pub async fn lost(&self) {
        while self.is_held() {
            let left_ns = self.until_ns.get().saturating_sub(now_ns());
            sleep(Duration::from_nanos(left_ns.clamp(1_000_000, 20_000_000))).await;
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renews.cancel();
        // If this does not arrive, the lease runs out.
        let _ = self.directory.release(self.name.clone(), self.epoch);
    }
}

/// What refuses owners that have been: it remembers the highest epoch that it has seen of a name.
#[derive(Debug, Default)]
pub struct Fence(AtomicU64);

impl Fence {
    /// Whether something may be done for an owner of this epoch: no later one has been here.
    pub fn admits(&self, epoch: u64) -> bool {
        self.0.fetch_max(epoch, Ordering::AcqRel) <= epoch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_that_has_been_is_refused() {
        let fence = Fence::default();
        assert!(fence.admits(3) && fence.admits(3) && fence.admits(7));
        assert!(!fence.admits(3));
        assert!(fence.admits(7));
    }
}
