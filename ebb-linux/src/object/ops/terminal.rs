//! Terminals: opening either end of one, sessions that they control, and their ends.

use alloc::{format, vec, vec::Vec};

use super::files::permission::asker;
use crate::abi::signal::{SIGCONT, SIGHUP, SIGTTOU, SIGWINCH};
use crate::object::{
    Objects,
    credentials::cap,
    env::{Env, Time},
    errno::{Errno, Result},
    flags::OpenFlags,
    fs::InodeKind,
    id::{DescId, Fd, Id, NodeRef},
    kind::{
        Object,
        channel::ChannelId,
        device::pts_number,
        pty::{Flush, Pty, termios::Termios},
    },
    wait::{Events, Target},
};

/// How many pseudo-terminals there can be (`kernel.pty.max`).
const MOST: usize = 4096;

/// An end of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    pub(crate) pty: Id<Pty>,
    /// Whether it is the one that types.
    pub is_master: bool,
}

impl Objects {
    /// The end of a terminal that a description is.
    #[must_use]
    pub fn terminal_end(&self, id: DescId) -> Option<End> {
        let desc = self.description(id).ok()?;
        let Object::Pty(pty) = desc.object else {
            return None;
        };
        let is_master = desc.flags.contains(OpenFlags::MASTER);
        Some(End { pty, is_master })
    }

    /// The terminal of an end.
    ///
    /// # Errors
    /// `EIO` when it is gone.
    pub(crate) fn terminal(&self, end: End) -> Result<&Pty> {
        self.kinds.ptys.get(end.pty).ok_or(Errno::EIO)
    }

    pub(crate) fn terminal_mut(&mut self, end: End) -> Result<&mut Pty> {
        self.kinds.ptys.get_mut(end.pty).ok_or(Errno::EIO)
    }

    fn new_terminal(&mut self, env: &dyn Env) -> Result<Id<Pty>> {
        if self.kinds.ptys.len() >= MOST {
            return Err(Errno::ENOSPC);
        }
        let used: Vec<u32> = self.kinds.ptys.iter().map(|(_, pty)| pty.number).collect();
        let number = (0..).find(|n| !used.contains(n)).unwrap_or(0);
        let dir = self.terminals.dir.ok_or(Errno::ENXIO)?;
        let name = format!("{number}");
        let now = Time::from_ns(env.realtime());
        let kind = InodeKind::Char(pts_number(number));
        // What somebody has left under this name cannot be a terminal.
        if let Ok(Some(node)) = self.fs.lookup(dir, name.as_bytes()) {
            self.fs.unlink_entry(dir, name.as_bytes(), node, now)?;
        }
        let inode = self.fs.create(dir, name.as_bytes(), kind, 0o600, now)?;
        self.fs.give(inode, &asker(env), dir)?;
        let pty = Pty::new(&mut self.hub, number);
        Ok(self.kinds.ptys.insert(pty))
    }

    /// The name of a terminal's slave in the file system, while its master is open.
    fn terminal_node(&self, id: Id<Pty>) -> Option<(NodeRef, Vec<u8>, NodeRef)> {
        let dir = self.terminals.dir?;
        let name = format!("{}", self.kinds.ptys.get(id)?.number).into_bytes();
        let node = self.fs.lookup(dir, &name).ok()??;
        Some((dir, name, node))
    }

    /// Opens /dev/ptmx: a new terminal's master.
    pub(super) fn open_terminal_master(
        &mut self,
        env: &dyn Env,
        flags: OpenFlags,
        node: NodeRef,
    ) -> Result<DescId> {
        let id = self.new_terminal(env)?;
        self.describe(Object::Pty(id), flags | OpenFlags::MASTER, Some(node))
    }

    /// The terminal of the machine's console, which controls the first session.
    pub(super) fn new_console_terminal(&mut self, env: &dyn Env) -> Result<Id<Pty>> {
        let id = self.new_terminal(env)?;
        let (group, session) = env.process().group();
        if let Some(pty) = self.kinds.ptys.get_mut(id) {
            pty.locked = false;
            pty.size = [24, 80, 0, 0];
            (pty.session, pty.foreground) = (session, group);
        }
        self.terminals.console = Some(id);
        Ok(id)
    }

    /// Opens the slave of a terminal; it becomes the caller's controlling terminal if it leads a session without one.
    pub(super) fn open_terminal(
        &mut self,
        env: &dyn Env,
        number: u32,
        flags: OpenFlags,
        node: NodeRef,
    ) -> Result<DescId> {
        let found = self.kinds.ptys.iter().find(|(_, pty)| pty.number == number);
        let (id, pty) = found.ok_or(Errno::ENXIO)?;
        if pty.locked || pty.is_hung_up() {
            return Err(Errno::EIO);
        }
        if pty.exclusive && !asker(env).has(cap::SYS_ADMIN) {
            return Err(Errno::EBUSY);
        }
        let free = pty.session == 0;
        let desc = self.open_slave(id, flags, Some(node))?;
        let (group, session) = env.process().group();
        let leads = session == env.process().pid();
        if !flags.contains(OpenFlags::NOCTTY)
            && flags.readable()
            && leads
            && free
            && self.controlling(env).is_none()
            && let Some(pty) = self.kinds.ptys.get_mut(id)
        {
            (pty.session, pty.foreground) = (session, group);
        }
        Ok(desc)
    }

    fn open_slave(
        &mut self,
        id: Id<Pty>,
        flags: OpenFlags,
        node: Option<NodeRef>,
    ) -> Result<DescId> {
        let pty = self.kinds.ptys.get_mut(id).ok_or(Errno::ENXIO)?;
        pty.open_slave();
        self.describe(Object::Pty(id), flags, node)
    }

    /// Opens /dev/tty.
    pub(super) fn open_controlling_terminal(
        &mut self,
        env: &dyn Env,
        flags: OpenFlags,
        node: NodeRef,
    ) -> Result<DescId> {
        let id = self.controlling(env).ok_or(Errno::ENXIO)?;
        self.open_slave(id, flags, Some(node))
    }

    /// Opens /dev/console.
    pub(super) fn open_console_terminal(&mut self, flags: OpenFlags) -> Result<DescId> {
        let id = self.terminals.console.ok_or(Errno::ENXIO)?;
        let node = self.terminal_node(id).map(|(_, _, node)| node);
        self.open_slave(id, flags, node)
    }

    /// `TIOCGPTPEER`: opens the slave of a master, whatever the file system says.
    pub(crate) fn open_terminal_peer(
        &mut self,
        env: &dyn Env,
        end: End,
        flags: OpenFlags,
    ) -> Result<Fd> {
        let number = self.terminal(end)?.number;
        let (.., node) = self.terminal_node(end.pty).ok_or(Errno::EIO)?;
        let desc = self.open_terminal(env, number, flags, node)?;
        self.install(desc, flags.contains(OpenFlags::CLOEXEC))
    }

    /// The terminal that controls the caller's session.
    fn controlling(&self, env: &dyn Env) -> Option<Id<Pty>> {
        let process = env.process();
        let (_, session) = process.group();
        if self.terminals.detached.contains(&process.pid()) {
            return None;
        }
        let mut ptys = self.kinds.ptys.iter();
        ptys.find(|(_, pty)| pty.session == session && session != 0)
            .map(|(id, _)| id)
    }

    /// Whether a slave is the caller's controlling terminal.
    pub(crate) fn is_controlling(&self, env: &dyn Env, end: End) -> bool {
        self.controlling(env) == Some(end.pty)
    }

    /// Refuses a change of a terminal by a process in its background, as [`Pty::check_foreground`] does.
    pub(crate) fn check_terminal_change(&mut self, env: &dyn Env, end: End) -> Result<()> {
        if end.is_master || !self.is_controlling(env, end) {
            return Ok(());
        }
        let pty = self.kinds.ptys.get(end.pty).ok_or(Errno::EIO)?;
        pty.check_foreground(&mut self.hub, env, SIGTTOU)
    }

    /// `tcsetattr`; `flush` throws away what was typed.
    pub(crate) fn set_terminal(&mut self, end: End, settings: Termios, flush: bool) -> Result<()> {
        let pty = self.kinds.ptys.get_mut(end.pty).ok_or(Errno::EIO)?;
        if flush {
            pty.flush(&mut self.hub, Flush::Input);
        }
        pty.set(&mut self.hub, settings);
        Ok(())
    }

    /// `tcflush`.
    pub(crate) fn flush_terminal(&mut self, end: End, what: Flush) -> Result<()> {
        let pty = self.kinds.ptys.get_mut(end.pty).ok_or(Errno::EIO)?;
        pty.flush(&mut self.hub, what);
        Ok(())
    }

    /// `tcflow`: holds output or lets it go.
    pub(crate) fn hold_terminal(&mut self, end: End, hold: bool) -> Result<()> {
        let pty = self.kinds.ptys.get_mut(end.pty).ok_or(Errno::EIO)?;
        pty.hold_output(&mut self.hub, hold);
        Ok(())
    }

    /// `tcflow`: asks the other side to hold its output or to go on.
    pub(crate) fn send_terminal_flow(&mut self, end: End, hold: bool) -> Result<()> {
        let pty = self.kinds.ptys.get_mut(end.pty).ok_or(Errno::EIO)?;
        pty.send_flow(&mut self.hub, hold);
        Ok(())
    }

    /// Whether the caller may type for whoever sits there (`TIOCSTI`).
    pub(crate) fn check_typist(&mut self, env: &dyn Env, end: End) -> Result<()> {
        match self.is_controlling(env, end) || asker(env).has(cap::SYS_ADMIN) {
            true => Ok(()),
            false => Err(Errno::EPERM),
        }
    }

    /// `TIOCSTI`.
    pub(crate) fn type_byte(&mut self, env: &dyn Env, end: End, byte: u8) -> Result<()> {
        self.check_typist(env, end)?;
        let pty = self.kinds.ptys.get_mut(end.pty).ok_or(Errno::EIO)?;
        pty.type_byte(&mut self.hub, env, byte);
        Ok(())
    }

    /// `TIOCSIG`: a signal for the foreground group.
    pub(crate) fn signal_terminal(&mut self, end: End, signal: u8) -> Result<()> {
        let pty = self.kinds.ptys.get(end.pty).ok_or(Errno::EIO)?;
        pty.signal_foreground(&mut self.hub, signal);
        Ok(())
    }

    /// `TIOCSWINSZ`: the foreground group hears of a new size.
    pub(crate) fn resize_terminal(&mut self, end: End, size: [u16; 4]) -> Result<()> {
        let pty = self.kinds.ptys.get_mut(end.pty).ok_or(Errno::EIO)?;
        if core::mem::replace(&mut pty.size, size) != size {
            pty.signal_foreground(&mut self.hub, SIGWINCH);
        }
        Ok(())
    }

    /// Whether the caller leads its session and has no terminal.
    pub(crate) fn may_take_any(&self, env: &dyn Env) -> bool {
        env.process().group().1 == env.process().pid() && self.controlling(env).is_none()
    }

    /// `TIOCSCTTY`.
    ///
    /// # Errors
    /// `EPERM` when the caller leads no session, has a terminal, or the terminal has another session.
    pub(crate) fn take_terminal(
        &mut self,
        env: &dyn Env,
        end: End,
        flags: OpenFlags,
        steal: bool,
    ) -> Result<()> {
        let (group, session) = env.process().group();
        let leads = session == env.process().pid();
        let held_by = self.terminal(end)?.session;
        if leads && held_by == session {
            return Ok(());
        }
        let privileged = asker(env).has(cap::SYS_ADMIN);
        if !leads
            || self.controlling(env).is_some()
            || held_by != 0 && !(steal && privileged)
            || !flags.readable() && !privileged
        {
            return Err(Errno::EPERM);
        }
        let pid = env.process().pid();
        self.terminals.detached.retain(|p| *p != pid);
        let pty = self.terminal_mut(end)?;
        (pty.session, pty.foreground) = (session, group);
        Ok(())
    }

    /// `TIOCNOTTY`: the caller has no terminal from now on, nor has its session if it leads that.
    ///
    /// # Errors
    /// `ENOTTY` when it is not its terminal.
    pub(crate) fn give_up_terminal(&mut self, env: &dyn Env, end: End) -> Result<()> {
        if !self.is_controlling(env, end) {
            return Err(Errno::ENOTTY);
        }
        let pid = env.process().pid();
        if env.process().group().1 == pid {
            self.session_ends(pid, true);
        } else {
            // Of processes that are over nobody asks again; the list stays short.
            let alive = env.processes();
            self.terminals.detached.retain(|p| alive.contains(p));
            self.terminals.detached.push(pid);
        }
        Ok(())
    }

    /// The leader of a session has ended, or gives its terminal up: the foreground group hears of that.
    pub(crate) fn session_ends(&mut self, session: u32, goes_on: bool) {
        let mut signals = vec![SIGHUP];
        if goes_on {
            signals.push(SIGCONT);
        }
        let mut told = Vec::new();
        for (_, pty) in self.kinds.ptys.iter_mut() {
            if pty.session == session {
                told.push((pty.foreground, signals.clone()));
                (pty.session, pty.foreground) = (0, 0);
            }
        }
        for (_, group) in self.terminals.hung_up.extract_if(.., |h| h.0 == session) {
            told.push((group, vec![SIGHUP, SIGCONT]));
        }
        for (group, signals) in told {
            if group != 0 {
                for signal in signals {
                    self.hub.note_signal(Target::Group(group), signal);
                }
            }
        }
    }

    /// An end is closed. With the master the terminal hangs up: its session's leader hears of that.
    pub(super) fn close_terminal(&mut self, id: Id<Pty>, flags: OpenFlags) {
        let last = self.kinds.ptys.get(id).is_some_and(|pty| pty.masters == 1);
        if flags.contains(OpenFlags::MASTER) && last {
            self.hang_up(id);
        }
        self.close_end(Object::Pty(id), flags);
    }

    fn hang_up(&mut self, id: Id<Pty>) {
        if let Some((dir, name, node)) = self.terminal_node(id) {
            let now = self.fs.stat(node).map(|s| s.ctime).unwrap_or_default();
            let _ = self.fs.unlink_entry(dir, &name, node, now);
        }
        let Some(pty) = self.kinds.ptys.get_mut(id) else {
            return;
        };
        let (session, group) = (pty.session, pty.foreground);
        (pty.session, pty.foreground) = (0, 0);
        if session != 0 {
            for signal in [SIGHUP, SIGCONT] {
                self.hub.note_signal(Target::Process(session), signal);
            }
            self.terminals.hung_up.retain(|h| h.0 != session);
            self.terminals.hung_up.push((session, group));
        }
    }

    /// A call that waited for what would be typed is over.
    pub(crate) fn stop_reading(&mut self, id: DescId) {
        if let Some(end) = self.terminal_end(id)
            && let Ok(pty) = self.terminal_mut(end)
        {
            pty.stop_reading();
        }
    }

    /// The master's end of a channel that is a terminal.
    pub(crate) fn channel_terminal(&self, id: ChannelId) -> Option<End> {
        let pty = self.kinds.channels.get(id)?.terminal?;
        Some(End {
            pty,
            is_master: true,
        })
    }

    /// Types on the terminal of a channel: how many of the bytes there was room for.
    pub(crate) fn channel_type(&mut self, env: &dyn Env, end: End, bytes: &[u8]) -> Result<usize> {
        use crate::object::kind::Kind;
        let pty = self.kinds.ptys.get_mut(end.pty).ok_or(Errno::EPIPE)?;
        if bytes.is_empty() {
            return Ok(0);
        }
        pty.write(&mut self.hub, env, OpenFlags::MASTER, &mut &*bytes)
    }

    /// The owner of a terminal takes what is shown on it, as [`channel_take`](Self::channel_take) does.
    pub(super) fn take_shown(&mut self, end: End, max: usize) -> Result<Vec<u8>> {
        let pty = self.kinds.ptys.get_mut(end.pty).ok_or(Errno::EPIPE)?;
        let shown = pty.take_shown(&mut self.hub, max);
        if shown.is_empty() && pty.slaves > 0 && max > 0 {
            return Err(Errno::EAGAIN);
        }
        Ok(shown)
    }

    /// Nothing more will be typed: the program reads the end behind what was.
    pub(super) fn end_typing(&mut self, end: End) {
        if let Some(pty) = self.kinds.ptys.get_mut(end.pty) {
            pty.input_ended = true;
            let queue = pty.queue;
            self.hub.wake(queue, Events::all());
        }
    }
}
