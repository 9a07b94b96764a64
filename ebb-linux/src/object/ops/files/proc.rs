//! /proc and /sys as calls see them: looking up, listing, following links, reading.

use alloc::{format, vec::Vec};

use super::fdinfo;
use crate::object::{
    Objects,
    env::{Env, ProcInfo},
    errno::{Errno, Result},
    files::Files,
    flags::OpenFlags,
    fs::NodeKind,
    fs::{
        NAME_MAX,
        rows::{OUTSIDE, TASK_FILES, TREE, What},
        synth::{PID, of, row},
        text,
    },
    id::{DescId, Fd, NodeRef, SynthNode},
    interfaces,
    io::{Sink, Source},
    kind::{Face, Object},
};

/// Calls `f` with the process that a node belongs to, the caller's if it is none's.
///
/// # Errors
/// `ESRCH` when the process is gone.
fn with<R>(node: SynthNode, env: &dyn Env, f: impl FnOnce(&dyn ProcInfo) -> R) -> Result<R> {
    let Some(pid) = node.pid() else {
        return Ok(f(env.process()));
    };
    let (mut f, mut result) = (Some(f), None);
    env.visit(pid, &mut |process| {
        result = f.take().map(|f| f(process));
    });
    result.ok_or(Errno::ESRCH)
}

/// The descriptors and the working directory of a node's process.
///
/// # Errors
/// `ENOENT` for one that has ended: it has none.
fn files<'o>(node: SynthNode, o: &'o Objects, env: &dyn Env) -> Result<&'o Files> {
    if has_ended(node, env)? {
        return Err(Errno::ENOENT);
    }
    let id = with(node, env, |process| process.files())?;
    o.files_of(id).ok_or(Errno::ESRCH)
}

/// Whether a node's process waits for nothing but its parent.
fn has_ended(node: SynthNode, env: &dyn Env) -> Result<bool> {
    with(node, env, |process| process.state(process.pid()) == 'Z')
}

/// A decimal number without sign or leading zeroes.
fn number(name: &[u8]) -> Option<u32> {
    let text = core::str::from_utf8(name).ok()?;
    let canonical = text == "0" || text.starts_with(|c: char| ('1'..='9').contains(&c));
    if canonical { text.parse().ok() } else { None }
}

pub(crate) fn lookup(
    o: &Objects,
    env: &dyn Env,
    dir: SynthNode,
    name: &[u8],
) -> Result<Option<SynthNode>> {
    if name.len() > NAME_MAX {
        return Err(Errno::ENAMETOOLONG);
    }
    if let SynthNode::Task(pid, tid) = dir {
        let file = TASK_FILES.iter().find(|f| f.as_bytes() == name);
        // What a process itself does not have.
        let place = match name {
            b"children" => "task/",
            _ => "",
        };
        return Ok(file.and_then(|f| match row(&format!("{PID}/{place}{f}"))? {
            SynthNode::Row(at) => Some(SynthNode::TaskFile(pid, tid, at)),
            _ => None,
        }));
    }
    let Some((path, what)) = dir.row() else {
        return Err(Errno::ENOTDIR);
    };
    let pid = dir.pid().unwrap_or(0);
    let open = |n: u32| {
        let files = files(dir, o, env).ok()?;
        Fd::try_from(n).ok().filter(|&fd| files.fds.get(fd).is_ok())
    };
    Ok(match what {
        What::Fds => number(name).and_then(open).map(|fd| SynthNode::Fd(pid, fd)),
        What::FdInfos => number(name)
            .and_then(open)
            .map(|fd| SynthNode::FdInfo(pid, fd)),
        What::Tasks => {
            let threads = with(dir, env, |process| process.threads())?;
            number(name)
                .filter(|t| threads.contains(t))
                .map(|tid| SynthNode::Task(pid, tid))
        }
        What::Dir => {
            if let Some(pid) = number(name).filter(|_| path == "/proc") {
                let exists = env.visit(pid, &mut |_| {});
                return Ok(of(pid).filter(|_| exists));
            }
            let named = core::str::from_utf8(name).ok().filter(|n| *n != "PID");
            let path = named.map(|n| format!("{path}/{n}"));
            path.filter(|p| is_there(env, p))
                .and_then(|p| dir.relative(&p))
        }
        _ => return Err(Errno::ENOTDIR),
    })
}

/// Whether a row has something to tell.
fn is_there(env: &dyn Env, path: &str) -> bool {
    let outside = OUTSIDE.iter().any(|o| path.starts_with(o));
    !outside || interfaces::all(env).iter().any(|i| !i.is_loopback())
}

/// In a listing of /proc, processes come after everything else.
const PIDS: u64 = 1 << 16;

/// The first entry of a directory at or after a cookie, and the cookie behind it.
pub(crate) fn entry(
    o: &Objects,
    env: &dyn Env,
    dir: SynthNode,
    cookie: u64,
) -> Result<Option<(Vec<u8>, SynthNode, u64)>> {
    let named = |node: SynthNode, next: u64| Some((node.name(), node, next));
    if let SynthNode::Task(..) = dir {
        let Some(file) = TASK_FILES.get(cookie as usize) else {
            return Ok(None);
        };
        return Ok(lookup(o, env, dir, file.as_bytes())?.and_then(|n| named(n, cookie + 1)));
    }
    let Some((path, what)) = dir.row() else {
        return Err(Errno::ENOTDIR);
    };
    Ok(match what {
        What::Fds | What::FdInfos if has_ended(dir, env)? => None,
        What::Fds | What::FdInfos => {
            let pid = dir.pid().unwrap_or(0);
            let mut open = files(dir, o, env)?.fds.iter().map(|(fd, _)| fd);
            let next = open.find(|&fd| fd as u64 >= cookie);
            next.and_then(|fd| match what {
                What::Fds => named(SynthNode::Fd(pid, fd), fd as u64 + 1),
                _ => named(SynthNode::FdInfo(pid, fd), fd as u64 + 1),
            })
        }
        What::Tasks => {
            let pid = dir.pid().unwrap_or(0);
            let mut threads = with(dir, env, |process| process.threads())?;
            threads.sort_unstable();
            let next = threads.into_iter().find(|&t| u64::from(t) >= cookie);
            next.and_then(|t| named(SynthNode::Task(pid, t), u64::from(t) + 1))
        }
        What::Dir => {
            let start = usize::try_from(cookie).unwrap_or(usize::MAX);
            let is_child = |p: &str| {
                let rest = p.strip_prefix(path).and_then(|r| r.strip_prefix('/'));
                p != PID && rest.is_some_and(|r| !r.contains('/')) && is_there(env, p)
            };
            let mut rows = TREE.iter().enumerate().skip(start);
            if let Some((at, (p, _))) = rows.find(|(_, (p, _))| is_child(p)) {
                let Some(node) = dir.relative(p) else {
                    return Ok(None);
                };
                return Ok(named(node, at as u64 + 1));
            }
            if path != "/proc" {
                return Ok(None);
            }
            let from = cookie.saturating_sub(PIDS);
            let mut pids = env.processes().into_iter();
            let next = pids.find(|&pid| u64::from(pid) >= from);
            next.and_then(|pid| named(of(pid)?, PIDS + u64::from(pid) + 1))
        }
        _ => return Err(Errno::ENOTDIR),
    })
}

/// The name space that a link leads to.
fn name_space(link: SynthNode) -> Option<SynthNode> {
    match link {
        SynthNode::Of(_, at) => Some(SynthNode::NameSpace(at)),
        _ => None,
    }
}

impl Objects {
    /// The kind of the name space behind a description.
    pub fn name_space_of(&self, id: DescId) -> Option<&'static str> {
        match self.description(id).ok()?.node? {
            NodeRef::Synth(node) => node.name_space().map(|(kind, _)| kind),
            _ => None,
        }
    }

    /// Opens the caller's name space of a kind.
    ///
    /// # Errors
    /// `ENOENT`, `EMFILE`.
    pub fn open_name_space(&mut self, env: &dyn Env, kind: &str) -> Result<Fd> {
        let link = of(env.process().pid()).ok_or(Errno::ENOENT)?;
        let link = link.relative(&format!("{PID}/ns/{kind}"));
        let node = link.and_then(name_space).ok_or(Errno::ENOENT)?;
        let flags = OpenFlags::CLOEXEC;
        self.open_object(Object::Text, flags, Some(NodeRef::Synth(node)))
    }
}

/// Where a link leads that is not a matter of paths.
pub(crate) fn jump(o: &Objects, env: &dyn Env, link: SynthNode) -> Result<Option<NodeRef>> {
    if let SynthNode::Fd(_, fd) = link {
        let id = files(link, o, env)?.fds.get(fd).or(Err(Errno::ENOENT))?;
        let desc = o.description(id)?;
        let dir = desc.node.filter(|_| desc.object == Object::Dir);
        return Ok(Some(dir.unwrap_or(NodeRef::Open(id))));
    }
    match link.row() {
        Some((_, What::Cwd)) => Ok(Some(files(link, o, env)?.cwd)),
        Some((_, What::RootLink)) => Ok(Some(files(link, o, env)?.root)),
        Some((_, What::NameSpace(_))) => Ok(name_space(link).map(NodeRef::Synth)),
        _ => Ok(None),
    }
}

pub(crate) fn link_text(o: &Objects, env: &dyn Env, link: SynthNode) -> Result<Vec<u8>> {
    let pid = env.process().pid();
    if let SynthNode::Fd(_, fd) = link {
        let id = files(link, o, env)?.fds.get(fd).or(Err(Errno::ENOENT))?;
        let desc = o.description(id)?;
        if let Some(node) = desc.node {
            return o.path_text(node);
        }
        return Ok(match desc.object.face() {
            (Face::Numbered { name, base, .. }, at) => format!("{name}:[{}]", base + at),
            (Face::Anonymous(name), _) => format!("anon_inode:{name}"),
        }
        .into_bytes());
    }
    Ok(match link.row() {
        Some((_, What::SelfLink)) => format!("{pid}").into_bytes(),
        Some((_, What::ThreadSelfLink)) => format!("{pid}/task/{pid}").into_bytes(),
        Some((_, What::Exe)) => {
            let exe = with(link, env, |process| process.exe())?;
            if exe.is_empty() {
                return Err(Errno::ENOENT);
            }
            exe
        }
        Some((_, What::Cwd)) => o.path_text(files(link, o, env)?.cwd)?,
        Some((_, What::RootLink)) => o.path_text(files(link, o, env)?.root)?,
        Some((_, What::Link(target) | What::NameSpace(target))) => target.as_bytes().to_vec(),
        _ => return Err(Errno::EINVAL),
    })
}

/// The most that one read gives of a process' memory or page map.
const MEMORY_CHUNK: usize = 64 << 10;

/// Reads what is too long to be made as a whole: memory, and what is known of its pages. `None` for other files.
pub(crate) fn read_long(
    env: &dyn Env,
    node: SynthNode,
    pos: u64,
    sink: &mut dyn Sink,
) -> Option<Result<usize>> {
    let (_, what @ (What::Memory | What::Pages)) = node.row()? else {
        return None;
    };
    let wanted = sink.remaining().min(MEMORY_CHUNK);
    if matches!(what, What::Pages) && (!pos.is_multiple_of(8) || !wanted.is_multiple_of(8)) {
        return Some(Err(Errno::EINVAL));
    }
    let read = with(node, env, |process| {
        let mut bytes = alloc::vec![0; wanted];
        let n = match what {
            What::Memory => process.read_memory(pos, &mut bytes)?,
            _ => process.read_page_map(pos / 8, &mut bytes),
        };
        bytes.truncate(n);
        Ok(bytes)
    });
    Some(read.flatten().and_then(|bytes| match sink.put(&bytes) {
        n if n < bytes.len() => Err(Errno::EFAULT),
        n => Ok(n),
    }))
}

/// Writes to the memory of a process.
///
/// # Errors
/// `EIO` where there is none, or none to be written to; `EFAULT`, `ESRCH`.
pub(crate) fn write_memory(
    env: &dyn Env,
    node: SynthNode,
    pos: u64,
    source: &mut dyn Source,
) -> Result<usize> {
    let mut bytes = alloc::vec![0; source.remaining().min(MEMORY_CHUNK)];
    if source.take(&mut bytes) < bytes.len() {
        return Err(Errno::EFAULT);
    }
    with(node, env, |process| process.write_memory(pos, &bytes))?
}

/// The content of a file as of now.
pub(crate) fn content(o: &Objects, env: &dyn Env, node: SynthNode) -> Result<Vec<u8>> {
    with(node, env, |process| {
        let subject = text::Subject {
            env,
            process,
            tid: match node {
                SynthNode::TaskFile(_, tid, _) => tid,
                _ => process.pid(),
            },
            path: node.row().map_or("", |row| row.0),
            files: o.files_of(process.files()),
            sockets: &o.kinds.sockets,
            open: o.descriptions.len(),
            file_pages: o.fs.budget().used,
            boot_id: o.boot_id,
        };
        let mut out = Vec::new();
        match (node, node.row()) {
            (SynthNode::FdInfo(_, fd), _) => {
                let files = subject.files.ok_or(Errno::ESRCH)?;
                let id = files.fds.get(fd)?;
                fdinfo::content(o, env, (id, process.files()), &mut out)?;
            }
            (SynthNode::NameSpace(_), _) => return Err(Errno::EINVAL),
            (_, Some((_, What::Locks))) => o.all_locks(env, &mut out),
            (_, Some((_, What::File(make) | What::Settable(make, _)))) => make(&subject, &mut out),
            (_, Some((_, What::Fixed(text)))) => {
                out.extend_from_slice(text.as_bytes());
                if !text.is_empty() && !text.ends_with('\n') {
                    out.push(b'\n');
                }
            }
            _ => return Err(Errno::EISDIR),
        }
        Ok(out)
    })?
}

/// What a write to a file does.
///
/// # Errors
/// Those of what it changes; `EACCES` for a file that cannot be written to.
pub(crate) fn write(env: &dyn Env, node: SynthNode, bytes: &[u8]) -> Result<()> {
    let Some((_, What::Settable(_, parse))) = node.row() else {
        return Err(Errno::EACCES);
    };
    let pid = node.pid().unwrap_or_else(|| env.process().pid());
    let tid = match node {
        SynthNode::TaskFile(_, tid, _) => tid,
        _ => pid,
    };
    env.change(pid, tid, parse(bytes)?)
}

/// Owner and group of a node: those of its process. What others may not look into is the super-user's.
pub(crate) fn owner(env: &dyn Env, node: SynthNode) -> (u32, u32) {
    if node.pid().is_none() {
        return (0, 0);
    }
    let ids = with(node, env, |process| {
        let open = node.kind() == NodeKind::Dir || process.is_dumpable();
        let who = process.credentials();
        open.then_some((who.user.effective, who.group.effective))
    });
    ids.ok().flatten().unwrap_or((0, 0))
}
