//! Processes as descriptors (`pidfd_open`): readable once the process is over.

use super::{Face, Kind};
use crate::object::{
    env::Env,
    errno::{Errno, Result},
    flags::OpenFlags,
    id::QueueId,
    wait::{Events, Hub},
};
use borsh::{BorshDeserialize, BorshSerialize};

/// A process, by its number and by the serial number that no other process of the UC ever has.
#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its serial number.
    pub serial: u64,
}

impl Kind for Process {
    const FACE: Face = Face::Anonymous("[pidfd]");

    fn poll(&mut self, _: &mut Hub, env: &dyn Env, _: OpenFlags) -> Events {
        if env.is_alive(self.serial) {
            Events::empty()
        } else {
            Events::READ
        }
    }

    fn queue(&self, hub: &Hub) -> Option<QueueId> {
        Some(hub.children)
    }

    fn seek(&self) -> Result<u64> {
        Err(Errno::ESPIPE)
    }
}
