//! /proc/sysvipc: all objects of each kind, a line each, as `ipcs` reads them.

use super::{Ipc, Object, Permissions, Table, msg, sem, shm};
use alloc::string::String;
use core::fmt::Write;

/// A kind of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Message queues.
    Messages,
    /// Semaphore sets.
    Semaphores,
    /// Memory segments.
    Segments,
}

/// Key, identifier and mode, with which every line begins.
fn head(permissions: &Permissions, id: i32) -> String {
    let mut line = String::new();
    let _ = write!(
        line,
        "{:10} {id:10}  {:4o}",
        permissions.key, permissions.mode
    );
    line
}

/// Owner and creator.
fn owners(permissions: &Permissions) -> String {
    let p = permissions;
    let mut line = String::new();
    let _ = write!(
        line,
        "{:5} {:5} {:5} {:5}",
        p.uid, p.gid, p.creator_uid, p.creator_gid
    );
    line
}

fn lines<T: Object>(table: &Table<T>, out: &mut String, line: impl Fn(&T, &mut String)) {
    for (id, object) in table.numbered() {
        out.push_str(&head(object.permissions(), id));
        line(object, out);
        out.push('\n');
    }
}

/// The text of the file of a kind; `mappings` says how often pages are mapped.
pub fn text(ipc: Option<&Ipc>, kind: Kind, mappings: impl Fn(u64) -> u64) -> String {
    let mut out = String::from(match kind {
        Kind::Messages => {
            "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid      stime      rtime      ctime\n"
        }
        Kind::Semaphores => {
            "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n"
        }
        Kind::Segments => {
            "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      atime      dtime      ctime                   rss                  swap\n"
        }
    });
    let Some(ipc) = ipc else { return out };
    match kind {
        Kind::Messages => lines(&ipc.messages, &mut out, |queue: &msg::Queue, out| {
            let owners = owners(queue.permissions());
            queue.describe(&owners, out);
        }),
        Kind::Semaphores => lines(&ipc.semaphores, &mut out, |set: &sem::Set, out| {
            let owners = owners(set.permissions());
            set.describe(&owners, out);
        }),
        Kind::Segments => lines(&ipc.segments, &mut out, |segment: &shm::Segment, out| {
            let owners = owners(segment.permissions());
            segment.describe(&owners, mappings(segment.pages().id()), out);
        }),
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_objects_there_is_a_heading() {
        for kind in [Kind::Messages, Kind::Semaphores, Kind::Segments] {
            let text = text(None, kind, |_| 0);
            assert!(
                text.starts_with("       key      ") && text.ends_with("ctime\n")
                    || text.ends_with("swap\n")
            );
            assert_eq!(text.lines().count(), 1);
        }
    }
}
