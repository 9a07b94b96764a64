//! Names in the memory of one node: what a [`Directory`](super::Directory) has when it is told nothing else.
//!
//! What must hold: epochs are above all that an earlier directory can have given, as long as the clock of this machine goes on and there are
//! fewer than a million claims a second.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, VecDeque},
    string::String,
    sync::Arc,
    vec::Vec,
};
use core::{future::ready, time::Duration};

use ebb_runtime::time::{Instant, sleep, unix_time};
use spin::Mutex;

use super::store::{Changes, NameStore, Pending};
use super::types::{Away, Change, Owner, Refusal, Renewal};

struct Entry {
    owner: Owner,
    until_ns: u64,
}

/// The directory without clock and connections.
struct Names {
    entries: BTreeMap<String, Entry>,
    last_epoch: u64,
    /// Goes up with every change.
    version: u64,
}

/// Names that there may be.
const MOST: usize = 100_000;
/// How often a watcher looks for changes.
const LOOK: Duration = Duration::from_millis(20);

impl Names {
    fn new(last_epoch: u64) -> Self {
        Self {
            entries: BTreeMap::new(),
            last_epoch,
            version: 0,
        }
    }

    /// Leases that have run out are no more.
    fn expire(&mut self, now_ns: u64) {
        let before = self.entries.len();
        self.entries.retain(|_, entry| entry.until_ns > now_ns);
        self.version += u64::from(self.entries.len() != before);
    }

    fn claim(
        &mut self,
        now_ns: u64,
        name: String,
        node: u64,
        value: String,
        lease_ns: u64,
    ) -> Result<Owner, Refusal> {
        self.expire(now_ns);
        if let Some(entry) = self.entries.get(&name) {
            return Err(Refusal::Taken(entry.owner.clone()));
        }
        if self.entries.len() >= MOST {
            return Err(Refusal::Full);
        }
        self.last_epoch += 1;
        self.version += 1;
        let owner = Owner::new(node, value, self.last_epoch);
        let entry = Entry {
            owner: owner.clone(),
            until_ns: now_ns + lease_ns,
        };
        self.entries.insert(name, entry);
        Ok(owner)
    }

    fn renew(&mut self, now_ns: u64, name: &str, epoch: u64, lease_ns: u64) -> bool {
        self.expire(now_ns);
        let entry = self.entries.get_mut(name);
        let Some(entry) = entry.filter(|entry| entry.owner.epoch == epoch) else {
            return false;
        };
        entry.until_ns = now_ns + lease_ns;
        true
    }

    fn release(&mut self, name: &str, epoch: u64) {
        let is_its = |entry: &Entry| entry.owner.epoch == epoch;
        if self.entries.get(name).is_some_and(is_its) {
            self.entries.remove(name);
            self.version += 1;
        }
    }

    /// What has changed of the names with this beginning since `seen`, which becomes what there is.
    fn changes(&self, beginning: &str, seen: &mut BTreeMap<String, u64>) -> Vec<Change> {
        let gone = |name: &&String| !self.entries.contains_key(*name);
        let gone: Vec<String> = seen.keys().filter(gone).cloned().collect();
        let mut changes = Vec::new();
        for name in gone {
            seen.remove(&name);
            changes.push(Change { name, owner: None });
        }
        let there = self.entries.range(String::from(beginning)..);
        for (name, entry) in there.take_while(|(name, _)| name.starts_with(beginning)) {
            if seen.get(name) != Some(&entry.owner.epoch) {
                seen.insert(name.clone(), entry.owner.epoch);
                changes.push(Change {
                    name: name.clone(),
                    owner: Some(entry.owner.clone()),
                });
            }
        }
        changes
    }
}

/// A directory of its own, without anybody else. Clones are the same one.
#[derive(Clone)]
pub struct Embedded(Arc<Mutex<Names>>);

impl Default for Embedded {
    fn default() -> Self {
        let started_us = u64::try_from(unix_time().as_micros()).unwrap_or(0);
        Self(Arc::new(Mutex::new(Names::new(started_us))))
    }
}

fn now_ns() -> u64 {
    Instant::now().as_nanos()
}

fn nanos(lease: Duration) -> u64 {
    u64::try_from(lease.as_nanos()).unwrap_or(u64::MAX)
}

fn done<'a, T: 'a>(value: T) -> Pending<'a, T> {
    Box::pin(ready(value))
}

impl NameStore for Embedded {
    fn claim(
        &self,
        name: String,
        node: u64,
        value: String,
        lease: Duration,
    ) -> Pending<'_, Result<Owner, Refusal>> {
        let mut names = self.0.lock();
        done(names.claim(now_ns(), name, node, value, nanos(lease)))
    }

    fn renew(&self, name: String, epoch: u64, lease: Duration) -> Pending<'_, Renewal> {
        let mut names = self.0.lock();
        done(match names.renew(now_ns(), &name, epoch, nanos(lease)) {
            true => Renewal::Held,
            false => Renewal::Lost,
        })
    }

    fn release(&self, name: String, epoch: u64) -> Pending<'_, ()> {
        self.0.lock().release(&name, epoch);
        done(())
    }

    fn owner(&self, name: String) -> Pending<'_, Result<Option<Owner>, Away>> {
        let mut names = self.0.lock();
        names.expire(now_ns());
        done(Ok(names
            .entries
            .get(&name)
            .map(|entry| entry.owner.clone())))
    }

    fn watch(&self, beginning: String) -> Box<dyn Changes> {
        Box::new(Watched {
            names: Arc::clone(&self.0),
            beginning,
            seen: BTreeMap::new(),
            version: None,
            waiting: VecDeque::new(),
        })
    }
}

/// What somebody watches.
struct Watched {
    names: Arc<Mutex<Names>>,
    beginning: String,
    /// What has been told, with its epochs.
    seen: BTreeMap<String, u64>,
    version: Option<u64>,
    waiting: VecDeque<Change>,
}

impl Watched {
    fn look(&mut self) {
        let mut names = self.names.lock();
        names.expire(now_ns());
        if self.version.replace(names.version) != Some(names.version) {
            self.waiting
                .extend(names.changes(&self.beginning, &mut self.seen));
        }
    }
}

impl Changes for Watched {
    fn next(&mut self) -> Pending<'_, Option<Change>> {
        Box::pin(async {
            loop {
                if let Some(change) = self.waiting.pop_front() {
                    return Some(change);
                }
                self.look();
                if self.waiting.is_empty() {
                    sleep(LOOK).await;
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn claim(names: &mut Names, now_s: u64, node: u64) -> Result<u64, Option<u64>> {
        let claimed = names.claim(
            now_s * SECOND,
            "name".into(),
            node,
            String::new(),
            10 * SECOND,
        );
        claimed
            .map(|owner| owner.epoch)
            .map_err(|refusal| match refusal {
                Refusal::Taken(owner) => Some(owner.node().0),
                _ => None,
            })
    }

    #[test]
    fn a_name_has_one_owner_until_its_lease_runs_out_and_the_next_has_a_higher_epoch() {
        let mut names = Names::new(5);
        let first = claim(&mut names, 0, 1).expect("it is free");
        assert_eq!(first, 6);
        assert_eq!(claim(&mut names, 9, 2), Err(Some(1)));
        // Also not by its owner, which may have started anew.
        assert_eq!(claim(&mut names, 9, 1), Err(Some(1)));
        assert!(names.renew(9 * SECOND, "name", first, 10 * SECOND));
        assert_eq!(claim(&mut names, 18, 2), Err(Some(1)));
        let second = claim(&mut names, 19, 2).expect("it has run out");
        assert!(second > first);
        assert!(!names.renew(19 * SECOND, "name", first, 10 * SECOND));
        names.release("name", first);
        assert_eq!(claim(&mut names, 20, 1), Err(Some(2)));
        names.release("name", second);
        assert!(claim(&mut names, 20, 1).is_ok_and(|third| third > second));
    }

    #[test]
    fn a_watcher_is_told_what_there_is_and_each_change_of_names_with_its_beginning() {
        let mut names = Names::new(0);
        let mut seen = BTreeMap::new();
        let put = |names: &mut Names, name: &str, now_ns: u64| {
            let _ = names.claim(now_ns, name.into(), 1, String::new(), 10);
        };
        put(&mut names, "a/1", 0);
        put(&mut names, "a/2", 5);
        put(&mut names, "b", 0);
        let told = |names: &Names, seen: &mut BTreeMap<String, u64>| {
            let changes = names.changes("a/", seen);
            let tell = |c: Change| (c.name, c.owner.is_some());
            changes.into_iter().map(tell).collect::<Vec<_>>()
        };
        assert_eq!(
            told(&names, &mut seen),
            [("a/1".into(), true), ("a/2".into(), true)]
        );
        assert_eq!(told(&names, &mut seen), []);
        names.expire(10);
        assert_eq!(told(&names, &mut seen), [("a/1".into(), false)]);
        // Gone and taken again between two looks.
        names.expire(15);
        put(&mut names, "a/2", 15);
        assert_eq!(told(&names, &mut seen), [("a/2".into(), true)]);
    }
}
