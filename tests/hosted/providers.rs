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

/// A crate with a component, one version of several, that tells its version by it.
fn gong(version: &str, provider: bool) -> String {
    let minor = version.split('.').nth(1).unwrap();
    let provider = if provider {
        format!(
            "pub struct P;
             #[ebb::provides(Gong, instance = &P)]
             impl Gong for P {{ fn strike(&self) -> u32 {{ {minor} }} }}"
        )
    } else {
        String::new()
    };
    format!(
        "#![forbid(unsafe_code)]
         #[ebb::component]
         pub trait Gong {{ fn strike(&self) -> u32; }}
         {provider}
         pub fn strike() -> u32 {{ ebb::EbbRef::<dyn Gong>::get().strike() }}"
    )
}

/// Programs without unsafe code in which one thing could be taken for another.
fn of_one_name() -> Vec<(&'static str, String)> {
    let module = |name: &str, result: &str, provided: Option<&str>| {
        let provider = provided.map_or_else(String::new, |value| {
            format!(
                "pub struct P;
                 #[ebb::provides(Device, instance = &P)]
                 impl Device for P {{ fn name(&self) -> {result} {{ {value} }} }}"
            )
        });
        format!(
            "mod {name} {{
                 #[ebb::component]
                 pub trait Device {{ fn name(&self) -> {result}; }}
                 {provider}
             }}"
        )
    };
    let uses = "{ use audio::Device as _; use net::Device as _;
                  let numbers = ebb::EbbRef::<dyn audio::Device>::get().name();
                  format!(\"{numbers:?} {}\", ebb::EbbRef::<dyn net::Device>::get().name()) }";
    let audio = module("audio", "(usize, usize)", Some("(7, 5)"));
    let both = audio.clone() + &module("net", "&'static str", Some("\"eth\""));
    let one = audio + &module("net", "&'static str", None);
    // The alias means another type where the provider is, to which the method's argument or result would be converted.
    let aliased = |of_trait: &str, of_provider: &str, signature: &str, body: &str| {
        format!(
            "mod there {{
                 pub type T = {of_trait};
                 #[ebb::component]
                 pub trait Device {{ fn call(&self, {signature}; }}
             }}
             use there::Device;
             type T = {of_provider};
             struct P;
             #[ebb::provides(Device, instance = &P)]
             impl Device for P {{ fn call(&self, {} {{ {body} }} }}
             const _: Option<T> = None;",
            signature.replace('T', "there::T")
        )
    };
    let string = "&'static String";
    vec![
        ("modules", program(&[], &both, uses)),
        ("modules_one", program(&[], &one, uses)),
        (
            "alias_of_an_argument",
            program(
                &[],
                &aliased(
                    "&'static [u8]",
                    "&'static [u8; 4]",
                    "data: T) -> u8",
                    "data[3]",
                ),
                "ebb::EbbRef::<dyn Device>::get().call(&[])",
            ),
        ),
        (
            "alias_of_a_result",
            program(
                &[],
                &aliased(
                    string,
                    "&'static str",
                    "_: u8) -> T",
                    "Box::leak(Box::default())",
                ),
                "ebb::EbbRef::<dyn Device>::get().call(1)",
            ),
        ),
        (
            "another_trait",
            program(
                &[],
                "mod there {
                     #[ebb::component]
                     pub trait Device { fn call(&self) -> u8; }
                 }
                 #[allow(unused_imports)]
                 use there::*;
                 trait Device { fn call(&self) -> u8; }
                 struct P;
                 #[ebb::provides(Device, instance = &P)]
                 impl Device for P { fn call(&self) -> u8 { 1 } }",
                "{ use there::Device as _; ebb::EbbRef::<dyn there::Device>::get().call() }",
            ),
        ),
    ]
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
    let versioned = |folder: &str, header: &str, dependencies: &str, file: &str, text: String| {
        write(
            &format!("{folder}/Cargo.toml"),
            format!(
                "[package]\n{header}\nedition = \"2024\"\n\
                 [dependencies]\n\
                 ebb = {{ package = \"ebb-runtime\", path = {:?} }}\n{dependencies}",
                root.join("ebb-runtime")
            ),
        );
        write(&format!("{folder}/src/{file}"), text);
    };
    let package = |name: &str, dependencies: &[&str], file: &str, text: String| {
        let dependencies: String = dependencies
            .iter()
            .map(|d| format!("{d} = {{ path = \"../{d}\" }}\n"))
            .collect();
        let header = format!("name = \"{name}\"\nversion = \"0.0.0\"");
        versioned(name, &header, &dependencies, file, text);
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
            "leaves_the_rest_to_the_default",
            program(
                &["drum_default"],
                "use horn::Drum; struct D;
                 #[ebb::provides(Drum, instance = &D)]
                 impl Drum for D {
                     fn beat(&self, loudness: u32) -> u32 {
                         100 + ebb::EbbRef::<dyn Drum>::default_provider().beat(loudness)
                     }
                 }",
                "horn::beat(1)",
            ),
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
    for (name, text) in programs.iter().chain(&of_one_name()) {
        package(&format!("p_{name}"), &everything, "main.rs", text.clone());
    }
    for (folder, version, provider) in [
        ("versions/gong_1", "0.1.0", true),
        ("versions/gong_2", "0.2.0", true),
        ("versions/gong_mute", "0.3.0", false),
    ] {
        let header = format!("name = \"gong\"\nversion = \"{version}\"");
        versioned(folder, &header, "", "lib.rs", gong(version, provider));
    }
    let gongs = "gong_1 = { package = \"gong\", path = \"../versions/gong_1\" }\n\
                 gong_2 = { package = \"gong\", path = \"../versions/gong_2\" }\n\
                 gong_mute = { package = \"gong\", path = \"../versions/gong_mute\" }\n";
    for (name, prints) in [
        ("two_versions", "gong_1::strike() * 10 + gong_2::strike()"),
        (
            "one_version_provides",
            "gong_1::strike() * 10 + gong_mute::strike()",
        ),
    ] {
        let header = format!("name = \"p_{name}\"\nversion = \"0.0.0\"");
        let text = program(&[], "", prints);
        versioned(&format!("p_{name}"), &header, gongs, "main.rs", text);
    }
    write(
        "Cargo.toml",
        // `fat` is a release build's form; both must agree on every verdict.
        "[workspace]\nresolver = \"3\"\nmembers = [\"*\"]\nexclude = [\"target\", \"versions\"]\n\
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
fn a_provider_that_replaces_the_default_may_call_it() {
    prints("leaves_the_rest_to_the_default", "102");
}

#[test]
fn two_replacements_or_two_defaults_do_not_link() {
    does_not_link("replaced_twice", "ebb component horn::Drum: provided twice");
    does_not_link("two_defaults", "ebb component horn::Drum: two defaults");
}

#[test]
fn two_components_of_one_name_are_bound_to_their_own_providers() {
    prints("modules", "(7, 5) eth");
    does_not_link(
        "modules_one",
        "undefined symbol: ebb component p_modules_one::Device: method name",
    );
}

#[test]
fn components_of_two_versions_of_a_crate_are_bound_to_their_own_providers() {
    prints("two_versions", "12");
    does_not_link(
        "one_version_provides",
        "see #[ebb::provides]) [gong 0.3.0, ",
    );
}

#[test]
fn what_a_provider_has_is_of_the_types_that_the_component_means_not_of_their_namesakes() {
    let aliases =
        ["alias_of_an_argument", "alias_of_a_result"].map(|name| (name, "mismatched types"));
    let another = "`dyn Device` is neither a well-known Ebb nor a component";
    for (name, because) in aliases.into_iter().chain([("another_trait", another)]) {
        let output = cargo(&["check", "-p", &format!("p_{name}")]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.contains(because), "{name}: {errors}");
        assert!(!output.status.success(), "{name}");
    }
}

#[test]
fn the_message_about_two_providers_names_both_with_their_versions() {
    for profile in PROFILES {
        for (program, providers) in [
            ("two", ["brass", "tin"]),
            ("replaced_twice", ["drum_mine", "drum_yours"]),
        ] {
            let output = cargo(&["build", "--profile", profile, "-p", &format!("p_{program}")]);
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(errors.contains("[horn 0.0.0, horn/src/lib.rs:"), "{errors}");
            // Optimisation at link time refuses the methods of a component that is not replaceable before their providers
            // are looked at, and names one module.
            if profile == "dev" || program == "replaced_twice" {
                for provider in providers {
                    let named = format!(" of {provider} 0.0.0, {provider}/src/lib.rs:");
                    assert!(errors.contains(&named), "{program}, {profile}: {errors}");
                }
            }
        }
    }
}

#[test]
fn two_versions_of_the_runtime_are_refused_in_one_message_that_names_both() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("two-runtimes");
    for folder in ["src", "other/src"] {
        fs::create_dir_all(dir.join(folder)).unwrap();
    }
    let other = "[package]\nname = \"ebb-runtime\"\nversion = \"9.0.0\"\nlinks = \"ebb-runtime\"\n\
                 build = \"src/lib.rs\"\n";
    let program = format!(
        "[package]\nname = \"two-runtimes\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n\
         [dependencies]\nnew = {{ package = \"ebb-runtime\", path = \"other\" }}\n\
         ebb-runtime = {{ path = {:?} }}\n",
        root.join("ebb-runtime")
    );
    fs::write(dir.join("other/Cargo.toml"), other).unwrap();
    fs::write(dir.join("other/src/lib.rs"), "fn main() {}").unwrap();
    fs::write(dir.join("Cargo.toml"), program).unwrap();
    fs::write(dir.join("src/main.rs"), "fn main() {}").unwrap();
    fs::copy(root.join("Cargo.lock"), dir.join("Cargo.lock")).unwrap();
    let output = Command::new(env!("CARGO"))
        .current_dir(&dir)
        .args(["build", "--quiet"])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    for part in ["`ebb-runtime v9.0.0 ", env!("CARGO_PKG_VERSION"), "links"] {
        assert!(errors.contains(part), "{part}: {errors}");
    }
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
