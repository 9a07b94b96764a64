//! The bases: one Node boots, is warmed by a throw-away action, and is captured; every instance of JavaScript is a copy of that, or of a
//! function's own snapshot. Each other launch with a loader has a base of its own.
//!
//! A base has the largest heap limit that an action may ask for; a copy's own limit is that of its UC, which counts
//! whatever the copy adds to the base.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use ebb::sync::oneshot;
use ebb::time::{Instant, sleep};
use ebb::{EbbRef, ebb, println};
use ebb_invoker::instance::{Instance, InstanceLimits, InstanceRequest};
use ebb_invoker::near::Near;
use ebb_openwhisk::json::Members;
use ebb_openwhisk::runtimes::{Launch, Loader};
use hashbrown::HashMap;
use spin::mutex::SpinMutex;

use crate::guest::{Frozen, Guest};
use crate::kept::KeptBases;
use crate::near::SharedBases;

/// The most that an action may ask for.
const LARGEST_HEAP: InstanceLimits = InstanceLimits { memory_mb: 512 };
/// How many times the base is warmed: V8 collects what it knows of a function's values from its eighth call on.
const ROUNDS: usize = 8;

/// How many of them, the first ones, with all that the warming action can do.
const ALL_ROUNDS: usize = 2;

/// How many further calls the small action has in each round: V8 collects nothing of a short function before it has run for some
/// hundreds of bytecodes, and what is not collected in the base is a slow path in each copy's first call.
const FURTHER_RUNS: usize = 8;

/// How many later calls show what copies need in every call.
const LATER: usize = 2;

/// What a base is warmed with.
struct Warming {
    /// The language, for people.
    name: &'static str,
    /// An action that does what actions do.
    large: &'static str,
    /// A small one: what a copy does to become any function, and no more.
    small: &'static str,
    /// One as functions are: the pages that a copy uses to become that and to run it once, all copies get ahead.
    usual: &'static str,
}

const JAVASCRIPT: Warming = Warming {
    name: "Node",
    large: include_str!("warming.js"),
    small: "function main(args) { return { greeting: 'hello ' + args.name }; }",
    usual: "const words = (text) => text.split(' ').map((word) => word.trim()).filter(Boolean);
async function main(args) {
  try {
    const greeting = `hello ${args.name}`;
    return { greeting, words: words(greeting).length };
  } catch (error) {
    return { error: String(error) };
  }
}
",
};

const PYTHON: Warming = Warming {
    name: "Python",
    large: include_str!("warming.py"),
    small: "def main(args):\n    return {'greeting': 'hello ' + str(args.get('name'))}\n",
    usual: "def main(args):\n    return {'greeting': 'hello ' + str(args.get('name'))}\n",
};

impl Warming {
    fn of(launch: &Launch) -> &'static Self {
        match launch.loader {
            Loader::Python => &PYTHON,
            Loader::Node | Loader::Executable => &JAVASCRIPT,
        }
    }
}
/// Longer than the timers last that the warming action leaves behind (Node's HTTP keeps the date for a second).
const SETTLED: Duration = Duration::from_millis(1200);

/// A base.
#[derive(Default)]
enum Base {
    /// It has not been asked for.
    #[default]
    Unasked,
    /// Its program is starting; these wait for it.
    Coming(Vec<oneshot::Sender<()>>),
    /// It runs the loader, and is being warmed.
    Unwarmed(Arc<Frozen>),
    /// It has been warmed, or cannot be.
    Ready(Arc<Frozen>),
    /// It cannot be made: every instance boots.
    Failed,
}

/// What instances are copies of.
pub struct Origin {
    pub frozen: Arc<Frozen>,
    /// It is the one that stays, so that copies may be made of it in advance.
    pub stays: bool,
}

/// The bases and what else all cores share.
#[ebb(shared)]
pub struct BaseStore {
    bases: SpinMutex<HashMap<Launch, Base>>,
}

impl Default for BaseStore {
    fn default() -> Self {
        Self {
            bases: SpinMutex::new(HashMap::new()),
        }
    }
}

impl BaseStore {
    /// What an instance is to be a copy of. The first to ask has it made. `None` when that fails.
    pub async fn origin(&self, launch: &Launch) -> Option<Origin> {
        loop {
            let coming = {
                let origin = |frozen: &Arc<Frozen>, stays| Origin {
                    frozen: Arc::clone(frozen),
                    stays,
                };
                let mut bases = self.bases.lock();
                let base = bases.entry_ref(launch).or_default();
                match base {
                    Base::Ready(frozen) => return Some(origin(frozen, true)),
                    Base::Unwarmed(frozen) => return Some(origin(frozen, false)),
                    Base::Failed => return None,
                    Base::Coming(waiting) => {
                        let (sender, receiver) = oneshot::channel();
                        waiting.push(sender);
                        Some(receiver)
                    }
                    Base::Unasked => {
                        *base = Base::Coming(Vec::new());
                        None
                    }
                }
            };
            match coming {
                Some(receiver) => drop(receiver.await),
                // A task of its own: whoever asked may give up.
                None => drop(ebb::spawn(make_base(launch.clone()))),
            }
        }
    }

    /// Whether each base that was asked for is what it will be.
    pub fn is_settled(&self) -> bool {
        let bases = self.bases.lock();
        let is_settled = |base: &Base| matches!(base, Base::Ready(_) | Base::Failed);
        !bases.is_empty() && bases.values().all(is_settled)
    }

    /// There is the one that stays; its content has a name if others have it as well.
    pub fn settle(&self, launch: &Launch, base: Arc<Frozen>, content: Option<u128>) {
        EbbRef::<SharedBases>::get().add(launch, &base, content);
        self.set(launch, Base::Ready(base));
    }

    /// The one that stays, if it is there.
    fn settled(&self, launch: &Launch) -> Option<Arc<Frozen>> {
        match self.bases.lock().get(launch) {
            Some(Base::Ready(base)) => Some(Arc::clone(base)),
            _ => None,
        }
    }

    fn set(&self, launch: &Launch, base: Base) {
        let before = self.bases.lock().insert(launch.clone(), base);
        if let Some(Base::Coming(waiting)) = before {
            for waiting in waiting {
                let _ = waiting.send(());
            }
        }
    }
}

/// Makes a base: at first as its program is when it has started, so that the first calls do not wait, and then a warmed one. What a
/// neighbour has is not made, and while one is making it this machine does not warm its own.
async fn make_base(launch: Launch) {
    let store = EbbRef::<BaseStore>::get();
    let begun = Instant::now();
    let warming = Warming::of(&launch);
    let name = warming.name;
    let kept = EbbRef::<KeptBases>::get();
    match kept.read(&launch).await {
        Ok((base, content)) => {
            println!(
                "invoker: base snapshot of {name}, {} MB, read from the disk in {} ms",
                base.used() >> 20,
                begun.elapsed().as_millis()
            );
            store.settle(&launch, Arc::new(base), Some(content));
            kept.open_functions().await;
            return;
        }
        Err(Some(why)) => println!("invoker: the base snapshot of {name} is made anew: {why}"),
        Err(None) => {}
    }
    if fetched(&launch, name, false).await {
        return;
    }
    let (mut guest, first) = match start(&launch, name).await {
        Ok(started) => started,
        Err(why) => {
            println!("invoker: no base snapshot of {name}, so every instance boots: {why}");
            store.set(&launch, Base::Failed);
            return;
        }
    };
    let first = Arc::new(first);
    store.set(&launch, Base::Unwarmed(Arc::clone(&first)));
    if fetched(&launch, name, true).await {
        return;
    }
    match warmed(&mut guest, warming, begun).await {
        Ok(base) => {
            let base = Arc::new(base);
            store.settle(&launch, Arc::clone(&base), None);
            drop(guest);
            keep(&launch, name, &base).await;
        }
        Err(why) => {
            println!("invoker: the base snapshot is that of a {name} that has run nothing: {why}");
            store.settle(&launch, first, None);
        }
    }
}

/// Gets a base from a neighbour; false if none has it, or is making it when this machine `waits`.
async fn fetched(launch: &Launch, name: &str, waits: bool) -> bool {
    let begun = Instant::now();
    if !EbbRef::<Near>::get().base(launch, waits).await {
        return false;
    }
    let base = EbbRef::<BaseStore>::get().settled(launch);
    if let Some(base) = base {
        println!(
            "invoker: base snapshot of {name}, {} MB, from a neighbour in {} ms",
            base.used() >> 20,
            begun.elapsed().as_millis()
        );
        keep(launch, name, &base).await;
    }
    true
}

/// Writes a base to the disk, if there is one.
async fn keep(launch: &Launch, name: &str, base: &Frozen) {
    let kept = EbbRef::<KeptBases>::get();
    kept.open_functions().await;
    match kept.write(launch, base).await {
        Ok(true) => println!("invoker: the base snapshot of {name} is kept for later starts"),
        Ok(false) => {}
        Err(why) => println!("invoker: the base snapshot of {name} is not kept: {why}"),
    }
}

/// Makes a base and writes it to the disk.
///
/// # Errors
/// Why there is none then.
pub async fn bake(launch: &Launch) -> Result<(), String> {
    let begun = Instant::now();
    let warming = Warming::of(launch);
    let (mut guest, _) = start(launch, warming.name).await?;
    let base = warmed(&mut guest, warming, begun).await?;
    match EbbRef::<KeptBases>::get().write(launch, &base).await {
        Ok(true) => Ok(()),
        Ok(false) => Err("there is no disk to write it to".into()),
        Err(why) => Err(why),
    }
}

/// Starts the program, up to where the loader waits for its first request.
async fn start(launch: &Launch, name: &str) -> Result<(Guest, Frozen), String> {
    let mut guest = Guest::boot(launch, LARGEST_HEAP)
        .map_err(|e| format!("{name} does not start: {}", e.text()))?;
    ask(&mut guest, InstanceRequest::Reset, "").await?;
    let frozen = guest.capture_parked().await?;
    Ok((guest, frozen))
}

async fn warmed(guest: &mut Guest, warming: &Warming, begun: Instant) -> Result<Frozen, String> {
    warm(guest, warming).await?;
    let raw = guest.capture_parked().await?;
    // What the first copy does all do; the pages of files that it reads can be mapped for all of them at once.
    learn(&raw, warming).await?;
    let base = raw.settled()?;
    let (own, at_rest, asleep) = learn(&base, warming).await?;
    let (written, read) = base.working_set();
    println!(
        "invoker: base snapshot of {}, {} MB after {} ms; a copy that has run has {} KB of its own, {} KB at rest and {} KB after long; {written} pages written and {read} read at first, {} needed again",
        warming.name,
        base.used() >> 20,
        begun.elapsed().as_millis(),
        own >> 10,
        at_rest >> 10,
        asleep >> 10,
        base.needed(),
    );
    Ok(base)
}

/// Runs a copy, and remembers what it used the first time and what later; bytes that it has of its own after the first time, when it
/// rests, and when it rests for long.
async fn learn(base: &Frozen, warming: &Warming) -> Result<(u64, u64, u64), String> {
    let mut first = base.copy_guest(InstanceLimits::USUAL).map_err(|e| e.why)?;
    init_and_run(&mut first, warming.usual, false).await?;
    first.learn();
    drop(first);
    let mut first = base.copy_guest(InstanceLimits::USUAL).map_err(|e| e.why)?;
    init_and_run(&mut first, warming.small, false).await?;
    let own = first.own();
    first.begin_use();
    for _ in 0..LATER {
        run(&mut first, false).await?;
    }
    first.learn_needed();
    first.rest(false);
    let at_rest = first.own();
    first.rest(true);
    Ok((own, at_rest, first.own()))
}

async fn ask(guest: &mut Guest, request: InstanceRequest, body: &str) -> Result<(), String> {
    match guest.ask(request, body).await {
        Ok((200, _)) => Ok(()),
        Ok((status, body)) => Err(format!(
            "{request:?} of the warming action gave {status}: {}",
            String::from_utf8_lossy(&body)
        )),
        Err(lost) => Err(format!("{request:?} of the warming action: {lost:?}")),
    }
}

/// What an instance is told of its action, by its init, and of each call.
const OF_ACTION: [&str; 3] = ["namespace", "action_name", "action_version"];
const OF_CALL: [&str; 3] = ["activation_id", "transaction_id", "deadline"];

async fn init_and_run(guest: &mut Guest, code: &str, all: bool) -> Result<(), String> {
    let mut value = Members::new();
    value.text("name", "warming").text("main", "main");
    value.text("code", code).bool("binary", false);
    // As the platform's requests are (`Call::init_body`, `Call::run_body`), in their order: V8 has made the shapes of these objects then.
    let mut env = Members::new();
    for name in ["api_host"].iter().chain(&OF_ACTION).chain(&OF_CALL) {
        env.text(&format!("__OW_{}", name.to_ascii_uppercase()), "warming");
    }
    value.raw("env", env.finish().as_str());
    let init = Members::new()
        .raw("value", value.finish().as_str())
        .finish();
    ask(guest, InstanceRequest::Init, init.as_str()).await?;
    run(guest, all).await
}

async fn run(guest: &mut Guest, all: bool) -> Result<(), String> {
    let value = Members::new().text("name", "you").bool("all", all).finish();
    let mut run = Members::new();
    run.raw("value", value.as_str());
    // What its init has said of the action, a run leaves out.
    for name in &OF_CALL {
        run.text(name, "warming");
    }
    let run = run.finish();
    ask(guest, InstanceRequest::Run, run.as_str()).await
}

/// Drives a throw-away action through all that a call needs, and forgets it.
async fn warm(guest: &mut Guest, warming: &Warming) -> Result<(), String> {
    for round in 0..ROUNDS {
        let all = round < ALL_ROUNDS;
        guest.thaw_as_copy();
        init_and_run(guest, warming.large, all).await?;
        ask(guest, InstanceRequest::Reset, "").await?;
        if round + 1 == ALL_ROUNDS {
            sleep(SETTLED).await;
        }
        guest.thaw_as_copy();
        init_and_run(guest, warming.small, false).await?;
        for _ in 0..FURTHER_RUNS {
            run(guest, false).await?;
        }
        ask(guest, InstanceRequest::Reset, "").await?;
    }
    Ok(())
}
