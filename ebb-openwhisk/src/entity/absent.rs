//! The entities that a platform has, and has not read yet since it was started again: their names are known, and about what they
//! take. So it need not read them all before it answers.
//!
//! What must hold: nothing is answered or changed as if one of these did not exist. Who looks for one that is absent leaves a note
//! ([`Absent::note`]), and as long as there are notes nothing is changed; the request is put off until what was sought is here.

use super::Entity;
use crate::name::FullName;
use alloc::{boxed::Box, format, string::String, vec::Vec};
use core::cell::RefCell;

/// An entity that is to come.
#[derive(Clone, Debug)]
pub struct Expected {
    /// `namespace/[package/]name`.
    pub path: Box<str>,
    /// Bytes that it takes, about.
    pub bytes: usize,
    /// It may be a rule. Which trigger has which rules only the rules say, so a trigger is complete when all of them are here.
    pub may_be_rule: bool,
}

/// What a request has looked for and is not here yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sought {
    /// The entity of that path.
    One(Box<str>),
    /// All whose paths begin so.
    Below(Box<str>),
    /// The rules of a namespace.
    Rules(Box<str>),
    /// The records of activations.
    Records,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Absent,
    /// Somebody is reading it.
    Claimed,
    Here,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Absent {
    /// By path. Empty once all are here.
    all: Vec<(Expected, State)>,
    /// How many are not here.
    left: usize,
    notes: RefCell<Vec<Sought>>,
}

/// The path of an entity.
pub(super) fn path(name: &FullName) -> String {
    format!("{name}")
}

impl Absent {
    pub fn new(mut all: Vec<Expected>) -> Self {
        all.sort_by(|a, b| a.path.cmp(&b.path));
        Self {
            left: all.len(),
            all: all.into_iter().map(|e| (e, State::Absent)).collect(),
            notes: RefCell::default(),
        }
    }

    /// How many are to come.
    pub fn left(&self) -> usize {
        self.left
    }

    pub fn iter(&self) -> impl Iterator<Item = &Expected> {
        let left = self.all.iter().filter(|(_, state)| *state != State::Here);
        left.map(|(expected, _)| expected)
    }

    fn place(&self, path: &str) -> Option<usize> {
        self.all
            .binary_search_by(|(expected, _)| (*expected.path).cmp(path))
            .ok()
    }

    /// The places of those that somebody seeks, and perhaps of others.
    fn range(&self, sought: &Sought) -> core::ops::Range<usize> {
        let below = |prefix: &str| {
            let first = self.all.partition_point(|(e, _)| *e.path < *prefix);
            let count = self.all[first..].partition_point(|(e, _)| e.path.starts_with(prefix));
            first..first + count
        };
        match sought {
            Sought::One(path) => match self.place(path) {
                Some(at) => at..at + 1,
                None => 0..0,
            },
            Sought::Below(prefix) => below(prefix),
            Sought::Rules(namespace) => below(&format!("{namespace}/")),
            Sought::Records => 0..0,
        }
    }

    fn is_sought(sought: &Sought, expected: &Expected) -> bool {
        expected.may_be_rule || !matches!(sought, Sought::Rules(_))
    }

    /// Whether any of what is sought is not here.
    pub fn lacks(&self, sought: &Sought) -> bool {
        let mut range = self.all[self.range(sought)].iter();
        self.left > 0
            && range
                .any(|(expected, state)| *state != State::Here && Self::is_sought(sought, expected))
    }

    /// The paths of up to `most` that are sought, and that nobody is reading: whoever asks reads them.
    pub fn claim(&mut self, sought: &Sought, most: usize) -> Vec<Box<str>> {
        let range = self.range(sought);
        let absent = self.all[range]
            .iter_mut()
            .filter(|(e, state)| *state == State::Absent && Self::is_sought(sought, e));
        absent
            .take(most)
            .map(|(expected, state)| {
                *state = State::Claimed;
                expected.path.clone()
            })
            .collect()
    }

    /// One is here, or is no longer expected; what was expected, if it was.
    pub fn end(&mut self, path: &str) -> Option<Expected> {
        if self.left == 0 {
            return None;
        }
        let at = self.place(path)?;
        let (expected, state) = &mut self.all[at];
        if *state == State::Here {
            return None;
        }
        *state = State::Here;
        let expected = expected.clone();
        self.left -= 1;
        if self.left == 0 {
            self.all = Vec::new();
        }
        Some(expected)
    }

    /// All of a namespace are no longer expected.
    pub fn end_namespace(&mut self, namespace: &str) -> Vec<Expected> {
        let mut ended = Vec::new();
        for at in self.range(&Sought::Below(format!("{namespace}/").into())) {
            let path = self.all.get(at).map(|(expected, _)| expected.path.clone());
            ended.extend(path.and_then(|path| self.end(&path)));
        }
        ended
    }

    /// Notes what somebody seeks, if it is not here.
    pub fn note(&self, sought: impl FnOnce() -> Sought) {
        if self.left == 0 {
            return;
        }
        let sought = sought();
        let mut notes = self.notes.borrow_mut();
        if self.lacks(&sought) && !notes.contains(&sought) {
            notes.push(sought);
        }
    }

    /// Notes what has to be here so that this entity is complete.
    pub fn note_for(&self, entity: &Entity) {
        if let Entity::Trigger(trigger) = entity {
            self.note(|| Sought::Rules(trigger.common.name.namespace.as_str().into()));
        }
    }

    pub fn has_notes(&self) -> bool {
        self.left > 0 && !self.notes.borrow().is_empty()
    }

    pub fn take_notes(&mut self) -> Vec<Sought> {
        core::mem::take(self.notes.get_mut())
    }
}
