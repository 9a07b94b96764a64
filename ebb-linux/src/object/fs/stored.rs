//! The file system as bytes: what differs from the archive.

use alloc::vec::Vec;

use borsh::{BorshDeserialize, BorshSerialize, io};
use ebb_mem::space::Quota;

use super::{Filesystem, archive::Archive, data::Trash};
use crate::object::arena::wrong;

impl Filesystem {
    /// Writes it down.
    ///
    /// # Errors
    /// That of the writer; a file that cannot be written down, by name.
    pub(crate) fn store<W: io::Write>(&self, writer: &mut W) -> io::Result<()> {
        if self.has_given_up() {
            return Err(wrong("a mapped file that is being changed"));
        }
        self.inodes.serialize(writer)?;
        self.copied.serialize(writer)?;
        self.lower_opens.serialize(writer)?;
        self.mounts.serialize(writer)?;
        self.budget.serialize(writer)?;
        (self.quota.max(), self.watching, &self.ended).serialize(writer)?;
        (self.max_inodes, self.next_ino).serialize(writer)
    }

    /// Reads what [`store`](Self::store) has written, over the same archive.
    ///
    /// # Errors
    /// It cannot have been written so.
    pub(crate) fn restore<R: io::Read>(
        reader: &mut R,
        archive: &'static dyn Archive,
    ) -> io::Result<Self> {
        let inodes = BorshDeserialize::deserialize_reader(reader)?;
        let copied = BorshDeserialize::deserialize_reader(reader)?;
        let lower_opens = BorshDeserialize::deserialize_reader(reader)?;
        let mounts = BorshDeserialize::deserialize_reader(reader)?;
        let budget = BorshDeserialize::deserialize_reader(reader)?;
        let (quota, watching, ended) = BorshDeserialize::deserialize_reader(reader)?;
        let (max_inodes, next_ino) = BorshDeserialize::deserialize_reader(reader)?;
        Ok(Self {
            archive,
            inodes,
            copied,
            lower_opens,
            mounts,
            budget,
            quota: Quota::new(quota),
            given_up: Vec::new(),
            exchanged: Vec::new(),
            left_archive: Vec::new(),
            trash: Trash::default(),
            watching,
            ended,
            max_inodes,
            next_ino,
        })
    }
}
