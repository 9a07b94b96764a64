//! Record locks: `F_GETLK`, `F_SETLK`, `F_SETLKW` and their `F_OFD_` forms.

use crate::object::{
    Objects,
    errno::{Errno, Result},
    id::{DescId, NodeRef},
    kind::Object,
    lock::record::{FileLock, LAST, Owner, Record, Request, WaitId},
    wait::Events,
};

impl Objects {
    /// What a `fcntl` of the process whose descriptors are in place asks for; `of_description` for the `F_OFD_` commands.
    ///
    /// # Errors
    /// `EBADF`, `EINVAL`, `EOVERFLOW`, as in fcntl(2).
    pub fn record_request(
        &self,
        id: DescId,
        lock: FileLock,
        pid: u32,
        of_description: bool,
    ) -> Result<Request> {
        let desc = self.description(id)?;
        if desc.object == Object::Path {
            return Err(Errno::EBADF);
        }
        let from = match lock.whence {
            0 => 0,
            1 => desc.pos,
            2 => match (desc.object, desc.node) {
                (Object::File, Some(node)) => self.fs.file_size(node)?,
                _ => 0,
            },
            _ => return Err(Errno::EINVAL),
        };
        let from = i64::try_from(from).map_err(|_| Errno::EOVERFLOW)?;
        let start = from.checked_add(lock.start).ok_or(Errno::EOVERFLOW)?;
        if start < 0 {
            return Err(Errno::EINVAL);
        }
        let (start, last) = match lock.len {
            0 => (start, i64::MAX),
            len @ 1.. => (start, start.checked_add(len - 1).ok_or(Errno::EOVERFLOW)?),
            len => (start.checked_add(len).ok_or(Errno::EINVAL)?, start - 1),
        };
        if start < 0 || lock.kind > 2 {
            return Err(Errno::EINVAL);
        }
        let owner = match (of_description, self.running_files()) {
            (true, _) => Owner::Description(id),
            (false, Some(files)) => Owner::Process(files),
            (false, None) => return Err(Errno::EBADF),
        };
        Ok(Request {
            node: desc.node.map(|node| self.fs.origin(node)),
            record: Record {
                owner,
                start: start as u64,
                last: last as u64,
                exclusive: lock.kind == 1,
                pid: if of_description { -1 } else { pid as i32 },
            },
            unlock: lock.kind == 2,
            names_process: of_description && lock.pid != 0,
        })
    }

    /// `F_GETLK`: the first lock, by its start, that stands in the way of the request.
    ///
    /// # Errors
    /// `EINVAL` for a request to unlock, or one that names a process for a description.
    pub fn find_record(&self, request: &Request) -> Result<Option<FileLock>> {
        if request.unlock || request.names_process {
            return Err(Errno::EINVAL);
        }
        let found = self
            .records
            .conflicts(request)
            .min_by_key(|held| held.start);
        Ok(found.map(|held| FileLock {
            kind: u16::from(held.exclusive),
            whence: 0,
            start: held.start as i64,
            len: if held.last == LAST {
                0
            } else {
                (held.last - held.start + 1) as i64
            },
            pid: held.pid,
        }))
    }

    /// `F_SETLK`.
    ///
    /// # Errors
    /// `EAGAIN` when somebody else has a lock in the way, `EBADF` when the access mode does not allow the lock, `EINVAL`, `ENOLCK`.
    pub fn set_record(&mut self, id: DescId, request: &Request) -> Result<()> {
        let flags = self.description(id)?.flags;
        let allowed = request.unlock
            || match request.record.exclusive {
                false => flags.readable(),
                true => flags.writable(),
            };
        if !allowed {
            return Err(Errno::EBADF);
        }
        if request.names_process {
            return Err(Errno::EINVAL);
        }
        let Some(node) = request.node else {
            return Ok(());
        };
        if !request.unlock && self.records.conflicts(request).next().is_some() {
            return Err(Errno::EAGAIN);
        }
        if self.records.put(node, request.record, request.unlock)? {
            self.hub.wake(self.hub.locks, Events::all());
        }
        Ok(())
    }

    /// Takes back what a request has just got.
    ///
    /// # Errors
    /// `ENOLCK`.
    pub fn unlock_record(&mut self, id: DescId, request: &Request) -> Result<()> {
        let unlock = Request {
            unlock: true,
            ..*request
        };
        self.set_record(id, &unlock)
    }

    /// Somebody is about to wait on [`lock_queue`](Self::lock_queue) for what a request asks for; `before` if it has waited
    /// for it already.
    ///
    /// # Errors
    /// `EDEADLK` when a process would wait for itself.
    pub fn wait_for_record(&mut self, before: Option<WaitId>, request: &Request) -> Result<WaitId> {
        // As on Linux, descriptions have no cycles: who would use them to wait cannot be told.
        if matches!(request.record.owner, Owner::Process(_)) && self.records.is_cycle(request) {
            return Err(Errno::EDEADLK);
        }
        let id = before.unwrap_or_else(|| {
            self.records.last_wait += 1;
            WaitId(self.records.last_wait)
        });
        self.records.waits.insert(id, *request);
        Ok(id)
    }

    /// Nobody waits under this name any more.
    pub fn stop_waiting_for_record(&mut self, id: WaitId) {
        self.records.waits.remove(&id);
    }

    /// A process closes a descriptor of a file: its locks on that file go.
    pub(crate) fn drop_process_records(&mut self, id: DescId) {
        if self.records.count == 0 {
            return;
        }
        let node = self.description(id).ok().and_then(|d| d.node);
        if let (Some(node), Some(files)) = (node, self.running_files()) {
            self.drop_records(node, Owner::Process(files));
        }
    }

    /// A description is gone, and its locks with it.
    pub(crate) fn drop_description_records(&mut self, id: DescId, node: NodeRef) {
        if self.records.count > 0 {
            self.drop_records(node, Owner::Description(id));
        }
    }

    fn drop_records(&mut self, node: NodeRef, owner: Owner) {
        let node = self.fs.origin(node);
        if self.records.drop_owner(node, owner) {
            self.hub.wake(self.hub.locks, Events::all());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{
        id::Fd,
        lock::record::MAX_RECORDS,
        testing::{World, objects, open},
    };

    fn lock(kind: u16, start: i64, len: i64) -> FileLock {
        FileLock {
            kind,
            whence: 0,
            start,
            len,
            pid: 0,
        }
    }

    fn set(o: &mut Objects, fd: Fd, lock: FileLock) -> Result<()> {
        let id = o.lookup_fd(fd)?;
        let request = o.record_request(id, lock, 7, false)?;
        o.set_record(id, &request)
    }

    fn wait(o: &mut Objects, fd: Fd, lock: FileLock) -> Result<WaitId> {
        let id = o.lookup_fd(fd)?;
        let request = o.record_request(id, lock, 7, false)?;
        assert_eq!(o.set_record(id, &request), Err(Errno::EAGAIN));
        o.wait_for_record(None, &request)
    }

    #[test]
    fn two_processes_exclude_each_other_until_one_closes_any_descriptor_of_the_file() {
        let (mut o, w) = (objects(), World::default());
        let first = o.running_files().unwrap();
        let fd = open(&mut o, &w, b"/f", 0o102).unwrap();
        set(&mut o, fd, lock(1, 10, 10)).unwrap();
        let child = o.fork_files();
        o.run_files(child);
        assert_eq!(set(&mut o, fd, lock(0, 19, 1)), Err(Errno::EAGAIN));
        set(&mut o, fd, lock(1, 20, 1)).unwrap();
        let id = o.lookup_fd(fd).unwrap();
        let request = o.record_request(id, lock(1, 0, 0), 8, false).unwrap();
        let found = o.find_record(&request).unwrap();
        assert_eq!(
            found.map(|f| (f.kind, f.start, f.len, f.pid)),
            Some((1, 10, 10, 7))
        );
        // A child has none of its parent's locks, so its close changes nothing for others.
        let other = open(&mut o, &w, b"/f", 0).unwrap();
        o.close(other).unwrap();
        assert_eq!(set(&mut o, fd, lock(0, 19, 1)), Err(Errno::EAGAIN));
        o.run_files(first);
        set(&mut o, fd, lock(1, 20, 1)).expect("the child's own went with its close");
        let other = open(&mut o, &w, b"/f", 0).unwrap();
        o.close(other).unwrap();
        assert_eq!(o.records.count, 0);
        o.run_files(child);
        set(&mut o, fd, lock(1, 0, 0)).unwrap();
        o.end_files(child);
        o.run_files(first);
        assert_eq!(o.records.count, 0);
    }

    #[test]
    fn the_lock_that_is_told_is_the_first_in_the_way() {
        let (mut o, w) = (objects(), World::default());
        let fd = open(&mut o, &w, b"/f", 0o102).unwrap();
        set(&mut o, fd, lock(1, 10, 5)).unwrap();
        set(&mut o, fd, lock(0, 1, 5)).unwrap();
        let child = o.fork_files();
        o.run_files(child);
        let id = o.lookup_fd(fd).unwrap();
        let request = o.record_request(id, lock(1, 0, 0), 8, false).unwrap();
        let found = o.find_record(&request).unwrap();
        assert_eq!(found.map(|f| (f.kind, f.start, f.len)), Some((0, 1, 5)));
    }

    #[test]
    fn a_cycle_of_processes_is_told_and_a_queue_is_none() {
        let (mut o, w) = (objects(), World::default());
        let a = o.running_files().unwrap();
        let fd = open(&mut o, &w, b"/f", 0o102).unwrap();
        let (b, c) = (o.fork_files(), o.fork_files());
        for (at, files) in [a, b, c].into_iter().enumerate() {
            o.run_files(files);
            set(&mut o, fd, lock(1, at as i64, 1)).unwrap();
        }
        o.run_files(a);
        let waits = wait(&mut o, fd, lock(1, 1, 1)).unwrap();
        o.run_files(b);
        wait(&mut o, fd, lock(1, 2, 1)).unwrap();
        o.run_files(c);
        assert_eq!(wait(&mut o, fd, lock(0, 0, 1)), Err(Errno::EDEADLK));
        o.stop_waiting_for_record(waits);
        wait(&mut o, fd, lock(0, 0, 1)).unwrap();
    }

    #[test]
    fn ranges_are_split_and_joined_and_there_is_an_end_to_them() {
        let (mut o, w) = (objects(), World::default());
        let fd = open(&mut o, &w, b"/f", 0o102).unwrap();
        set(&mut o, fd, lock(1, 0, 0)).unwrap();
        set(&mut o, fd, lock(2, 100, 10)).unwrap();
        set(&mut o, fd, lock(0, 200, 10)).unwrap();
        assert_eq!(o.records.count, 4);
        set(&mut o, fd, lock(1, 50, 1000)).unwrap();
        assert_eq!(o.records.count, 1);
        set(&mut o, fd, lock(2, 0, 0)).unwrap();
        assert_eq!(o.records.count, 0);
        let mut at = 0;
        while set(&mut o, fd, lock(1, at, 1)).is_ok() {
            at += 2;
        }
        assert_eq!(set(&mut o, fd, lock(1, at, 1)), Err(Errno::ENOLCK));
        assert_eq!(o.records.count, MAX_RECORDS);
        set(&mut o, fd, lock(2, 2, 1)).expect("an unlock that splits nothing");
        o.close(fd).unwrap();
        assert_eq!(o.records.count, 0);
    }
}
