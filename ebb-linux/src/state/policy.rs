//! Memory policies (set_mempolicy(2)) of a machine with one node: checked as Linux checks them, kept and told.
//!
//! What must hold: threads and areas name a policy by its number among those of their process, 0 for the default, so that the
//! numbers of a child, of a program begun by `execve` and of a moved mapping mean what they meant before.

use crate::abi::errno::Errno;
use alloc::vec::Vec;
use borsh::{BorshDeserialize, BorshSerialize};

/// Nodes that there may be (`MAX_NUMNODES`); there is one, of number 0.
pub const MAX_NODES: u64 = 1024;

/// A set of nodes by number.
pub type Nodes = [u64; (MAX_NODES / 64) as usize];

/// What a policy does.
pub mod mode {
    pub const DEFAULT: u32 = 0;
    pub const PREFERRED: u32 = 1;
    pub const BIND: u32 = 2;
    pub const INTERLEAVE: u32 = 3;
    pub const LOCAL: u32 = 4;
    pub const PREFERRED_MANY: u32 = 5;
    /// `MPOL_F_NUMA_BALANCING`.
    pub const BALANCING: u32 = 1 << 13;
    /// `MPOL_F_RELATIVE_NODES`.
    pub const RELATIVE: u32 = 1 << 14;
    /// `MPOL_F_STATIC_NODES`.
    pub const STATIC: u32 = 1 << 15;
    /// All flags.
    pub const FLAGS: u32 = BALANCING | RELATIVE | STATIC;
}

use mode::{
    BALANCING, BIND, DEFAULT, FLAGS, INTERLEAVE, LOCAL, PREFERRED, PREFERRED_MANY, RELATIVE, STATIC,
};

/// A policy that is not the default.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    mode: u32,
    /// The nodes that are told: as they were asked for, or those of them that there are.
    told: Nodes,
}

impl Policy {
    /// Takes a mode apart as far as that needs no nodes: without flags, and these.
    ///
    /// # Errors
    /// `EINVAL` for what is unknown or does not go together.
    pub fn check(asked: u32) -> Result<(u32, u32), Errno> {
        let (mode, flags) = (asked & !FLAGS, asked & FLAGS);
        let both = flags & (STATIC | RELATIVE) == STATIC | RELATIVE;
        let balances = flags & BALANCING != 0;
        if mode > PREFERRED_MANY || both || balances && !matches!(mode, BIND | PREFERRED_MANY) {
            return Err(Errno::EINVAL);
        }
        Ok((mode, flags))
    }

    /// The policy that a checked mode and nodes make; `None` is the default.
    ///
    /// # Errors
    /// `EINVAL` for nodes that the mode does not take, and for only such as there are not.
    pub fn new((mode, flags): (u32, u32), nodes: &Nodes) -> Result<Option<Self>, Errno> {
        let is_empty = *nodes == [0; 16];
        let fixed = flags & (STATIC | RELATIVE) != 0;
        let local = match mode {
            DEFAULT if is_empty => return Ok(None),
            DEFAULT => return Err(Errno::EINVAL),
            PREFERRED | LOCAL if is_empty && !fixed => true,
            LOCAL => return Err(Errno::EINVAL),
            _ if is_empty => return Err(Errno::EINVAL),
            _ => false,
        };
        if local {
            return Ok(Some(Self {
                mode: LOCAL,
                told: [0; 16],
            }));
        }
        // Relative nodes are counted among those that there are, again from the first behind the last.
        if nodes[0] & 1 == 0 && flags & RELATIVE == 0 {
            return Err(Errno::EINVAL);
        }
        let mut told = [0; 16];
        told[0] = 1;
        Ok(Some(Self {
            mode: mode | flags,
            told: if flags == 0 { told } else { *nodes },
        }))
    }

    /// Mode with its flags.
    pub const fn mode(&self) -> u32 {
        self.mode
    }

    /// The nodes as `get_mempolicy` tells them.
    pub const fn told(&self) -> &Nodes {
        &self.told
    }

    /// As numa_maps(5) has it.
    pub fn name(&self) -> alloc::string::String {
        let name = match self.mode & !FLAGS {
            PREFERRED => "prefer",
            BIND => "bind",
            INTERLEAVE => "interleave",
            PREFERRED_MANY => "prefer (many)",
            _ => return "local".into(),
        };
        let flags = match self.mode & (STATIC | RELATIVE) {
            STATIC => "=static",
            RELATIVE => "=relative",
            _ => "",
        };
        let balancing = match self.mode & FLAGS {
            BALANCING => "=balancing",
            flags if flags & BALANCING != 0 => "|balancing",
            _ => "",
        };
        alloc::format!("{name}{flags}{balancing}:0")
    }
}

/// The policies of a process by number, from 1 on. None goes before the process does: they are few, because
/// what differs is only what a program has asked for.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, Default)]
pub struct Policies(Vec<Policy>);

impl Policies {
    /// The most of a process.
    const MOST: usize = 1024;

    /// The number of a policy.
    ///
    /// # Errors
    /// `ENOMEM` for ever new ones.
    pub fn number(&mut self, policy: Option<Policy>) -> Result<u16, Errno> {
        let Some(policy) = policy else { return Ok(0) };
        let found = self.0.iter().position(|p| *p == policy);
        let index = match found {
            Some(index) => index,
            None if self.0.len() < Self::MOST => {
                self.0.push(policy);
                self.0.len() - 1
            }
            None => return Err(Errno::ENOMEM),
        };
        Ok(index as u16 + 1)
    }

    /// The policy of a number; `None` is the default.
    pub fn get(&self, number: u16) -> Option<&Policy> {
        self.0.get(usize::from(number).checked_sub(1)?)
    }
}
