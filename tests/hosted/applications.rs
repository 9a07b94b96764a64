//! Packages of people who write a program with ebb: what they are told where something is missing, and that their tests run.
//!
//! Each package lies outside this workspace, as theirs do, and depends on it by path.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Mutex,
};

use test_support::WORKSPACE;

/// What a package has beside its sources. The default is complete.
struct Package {
    name: &'static str,
    native_target: bool,
    ebb_hosted: bool,
    build_script: bool,
    abort: bool,
    std_dependency: bool,
    attributes: &'static str,
    body: &'static str,
}

const COMPLETE: Package = Package {
    name: "complete",
    native_target: true,
    ebb_hosted: true,
    build_script: true,
    abort: true,
    std_dependency: false,
    attributes: "#![no_std]\n#![no_main]",
    body: "",
};

/// One Cargo at a time in the directory that they share.
static CARGO: Mutex<()> = Mutex::new(());

impl Package {
    fn write(&self) -> PathBuf {
        self.write_in(&applications())
    }

    fn write_in(&self, folder: &Path) -> PathBuf {
        let dir = folder.join(self.name);
        let write = |path: &str, text: &str| {
            let path = dir.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            if fs::read_to_string(&path).ok().as_deref() != Some(text) {
                fs::write(path, text).unwrap();
            }
        };
        let from = |folder: &str| {
            format!(
                "{{ path = \"{}\" }}",
                format!("{WORKSPACE}/{folder}").trim_end_matches('/')
            )
        };
        let mut manifest = format!(
            "[package]\nname = \"{}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n[dependencies]\nebb = {}\n",
            self.name,
            from("").replace('{', "{ package = \"ebb-os\",")
        );
        if self.ebb_hosted {
            manifest += &format!("ebb-hosted = {}\n", from("ebb-hosted"));
        }
        if self.native_target {
            manifest += &format!("native-target = {}\n", from("native-target"));
        }
        if self.std_dependency {
            write(
                "talkative/Cargo.toml",
                "[package]\nname = \"talkative\"\nversion = \"0.0.0\"\nedition = \"2024\"\n",
            );
            write("talkative/src/lib.rs", "pub fn talk() { println!(); }");
            manifest += "talkative = { path = \"talkative\" }\n";
        }
        if self.build_script {
            manifest += &format!("[build-dependencies]\nebb-build = {}\n", from("ebb-build"));
            write("build.rs", "fn main() { ebb_build::images(&[\"bins\"]) }");
        }
        manifest += "[profile.dev]\ndebug = false\n";
        if self.abort {
            manifest += "panic = \"abort\"\n";
        }
        write("Cargo.toml", &manifest);
        let main = format!(
            "{}\n#[ebb::main]\nasync fn main() {{ ebb::println!(\"hello\"); }}\n{}",
            self.attributes, self.body
        );
        write("src/main.rs", &main);
        if !dir.join("Cargo.lock").exists() {
            fs::copy(format!("{WORKSPACE}/Cargo.lock"), dir.join("Cargo.lock")).unwrap();
        }
        dir
    }

    fn cargo(&self, command: &str, platform: &str) -> Output {
        let _alone = CARGO.lock().unwrap_or_else(|broken| broken.into_inner());
        let dir = self.write();
        // Programs are run as they are.
        run_in(&dir, command, platform, Some("env"))
    }

    /// What a command says that fails.
    #[track_caller]
    fn complains(&self, command: &str, platform: &str) -> String {
        let output = self.cargo(command, platform);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{errors}");
        errors
    }
}

/// Where packages are. Cargo finds the workspace's configuration from there, and no configuration of theirs is needed.
fn applications() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("applications")
}

/// A command of Cargo in a package, with that runner.
fn run_in(dir: &Path, command: &str, platform: &str, runner: Option<&str>) -> Output {
    const RUNNER: &str = "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER";
    let mut cargo = Command::new(env!("CARGO"));
    cargo.env_remove(RUNNER);
    cargo.envs(runner.map(|runner| (RUNNER, runner)));
    cargo
        .current_dir(dir)
        .args([command, "--quiet"])
        .env("CARGO_TARGET_DIR", applications().join("target"))
        .env("EBB_PLATFORM", platform)
        .env_remove("RUSTFLAGS")
        .output()
        .unwrap()
}

const TESTS: &str = "#[cfg(test)] mod tests { #[ebb::test(cores = 2)] async fn two_cores() { assert_eq!(ebb::core_count(), 2); } }";

#[test]
fn a_missing_platform_is_one_error_that_says_what_to_write_in_the_manifest() {
    let no_hosted = Package {
        name: "no-hosted",
        native_target: false,
        ebb_hosted: false,
        build_script: false,
        ..COMPLETE
    };
    let no_native = Package {
        name: "no-native",
        native_target: false,
        ..COMPLETE
    };
    for (package, lacks, platform) in [
        (no_hosted, "ebb-hosted", "hosted"),
        (no_native, "native-target", "native"),
    ] {
        let errors = package.complains("build", platform);
        let line = format!("{lacks} = {{ path = \"{}/{lacks}\" }}", WORKSPACE);
        assert!(errors.contains(&line), "{errors}");
        assert!(
            errors.contains(&format!("{}/Cargo.toml", package.name)),
            "{errors}"
        );
        assert_eq!(errors.matches("\nerror").count(), 1, "{errors}");
    }
}

#[test]
fn a_dependency_that_brings_std_into_an_image_is_named_with_what_to_do() {
    let package = Package {
        name: "brings-std",
        std_dependency: true,
        body: "use talkative as _;",
        ..COMPLETE
    };
    let errors = package.complains("build", "native");
    assert!(
        errors.contains("`std` (which `talkative` depends on)"),
        "{errors}"
    );
    assert!(
        errors.contains("an_image_has_no_std_so_give_that_dependency_default_features_false"),
        "{errors}"
    );
}

#[test]
fn an_image_of_a_profile_that_unwinds_says_so_when_it_is_run() {
    let package = Package {
        name: "unwinds",
        abort: false,
        ..COMPLETE
    };
    let errors = package.complains("run", "native");
    assert!(
        errors.contains("write `panic = \"abort\"` under [profile.dev]"),
        "{errors}"
    );
    let hosted = package.cargo("run", "hosted");
    assert_eq!(
        hosted.stdout,
        b"hello\n",
        "{}",
        String::from_utf8_lossy(&hosted.stderr)
    );
}

#[test]
fn cargo_run_of_an_image_that_nothing_starts_says_what_to_write_instead_of_crashing() {
    let package = Package {
        name: "no-runner",
        ..COMPLETE
    };
    let _alone = CARGO.lock().unwrap_or_else(|broken| broken.into_inner());
    // Outside of the workspace, whose configuration names a runner.
    let folder = std::env::temp_dir().join(format!("ebb-applications-{}", std::process::id()));
    let dir = package.write_in(&folder);
    let cargo = |command: &str| {
        let output = run_in(&dir, command, "native", None);
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        (output.status.success(), text)
    };
    let (built, said) = cargo("build");
    assert!(built, "{said}");
    let config = dir.join(".cargo/config.toml");
    let advice = format!(
        "`cargo ebb run`, or write in {}: [target.x86_64-unknown-linux-gnu] runner = \"cargo-ebb runner\"",
        config.display()
    );
    let refused = || {
        let (ran, said) = cargo("run");
        assert!(!ran && said.contains(&advice), "{said}");
        assert!(!said.contains("SIGSEGV"), "{said}");
    };
    refused();
    // A configuration that says nothing of runners changes nothing.
    fs::create_dir_all(dir.join(".cargo")).unwrap();
    fs::write(&config, "[alias]\nb = \"build\"\n").unwrap();
    refused();
    // As told, but for a runner that every machine has.
    fs::write(
        &config,
        "[target.x86_64-unknown-linux-gnu]\nrunner = \"echo\"\n",
    )
    .unwrap();
    let (ran, said) = cargo("run");
    assert!(ran && said.contains("target/debug/no-runner"), "{said}");
    assert!(!said.contains("nothing says"), "{said}");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn cargo_test_of_a_program_runs_its_tests_or_says_what_keeps_them_from_running() {
    let plain = Package {
        name: "tested",
        body: TESTS,
        ..COMPLETE
    };
    let errors = plain.complains("test", "native");
    assert!(
        errors.contains("`EBB_PLATFORM=hosted cargo test`"),
        "{errors}"
    );
    let errors = plain.complains("test", "hosted");
    assert!(
        errors.contains("write `#![cfg_attr(not(test), no_std, no_main)]`"),
        "{errors}"
    );
    let as_told = Package {
        name: "tested-as-told",
        attributes: "#![cfg_attr(not(test), no_std, no_main)]",
        ..plain
    };
    let output = as_told.cargo("test", "hosted");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("1 passed"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
