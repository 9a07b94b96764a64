//! A table of keys and values: the Ebb that every machine of the cluster serves a part of.

use alloc::{collections::BTreeMap, string::String};

use ebb::ebb;
use ebb_distributed::{Blob, remote};
use spin::Mutex;

/// One for each machine: all cores share it.
#[ebb(distributed)]
#[derive(Default)]
pub struct Table {
    entries: Mutex<BTreeMap<String, Blob>>,
}

// The name is said, since front end and back ends may be different programs, in which the path is not the same.
#[remote(name = "cluster.Table")]
impl Table {
    /// Sets a value.
    pub async fn put(&self, key: String, value: Blob) {
        self.entries.lock().insert(key, value);
    }

    /// The value of a key.
    pub async fn get(&self, key: String) -> Option<Blob> {
        self.entries.lock().get(&key).cloned()
    }

    /// How many keys this machine has.
    pub async fn size(&self) -> u64 {
        self.entries.lock().len() as u64
    }
}
