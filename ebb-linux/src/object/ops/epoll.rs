//! epoll: interest lists, and the ready list that wake-ups feed.
//!
//! A wait looks only at items that a wake-up (or `EPOLL_CTL_ADD`/`MOD`) put on the ready list, never
//! at the whole interest list. The order in which items are reported, what edge-triggered and
//! one-shot items do, and every `epoll_ctl` error are those of Linux' `fs/eventpoll.c`.

use alloc::vec::Vec;

use crate::object::{
    Objects,
    env::Env,
    errno::{Errno, Result},
    flags::OpenFlags,
    id::{DescId, Fd, Id, QueueId},
    kind::Object,
    wait::{Epoll, Events, Item, Watch},
};

/// How deep epoll sets may watch one another (Linux' `EP_MAX_NESTS`).
pub const MAX_NESTS: usize = 4;
/// How many epoll sets may be watched by others in one UC: it bounds the work of a nested poll.
pub const MAX_NESTED_ITEMS: usize = 64;
/// The most items that one wait may ask for (`INT_MAX / sizeof(struct epoll_event)`).
pub const MAX_EVENTS: i32 = i32::MAX / 12;

/// What `epoll_ctl` is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Watch a descriptor.
    Add(EpollEvent),
    /// Change what is watched for.
    Modify(EpollEvent),
    /// Stop watching.
    Delete,
    /// What nobody knows, which is told when the descriptors are right.
    Unknown,
}

/// Linux' `struct epoll_event`: packed, 12 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct EpollEvent {
    /// Asked for, or reported.
    pub events: Events,
    /// The guest's own word.
    pub data: u64,
}

impl EpollEvent {
    /// How many bytes the guest sees.
    pub const SIZE: usize = 12;

    /// As it lies in the guest's memory.
    pub fn to_bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&self.events.bits().to_le_bytes());
        bytes[4..].copy_from_slice(&self.data.to_le_bytes());
        bytes
    }

    /// From the guest's memory.
    pub fn from_bytes(bytes: [u8; 12]) -> Self {
        let [a, b, c, d, data @ ..] = bytes;
        Self {
            events: Events::from_bits_retain(u32::from_le_bytes([a, b, c, d])),
            data: u64::from_le_bytes(data),
        }
    }
}

impl Objects {
    /// `epoll_create1`; `flags` may hold `EPOLL_CLOEXEC`, which is `O_CLOEXEC`.
    pub fn epoll_create(&mut self, flags: u32) -> Result<Fd> {
        let flags = OpenFlags::from_bits_retain(flags);
        if !OpenFlags::CLOEXEC.contains(flags) {
            return Err(Errno::EINVAL);
        }
        let queue = self.hub.new_queue();
        let epoll = self.hub.epolls.insert(Epoll::new(queue));
        self.open_object(Object::Epoll(epoll), flags | OpenFlags::RDWR, None)
    }

    pub(crate) fn close_epoll(&mut self, id: Id<Epoll>) {
        let Some(epoll) = self.hub.epolls.remove(id) else {
            return;
        };
        self.epoll_items -= epoll.items.len();
        for (item, found) in epoll.items.iter() {
            self.hub.unwatch(found.queue, id, item);
        }
        self.hub.remove_queue(epoll.queue);
    }

    fn epoll_of(&self, fd: Fd) -> Result<(DescId, Option<Id<Epoll>>)> {
        let desc = self.files.fds.get(fd)?;
        Ok((
            desc,
            match self.description(desc)?.object {
                Object::Epoll(id) => Some(id),
                Object::Path => return Err(Errno::EBADF),
                _ => None,
            },
        ))
    }

    /// `epoll_ctl`.
    ///
    /// # Errors
    /// `EBADF`, `EPERM` (a file that cannot be waited for), `EINVAL`, `EEXIST`, `ENOENT`, `ELOOP`
    /// (sets that would watch one another in a circle or too deeply), `ENOSPC` (too many items).
    pub fn epoll_ctl(&mut self, env: &dyn Env, epfd: Fd, fd: Fd, control: Control) -> Result<()> {
        let (ep_desc, epoll) = self.epoll_of(epfd)?;
        let (desc, nested) = self.epoll_of(fd)?;
        let queue = self.queue_of(desc)?.ok_or(Errno::EPERM)?;
        let Some(epoll) = epoll.filter(|_| ep_desc != desc) else {
            return Err(Errno::EINVAL);
        };
        match control {
            Control::Modify(e) if e.events.contains(Events::EXCLUSIVE) => {
                return Err(Errno::EINVAL);
            }
            Control::Add(e) if e.events.contains(Events::EXCLUSIVE) => {
                let allowed = Events::IN | Events::OUT | Events::ALWAYS | Events::WAKEUP;
                let allowed = allowed | Events::EDGE | Events::EXCLUSIVE;
                if nested.is_some() || !allowed.contains(e.events) {
                    return Err(Errno::EINVAL);
                }
            }
            _ => {}
        }
        if let (Control::Add(_), Some(inner)) = (control, nested) {
            self.check_nesting(epoll, inner)?;
        }
        let set = self.hub.epolls.get_mut(epoll).ok_or(Errno::EBADF)?;
        let found = set.index.get(&(desc, fd)).copied();
        match control {
            Control::Add(event) => {
                if found.is_some() {
                    return Err(Errno::EEXIST);
                }
                if self.epoll_items >= self.limits.epoll_items {
                    return Err(Errno::ENOSPC);
                }
                self.epoll_items += 1;
                let events = event.events | Events::ALWAYS;
                let data = event.data;
                let item = set.items.insert(Item {
                    desc,
                    fd,
                    events,
                    data,
                    queue,
                    linked: false,
                    nested,
                });
                set.index.insert((desc, fd), item);
                self.hub.watch(
                    queue,
                    Watch {
                        epoll,
                        item,
                        desc,
                        exclusive: events.contains(Events::EXCLUSIVE),
                    },
                );
                self.refresh(env, epoll, item, desc, events)
            }
            Control::Modify(event) => {
                let item = found.ok_or(Errno::ENOENT)?;
                let found = set.items.get_mut(item).ok_or(Errno::ENOENT)?;
                if found.events.contains(Events::EXCLUSIVE) {
                    return Err(Errno::EINVAL);
                }
                found.events = event.events | Events::ALWAYS;
                found.data = event.data;
                let events = found.events;
                self.refresh(env, epoll, item, desc, events)
            }
            Control::Unknown => Err(Errno::EINVAL),
            Control::Delete => {
                let item = found.ok_or(Errno::ENOENT)?;
                set.remove(item);
                self.epoll_items -= 1;
                self.hub.unwatch(queue, epoll, item);
                Ok(())
            }
        }
    }

    /// Puts an item that is ready now on the ready list.
    fn refresh(
        &mut self,
        env: &dyn Env,
        epoll: Id<Epoll>,
        item: Id<Item>,
        desc: DescId,
        events: Events,
    ) -> Result<()> {
        if self.poll(env, desc).intersects(events)
            && let Some(set) = self.hub.epolls.get_mut(epoll)
        {
            set.link(item);
            let queue = set.queue;
            self.hub.wake(queue, Events::READ);
        }
        Ok(())
    }

    /// Refuses circles, and chains of more than [`MAX_NESTS`] sets.
    fn check_nesting(&self, outer: Id<Epoll>, inner: Id<Epoll>) -> Result<()> {
        let nested = |e: &Epoll| e.items.iter().filter(|(_, i)| i.nested.is_some()).count();
        if self
            .hub
            .epolls
            .iter()
            .map(|(_, e)| nested(e))
            .sum::<usize>()
            >= MAX_NESTED_ITEMS
        {
            return Err(Errno::ENOSPC);
        }
        let down = self.depth_below(inner, outer, 0).ok_or(Errno::ELOOP)?;
        let up = self.depth_above(outer, 0);
        if down + 1 + up > MAX_NESTS {
            Err(Errno::ELOOP)
        } else {
            Ok(())
        }
    }

    /// How many levels of sets `epoll` watches; `None` if `forbidden` is among them.
    fn depth_below(&self, epoll: Id<Epoll>, forbidden: Id<Epoll>, depth: usize) -> Option<usize> {
        if epoll == forbidden || depth > MAX_NESTS {
            return None;
        }
        let mut deepest = 0;
        for (_, item) in self.hub.epolls.get(epoll)?.items.iter() {
            if let Some(inner) = item.nested {
                deepest = deepest.max(self.depth_below(inner, forbidden, depth + 1)? + 1);
            }
        }
        Some(deepest)
    }

    /// How many levels of sets watch `epoll`.
    fn depth_above(&self, epoll: Id<Epoll>, depth: usize) -> usize {
        let Some(set) = self.hub.epolls.get(epoll).filter(|_| depth <= MAX_NESTS) else {
            return 0;
        };
        let above = self.hub.watchers(set.queue);
        above
            .map(|outer| self.depth_above(outer, depth + 1) + 1)
            .max()
            .unwrap_or(0)
    }

    /// Whether the set has an item to report. Items that turn out not to be ready leave the ready
    /// list, as in Linux.
    pub(crate) fn poll_epoll(&mut self, env: &dyn Env, id: Id<Epoll>) -> Events {
        while let Some(set) = self.hub.epolls.get(id) {
            let Some(&first) = set.ready.front() else {
                break;
            };
            let Some(item) = set.items.get(first) else {
                break;
            };
            let (desc, wanted) = (item.desc, item.events);
            if self.poll(env, desc).intersects(wanted) {
                return Events::READ;
            }
            if let Some(set) = self.hub.epolls.get_mut(id) {
                set.ready.pop_front();
                if let Some(item) = set.items.get_mut(first) {
                    item.linked = false;
                }
            }
        }
        Events::empty()
    }

    /// One try of `epoll_wait`: appends up to `max` ready items to `out`. None ready is `Ok`: the
    /// caller waits on the set's queue for [`Events::IN`].
    ///
    /// # Errors
    /// `EBADF`; `EINVAL` when `fd` is not an epoll set or `max` is out of range.
    pub fn epoll_wait(
        &mut self,
        env: &dyn Env,
        fd: Fd,
        max: i32,
        out: &mut Vec<EpollEvent>,
    ) -> Result<usize> {
        let (_, epoll) = self.epoll_of(fd)?;
        if max <= 0 || max > MAX_EVENTS {
            return Err(Errno::EINVAL);
        }
        self.epoll_harvest(env, epoll.ok_or(Errno::EINVAL)?, max as usize, out)
    }

    /// As [`epoll_wait`](Self::epoll_wait); when there is nothing to report, the queue on which the set tells that there is.
    ///
    /// # Errors
    /// As there.
    pub fn epoll_try(
        &mut self,
        env: &dyn Env,
        fd: Fd,
        max: i32,
        out: &mut Vec<EpollEvent>,
    ) -> Result<Option<QueueId>> {
        let (_, epoll) = self.epoll_of(fd)?;
        if max <= 0 || max > MAX_EVENTS {
            return Err(Errno::EINVAL);
        }
        let epoll = epoll.ok_or(Errno::EINVAL)?;
        if self.epoll_harvest(env, epoll, max as usize, out)? > 0 {
            return Ok(None);
        }
        Ok(Some(self.hub.epolls.get(epoll).ok_or(Errno::EBADF)?.queue))
    }

    pub(crate) fn epoll_harvest(
        &mut self,
        env: &dyn Env,
        id: Id<Epoll>,
        max: usize,
        out: &mut Vec<EpollEvent>,
    ) -> Result<usize> {
        let mut left = self.hub.epolls.get(id).ok_or(Errno::EBADF)?.ready.len();
        let mut reported = 0;
        // What is reported and stays ready goes behind what has not been looked at.
        while reported < max && left > 0 {
            left -= 1;
            let Some(set) = self.hub.epolls.get_mut(id) else {
                break;
            };
            let Some(id_of_item) = set.ready.pop_front() else {
                break;
            };
            let Some(item) = set.items.get_mut(id_of_item) else {
                continue;
            };
            item.linked = false;
            let (desc, wanted) = (item.desc, item.events);
            let events = self.poll(env, desc) & wanted;
            if events.is_empty() {
                continue;
            }
            let Some(set) = self.hub.epolls.get_mut(id) else {
                break;
            };
            let Some(item) = set.items.get_mut(id_of_item) else {
                continue;
            };
            out.push(EpollEvent {
                events,
                data: item.data,
            });
            reported += 1;
            if item.events.contains(Events::ONESHOT) {
                item.events &= Events::MODES;
            } else if !item.events.contains(Events::EDGE)
                && !core::mem::replace(&mut item.linked, true)
            {
                set.ready.push_back(id_of_item);
            }
        }
        Ok(reported)
    }
}

#[cfg(test)]
mod tests {
    use core::task::Waker;

    use super::*;
    use crate::object::testing::{World, objects};

    #[test]
    fn of_sets_that_watch_exclusively_one_that_is_waited_for_is_woken() {
        let (mut o, w) = (objects(), World::default());
        let (r, s) = o.pipe(0).unwrap();
        let watch = |o: &mut Objects, events: Events| {
            let set = o.epoll_create(0).unwrap();
            let event = EpollEvent { events, data: 0 };
            o.epoll_ctl(&w, set, r, Control::Add(event)).unwrap();
            let desc = o.lookup_fd(set).unwrap();
            o.queue_of(desc).unwrap().unwrap()
        };
        let exclusive = Events::IN | Events::EXCLUSIVE;
        let nobody = watch(&mut o, exclusive);
        let sets = [exclusive, exclusive, Events::IN].map(|events| watch(&mut o, events));
        for set in sets {
            let token = o.hub.new_token();
            o.hub.register(set, token, Events::IN, Waker::noop());
        }
        o.write(&w, s, &mut &b"x"[..]).unwrap();
        assert_eq!(o.hub.waiting(nobody), 0);
        assert_eq!(sets.map(|set| o.hub.waiting(set)), [0, 1, 0]);
    }
}
