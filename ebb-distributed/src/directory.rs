//! Names of a cluster: who has one, with which value, and for how long. The directory is a distributed Ebb of one node (as a rule the one that
//! has started the others), at which they look names up, claim them and watch them:
//!
//! ```no_run
//! # use core::time::Duration;
//! # use ebb_distributed::{NodeId, RemoteRef, directory::{Directory, claim}};
//! # async fn example() -> Result<(), ebb_distributed::Failure> {
//! let directory = ebb_runtime::EbbRef::<Directory>::new().at(NodeId(0));
//! match claim(directory, "primary", "10.0.0.1:80", Duration::from_secs(5)).await? {
//!     Ok(lease) => {
//!         // Renewed until it is dropped. What is done in its name goes with `lease.epoch()`.
//!         lease.lost().await;
//!     }
//!     Err(Some(owner)) => ebb_runtime::println!("{:?} has it", owner.node()),
//!     Err(None) => ebb_runtime::println!("the directory has no room"),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! What must hold:
//! - A name has one owner. It stays the owner's while that renews its lease, and is free once a lease has run out.
//! - Each claim gets an epoch, higher than every earlier one, also than those of a directory that this one has taken the place of, as long as the
//!   clock of its machine goes on. Who does something for owners refuses those with a lower epoch than it has seen ([`Fence`]), so that one
//!   that has lost its lease without noticing does no harm.
//! - An owner believes in its lease for less time than the directory keeps it: it counts from before it asked.

use alloc::{collections::BTreeMap, rc::Rc, string::String, vec::Vec};
use core::{
    cell::Cell,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use ebb_macros::remote;
use ebb_runtime::{
    JoinHandle, ebb, spawn,
    time::{Instant, sleep, unix_time},
};
use minicbor::{Decode, Encode};
use spin::Mutex;

use crate::{
    down::Sink,
    failure::Failure,
    node::{NodeId, this_node},
};

/// Who has a name.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Owner {
    /// The node that has claimed it.
    #[n(0)]
    node: u64,
    /// What it said with it: an address, a role.
    #[n(1)]
    pub value: String,
    /// Of its claim: a later claim of the name has a higher one.
    #[n(2)]
    pub epoch: u64,
}

impl Owner {
    /// The node that has claimed it.
    #[must_use]
    pub fn node(&self) -> NodeId {
        NodeId(self.node)
    }
}

/// What has become of a name.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Change {
    /// The name.
    #[n(0)]
    pub name: String,
    /// Who has it now; `None` when it was given back or its lease has run out.
    #[n(1)]
    pub owner: Option<Owner>,
}

struct Entry {
    owner: Owner,
    until_ns: u64,
}

/// The directory without clock and connections.
struct Names {
    entries: BTreeMap<String, Entry>,
    last_epoch: u64,
    /// Goes up with every change.
    version: u64,
}

/// The longest lease.
const LONGEST_MS: u32 = 3_600_000;
/// Names that there may be.
const MOST: usize = 100_000;
/// How often a watcher looks for changes.
const LOOK: Duration = Duration::from_millis(20);

impl Names {
    fn new(last_epoch: u64) -> Self {
        Self {
            entries: BTreeMap::new(),
            last_epoch,
            version: 0,
        }
    }

    /// Leases that have run out are no more.
    fn expire(&mut self, now_ns: u64) {
        let before = self.entries.len();
        self.entries.retain(|_, entry| entry.until_ns > now_ns);
        self.version += u64::from(self.entries.len() != before);
    }

    fn claim(
        &mut self,
        now_ns: u64,
        name: String,
        node: u64,
        value: String,
        lease_ns: u64,
    ) -> Result<Owner, Option<Owner>> {
        self.expire(now_ns);
        if let Some(entry) = self.entries.get(&name) {
            return Err(Some(entry.owner.clone()));
        }
        if self.entries.len() >= MOST {
            return Err(None);
        }
        self.last_epoch += 1;
        self.version += 1;
        let owner = Owner {
            node,
            value,
            epoch: self.last_epoch,
        };
        let entry = Entry {
            owner: owner.clone(),
            until_ns: now_ns + lease_ns,
        };
        self.entries.insert(name, entry);
        Ok(owner)
    }

    fn renew(&mut self, now_ns: u64, name: &str, epoch: u64, lease_ns: u64) -> bool {
        self.expire(now_ns);
        let entry = self.entries.get_mut(name);
        let Some(entry) = entry.filter(|entry| entry.owner.epoch == epoch) else {
            return false;
        };
        entry.until_ns = now_ns + lease_ns;
        true
    }

    fn release(&mut self, name: &str, epoch: u64) {
        let is_its = |entry: &Entry| entry.owner.epoch == epoch;
        if self.entries.get(name).is_some_and(is_its) {
            self.entries.remove(name);
            self.version += 1;
        }
    }

    /// What has changed of the names with this beginning since `seen`, which becomes what there is.
    fn changes(&self, beginning: &str, seen: &mut BTreeMap<String, u64>) -> Vec<Change> {
        let gone = |name: &&String| !self.entries.contains_key(*name);
        let gone: Vec<String> = seen.keys().filter(gone).cloned().collect();
        let mut changes = Vec::new();
        for name in gone {
            seen.remove(&name);
            changes.push(Change { name, owner: None });
        }
        let there = self.entries.range(String::from(beginning)..);
        for (name, entry) in there.take_while(|(name, _)| name.starts_with(beginning)) {
            if seen.get(name) != Some(&entry.owner.epoch) {
                seen.insert(name.clone(), entry.owner.epoch);
                changes.push(Change {
                    name: name.clone(),
                    owner: Some(entry.owner.clone()),
                });
            }
        }
        changes
    }
}

/// The directory of a cluster, which one node [serves](crate::RemoteRef::serve).
#[ebb(distributed)]
pub struct Directory {
    names: Mutex<Names>,
}

impl Default for Directory {
    fn default() -> Self {
        // Above all that an earlier one can have given, at less than a million claims a second.
        let started_us = u64::try_from(unix_time().as_micros()).unwrap_or(0);
        Self {
            names: Mutex::new(Names::new(started_us)),
        }
    }
}

fn now_ns() -> u64 {
    Instant::now().as_nanos()
}

fn lease_ns(lease_ms: u32) -> u64 {
    u64::from(lease_ms.min(LONGEST_MS)) * 1_000_000
}

#[remote(name = "ebb.Directory")]
impl Directory {
    /// Claims a name for a node; who has it if that is another one, or nobody when there is no room for names. [`claim`] also renews it.
    pub async fn claim(
        &self,
        name: String,
        node: u64,
        value: String,
        lease_ms: u32,
    ) -> Result<Owner, Option<Owner>> {
        let mut names = self.names.lock();
        names.claim(now_ns(), name, node, value, lease_ns(lease_ms))
    }

    /// Renews a lease, from now on; false when it is no more.
    pub async fn renew(&self, name: String, epoch: u64, lease_ms: u32) -> bool {
        let mut names = self.names.lock();
        names.renew(now_ns(), &name, epoch, lease_ns(lease_ms))
    }

    /// Gives a name back.
    #[remote(oneway)]
    pub async fn release(&self, name: String, epoch: u64) {
        self.names.lock().release(&name, epoch);
    }

    /// Who has a name.
    pub async fn owner(&self, name: String) -> Option<Owner> {
        let mut names = self.names.lock();
        names.expire(now_ns());
        names.entries.get(&name).map(|entry| entry.owner.clone())
    }

    /// The names with this beginning that there are, and from then on what changes, within some 20 ms. Of what changes more than once in
    /// that time the last is told.
    #[remote(stream)]
    pub async fn watch(&self, beginning: String, out: Sink<Change>) {
        let mut seen = BTreeMap::new();
        let mut version = None;
        loop {
            let changes = {
                let mut names = self.names.lock();
                names.expire(now_ns());
                match version.replace(names.version) == Some(names.version) {
                    true => Vec::new(),
                    false => names.changes(&beginning, &mut seen),
                }
            };
            for change in changes {
                if out.send(change).await.is_err() {
                    return;
                }
            }
            sleep(LOOK).await;
        }
    }
}

/// A name that this node has, for as long as this is held and the directory hears of it.
pub struct Lease {
    directory: DirectoryAt,
    name: String,
    epoch: u64,
    until_ns: Rc<Cell<u64>>,
    renews: JoinHandle<()>,
}

/// Claims a name for this node, and renews the claim until the lease is dropped. The inner `Err` is who has it, or
/// `None` when the directory has no room for names.
///
/// # Errors
/// The directory did not answer. If the call [may have run](Failure::may_have_run) the name may be taken until the lease runs out.
pub async fn claim(
    directory: DirectoryAt,
    name: &str,
    value: &str,
    lease: Duration,
) -> Result<Result<Lease, Option<Owner>>, Failure> {
    let node = this_node().map_or(0, |node| node.0);
    let lease_ms = u32::try_from(lease.as_millis()).map_or(LONGEST_MS, |ms| ms.min(LONGEST_MS));
    let asked_ns = now_ns();
    let claimed = directory
        .claim(name.into(), node, value.into(), lease_ms)
        .await?;
    let owner = match claimed {
        Ok(owner) => owner,
        Err(other) => return Ok(Err(other)),
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
            Ok(true) => until_ns.set(asked_ns + lease_ns(lease_ms)),
            Ok(false) => {
                until_ns.set(0);
                return;
            }
            // It is tried again, for as long as the lease lasts.
            Err(_) => {}
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

    const SECOND: u64 = 1_000_000_000;

    fn claim(names: &mut Names, now_s: u64, node: u64) -> Result<u64, Option<u64>> {
        let claimed = names.claim(
            now_s * SECOND,
            "name".into(),
            node,
            String::new(),
            10 * SECOND,
        );
        claimed
            .map(|owner| owner.epoch)
            .map_err(|owner| owner.map(|owner| owner.node))
    }

    #[test]
    fn a_name_has_one_owner_until_its_lease_runs_out_and_the_next_has_a_higher_epoch() {
        let mut names = Names::new(5);
        let first = claim(&mut names, 0, 1).expect("it is free");
        assert_eq!(first, 6);
        assert_eq!(claim(&mut names, 9, 2), Err(Some(1)));
        // Also not by its owner, which may have started anew.
        assert_eq!(claim(&mut names, 9, 1), Err(Some(1)));
        assert!(names.renew(9 * SECOND, "name", first, 10 * SECOND));
        assert_eq!(claim(&mut names, 18, 2), Err(Some(1)));
        let second = claim(&mut names, 19, 2).expect("it has run out");
        assert!(second > first);
        assert!(!names.renew(19 * SECOND, "name", first, 10 * SECOND));
        names.release("name", first);
        assert_eq!(claim(&mut names, 20, 1), Err(Some(2)));
        names.release("name", second);
        assert!(claim(&mut names, 20, 1).is_ok_and(|third| third > second));
    }

    #[test]
    fn a_watcher_is_told_what_there_is_and_each_change_of_names_with_its_beginning() {
        let mut names = Names::new(0);
        let mut seen = BTreeMap::new();
        let put = |names: &mut Names, name: &str, now_ns: u64| {
            let _ = names.claim(now_ns, name.into(), 1, String::new(), 10);
        };
        put(&mut names, "a/1", 0);
        put(&mut names, "a/2", 5);
        put(&mut names, "b", 0);
        let told = |names: &Names, seen: &mut BTreeMap<String, u64>| {
            let changes = names.changes("a/", seen);
            let tell = |c: Change| (c.name, c.owner.is_some());
            changes.into_iter().map(tell).collect::<Vec<_>>()
        };
        assert_eq!(
            told(&names, &mut seen),
            [("a/1".into(), true), ("a/2".into(), true)]
        );
        assert_eq!(told(&names, &mut seen), []);
        names.expire(10);
        assert_eq!(told(&names, &mut seen), [("a/1".into(), false)]);
        // Gone and taken again between two looks.
        names.expire(15);
        put(&mut names, "a/2", 15);
        assert_eq!(told(&names, &mut seen), [("a/2".into(), true)]);
    }

    #[test]
    fn an_owner_that_has_been_is_refused() {
        let fence = Fence::default();
        assert!(fence.admits(3) && fence.admits(3) && fence.admits(7));
        assert!(!fence.admits(3));
        assert!(fence.admits(7));
    }
}
