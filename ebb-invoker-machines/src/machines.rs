//! Machines as a back end: the front end's side.
//!
//! What must hold:
//! - A call that may have run on a machine is given to no other one.
//! - A machine that is let go (restarted, or on its way out) gets no further calls, and ends when its last one has.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    format,
    string::String,
    sync::{Arc, Weak},
    vec::Vec,
};
use core::net::IpAddr;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use core::time::Duration;

use ebb::platform::Entropy;
use ebb::{EbbRef, spawn, time};
use ebb_distributed::{Failure, NodeId, RemoteRef, State, hash, this_node, watch};
use ebb_invoker::back_end::{BackEnd, Figures, Unanswered};
use ebb_invoker::instance::Boxed;
use ebb_openwhisk::call::{Call, CallOutcome, InstanceKey, Start};
use ebb_openwhisk::runtimes::Launch;
use spin::mutex::SpinMutex;

use crate::choose::{Candidate, order};
use crate::machine::{Machine, MachineAt};
use crate::relay::{Behind, Makers, Relay};
use crate::wire::{About, Function, FunctionId, Launching, Reply, Work};

/// Calls of all machines together beyond which further ones are refused.
const MOST_CALLS: usize = 10_000;
/// How long a machine may take to say what it is, or what it does.
const SHORT: Duration = Duration::from_secs(2);
/// How long a call waits for a machine when there is none, unless told otherwise: so long as another takes to start.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a new machine may take to get warm before it is used as it is.
const WARM: Duration = Duration::from_secs(120);
/// How often it is looked whether there is one again.
const MOMENT: Duration = Duration::from_millis(20);
/// How often a machine is told a function that it says it does not have.
const TELLINGS: usize = 3;

const AWAY: u8 = 0;
const UP: u8 = 1;
const LET_GO: u8 = 2;

/// What the front end knows of a machine.
struct Known {
    node: NodeId,
    name: String,
    state: AtomicU8,
    about: SpinMutex<About>,
    /// Calls that it has of us.
    calls: AtomicUsize,
    /// Revisions of functions that it was told of in this life of it.
    told: SpinMutex<BTreeSet<u64>>,
    /// Revisions of functions that it may have snapshots of, and how many microseconds a cold start takes.
    ran: SpinMutex<BTreeMap<u64, u64>>,
}

impl Known {
    fn at(&self) -> MachineAt {
        EbbRef::<Machine>::new().at(self.node)
    }

    fn is_up(&self) -> bool {
        self.state.load(Ordering::Acquire) == UP
    }

    /// Also one that was let go.
    fn is_there(&self) -> bool {
        self.state.load(Ordering::Acquire) != AWAY
    }

    /// It has made a call, which another machine's snapshot may have been used for.
    fn note(&self, revision: u64, outcome: &CallOutcome, near_us: Option<u64>) {
        let init_us = u64::try_from(outcome.spent.init.as_micros()).unwrap_or(u64::MAX);
        let cold_us = match outcome.kind {
            Start::Cold => Some(init_us),
            Start::Warm => near_us,
            Start::Hot => None,
        };
        if let Some(cold_us) = cold_us.filter(|_| outcome.outcome.instance_lives()) {
            self.ran.lock().insert(revision, cold_us);
        }
    }
}

/// Counts a call on a machine.
struct Counted<'a>(&'a Known);

impl<'a> Counted<'a> {
    fn on(machine: &'a Known) -> Self {
        machine.calls.fetch_add(1, Ordering::AcqRel);
        Self(machine)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::AcqRel);
    }
}

struct Shared {
    /// Of this front end, see [`FunctionId::front`].
    front: u64,
    patience: Duration,
    machines: SpinMutex<Vec<Arc<Known>>>,
    /// Somebody looks at `restarts`.
    can_restart: AtomicBool,
    /// They are to be restarted, or are being.
    restarts: AtomicBool,
    makers: Makers,
}

impl Shared {
    fn all(&self) -> Vec<Arc<Known>> {
        self.machines.lock().clone()
    }

    fn known(&self, node: NodeId) -> Option<Arc<Known>> {
        let machines = self.machines.lock();
        machines.iter().find(|known| known.node == node).cloned()
    }

    /// The nodes of those that are there besides that one.
    fn nodes(&self, than: NodeId, is: impl Fn(&Known) -> bool) -> Vec<NodeId> {
        let machines = self.machines.lock();
        let others = machines.iter().filter(|m| m.node != than && m.is_there());
        others.filter(|m| is(m)).map(|m| m.node).collect()
    }
}

impl Behind for Shared {
    fn others(&self, than: NodeId) -> Vec<NodeId> {
        self.nodes(than, |_| true)
    }

    fn holders(&self, id: FunctionId, asker: NodeId) -> Vec<NodeId> {
        match id.front == self.front {
            true => self.nodes(asker, |m| m.ran.lock().contains_key(&id.revision)),
            false => Vec::new(),
        }
    }

    fn maker_of(&self, base: &str, asker: NodeId) -> Option<NodeId> {
        let mut makers = self.makers.lock();
        let maker = makers.get(base).copied().filter(|maker| *maker != asker);
        let maker = maker.filter(|maker| self.known(*maker).is_some_and(|m| m.is_up()));
        if maker.is_none() {
            makers.insert(base.into(), asker);
        }
        maker
    }
}

/// Any number of machines that serve [`Machine`], as one back end. A clone is the same one.
#[derive(Clone)]
pub struct Machines(Arc<Shared>);

impl Default for Machines {
    fn default() -> Self {
        Self::new(PATIENCE)
    }
}

impl Machines {
    /// None so far. A call waits so long for a machine when there is none.
    pub fn new(patience: Duration) -> Self {
        let mut front = [0; 8];
        EbbRef::<dyn Entropy>::get().fill(&mut front);
        let shared = Arc::new(Shared {
            front: u64::from_le_bytes(front),
            patience,
            machines: SpinMutex::default(),
            can_restart: AtomicBool::new(false),
            restarts: AtomicBool::new(false),
            makers: Makers::default(),
        });
        let behind: Weak<Shared> = Arc::downgrade(&shared);
        EbbRef::<Relay>::get().add(behind);
        EbbRef::<Relay>::new().serve();
        Self(shared)
    }

    /// Takes in a node that was introduced ([`ebb_distributed::introduce`]), and watches it from this core: it gets calls while it is
    /// there. It is called by this name in figures.
    pub fn add(&self, node: NodeId, name: &str) {
        let known = Arc::new(Known {
            node,
            name: name.into(),
            state: AtomicU8::new(AWAY),
            about: SpinMutex::default(),
            calls: AtomicUsize::new(0),
            told: SpinMutex::default(),
            ran: SpinMutex::default(),
        });
        self.0.machines.lock().push(Arc::clone(&known));
        spawn(follow(self.clone(), known));
    }

    /// Gives a node no further calls; ready when it has none of ours any more.
    pub async fn let_go(&self, node: NodeId) {
        let Some(known) = self.known(node) else {
            return;
        };
        known.state.store(LET_GO, Ordering::Release);
        while known.calls.load(Ordering::Acquire) > 0 && self.known(node).is_some() {
            time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Forgets a node.
    pub fn remove(&self, node: NodeId) {
        self.0.machines.lock().retain(|known| known.node != node);
    }

    /// Waits until a node takes calls; false if it has been removed.
    pub async fn until_up(&self, node: NodeId) -> bool {
        loop {
            match self.known(node) {
                None => return false,
                Some(known) if known.is_up() => return true,
                Some(_) => self.change().await,
            }
        }
    }

    /// Whoever has started the machines restarts them when asked to: see `wants_restart`.
    pub(crate) fn let_restart(&self) {
        self.0.can_restart.store(true, Ordering::Release);
    }

    /// Whether they are to be restarted.
    pub(crate) fn wants_restart(&self) -> bool {
        self.0.restarts.load(Ordering::Acquire)
    }

    /// They have been restarted.
    pub(crate) fn restarted(&self) {
        self.0.restarts.store(false, Ordering::Release);
    }

    /// Waits until a node makes instances at the cost that they will have.
    pub(crate) async fn until_warm(&self, node: NodeId) {
        let begun = time::Instant::now();
        while begun.elapsed() < WARM {
            let Some(known) = self.known(node) else {
                return;
            };
            if figures(known).await.is_warm {
                return;
            }
            time::sleep(MOMENT).await;
        }
    }

    /// Whether a node has snapshots of functions.
    pub(crate) async fn has_snapshots(&self, node: NodeId) -> bool {
        match self.known(node) {
            Some(known) => figures(known).await.snapshots > 0,
            None => false,
        }
    }

    /// Tells a node to make ready what instances are made of.
    pub fn warm_up(&self, node: NodeId, launches: &[Launch]) {
        if let Some(known) = self.known(node) {
            let launches = launches.iter().map(Launching::of).collect();
            // One that is gone has nothing to make ready.
            let _ = known.at().warm_up(launches);
        }
    }

    fn all(&self) -> Vec<Arc<Known>> {
        self.0.all()
    }

    fn up(&self) -> Vec<Arc<Known>> {
        let mut all = self.all();
        all.retain(|known| known.is_up());
        all
    }

    fn known(&self, node: NodeId) -> Option<Arc<Known>> {
        self.0.known(node)
    }

    /// What a cold start of a function takes on another machine than that, which may have a snapshot of it.
    fn near_us(&self, revision: u64, node: NodeId) -> Option<u64> {
        let machines = self.0.machines.lock();
        let others = machines.iter().filter(|m| m.node != node && m.is_there());
        let cold_us = others.filter_map(|other| other.ran.lock().get(&revision).copied());
        cold_us.max()
    }

    /// Waits a moment for a change, where nothing can be done without one.
    async fn change(&self) {
        time::sleep(MOMENT).await;
    }

    /// Offers a call to one machine after the other.
    async fn place(&self, call: &Call) -> Result<CallOutcome, Unanswered> {
        let key = call.key();
        let name = format!("{} {}", call.action.common.name, key.caller);
        let key = hash(&name);
        let begun = time::Instant::now();
        let mut why = String::from("there is no machine");
        loop {
            let machines = self.up();
            let candidates: Vec<Candidate> = machines.iter().map(candidate).collect();
            for node in order(&candidates, key) {
                let Some(machine) = machines.iter().find(|m| m.node == node) else {
                    continue;
                };
                match self.offer(machine, call).await {
                    Ok(outcome) => return Ok(outcome),
                    Err(unanswered) if unanswered.may_have_run => return Err(unanswered),
                    Err(unanswered) => why = unanswered.why,
                }
            }
            if begun.elapsed() >= self.0.patience {
                return Err(Unanswered {
                    may_have_run: false,
                    why: format!("No machine takes the call: {why}."),
                });
            }
            self.change().await;
        }
    }

    /// Makes a call on a machine, which is told the function if it does not have it.
    async fn offer(&self, machine: &Known, call: &Call) -> Result<CallOutcome, Unanswered> {
        let _counted = Counted::on(machine);
        let revision = call.action.revision;
        let id = FunctionId {
            front: self.0.front,
            revision,
        };
        let near_us = self.near_us(revision, machine.node);
        for _ in 0..TELLINGS {
            if !machine.told.lock().contains(&revision) {
                self.tell(machine, id, call).await?;
            }
            let reply = machine.at().run(Work::of(call, id, near_us)).await;
            match reply.map_err(|failure| unanswered(machine, failure))? {
                Reply::Ran(ran) => {
                    let outcome = ran.read().map_err(|wrong| Unanswered {
                        may_have_run: true,
                        why: format!("Machine {} gave no outcome: {wrong}.", machine.name),
                    })?;
                    machine.note(revision, &outcome, near_us);
                    return Ok(outcome);
                }
                Reply::Unknown => drop(machine.told.lock().remove(&revision)),
                Reply::Full => return Err(refused(machine, "has too many calls that wait")),
                Reply::Ending => return Err(refused(machine, "is about to end")),
            }
        }
        Err(refused(machine, "does not keep the function"))
    }

    async fn tell(&self, machine: &Known, id: FunctionId, call: &Call) -> Result<(), Unanswered> {
        let function = Function::of(&call.action);
        let function = function.ok_or_else(|| refused(machine, "runs code, and there is none"))?;
        let learned = machine.at().learn(id, function).await;
        // Whatever came of it, no call has been made.
        let learned = learned.map_err(|failure| Unanswered {
            may_have_run: false,
            ..unanswered(machine, failure)
        })?;
        learned.map_err(|why| refused(machine, &format!("cannot use the function: {why}")))?;
        machine.told.lock().insert(id.revision);
        Ok(())
    }
}

fn candidate(known: &Arc<Known>) -> Candidate {
    Candidate {
        node: known.node,
        cores: known.about.lock().cores as usize,
        calls: known.calls.load(Ordering::Acquire),
    }
}

fn refused(machine: &Known, why: &str) -> Unanswered {
    Unanswered {
        may_have_run: false,
        why: format!("machine {} {why}", machine.name),
    }
}

fn unanswered(machine: &Known, failure: Failure) -> Unanswered {
    let may_have_run = failure.may_have_run();
    let name = &machine.name;
    Unanswered {
        may_have_run,
        why: match may_have_run {
            true => format!(
                "Machine {name} was lost while it had the call, which may have run in part or as a whole."
            ),
            false => format!("machine {name}: {failure}"),
        },
    }
}

/// Sees a machine come and go.
async fn follow(machines: Machines, known: Arc<Known>) {
    let mut watch = watch(known.node);
    loop {
        let state = watch.next().await;
        if machines.known(known.node).is_none() {
            return;
        }
        let is_up = match state {
            State::Down => false,
            State::Up { .. } => {
                known.told.lock().clear();
                known.ran.lock().clear();
                // Before calls, so that it knows whom to ask when it needs something for them.
                let this = this_node().map_or(0, |node| node.0);
                let _ = known.at().meet(machines.0.front, this);
                let about = known.at().within(SHORT).about().await;
                about.is_ok_and(|about| {
                    *known.about.lock() = about;
                    true
                })
            }
        };
        let (from, to) = if is_up { (AWAY, UP) } else { (UP, AWAY) };
        // One that was let go stays so.
        let _ = (known.state).compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
    }
}

impl BackEnd for Machines {
    fn execute<'a>(&'a self, call: &'a Call) -> Boxed<'a, Result<CallOutcome, Unanswered>> {
        Box::pin(self.place(call))
    }

    fn refuses(&self, _: &InstanceKey) -> bool {
        let machines = self.0.machines.lock();
        let calls = machines.iter().map(|m| m.calls.load(Ordering::Acquire));
        calls.sum::<usize>() >= MOST_CALLS
    }

    fn keep_only(&self, is_current: &dyn Fn(u64) -> bool) {
        for known in self.all() {
            known.ran.lock().retain(|revision, _| is_current(*revision));
            let stale: Vec<u64> = {
                let told = known.told.lock();
                told.iter().copied().filter(|r| !is_current(*r)).collect()
            };
            if stale.is_empty() {
                continue;
            }
            known.told.lock().retain(|r| !stale.contains(r));
            let front = self.0.front;
            let ids = stale
                .into_iter()
                .map(|revision| FunctionId { front, revision });
            // One that is gone has forgotten.
            let _ = known.at().forget(ids.collect());
        }
    }

    fn can_launch<'a>(&'a self, launch: &'a Launch) -> Boxed<'a, bool> {
        Box::pin(async {
            // All are of one image.
            let up = self.up();
            let Some(known) = up.first() else {
                return false;
            };
            let asked = known.at().within(SHORT).can_launch(Launching::of(launch));
            asked.await.unwrap_or(false)
        })
    }

    fn budget_bytes(&self) -> u64 {
        let up = self.up();
        up.iter().map(|known| known.about.lock().budget_bytes).sum()
    }

    fn description(&self) -> String {
        let up = self.up();
        let instances = up.first().map(|known| known.about.lock().instances.clone());
        let plural = if up.len() == 1 { "" } else { "s" };
        let instances = instances.unwrap_or_default();
        format!("on {} machine{plural}: {instances}", up.len())
    }

    fn front_end_address(&self) -> Option<IpAddr> {
        let up = self.up();
        let host = up.first()?.about.lock().host.clone();
        host.and_then(|host| host.parse().ok())
    }

    fn restart(&self) -> Result<usize, String> {
        if !self.0.can_restart.load(Ordering::Acquire) {
            return Err("its machines were started by others, who restart them".into());
        }
        if self.0.restarts.swap(true, Ordering::AcqRel) {
            return Err("they are being restarted already".into());
        }
        Ok(self.up().len())
    }

    fn figures(&self) -> Boxed<'_, Vec<Figures>> {
        Box::pin(async {
            let asked: Vec<_> = self.all().into_iter().map(|k| spawn(figures(k))).collect();
            let mut all = Vec::new();
            for figures in asked {
                all.extend(figures.await);
            }
            all
        })
    }
}

async fn figures(known: Arc<Known>) -> Figures {
    let name = known.name.clone();
    let away = Figures {
        machine: name.clone(),
        ..Figures::default()
    };
    if known.state.load(Ordering::Acquire) == AWAY {
        return away;
    }
    let counted = known.at().within(SHORT).figures().await;
    counted.map_or(away, |counted| counted.read(name))
}
