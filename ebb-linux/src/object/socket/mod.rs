//! Sockets (being built).
use super::{
    Objects,
    arena::{Arena, Id},
    description::DescId,
    env::Env,
    errno::{Errno, Result},
    flags::OpenFlags,
    io::{Sink, Source},
    wait::{Events, QueueId},
};
use alloc::vec::Vec;
pub mod network;
/// A socket.
#[derive(Clone, Debug)]
pub struct Socket {
    pub(crate) queue: QueueId,
}
/// All.
pub type Sockets = Arena<Socket>;
impl Objects {
    pub(crate) fn close_socket(&mut self, _id: Id<Socket>) -> Vec<DescId> {
        Vec::new()
    }
    pub(crate) fn poll_socket(&mut self, _env: &dyn Env, _id: Id<Socket>) -> Events {
        Events::empty()
    }
    pub(crate) fn read_socket(
        &mut self,
        _env: &dyn Env,
        _id: Id<Socket>,
        _f: OpenFlags,
        _s: &mut dyn Sink,
    ) -> Result<usize> {
        Err(Errno::EBADF)
    }
    pub(crate) fn write_socket(
        &mut self,
        _env: &dyn Env,
        _id: Id<Socket>,
        _f: OpenFlags,
        _s: &mut dyn Source,
    ) -> Result<usize> {
        Err(Errno::EBADF)
    }
    pub(crate) fn is_stream_socket(&self, _id: Id<Socket>) -> bool {
        false
    }
}
