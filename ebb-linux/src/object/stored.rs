//! The objects of a UC as bytes, for a snapshot that is kept on a disk.
//!
//! What must hold:
//! - everything in [`Objects`] is either written down, or stands in the way by name (`wrong`), or is nothing that a clone
//!   takes over (holds, wakers, memory to be used again);
//! - who reads does not believe what it reads: a list that contradicts itself is refused, and an index that names nothing is
//!   found out where it is used, as every index is.
//!
//! The bytes are borsh's (little endian, lengths as `u32`), in the order of the fields. They mean something to the image that
//! wrote them only: there are no versions.

use alloc::vec::Vec;

use borsh::{BorshDeserialize, BorshSerialize, io};

use super::{
    Limits, Objects,
    arena::{Arena, wrong},
    files::{Files, Parked},
    fs::{Filesystem, archive::Archive},
    id::{FilesId, of},
    kind::Kinds,
    table::Description,
    wait::Hub,
};

/// Refuses what is not written down.
fn refuse(there_is: bool, what: &'static str) -> io::Result<()> {
    if there_is { Err(wrong(what)) } else { Ok(()) }
}

impl Kinds {
    fn store<W: io::Write>(&self, writer: &mut W) -> io::Result<()> {
        refuse(!self.ptys.is_empty(), "a pseudo-terminal")?;
        refuse(!self.mqueues.is_empty(), "a message queue")?;
        refuse(!self.inotifies.is_empty(), "an inotify instance")?;
        refuse(!self.sockets.is_empty(), "a socket")?;
        self.pipes.serialize(writer)?;
        self.eventfds.serialize(writer)?;
        self.timers.serialize(writer)?;
        self.signalfds.serialize(writer)?;
        self.channels.serialize(writer)
    }

    fn restore<R: io::Read>(reader: &mut R) -> io::Result<Self> {
        Ok(Self {
            pipes: Arena::deserialize_reader(reader)?,
            eventfds: Arena::deserialize_reader(reader)?,
            timers: Arena::deserialize_reader(reader)?,
            signalfds: Arena::deserialize_reader(reader)?,
            channels: Arena::deserialize_reader(reader)?,
            ..Self::default()
        })
    }
}

impl Objects {
    /// Writes them down.
    ///
    /// # Errors
    /// That of the writer; what they have that is not written down, by name.
    pub(crate) fn store<W: io::Write>(&self, writer: &mut W) -> io::Result<()> {
        refuse(!self.flocks.held.is_empty(), "a lock on a file")?;
        refuse(
            self.records.count > 0 || !self.records.waits.is_empty(),
            "a lock on a part of a file",
        )?;
        self.files.serialize(writer)?;
        self.running.serialize(writer)?;
        self.parked.serialize(writer)?;
        self.hub.serialize(writer)?;
        self.fs.store(writer)?;
        self.limits.serialize(writer)?;
        self.descriptions.serialize(writer)?;
        self.kinds.store(writer)?;
        self.terminals.serialize(writer)?;
        (self.last_cookie, self.epoll_items, self.boot_id).serialize(writer)
    }

    /// Reads what [`store`](Self::store) has written, over the same archive.
    ///
    /// # Errors
    /// It cannot have been written so.
    pub(crate) fn restore<R: io::Read>(
        reader: &mut R,
        archive: &'static dyn Archive,
    ) -> io::Result<Self> {
        let files = Files::deserialize_reader(reader)?;
        let running = Option::<FilesId>::deserialize_reader(reader)?;
        let parked = Arena::<Parked, of::Files>::deserialize_reader(reader)?;
        let hub = Hub::deserialize_reader(reader)?;
        let fs = Filesystem::restore(reader, archive)?;
        let limits = Limits::deserialize_reader(reader)?;
        let descriptions = Arena::<Description, of::Description>::deserialize_reader(reader)?;
        let kinds = Kinds::restore(reader)?;
        let terminals = BorshDeserialize::deserialize_reader(reader)?;
        let (last_cookie, epoll_items, boot_id) = BorshDeserialize::deserialize_reader(reader)?;
        Ok(Self {
            files,
            running,
            parked,
            hub,
            fs,
            limits,
            descriptions,
            kinds,
            sockets: Default::default(),
            flocks: Default::default(),
            records: Default::default(),
            watched: Default::default(),
            last_cookie,
            epoll_items,
            terminals,
            mq_names: Default::default(),
            boot_id,
        })
    }
}

/// The bytes of what `store` writes.
pub(crate) fn bytes_of(store: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    store(&mut bytes)?;
    Ok(bytes)
}
