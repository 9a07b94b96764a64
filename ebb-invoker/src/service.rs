//! The platform from its start to its end.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::net::SocketAddr;
use core::pin::pin;
use core::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ebb::net::{self, http, tcp};
use ebb::time::Instant;
use ebb::{CoreId, EbbRef, JoinHandle, core_count, println, spawn, spawn_on, time};
use ebb_openwhisk::Controller;
use ebb_openwhisk::json::{Json, Members};
use ebb_openwhisk::runtimes::{Launch, Runtimes};
use ebb_tls::Source;

use crate::books::{Books, NAMESPACE, epoch_ms};
use crate::here::Here;
use crate::instance::{InstanceLimits, InstanceMaker, InstanceRequest};
use crate::invoker::elapsed_us;
use crate::key::{random, random_key};
use crate::options::{Container, ServiceOptions};
use crate::state::{self, State};
use crate::{alarms, front, secret};

/// How long calls that run may take to end when the platform is to end: the longest that an action may run, and some more.
const DRAIN: Duration = Duration::from_secs(70);
/// How long a disk may take for the rest before it is said that it is waited for.
const SLOW: Duration = Duration::from_secs(1);
/// How long the first instance may take before the platform says that it has none.
const FIRST_INSTANCE: Duration = Duration::from_secs(600);
/// How long there is no call before the platform goes on with what only later ones need, and how long that waits at most.
const LULL: Duration = Duration::from_millis(400);
const LULL_PATIENCE: Duration = Duration::from_secs(10);
/// How long a machine may take to get its address before it says where it listens all the same.
const NETWORK: Duration = Duration::from_secs(3);

/// The platform, which listens and answers until it is stopped.
pub struct Service {
    server: tcp::Server,
    /// The certificate of `--tls`.
    source: Option<Source>,
    /// The key of the user `guest`, where that is known.
    key: Option<String>,
    /// What is kept, and where; `None` if nothing is.
    state: Option<String>,
    /// Ends when everything that is kept is read.
    loaded: RefCell<Option<JoinHandle<String>>>,
    deployed: Vec<String>,
}

impl Service {
    /// Deploys the actions that the options name, listens, and begins to make instances.
    ///
    /// # Errors
    /// A text that says what cannot be done, and what would help.
    pub async fn start(options: ServiceOptions) -> Result<Self, String> {
        // Which takes its time to get an address, while the disk is opened.
        let network = spawn(net::settled());
        let runtimes = runtimes(options.runtimes).await?;
        let books = EbbRef::<Books>::get();
        if books.back_end().is_none() {
            prepare_first(&runtimes);
        }
        let drawn = options.auth.map_or_else(random_key, String::from);
        books.open(&drawn, &options, runtimes, random());
        let kept = match options.ephemeral {
            true => None,
            false => state::open(&options, random()).await?,
        };
        let (key, state, loaded) = match kept {
            Some(State { key, text, loaded }) => (key, Some(text), Some(loaded)),
            None => (Some(drawn), None, None),
        };
        if let Some(key) = &key {
            books.controller(|c| c.set_key(NAMESPACE, key));
        }
        let deployed = match options.actions {
            Some(folder) => deploy_actions(folder).await?,
            None => Vec::new(),
        };
        let port = options.port;
        let source = match options.tls {
            true => Some(secret::open().await?),
            false => None,
        };
        let server = match &source {
            Some((_, acceptor)) => {
                let acceptor = acceptor.clone();
                ebb_tls::http::listen(port, acceptor, front::limits(), front::answer).await
            }
            None => http::listen(port, front::limits(), front::answer).await,
        };
        let server = server.map_err(|error| {
            format!("port {port} cannot be listened on: {error}; --port N takes another")
        })?;
        spawn(tell_actions(server.local_addr().port(), options.tls));
        if books.back_end().is_none() {
            spawn(warm_up(books.controller(|c| c.runtimes().launches())));
        }
        spawn(alarms::run());
        spawn(expire_records());
        let _ = time::timeout(NETWORK, network).await;
        Ok(Self {
            server,
            source: source.map(|(source, _)| source),
            key,
            state,
            loaded: RefCell::new(loaded),
            deployed,
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// Says where the platform is reached, with which key, and what to try.
    pub fn announce(&self) {
        let cores = core_count();
        let back_end = EbbRef::<Books>::get().back_end();
        let instances = back_end.unwrap_or(&Here).description();
        let memory_mb = EbbRef::<Books>::get().budget_bytes() >> 20;
        let port = self.server.local_addr().port();
        let (at, curl) = match &self.source {
            Some(source) => (source.url(port), format!("curl {}", source.curl())),
            None => (address(port), "curl ".into()),
        };
        let plural = if cores == 1 { "" } else { "s" };
        // One that was rotated is known by its hash only.
        let key = self.key.as_deref().unwrap_or("UUID:KEY");
        println!("invoker: {at}/ on {cores} core{plural}; Ctrl-C ends it");
        if let Some(hint) = net::unreached(port) {
            println!("  unreached  {hint}");
        }
        println!("  instances  {instances}; at most {memory_mb} MB");
        let kinds = EbbRef::<Books>::get().controller(|c| c.runtimes().names());
        println!("  kinds      {}", kinds.replace('\'', ""));
        if let Some(source) = &self.source {
            println!("  tls        the certificate is {}", source.place());
        }
        match &self.state {
            Some(state) => println!("  state      {state}"),
            None => println!("  state      none: what is deployed is gone when this ends"),
        }
        match &self.key {
            Some(key) => println!("  key        {key}"),
            None => {
                println!("  key        the one that {NAMESPACE} was given last (UUID:KEY below)")
            }
        }
        if let Some(first) = self.deployed.first() {
            println!("  deployed   {}", self.deployed.join(", "));
            println!(
                "  try        {curl}{at}/api/v1/web/{NAMESPACE}/default/{first}.json?name=you"
            );
        }
        println!("  try        K={key}; A={at}/api/v1/namespaces/_/actions");
        println!(
            "             {curl}-u $K -X PUT $A/hello -H 'content-type: application/json' \
             -d '{{\"exec\":{{\"kind\":\"nodejs:default\",\"code\":\"const main = ({{name}}) => ({{hello: name}})\"}}}}'"
        );
        println!(
            "             {curl}-u $K \"$A/hello?blocking=true&result=true\" -H 'content-type: application/json' -d '{{\"name\":\"you\"}}'"
        );
        if back_end.is_none() {
            println!("invoker: starting Node for the first instance");
        }
        if let Some(loaded) = self.loaded.take() {
            spawn(async move {
                if let Ok(said) = loaded.await {
                    println!("invoker: {said}");
                }
            });
        }
    }

    /// Ends: calls that run come to their end, new ones are refused.
    pub async fn stop(self) {
        let books = EbbRef::<Books>::get();
        match books.running() {
            0 => println!("invoker: ending"),
            1 => println!("invoker: ending when the running call has ended; Ctrl-C ends it now"),
            n => {
                println!(
                    "invoker: ending when the {n} running calls have ended; Ctrl-C ends them now"
                )
            }
        }
        let finished = time::timeout(DRAIN, books.drained()).await.is_ok();
        let mut kept = pin!(async {
            self.server.stop().await;
            // A disk that failed has said so before.
            let _ = state::flush_records().await;
            if let Some(keeper) = books.keeper() {
                keeper.close().await;
            }
        });
        if time::timeout(SLOW, kept.as_mut()).await.is_err() {
            println!(
                "invoker: ending when the disk has the last changes and records; Ctrl-C ends it now, without them"
            );
            kept.await;
        }
        if !finished {
            println!(
                "invoker: {} calls did not end within {} seconds",
                books.running(),
                DRAIN.as_secs()
            );
        }
    }
}

/// Makes the snapshots that instances of every kind are copies of, and writes them to the machine's disk. A platform that finds
/// them there makes none of its own.
///
/// # Errors
/// A text that says which cannot be made, and why.
pub async fn bake(options: ServiceOptions) -> Result<(), String> {
    let maker = EbbRef::<dyn InstanceMaker>::get();
    let launches = runtimes(options.runtimes).await?.launches();
    for launch in &launches {
        let done = maker.bake(launch).await;
        done.map_err(|why| format!("no snapshot of {}: {why}", launch.loader.name()))?;
    }
    println!("invoker: the snapshots are on the disk");
    Ok(())
}

/// Begins to make instances, for a front end of another crate, which makes its calls with
/// [`Books::back_end`] or [`Here`]. What comes back are the kinds of code that can be run: those of the manifest, or the
/// built-in ones.
///
/// # Errors
/// A text that says what is wrong with the manifest.
pub async fn begin_instances(manifest: Option<&str>) -> Result<Runtimes, String> {
    let kinds = runtimes(manifest).await?;
    let books = EbbRef::<Books>::get();
    // Nobody can use the REST API: there is no listener, and nobody has the key.
    let options = ServiceOptions {
        quiet: true,
        ..ServiceOptions::default()
    };
    books.open(&random_key(), &options, kinds.clone(), random());
    if books.back_end().is_none() {
        spawn(warm_up(kinds.launches()));
    }
    Ok(kinds)
}

/// Is one action container, for an OpenWhisk that has invokers of its own: Node runs the loader, which serves `/init` and
/// `/run` over HTTP. Ends with Node, as a container does.
///
/// # Errors
/// Node cannot be started, or ended with a failure: an action may do that.
pub async fn serve_container(container: Container) -> Result<(), String> {
    EbbRef::<dyn InstanceMaker>::get()
        .serve_container(container)
        .await
}

/// The kinds of code that the back end can run: those of a manifest, or the built-in ones.
async fn runtimes(file: Option<&str>) -> Result<Runtimes, String> {
    let back_end = EbbRef::<Books>::get().back_end().unwrap_or(&Here);
    let runtimes = match file {
        None => Runtimes::default(),
        Some(file) => {
            let bytes = EbbRef::<dyn InstanceMaker>::get().read_runtimes(file)?;
            let text = core::str::from_utf8(&bytes).map_err(|_| format!("{file} is not UTF-8"))?;
            Runtimes::parse(text).map_err(|why| format!("{file}: {why}"))?
        }
    };
    let mut impossible: Vec<Launch> = Vec::new();
    for runtime in runtimes.iter() {
        let launch = &runtime.launch;
        if impossible.contains(launch) || back_end.can_launch(launch).await {
            continue;
        }
        if let Some(file) = file {
            let program = launch.program.as_deref();
            return Err(format!(
                "{file}: the kind {} needs {}, which is not there",
                runtime.kind,
                program.unwrap_or(launch.loader.name())
            ));
        }
        impossible.push(launch.clone());
    }
    Ok(runtimes.available(|launch| !impossible.contains(launch)))
}

/// Deploys the `.js`, `.py`, `.zip` and `.tgz` files of a folder under their names.
async fn deploy_actions(folder: &str) -> Result<Vec<String>, String> {
    let files = EbbRef::<dyn InstanceMaker>::get().read_folder(folder)?;
    let mut deployed = Vec::new();
    for (file, content) in files {
        let Some((name, extension)) = file.rsplit_once('.') else {
            continue;
        };
        let source =
            |content| String::from_utf8(content).map_err(|_| format!("{file} is not UTF-8"));
        let (kind, code) = match extension {
            "js" => ("nodejs:default", source(content)?),
            "py" => ("python:default", source(content)?),
            "zip" | "tgz" => ("nodejs:default", STANDARD.encode(content)),
            _ => continue,
        };
        let exec = Members::new()
            .text("kind", kind)
            .text("code", &code)
            .finish();
        // Whoever puts a file here wants to call it, from a browser as well.
        let annotations = Json::parse("[{\"key\":\"web-export\",\"value\":true}]")?;
        let document = Members::new()
            .raw("exec", exec.as_str())
            .raw("annotations", annotations.as_str())
            .finish();
        deploy(name, &document)
            .await
            .map_err(|why| format!("{file} cannot be deployed: {why}"))?;
        deployed.push(name.into());
    }
    if deployed.is_empty() {
        println!("invoker: {folder} has no .js, .py, .zip or .tgz file");
    }
    Ok(deployed)
}

/// Deploys an action that differs from the one of that name.
async fn deploy(name: &str, document: &Json) -> Result<(), String> {
    let books = EbbRef::<Books>::get();
    let put = |controller: &mut Controller| {
        let done = controller.deploy(NAMESPACE, name, document, epoch_ms());
        done.map_err(|failure| failure.text)
    };
    let changed = loop {
        let (done, missed) = books.controller(|c| {
            let done = put(c);
            let changed = books.keeper().and_then(|keeper| keeper.changed(c));
            (done.map(|()| changed), c.take_missed())
        });
        if missed.is_empty() {
            break done?;
        }
        state::bring(missed).await;
    };
    match changed {
        Some(changed) => state::commit(changed)
            .await
            .map_err(|error| format!("{error}")),
        None => Ok(()),
    }
}

/// The URL at which the user reaches a port of this machine.
pub fn address(port: u16) -> String {
    let (host, port) = ebb::net::reached_at(port);
    format!("http://{host}:{port}")
}

/// Tells actions where the API is, as soon as this machine has an address.
async fn tell_actions(port: u16, tls: bool) {
    let ip = loop {
        let back_end = EbbRef::<Books>::get().back_end();
        match back_end.unwrap_or(&Here).front_end_address() {
            Some(ip) => break ip,
            None => time::sleep(Duration::from_millis(50)).await,
        }
    };
    let scheme = if tls { "https" } else { "http" };
    let host = format!("{scheme}://{}", SocketAddr::new(ip, port));
    EbbRef::<Books>::get().controller(|c| c.set_api_host(host));
}

/// Lets go of records that are too old.
async fn expire_records() {
    loop {
        time::sleep(Duration::from_secs(60)).await;
        EbbRef::<Books>::get().controller(|c| c.activations_mut().expire(epoch_ms()));
    }
}

/// Begins with what the first instance needs, on the core with least to do meanwhile: the first one opens the disk and the network.
fn prepare_first(runtimes: &Runtimes) {
    if let Some(launch) = runtimes.launches().into_iter().next() {
        let last = CoreId::new(core_count() - 1);
        drop(spawn_on(last, async move || {
            EbbRef::<dyn InstanceMaker>::get().prepare(&launch).await;
        }));
    }
}

/// Waits until nobody has called for a while.
async fn lull() {
    const LOOK: Duration = Duration::from_millis(20);
    let books = EbbRef::<Books>::get();
    let begun = Instant::now();
    let mut quiet_since = Instant::now();
    while quiet_since.elapsed() < LULL && begun.elapsed() < LULL_PATIENCE {
        time::sleep(LOOK).await;
        if books.running() > 0 {
            quiet_since = Instant::now();
        }
    }
}

/// Makes one instance of each sort and throws it away, so that a platform that cannot make any says so at the start, and the
/// first function of a language finds its base. The first sort has the machine for itself until it is ready; where it is ready at
/// once, because an earlier start has kept what instances are made of, the first calls have. Then each core makes its share of the
/// others, one after the other.
pub async fn warm_up(launches: Vec<Launch>) {
    let maker = EbbRef::<dyn InstanceMaker>::get();
    let Some((first, others)) = launches.split_first() else {
        return;
    };
    maker.prepare(first).await;
    if maker.is_warm() {
        lull().await;
    }
    make_first(first, true).await;
    while !maker.is_warm() {
        time::sleep(Duration::from_millis(50)).await;
    }
    // The first core has the network.
    let cores = core_count();
    let shares = (0..cores.min(others.len())).map(|number| {
        let share: Vec<_> = others.iter().skip(number).step_by(cores).cloned().collect();
        spawn_on(CoreId::new(cores - 1 - number), async move || {
            for launch in &share {
                lull().await;
                make_first(launch, false).await;
            }
        })
    });
    for share in shares.collect::<Vec<_>>() {
        let _ = share.await;
    }
}

/// Makes the first instance of a sort, on this core, and throws it away; says what became of it if that is not what it should.
async fn make_first(launch: &Launch, always: bool) {
    let maker = EbbRef::<dyn InstanceMaker>::get();
    let began = Instant::now();
    let text = match time::timeout(FIRST_INSTANCE, maker.make(launch, InstanceLimits::USUAL)).await
    {
        Ok(Ok(mut new)) => match new.instance.ask(InstanceRequest::Reset, "").await {
            Ok((200, _)) if !always => return,
            Ok((200, _)) => format!(
                "the first instance was ready after {} ms",
                elapsed_us(began) / 1000
            ),
            _ => "the first instance did not answer: see what it printed above".into(),
        },
        Ok(Err(failed)) => failed.why,
        Err(_) => "the first instance was not ready after 10 minutes".into(),
    };
    println!("invoker: {text}");
}
