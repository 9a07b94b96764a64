//! The command `ebb-invoker`: manages the namespaces of a running invoker, in the terms of OpenWhisk's `wskadmin`, over the
//! API `/admin` of `ebb-openwhisk`.

mod command;

use base64::{Engine, engine::general_purpose::STANDARD};
use command::{Command, Request};
use serde_json::Value;
use std::process::ExitCode;

const HELP: &str = "\
usage: ebb-invoker namespace add NAME [--key UUID:KEY] [--LIMIT N ...]
       ebb-invoker namespace list
       ebb-invoker namespace limits NAME [--LIMIT N|default ...]
       ebb-invoker namespace rotate NAME [--key UUID:KEY]
       ebb-invoker namespace remove NAME

Manages the namespaces of a running invoker, which was started with --admin UUID:KEY or EBB_ADMIN.

  add      makes a namespace and prints its key, which is not to be had again
  list     prints all: name, uuid, bytes of entities, calls that run
  limits   prints, or changes, what a namespace may do: invocationsPerMinute, firesPerMinute, concurrentInvocations,
           memory (MB of the calls that it makes at once), maxActionMemory, maxActionCode, storage (MB), weight,
           allowedKinds (KIND,KIND,..)
  rotate   gives a namespace another key and prints it; the former opens nothing any more
  remove   removes a namespace with its actions, packages, triggers and rules

  --apihost URL     where the invoker is (APIHOST, or http://localhost:3233)
  --admin UUID:KEY  the key that it was started with (EBB_ADMIN)";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let command = match Command::parse(&arguments, |name| std::env::var(name).ok()) {
        Ok(command) => command,
        Err(why) => {
            eprintln!("ebb-invoker: {why}");
            return ExitCode::from(2);
        }
    };
    match run(command) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("ebb-invoker: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<String, String> {
    let (host, admin, request) = match command {
        Command::Help => return Ok(HELP.into()),
        Command::Version => return Ok(concat!("ebb-invoker ", env!("CARGO_PKG_VERSION")).into()),
        Command::Manage {
            host,
            admin,
            request,
        } => (host, admin, request),
    };
    let answer = send(&host, &admin, &request)?;
    Ok(request.show.text(&answer))
}

/// Sends a request, and gives the answer if that is not a refusal.
fn send(host: &str, admin: &str, request: &Request) -> Result<Value, String> {
    let url = format!("{host}/admin/namespaces{}", request.path);
    let body = request.body.as_ref().map(Value::to_string);
    let asked = minreq::Request::new(minreq::Method::Custom(request.method.to_string()), &url)
        .with_header("Authorization", format!("Basic {}", STANDARD.encode(admin)))
        .with_header("Content-Type", "application/json")
        .with_body(body.unwrap_or_default())
        .with_timeout(60);
    let answer = asked.send().map_err(|error| {
        format!(
            "{host} does not answer: {error}; --apihost URL or APIHOST says where the invoker is"
        )
    })?;
    let status = answer.status_code;
    let text = String::from_utf8_lossy(answer.as_bytes());
    let json: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
    match (status, json["error"].as_str()) {
        (200..300, _) => Ok(json),
        (401, _) => Err(format!(
            "{host} does not take this key; --admin UUID:KEY or EBB_ADMIN gives the one that it was started with"
        )),
        (404, _) if request.path.is_empty() => Err(format!(
            "{host} manages no namespaces: start it with --admin UUID:KEY or EBB_ADMIN"
        )),
        (404, _) => Err(format!(
            "there is no such namespace, or {host} was started without --admin UUID:KEY"
        )),
        (_, Some(error)) => Err(error.into()),
        (status, None) => Err(format!("{host} answers with status {status}")),
    }
}
