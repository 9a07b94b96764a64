//! The thread that something is done for, with all that belongs to it.

use super::Uc;
use crate::object::Objects;
use crate::state::futex::ThreadKey;
use crate::state::process::{Memory, Process};
use crate::state::thread::Thread;
use alloc::rc::Rc;
use core::cell::RefMut;
use ebb_mem::space::Space;

/// A thread of a UC, by reference to what it belongs to.
#[derive(Clone, Copy)]
pub struct Caller<'a> {
    /// Its UC.
    pub uc: &'a Rc<Uc>,
    /// Its process.
    pub process: &'a Rc<Process>,
    /// The memory that it runs in: the process's until it starts a program.
    pub memory: &'a Rc<Memory>,
    /// Its index among the threads of the process.
    pub index: usize,
}

impl Caller<'_> {
    /// The thread as futexes name it.
    pub fn thread_key(&self) -> ThreadKey {
        ThreadKey {
            process: self.process.serial,
            index: self.index,
        }
    }

    /// The guest's memory.
    pub fn space(&self) -> RefMut<'_, Space> {
        self.memory.space.borrow_mut()
    }

    /// The UC's objects.
    pub fn objects(&self) -> RefMut<'_, Objects> {
        self.uc.objects.borrow_mut()
    }

    /// Runs `f` with the thread; `None` when it is gone.
    pub fn with_thread<R>(&self, f: impl FnOnce(&mut Thread) -> R) -> Option<R> {
        self.process.threads.borrow_mut().get_mut(self.index).map(f)
    }
}
