//! The records that are kept: the last ones, bounded in number and bytes.

use crate::activation::Activation;
use crate::failure::{Failure, Result};
use alloc::{collections::VecDeque, format, string::String, sync::Arc, vec::Vec};
use hashbrown::HashMap;

/// Records in the order in which they came.
#[derive(Debug)]
pub struct Activations {
    ring: VecDeque<Arc<Activation>>,
    /// From the id to the number of the record since the beginning.
    places: HashMap<String, u64>,
    first: u64,
    bytes: usize,
    most_bytes: usize,
    most: usize,
    /// What came and went since that was asked last, if somebody asks.
    changes: Option<Vec<Change>>,
}

/// What has become of the record of a place. Places count from the first record that there ever was.
#[derive(Clone, Debug)]
pub enum Change {
    /// It came.
    Came(u64, Arc<Activation>),
    /// It made room.
    Went(u64),
}

/// Which records a list shows.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of that entity: `action` or `pkg/action`.
    pub name: Option<String>,
    /// That began then or later.
    pub since_ms: Option<u64>,
    /// That began then or earlier.
    pub upto_ms: Option<u64>,
}

impl Filter {
    fn shows(&self, namespace: &str, record: &Activation) -> bool {
        let named = |wanted: &String| match wanted.rsplit_once('/') {
            None => *wanted == record.name,
            Some(_) => record
                .annotations
                .get("path")
                .and_then(crate::json::Json::to_text)
                .is_some_and(|path| {
                    path.split_once('/')
                        .is_some_and(|(_, local)| local == wanted)
                }),
        };
        record.namespace == namespace
            && self.name.as_ref().is_none_or(named)
            && self.since_ms.is_none_or(|since| record.start_ms >= since)
            && self.upto_ms.is_none_or(|upto| record.start_ms <= upto)
    }
}

impl Activations {
    /// Room for so many bytes of records.
    pub fn new(most_bytes: usize) -> Self {
        Self {
            ring: VecDeque::new(),
            places: HashMap::new(),
            first: 0,
            bytes: 0,
            most_bytes,
            most: 100_000,
            changes: None,
        }
    }

    /// From now on [`Activations::take_changes`] tells what came and went. The next record has this place.
    pub fn follow_changes(&mut self, next: u64) {
        self.changes.get_or_insert_default();
        if self.ring.is_empty() {
            self.first = next;
        }
    }

    /// What came and went since this was asked the last time.
    pub fn take_changes(&mut self) -> Vec<Change> {
        self.changes
            .as_mut()
            .map(core::mem::take)
            .unwrap_or_default()
    }

    /// Keeps a record; the oldest ones make room.
    pub fn insert(&mut self, record: Arc<Activation>) {
        self.bytes += record.size();
        let place = self.first + self.ring.len() as u64;
        self.places.insert(record.id.clone(), place);
        if let Some(changes) = &mut self.changes {
            changes.push(Change::Came(place, record.clone()));
        }
        self.ring.push_back(record);
        while self.ring.len() > 1 && (self.bytes > self.most_bytes || self.ring.len() > self.most) {
            if let Some(old) = self.ring.pop_front() {
                self.bytes -= old.size();
                self.places.remove(&old.id);
                if let Some(changes) = &mut self.changes {
                    changes.push(Change::Went(self.first));
                }
                self.first += 1;
            }
        }
    }

    /// The record of that id.
    ///
    /// # Errors
    /// 400: no id; 404.
    pub fn get(&self, namespace: &str, id: &str) -> Result<&Arc<Activation>> {
        check_id(id)?;
        self.places
            .get(id)
            .and_then(|place| self.ring.get(usize::try_from(place - self.first).ok()?))
            .filter(|record| record.namespace == namespace)
            .ok_or_else(Failure::no_entity)
    }

    /// The records that a filter shows, the last begun first.
    pub fn newest<'a>(
        &'a self,
        namespace: &'a str,
        filter: &'a Filter,
    ) -> impl Iterator<Item = &'a Arc<Activation>> {
        let mut all: alloc::vec::Vec<_> = self
            .ring
            .iter()
            .rev()
            .filter(move |record| filter.shows(namespace, record))
            .collect();
        // They came in the order in which they ended.
        all.sort_by_key(|record| core::cmp::Reverse(record.start_ms));
        all.into_iter()
    }

    /// Bytes that are taken, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Checks the form of an id.
///
/// # Errors
/// 400 with the protocol's text.
pub fn check_id(id: &str) -> Result<()> {
    let length = id.chars().count();
    if length != 32 {
        return Err(Failure::bad(format!(
            "Activation id length is {length} but must be 32."
        )));
    }
    if id.bytes().all(|b| b.is_ascii_hexdigit()) {
        Ok(())
    } else {
        Err(Failure::bad("The activation id is not valid."))
    }
}
