//! The image as one action container, for an OpenWhisk that has invokers of its own: Node runs the loader, which serves
//! `/init` and `/run` over HTTP. The image ends with Node, as a container does.

use alloc::{format, string::String};

use ebb::println;
use ebb_invoker::Container;
use ebb_invoker::service::address;
use ebb_linux::{Options, Program, Uc};

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
        memory: ebb_mem::frame::stats().free * 4096 / 4 * 3,
        ..Options::default()
    };
    let uc = Program::archived(&arguments)
        .and_then(|program| Uc::start(options, program))
        .map_err(|errno| format!("Node cannot be started: {}", errno.text()))?;
    println!(
        "invoker: an action container, {}/init and /run",
        address(port)
    );
    match uc.wait().await.code() {
        0 => Ok(()),
        code => Err(format!("Node has ended with status {code}")),
    }
}
