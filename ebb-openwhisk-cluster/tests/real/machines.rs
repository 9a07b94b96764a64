//! Machines behind the program: processes of Linux, and images under QEMU.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use ebb::time;
use ebb_hosted::Config;
use test_support::{broker::Broker, cargo, couch::Couch};

use crate::controller::Controller;
use crate::messages::{action, completions, id, message, once_each};
use crate::program::with_parts;
use crate::running::Running;

#[test]
#[ignore = "the machines of the test below"]
fn machine_process() {
    if std::env::var("EBB_OPTIONS").is_ok() {
        let one_core = Config {
            cores: 1,
            pin: false,
        };
        let served = ebb_hosted::run(&one_core, async || {
            ebb_invoker_machines::serve_machine().await
        });
        served.expect("it joins");
    }
}

/// A program that is a machine, whatever its arguments are.
fn machine_program() -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let program = test_support::scratch("machine-of-the-whisk-invoker");
    let own = std::env::current_exe().expect("the path of this program");
    let text = format!(
        "#!/bin/sh\nexec '{}' --ignored --exact --nocapture machines::machine_process\n",
        own.display()
    );
    std::fs::write(&program, text).expect("it can be written");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))
        .expect("it is there");
    program
}

/// The processes that began with a word of their command line.
fn processes_of(parent: u32) -> Vec<u32> {
    let children = Command::new("ps")
        .args(["-o", "pid=", "--ppid", &parent.to_string()])
        .output();
    let children = children.expect("ps runs").stdout;
    let children = String::from_utf8(children).expect("text");
    children
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

/// Waits until both machines take calls.
async fn until_up(running: &Running) {
    for machine in 1..=2 {
        let is_up = format!("ebb_machine_up{{machine=\"{machine}\"}}");
        let began = Instant::now();
        while running.figure(&is_up) != 1.0 {
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "{machine} is not up"
            );
            time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Kills one of two machines that have so many activations running.
struct Death<'a> {
    image: &'a str,
    activations: usize,
    /// The process of a machine that is killed, from what the invoker started.
    victim: fn(u32) -> u32,
}

impl Death<'_> {
    async fn befalls(&self, broker: &Broker, couch: &Couch) {
        let count = self.activations;
        let controller = Controller::new(&broker.address).await;
        let options = [
            "--memory",
            "16G",
            "--machines",
            "2",
            "--machine-memory",
            "1G",
        ];
        let options = [&options[..], &["--image", self.image]].concat();
        let running = Running::with(&broker.address, &couch.url(), &options);
        controller.ping().await;
        // One that is there first would have all.
        until_up(&running).await;
        let code = "const main = x => new Promise(done => setTimeout(() => done({ n: x.n, pid: process.pid }), 3000))";
        let mut revisions = Vec::new();
        for function in 0..4 {
            revisions.push(couch.put_action(&action(&format!("s{function}"), &code.into())));
        }
        for number in 0..count {
            let name = format!("s{}", number % 4);
            let asked = message(number, &name, &revisions[number % 4], true);
            controller.send(&asked).await;
        }
        let began = Instant::now();
        while running.figure("ebb_whisk_running") < count as f64 {
            assert!(began.elapsed() < Duration::from_secs(60), "not all run");
            time::sleep(Duration::from_millis(20)).await;
        }
        let machines = processes_of(running.process());
        assert_eq!(machines.len(), 2, "{machines:?}");
        let victim = (self.victim)(machines[0]).to_string();
        let killed = Command::new("kill").args(["-KILL", &victim]).status();
        assert!(killed.expect("kill runs").success());
        let told = controller.hear(count).await;
        assert_eq!(completions(&told), once_each(count));
        let lost = told.iter().filter(|t| t["isSystemError"] == true).count();
        assert!((1..count).contains(&lost), "{lost} were lost");
        for told in told.iter().filter(|t| t["isSystemError"] == false) {
            assert!(told.get("instance").is_some());
        }
        // Another one takes its place.
        let began = Instant::now();
        while processes_of(running.process()).len() < 2 {
            assert!(began.elapsed() < Duration::from_secs(60), "no other one");
            time::sleep(Duration::from_millis(50)).await;
        }
        let asked = message(count, "s0", &revisions[0], true);
        controller.send(&asked).await;
        let told = controller.hear(1).await;
        assert_eq!(told[0]["response"]["response"]["statusCode"], 0, "{told:?}");
        running.signal("-TERM");
        assert_eq!(running.ended(), Some(0));
        assert_eq!(couch.records().len(), count + 1);
    }
}

#[test]
fn a_machine_that_dies_with_a_hundred_activations_ends_each_in_one_completion() {
    test_support::needs!("ps");
    with_parts(async |broker, couch| {
        let program = machine_program();
        let death = Death {
            image: program.to_str().expect("a path"),
            activations: 100,
            victim: |machine| machine,
        };
        death.befalls(broker, couch).await;
    });
}

#[test]
fn machines_that_are_replaced_one_after_the_other_fail_no_activation() {
    test_support::needs!("ps");
    with_parts(async |broker, couch| {
        let program = machine_program();
        let image = program.to_str().expect("a path");
        let options = ["--machines", "2", "--machine-memory", "1G"];
        let options = [&options[..], &["--image", image]].concat();
        let controller = Controller::new(&broker.address).await;
        let running = Running::with(&broker.address, &couch.url(), &options);
        controller.ping().await;
        until_up(&running).await;
        let code = "const main = x => new Promise(done => setTimeout(() => done({ n: x.n }), 300))";
        let revision = couch.put_action(&action("short", &code.into()));
        let before = processes_of(running.process());
        assert_eq!(before.len(), 2, "{before:?}");
        let told = running.http("POST /machines/restart");
        assert!(told.contains("2 machines are being replaced"), "{told}");
        let began = Instant::now();
        let is_replaced = || {
            let now = processes_of(running.process());
            now.len() == 2 && now.iter().all(|machine| !before.contains(machine))
        };
        let mut sent = 0;
        while sent == 0 || !is_replaced() {
            assert!(began.elapsed() < Duration::from_secs(120), "not replaced");
            let numbers = sent..sent + 8;
            controller
                .send_all(numbers.clone(), "short", &revision)
                .await;
            let told = controller.hear(8).await;
            let once = numbers.map(|number| (id(number), 1)).collect();
            assert_eq!(completions(&told), once);
            for told in &told {
                assert_ne!(told["isSystemError"], true, "{told}");
                let status = &told["response"]["response"]["statusCode"];
                assert!(status.is_null() || status == 0, "{told}");
            }
            sent += 8;
        }
        running.signal("-TERM");
        assert_eq!(running.ended(), Some(0));
        assert_eq!(couch.records().len(), sent);
    });
}

fn an_image_dies(activations: usize) {
    test_support::needs!("ps", "qemu-system-x86_64");
    let image = cargo::example("invoker");
    with_parts(async move |broker, couch| {
        let death = Death {
            image: image.to_str().expect("a path"),
            activations,
            // The runner's QEMU.
            victim: |machine| processes_of(machine)[0],
        };
        death.befalls(broker, couch).await;
    });
}

#[test]
fn an_image_that_dies_with_many_activations_ends_each_in_one_completion() {
    an_image_dies(24);
}

#[test]
#[ignore = "takes long; the one above is the same with fewer"]
fn an_image_that_dies_with_a_hundred_activations_ends_each_in_one_completion() {
    an_image_dies(100);
}
