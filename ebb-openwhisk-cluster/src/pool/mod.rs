//! Scheduler mode: containers that ask schedulers for activations.
//!
//! A container here is a promise of an instance: memory that is set aside, and a task that fetches activations one after the other
//! and gives them to the engine, which has an instance for each. So it is there as soon as it is asked for. What others see of it is what
//! `core/invoker/.../containerpool/v2/FunctionPullingContainerPool.scala`, `FunctionPullingContainerProxy.scala` and
//! `ActivationClientProxy.scala` do.
//!
//! What must hold:
//! - A creation that can be read is acknowledged once: the container is there, or why not.
//! - Containers that ask or run take no more memory together than the invoker has; idle ones make room for others.
//! - An activation that was fetched ends in one completion, or is taken back by the scheduler.
//! - A container that has gone asks a last time and says so, and its keys go.

mod lanes;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use ebb::platform::Entropy;
use ebb::sync::Notify;
use ebb::time::Instant;
use ebb::{EbbRef, println, spawn, time};
use ebb_openwhisk::json::{Json, Members};

use self::lanes::Rest;
use crate::document::{Runnable, Unusable};
use crate::health::{Health, Probe, State};
use crate::invoker::{Invoker, epoch_ms};
use crate::keys::Keys;
use crate::message::container::{
    ContainerMessage, Creation, CreationError, Endpoint, Fetched, Resources, Subject,
};
use crate::seam::{Bus, Directory, Engine, Feed, Schedulers, Store, StoreError};

/// How containers live (`whisk.container-proxy.timeouts`).
#[derive(Clone, Debug)]
pub struct PoolSettings {
    /// `whisk.cluster.name`.
    pub cluster: String,
    /// How long one without activations goes on asking.
    pub pause_grace: Duration,
    /// How long it is kept idle then.
    pub idle: Duration,
    /// How much longer the last ones of an action are kept, for namespaces that may have some.
    pub keeping: Duration,
}

impl PoolSettings {
    /// Those of a configuration that says nothing.
    pub fn usual() -> Self {
        Self {
            cluster: "whisk".into(),
            pause_grace: Duration::from_secs(10),
            idle: Duration::from_secs(600),
            keeping: Duration::from_secs(600),
        }
    }
}

/// How often it is told what memory is left, and how long it is waited after a failure.
const SECOND: Duration = Duration::from_secs(1);
/// How often it is looked whether the invoker was enabled or disabled.
const LOOK: Duration = Duration::from_millis(50);
/// A scheduler that has nothing is asked again after so long at the earliest: it is to wait for an activation itself.
const PACE: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Asked for, and not there yet.
    InProgress,
    /// It asks for activations, or runs one.
    Busy,
    /// It is kept idle.
    Warm,
    /// It is about to go; its memory is free.
    Leaving,
}

struct Container {
    /// Its name in etcd and to schedulers.
    id: String,
    subject: Subject,
    /// The name of the action and its kind, for people.
    action: String,
    memory_mb: u64,
    concurrency: u32,
    phase: Cell<Phase>,
    used: Cell<Instant>,
    /// It has run an activation.
    is_warmed: Cell<bool>,
    /// It is to go when there is nothing for it any more.
    is_closing: Cell<bool>,
    /// What an idle one is wanted for.
    wanted: RefCell<Option<Box<Creation>>>,
    endpoint: RefCell<Endpoint>,
    wake: Notify,
}

impl Container {
    fn close(&self) {
        self.is_closing.set(true);
        self.wake.notify_one();
    }

    fn is_of(&self, namespace: &str, action: &str) -> bool {
        self.subject.namespace == namespace && self.subject.action.id() == action
    }
}

/// The containers of an invoker. It lives on one core.
pub struct Pool<B, S, E, D, Q> {
    invoker: Rc<Invoker<B, S, E>>,
    directory: D,
    schedulers: Q,
    keys: Keys,
    settings: PoolSettings,
    probe: Probe,
    containers: RefCell<BTreeMap<u64, Rc<Container>>>,
    numbers: Cell<u64>,
    health: RefCell<Health>,
    is_enabled: Cell<bool>,
    /// What is left is to be told without waiting for the second.
    is_news: Cell<bool>,
    left: Notify,
}

impl<B, S, E, D, Q> Pool<B, S, E, D, Q>
where
    B: Bus + 'static,
    S: Store + Clone + 'static,
    E: Engine + 'static,
    D: Directory + 'static,
    Q: Schedulers + 'static,
{
    /// None so far.
    pub fn new(
        invoker: Rc<Invoker<B, S, E>>,
        directory: D,
        schedulers: Q,
        settings: PoolSettings,
        probe: Probe,
    ) -> Rc<Self> {
        let keys = Keys::new(&settings.cluster, &invoker.settings().id);
        Rc::new(Self {
            invoker,
            directory,
            schedulers,
            keys,
            settings,
            probe,
            containers: RefCell::default(),
            numbers: Cell::new(0),
            health: RefCell::default(),
            is_enabled: Cell::new(false),
            is_news: Cell::new(true),
            left: Notify::default(),
        })
    }

    /// Does what schedulers ask for, until the feed is closed; ready when the last container has gone.
    pub async fn serve<F: Feed + 'static>(self: &Rc<Self>, feed: Rc<F>) {
        while let Some(payload) = feed.next().await {
            let (pool, feed) = (Rc::clone(self), Rc::clone(&feed));
            drop(spawn(async move {
                pool.take(&payload).await;
                feed.processed();
            }));
        }
        self.close_all();
        while !self.containers.borrow().is_empty() {
            self.left.notified().await;
        }
        // Each activation is counted until its last acknowledgement.
        self.invoker.all_ended().await;
    }

    fn close_all(&self) {
        for container in self.containers.borrow().values() {
            container.close();
        }
    }

    async fn take(self: &Rc<Self>, payload: &[u8]) {
        let counts = self.invoker.counts();
        match ContainerMessage::parse(payload) {
            Ok(ContainerMessage::Creation(creation)) => {
                counts.creations.increment();
                self.create(creation).await;
            }
            Ok(ContainerMessage::Deletion(subject)) => {
                counts.deletions.increment();
                self.delete(&subject);
            }
            Ok(ContainerMessage::WarmUp) => {}
            Err(why) => {
                counts.malformed.increment();
                println!(
                    "whisk-invoker: a message of {} bytes from a scheduler cannot be read: {why}",
                    payload.len()
                );
            }
        }
    }

    async fn create(self: &Rc<Self>, creation: Box<Creation>) {
        let subject = &creation.subject;
        let id = subject.action.id();
        let fetched = self.invoker.fetch(&id, subject.revision.as_deref()).await;
        let runnable = match fetched {
            Ok(runnable) => runnable,
            Err(why) => {
                self.invoker.counts().unusable.increment();
                println!("whisk-invoker: no container for the action {id}: {why}");
                let error = creation_error(&creation, &why);
                let text = why.outcome().result;
                let text = text.and_then(|r| r.to_object()?.get("error")?.to_text());
                let text = text.unwrap_or_else(|| format!("{why}"));
                return self.answer(&creation, Some((error, &text))).await;
            }
        };
        if !self.invoker.counts().is_enabled() || !self.is_enabled.get() {
            let text = format!("the invoker is shutting down, reschedule {id}");
            let error = CreationError::ShuttingDown;
            return self.answer(&creation, Some((error, &text))).await;
        }
        if let Some(idle) = self.idle(subject) {
            idle.phase.set(Phase::InProgress);
            *idle.wanted.borrow_mut() = Some(creation);
            idle.wake.notify_one();
            return;
        }
        if !self.make_room(u64::from(runnable.action.limits.memory_mb)) {
            self.is_news.set(true);
            let text = format!("there is not enough memory for a container of {id}");
            let error = CreationError::ResourceNotEnough;
            return self.answer(&creation, Some((error, &text))).await;
        }
        let (number, container) = self.add(&creation, &runnable);
        drop(spawn(Rc::clone(self).live(number, container, creation)));
    }

    fn add(&self, creation: &Creation, runnable: &Runnable) -> (u64, Rc<Container>) {
        let mut bytes = [0; 16];
        EbbRef::<dyn Entropy>::get().fill(&mut bytes);
        let limits = &runnable.action.limits;
        let container = Rc::new(Container {
            id: format!("{:032x}", u128::from_le_bytes(bytes)),
            subject: creation.subject.clone(),
            action: format!(
                "{}@{}",
                runnable.action.common.name, runnable.action.common.version
            ),
            memory_mb: u64::from(limits.memory_mb),
            concurrency: limits.concurrency.max(1),
            phase: Cell::new(Phase::InProgress),
            used: Cell::new(Instant::now()),
            is_warmed: Cell::new(false),
            is_closing: Cell::new(false),
            wanted: RefCell::default(),
            endpoint: RefCell::new(creation.endpoint.clone()),
            wake: Notify::default(),
        });
        let number = self.numbers.get();
        self.numbers.set(number + 1);
        let mut containers = self.containers.borrow_mut();
        containers.insert(number, Rc::clone(&container));
        self.invoker
            .counts()
            .containers
            .set(containers.len() as u64);
        (number, container)
    }

    /// An idle container of the same action in the same revision, for the same namespace.
    fn idle(&self, subject: &Subject) -> Option<Rc<Container>> {
        let (namespace, id) = (&subject.namespace, subject.action.id());
        let containers = self.containers.borrow();
        let found = containers.values().find(|container| {
            container.phase.get() == Phase::Warm
                && container.is_of(namespace, &id)
                && container.subject.revision == subject.revision
        });
        found.cloned()
    }

    fn memory_mb(&self, phase: Phase) -> u64 {
        let containers = self.containers.borrow();
        let of_phase = containers.values().filter(|c| c.phase.get() == phase);
        of_phase.map(|container| container.memory_mb).sum()
    }

    /// Whether there is so much memory; idle containers go for it, those first that have been idle longest (`takeContainer`).
    fn make_room(&self, wanted_mb: u64) -> bool {
        let all_mb = self.invoker.settings().id.user_memory_bytes >> 20;
        let used_mb = self.memory_mb(Phase::Busy) + self.memory_mb(Phase::InProgress);
        let warm_mb = self.memory_mb(Phase::Warm);
        if used_mb + wanted_mb > all_mb {
            return false;
        }
        let mut missing_mb = (used_mb + warm_mb + wanted_mb).saturating_sub(all_mb);
        let mut warm: Vec<Rc<Container>> = {
            let containers = self.containers.borrow();
            let warm = containers.values().filter(|c| c.phase.get() == Phase::Warm);
            warm.cloned().collect()
        };
        warm.sort_by_key(|container| container.used.get());
        for container in warm {
            if missing_mb == 0 {
                break;
            }
            missing_mb = missing_mb.saturating_sub(container.memory_mb);
            container.phase.set(Phase::Leaving);
            container.close();
        }
        true
    }

    /// Containers of an action up to a revision go, when they have done what they do.
    fn delete(&self, subject: &Subject) {
        let (namespace, id) = (&subject.namespace, subject.action.id());
        for container in self.containers.borrow().values() {
            let is_old = container.subject.generation() <= subject.generation();
            // One that has run nothing yet goes in any revision, as in the reference.
            let is_new = !container.is_warmed.get();
            if container.is_of(namespace, &id) && (is_old || is_new) {
                container.close();
            }
        }
    }

    async fn answer(&self, creation: &Creation, error: Option<(CreationError, &str)>) {
        let settings = self.invoker.settings();
        let topic = format!("{}creationAck{}", settings.topic_prefix, creation.scheduler);
        let answer = creation.acknowledgement(&settings.id, error);
        if let Err(why) = self.invoker.bus().send(&topic, &answer).await {
            println!(
                "whisk-invoker: {topic} did not take what became of creation {}: {why}",
                creation.id
            );
        }
    }

    /// A container, from being there to having gone.
    async fn live(self: Rc<Self>, number: u64, container: Rc<Container>, creation: Box<Creation>) {
        let (subject, id) = (&container.subject, &container.id);
        let existing = self.keys.existing(subject, id);
        let warmed = self.keys.warmed(subject, id);
        let mut creation = creation;
        let rest = loop {
            *container.endpoint.borrow_mut() = creation.endpoint.clone();
            self.directory.put(&existing, "");
            self.directory.delete(&warmed);
            container.phase.set(Phase::Busy);
            let (pool, answered) = (Rc::clone(&self), creation);
            // It asks for activations meanwhile.
            drop(spawn(async move { pool.answer(&answered, None).await }));
            let rest = self.work(&container).await;
            container.used.set(Instant::now());
            if rest != Rest::Idle {
                break rest;
            }
            self.directory.put(&warmed, "");
            self.directory.delete(&existing);
            container.phase.set(Phase::Warm);
            self.is_news.set(true);
            match self.idle_until_wanted(&container).await {
                Some(wanted) => creation = wanted,
                None => break Rest::Close,
            }
        };
        container.phase.set(Phase::Leaving);
        self.is_news.set(true);
        self.directory.delete(&existing);
        self.directory.delete(&warmed);
        if rest == Rest::Close {
            self.say_goodbye(&container).await;
        }
        let mut containers = self.containers.borrow_mut();
        containers.remove(&number);
        self.invoker
            .counts()
            .containers
            .set(containers.len() as u64);
        self.left.notify_one();
    }

    /// Asks for a last time, as one that is not alive any more. An activation that comes all the same is run.
    async fn say_goodbye(self: &Rc<Self>, container: &Rc<Container>) {
        let request = self.request(container, None, false);
        let at = container.endpoint.borrow().clone();
        let asked = self.schedulers.fetch(&at, request);
        let Ok(Ok(text)) = time::timeout(SECOND, asked).await else {
            return;
        };
        if let Ok(Fetched::Activation(message, json)) = Fetched::parse(&text, epoch_ms()) {
            self.run(container, *message, json).await;
        }
    }

    /// Waits for the next creation; `None` when the container is to go.
    async fn idle_until_wanted(&self, container: &Container) -> Option<Box<Creation>> {
        let (mut since, mut wait) = (Instant::now(), self.settings.idle);
        let mut is_kept = false;
        loop {
            if let Some(creation) = container.wanted.borrow_mut().take() {
                return Some(creation);
            }
            if container.is_closing.get() {
                return None;
            }
            let left = wait.saturating_sub(since.elapsed());
            if time::timeout(left, container.wake.notified()).await.is_ok() {
                continue;
            }
            if container.wanted.borrow().is_some() {
                continue;
            }
            if is_kept {
                return None;
            }
            match self.keep(&container.subject).await {
                Ok(Some(keeping)) => {
                    is_kept = true;
                    (since, wait) = (Instant::now(), keeping);
                }
                Ok(None) if container.wanted.borrow().is_none() => return None,
                Ok(None) => {}
                // `DetermineKeepContainer` is tried again.
                Err(_) => (since, wait) = (Instant::now(), SECOND),
            }
        }
    }

    /// How long an idle container is kept longer, if it is among the last of its action and the namespace may keep so many.
    async fn keep(&self, subject: &Subject) -> Result<Option<Duration>, String> {
        let mut live = 0;
        for prefix in self.keys.live(subject) {
            live += self.directory.count(&prefix).await?;
        }
        let limits = self.invoker.store().limits(&subject.namespace).await;
        let limits = limits.map_err(|why| format!("{why}"))?;
        let count = limits.get("warmedContainerKeepingCount");
        let count = count.and_then(Json::to_integer).unwrap_or(0);
        let keeping = limits.get("warmedContainerKeepingTimeout");
        let keeping = keeping
            .and_then(Json::to_text)
            .and_then(|text| crate::size::duration(&text).ok());
        let is_kept = u64::try_from(count).is_ok_and(|count| live <= count);
        Ok(is_kept.then(|| keeping.unwrap_or(self.settings.keeping)))
    }

    fn report(&self, is_well: bool) {
        let mut health = self.health.borrow_mut();
        let before = health.state();
        health.report(is_well);
        if health.state() != before {
            self.is_news.set(true);
        }
    }

    /// Says how the invoker is and what memory it has left, obeys `/enable` and `/disable`, and runs the health action as long as it is
    /// not well. Never ready.
    pub async fn attend(self: Rc<Self>) {
        let mut told = String::new();
        let mut told_at: Option<Instant> = None;
        let probing = Rc::new(Cell::new(false));
        loop {
            let is_enabled = self.invoker.counts().is_enabled();
            if is_enabled != self.is_enabled.replace(is_enabled) {
                self.is_news.set(true);
                match is_enabled {
                    true => self.health.borrow_mut().enable(),
                    false => {
                        self.health.borrow_mut().disable();
                        self.close_all();
                    }
                }
            }
            let state = self.health.borrow().state();
            if state == State::Unhealthy && !probing.replace(true) {
                let (pool, probing) = (Rc::clone(&self), Rc::clone(&probing));
                drop(spawn(async move {
                    pool.probe().await;
                    probing.set(false);
                }));
            }
            let is_due = told_at.is_none_or(|at| at.elapsed() >= SECOND);
            if self.is_news.replace(false) || is_due {
                told_at = Some(Instant::now());
                let resources = self.resources();
                let text = resources.to_json(&self.invoker.settings().id);
                *self.invoker.counts().pool() = self.state().as_str().to_owned();
                if told != text.as_str() {
                    told = text.as_str().to_owned();
                    self.directory.put(self.keys.health(), &told);
                }
            }
            time::sleep(LOOK).await;
        }
    }

    fn resources(&self) -> Resources {
        let all_mb = self.invoker.settings().id.user_memory_bytes >> 20;
        let busy_mb = self.memory_mb(Phase::Busy);
        let in_progress_mb = self.memory_mb(Phase::InProgress);
        Resources {
            status: self.health.borrow().state().name(),
            free_mb: all_mb.saturating_sub(busy_mb + in_progress_mb),
            busy_mb,
            in_progress_mb,
        }
    }

    /// Runs the health action once, after storing it if it is not there.
    async fn probe(&self) {
        let ran = match self.invoker.probe(&self.probe.message).await {
            Err(_) => {
                let stored = self.invoker.store();
                let stored = stored
                    .put_action(&self.probe.id, &self.probe.document)
                    .await;
                match stored {
                    Ok(()) | Err(StoreError::Conflict) => {
                        self.invoker.probe(&self.probe.message).await
                    }
                    Err(why) => Err(format!("it cannot be stored: {why}")),
                }
            }
            ran => ran,
        };
        if let Err(why) = &ran {
            println!(
                "whisk-invoker: the health action {} failed: {why}",
                self.probe.id
            );
        }
        self.report(ran.is_ok());
        if ran.is_err() {
            time::sleep(SECOND).await;
        }
    }

    /// What containers there are: `TotalContainerPoolState`.
    pub fn state(&self) -> Json {
        let containers = self.containers.borrow();
        let of = |phase: Phase| {
            let all: Vec<Json> = containers
                .values()
                .filter(|container| container.phase.get() == phase)
                .map(|container| {
                    Members::new()
                        .text("containerId", &container.id)
                        .text("namespace", &container.subject.namespace)
                        .text("action", &container.action)
                        .finish()
                })
                .collect();
            let mut members = Members::new();
            members.number("total", all.len() as u64);
            members
                .raw("containers", Json::array(all).as_str())
                .finish()
        };
        let in_progress = containers.values();
        let in_progress = in_progress.filter(|c| c.phase.get() == Phase::InProgress);
        Members::new()
            .number("totalContainers", self.total() as u64)
            .number("inProgressCount", in_progress.count() as u64)
            .raw("prewarmedPool", r#"{"total":0,"countsByKind":{}}"#)
            .raw("busyPool", of(Phase::Busy).as_str())
            .raw("pausedPool", of(Phase::Warm).as_str())
            .finish()
    }

    /// How many containers there are.
    pub fn total(&self) -> usize {
        let containers = self.containers.borrow();
        let there = containers.values();
        there.filter(|c| c.phase.get() != Phase::Leaving).count()
    }
}

fn creation_error(creation: &Creation, why: &Unusable) -> CreationError {
    let exec = creation.subject.metadata.to_object();
    let kind = exec.and_then(|m| m.get("exec")?.to_object()?.get("kind")?.to_text());
    match why {
        Unusable::Mismatch(_) if kind.as_deref() == Some("blackbox") => CreationError::BlackBox,
        _ => CreationError::DbFetch,
    }
}
