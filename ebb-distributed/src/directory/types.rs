//! What is said of names, also between nodes.

use alloc::string::String;

use minicbor::{Decode, Encode};

use crate::node::NodeId;

/// The longest lease.
pub(super) const LONGEST_LEASE_MS: u32 = 3_600_000;

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
    /// For what keeps names.
    #[must_use]
    pub fn new(node: u64, value: String, epoch: u64) -> Self {
        Self { node, value, epoch }
    }

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

/// Why a claim has not got its name.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Refusal {
    /// Another one has it.
    #[n(0)]
    Taken(#[n(0)] Owner),
    /// There is no room for further names.
    #[n(1)]
    Full,
    /// What keeps the names did not answer. It may have the claim, until its lease runs out.
    #[n(2)]
    Away,
}

impl Refusal {
    /// Who has the name.
    #[must_use]
    pub fn owner(&self) -> Option<&Owner> {
        match self {
            Self::Taken(owner) => Some(owner),
            Self::Full | Self::Away => None,
        }
    }
}

/// What keeps the names does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Away;

/// What a renewal comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Renewal {
    /// The lease lasts for its whole length again.
    #[n(0)]
    Held,
    /// It is no more.
    #[n(1)]
    Lost,
    /// What keeps the names did not answer. The lease lasts as long as it did, or longer.
    #[n(2)]
    Away,
}
