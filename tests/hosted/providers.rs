//! Components are bound by the linker: what links, what does not, and what the linker then says.
//!
//! Builds small programs out of one workspace in the target directory. Every program is one of a
//! kind: nothing here can be tested inside this process, whose providers are linked already.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::LazyLock,
};

/// The trait, a function that uses it, and one that could: the latter's user needs no provider.
const HORN: &str = r#"
#[ebb::component]
pub trait Horn {
    fn blow(&self, loudness: u32) -> u32;
}
#[ebb::component(replaceable)]
pub trait Drum {
    fn beat(&self, loudness: u32) -> u32;
}
#[inline(never)]
pub fn blow(loudness: u32) -> u32 {
    ebb::EbbRef::<dyn Horn>::get().blow(loudness)
}
#[inline(never)]
pub fn beat(loudness: u32) -> u32 {
    ebb::EbbRef::<dyn Drum>::get().beat(loudness)
}
"#;

fn horn_provider(options: &str, add: u32) -> String {
    format!(
        "use horn::Horn; pub struct P;
         #[ebb::provides(Horn, {options} instance = &P)]
         impl Horn for P {{ fn blow(&self, loudness: u32) -> u32 {{ loudness + {add} }} }}"
    )
}

fn drum_provider(options: &str, add: u32) -> String {
    format!(
        "use horn::Drum; pub struct D;
         #[ebb::provides(Drum, {options} instance = &D)]
         impl Drum for D {{ fn beat(&self, loudness: u32) -> u32 {{ loudness + {add} }} }}"
    )
}

/// A program; `main` prints something of `horn`.
fn program(linked: &[&str], own: &str, prints: &str) -> String {
    let linked: String = linked
        .iter()
        .map(|c| format!("extern crate {c} as _;"))
        .collect();
    format!(
        "#![forbid(unsafe_code)]\n{linked}\n{own}\nfn main() {{ println!(\"{{}}\", {prints}); }}"
    )
}

const LIBRARIES: &[&str] = &[
    "brass",
    "tin",
    "drum_default",
    "drum_other",
    "drum_mine",
    "drum_yours",
];

static WORKSPACE: LazyLock<PathBuf> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("providers");
    let write = |path: &str, text: String| {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // Left alone when it says so already, so that Cargo has nothing to do.
        if fs::read_to_string(&path).ok().as_ref() != Some(&text) {
            fs::write(path, text).unwrap();
        }
    };
    let package = |name: &str, dependencies: &[&str], file: &str, text: String| {
        let dependencies: String = dependencies
            .iter()
            .map(|d| format!("{d} = {{ path = \"../{d}\" }}\n"))
            .collect();
        write(
            &format!("{name}/Cargo.toml"),
            format!(
                "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
                 [dependencies]\n\
                 ebb = {{ package = \"ebb-runtime\", path = {:?} }}\n{dependencies}",
                root.join("ebb-runtime")
            ),
        );
        write(&format!("{name}/src/{file}"), text);
    };
    package("horn", &[], "lib.rs", HORN.to_owned());
    let providers = [
        horn_provider("", 1),
        horn_provider("", 2),
        drum_provider("default,", 1),
        drum_provider("default,", 2),
        drum_provider("", 10),
        drum_provider("", 20),
    ];
    for (name, text) in LIBRARIES.iter().zip(providers) {
        package(name, &["horn"], "lib.rs", text);
    }
    let everything = [
        "horn",
        "brass",
        "tin",
        "drum_default",
        "drum_other",
        "drum_mine",
        "drum_yours",
    ];
    let programs: &[(&str, String)] = &[
        ("one", program(&["brass"], "", "horn::blow(1)")),
        ("none", program(&[], "", "horn::blow(1)")),
        (
            "unused",
            program(&[], "", "std::any::type_name::<dyn horn::Horn>()"),
        ),
        (
            "uncalled",
            program(&["brass", "drum_default"], "", "\"hello\""),
        ),
        ("two", program(&["brass", "tin"], "", "horn::blow(1)")),
        ("two_unused", program(&["brass", "tin"], "", "\"hello\"")),
        (
            "own_and_linked",
            program(&["brass"], &horn_provider("", 3), "horn::blow(1)"),
        ),
        ("default", program(&["drum_default"], "", "horn::beat(1)")),
        ("no_default", program(&[], "", "horn::beat(1)")),
        (
            "replaced_by_crate",
            program(&["drum_default", "drum_mine"], "", "horn::beat(1)"),
        ),
        (
            "replaced_before",
            program(&["drum_mine", "drum_default"], "", "horn::beat(1)"),
        ),
        (
            "replaced_by_program",
            program(&["drum_default"], &drum_provider("", 30), "horn::beat(1)"),
        ),
        (
            "replaced_twice",
            program(
                &["drum_default", "drum_mine", "drum_yours"],
                "",
                "horn::beat(1)",
            ),
        ),
        (
            "two_defaults",
            program(&["drum_default", "drum_other"], "", "horn::beat(1)"),
        ),
    ];
    for (name, text) in programs {
        package(&format!("p_{name}"), &everything, "main.rs", text.clone());
    }
    write(
        "Cargo.toml",
        // `fat` is a release build's form; both must agree on every verdict.
        "[workspace]\nresolver = \"3\"\nmembers = [\"*\"]\nexclude = [\"target\"]\n\
         [profile.fat]\ninherits = \"release\"\nlto = \"fat\"\ncodegen-units = 1\n\
         [profile.dev]\ndebug = false\nincremental = false\n"
            .to_owned(),
    );
    // The same versions as everywhere, and nothing to look for on the network.
    if !dir.join("Cargo.lock").exists() {
        fs::copy(root.join("Cargo.lock"), dir.join("Cargo.lock")).unwrap();
    }
    dir
});

fn cargo(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO"))
        .current_dir(&*WORKSPACE)
        .args(arguments)
        .arg("--quiet")
        .env("CARGO_TARGET_DIR", WORKSPACE.join("target"))
        .env_remove("RUSTFLAGS")
        // Programs are run as they are.
        .env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER", "env")
        .output()
        .unwrap()
}

const PROFILES: [&str; 2] = ["dev", "fat"];

#[track_caller]
fn prints(name: &str, expected: &str) {
    for profile in PROFILES {
        let output = cargo(&["run", "--profile", profile, "-p", &format!("p_{name}")]);
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}, {profile}: {errors}");
        assert_eq!(text.trim(), expected, "{name}, {profile}");
    }
}

#[track_caller]
fn does_not_link(name: &str, because: &str) {
    for profile in PROFILES {
        let output = cargo(&["build", "--profile", profile, "-p", &format!("p_{name}")]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{name} links, {profile}");
        assert!(errors.contains(because), "{name}, {profile}: {errors}");
    }
}

#[test]
fn a_program_with_one_provider_links() {
    prints("one", "2");
}

#[test]
fn a_program_without_a_provider_does_not_link_and_the_message_names_the_component() {
    does_not_link(
        "none",
        "undefined symbol: ebb component horn::Horn: method blow (link exactly one",
    );
    does_not_link(
        "no_default",
        "undefined symbol: ebb component horn::Drum: method beat",
    );
}

#[test]
fn a_component_that_nobody_uses_needs_no_provider() {
    prints("unused", "dyn horn::Horn");
}

#[test]
fn a_provider_that_nobody_calls_is_not_in_the_program() {
    prints("uncalled", "hello");
    prints("one", "2");
    for folder in ["debug", "fat"] {
        let symbols = |name: &str| {
            let program = WORKSPACE.join(format!("target/{folder}/p_{name}"));
            let output = Command::new("nm").arg(program).output().expect("nm");
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        assert!(!symbols("uncalled").contains("ebb component"), "{folder}");
        // So the check can fail.
        if folder == "debug" {
            assert!(symbols("one").contains("ebb component horn::Horn"));
        }
    }
}

#[test]
fn two_providers_do_not_link_wherever_they_are_and_whoever_uses_them() {
    for name in ["two", "two_unused", "own_and_linked"] {
        does_not_link(name, "ebb component horn::Horn: ");
    }
}

#[test]
fn a_default_provider_serves_until_another_replaces_it() {
    prints("default", "2");
    prints("replaced_by_crate", "11");
    prints("replaced_before", "11");
    prints("replaced_by_program", "31");
}

#[test]
fn two_replacements_or_two_defaults_do_not_link() {
    does_not_link("replaced_twice", "ebb component horn::Drum: provided twice");
    does_not_link("two_defaults", "ebb component horn::Drum: two defaults");
}

/// The instructions of a function that go elsewhere, by the disassembler.
fn transfers(folder: &str, name: &str, function: &str) -> Vec<String> {
    let program = WORKSPACE.join(format!("target/{folder}/p_{name}"));
    let output = Command::new("objdump")
        .args(["-d", "--no-show-raw-insn", "-C"])
        .arg(program)
        .output()
        .expect("objdump of binutils");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let begin = text
        .find(&format!("<{function}>:"))
        .unwrap_or_else(|| panic!("{function} is not in {name}"));
    text[begin..]
        .lines()
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_once('\t').map(|(_, instruction)| instruction))
        .filter(|instruction| instruction.starts_with("call") || instruction.starts_with("jmp"))
        .map(str::to_owned)
        .collect()
}

/// True of `call <symbol>`, and of `call *SLOT(%rip)`, which is how rustc calls anything of another
/// crate in a position-independent program: the slot is one of the linker's. False of what goes
/// through a register, as a call of a `dyn Trait` does.
fn is_bound_by_the_linker(instruction: &str) -> bool {
    !instruction.contains('*') || instruction.contains("(%rip)")
}

#[test]
fn a_component_is_called_like_any_function_of_another_crate_not_through_a_table() {
    prints("one", "2");
    prints("default", "2");
    for (program, function) in [("one", "horn::blow"), ("default", "horn::beat")] {
        let calls = transfers("debug", program, function);
        assert!(
            matches!(&calls[..], [call] if is_bound_by_the_linker(call)),
            "{calls:?}"
        );
    }
}

#[test]
fn link_time_optimisation_inlines_the_provider_into_its_caller() {
    prints("one", "2");
    assert_eq!(transfers("fat", "one", "horn::blow"), [""; 0]);
}
