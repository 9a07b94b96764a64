//! Functions in Python, and such that are programs: the image beside one Linux process for each function, as in `main.rs`.
//!
//! The dispatcher in the Linux guest gives a process its calls as lines over pipes, without HTTP between the two.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use benches::{
    functions::{ARGUMENTS, Client, IMAGE},
    goal,
    load::Figures,
    quick,
    sides::Side,
    turns::{ratio, turns},
};
use test_support::scratch;

use crate::{LANGUAGE_COLD, LANGUAGE_HOT, MEMORY, call, figures, names};

/// What a function is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// The interpreter of this machine.
    Python,
    /// A program in Rust.
    Native,
}

impl Language {
    pub const ALL: [Self; 2] = [Self::Python, Self::Native];

    /// As orders name it.
    pub fn numbered(number: f64) -> Self {
        Self::ALL[number as usize]
    }

    const fn kind(self) -> &'static str {
        match self {
            Self::Python => "python:default",
            Self::Native => "native:default",
        }
    }

    /// As the dispatcher names it.
    const fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Native => "native",
        }
    }

    /// What is uploaded: a source within quotation marks of JSON, or a program in Base64.
    fn code(self) -> String {
        match self {
            Self::Python => {
                String::from(r"def main(a):\n    return {'greeting': 'hello ' + a['name']}\n")
            }
            Self::Native => STANDARD.encode(fs::read(program()).expect("it has been built")),
        }
    }
}

fn program() -> PathBuf {
    scratch("greet")
}

/// Builds the function that is a program; a line says why it cannot be.
pub fn build() -> bool {
    let built = Command::new("rustc")
        .args(["-O", "-C", "panic=abort", "-C", "strip=symbols", "-o"])
        .arg(program())
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/guests/greet.rs"))
        .status();
    let built = built.is_ok_and(|status| status.success());
    if !built {
        println!("native functions are not measured: `rustc` does not build one");
    }
    built
}

/// `count` new functions, each called once.
pub fn cold(address: SocketAddr, language: Language, count: usize) -> Figures {
    let (names, code) = (names(count), language.code());
    let mut client = Client::new(address);
    let known = names.iter();
    known.for_each(|name| client.register_kind(name, language.kind(), &code));
    let seconds: Vec<f64> = names.iter().map(|name| call(&mut client, name)).collect();
    for name in &names {
        client.ask("DELETE", name, "");
    }
    let sum = seconds.iter().sum();
    figures(seconds, sum)
}

/// `count` calls of one function, one after the other.
pub fn hot(address: SocketAddr, language: Language, count: usize) -> Figures {
    let mut client = Client::new(address);
    let name = format!("hot-{}", language.name());
    // The first time it is not known, and its instance stays for the next.
    if client.try_ask("POST", &name, "{\"name\":\"you\"}").is_err() {
        client = Client::new(address);
        client.register_kind(&name, language.kind(), &language.code());
        call(&mut client, &name);
    }
    let seconds: Vec<f64> = (0..count).map(|_| call(&mut client, &name)).collect();
    let sum = seconds.iter().sum();
    figures(seconds, sum)
}

/// The standard library as an archive, which the guest unpacks where it was.
fn python_files() -> PathBuf {
    let archive = scratch("python.tar");
    let packed = Command::new("tar")
        .args(["--exclude=test", "--exclude=dist-packages", "-cf"])
        .arg(&archive)
        .args(["-C", "/", "usr/lib/python3.11"])
        .status();
    assert!(
        packed.is_ok_and(|s| s.success()),
        "tar packs Python's library"
    );
    archive
}

fn linux(guest: &Path, cores: usize, language: Language) -> Side {
    let dispatcher = concat!(env!("CARGO_MANIFEST_DIR"), "/guests/dispatcher.js");
    let action = concat!(env!("CARGO_MANIFEST_DIR"), "/guests/action.py");
    let mut added: Vec<PathBuf> = vec![benches::machine::node(), dispatcher.into()];
    let mut script = format!("node /app/dispatcher.js 80 {}", language.name());
    if language == Language::Python {
        let python = fs::canonicalize("/usr/bin/python3.11").expect("Python 3.11");
        added.extend([python, action.into(), python_files()]);
        script = format!("busybox tar xf /app/python.tar -C /; {script}");
    } else {
        // For its libraries.
        added.push(program());
    }
    let added: Vec<&str> = added
        .iter()
        .flat_map(|path| ["--add", path.to_str().expect("a path in UTF-8")])
        .collect();
    let app = [&["--app", "run"], &added[..], &["--run", &script]].concat();
    Side::linux(guest, cores, 80, &app, None)
}

/// Both languages beside Linux's processes.
pub fn compare(cores: usize, guest: Option<&Path>, image: &Path) {
    let (rounds, count) = if quick() { (3, 8) } else { (5, 24) };
    for (number, language) in Language::ALL.into_iter().enumerate() {
        if language == Language::Native && !build() {
            continue;
        }
        let name = language.name();
        println!("\n{name}, {cores} vCPU, {rounds} rounds, taking turns");
        let mut ours = Side::image(image, cores, IMAGE, &ARGUMENTS, None);
        let mut theirs = guest.map(|guest| linux(guest, cores, language));
        let mut both = |name: &str, unit: &str, rounds: usize, order: &str| {
            turns(name, unit, rounds, &mut ours, theirs.as_mut(), order)
        };
        let cold = format!("{LANGUAGE_COLD} {number} {count}");
        let hot = format!("{LANGUAGE_HOT} {number} {}", count * 25);
        both("(warming up, hot)", "calls/s", 1, &hot);
        both("(warming up, cold)", "starts/s", 1, &cold);
        let hot = both("hot, 1 client", "calls/s", rounds, &hot);
        let cold = both("cold, 1 client", "starts/s", rounds, &cold);
        if let Some(late) = ratio(&hot, |f| f.p50_us) {
            goal(&format!("{name}_hot_{cores}"), late, 0.2);
        }
        if let Some(late) = ratio(&cold, |f| f.p50_us) {
            let bound = match language {
                Language::Python => 1.0 / 20.0,
                Language::Native => 1.0 / 5.0,
            };
            goal(&format!("{name}_cold_{cores}"), late, bound);
        }
        at_rest(&mut ours, number, name);
    }
}

/// Says how much memory instances have that rest for long: of functions that stay, which take the place of the hot one.
fn at_rest(ours: &mut Side, number: usize, name: &str) {
    let mut each = |why: &str| {
        let figures = ours.order(&format!("{MEMORY} 0"));
        let kib = figures.p50_us / figures.per_second.max(1.0) / 1024.0;
        println!("an idle instance, {why}: {kib:.0} KiB");
        kib
    };
    each("just called");
    std::thread::sleep(std::time::Duration::from_secs(13));
    let kib = each("after a long rest");
    let bound = if number == 0 { 1024.0 } else { 64.0 };
    goal(&format!("{name}_idle_kib"), kib, bound);
}
