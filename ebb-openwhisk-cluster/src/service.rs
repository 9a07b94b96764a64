//! The invoker from its start to its end, with the real bus, database and engine, and its own HTTP.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ebb::net::http::{self, Limits, Request, Response};
use ebb::net::tcp;
use ebb::{EbbRef, JoinHandle, println, spawn, time};
use ebb_invoker::Here;
use ebb_invoker::back_end::Unanswered;
use ebb_invoker::books::Books;
use ebb_invoker::invoker::Invoker as Core;
use ebb_openwhisk::call::{Call, CallOutcome};

use crate::couchdb::CouchDb;
use crate::counts::Counts;
#[cfg(feature = "scheduler")]
use crate::etcd::Etcd;
use crate::health::Probe;
use crate::invoker::{Invoker, epoch_ms};
use crate::kafka::{Kafka, KafkaFeed, ensure_topic};
use crate::options::{Options, SchedulerOptions};
use crate::seam;

/// The instances that the REST invoker has as well: this machine's, or those of the machines that it was given.
#[derive(Clone, Copy, Debug)]
pub struct Instances;

/// What a call counts at most: its start is by its controller's clock, and one that is years behind would spoil the sum of all.
const LONGEST_MS: u64 = 3_600_000;

impl seam::Engine for Instances {
    async fn call(&self, call: &Call) -> Result<CallOutcome, Unanswered> {
        let books = EbbRef::<Books>::get();
        let back_end = books.back_end().unwrap_or(&Here);
        let ran = back_end.execute(call).await?;
        let latency_ms = epoch_ms().saturating_sub(call.received_ms);
        let latency_us = latency_ms.min(LONGEST_MS) * 1000;
        EbbRef::<Core>::get().count(|m| m.activation(ran.kind, ran.outcome.status, latency_us));
        Ok(ran)
    }

    fn forget(&self, revision: u64) {
        let books = EbbRef::<Books>::get();
        let back_end = books.back_end().unwrap_or(&Here);
        back_end.keep_only(&|other| other != revision);
    }
}

/// How long activations that run may take to end, when the invoker is to end: the longest that an action may run, and some more.
const DRAIN: Duration = Duration::from_secs(310);
/// How long records may take to reach the database then.
const LAST_RECORDS: Duration = Duration::from_secs(10);

/// Messages that are taken from the topic at once in scheduler mode (`whisk.invoker.container-creation.max-peek`).
const CREATIONS: usize = 500;

/// Nobody's, in a program without scheduler mode.
#[cfg(not(feature = "scheduler"))]
struct Etcd;

#[cfg(not(feature = "scheduler"))]
impl Etcd {
    async fn end(&self) {}
}

type RealInvoker = Invoker<Kafka, CouchDb, Instances>;

/// An invoker that runs.
pub struct Service {
    invoker: Rc<RealInvoker>,
    etcd: Option<Etcd>,
    feed: Rc<KafkaFeed>,
    kafka: Kafka,
    serving: JoinHandle<()>,
    server: tcp::Server,
    banner: String,
}

impl Service {
    /// Makes the topic, subscribes to it, and tells controllers.
    ///
    /// # Errors
    /// A text that says what cannot be done, and what would help.
    pub async fn start(options: Options) -> Result<Self, String> {
        let runtimes = ebb_invoker::begin_instances(options.runtimes.as_deref()).await?;
        let counts = Arc::new(Counts::default());
        let topic = options.settings.topic();
        ensure_topic(&options.brokers, &topic).await?;
        let kafka = Kafka::of_invoker(&options.brokers, &counts)?;
        let most = match options.scheduler {
            Some(_) => CREATIONS,
            None => options.slots,
        };
        let feed = KafkaFeed::subscribe(&options.brokers, &topic, most, &counts)?;
        let feed = Rc::new(feed);
        let server = listen(options.port, &options.credentials, &counts).await?;
        let schedulers = match &options.scheduler {
            Some(scheduler) => format!(", schedulers by etcd at {}", scheduler.etcd.hosts),
            None => String::new(),
        };
        let banner = format!(
            "whisk-invoker: {topic} of Kafka at {}, CouchDB at {}:{}{schedulers}; Ctrl-C ends it\n  \
             slots      {} ({} MB)\n  instances  {}\n  kinds      {}\n  http       http://localhost:{}/metrics",
            options.brokers.hosts,
            options.couchdb.host,
            options.couchdb.port,
            options.slots,
            options.settings.id.user_memory_bytes >> 20,
            EbbRef::<Books>::get()
                .back_end()
                .unwrap_or(&Here)
                .description(),
            runtimes.names().replace('\'', ""),
            server.local_addr().port(),
        );
        let couchdb = CouchDb::new(options.couchdb);
        let probe = Probe::new(&options.settings.id, &runtimes);
        let invoker = Invoker::new(
            options.settings,
            kafka.clone(),
            couchdb,
            Instances,
            runtimes,
            counts,
        );
        // Before the first message: a namespace that is blocked stays so over a restart.
        invoker.refresh_blocked_once().await;
        drop(spawn(Rc::clone(&invoker).refresh_blocked()));
        drop(spawn(Rc::clone(&invoker).send_events()));
        let (serving, etcd) = match options.scheduler {
            None => (serve(&invoker, &feed), None),
            Some(scheduler) => {
                let (serving, etcd) = serve_schedulers(&invoker, &feed, scheduler, probe?)?;
                (serving, Some(etcd))
            }
        };
        Ok(Self {
            invoker,
            etcd,
            feed,
            kafka,
            serving,
            server,
            banner,
        })
    }

    /// Says what runs, and where it is seen.
    pub fn announce(&self) {
        println!("{}", self.banner);
    }

    /// Ends: controllers are told, nothing more is taken from the topic, what runs comes to its end and is acknowledged, records
    /// are stored. What is in the topic stays there, for the next start.
    pub async fn stop(self) {
        let counts = Arc::clone(self.invoker.counts());
        counts.enabled.store(false, Ordering::Relaxed);
        self.feed.close();
        println!(
            "whisk-invoker: ending when {} activations have ended; Ctrl-C ends them now",
            counts.running()
        );
        if time::timeout(DRAIN, self.serving).await.is_err() {
            println!(
                "whisk-invoker: {} activations did not end in time",
                counts.running()
            );
        }
        if !self.invoker.records().drained(LAST_RECORDS).await {
            println!(
                "whisk-invoker: records of {} bytes did not reach the database",
                self.invoker.records().counts().waiting_bytes
            );
        }
        self.kafka.flush();
        if let Some(etcd) = &self.etcd {
            etcd.end().await;
        }
        self.server.stop().await;
    }
}

/// Classic mode.
fn serve(invoker: &Rc<RealInvoker>, feed: &Rc<KafkaFeed>) -> JoinHandle<()> {
    drop(spawn(Rc::clone(invoker).ping()));
    let (invoker, feed) = (Rc::clone(invoker), Rc::clone(feed));
    spawn(async move { invoker.serve(feed).await })
}

/// Scheduler mode, where this program has none.
#[cfg(not(feature = "scheduler"))]
fn serve_schedulers(
    _: &Rc<RealInvoker>,
    _: &Rc<KafkaFeed>,
    _: SchedulerOptions,
    _: Probe,
) -> Result<(JoinHandle<()>, Etcd), String> {
    Err(
        "this program was built without scheduler mode; `--features scheduler` builds it with"
            .into(),
    )
}

/// Scheduler mode.
#[cfg(feature = "scheduler")]
fn serve_schedulers(
    invoker: &Rc<RealInvoker>,
    feed: &Rc<KafkaFeed>,
    scheduler: SchedulerOptions,
    probe: Probe,
) -> Result<(JoinHandle<()>, Etcd), String> {
    use crate::{grpc::Grpc, keys::Keys, pool::Pool, warm::warm_schedulers};
    let outside = ebb_etcd::outside::Outside::start("whisk grpc")?;
    let keys = Keys::new(&scheduler.pool.cluster, &invoker.settings().id);
    let etcd = Etcd::start(&outside, &scheduler.etcd, keys.lease())?;
    let grpc = Grpc::new(&outside);
    drop(spawn(warm_schedulers(etcd.clone(), grpc.clone(), keys)));
    let pool = Pool::new(
        Rc::clone(invoker),
        etcd.clone(),
        grpc,
        scheduler.pool,
        probe,
    );
    drop(spawn(Rc::clone(&pool).attend()));
    let feed = Rc::clone(feed);
    let serving = spawn(async move { pool.serve(feed).await });
    Ok((serving, etcd))
}

async fn listen(port: u16, credentials: &str, counts: &Arc<Counts>) -> Result<tcp::Server, String> {
    let authorization: Arc<str> = format!("Basic {}", STANDARD.encode(credentials)).into();
    let counts = Arc::clone(counts);
    let server = http::listen(
        port,
        Limits::default(),
        async move |request: &mut Request<'_>| answer(request, &authorization, &counts).await,
    );
    server.await.map_err(|error| {
        format!("port {port} cannot be listened on: {error}; --port N takes another")
    })
}

/// The paths of `DefaultInvokerServer.scala` and `FPCInvokerServer.scala`, and `/metrics`.
async fn answer(request: &mut Request<'_>, authorization: &str, counts: &Counts) -> Response {
    let is_allowed = request.header("authorization") == Some(authorization);
    match (request.method(), request.path()) {
        ("GET", "/ping") => Response::text("pong"),
        ("GET", "/metrics") => {
            let mut text = ebb_invoker::metrics_text().await.unwrap_or_default();
            counts.render(&mut text);
            Response::text(text)
        }
        ("POST", "/enable" | "/disable" | "/machines/restart")
        | ("GET", "/isEnabled" | "/pool" | "/pool/count")
            if !is_allowed =>
        {
            Response::error(
                401,
                "the name and the password of the invoker's HTTP are wanted",
            )
            .with("www-authenticate", "Basic realm=\"invoker\"")
        }
        ("POST", path @ ("/enable" | "/disable")) => {
            let enable = path == "/enable";
            let was = counts.enabled.swap(enable, Ordering::Relaxed);
            let word = if enable { "enabled" } else { "disabled" };
            let when = if was == enable { "already" } else { "now" };
            Response::text(format!("the invoker is {when} {word}."))
        }
        ("GET", "/isEnabled") => {
            Response::json(format!("{{\"isEnabled\":{}}}", counts.is_enabled()))
        }
        // Not the reference's: its machines are somebody else's.
        ("POST", "/machines/restart") => {
            let books = EbbRef::<Books>::get();
            match books.back_end().unwrap_or(&Here).restart() {
                Ok(count) => Response::text(format!("{count} machines are being replaced.")),
                Err(why) => Response::error(409, &why),
            }
        }
        ("GET", path @ ("/pool" | "/pool/count")) => {
            let pool = counts.pool().clone();
            match (pool.is_empty(), path) {
                (true, _) => Response::error(404, "there are no containers in classic mode"),
                (false, "/pool") => Response::json(pool),
                (false, _) => Response::json(format!("{}", counts.containers.get())),
            }
        }
        _ => Response::error(404, "there is no such path"),
    }
}
