//! The action runtime's contract, checked on `loader.js` by this machine's Node: the tests are
//! those of `tests/loader/*.test.mjs`.

use std::process::Command;

use test_support::needs;

#[test]
fn the_loader_keeps_the_action_runtimes_contract() {
    needs!("node");
    let node = Command::new("node").arg("--version").output();
    let node = String::from_utf8_lossy(&node.expect("it is there").stdout).into_owned();
    let node = node.trim();
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/loader");
    let output = Command::new("node")
        .args(["--test", "."])
        .current_dir(directory)
        .env_remove("NODE_OPTIONS")
        .output()
        .expect("node was there a moment ago");
    let report = String::from_utf8_lossy(&output.stdout);
    let failures: Vec<_> = report
        .split("\n")
        .skip_while(|line| !line.trim_start().starts_with("not ok"))
        .take(120)
        .collect();
    assert!(
        output.status.success(),
        "node {node} --test in {directory} failed:\n{}\n{}",
        failures.join("\n"),
        String::from_utf8_lossy(&output.stderr)
    );
    // A run that found no test would succeed as well.
    let passed = report
        .lines()
        .find_map(|line| line.strip_prefix("# pass "))
        .and_then(|count| count.parse::<u32>().ok())
        .unwrap_or(0);
    assert!(passed > 200, "only {passed} tests ran:\n{report}");
    println!("node {node}: {passed} tests passed");
}
