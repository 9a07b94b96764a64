//! Files as programs: what `execve` needs of them.

use alloc::{borrow::Cow, vec::Vec};

use super::permission::{asker, want};
use crate::object::{
    Objects,
    env::Env,
    errno::{Errno, Result},
    flags::AT_FDCWD,
    fs::NodeKind,
    id::{Fd, NodeRef},
    io::Sink,
    kind::Object,
    table::Description,
};

/// A file that may be executed.
#[derive(Clone, Debug)]
pub struct Executable {
    /// Its absolute path, links resolved.
    pub path: Vec<u8>,
    pub(crate) node: NodeRef,
}

/// A sink that fills a vector up to its capacity.
struct Fill<'a>(&'a mut Vec<u8>);

impl Sink for Fill<'_> {
    fn remaining(&self) -> usize {
        self.0.capacity() - self.0.len()
    }
    fn put(&mut self, from: &[u8]) -> usize {
        let n = from.len().min(self.remaining());
        self.0.extend_from_slice(&from[..n]);
        n
    }
}

impl Objects {
    /// The program that a path names.
    ///
    /// # Errors
    /// As for `execve`: `EACCES` for what is no regular file or has no execute bit, and what resolving the path gives.
    pub fn executable(&self, env: &dyn Env, path: &[u8]) -> Result<Executable> {
        self.executable_at(env, AT_FDCWD, path, true, false)
    }

    /// As [`executable`](Self::executable), with the arguments of `execveat`.
    ///
    /// # Errors
    /// As above; `ELOOP` when the path ends in a link that is not to be followed.
    pub fn executable_at(
        &self,
        env: &dyn Env,
        dirfd: Fd,
        path: &[u8],
        follow: bool,
        empty: bool,
    ) -> Result<Executable> {
        let node = self.resolve_at(env, dirfd, path, follow, empty)?;
        let node = self.place(node).map_err(|_| Errno::EACCES)?;
        match self.node_kind(node)? {
            NodeKind::File => {}
            NodeKind::Symlink => return Err(Errno::ELOOP),
            _ => return Err(Errno::EACCES),
        }
        if matches!(node, NodeRef::Synth(_)) || self.fs.stat(node)?.mode & 0o111 == 0 {
            return Err(Errno::EACCES);
        }
        self.check_access(env, &asker(env), node, want::EXECUTE)?;
        Ok(Executable {
            path: self.path_text(node)?,
            node,
        })
    }

    /// Whether somebody has a file open for writing. What never had a name (a memfd) does not count, as on Linux.
    fn is_written(&self, node: NodeRef) -> bool {
        let node = self.fs.canon(node);
        let sealable = matches!(node, NodeRef::Upper(id)
            if self.fs.inode(id).is_ok_and(|i| i.seals.is_some()));
        let writes = |desc: &Description| {
            let place = desc.node.map(|n| self.fs.canon(n));
            desc.object == Object::File && desc.flags.writable() && place == Some(node)
        };
        !sealable && self.descriptions.iter().any(|(_, desc)| writes(desc))
    }

    /// The name by which a program's file is known as long as it runs: see [`Env::runs`].
    pub fn program_node(&self, program: &Executable) -> NodeRef {
        self.fs.origin(self.fs.canon(program.node))
    }

    /// Refuses writing to a file that runs.
    ///
    /// # Errors
    /// `ETXTBSY`.
    pub(crate) fn check_text(&self, env: &dyn Env, node: NodeRef) -> Result<()> {
        let node = self.fs.canon(node);
        // What nobody may execute does not run.
        let may_run = self.fs.stat(node).is_ok_and(|s| s.mode & 0o111 != 0);
        match may_run && env.runs(self.fs.origin(node)) {
            true => Err(Errno::ETXTBSY),
            false => Ok(()),
        }
    }

    /// Owner, group and mode of a program; a script acts as nobody but who starts it.
    ///
    /// # Errors
    /// `ENOENT` when it is gone.
    pub fn program_ownership(&self, program: &Executable) -> Result<(u32, u32, u32)> {
        let (uid, gid, mode) = self.fs.ownership(program.node)?;
        let mut first = Vec::with_capacity(2);
        self.fs.read_file(program.node, 0, &mut Fill(&mut first))?;
        let is_script = first == b"#!";
        Ok((uid, gid, if is_script { mode & 0o777 } else { mode }))
    }

    /// What is in a program: the archive's own bytes, or a copy of a file that was written.
    ///
    /// # Errors
    /// `ETXTBSY` for a file that somebody may write to; `ENOMEM` for one of more than `most` bytes or when there is no memory
    /// for the copy.
    pub fn program_bytes(&self, program: &Executable, most: u64) -> Result<Cow<'static, [u8]>> {
        if let NodeRef::Lower(node) = self.fs.canon(program.node) {
            return Ok(Cow::Borrowed(self.fs.archive_content(node)));
        }
        if self.is_written(program.node) {
            return Err(Errno::ETXTBSY);
        }
        let size = self.fs.file_size(program.node)?;
        if size > most {
            return Err(Errno::ENOMEM);
        }
        let mut bytes = Vec::new();
        let size = usize::try_from(size).map_err(|_| Errno::ENOMEM)?;
        bytes.try_reserve_exact(size).map_err(|_| Errno::ENOMEM)?;
        self.fs.read_file(program.node, 0, &mut Fill(&mut bytes))?;
        Ok(Cow::Owned(bytes))
    }
}
