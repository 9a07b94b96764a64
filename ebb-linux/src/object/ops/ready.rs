//! Signals that tell that a description has become ready: `O_ASYNC`, `FIOASYNC`, `F_SETOWN`, `F_SETSIG`.
//!
//! The UC has a set like that of epoll of all descriptions with `O_ASYNC`: a wake-up puts what it is about on the set's ready
//! list and tells its queue. Whoever waits there takes the list and sends the signals, so descriptions without `O_ASYNC` cost
//! nothing.

use alloc::vec::Vec;

use super::files::permission::asker;

use crate::object::{
    Objects,
    env::Env,
    errno::{Errno, Result},
    flags::OpenFlags,
    id::{DescId, Fd, QueueId},
    kind::Object,
    table::Owner,
    wait::{Events, Item, Watch},
};

/// A signal that is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadySignal {
    /// To whom.
    pub owner: Owner,
    /// Which; 0 is `SIGIO` without particulars.
    pub signal: u8,
    /// The descriptor as it was when `O_ASYNC` was set.
    pub fd: Fd,
    /// What it is ready for.
    pub events: Events,
}

/// Whether becoming ready can be told by a signal: of pipes, sockets, terminals and inotify instances, as on Linux.
pub(crate) const fn has_signals(object: Object) -> bool {
    matches!(
        object,
        Object::Pipe(_)
            | Object::Socket(_)
            | Object::Inotify(_)
            | Object::Channel(_)
            | Object::Pty(_)
    )
}

impl Objects {
    /// `FIOASYNC`: sets or clears `O_ASYNC`.
    ///
    /// # Errors
    /// `EBADF`; `ENOTTY` for what sends no signals.
    pub fn set_asynchronous(&mut self, fd: Fd, on: bool) -> Result<()> {
        let id = self.files.fds.get(fd)?;
        let desc = self.description(id)?;
        if desc.flags.contains(OpenFlags::ASYNC) == on {
            return Ok(());
        }
        match has_signals(desc.object) {
            true => self.set_async(id, fd, on),
            false => Err(Errno::ENOTTY),
        }
    }

    /// Puts a description into the set of those that tell by signals, or takes it out.
    pub(crate) fn set_async(&mut self, id: DescId, fd: Fd, on: bool) -> Result<()> {
        let desc = self.description_mut(id)?;
        if desc.flags.contains(OpenFlags::ASYNC) == on {
            return Ok(());
        }
        desc.flags.set(OpenFlags::ASYNC, on);
        let flags = desc.flags;
        let queue = self.queue_of(id)?.ok_or(Errno::ENOTTY)?;
        let epoll = self.hub.signalling;
        let set = self.hub.epolls.get_mut(epoll).ok_or(Errno::EBADF)?;
        if on {
            let mut events = Events::ALWAYS | Events::PRI;
            events |= match flags.readable() {
                true => Events::READ | Events::RDHUP,
                false => Events::WRITE,
            };
            let item = set.items.insert(Item {
                desc: id,
                fd,
                events,
                data: 0,
                queue,
                linked: false,
                nested: None,
            });
            set.index.insert((id, fd), item);
            self.epoll_items += 1;
            let exclusive = false;
            self.hub.watch(
                queue,
                Watch {
                    epoll,
                    item,
                    desc: id,
                    exclusive,
                },
            );
            return Ok(());
        }
        // The number under which it was put there may be another by now.
        let found = set.items.iter().find(|(_, item)| item.desc == id);
        if let Some(item) = found.map(|(item, _)| item) {
            set.remove(item);
            self.epoll_items -= 1;
            self.hub.unwatch(queue, epoll, item);
        }
        Ok(())
    }

    /// Whether some description tells by signals.
    pub fn tells_by_signals(&self) -> bool {
        let set = self.hub.epolls.get(self.hub.signalling);
        set.is_some_and(|set| !set.items.is_empty())
    }

    /// Where it is told that there are signals to be sent.
    pub fn signalling_queue(&self) -> QueueId {
        let set = self.hub.epolls.get(self.hub.signalling);
        set.map_or(self.hub.idle, |set| set.queue)
    }

    /// The signals to be sent for what has become ready since the last time.
    pub fn take_signals(&mut self, env: &dyn Env) -> Vec<ReadySignal> {
        let mut signals = Vec::new();
        while let Some(set) = self.hub.epolls.get_mut(self.hub.signalling) {
            let Some(first) = set.ready.pop_front() else {
                break;
            };
            let Some(item) = set.items.get_mut(first) else {
                continue;
            };
            item.linked = false;
            let (id, fd, wanted) = (item.desc, item.fd, item.events);
            let events = self.poll(env, id) & wanted;
            let Ok(desc) = self.description(id) else {
                continue;
            };
            if !events.is_empty() && desc.owner != Owner::Nobody {
                signals.push(ReadySignal {
                    owner: desc.owner,
                    signal: desc.signal,
                    fd,
                    events,
                });
            }
        }
        signals
    }

    /// `F_SETOWN` and `F_SETOWN_EX`.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn set_owner(&mut self, env: &dyn Env, fd: Fd, owner: Owner) -> Result<()> {
        self.check_usable(fd)?;
        let id = self.files.fds.get(fd)?;
        let user = asker(env).user;
        let desc = self.description_mut(id)?;
        desc.owner = owner;
        desc.owner_users = match owner {
            Owner::Nobody => [0; 2],
            _ => [user.real, user.effective],
        };
        Ok(())
    }

    /// `F_GETOWNER_UIDS`.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn owner_users(&self, fd: Fd) -> Result<[u32; 2]> {
        self.check_usable(fd)?;
        Ok(self.description(self.files.fds.get(fd)?)?.owner_users)
    }

    /// `F_GETOWN` and `F_GETOWN_EX`.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn owner(&self, fd: Fd) -> Result<Owner> {
        self.check_usable(fd)?;
        Ok(self.description(self.files.fds.get(fd)?)?.owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::testing::{World, objects};

    #[test]
    fn what_becomes_ready_is_told_once_for_each_time_until_it_is_switched_off_or_closed() {
        let (mut o, w) = (objects(), World::default());
        let (r, s) = o.pipe(0).unwrap();
        o.set_owner(&w, r, Owner::Process(7)).unwrap();
        o.set_asynchronous(r, true).unwrap();
        assert!(o.take_signals(&w).is_empty());
        for _ in 0..2 {
            o.write(&w, s, &mut &b"x"[..]).unwrap();
            let told = o.take_signals(&w);
            assert_eq!(told.len(), 1);
            let (owner, fd) = (told[0].owner, told[0].fd);
            assert_eq!((owner, fd), (Owner::Process(7), r));
            assert!(told[0].events.contains(Events::IN));
        }
        assert!(o.take_signals(&w).is_empty());
        o.set_asynchronous(r, false).unwrap();
        o.write(&w, s, &mut &b"x"[..]).unwrap();
        assert!(o.take_signals(&w).is_empty());
        o.set_asynchronous(r, true).unwrap();
        o.close(r).unwrap();
        assert_eq!((o.tells_by_signals(), o.epoll_items), (false, 0));
        let file = o.memfd(&w, b"f", 0).unwrap();
        assert_eq!(o.set_asynchronous(file, true), Err(Errno::ENOTTY));
    }
}
