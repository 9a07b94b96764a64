//! Boots the test image with 1, 2 and 4 cores and passes libtest's lines on. In an image a panic is
//! the end, so after a failed test the image is booted again for the rest.

use std::{
    env,
    fs::File,
    io::{BufRead, BufReader, Write, stdout},
    process::{Command, ExitCode, Stdio},
};

use test_support::{RUNNER, cargo, tools};

/// Seconds that one boot may take; after them the runner asks every core where it is.
const TIME_LIMIT: &str = "120";

fn main() -> ExitCode {
    if tools::lacks(&["qemu-system-x86_64"]) {
        return ExitCode::SUCCESS;
    }
    let arguments: Vec<String> = env::args().skip(1).collect();
    if arguments.iter().any(|a| a == "--list") {
        let (_, ended) = boot(1, &arguments, None);
        return ExitCode::from(u8::from(!ended));
    }
    let mut failed = Vec::new();
    for cores in [1, 2, 4] {
        println!("\n{cores} core{}:", if cores == 1 { "" } else { "s" });
        let mut after = None;
        loop {
            let (running, ended) = boot(cores, &arguments, after.as_deref());
            if ended {
                break;
            }
            let Some(test) = running else {
                failed.push(format!(
                    "{cores} cores: the image ended before or after its tests"
                ));
                break;
            };
            println!("test {test} ... FAILED ({cores} cores)");
            failed.push(format!("{cores} cores: {test}"));
            after = Some(test);
        }
    }
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("\nfailures:\n    {}\n", failed.join("\n    "));
    ExitCode::FAILURE
}

/// Two disks, the second of which takes no writes.
fn disks() -> String {
    let [first, second] = ["suite-0.img", "suite-1.img"].map(|name| {
        let path = test_support::scratch(name);
        let file = File::create(&path).expect("a place for disks");
        file.set_len(64 << 20).expect("room for disks");
        path.display().to_string()
    });
    format!("{first};{second},readonly")
}

/// Boots the image. Gives the test that was running at the end, if any, and whether all went well.
fn boot(cores: usize, arguments: &[String], after: Option<&str>) -> (Option<String>, bool) {
    let mut command = Command::new(RUNNER);
    command
        .arg(cargo::program("image-suite"))
        .args(arguments)
        .args(after.map(|test| ["--after", test]).into_iter().flatten())
        .env("EBB_CORES", cores.to_string())
        .env("EBB_MEMORY", "256M")
        .env("EBB_TIMEOUT", TIME_LIMIT)
        .env("EBB_OPTIONS", "colour=blue")
        .env("EBB_DISK", disks())
        // QEMU's device for learning: it raises an interrupt when told to.
        .env("EBB_QEMU_ARGS", "-device edu")
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            println!("{RUNNER} cannot be started: {error}");
            return (None, false);
        }
    };
    let mut running = None;
    let mut console = BufReader::new(child.stdout.take().expect("it was asked for"));
    let mut line = Vec::new();
    while matches!(console.read_until(b'\n', &mut line), Ok(n) if n > 0) {
        let text = String::from_utf8_lossy(&line);
        let _ = stdout().write_all(text.as_bytes());
        if let Some((name, outcome)) = text
            .trim_start()
            .strip_prefix("test ")
            .and_then(|t| t.split_once(" ... "))
        {
            let over = outcome.starts_with("ok\n") || outcome.starts_with("ignored");
            running = (!over).then(|| name.to_owned());
        } else if text == "ok\n" {
            running = None;
        }
        line.clear();
    }
    let ended = child.wait().is_ok_and(|status| status.success());
    (running, ended)
}
