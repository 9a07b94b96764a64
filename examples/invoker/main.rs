//! A serverless platform: JavaScript arrives over the network and runs on V8, on every core.
//!
//!     cargo run --release --example invoker        as a virtual machine
//!     cargo hosted invoker                         as a Linux process
//!
//! It speaks Apache OpenWhisk's REST API, so `wsk`, the npm package `openwhisk` and curl work as they are; the start says
//! with which key. `EBB_AUTH=uuid:key` sets the key. Arguments:
//!
//! | | |
//! |---|---|
//! | `--actions DIR` | deploys the .js, .zip and .tgz files of a folder at the start |
//! | `--port N` | where to listen, 3233 when left out |
//! | `--quiet` | prints no line for each activation |
//! | `--auth UUID:KEY` | as `EBB_AUTH` |
//! | `--runtime` | is one action container instead, for an OpenWhisk that has invokers: `/init` and `/run` on port 8080 |
//! | `--concurrent` | lets runs of that container overlap |
//!
//! | file | |
//! |---|---|
//! | `main.rs` | the start: options, banner, actions that are deployed at once |
//! | `platform.rs` | what all cores share: the API's state, the books of instances |
//! | `engine.rs` | the Ebb of each core: its instances, and how a call gets one |
//! | `front.rs` | HTTP: the API, metrics, the live page |
//! | `native.rs`, `native/` | instances in the image |
//! | `runtime.rs` | the action container |
//! | `loader.js` | what Node runs inside an instance |
//!
//! Instances come from the component `Deploy`: Linux processes when hosted, UCs in the image.

#![no_std]
#![no_main]

extern crate alloc;

mod engine;
mod front;
#[cfg(not(any(ebb_hosted, not(panic = "abort"))))]
mod native;
mod platform;
#[cfg(not(any(ebb_hosted, not(panic = "abort"))))]
mod runtime;

use alloc::{format, string::String, vec::Vec};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use core::time::Duration;
use ebb::net::http;
use ebb::platform::{Entropy, Environment};
use ebb::{EbbRef, core_count, println, spawn, time};
use ebb_openwhisk::instance::Deploy;
use ebb_openwhisk::json::{Json, Members};
// Linking it makes it the provider of instances.
#[cfg(any(ebb_hosted, not(panic = "abort")))]
use ebb_invoker_hosted as _;

use platform::Platform;

/// The namespace of the one user.
pub const NAMESPACE: &str = "guest";
const USAGE: &str = "usage: invoker [--port N] [--actions DIR] [--auth UUID:KEY] [--quiet] | --runtime [--port N] [--concurrent]";

const HELP: &str = "\
A serverless platform that speaks Apache OpenWhisk's REST API; actions are JavaScript.

  --actions DIR     deploys the .js, .zip and .tgz files of a folder at the start
  --port N          where to listen (3233)
  --auth UUID:KEY   the key that opens it, as EBB_AUTH; a random one when left out
  --quiet           prints no line for each activation
  --runtime         is one action container instead: /init and /run on port 8080
  --concurrent      lets runs of that container overlap";

/// What the command line says.
struct Options {
    help: bool,
    port: Option<u16>,
    actions: Option<&'static str>,
    quiet: bool,
    auth: Option<&'static str>,
    runtime: bool,
    concurrent: bool,
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        help: false,
        port: None,
        actions: None,
        quiet: false,
        auth: EbbRef::<dyn Environment>::get().option("auth"),
        runtime: false,
        concurrent: false,
    };
    let mut arguments = ebb::args().iter().copied();
    while let Some(argument) = arguments.next() {
        let mut value = || {
            arguments
                .next()
                .ok_or_else(|| format!("{argument} needs a value; {USAGE}"))
        };
        match argument {
            "--port" => {
                let text = value()?;
                let port = text
                    .parse()
                    .map_err(|_| format!("--port takes a number from 0 to 65535, not {text}"))?;
                options.port = Some(port);
            }
            "--actions" => options.actions = Some(value()?),
            "--auth" => options.auth = Some(value()?),
            "--quiet" => options.quiet = true,
            "--help" | "-h" => options.help = true,
            "--runtime" => options.runtime = true,
            "--concurrent" => options.concurrent = true,
            other => return Err(format!("{other} is not known; {USAGE}")),
        }
    }
    Ok(options)
}

ebb::option!("auth", "uuid:key", |v| v.contains(':'));

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    EbbRef::<dyn Entropy>::get().fill(&mut bytes);
    bytes
}

/// A random key.
fn random_key() -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let uuid = hex(&random::<16>());
    let parts = [
        &uuid[..8],
        &uuid[8..12],
        &uuid[12..16],
        &uuid[16..20],
        &uuid[20..],
    ];
    format!("{}:{}", parts.join("-"), hex(&random::<32>()))
}

/// Deploys the `.js`, `.zip` and `.tgz` files of a folder under their names.
async fn deploy(folder: &str) -> Result<Vec<String>, String> {
    let files = EbbRef::<dyn Deploy>::get().actions(folder)?;
    let mut deployed = Vec::new();
    for (file, content) in files {
        let Some((name, extension)) = file.rsplit_once('.') else {
            continue;
        };
        let code = match extension {
            "js" => String::from_utf8(content).map_err(|_| format!("{file} is not UTF-8"))?,
            "zip" | "tgz" => STANDARD.encode(content),
            _ => continue,
        };
        let exec = Members::new()
            .text("kind", "nodejs:default")
            .text("code", &code)
            .finish();
        // Whoever puts a file here wants to call it, from a browser as well.
        let annotations = Json::parse("[{\"key\":\"web-export\",\"value\":true}]")?;
        let document = Members::new()
            .raw("exec", exec.as_str())
            .raw("annotations", annotations.as_str())
            .finish();
        EbbRef::<Platform>::get()
            .controller(|c| c.deploy(NAMESPACE, name, &document, platform::now()))
            .map_err(|failure| format!("{file} cannot be deployed: {}", failure.text))?;
        deployed.push(name.into());
    }
    if deployed.is_empty() {
        println!("invoker: {folder} has no .js, .zip or .tgz file");
    }
    Ok(deployed)
}

/// Where the user reaches a port of this machine: the runner says which of the host's lead here.
fn address(port: u16) -> String {
    let forwards = EbbRef::<dyn Environment>::get().option("forward");
    for forward in forwards.unwrap_or("").split(',') {
        let mut parts = forward.rsplitn(3, ':');
        let (guest, host, at) = (parts.next(), parts.next(), parts.next());
        if guest.and_then(|g| g.parse().ok()) == Some(port)
            && let (Some(host), Some(at)) = (host, at)
        {
            let at = match at {
                "127.0.0.1" | "0.0.0.0" => "localhost",
                other => other,
            };
            return format!("http://{at}:{host}");
        }
    }
    format!("http://localhost:{port}")
}

fn banner(port: u16, key: &str, deployed: &[String]) {
    let cores = core_count();
    let instances = EbbRef::<dyn Deploy>::get().description();
    let memory = EbbRef::<Platform>::get().memory() >> 20;
    let at = address(port);
    let plural = if cores == 1 { "" } else { "s" };
    println!("invoker: {at}/ on {cores} core{plural}; Ctrl-C ends it");
    println!("  instances  {instances}; at most {memory} MB");
    println!("  key        {key}");
    if let Some(first) = deployed.first() {
        println!("  deployed   {}", deployed.join(", "));
        println!("  try        curl {at}/api/v1/web/{NAMESPACE}/default/{first}.json?name=you");
    }
    println!("  try        K={key}; A={at}/api/v1/namespaces/_/actions");
    println!(
        "             curl -u $K -X PUT $A/hello -H 'content-type: application/json' \
         -d '{{\"exec\":{{\"kind\":\"nodejs:default\",\"code\":\"const main = ({{name}}) => ({{hello: name}})\"}}}}'"
    );
    println!(
        "             curl -u $K \"$A/hello?blocking=true&result=true\" -H 'content-type: application/json' -d '{{\"name\":\"you\"}}'"
    );
}

#[cfg(any(ebb_hosted, not(panic = "abort")))]
mod runtime {
    /// There is nothing to add to Node itself.
    pub async fn serve(port: u16, concurrent: bool) -> Result<(), super::String> {
        let concurrent = if concurrent { " --concurrent" } else { "" };
        Err(super::format!(
            "--runtime is the image's; on Linux: node --expose-gc ebb-invoker/loader.js --port {port}{concurrent}"
        ))
    }
}

/// Tells actions where the API is, as soon as this machine has an address.
async fn tell_actions(port: u16) {
    let ip = loop {
        match EbbRef::<dyn Deploy>::get().machine() {
            Some(ip) => break ip,
            None => time::sleep(Duration::from_millis(50)).await,
        }
    };
    let host = format!("http://{}", core::net::SocketAddr::new(ip, port));
    EbbRef::<Platform>::get().controller(|c| c.set_api_host(host));
}

#[ebb::main]
async fn main() -> Result<(), String> {
    let options = options()?;
    if options.help {
        println!("{USAGE}\n\n{HELP}");
        return Ok(());
    }
    if options.runtime {
        return runtime::serve(options.port.unwrap_or(8080), options.concurrent).await;
    }
    let key = options.auth.map_or_else(random_key, String::from);
    if !key.contains(':') {
        return Err(format!("the key is of the form uuid:key, not {key}"));
    }
    let platform = EbbRef::<Platform>::get();
    platform.open(&key, random(), !options.quiet);
    let deployed = match options.actions {
        Some(folder) => deploy(folder).await?,
        None => Vec::new(),
    };
    let port = options.port.unwrap_or(3233);
    let limits = http::Limits {
        body: front::DOCUMENT,
        body_time: Duration::from_secs(60),
        refusal: front::refuse,
        ..http::Limits::default()
    };
    let server = http::listen(port, limits, front::answer)
        .await
        .map_err(|error| {
            format!("port {port} cannot be listened on: {error}; --port N takes another")
        })?;
    spawn(tell_actions(server.local_addr().port()));
    banner(server.local_addr().port(), &key, &deployed);
    println!("invoker: starting Node for the first instance");
    spawn(engine::warm_up());
    ebb::shutdown().await;
    match platform.running() {
        0 => println!("invoker: ending"),
        1 => println!("invoker: ending when the running call has ended; Ctrl-C ends it now"),
        n => {
            println!("invoker: ending when the {n} running calls have ended; Ctrl-C ends them now")
        }
    }
    let patience = Duration::from_secs(70);
    let finished = time::timeout(patience, platform.drained()).await.is_ok();
    server.stop().await;
    if !finished {
        println!(
            "invoker: {} calls did not end within {} seconds",
            platform.running(),
            patience.as_secs()
        );
    }
    Ok(())
}
