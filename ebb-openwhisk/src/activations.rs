//! The records that are kept: the last ones, bounded in number, bytes and age.
//!
//! What must hold: whoever makes many records takes the place of its own. When there are too many, the oldest goes of the namespace
//! whose records take most, so what a namespace has up to its equal share stays whatever the others do.

use crate::activation::Activation;
use crate::failure::{Failure, Result};
use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    format,
    string::String,
    sync::Arc,
    vec::Vec,
};
use core::cell::Cell;
use hashbrown::HashMap;

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Bytes of all records.
    pub bytes: usize,
    /// Milliseconds since the activation began.
    pub age_ms: u64,
}

impl Budget {
    /// So many bytes, of whatever age.
    pub const fn bytes(bytes: usize) -> Self {
        Self {
            bytes,
            age_ms: u64::MAX,
        }
    }
}

/// Records in the order in which they came.
#[derive(Debug)]
pub struct Activations {
    of_namespaces: HashMap<Arc<str>, Own>,
    /// The namespaces by what their records take.
    by_bytes: BTreeSet<(usize, Arc<str>)>,
    /// From the id to the place.
    places: HashMap<String, u64>,
    /// The place of the next one.
    next: u64,
    bytes: usize,
    budget: Budget,
    most: usize,
    /// How many are kept elsewhere and have not come yet.
    expected: usize,
    /// Namespaces whose records were dropped, up to that place, while some were to come.
    dropped: HashMap<Arc<str>, u64>,
    /// Somebody has looked for what may be among them.
    missed: Cell<bool>,
    /// What came and went since that was asked last, if somebody asks.
    changes: Option<BTreeMap<u64, Option<Arc<Activation>>>>,
}

/// What finds a record takes: its place in a ring and, under a copy of its id, in the map of places. Both are a quarter empty when
/// they have doubled last at a time that nobody knows.
const FOUND: usize =
    (size_of::<(u64, Arc<Activation>)>() + size_of::<(String, u64)>() + 1) * 4 / 3 + 32;

/// What a record takes.
fn bytes_of(record: &Activation) -> usize {
    record.size() + FOUND
}

/// The records of a namespace.
#[derive(Debug, Default)]
struct Own {
    /// By place.
    ring: VecDeque<(u64, Arc<Activation>)>,
    bytes: usize,
}

/// What has become of the record of a place. Places count from the first record that there ever was.
#[derive(Clone, Debug)]
pub enum Change {
    /// It came.
    Came(u64, Arc<Activation>),
    /// It made room, or was too old.
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
        record.namespace == namespace
            && self.name.as_ref().is_none_or(|name| record.is_named(name))
            && self.since_ms.is_none_or(|since| record.start_ms >= since)
            && self.upto_ms.is_none_or(|upto| record.start_ms <= upto)
    }
}

impl Activations {
    /// Room for so much.
    pub fn new(budget: Budget) -> Self {
        Self {
            of_namespaces: HashMap::new(),
            by_bytes: BTreeSet::new(),
            places: HashMap::new(),
            next: 0,
            bytes: 0,
            budget,
            most: 100_000,
            expected: 0,
            dropped: HashMap::new(),
            missed: Cell::new(false),
            changes: None,
        }
    }

    /// From now on [`Activations::take_changes`] tells what came and went. The next record has this place, and so many of those
    /// before are to come ([`Activations::arrive`]).
    pub fn follow_changes(&mut self, next: u64, expected: usize) {
        self.changes.get_or_insert_default();
        self.next = self.next.max(next);
        self.expected = expected;
    }

    /// How many are to come.
    pub fn expected(&self) -> usize {
        self.expected
    }

    /// Whether somebody has looked for a record since this was asked the last time that may be to come.
    pub fn take_missed(&mut self) -> bool {
        self.missed.take()
    }

    /// What came and went since this was asked the last time, without what did both.
    pub fn take_changes(&mut self) -> Vec<Change> {
        let changes = self.changes.as_mut().map(core::mem::take);
        let changes = changes.unwrap_or_default().into_iter();
        let change = |(place, came)| match came {
            Some(record) => Change::Came(place, record),
            None => Change::Went(place),
        };
        changes.map(change).collect()
    }

    /// Keeps a record; older ones make room.
    pub fn insert(&mut self, record: Arc<Activation>) {
        let place = self.next;
        self.next += 1;
        if let Some(changes) = &mut self.changes {
            changes.insert(place, Some(record.clone()));
        }
        self.place(place, record);
    }

    /// One that was to come is here, or is lost.
    pub fn arrive(&mut self, place: u64, record: Option<Arc<Activation>>, now_ms: u64) {
        self.expected = self.expected.saturating_sub(1);
        match record {
            Some(record) if self.is_old(&record, now_ms) || self.is_dropped(place, &record) => {
                self.note_gone(place);
            }
            Some(record) => self.place(place, record),
            None => {}
        }
        if self.expected == 0 {
            self.dropped = HashMap::new();
        }
    }

    /// All records of a namespace go.
    pub fn drop_namespace(&mut self, namespace: &str) {
        let namespace: Arc<str> = Arc::from(namespace);
        while self.of_namespaces.contains_key(&namespace) {
            self.drop_oldest(namespace.clone());
        }
        if self.expected > 0 {
            self.dropped.insert(namespace, self.next);
        }
    }

    fn is_dropped(&self, place: u64, record: &Activation) -> bool {
        let up_to = self.dropped.get(record.namespace.as_str());
        up_to.is_some_and(|up_to| place < *up_to)
    }

    fn place(&mut self, place: u64, record: Arc<Activation>) {
        let size = bytes_of(&record);
        self.places.insert(record.id.clone(), place);
        let namespace = match self.of_namespaces.get_key_value(record.namespace.as_str()) {
            Some((namespace, _)) => namespace.clone(),
            None => Arc::from(record.namespace.as_str()),
        };
        let own = self.of_namespaces.entry(namespace.clone()).or_default();
        match own.ring.back() {
            Some((last, _)) if *last > place => {
                let at = own.ring.partition_point(|(other, _)| *other < place);
                own.ring.insert(at, (place, record));
            }
            _ => own.ring.push_back((place, record)),
        }
        self.resize(namespace, size, 0);
        while self.places.len() > 1
            && (self.bytes > self.budget.bytes || self.places.len() > self.most)
        {
            let Some((_, most)) = self.by_bytes.last() else {
                break;
            };
            self.drop_oldest(most.clone());
        }
    }

    /// The records of a namespace take more, or less.
    fn resize(&mut self, namespace: Arc<str>, more: usize, less: usize) {
        self.bytes = self.bytes + more - less;
        let Some(own) = self.of_namespaces.get_mut(&namespace) else {
            return;
        };
        let mut key = (own.bytes, namespace);
        self.by_bytes.remove(&key);
        own.bytes = own.bytes + more - less;
        key.0 = own.bytes;
        if own.ring.is_empty() {
            self.of_namespaces.remove(&key.1);
        } else {
            self.by_bytes.insert(key);
        }
    }

    fn drop_oldest(&mut self, namespace: Arc<str>) {
        let own = self.of_namespaces.get_mut(&namespace);
        let Some((place, old)) = own.and_then(|own| own.ring.pop_front()) else {
            return;
        };
        self.places.remove(&old.id);
        self.note_gone(place);
        self.resize(namespace, 0, bytes_of(&old));
    }

    fn note_gone(&mut self, place: u64) {
        if let Some(changes) = &mut self.changes {
            // One that has not been asked for is as if it had never come: whoever asks may be slow, and records come without end.
            if changes.remove(&place).is_none() {
                changes.insert(place, None);
            }
        }
    }

    /// A clock that was set back makes none older.
    fn is_old(&self, record: &Activation, now_ms: u64) -> bool {
        now_ms.saturating_sub(record.start_ms) > self.budget.age_ms
    }

    /// Lets those go that are too old by now.
    pub fn expire(&mut self, now_ms: u64) {
        let namespaces: Vec<Arc<str>> = self.of_namespaces.keys().cloned().collect();
        for namespace in namespaces {
            while let Some((_, oldest)) = self
                .of_namespaces
                .get(&namespace)
                .and_then(|own| own.ring.front())
                && self.is_old(oldest, now_ms)
            {
                self.drop_oldest(namespace.clone());
            }
        }
    }

    /// The record of that id.
    ///
    /// # Errors
    /// 400: no id; 404.
    pub fn get(&self, namespace: &str, id: &str) -> Result<&Arc<Activation>> {
        check_id(id)?;
        let find = || {
            let ring = &self.of_namespaces.get(namespace)?.ring;
            let place = self.places.get(id)?;
            let at = ring.binary_search_by_key(place, |(place, _)| *place).ok()?;
            Some(&ring.get(at)?.1)
        };
        let found = find();
        if found.is_none() {
            self.note_missed();
        }
        found.ok_or_else(Failure::no_entity)
    }

    /// The records that a filter shows, the last begun first.
    pub fn newest<'a>(
        &'a self,
        namespace: &'a str,
        filter: &'a Filter,
    ) -> impl Iterator<Item = &'a Arc<Activation>> {
        self.note_missed();
        let own = self.of_namespaces.get(namespace).into_iter();
        let mut all: alloc::vec::Vec<_> = own
            .flat_map(|own| own.ring.iter().rev())
            .map(|(_, record)| record)
            .filter(move |record| filter.shows(namespace, record))
            .collect();
        // They came in the order in which they ended.
        all.sort_by_key(|record| core::cmp::Reverse(record.start_ms));
        all.into_iter()
    }

    fn note_missed(&self) {
        if self.expected > 0 {
            self.missed.set(true);
        }
    }

    /// Bytes of memory that they take, about.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activation::Outcome;
    use crate::json::Json;
    use crate::parameters::Parameters;

    fn record(namespace: &str, number: u64, start_ms: u64) -> Arc<Activation> {
        Arc::new(Activation {
            id: format!("{number:032x}"),
            name: "a".into(),
            namespace: namespace.into(),
            subject: namespace.into(),
            version: "0.0.1".into(),
            cause: None,
            start_ms,
            end_ms: None,
            duration_ms: None,
            logs: Arc::default(),
            annotations: Parameters::default(),
            outcome: Outcome::success(Json::bool(true)),
        })
    }

    fn has(records: &Activations, namespace: &str, number: u64) -> bool {
        records.get(namespace, &format!("{number:032x}")).is_ok()
    }

    #[test]
    fn a_namespace_that_makes_many_records_takes_the_place_of_its_own_only() {
        let each = bytes_of(&record("busy", 0, 0));
        let mut records = Activations::new(Budget::bytes(20 * each));
        for number in 0..8 {
            records.insert(record("calm", number, 0));
        }
        for number in 100..1_000 {
            records.insert(record("busy", number, 0));
        }
        assert!((0..8).all(|number| has(&records, "calm", number)));
        assert!((988..1_000).all(|number| has(&records, "busy", number)));
        assert!(!has(&records, "busy", 987) && records.bytes() == 20 * each);
        // A third one gets its share, of what the largest has.
        records.insert(record("new", 2_000, 0));
        assert!(has(&records, "calm", 0) && !has(&records, "busy", 988));
        // Beyond its share it takes its own place.
        for number in 3_000..3_100 {
            records.insert(record("calm", number, 0));
        }
        let left = (989..1_000).filter(|number| has(&records, "busy", *number));
        assert!((9..=10).contains(&left.count()) && !has(&records, "calm", 7));
    }

    #[test]
    fn records_that_are_too_old_go_and_a_clock_that_is_set_back_takes_none() {
        let mut records = Activations::new(Budget {
            bytes: 1 << 20,
            age_ms: 1_000,
        });
        records.follow_changes(5, 1);
        records.insert(record("a", 1, 10_000));
        records.insert(record("b", 2, 10_500));
        assert_eq!(records.take_changes().len(), 2);
        records.arrive(4, Some(record("a", 0, 9_000)), 10_000);
        records.expire(500);
        assert!(has(&records, "a", 0) && has(&records, "a", 1));
        records.expire(11_001);
        assert!(!has(&records, "a", 0) && !has(&records, "a", 1) && has(&records, "b", 2));
        let went = records.take_changes().into_iter();
        let went: Vec<u64> = went
            .filter_map(|change| match change {
                Change::Went(place) => Some(place),
                Change::Came(..) => None,
            })
            .collect();
        assert_eq!(went, [4, 5]);
        records.insert(record("b", 3, 10_600));
        records.expire(20_000);
        let left = records.take_changes();
        assert!(matches!(left[..], [Change::Went(6)]), "7 came and went");
    }

    #[test]
    fn records_that_come_back_are_where_they_were_and_whoever_looks_meanwhile_has_to_come_again() {
        let mut records = Activations::new(Budget::bytes(1 << 20));
        records.follow_changes(7, 3);
        records.insert(record("a", 7, 50));
        assert!(has(&records, "a", 7) && !records.take_missed());
        assert!(!has(&records, "a", 4) && records.take_missed());
        records.arrive(6, Some(record("a", 6, 50)), 0);
        records.arrive(2, Some(record("a", 2, 50)), 0);
        let all = |records: &Activations| -> Vec<String> {
            let everything = Filter::default();
            let all = records.newest("a", &everything);
            all.map(|record| record.id[31..].into()).collect()
        };
        assert_eq!(all(&records), ["7", "6", "2"]);
        assert!(records.take_missed());
        records.arrive(4, None, 0);
        assert_eq!(all(&records), ["7", "6", "2"]);
        assert!(!records.take_missed());
    }

    #[test]
    fn of_a_namespace_that_is_removed_no_record_is_left_nor_comes_back() {
        let mut records = Activations::new(Budget::bytes(1 << 20));
        records.follow_changes(7, 2);
        records.insert(record("a", 7, 50));
        records.insert(record("b", 8, 50));
        records.drop_namespace("a");
        records.arrive(3, Some(record("a", 3, 50)), 0);
        records.insert(record("a", 9, 10));
        records.arrive(5, Some(record("b", 5, 50)), 0);
        let left = [("a", 3), ("a", 7), ("a", 9), ("b", 5), ("b", 8)];
        let left = left.map(|(namespace, number)| has(&records, namespace, number));
        assert_eq!(left, [false, false, true, true, true]);
    }
}
