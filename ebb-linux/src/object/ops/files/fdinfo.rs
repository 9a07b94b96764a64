//! /proc/PID/fdinfo: what is known of an open descriptor, in the formats of proc_pid_fdinfo(5).

use alloc::{format, vec::Vec};
use core::fmt::Write;

use crate::object::{
    Objects,
    env::Env,
    errno::{Errno, Result},
    flags::OpenFlags,
    fs::text::Text,
    id::{DescId, FilesId, NodeRef},
    kind::{Kind, Object, dispatch, process::Process},
    lock::record::{LAST, Owner, Record},
};

/// The text for a description that is among `files`.
///
/// # Errors
/// `EBADF`.
pub(super) fn content(
    o: &Objects,
    env: &dyn Env,
    (id, files): (DescId, Option<FilesId>),
    out: &mut Vec<u8>,
) -> Result<()> {
    let desc = o.description(id)?;
    let flags = desc.flags.difference(OpenFlags::MASTER).bits();
    let ino = o.ino(env, NodeRef::Open(id));
    let _ = write!(
        Text(out),
        "pos:\t{}\nflags:\t0{flags:o}\nmnt_id:\t{}\nino:\t{ino}\n",
        desc.pos,
        mount(desc.node),
    );
    if let Some(node) = desc.node {
        o.describe_locks(env, node, (id, files), out);
    }
    match desc.object {
        Object::Process(Process { pid, serial }) => {
            let pid = env.is_alive(serial).then_some(pid).map_or(-1, i64::from);
            let _ = write!(Text(out), "Pid:\t{pid}\nNSpid:\t{pid}\n");
        }
        Object::Epoll(epoll) => {
            let set = o.hub.epolls.get(epoll).ok_or(Errno::EBADF)?;
            for (_, item) in set.items.iter() {
                let stat = o.stat_node(env, NodeRef::Open(item.desc))?;
                let pos = o.description(item.desc)?.pos;
                let _ = writeln!(
                    Text(out),
                    "tfd: {:8} events: {:8x} data: {:16x}  pos:{pos} ino:{:x} sdev:{:x}",
                    item.fd,
                    item.events.bits(),
                    item.data,
                    stat.ino,
                    stat.dev,
                );
            }
        }
        Object::Inotify(instance) => {
            let instance = o.kinds.inotifies.get(instance).ok_or(Errno::EBADF)?;
            for (number, watch) in &instance.watches {
                // One whose node is gone is on its way out.
                let Ok(stat) = o.stat_node(env, watch.node) else {
                    continue;
                };
                let _ = writeln!(
                    Text(out),
                    "inotify wd:{number:x} ino:{:x} sdev:{:x} mask:{:x} ignored_mask:0 ",
                    stat.ino,
                    stat.dev,
                    watch.mask.bits(),
                );
            }
        }
        object => {
            let now_ns = env.monotonic();
            let told: Result<()> = dispatch!(get, o.kinds, object, |kind| {
                kind.describe(now_ns, &mut Text(out));
                Ok(())
            }, Err(Errno::EBADF), {
                Object::File | Object::Dir | Object::Path | Object::Text | Object::Epoll(_) => Ok(()),
            });
            told?;
        }
    }
    Ok(())
}

/// The mount, by its number in `mountinfo`, that a node is in.
fn mount(node: Option<NodeRef>) -> u32 {
    match node {
        Some(NodeRef::Synth(node)) => 2 + u32::from(node.tree()),
        Some(_) => 1,
        // What is in no mount that a program sees.
        None => 15,
    }
}

impl Objects {
    /// Adds a line, as in /proc/locks, for each lock on a file that a description has, or the process that has these
    /// descriptors.
    fn describe_locks(
        &self,
        env: &dyn Env,
        node: NodeRef,
        (id, files): (DescId, Option<FilesId>),
        out: &mut Vec<u8>,
    ) {
        let node = self.fs.origin(self.fs.canon(node));
        let place = self.place_of_lock(env, node);
        let flock = self.flocks.held.get(&node).and_then(|held| held.get(&id));
        let flock = flock.map(|held| Told::flock(held.exclusive, held.pid));
        // Without a name they are those in place.
        let files = files.or(self.running);
        let is_own = |owner: Owner| match owner {
            Owner::Description(description) => description == id,
            Owner::Process(owner) => Some(owner) == files,
        };
        let records = self.records.of(node).iter();
        let records = records.filter(|record| is_own(record.owner));
        let own = flock
            .into_iter()
            .chain(records.map(|record| Told::record(record, false)));
        for (number, lock) in own.enumerate() {
            let line = format!("lock:\t{}: {}", number + 1, lock.line(place));
            out.extend_from_slice(line.as_bytes());
        }
    }

    fn place_of_lock(&self, env: &dyn Env, node: NodeRef) -> (u64, u64) {
        let stat = self.stat_node(env, node).unwrap_or_default();
        (stat.dev, stat.ino)
    }

    fn locks_of(&self, node: NodeRef) -> Vec<Told> {
        let held = self.flocks.held.get(&node).into_iter().flatten();
        let mut all: Vec<Told> = held
            .map(|(_, lock)| Told::flock(lock.exclusive, lock.pid))
            .collect();
        for record in self.records.of(node) {
            all.push(Told::record(record, false));
            // Whoever waits stands behind the lock that is in the way.
            let waits = self.records.waits.values();
            let blocked = waits.filter(|w| w.node == Some(node) && record.excludes(&w.record));
            all.extend(blocked.map(|w| Told::record(&w.record, true)));
        }
        all
    }

    /// /proc/locks.
    pub(super) fn all_locks(&self, env: &dyn Env, out: &mut Vec<u8>) {
        let mut nodes: Vec<NodeRef> = self.flocks.held.keys().copied().collect();
        nodes.extend(self.records.nodes());
        nodes.sort_unstable();
        nodes.dedup();
        let mut number = 0;
        for node in nodes {
            let place = self.place_of_lock(env, node);
            for lock in self.locks_of(node) {
                number += u32::from(!lock.waits);
                let line = format!("{number}: {}", lock.line(place));
                out.extend_from_slice(line.as_bytes());
            }
        }
    }
}

/// A lock as /proc tells of it.
struct Told {
    class: &'static str,
    exclusive: bool,
    pid: i32,
    start: u64,
    last: Option<u64>,
    waits: bool,
}

impl Told {
    fn flock(exclusive: bool, pid: i32) -> Self {
        Self {
            class: "FLOCK ",
            exclusive,
            pid,
            start: 0,
            last: None,
            waits: false,
        }
    }

    fn record(record: &Record, waits: bool) -> Self {
        let (class, pid) = match record.owner {
            Owner::Process(_) => ("POSIX ", record.pid),
            Owner::Description(_) => ("OFDLCK", -1),
        };
        Self {
            class,
            exclusive: record.exclusive,
            pid,
            start: record.start,
            last: (record.last < LAST).then_some(record.last),
            waits,
        }
    }

    fn line(&self, (dev, ino): (u64, u64)) -> alloc::string::String {
        let waits = if self.waits { "-> " } else { "" };
        let kind = if self.exclusive { "WRITE" } else { "READ " };
        let (major, minor) = (dev >> 8 & 0xfff, dev & 0xff);
        let last = self.last.map_or("EOF".into(), |last| format!("{last}"));
        format!(
            "{waits}{} ADVISORY  {kind} {} {major:02x}:{minor:02x}:{ino} {} {last}\n",
            self.class, self.pid, self.start,
        )
    }
}
