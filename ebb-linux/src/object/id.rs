//! The names of objects: checked indices, and what they name.
//!
//! Objects are plain data that name other data by index (see [`arena`](super::arena)). The names stand here, below
//! everything that has them, so that a pipe need not know what a file system is, nor a wait queue what an epoll set is for.
//! What a name is of is said by a type: for what a kind of object keeps, the type itself; for what several layers name, a
//! type of [`of`] that has no values.

use borsh::{BorshDeserialize, BorshSerialize, io};
use core::{cmp::Ordering, fmt, hash, marker::PhantomData};

/// The name of an object of type `T` in its [`Arena`](super::arena::Arena).
pub struct Id<T> {
    index: u32,
    generation: u32,
    _kind: PhantomData<fn() -> T>,
}

impl<T> Id<T> {
    pub(crate) const fn new(index: usize, generation: u32) -> Self {
        Self {
            index: index as u32,
            generation,
            _kind: PhantomData,
        }
    }

    /// The slot, which says nothing about the object once it is gone.
    pub const fn index(self) -> u32 {
        self.index
    }

    pub(crate) const fn generation(self) -> u32 {
        self.generation
    }

    const fn key(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }
}

impl<T> Clone for Id<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Id<T> {}
impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}
impl<T> Eq for Id<T> {}
impl<T> PartialOrd for Id<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Id<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}
impl<T> hash::Hash for Id<T> {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}
impl<T> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}.{}", self.index, self.generation)
    }
}

impl<T> BorshSerialize for Id<T> {
    fn serialize<W: io::Write>(&self, writer: &mut W) -> io::Result<()> {
        (self.index, self.generation).serialize(writer)
    }
}
impl<T> BorshDeserialize for Id<T> {
    fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
        let (index, generation) = <(u32, u32)>::deserialize_reader(reader)?;
        Ok(Self::new(index as usize, generation))
    }
}

/// What names are of.
pub mod of {
    /// An open file description.
    #[derive(Clone, Debug)]
    pub enum Description {}
    /// A wait queue.
    #[derive(Clone, Debug)]
    pub enum Queue {}
    /// The descriptors and the rest that one process, or several, have.
    #[derive(Clone, Debug)]
    pub enum Files {}
    /// A node of the writable layer of the file system.
    #[derive(Clone, Debug)]
    pub enum Inode {}
}

/// The name of an open file description.
pub type DescId = Id<of::Description>;
/// The name of a wait queue.
pub type QueueId = Id<of::Queue>;
/// Names the files of one or more processes.
pub type FilesId = Id<of::Files>;
/// The name of an inode.
pub type InodeId = Id<of::Inode>;

/// A descriptor as the guest passes it: negative ones name nothing.
pub type Fd = i32;

/// A node of the boot archive: its number, which never changes. The root is 0.
pub type ArchiveNode = u32;

/// A node of /proc or /sys. What belongs to a process bears its number.
#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SynthNode {
    /// A row of the table that is no process's.
    Row(u16),
    /// A row of the table, of a process.
    Of(u32, u16),
    /// `/proc/PID/fd/N`.
    Fd(u32, Fd),
    /// `/proc/PID/fdinfo/N`.
    FdInfo(u32, Fd),
    /// `/proc/PID/task/N`.
    Task(u32, u32),
    /// A file of `/proc/PID/task/N`: the thread, and the row of the process' file of that name.
    TaskFile(u32, u32, u16),
    /// A name space, by the row of a link to it.
    NameSpace(u16),
}

/// A place in the file system.
#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodeRef {
    /// A node of the writable layer.
    Upper(InodeId),
    /// A node of the archive, unless an inode has taken its place.
    Lower(ArchiveNode),
    /// A node of /proc or /sys.
    Synth(SynthNode),
    /// What an open description refers to, reached through /proc/self/fd.
    Open(DescId),
}
