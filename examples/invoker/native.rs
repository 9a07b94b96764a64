//! Instances in the image: each is a UC in which an unmodified Node runs the loader.
//!
//! The loader is spoken to over a channel that is the guest's descriptor 3 (`--fd 3`, frames as in
//! `ebb_openwhisk::instance`); descriptors 1 and 2 are channels as well, whose bytes become the activation's logs. All
//! three are emptied whenever this side looks, so a guest that writes much never waits for long.
//!
//! One Node boots, for the *base*: it is warmed by a throw-away action and captured. Every new instance is a copy of the
//! base, or of a function's own snapshot. The base has the largest heap limit that an action may ask for; a copy's own
//! limit is that of its UC, which counts whatever the copy adds to the base.

mod guest;

mod stock;

use alloc::{boxed::Box, format, string::String, sync::Arc, vec::Vec};
use core::net::IpAddr;
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;

use ebb::platform::Environment;
use ebb::sync::oneshot;
use ebb::time::{Instant, sleep};
use ebb::{EbbRef, ebb, println};
use ebb_openwhisk::instance::{Boxed, Deploy, Instance, NotStarted, Request, Started, Wanted};
use ebb_openwhisk::json::Members;
use ebb_runtime::provides;
use spin::mutex::SpinMutex;

use guest::{Frozen, Guest, not_started};
use stock::Stock;

// One core for each program, so V8's pool of helpers brings nothing. Its memory reducer would wake every idle instance seconds
// after a collection, to collect again.
ebb_archive::manifest!(
    "program node\nargs --v8-pool-size=0 --no-memory-reducer --expose-gc\nworkdir /tmp\n\
     env NODE_ENV=production HOME=/tmp TMPDIR=/tmp\n\
     file /loader.js ebb-invoker/loader.js\ntree /loader ebb-invoker/loader\n\
     argument /actions --actions\n\
     npm /node_modules openwhisk@3.21.9 express@4.21.2 serialize-error@3.0.0 redis@3.1.2 uuid@9.0.1\n"
);
ebb_archive::variables!("EBB_AUTH EBB_FORWARD=3233:3233 EBB_MEMORY=2G");

/// MB of heap that an action may ask for at most.
const LARGEST_HEAP: u32 = 512;
/// Bytes that are not for instances: connections, bodies of requests, entities, records.
const RESERVE: u64 = 512 << 20;
/// Bytes that stay free whatever the books of instances say: the stock of blank copies ends here, and idle instances have to
/// make room.
pub const KEPT_FREE: u64 = 48 << 20;

/// How often the base is warmed: V8 collects what it knows of a function's values from its eighth call on.
const ROUNDS: usize = 8;

/// How often with all that the warming action can do, at first.
const ALL_ROUNDS: usize = 2;

/// What the base is warmed with.
const WARMING: &str = include_str!("native/warming.js");
/// A small action: what a copy does to become any function, and no more.
const SMALL: &str = "function main(args) { return { greeting: 'hello ' + args.name }; }";
/// As long as timers last that the warming action leaves behind (Node's HTTP keeps the date for a second).
const SETTLED: Duration = Duration::from_millis(1200);

/// The base.
enum Base {
    /// Nobody has asked for it.
    Unasked,
    /// It is being made; these wait for it.
    Coming(Vec<oneshot::Sender<()>>),
    Ready(Arc<Frozen>),
    /// It cannot be made: every instance boots.
    Failed,
}

/// What all cores share.
#[ebb(shared)]
struct Shared {
    base: SpinMutex<Base>,
    last_pid: AtomicU32,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            base: SpinMutex::new(Base::Unasked),
            last_pid: AtomicU32::new(1),
        }
    }
}

impl Shared {
    /// A process id that no instance has had for long.
    fn new_pid(&self) -> u32 {
        2 + self.last_pid.fetch_add(1, Ordering::Relaxed) % 4_000_000
    }

    /// The base, which the first to ask makes. `None` when it cannot be made.
    async fn base(&self) -> Option<Arc<Frozen>> {
        loop {
            let wait = {
                let mut base = self.base.lock();
                match &mut *base {
                    Base::Ready(base) => return Some(Arc::clone(base)),
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
            match wait {
                Some(receiver) => drop(receiver.await),
                None => {
                    // A task of its own: whoever asked may give up.
                    drop(ebb::spawn(async {
                        let made = make_base().await;
                        let shared = EbbRef::<Shared>::get();
                        let now = match made {
                            Ok(frozen) => Base::Ready(Arc::new(frozen)),
                            Err(why) => {
                                println!(
                                    "invoker: no base snapshot, so every instance boots: {why}"
                                );
                                Base::Failed
                            }
                        };
                        let before = core::mem::replace(&mut *shared.base.lock(), now);
                        if let Base::Coming(waiting) = before {
                            for waiting in waiting {
                                let _ = waiting.send(());
                            }
                        }
                    }));
                }
            }
        }
    }
}

async fn make_base() -> Result<Frozen, String> {
    let begun = Instant::now();
    let mut guest =
        Guest::boot(LARGEST_HEAP).map_err(|e| format!("Node does not start: {}", e.text()))?;
    warm(&mut guest).await?;
    let raw = guest.capture_parked().await?;
    drop(guest);
    // What the first copy does all do; the pages of files that it reads can be mapped for all of them at once.
    learn(&raw).await?;
    let base = raw.settled()?;
    let own = learn(&base).await?;
    let (written, read) = base.working_set();
    println!(
        "invoker: base snapshot of {} MB after {} ms; a copy that has run once has {} KB of its own, {written} pages written and {read} read",
        base.used() >> 20,
        begun.elapsed().as_millis(),
        own >> 10
    );
    Ok(base)
}

/// Runs a copy once, and remembers what it used; bytes that it has of its own then.
async fn learn(base: &Frozen) -> Result<u64, String> {
    let mut first = base.deploy(Wanted { memory: 256 }).map_err(|e| e.why)?;
    init_and_run(&mut first, SMALL, false).await?;
    first.learn();
    Ok(first.own())
}

async fn ask(guest: &mut Guest, request: Request, body: &str) -> Result<(), String> {
    match guest.ask(request, body).await {
        Ok((200, _)) => Ok(()),
        Ok((status, body)) => Err(format!(
            "{request:?} of the warming action gave {status}: {}",
            String::from_utf8_lossy(&body)
        )),
        Err(lost) => Err(format!("{request:?} of the warming action: {lost:?}")),
    }
}

async fn init_and_run(guest: &mut Guest, code: &str, all: bool) -> Result<(), String> {
    let mut value = Members::new();
    value.text("name", "warming").text("main", "main");
    value.text("code", code).bool("binary", false);
    // As the platform's requests are: see `Call::init_body` and `Call::run_body`.
    let mut env = Members::new();
    for name in [
        "NAMESPACE",
        "ACTION_NAME",
        "ACTION_VERSION",
        "ACTIVATION_ID",
    ] {
        env.text(&format!("__OW_{name}"), "warming");
    }
    value.raw("env", env.finish().as_str());
    let init = Members::new()
        .raw("value", value.finish().as_str())
        .finish();
    ask(guest, Request::Init, init.as_str()).await?;
    let value = Members::new().text("name", "you").bool("all", all).finish();
    let mut run = Members::new();
    for name in [
        "namespace",
        "action_name",
        "action_version",
        "activation_id",
    ] {
        run.text(name, "warming");
    }
    let run = run.raw("value", value.as_str()).finish();
    ask(guest, Request::Run, run.as_str()).await
}

/// Drives a throw-away action through all that a call needs, and forgets it.
async fn warm(guest: &mut Guest) -> Result<(), String> {
    for round in 0..ROUNDS {
        let all = round < ALL_ROUNDS;
        init_and_run(guest, WARMING, all).await?;
        ask(guest, Request::Reset, "").await?;
        if round + 1 == ALL_ROUNDS {
            sleep(SETTLED).await;
        }
        init_and_run(guest, SMALL, false).await?;
        ask(guest, Request::Reset, "").await?;
    }
    Ok(())
}

ebb::option!("budget", "a number of bytes", |v| v.parse::<u64>().is_ok());

struct Image;

#[provides(Deploy, instance = &Image)]
impl Deploy for Image {
    fn start(&self, wanted: Wanted) -> Boxed<'static, Result<Started, NotStarted>> {
        Box::pin(async move {
            let Some(base) = EbbRef::<Shared>::get().base().await else {
                let guest = Guest::boot(wanted.memory)
                    .map_err(|errno| not_started(errno, "an instance cannot be started"))?;
                return Ok(Started {
                    instance: Box::new(guest),
                    ahead: false,
                });
            };
            let stock = EbbRef::<Stock>::get();
            stock.keep_filled(&base);
            let taken = stock.take(wanted);
            let ahead = taken.is_some();
            let guest = match taken {
                Some(guest) => guest,
                None => base.deploy(wanted)?,
            };
            Ok(Started {
                instance: Box::new(guest),
                ahead,
            })
        })
    }

    fn short(&self) -> u64 {
        KEPT_FREE.saturating_sub(self.free())
    }

    fn free(&self) -> u64 {
        ebb_mem::frame::stats().free * 4096
    }

    fn made_ahead(&self) -> usize {
        EbbRef::<Stock>::get().len()
    }

    fn memory(&self) -> u64 {
        if let Some(budget) = EbbRef::<dyn Environment>::get().option("budget") {
            return budget.parse().unwrap_or(0);
        }
        let free = self.free();
        free.saturating_sub(RESERVE).max(free / 2)
    }

    fn first_bytes(&self) -> u64 {
        4 << 20
    }

    fn uses_own_time(&self) -> bool {
        true
    }

    /// Loopback is each UC's own.
    fn machine(&self) -> Option<IpAddr> {
        let addresses = ebb::net::configuration().addresses;
        addresses.iter().map(|(ip, _)| *ip).find(IpAddr::is_ipv4)
    }

    fn description(&self) -> String {
        String::from("unikernel contexts, each a copy of an unmodified Node.js")
    }

    /// The runner packs what `--actions` names as `/actions`.
    fn actions(&self, folder: &str) -> Result<Vec<(String, Vec<u8>)>, String> {
        let bytes = EbbRef::<dyn Environment>::get().archive();
        let archive = ebb_archive::Archive::new(bytes)
            .map_err(|error| format!("the boot archive cannot be read: {error}"))?;
        let directory = archive.root().child(b"actions").ok_or_else(|| {
            format!("the boot archive has no folder {folder}; start the image with the runner")
        })?;
        Ok(directory
            .children()
            .filter_map(|file| Some((core::str::from_utf8(file.name()).ok()?, file)))
            .map(|(name, file)| (String::from(name), file.data().to_vec()))
            .collect())
    }
}
