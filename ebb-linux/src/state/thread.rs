//! Guest threads as plain data: what a snapshot keeps of them.

use crate::abi::signal::{AltStack, SigInfo};
use crate::object::description::DescId;
use crate::object::env::NetSocket;
use crate::object::poll::Registration;
use crate::object::record::WaitId;
use crate::object::vfs::PendingFifo;
use crate::state::futex::{Key, ThreadKey};
use alloc::boxed::Box;
use alloc::vec::Vec;
use borsh::{BorshDeserialize, BorshSerialize};
use core::task::Waker;
use ebb_guest::Context;

/// A system call that waits. It is written and moved whole with every wait, so what few calls need is [`Rare`].
#[derive(Clone, Debug, Default)]
pub struct Waiting {
    /// When it gives up, in clock nanoseconds.
    pub deadline: Option<u64>,
    /// What it waited for has come (futexes).
    pub woken: bool,
    /// The futex in whose queue the thread is.
    pub futex: Option<Key>,
    /// The call has begun to wait with `deadline`.
    pub begun: bool,
    /// Where the guest is to be told how much time is left when the call ends early.
    pub remainder: Option<Remainder>,
    /// The description that it uses, kept open meanwhile.
    pub held: Option<DescId>,
    /// Bytes that it has moved, of the message at hand if it moves several.
    pub progress: usize,
    /// Messages that it has moved.
    pub messages: u64,
    /// The mask to be restored when the call ends (`ppoll` and its kin).
    pub restore_mask: Option<u64>,
    /// It waits until it is known how the machine is connected.
    pub network: bool,
    /// What few calls need; none of it yet if `None`.
    pub rare: Option<Box<Rare>>,
}

/// What only a few of the calls that wait have to remember.
#[derive(Clone, Debug, Default)]
pub struct Rare {
    /// The futex that is waited for is a lock with an owner.
    pub inheriting: Option<Inheriting>,
    /// The futexes in whose queues the thread is, if it waits for any of several.
    pub any_of: Option<AnyOf>,
    /// The semaphore set that it waits for, and the thread's name in its list.
    pub semaphores: Option<(i32, ThreadKey)>,
    /// After which no more messages are received, in clock nanoseconds.
    pub until: Option<u64>,
    /// Its name among those who wait for record locks.
    pub record: Option<WaitId>,
    /// The FIFO that it opens.
    pub fifo: Option<PendingFifo>,
    /// How far it has come, if it is made in parts: no signal comes between them.
    pub work: Option<Work>,
    /// The connection that it has closed, and that goes when the peer has all of it.
    pub lingers: Option<NetSocket>,
    /// The child that uses the thread's memory (`vfork`): its serial and its number. Signals wait until it does no more.
    pub child: Option<(u64, u32)>,
}

/// What a call remembers that needs nothing rare.
static NOTHING: Rare = Rare {
    inheriting: None,
    any_of: None,
    semaphores: None,
    until: None,
    record: None,
    fifo: None,
    work: None,
    lingers: None,
    child: None,
};

/// A lock that is waited for.
#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug)]
pub struct Inheriting {
    /// The thread that has it.
    pub owner: u32,
    /// Where it is in the waiter's memory.
    pub address: u64,
}

/// What `futex_waitv` waits for.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug)]
pub struct AnyOf {
    /// In the order of the call.
    pub keys: Vec<Key>,
    /// Which of them has come.
    pub woken: u64,
}

impl Waiting {
    /// What few calls need.
    pub fn rare(&self) -> &Rare {
        self.rare.as_deref().unwrap_or(&NOTHING)
    }

    /// The same, to be changed.
    pub fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// What the call has moved: messages if they are whole, or bytes.
    pub fn moved(&self) -> u64 {
        match self.messages {
            0 => self.progress as u64,
            messages => messages,
        }
    }

    /// Goes on to the next of several messages, whose time limit begins when it first waits.
    pub fn next_message(&mut self, moved: u64) {
        self.messages = moved;
        self.progress = 0;
        self.deadline = None;
    }
}

/// Where a guest wants to be told how much of a time limit is left.
#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug)]
pub enum Remainder {
    /// A `struct timespec` at this address.
    Timespec(u64),
    /// A `struct timeval` at this address.
    Timeval(u64),
}

/// How far a call has come that would take too long for one event.
#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug, Default)]
pub struct Work {
    /// Bytes that it has seen to.
    pub done: u64,
    /// Where the mapping is that it fills.
    pub at: u64,
}

/// A guest thread.
pub struct Thread {
    /// Its number.
    pub tid: u32,
    /// Its registers.
    pub context: Box<Context>,
    /// Word to be cleared and woken when it ends.
    pub clear_tid: u64,
    /// Head of its robust futexes, and the length that was given.
    pub robust: (u64, u64),
    /// Signals that it holds off; bit `n - 1` is signal `n`.
    pub mask: u64,
    /// The mask from before a call that a signal has interrupted (`ppoll` and its kin): the handler runs with the call's mask
    /// and returns to this one.
    pub saved_mask: Option<u64>,
    /// Signals sent to it.
    pub pending: u64,
    /// What came with the pending signals, at most one of each.
    pub queued: Vec<SigInfo>,
    /// Where handlers run that ask for it.
    pub alt_stack: AltStack,
    /// The number of its memory policy among those of its process; 0 for the default.
    pub memory_policy: u16,
    /// Its name.
    pub name: [u8; 16],
    /// The system call that it waits in, if it does.
    pub waiting: Option<Waiting>,
    /// Nanoseconds that it ran.
    pub ran: u64,
    /// It is to end without a word: another thread of its process starts a program.
    pub doomed: bool,
    /// The queues of objects in which it waits.
    pub registration: Registration,
    pub(crate) waker: Option<Waker>,
}

impl Thread {
    /// A thread about to run.
    pub fn new(tid: u32, context: Box<Context>) -> Self {
        Self {
            tid,
            context,
            clear_tid: 0,
            robust: (0, 0),
            mask: 0,
            saved_mask: None,
            pending: 0,
            queued: Vec::new(),
            alt_stack: AltStack::default(),
            memory_policy: 0,
            name: [0; 16],
            waiting: None,
            ran: 0,
            doomed: false,
            registration: Registration::default(),
            waker: None,
        }
    }

    /// Lets its task look again.
    pub fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}

/// The threads of a process, by index. An index is used again when its thread is gone and its task has ended.
#[derive(Default)]
pub struct Threads {
    slots: Vec<Option<Thread>>,
    live: usize,
}

impl Threads {
    /// Adds a thread; its index.
    pub fn insert(&mut self, thread: Thread) -> usize {
        self.live += 1;
        match self.slots.iter().position(Option::is_none) {
            Some(index) => {
                self.slots[index] = Some(thread);
                index
            }
            None => {
                self.slots.push(Some(thread));
                self.slots.len() - 1
            }
        }
    }

    /// Takes a thread out.
    pub fn remove(&mut self, index: usize) -> Option<Thread> {
        let thread = self.slots.get_mut(index)?.take();
        self.live -= usize::from(thread.is_some());
        thread
    }

    /// The thread of an index.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&Thread> {
        self.slots.get(index)?.as_ref()
    }

    /// The thread of an index.
    #[inline]
    pub fn get_mut(&mut self, index: usize) -> Option<&mut Thread> {
        self.slots.get_mut(index)?.as_mut()
    }

    /// All threads.
    pub fn iter(&self) -> impl Iterator<Item = &Thread> {
        self.slots.iter().flatten()
    }

    /// All threads.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Thread> {
        self.slots.iter_mut().flatten()
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.live
    }

    /// Whether none is left.
    pub const fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Threads in their places.
    pub(crate) fn from_slots(slots: Vec<Option<Thread>>) -> Self {
        let live = slots.iter().flatten().count();
        Self { slots, live }
    }

    /// Every place, taken or not.
    pub(crate) fn slots_mut(&mut self) -> &mut [Option<Thread>] {
        &mut self.slots
    }
}
