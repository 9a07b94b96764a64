//! Arguments of the process, and options of its environment.

use std::{
    collections::BTreeMap,
    env::VarError,
    sync::{LazyLock, Mutex, OnceLock, PoisonError},
};

use ebb_disk::Spec;
use ebb_runtime::{
    options::{self, Wrong},
    platform::Environment,
    provides,
};

use super::Linux;

/// The process's arguments, once.
static ARGUMENTS: OnceLock<Vec<&'static str>> = OnceLock::new();

/// Takes what `main` was given.
pub(crate) fn set_arguments(arguments: impl Iterator<Item = String>) {
    let _ = ARGUMENTS.set(arguments.map(|a| &*a.leak()).collect());
}

ebb_runtime::option!("disk", ebb_disk::TAKES, |value| Spec::parse_list(value)
    .is_ok());
// For the application: where others reach its ports.
ebb_runtime::option!("forward", "ADDRESS:HOST:GUEST, ...", |_| true);

/// What `EBB_OPTIONS` says.
fn given() -> Result<&'static [(&'static str, &'static str)], Wrong<'static>> {
    static GIVEN: LazyLock<Option<Vec<(&'static str, &'static str)>>> =
        LazyLock::new(|| match std::env::var("EBB_OPTIONS") {
            Ok(words) => Some(options::named(words.leak()).collect()),
            Err(VarError::NotPresent) => Some(Vec::new()),
            Err(VarError::NotUnicode(_)) => None,
        });
    GIVEN.as_deref().ok_or(Wrong::NotText {
        given_in: "EBB_OPTIONS",
    })
}

/// Whether the program knows the options that it was started with, and takes their values.
///
/// # Errors
/// What is wrong with the first that it does not.
pub(crate) fn check_options() -> Result<(), String> {
    check_given().map_err(|wrong| wrong.to_string())?;
    for spec in options::declared() {
        let Some(value) = variable(spec.name) else {
            continue;
        };
        if !(spec.accepts)(value) {
            let (name, takes) = (variable_name(spec.name), spec.takes);
            return Err(format!("{name} is `{value}`; it takes {takes}"));
        }
    }
    Ok(())
}

fn check_given() -> Result<(), Wrong<'static>> {
    for (name, value) in given()? {
        let spec = options::find(name).ok_or(Wrong::Unknown { name, own: &[] })?;
        spec.check(value)?;
    }
    Ok(())
}

#[provides(Environment, default, instance = &Linux)]
impl Environment for Linux {
    fn arguments(&self) -> &'static [&'static str] {
        ARGUMENTS.get().map_or(&[], Vec::as_slice)
    }

    fn option(&self, name: &str) -> Option<&'static str> {
        // The last one counts, as on a command line.
        let given = given().unwrap_or_default().iter().rev();
        given
            .filter(|(n, _)| *n == name)
            .map(|(_, value)| *value)
            .next()
            .or_else(|| variable(name))
    }

    fn archive(&self) -> &'static [u8] {
        &[]
    }

    fn memory_bytes(&self) -> Option<u64> {
        let of_host = std::fs::read_to_string("/proc/meminfo").ok();
        let of_host = of_host.as_deref().and_then(total);
        // A container sees its own control group at the root.
        let of_group = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
        let of_group = of_group.and_then(|text| text.trim().parse().ok());
        of_host.into_iter().chain(of_group).min()
    }
}

/// The first line of /proc/meminfo (proc(5)), in bytes.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// `EBB_NAME` of the environment, which the runner would hand to an image as the option `name`.
fn variable(name: &str) -> Option<&'static str> {
    static SEEN: Mutex<BTreeMap<String, Option<&'static str>>> = Mutex::new(BTreeMap::new());
    let name = variable_name(name);
    if OF_THE_PLATFORM.contains(&&*name) {
        return None;
    }
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    *seen.entry(name).or_insert_with_key(|name| {
        let value = std::env::var(name).ok().filter(|v| !v.is_empty());
        value.map(|v| &*v.leak())
    })
}

fn variable_name(option: &str) -> String {
    format!("EBB_{}", option.to_ascii_uppercase().replace('-', "_"))
}

/// Variables that say something else, to a process or to the runner: the file of a time line is no value of an option `trace`.
const OF_THE_PLATFORM: [&str; 9] = [
    "EBB_CORES",
    "EBB_IDLE_POLL",
    "EBB_MEMORY",
    "EBB_OPTIONS",
    "EBB_PLATFORM",
    "EBB_QUIET",
    "EBB_REPORT",
    "EBB_TIMEOUT",
    "EBB_TRACE",
];

#[cfg(test)]
mod tests {
    use super::total;

    #[test]
    fn the_hosts_memory_is_read_in_bytes() {
        let text = "MemTotal:       32786368 kB\nMemFree:         1 kB\n";
        assert_eq!(total(text), Some(32_786_368 << 10));
        assert_eq!(total("MemFree: 1 kB\n"), None);
        assert_eq!(total("MemTotal: many kB\n"), None);
    }
}
