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
//!     Err(refusal) => match refusal.owner() {
//!         Some(owner) => ebb_runtime::println!("{:?} has it", owner.node()),
//!         None => ebb_runtime::println!("nobody could get it"),
//!     },
//! }
//! # Ok(())
//! # }
//! ```
//!
//! What keeps the names is a [`NameStore`]: the memory of the directory's node, or what it was told before ([`Directory::keep_in`]), for
//! instance an etcd that the directories of several front ends share.
//!
//! What must hold:
//! - A name has one owner. It stays the owner's while that renews its lease, and is free once a lease has run out.
//! - Each claim gets an epoch, higher than every earlier one of the same store, and for [`Embedded`] than those of a directory that this one has
//!   taken the place of, as long as the clock of its machine goes on. Who does something for owners refuses those with a lower epoch than
//!   it has seen ([`Fence`]), so that one that has lost its lease without noticing does no harm.
//! - An owner believes in its lease for less time than the directory keeps it: it counts from before it asked, and a thousandth less, by which
//!   the rates of two machines' clocks may differ.
//!
//! # Layers
//! - `types`: what is said of names
//! - `store`: the seam to what keeps them
//! - `embedded`: the memory of this node
//! - `lease`: owners

mod embedded;
mod lease;
mod store;
mod types;

use alloc::{boxed::Box, string::String};
use core::time::Duration;

use ebb_macros::remote;
use ebb_runtime::ebb;
use spin::Once;

use crate::down::Sink;

use types::LONGEST_LEASE_MS;
pub use {
    embedded::Embedded,
    lease::{Fence, Lease, claim},
    store::{Changes, NameStore, Pending},
    types::{Away, Change, Owner, Refusal, Renewal},
};

/// The directory of a cluster, which one node [serves](crate::RemoteRef::serve).
#[ebb(distributed)]
#[derive(Default)]
pub struct Directory {
    store: Once<Box<dyn NameStore>>,
}

impl Directory {
    /// Says what keeps the names of this node's directory. Before it is served or asked for anything; false when that has been, and
    /// the names stay where they are.
    pub fn keep_in(&self, store: impl NameStore + 'static) -> bool {
        let mut store = Some(store);
        self.store.call_once(|| match store.take() {
            Some(store) => Box::new(store),
            None => Box::new(Embedded::default()),
        });
        store.is_none()
    }

    fn store(&self) -> &dyn NameStore {
        let store = self.store.call_once(|| Box::new(Embedded::default()));
        &**store
    }
}

fn lease(lease_ms: u32) -> Duration {
    Duration::from_millis(u64::from(lease_ms.min(LONGEST_LEASE_MS)))
}

#[remote(name = "ebb.Directory")]
impl Directory {
    /// Claims a name for a node. [`claim`] also renews it.
    pub async fn claim(
        &self,
        name: String,
        node: u64,
        value: String,
        lease_ms: u32,
    ) -> Result<Owner, Refusal> {
        let store = self.store();
        store.claim(name, node, value, lease(lease_ms)).await
    }

    /// Renews a lease, from now on.
    pub async fn renew(&self, name: String, epoch: u64, lease_ms: u32) -> Renewal {
        self.store().renew(name, epoch, lease(lease_ms)).await
    }

    /// Gives a name back.
    #[remote(oneway)]
    pub async fn release(&self, name: String, epoch: u64) {
        self.store().release(name, epoch).await;
    }

    /// Who has a name.
    pub async fn owner(&self, name: String) -> Result<Option<Owner>, Away> {
        self.store().owner(name).await
    }

    /// The names with this beginning that there are, and from then on what changes, within some 20 ms where the names are in memory. Of
    /// what changes more than once in that time the last is told.
    #[remote(stream)]
    pub async fn watch(&self, beginning: String, out: Sink<Change>) {
        let mut changes = self.store().watch(beginning);
        while let Some(change) = changes.next().await {
            if out.send(change).await.is_err() {
                return;
            }
        }
    }
}
