//! The entities that a platform has, and has not read yet since it was started again: their names are known, and about what they
//! take. So it need not read them all before it answers.
//!
//! What must hold: nothing is answered or changed as if one of these did not exist. Who looks for one that is absent leaves a note
//! (`Absent::note`), and as long as there are notes nothing is changed; the request is put off until what was sought is here.

use super::Entity;
use crate::name::FullName;
use alloc::{boxed::Box, format, string::String, vec::Vec};
use core::cell::RefCell;

/// Entities that are to come: their paths (`namespace/[package/]name`) side by side in order, because a start makes this list of all
/// that there are.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    paths: String,
    all: Vec<One>,
    /// Bytes of all documents, about.
    bytes: usize,
}

#[derive(Clone, Copy, Debug)]
struct One {
    /// Where its path ends; it begins where the one before ends.
    end: usize,
    /// Bytes of its document, about. What code takes that is kept apart is known when it is here.
    bytes: u32,
    /// It may be a rule. Which trigger has which rules only the rules say, so a trigger is complete when all of them are here.
    may_be_rule: bool,
    state: State,
}

impl Expected {
    /// One more, which comes after the last by its path; else nothing is done.
    pub fn push(&mut self, path: &str, bytes: u32, may_be_rule: bool) {
        let in_order = self.all.is_empty() || self.path(self.all.len() - 1) < path;
        if in_order {
            self.paths.push_str(path);
            self.bytes += bytes as usize;
            self.all.push(One {
                end: self.paths.len(),
                bytes,
                may_be_rule,
                state: State::Absent,
            });
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    fn path(&self, at: usize) -> &str {
        let begin = match at {
            0 => 0,
            at => self.all[at - 1].end,
        };
        &self.paths[begin..self.all[at].end]
    }

    /// The first place from `from` on of which something does not hold that holds of those before.
    fn partition_point(&self, from: usize, holds: impl Fn(&str) -> bool) -> usize {
        let (mut low, mut high) = (from, self.all.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match holds(self.path(middle)) {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        low
    }
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
    /// Empty once all are here.
    expected: Expected,
    /// How many are not here.
    left: usize,
    notes: RefCell<Vec<Sought>>,
}

/// The path of an entity.
pub(super) fn path(name: &FullName) -> String {
    format!("{name}")
}

impl Absent {
    pub fn new(expected: Expected) -> Self {
        Self {
            left: expected.len(),
            expected,
            notes: RefCell::default(),
        }
    }

    /// How many are to come.
    pub fn left(&self) -> usize {
        self.left
    }

    /// Bytes that all of them take, about.
    pub fn bytes(&self) -> usize {
        self.expected.bytes
    }

    /// The same of those of a namespace.
    pub fn bytes_of(&self, namespace: &str) -> usize {
        let range = self.range(&Sought::Below(format!("{namespace}/").into()));
        let absent = self.expected.all[range].iter();
        let absent = absent.filter(|one| one.state != State::Here);
        absent.map(|one| one.bytes as usize).sum()
    }

    /// The places of those that somebody seeks, and perhaps of others.
    fn range(&self, sought: &Sought) -> core::ops::Range<usize> {
        let below = |prefix: &str| {
            let first = self.expected.partition_point(0, |path| path < prefix);
            let end = self
                .expected
                .partition_point(first, |path| path.starts_with(prefix));
            first..end
        };
        match sought {
            Sought::One(wanted) => {
                let at = self.expected.partition_point(0, |path| *path < **wanted);
                let is_there = at < self.expected.len() && self.expected.path(at) == &**wanted;
                at..at + usize::from(is_there)
            }
            Sought::Below(prefix) => below(prefix),
            Sought::Rules(namespace) => below(&format!("{namespace}/")),
            Sought::Records => 0..0,
        }
    }

    fn is_sought(sought: &Sought, one: &One) -> bool {
        one.may_be_rule || !matches!(sought, Sought::Rules(_))
    }

    /// Whether any of what is sought is not here.
    pub fn lacks(&self, sought: &Sought) -> bool {
        let mut range = self.expected.all[self.range(sought)].iter();
        self.left > 0 && range.any(|one| one.state != State::Here && Self::is_sought(sought, one))
    }

    /// The paths of up to `most` that are sought, and that nobody is reading: whoever asks reads them.
    pub fn claim(&mut self, sought: &Sought, most: usize) -> Vec<Box<str>> {
        let mut claimed = Vec::new();
        for at in self.range(sought) {
            if claimed.len() == most {
                break;
            }
            let one = &mut self.expected.all[at];
            if one.state == State::Absent && Self::is_sought(sought, one) {
                one.state = State::Claimed;
                claimed.push(self.expected.path(at).into());
            }
        }
        claimed
    }

    /// One is here, or is no longer expected; whether it was.
    pub fn end(&mut self, path: &str) -> bool {
        let place = self.range(&Sought::One(path.into()));
        let Some(one) = self.expected.all[place].first_mut() else {
            return false;
        };
        if one.state == State::Here {
            return false;
        }
        one.state = State::Here;
        self.expected.bytes -= one.bytes as usize;
        self.left -= 1;
        if self.left == 0 {
            self.expected = Expected::default();
        }
        true
    }

    /// All of a namespace are no longer expected; their paths.
    pub fn end_namespace(&mut self, namespace: &str) -> Vec<Box<str>> {
        let range = self.range(&Sought::Below(format!("{namespace}/").into()));
        let mut ended: Vec<Box<str>> = range.map(|at| self.expected.path(at).into()).collect();
        ended.retain(|path| self.end(path));
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
