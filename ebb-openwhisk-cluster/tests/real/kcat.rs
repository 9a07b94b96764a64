//! kcat, as Debian has it.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

/// Runs it to its end; what it prints comes back, each line as JSON.
fn kcat(brokers: &str, arguments: &[&str], input: &str) -> Vec<Value> {
    let mut child = Command::new("kcat")
        .args(["-q", "-b", brokers])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("kcat starts");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(input.as_bytes()).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("kcat ends");
    assert!(output.status.success(), "kcat {arguments:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    let lines = text.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().expect("JSON")
}

/// All messages of a topic.
pub fn consume(brokers: &str, topic: &str) -> Vec<Value> {
    let arguments = ["-C", "-t", topic, "-p", "0", "-o", "beginning", "-e"];
    kcat(brokers, &arguments, "")
}

/// Sends messages, one in each line.
pub fn produce(brokers: &str, topic: &str, lines: &str) {
    kcat(brokers, &["-P", "-t", topic, "-p", "0"], lines);
}
