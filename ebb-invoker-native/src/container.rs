//! The image as one action container, for an OpenWhisk that has invokers of its own: Node runs the loader, which serves
//! `/init` and `/run` over HTTP. The image ends with Node, as a container does.

use alloc::{format, string::String, vec::Vec};

use ebb::platform::Environment;
use ebb::{EbbRef, println};
use ebb_invoker::Container;
use ebb_invoker::service::address;
use ebb_linux::{Options, Program, Uc};

// What the runner hands over of its own environment: a container is given variables.
ebb::option!("environment", "NAME=VALUE, joined by &", |v| v
    .split('&')
    .all(|each| each.contains('=')));

/// The variables of that option.
fn given(option: &str) -> impl Iterator<Item = Vec<u8>> {
    option.split('&').map(|word| {
        let mut bytes = Vec::new();
        let mut rest = word.as_bytes();
        while let Some((&first, after)) = rest.split_first() {
            let code = after
                .get(..2)
                .and_then(|two| core::str::from_utf8(two).ok());
            let code = code.and_then(|two| u8::from_str_radix(two, 16).ok());
            match (first, code) {
                (b'%', Some(byte)) => {
                    bytes.push(byte);
                    rest = &after[2..];
                }
                _ => {
                    bytes.push(first);
                    rest = after;
                }
            }
        }
        bytes
    })
}

/// Runs until Node ends.
///
/// # Errors
/// Node cannot be started, or ended with a failure: an action may do that.
pub async fn serve(container: Container) -> Result<(), String> {
    let Container { port, concurrent } = container;
    let number = format!("{port}");
    let mut arguments = alloc::vec!["/loader.js", "--port", &number];
    if concurrent {
        arguments.push("--concurrent");
    }
    let options = Options {
        name: String::from("action"),
        memory: ebb_mem::frame::stats().free_for_pages() * 4096 / 4 * 3,
        ..Options::default()
    };
    let given: Vec<Vec<u8>> = EbbRef::<dyn Environment>::get()
        .option("environment")
        .map(|option| given(option).collect())
        .unwrap_or_default();
    let uc = Program::archived(&arguments)
        .and_then(|mut program| {
            for variable in given {
                program.set_variable(variable);
            }
            Uc::start(options, program)
        })
        .map_err(|errno| format!("Node cannot be started: {}", errno.text()))?;
    println!(
        "invoker: an action container, {}/init and /run",
        address(port)
    );
    if let Some(hint) = ebb::net::unreached(port) {
        println!("invoker: {hint}");
    }
    match uc.wait().await.code() {
        0 => Ok(()),
        code => Err(format!("Node has ended with status {code}")),
    }
}
