//! What a container does while it is there: lanes that fetch an activation, run it, and ask for the next.
//!
//! What must hold: an activation that was fetched ends in one completion, or is taken back by the scheduler.

use std::cell::Cell;
use std::rc::Rc;

use ebb::platform::Entropy;
use ebb::time::Instant;
use ebb::{EbbRef, println, spawn, time};
use ebb_openwhisk::activation::Status;
use ebb_openwhisk::json::Json;

use super::{Container, PACE, Pool, SECOND};
use crate::invoker::{Ended, epoch_ms};
use crate::message::activation::ActivationMessage;
use crate::message::container::{Endpoint, Fetch, Fetched, GivenBack};
use crate::message::transaction::Transaction;
use crate::seam::{Bus, Directory, Engine, FetchError, Schedulers, Store};

/// Why a container asks no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// There is nothing for it.
    Idle,
    /// It is to go, and says so.
    Close,
    /// It is to go, and there is nobody to say so to.
    Silent,
}

impl<B, S, E, D, Q> Pool<B, S, E, D, Q>
where
    B: Bus + 'static,
    S: Store + Clone + 'static,
    E: Engine + 'static,
    D: Directory + 'static,
    Q: Schedulers + 'static,
{
    /// Fetches and runs activations until there are none, or the container is to go.
    pub(super) async fn work(self: &Rc<Self>, container: &Rc<Container>) -> Rest {
        let asked = Rc::new(Cell::new(Instant::now()));
        // The first run shows whether the action can be begun at all; others at once come after it.
        let mut lanes = Vec::new();
        if container.is_warmed.get() {
            lanes = self.more_lanes(container, &asked);
        }
        let mut rest = self.lane(container, &asked, &mut lanes).await;
        for lane in lanes {
            let other = lane.await.unwrap_or(Rest::Close);
            rest = match (rest, other) {
                (Rest::Idle, other) => other,
                (rest, Rest::Idle) => rest,
                // Who can be told, is.
                (Rest::Silent, Rest::Silent) => Rest::Silent,
                _ => Rest::Close,
            };
        }
        rest
    }

    fn more_lanes(
        self: &Rc<Self>,
        container: &Rc<Container>,
        asked: &Rc<Cell<Instant>>,
    ) -> Vec<ebb::JoinHandle<Rest>> {
        let lanes = (1..container.concurrency).map(|_| {
            let (pool, container, asked) =
                (Rc::clone(self), Rc::clone(container), Rc::clone(asked));
            spawn(async move { pool.lane(&container, &asked, &mut Vec::new()).await })
        });
        lanes.collect()
    }

    /// One activation after the other. `asked` is when the container last had reason to ask.
    async fn lane(
        self: &Rc<Self>,
        container: &Rc<Container>,
        asked: &Rc<Cell<Instant>>,
        others: &mut Vec<ebb::JoinHandle<Rest>>,
    ) -> Rest {
        let mut last_ms = None;
        loop {
            let request = self.request(container, last_ms.take(), true);
            let at = container.endpoint.borrow().clone();
            let began = Instant::now();
            let fetched = self.schedulers.fetch(&at, request).await;
            let fetched = match fetched {
                Ok(text) => Fetched::parse(&text, epoch_ms()).map_err(|why| {
                    self.invoker.counts().malformed.increment();
                    println!("whisk-invoker: what {at} sent cannot be read: {why}");
                    None
                }),
                Err(error) => Err(Some(error)),
            };
            match fetched {
                Ok(Fetched::Activation(message, json)) => {
                    let was_warmed = container.is_warmed.get();
                    let Some(milliseconds) = self.run(container, *message, json).await else {
                        return Rest::Close;
                    };
                    last_ms = Some(milliseconds);
                    asked.set(Instant::now());
                    if !was_warmed && container.is_warmed.get() && container.concurrency > 1 {
                        others.extend(self.more_lanes(container, asked));
                    }
                }
                Ok(Fetched::NoActivation) | Err(None) => {
                    if container.is_closing.get() {
                        return Rest::Close;
                    }
                    if asked.get().elapsed() >= self.settings.pause_grace {
                        // One that never ran anything is not worth keeping.
                        return match container.is_warmed.get() {
                            true => Rest::Idle,
                            false => Rest::Close,
                        };
                    }
                    time::sleep(PACE.saturating_sub(began.elapsed())).await;
                }
                Ok(Fetched::Mismatch) | Err(Some(FetchError::NoHost(_))) => return Rest::Silent,
                Ok(Fetched::NoQueue) | Err(Some(FetchError::Failed(_))) => {
                    if container.is_closing.get() {
                        return Rest::Silent;
                    }
                    if let Err(rest) = self.follow_leader(container, &at).await {
                        return rest;
                    }
                }
            }
        }
    }

    /// Turns to the scheduler that has the queue now; why the container is to go when there is none.
    async fn follow_leader(&self, container: &Container, was_at: &Endpoint) -> Result<(), Rest> {
        self.invoker.counts().lost_schedulers.increment();
        let key = self.keys.leader(&container.subject);
        let leader = self.directory.get(&key).await;
        let leader = leader.map_err(|why| {
            println!(
                "whisk-invoker: the scheduler of {} is not known: {why}",
                container.action
            );
            Rest::Close
        })?;
        // No scheduler has such a queue any more.
        let leader = leader.ok_or(Rest::Silent)?;
        let leader = Endpoint::parse(&leader).map_err(|_| Rest::Silent)?;
        if leader == *was_at {
            // It may come back; when it does not, its key goes with its lease.
            time::sleep(SECOND).await;
        }
        *container.endpoint.borrow_mut() = leader;
        Ok(())
    }

    pub(super) fn request(
        &self,
        container: &Container,
        last_ms: Option<u64>,
        is_alive: bool,
    ) -> Fetch {
        let mut bytes = [0; 16];
        EbbRef::<dyn Entropy>::get().fill(&mut bytes);
        let transaction = format!("{:032x}", u128::from_le_bytes(bytes));
        let transaction = Transaction::new(&transaction, epoch_ms());
        let subject = &container.subject;
        Fetch {
            transaction: transaction.to_json().as_str().into(),
            namespace: subject.namespace.clone(),
            action: subject.action_json.as_str().into(),
            revision: subject.revision_json().as_str().into(),
            container: container.id.clone(),
            is_warmed: container.is_warmed.get(),
            last_ms,
            is_alive,
        }
    }

    /// Runs an activation, or gives it back. Its milliseconds; `None` when the container is to go: it was not run, or was the action's or
    /// the platform's mistake (`ActivationUnsuccessfulError`).
    pub(super) async fn run(
        self: &Rc<Self>,
        container: &Container,
        message: ActivationMessage,
        json: Json,
    ) -> Option<u64> {
        let counts = self.invoker.counts();
        counts.messages.increment();
        let under_way = self.invoker.begin();
        under_way.is_read();
        let message = Rc::new(message);
        let ended = self.invoker.attempt(&message, &under_way).await;
        match ended {
            Ended::Ran {
                milliseconds,
                status,
            } => {
                let is_well = status != Status::InternalError;
                self.report(is_well);
                container
                    .is_warmed
                    .set(container.is_warmed.get() || is_well);
                let is_good = matches!(status, Status::Success | Status::ApplicationError);
                is_good.then_some(milliseconds)
            }
            Ended::Refused => None,
            Ended::NotRun(not_run) => {
                println!(
                    "whisk-invoker: {} is given back to its scheduler: {}",
                    message.id, not_run.why
                );
                let subject = &container.subject;
                let request = GivenBack {
                    namespace: subject.namespace.clone(),
                    action: subject.action_json.as_str().into(),
                    revision: subject.revision_json().as_str().into(),
                    activation: json.as_str().into(),
                };
                let at = container.endpoint.borrow().clone();
                match self.schedulers.reschedule(&at, request).await {
                    Ok(true) => counts.rescheduled.increment(),
                    // Nobody takes it: it is the platform's error.
                    _ => self.invoker.give_up(&message, not_run, &under_way).await,
                }
                None
            }
        }
    }
}
