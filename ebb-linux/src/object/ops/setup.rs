//! The objects a UC starts with: an empty descriptor table, the archive with /proc, /sys and /dev
//! in place, and a console.

use crate::object::{
    Limits, Objects,
    arena::Arena,
    env::Env,
    errno::{Errno, Result},
    files::{FdTable, Files, Parked},
    flags::{AT_FDCWD, OpenFlags},
    fs::{Filesystem, InodeKind, archive::Archive, proc_root, sys_root},
    kind::{channel::ChannelId, device::device_number},
    wait::Hub,
};
use borsh::{BorshDeserialize, BorshSerialize};

/// The channels behind descriptors 0, 1 and 2.
#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug)]
pub struct Console {
    /// Standard input.
    pub input: ChannelId,
    /// Standard output.
    pub output: ChannelId,
    /// Standard error.
    pub error: ChannelId,
}

impl Objects {
    /// The objects of a new UC: `archive` as the root, with a private writable layer.
    ///
    /// # Errors
    /// `ENOSPC` when the limits have no room for /dev, `ENOTDIR` when the archive has a file
    /// where a directory must be.
    pub fn new(env: &dyn Env, archive: &'static dyn Archive, limits: Limits) -> Result<Self> {
        let fs = Filesystem::new(archive, limits.file_pages, limits.inodes);
        let mut parked = Arena::new();
        let running = Some(parked.insert(Parked::running()));
        let mut boot_id = [0; 16];
        env.random(&mut boot_id);
        let cwd = fs.root();
        let mut objects = Self {
            files: Files {
                fds: FdTable::new(limits.nofile),
                cwd,
                root: cwd,
                umask: 0o022,
                max_size: u64::MAX,
            },
            running,
            parked,
            hub: Hub::default(),
            fs,
            limits,
            descriptions: Default::default(),
            kinds: Default::default(),
            sockets: Default::default(),
            flocks: Default::default(),
            records: Default::default(),
            watched: Default::default(),
            last_cookie: 0,
            epoll_items: 0,
            terminals: Default::default(),
            mq_names: Default::default(),
            boot_id: u128::from_le_bytes(boot_id),
        };
        // As the working directory and as the root.
        objects.fs.open_node(cwd);
        objects.fs.open_node(cwd);
        objects.populate(env)?;
        Ok(objects)
    }

    fn populate(&mut self, env: &dyn Env) -> Result<()> {
        let dirs: [(&[u8], u32); 6] = [
            (b"/proc", 0o555),
            (b"/sys", 0o555),
            (b"/dev", 0o755),
            (b"/dev/shm", 0o1777),
            (b"/dev/pts", 0o755),
            (b"/tmp", 0o1777),
        ];
        let umask = core::mem::replace(&mut self.files.umask, 0);
        for (path, mode) in dirs {
            match self.mkdir(env, AT_FDCWD, path, mode) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(errno),
            }
        }
        let devices: [(&[u8], u64); 8] = [
            (b"/dev/null", device_number(1, 3)),
            (b"/dev/zero", device_number(1, 5)),
            (b"/dev/full", device_number(1, 7)),
            (b"/dev/random", device_number(1, 8)),
            (b"/dev/urandom", device_number(1, 9)),
            (b"/dev/tty", device_number(5, 0)),
            (b"/dev/console", device_number(5, 1)),
            (b"/dev/ptmx", device_number(5, 2)),
        ];
        for (path, number) in devices {
            // What the archive has under the name of a device cannot work.
            match self.unlink(env, AT_FDCWD, path, Default::default()) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(errno) => return Err(errno),
            }
            self.make_node(env, AT_FDCWD, path, InodeKind::Char(number), 0o666)?;
        }
        self.terminals.dir = Some(self.resolve(env, AT_FDCWD, b"/dev/pts", true)?);
        let links: [(&[u8], &[u8]); 4] = [
            (b"/proc/self/fd", b"/dev/fd"),
            (b"/proc/self/fd/0", b"/dev/stdin"),
            (b"/proc/self/fd/1", b"/dev/stdout"),
            (b"/proc/self/fd/2", b"/dev/stderr"),
        ];
        for (target, path) in links {
            match self.symlink(env, target, AT_FDCWD, path) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(errno),
            }
        }
        self.files.umask = umask;
        for (path, root) in [(b"/proc".as_slice(), proc_root()), (b"/sys", sys_root())] {
            let node = self.resolve(env, AT_FDCWD, path, true)?;
            if !self.is_dir(node) {
                return Err(Errno::ENOTDIR);
            }
            self.fs.mount(node, root)?;
        }
        Ok(())
    }

    /// Opens descriptors 0, 1 and 2 as a console, which must be the first descriptors opened. With
    /// `terminal` all three are one terminal.
    ///
    /// # Errors
    /// `EMFILE`, `EEXIST` when descriptors are open already.
    pub fn open_console(&mut self, env: &dyn Env, terminal: bool) -> Result<Console> {
        if !self.files.fds.is_empty() {
            return Err(Errno::EEXIST);
        }
        let input = self.new_channel();
        if terminal {
            let pty = self.new_console_terminal(env)?;
            if let Some(channel) = self.kinds.channels.get_mut(input) {
                channel.terminal = Some(pty);
            }
            let desc = self.open_console_terminal(OpenFlags::RDWR)?;
            let fd = self.install(desc, false)?;
            self.dup(fd)?;
            self.dup(fd)?;
            return Ok(Console {
                input,
                output: input,
                error: input,
            });
        }
        let (output, error) = (self.new_channel(), self.new_channel());
        self.open_channel(input, OpenFlags::empty())?;
        self.open_channel(output, OpenFlags::WRONLY)?;
        self.open_channel(error, OpenFlags::WRONLY)?;
        Ok(Console {
            input,
            output,
            error,
        })
    }

    /// Gives a clone randomness of its own where objects keep any.
    pub fn reseed(&mut self, env: &dyn Env) {
        let mut boot_id = [0; 16];
        env.random(&mut boot_id);
        self.boot_id = u128::from_le_bytes(boot_id);
    }
}
