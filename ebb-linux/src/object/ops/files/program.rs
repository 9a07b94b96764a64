//! Files as programs: what `execve` needs of them.

use alloc::{borrow::Cow, vec::Vec};

use crate::object::{
    Objects,
    env::Env,
    errno::{Errno, Result},
    flags::AT_FDCWD,
    fs::NodeKind,
    id::{Fd, NodeRef},
    io::Sink,
};

/// A file that may be executed.
#[derive(Clone, Debug)]
pub struct Executable {
    /// Its absolute path, links resolved.
    pub path: Vec<u8>,
    node: NodeRef,
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
        Ok(Executable {
            path: self.path_text(node)?,
            node,
        })
    }

    /// What is in a program: the archive's own bytes, or a copy of a file that was written.
    ///
    /// # Errors
    /// `ENOMEM` for a file of more than `most` bytes or when there is no memory for the copy.
    pub fn program_bytes(&self, program: &Executable, most: u64) -> Result<Cow<'static, [u8]>> {
        if let NodeRef::Lower(node) = self.fs.canon(program.node) {
            return Ok(Cow::Borrowed(self.fs.archive_content(node)));
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
