//! The connections of a core by their addresses and ports: for each only the number of its socket, which has these already.
//!
//! What must hold: the numbers are those of sockets that are connections, each of them once and with a key of its own, so that a
//! table which grows finds all keys again.

use core::hash::BuildHasher;

use hashbrown::HashTable;

use super::Socket;
use crate::{shared::Secret, wire::FlowKey};

pub(crate) struct Connected {
    numbers: HashTable<u32>,
    secret: Secret,
}

impl Connected {
    pub fn new(secret: Secret) -> Self {
        Self {
            numbers: HashTable::new(),
            secret,
        }
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Bytes of the table.
    pub fn table(&self) -> usize {
        self.numbers.allocation_size()
    }

    /// The socket whose connection has this key.
    #[inline]
    pub fn find(&self, key: &FlowKey, sockets: &[Socket]) -> Option<u32> {
        let has_key = |&number: &u32| match sockets.get(number as usize) {
            Some(Socket::Connection(connection)) => connection.key() == *key,
            _ => false,
        };
        let number = self.numbers.find(self.secret.hash_one(key), has_key);
        number.copied()
    }

    /// Adds a connection; no other has its key.
    pub fn insert(&mut self, key: &FlowKey, number: u32, sockets: &[Socket]) {
        let hash_of = |&number: &u32| match sockets.get(number as usize) {
            Some(Socket::Connection(connection)) => self.secret.hash_one(connection.key()),
            _ => 0,
        };
        let hash = self.secret.hash_one(key);
        self.numbers.insert_unique(hash, number, hash_of);
    }

    /// Takes a connection out; whether it was there. Its socket is still it.
    pub fn remove(&mut self, key: &FlowKey, number: u32) -> bool {
        let hash = self.secret.hash_one(key);
        let entry = self.numbers.find_entry(hash, |&n| n == number);
        entry.map(|entry| entry.remove()).is_ok()
    }
}
