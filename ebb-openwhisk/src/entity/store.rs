//! The entities of all namespaces, bounded in number and bytes. An entity is immutable and shared: whoever holds one goes
//! on with it while the store gets another.
//!
//! Some may be [`absent`](super::absent): kept elsewhere, and on their way. They count, and who looks for one has to come again
//! ([`Store::take_missed`]).

use super::absent::{self, Absent, Expected, Sought};
use super::{Action, Api, Entity, Package};
use crate::failure::{Failure, Result};
use crate::gateway;
use crate::name::FullName;
use crate::parameters::Parameters;
use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    string::String,
    sync::Arc,
    vec::Vec,
};
use core::{borrow::Borrow, ops::Bound};
use hashbrown::{HashMap, HashSet};

/// The entities.
#[derive(Debug)]
pub struct Store {
    entities: BTreeSet<Named>,
    bytes: usize,
    of_namespaces: HashMap<String, usize>,
    most_bytes: usize,
    most_entities: usize,
    revision: u64,
    generation: u64,
    /// What was put in or taken out since that was asked last, if somebody asks.
    changed: Option<Vec<FullName>>,
    /// Revisions of actions that ended since that was asked last.
    ended: HashSet<u64>,
    /// Triggers by the time when their alarm is due, in epoch milliseconds.
    alarms: BTreeSet<(u64, FullName)>,
    absent: Absent,
    /// Of triggers that are to come, their rules that are here: the action of each, and whether it is active.
    rules: HashMap<FullName, BTreeMap<FullName, (FullName, bool)>>,
    /// Lists of annotations that came last: most actions have one of a few.
    usual: VecDeque<Parameters>,
}

/// An action as a caller reaches it, through bindings.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The action.
    pub action: Arc<Action>,
    /// Parameters: package < binding < action.
    pub parameters: Parameters,
    /// The binding that it was reached through.
    pub binding: Option<FullName>,
    /// Whether its package is published.
    pub published: bool,
}

/// An entity, found by the name that it has.
#[derive(Debug)]
struct Named(Entity);

impl Borrow<FullName> for Named {
    fn borrow(&self) -> &FullName {
        &self.0.common().name
    }
}

impl Ord for Named {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        let (own, other): (&FullName, &FullName) = (self.borrow(), other.borrow());
        own.cmp(other)
    }
}

impl PartialOrd for Named {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Named {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Named {}

/// When the alarm of a trigger is due, if it has one.
fn due_ms(entity: &Entity) -> Option<u64> {
    match entity {
        Entity::Trigger(trigger) => trigger.alarm.as_ref()?.due_ms(),
        _ => None,
    }
}

impl Store {
    /// A store for so many bytes of entities.
    pub fn new(most_bytes: usize) -> Self {
        Self {
            entities: BTreeSet::new(),
            bytes: 0,
            of_namespaces: HashMap::new(),
            most_bytes,
            most_entities: 100_000,
            revision: 0,
            generation: 0,
            changed: None,
            ended: HashSet::new(),
            alarms: BTreeSet::new(),
            absent: Absent::default(),
            rules: HashMap::new(),
            usual: VecDeque::new(),
        }
    }

    /// From now on these are the entities that are to come ([`Store::arrive`]).
    pub fn expect(&mut self, expected: Expected) {
        self.generation += 1;
        self.absent = Absent::new(expected);
    }

    /// Grows with each change: what was found before one is to be looked for again.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// How many entities are to come.
    pub fn expected(&self) -> usize {
        self.absent.left()
    }

    /// Whether any of what is sought is to come.
    pub fn lacks(&self, sought: &Sought) -> bool {
        self.absent.lacks(sought)
    }

    /// The paths of up to `most` entities that are to come and that nobody is reading: whoever asks brings them.
    pub fn claim(&mut self, sought: &Sought, most: usize) -> Vec<alloc::boxed::Box<str>> {
        self.absent.claim(sought, most)
    }

    /// Something was looked for that is not here: nothing may be changed or answered for it.
    pub fn has_missed(&self) -> bool {
        self.absent.has_notes()
    }

    /// What was looked for since this was asked the last time, and is to come.
    pub fn take_missed(&mut self) -> Vec<Sought> {
        self.absent.take_notes()
    }

    /// An entity has come, for which there is room: it had it before. One that is no longer expected is let go: its namespace was
    /// removed. Whether it was expected.
    pub fn arrive(&mut self, mut entity: Entity) -> bool {
        let name = entity.common().name.clone();
        if !self.give_up(&absent::path(&name)) {
            return false;
        }
        match &mut entity {
            Entity::Trigger(trigger) => {
                if let Some(rules) = self.rules.remove(&name) {
                    Arc::make_mut(trigger).rules = rules;
                }
            }
            Entity::Rule(rule) => {
                let link = (rule.action.clone(), rule.active);
                match self.held(&rule.trigger).cloned() {
                    Some(Entity::Trigger(mut trigger)) => {
                        Arc::make_mut(&mut trigger).rules.insert(name.clone(), link);
                        // It is in the place of itself.
                        self.entities.replace(Named(Entity::Trigger(trigger)));
                    }
                    _ => {
                        let rules = self.rules.entry_ref(&rule.trigger).or_default();
                        rules.insert(name.clone(), link);
                    }
                }
            }
            Entity::Action(_) | Entity::Package(_) | Entity::Api(_) => {}
        }
        if let Entity::Action(action) = &mut entity {
            self.share(&mut Arc::make_mut(action).common.annotations);
        }
        if self.absent.left() == 0 {
            self.rules = HashMap::new();
            self.usual = VecDeque::new();
        }
        self.put(name, entity);
        true
    }

    /// Makes a list the same as an equal one that came before.
    fn share(&mut self, list: &mut Parameters) {
        /// So many are remembered.
        const USUAL: usize = 8;
        match self.usual.iter().find(|usual| *usual == list) {
            Some(usual) => list.share(usual),
            None => {
                self.usual.truncate(USUAL - 1);
                self.usual.push_front(list.clone());
            }
        }
    }

    /// An entity that was expected will not come; whether it was.
    pub fn give_up(&mut self, path: &str) -> bool {
        self.absent.end(path)
    }

    /// From now on [`Store::take_changed`] tells what has changed.
    pub fn follow_changes(&mut self) {
        self.changed.get_or_insert_default();
    }

    /// The names of what was put in or taken out since this was asked the last time, in that order.
    pub fn take_changed(&mut self) -> Vec<FullName> {
        self.changed
            .as_mut()
            .map(core::mem::take)
            .unwrap_or_default()
    }

    /// Gives no number below this one any more.
    pub fn begin_revisions(&mut self, at: u64) {
        self.revision = self.revision.max(at);
    }

    /// All entities, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Entity> {
        self.entities.iter().map(|Named(entity)| entity)
    }

    /// A number that was not given before.
    pub fn next_revision(&mut self) -> u64 {
        self.revision += 1;
        self.revision
    }

    /// Bytes that are taken, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes that a namespace's take, about.
    pub fn bytes_of(&self, namespace: &str) -> usize {
        let here = self.of_namespaces.get(namespace).copied().unwrap_or(0);
        here + self.absent.bytes_of(namespace)
    }

    /// How many entities there are.
    pub fn len(&self) -> usize {
        self.entities.len() + self.absent.left()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The revisions of actions that were replaced or removed since this was asked the last time: a change costs what it changes,
    /// however many entities there are.
    pub fn take_ended(&mut self) -> HashSet<u64> {
        core::mem::take(&mut self.ended)
    }

    fn end_revision(&mut self, entity: &Entity) {
        if let Entity::Action(action) = entity {
            self.ended.insert(action.revision);
        }
    }

    /// The entity of that name.
    pub fn get(&self, name: &FullName) -> Option<&Entity> {
        let entity = self.held(name);
        match entity {
            Some(entity) => self.absent.note_for(entity),
            None => self.absent.note(|| Sought::One(absent::path(name).into())),
        }
        entity
    }

    /// The same if it is here, for what keeps it and answers nobody.
    pub fn held(&self, name: &FullName) -> Option<&Entity> {
        self.entities.get(name).map(|Named(entity)| entity)
    }

    /// Puts an entity in the place of any of its name.
    ///
    /// # Errors
    /// 503: no room, or it was decided upon without what is to come.
    pub fn insert(&mut self, entity: Entity) -> Result<()> {
        let name = entity.common().name.clone();
        let old = self.get(&name).map_or(0, Entity::size);
        if self.has_missed() {
            return Err(Failure::new(503, "It is still being read; try again."));
        }
        self.place(name.clone(), entity, old)?;
        self.note(&name);
        Ok(())
    }

    /// Puts it in the place of one of `old` bytes, or of none.
    fn place(&mut self, name: FullName, entity: Entity, old: usize) -> Result<()> {
        let bytes = self.bytes - old + entity.size();
        let number = self.len() + usize::from(old == 0);
        // An update that takes less is let through even where there is no room.
        let all = bytes + self.absent.bytes();
        if all > self.most_bytes && bytes > self.bytes {
            return Err(Failure::too_many_bytes(self.most_bytes));
        }
        if number > self.most_entities {
            return Err(Failure::too_many_entities(self.most_entities));
        }
        self.put(name, entity);
        Ok(())
    }

    fn put(&mut self, name: FullName, entity: Entity) {
        self.generation += 1;
        let size = entity.size();
        self.bytes += size;
        *self
            .of_namespaces
            .entry_ref(name.namespace.as_str())
            .or_default() += size;
        if let Some(due_ms) = due_ms(&entity) {
            self.alarms.insert((due_ms, name.clone()));
        }
        let revision = match &entity {
            Entity::Action(action) => Some(action.revision),
            _ => None,
        };
        if let Some(Named(old)) = self.entities.replace(Named(entity)) {
            self.bytes -= old.size();
            self.let_go(&name.namespace, old.size());
            self.forget_alarm(&old);
            self.end_revision(&old);
        }
        // It may be one that was replaced and comes back.
        if let Some(revision) = revision {
            self.ended.remove(&revision);
        }
    }

    /// Takes an entity out, but for what was decided upon without what is to come.
    pub fn remove(&mut self, name: &FullName) -> Option<Entity> {
        if self.has_missed() {
            return None;
        }
        let Named(entity) = self.entities.take(name)?;
        self.generation += 1;
        self.forget_alarm(&entity);
        self.end_revision(&entity);
        self.bytes -= entity.size();
        self.let_go(&name.namespace, entity.size());
        self.note(name);
        Some(entity)
    }

    fn note(&mut self, name: &FullName) {
        if let Some(changed) = &mut self.changed {
            changed.push(name.clone());
        }
    }

    /// An entity with an alarm has gone, unless the one in its place is due at the same time.
    fn forget_alarm(&mut self, gone: &Entity) {
        let Some(due) = due_ms(gone) else { return };
        let name = &gone.common().name;
        if self.held(name).and_then(due_ms) != Some(due) {
            self.alarms.remove(&(due, name.clone()));
        }
    }

    /// The triggers whose alarms are due, by the time, in epoch milliseconds.
    pub fn alarms(&self) -> impl Iterator<Item = (u64, &FullName)> {
        self.alarms.iter().map(|(due_ms, name)| (*due_ms, name))
    }

    /// Takes all of a namespace out.
    pub fn remove_namespace(&mut self, namespace: &str) {
        let names: Vec<FullName> = self
            .present(namespace)
            .map(|e| e.common().name.clone())
            .collect();
        for name in &names {
            self.remove(name);
        }
        for path in self.absent.end_namespace(namespace) {
            if let Ok(name) = FullName::parse(&path, "") {
                self.note(&name);
            }
        }
    }

    /// A namespace takes so many bytes less.
    fn let_go(&mut self, namespace: &str, bytes: usize) {
        if let Some(taken) = self.of_namespaces.get_mut(namespace) {
            *taken -= bytes;
            if *taken == 0 {
                self.of_namespaces.remove(namespace);
            }
        }
    }

    /// Bytes that a namespace's take, for a limit: whoever asks has to come again when all of them are here.
    pub fn exact_bytes_of(&self, namespace: &str) -> usize {
        self.note_namespace(namespace);
        self.bytes_of(namespace)
    }

    fn note_namespace(&self, namespace: &str) {
        self.absent
            .note(|| Sought::Below(alloc::format!("{namespace}/").into()));
    }

    /// The entities of a namespace by name, those in packages as well.
    pub fn namespace<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Entity> {
        self.note_namespace(namespace);
        self.present(namespace)
    }

    /// The same of those that are here, which is what is done to them by itself.
    pub fn present<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Entity> {
        let first = FullName::new(namespace, "");
        self.entities
            .range::<FullName, _>((Bound::Included(first), Bound::Unbounded))
            .map(|Named(entity)| entity)
            .take_while(move |entity| entity.common().name.namespace == namespace)
    }

    /// The actions of a package.
    pub fn in_package<'a>(
        &'a self,
        package: &'a FullName,
    ) -> impl Iterator<Item = &'a Arc<Action>> {
        self.absent
            .note(|| Sought::Below(alloc::format!("{package}/").into()));
        self.present(&package.namespace)
            .filter_map(move |entity| match entity {
                Entity::Action(action)
                    if action.common.name.package.as_ref() == Some(&package.name) =>
                {
                    Some(action)
                }
                _ => None,
            })
    }

    /// The APIs of a namespace, by name.
    pub fn apis<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Arc<Api>> {
        let first = FullName::packaged(namespace, gateway::PACKAGE, "");
        self.absent
            .note(|| Sought::Below(absent::path(&first).into()));
        // Nothing else has names of that package.
        self.entities
            .range::<FullName, _>((Bound::Included(&first), Bound::Unbounded))
            .map_while(move |Named(entity)| match entity {
                Entity::Api(api) if api.common.name.namespace == namespace => Some(api),
                _ => None,
            })
    }

    /// The entities of a namespace, the last changed first.
    pub fn newest<'a>(
        &'a self,
        namespace: &'a str,
        wanted: impl Fn(&Entity) -> bool,
    ) -> Vec<&'a Entity> {
        let mut all: Vec<&Entity> = self.namespace(namespace).filter(|e| wanted(e)).collect();
        all.sort_by_key(|e| core::cmp::Reverse(e.common().updated_ms));
        all
    }

    /// The package of that name.
    ///
    /// # Errors
    /// 404; 409 if the name is another entity's.
    pub fn package(&self, namespace: &str, name: &str) -> Result<&Arc<Package>> {
        match self.get(&FullName::new(namespace, name)) {
            Some(Entity::Package(package)) => Ok(package),
            Some(_) => Err(Failure::other_collection()),
            None => Err(Failure::no_entity()),
        }
    }

    /// The package of that name, if callers of the namespace `own` may read it, and the one that it stands for, if it is a binding. A binding
    /// is its owner's alone, and of no use without what it stands for.
    ///
    /// # Errors
    /// 404, 409: of one's own, nothing or something else has that name; 403: another's, which says nothing about what there is.
    pub fn package_for(
        &self,
        own: &str,
        name: &FullName,
    ) -> Result<(&Arc<Package>, Option<&Arc<Package>>)> {
        let readable = |name: &FullName| {
            let is_own = name.namespace == own;
            match self.package(&name.namespace, &name.name) {
                Ok(found) if is_own || found.common.publish && found.binding.is_none() => Ok(found),
                Err(failure) if is_own => Err(failure),
                _ => Err(Failure::forbidden(&alloc::format!("{name}"))),
            }
        };
        let package = readable(name)?;
        let original = package.binding.as_ref().map(readable).transpose();
        // It is the binding that does not open.
        let original = original.map_err(|failure| match failure.status {
            403 => Failure::forbidden(&alloc::format!("{name}")),
            _ => failure,
        })?;
        Ok((package, original))
    }

    /// The action of that name, in the package that its package stands for.
    ///
    /// # Errors
    /// 404; 409 if a name is another entity's.
    pub fn resolve(&self, name: &FullName) -> Result<Resolved> {
        let mut place = name.clone();
        let mut parameters = Parameters::default();
        let mut binding = None;
        let mut published = false;
        if let Some(package_name) = &name.package {
            let package_name = FullName::new(&name.namespace, package_name);
            // Who unpublishes a package takes it back from those who bound it.
            let (package, original) = self.package_for(&name.namespace, &package_name)?;
            published = package.common.publish && original.is_none();
            if let Some(original) = original {
                parameters = original.common.parameters.clone();
                let target = &original.common.name;
                place = FullName::packaged(&target.namespace, &target.name, &name.name);
                binding = Some(package_name);
            }
            parameters = parameters.merged(&package.common.parameters);
        }
        match self.get(&place) {
            Some(Entity::Action(action)) => Ok(Resolved {
                parameters: parameters.merged(&action.common.parameters),
                action: action.clone(),
                binding,
                published,
            }),
            Some(_) => Err(Failure::other_collection()),
            None => Err(Failure::no_entity()),
        }
    }

    /// Whether callers of the namespace `own` may read and call an action of that name, if there is one: all that is in a package that
    /// they may read, else their own. Source: `implicitRights` (`ActionCollection.scala`).
    ///
    /// # Errors
    /// As [`Store::package_for`].
    pub fn check_access(&self, own: &str, name: &FullName) -> Result<()> {
        match &name.package {
            Some(package) => {
                let package = FullName::new(&name.namespace, package);
                self.package_for(own, &package).map(drop)
            }
            None if name.namespace == own => Ok(()),
            None => Err(Failure::forbidden(&alloc::format!("{name}"))),
        }
    }

    /// The action of that name, if callers of the namespace `own` may read and call it.
    ///
    /// # Errors
    /// 404; 403, which says no more about what there is than a published package does; 409 as [`Store::resolve`].
    pub fn resolve_for(&self, own: &str, name: &FullName) -> Result<Resolved> {
        let resolved = self.resolve(name);
        if name.namespace == own {
            return resolved;
        }
        match resolved {
            Ok(resolved) if resolved.published => Ok(resolved),
            _ => {
                let published = name.package.as_ref().is_some_and(|package| {
                    self.package(&name.namespace, package)
                        .is_ok_and(|p| p.common.publish && p.binding.is_none())
                });
                if published {
                    return Err(Failure::no_entity());
                }
                Err(Failure::forbidden(&alloc::format!("{name}")))
            }
        }
    }
}
