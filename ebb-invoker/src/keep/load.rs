//! Bringing back what a disk has, while requests are answered: what they wait for first, then the rest.
//!
//! What must hold:
//! - Everything that is expected is read once, and comes or is given up ([`Loaded::lost`]).
//! - Whoever asks for something ([`Keeper::bring`]) waits for that only, and for what is being read already.

use alloc::{
    boxed::Box,
    collections::VecDeque,
    format,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};
use core::future::{Future, poll_fn};
use core::task::Poll;

use ebb::sync::oneshot;
use ebb_openwhisk::Controller;
use ebb_openwhisk::activation::Activation;
use ebb_openwhisk::entity::absent::Sought;
use ebb_openwhisk::entity::{Entity, kept};
use ebb_openwhisk::runtimes::Runtimes;

use super::document::{Got, get};
use super::{ENTITY, Keeper, record_key};

/// So many reads are under way: a disk that is asked for one after the other waits most of the time.
pub(super) const AT_ONCE: usize = 32;

/// Who has the controller.
pub trait Holder {
    /// Uses it, alone and briefly.
    fn controller<R>(&self, f: impl FnOnce(&mut Controller) -> R) -> R;
    /// Epoch milliseconds.
    fn now_ms(&self) -> u64;
}

/// What requests wait for.
#[derive(Default)]
pub(super) struct Waiting {
    fresh: Vec<(Sought, oneshot::Sender<()>)>,
    /// Everything is here.
    over: bool,
}

/// What has come.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Entities.
    pub entities: usize,
    /// Records.
    pub records: usize,
    /// What could not be read, each with the reason.
    pub lost: Vec<String>,
}

enum Job {
    Entity(Box<str>),
    Record(u64),
}

/// The result of whichever ends first, which is taken out.
pub(super) async fn first<F: Future + Unpin>(running: &mut Vec<F>) -> F::Output {
    poll_fn(|task| {
        for at in 0..running.len() {
            if let Poll::Ready(result) = core::pin::Pin::new(&mut running[at]).poll(task) {
                drop(running.swap_remove(at));
                return Poll::Ready(result);
            }
        }
        Poll::Pending
    })
    .await
}

/// What is to be read next.
struct Jobs<'k, H> {
    keeper: &'k Keeper,
    holder: &'k H,
    /// What requests wait for, and who waits.
    wanted: Vec<(Sought, oneshot::Sender<()>)>,
    urgent: VecDeque<Job>,
    rest: VecDeque<Job>,
    /// The places of the records that are to be read, the oldest first.
    records: Vec<u64>,
}

impl<H: Holder> Jobs<'_, H> {
    fn claim(&mut self, sought: &Sought) -> Vec<Job> {
        if *sought == Sought::Records {
            let from = self.records.len().saturating_sub(AT_ONCE);
            let newest = self.records.drain(from..).rev();
            return newest.map(Job::Record).collect();
        }
        let claimed = self
            .holder
            .controller(|c| c.store_mut().claim(sought, AT_ONCE));
        claimed.into_iter().map(Job::Entity).collect()
    }

    fn next(&mut self) -> Option<Job> {
        let fresh = core::mem::take(&mut self.keeper.waiting.lock().fresh);
        if !fresh.is_empty() || self.urgent.is_empty() {
            self.wanted.extend(fresh);
            for at in 0..self.wanted.len() {
                let sought = self.wanted[at].0.clone();
                let claimed = self.claim(&sought);
                self.urgent.extend(claimed);
            }
        }
        if let Some(job) = self.urgent.pop_front() {
            return Some(job);
        }
        if self.rest.is_empty() {
            self.rest = self.claim(&Sought::Below("".into())).into();
        }
        if self.rest.is_empty() {
            self.rest = self.claim(&Sought::Records).into();
        }
        self.rest.pop_front()
    }

    /// Tells those who have what they waited for.
    fn tell(&mut self) {
        if self.wanted.is_empty() {
            return;
        }
        let (lacking, here) = self.holder.controller(|c| {
            let wanted = core::mem::take(&mut self.wanted);
            wanted
                .into_iter()
                .partition::<Vec<_>, _>(|(sought, _)| c.lacks(sought))
        });
        self.wanted = lacking;
        for (_, waiter) in here {
            // A client that has gone waits no more.
            let _ = waiter.send(());
        }
    }
}

impl Keeper {
    /// Ends when all that is sought has come, as far as it can be read. [`Keeper::load`] has to run.
    pub async fn bring(&self, sought: Vec<Sought>) {
        for sought in sought {
            let (sender, receiver) = oneshot::channel();
            {
                let mut waiting = self.waiting.lock();
                if waiting.over {
                    return;
                }
                waiting.fresh.push((sought, sender));
            }
            // Whoever reads is at its end.
            let _ = receiver.await;
        }
    }

    /// Brings all that is expected ([`super::bring_back`]).
    pub async fn load<H: Holder>(&self, holder: &H, runtimes: &Runtimes) -> Loaded {
        let mut jobs = Jobs {
            keeper: self,
            holder,
            wanted: Vec::new(),
            urgent: VecDeque::new(),
            rest: VecDeque::new(),
            records: core::mem::take(&mut *self.records.lock()),
        };
        let mut loaded = Loaded::default();
        let mut reads = Vec::new();
        loop {
            while reads.len() < AT_ONCE
                && let Some(job) = jobs.next()
            {
                reads.push(Box::pin(self.read(job)));
            }
            if reads.is_empty() {
                break;
            }
            let (job, got) = first(&mut reads).await;
            match job {
                Job::Entity(path) => {
                    let arrived = self.arrive(holder, &path, got, runtimes);
                    match arrived {
                        Ok(arrived) => loaded.entities += usize::from(arrived),
                        Err(why) => {
                            holder.controller(|c| c.store_mut().give_up(&path));
                            loaded.lost.push(format!("{ENTITY}{path}: {why}"));
                        }
                    }
                }
                Job::Record(place) => {
                    let record = got.ok().flatten();
                    let record = record.and_then(|(kept, _)| Activation::read(&kept.document));
                    match &record {
                        Some(_) => loaded.records += 1,
                        None => loaded
                            .lost
                            .push(format!("the record of activation {place}")),
                    }
                    let now = holder.now_ms();
                    holder.controller(|c| {
                        c.activations_mut().arrive(place, record.map(Arc::new), now);
                    });
                }
            }
            jobs.tell();
            ebb::yield_now().await;
        }
        let mut waiting = self.waiting.lock();
        waiting.over = true;
        // Nothing that they wait for is to come any more.
        waiting.fresh.clear();
        loaded
    }

    async fn read(&self, job: Job) -> (Job, Got) {
        let got = match &job {
            Job::Entity(path) => get(&self.store, format!("{ENTITY}{path}").as_bytes()).await,
            Job::Record(place) => get(&self.store, &record_key(*place)).await,
        };
        (job, got)
    }

    /// Whether it was still expected.
    fn arrive<H: Holder>(
        &self,
        holder: &H,
        path: &str,
        got: Got,
        runtimes: &Runtimes,
    ) -> Result<bool, String> {
        let (kept, hash) = got?.ok_or("it is gone")?;
        let entity = kept::read(&kept, runtimes)?;
        let name = entity.common().name.clone();
        if name.to_string() != path {
            return Err(format!("its document says that it is {name}"));
        }
        holder.controller(|c| {
            if !c.lacks(&Sought::One(path.into())) {
                return Ok(false);
            }
            if matches!(entity, Entity::Trigger(_)) {
                let document = kept.document.as_str().as_bytes();
                let hash = hash.unwrap_or_else(|| ebb_store::hash(document));
                self.sums.lock().insert(name, hash);
            }
            Ok(c.store_mut().arrive(entity))
        })
    }
}
