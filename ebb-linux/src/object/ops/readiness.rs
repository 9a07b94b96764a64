//! What descriptions are ready for, and where news of that arrive.

use crate::object::{
    Objects,
    env::Env,
    errno::{Errno, Result},
    id::{DescId, NodeRef, QueueId},
    kind::{Kind, Object, dispatch},
    table::Description,
    wait::Events,
};

/// Whether it is a list of mounts, which can be waited for to change. None ever does.
fn tells_changes(desc: &Description) -> bool {
    let Some(NodeRef::Synth(node)) = desc.node else {
        return false;
    };
    let name = node.row().map_or("", |(path, _)| path);
    name.ends_with("/mounts") || name.ends_with("/mountinfo") || name.ends_with("/mountstats")
}

impl Objects {
    /// The queue on which news of a description arrive; `None` for what is always ready and so
    /// cannot be put in an epoll set (files, directories).
    ///
    /// # Errors
    /// `EBADF`.
    pub fn queue_of(&self, id: DescId) -> Result<Option<QueueId>> {
        let desc = self.description(id)?;
        let object = desc.object;
        dispatch!(get, self.kinds, object, |kind| Ok(kind.queue(&self.hub)), Err(Errno::EBADF), {
            Object::Text if tells_changes(desc) => Ok(Some(self.hub.idle)),
            Object::File | Object::Dir | Object::Text => Ok(None),
            Object::Path => Err(Errno::EBADF),
            Object::Epoll(id) => Ok(Some(self.hub.epolls.get(id).ok_or(Errno::EBADF)?.queue)),
        })
    }

    /// What a description is ready for now. What cannot be polled is always readable and writable.
    pub fn poll(&mut self, env: &dyn Env, id: DescId) -> Events {
        let Some(desc) = self.descriptions.get(id) else {
            return Events::NVAL;
        };
        let flags = desc.flags;
        dispatch!(get_mut, self.kinds, desc.object, |kind| kind.poll(&mut self.hub, env, flags), Events::NVAL, {
            Object::Text if tells_changes(desc) => Events::READ,
            Object::File | Object::Dir | Object::Text => Events::READ | Events::WRITE,
            Object::Path => Events::NVAL,
            Object::Epoll(id) => self.poll_epoll(env, id),
            Object::Socket(id) => self.poll_socket(env, id),
        })
    }

    /// The queue on which waits for processes hear of them.
    pub const fn child_queue(&self) -> QueueId {
        self.hub.children
    }

    /// A process has ended, stopped, gone on, or needs its parent's memory no longer.
    pub fn child_news(&mut self) {
        self.hub.wake(self.hub.children, Events::all());
    }
}
