//! The suites, as data: where each comes from, how it is built and run, how a result is told, and what is known to differ.

mod libuv;
mod memcached;
mod node;
mod own;
mod postgres;
mod python;
mod redis;

use std::path::Path;

use crate::suite::Suite;

/// All of them, in the order of the table.
pub const ALL: &[&Suite] = &[
    &own::SUITE,
    &libuv::SUITE,
    &python::SUITE,
    &node::SUITE,
    &memcached::SUITE,
    &redis::SUITE,
    &postgres::SUITE,
];

/// Lines of a manifest for a shell and the programs that scripts expect beside it.
fn shell_and_tools() -> Vec<String> {
    let names = [
        "sh", "bash", "cat", "chmod", "cp", "date", "echo", "env", "expr", "false", "grep", "head",
        "id", "kill", "ls", "mkdir", "mv", "printf", "ps", "pwd", "rm", "sed", "sleep", "sort",
        "stty", "tail", "tar", "tee", "test", "touch", "true", "uname", "unzip", "wc", "zip",
    ];
    let there = names
        .iter()
        .flat_map(|name| ["/bin", "/usr/bin"].map(|folder| format!("{folder}/{name}")))
        .filter(|path| Path::new(path).exists());
    there.map(|path| format!("file {path}")).collect()
}
