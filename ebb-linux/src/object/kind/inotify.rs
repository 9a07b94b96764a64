//! inotify: watches are accepted and numbered as Linux does, but no event is ever reported. Only
//! the UC itself changes its files, and programs treat the absence of events as quiet.

use alloc::collections::BTreeMap;

use super::{Face, Kind};
use crate::object::{
    env::Env,
    errno::{Errno, Result},
    flags::OpenFlags,
    id::{NodeRef, QueueId},
    io::Sink,
    wait::{Events, Hub},
};

/// An inotify instance.
#[derive(Clone, Debug)]
pub struct Inotify {
    pub(crate) watches: BTreeMap<i32, NodeRef>,
    pub(crate) last: i32,
    queue: QueueId,
}

impl Inotify {
    pub(crate) fn new(hub: &mut Hub) -> Self {
        Self {
            watches: BTreeMap::new(),
            last: 0,
            queue: hub.new_queue(),
        }
    }
}

impl Kind for Inotify {
    const FACE: Face = Face::Anonymous("inotify");

    fn read(&mut self, _: &mut Hub, _: &dyn Env, _: OpenFlags, _: &mut dyn Sink) -> Result<usize> {
        Err(Errno::EAGAIN)
    }

    fn poll(&mut self, _: &mut Hub, _: &dyn Env, _: OpenFlags) -> Events {
        Events::empty()
    }

    fn queue(&self, _: &Hub) -> Option<QueueId> {
        Some(self.queue)
    }

    fn close(&mut self, hub: &mut Hub, _: OpenFlags) -> bool {
        hub.remove_queue(self.queue);
        true
    }

    fn available(&self) -> Result<usize> {
        Ok(0)
    }
}
