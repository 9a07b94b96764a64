//! The platform's state on its disk: opened and brought back at the start, kept from then on ([`keep`](crate::keep) has what is on the
//! disk).
//!
//! What must hold:
//! - A request is answered when what it has changed is durable. What cannot be kept is taken back: the entity becomes what the disk has
//!   of it, and the answer is 503.
//! - Records trail by [`TRAIL`] at most, unless they are waited for.

use alloc::{format, string::String, sync::Arc, vec::Vec};
use core::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use ebb::platform::Environment;
use ebb::time::{Instant, sleep};
use ebb::{EbbRef, JoinHandle, println, spawn};
use ebb_block::Disks;
use ebb_openwhisk::entity::{Entity, absent::Sought};
use ebb_openwhisk::failure::Failure;
use ebb_openwhisk::http::Response;
use ebb_openwhisk::name::FullName;
use ebb_openwhisk::namespaces::Namespace;
use ebb_openwhisk::runtimes::Runtimes;
use ebb_openwhisk::{Controller, Step};
use ebb_store::Error;
use hashbrown::HashMap;

use crate::books::{Books, NAMESPACE};
use crate::keep::{Changed, Keeper, bring_back};
use crate::key::random_key;
use crate::options::ServiceOptions;

/// By how much records may trail.
pub const TRAIL: Duration = Duration::from_millis(100);

/// Opens the platform's disk, brings back what it has, and keeps what changes from now on. `None` where nothing is kept.
///
/// # Errors
/// A text that says what is wrong with the disk, and what to do.
pub(crate) async fn open(options: &ServiceOptions, id: [u8; 16]) -> Result<Option<State>, String> {
    let disks = EbbRef::<dyn Disks>::get();
    if disks.count() == 0 {
        return Ok(None);
    }
    let place = disk_name(0);
    let wrong = |why: String| {
        format!("the state on {place} cannot be used: {why}; --ephemeral starts without it")
    };
    let begun = Instant::now();
    let device = disks.open(0).map_err(|error| wrong(format!("{error}")))?;
    let (keeper, writer, damage) = Keeper::open(device, id).await.map_err(wrong)?;
    spawn(writer.run());
    let books = EbbRef::<Books>::get();
    let runtimes = books.controller(|c| c.runtimes().clone());
    let mut restored = keeper.restore().await.map_err(wrong)?;
    let (entities, records) = (restored.expected.len(), restored.records);
    // What has not changed since it was made is not kept.
    let guest_changed = restored
        .namespaces
        .iter()
        .any(|(name, _)| name == NAMESPACE);
    books.controller(|c| bring_back(c, &mut restored));
    for lost in damage.iter().chain(&restored.lost) {
        tell_damage(&place, lost);
    }
    let keeper = books.keep(keeper, options.strict_records);
    let key = match (options.auth, restored.key) {
        (Some(given), _) => Some(String::from(given)),
        (None, Some(kept)) => {
            let opens = |c: &mut Controller| c.namespaces_mut().opens(NAMESPACE, &kept);
            let is_rotated = guest_changed && !books.controller(opens);
            (!is_rotated).then_some(kept)
        }
        // It was rotated before one was drawn.
        (None, None) if guest_changed => None,
        (None, None) => {
            let drawn = random_key();
            keeper.keep_key(&drawn).await.map_err(wrong)?;
            Some(drawn)
        }
    };
    books.tell_weights();
    spawn(keep_records());
    // Only a file can be taken away so.
    let forget = match place.starts_with("disk ") {
        true => String::new(),
        false => format!("; `rm {place}` forgets them"),
    };
    Ok(Some(State {
        key,
        text: format!("{place}: {entities} entities and {records} records{forget}"),
        loaded: spawn(load(place, runtimes, begun)),
    }))
}

/// What people call a disk: its file, where the runner or the variable of a process says so.
pub fn disk_name(number: usize) -> String {
    let named = EbbRef::<dyn Environment>::get().option("disk");
    let mut files = named.unwrap_or_default().split(';');
    // Settings follow a comma.
    let file = files.nth(number).and_then(|file| file.split(',').next());
    match file.filter(|file| !file.is_empty()) {
        Some(file) => file.into(),
        None => format!("disk {number}"),
    }
}

fn tell_damage(place: &str, what: &str) {
    println!("invoker: damaged on {place}, and left as it is: {what}");
}

/// Reads entities and records, while requests are answered. What came of it, for people.
async fn load(place: String, runtimes: Runtimes, begun: Instant) -> String {
    let books = EbbRef::<Books>::get();
    let Some(keeper) = books.keeper() else {
        return String::new();
    };
    let loaded = keeper.load(books, &runtimes).await;
    for lost in &loaded.lost {
        tell_damage(&place, lost);
    }
    format!(
        "{} entities and {} records were read within {} ms",
        loaded.entities,
        loaded.records,
        begun.elapsed().as_millis()
    )
}

/// Ends when what a request has looked for is here.
pub(crate) async fn bring(missed: Vec<Sought>) {
    if let Some(keeper) = EbbRef::<Books>::get().keeper() {
        keeper.bring(missed).await;
    }
}

/// What was brought back.
pub(crate) struct State {
    /// The key of the user `guest`; `None` if it was given another one, of which there is a hash only.
    pub(crate) key: Option<String>,
    /// For people.
    pub(crate) text: String,
    /// Ends when everything is read, and says so.
    pub(crate) loaded: JoinHandle<String>,
}

/// Keeps records while the platform runs.
async fn keep_records() {
    loop {
        sleep(TRAIL).await;
        if let Err(error) = flush_records().await {
            static TOLD: AtomicBool = AtomicBool::new(false);
            if !TOLD.swap(true, Ordering::Relaxed) {
                println!("invoker: records of activations cannot be kept: {error}");
            }
        }
    }
}

/// Keeps the records that have come so far.
///
/// # Errors
/// That of the disk.
pub(crate) async fn flush_records() -> Result<(), Error> {
    let books = EbbRef::<Books>::get();
    let Some(keeper) = books.keeper() else {
        return Ok(());
    };
    let changes = books.controller(|c| c.activations_mut().take_changes());
    keeper.keep_records(changes).await
}

/// Changes entities; done when that is durable.
///
/// # Errors
/// 503: it could not be kept, and was taken back.
pub(crate) async fn change<R>(f: impl FnOnce(&mut Controller) -> R) -> Result<R, Failure> {
    let books = EbbRef::<Books>::get();
    let (result, changed) = books.controller(|c| {
        let result = f(c);
        (result, books.keeper().and_then(|keeper| keeper.changed(c)))
    });
    if let Some(changed) = changed {
        durable(changed).await?;
    }
    Ok(result)
}

/// Makes a change durable, or takes it back, in a task of its own: a client that goes away takes nothing back.
async fn durable(changed: Changed) -> Result<(), Failure> {
    let error = match spawn(commit(changed)).await {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => error,
        Err(_) => Error::Closed,
    };
    let why = match error {
        Error::Full => "the disk is full; deleting works, and makes room".into(),
        error => format!("{error}"),
    };
    let text = format!("The change cannot be kept: {why}.");
    Err(Failure::new(503, text))
}

/// The answer to a request that has changed entities, when that is durable: the one it was given, or that the change was taken back.
pub(crate) async fn answered(changed: Changed, step: Step) -> Step {
    let Err(failure) = durable(changed).await else {
        return step;
    };
    let id = EbbRef::<Books>::get().controller(Controller::new_id);
    Step::Respond(Response::failure(&failure, &id))
}

/// Makes a change durable, or takes it back.
///
/// # Errors
/// It was taken back.
pub(crate) async fn commit(changed: Changed) -> Result<(), Error> {
    let books = EbbRef::<Books>::get();
    let Some(keeper) = books.keeper() else {
        return Ok(());
    };
    let Err((failed, error)) = keeper.commit(changed).await else {
        return Ok(());
    };
    let runtimes = books.controller(|c| c.runtimes().clone());
    for (name, kept) in &failed.namespaces {
        let before = keeper.kept_namespace(name).await.ok().flatten();
        books.controller(|c| {
            let now = c.namespaces().get(name).map(Namespace::to_kept);
            // Else it was changed again.
            if now == *kept {
                c.namespaces_mut().take_back(name, before.as_ref());
            }
        });
    }
    for (name, failed) in &failed.entities {
        let kept = keeper.kept(name, &runtimes).await;
        books.controller(|c| {
            // Else it was changed again, and that will be kept or taken back by itself.
            if is_same(c.store().held(name), failed.as_ref()) {
                take_back(c, name, kept);
            }
        });
    }
    Err(error)
}

/// Whether two are one entity, unchanged.
fn is_same(now: Option<&Entity>, then: Option<&Entity>) -> bool {
    match (now, then) {
        (Some(Entity::Action(now)), Some(Entity::Action(then))) => Arc::ptr_eq(now, then),
        (Some(Entity::Package(now)), Some(Entity::Package(then))) => Arc::ptr_eq(now, then),
        (Some(Entity::Trigger(now)), Some(Entity::Trigger(then))) => Arc::ptr_eq(now, then),
        (Some(Entity::Rule(now)), Some(Entity::Rule(then))) => Arc::ptr_eq(now, then),
        (Some(Entity::Api(now)), Some(Entity::Api(then))) => Arc::ptr_eq(now, then),
        (None, None) => true,
        _ => false,
    }
}

/// Makes an entity what the disk has of it.
fn take_back(controller: &mut Controller, name: &FullName, kept: Option<Entity>) {
    let store = controller.store_mut();
    // Only its rules know which of them are a trigger's.
    match (kept, store.held(name).cloned()) {
        (Some(Entity::Trigger(mut kept)), Some(Entity::Trigger(now))) => {
            Arc::make_mut(&mut kept).rules = now.rules.clone();
            let _ = store.insert(Entity::Trigger(kept));
        }
        (Some(kept), _) => {
            let _ = store.insert(kept);
        }
        (None, _) => {
            store.remove(name);
        }
    }
    let rules = store
        .present(&name.namespace)
        .filter_map(|entity| match entity {
            Entity::Rule(rule) => Some((
                rule.common.name.clone(),
                rule.trigger.clone(),
                rule.action.clone(),
                rule.active,
            )),
            _ => None,
        });
    let mut of_triggers: HashMap<FullName, Vec<_>> = HashMap::new();
    for (rule, trigger, action, active) in rules {
        of_triggers
            .entry(trigger)
            .or_default()
            .push((rule, (action, active)));
    }
    let triggers: Vec<_> = store
        .present(&name.namespace)
        .filter_map(|entity| match entity {
            Entity::Trigger(trigger) => Some(Arc::clone(trigger)),
            _ => None,
        })
        .collect();
    for mut trigger in triggers {
        let rules = of_triggers.remove(&trigger.common.name).unwrap_or_default();
        let rules = rules.into_iter().collect();
        if trigger.rules != rules {
            Arc::make_mut(&mut trigger).rules = rules;
            let _ = store.insert(Entity::Trigger(trigger));
        }
    }
    store.take_changed();
}
