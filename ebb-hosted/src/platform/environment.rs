//! Arguments of the process, and options of its environment.

use std::{
    collections::BTreeMap,
    sync::{LazyLock, Mutex, OnceLock, PoisonError},
};

use ebb_runtime::{platform::Environment, provides};

use super::Linux;

/// The process's arguments, once.
static ARGUMENTS: OnceLock<Vec<&'static str>> = OnceLock::new();

/// Takes what `main` was given.
pub(crate) fn set_arguments(arguments: impl Iterator<Item = String>) {
    let _ = ARGUMENTS.set(arguments.map(|a| &*a.leak()).collect());
}

#[provides(Environment, default, instance = &Linux)]
impl Environment for Linux {
    fn arguments(&self) -> &'static [&'static str] {
        ARGUMENTS.get().map_or(&[], Vec::as_slice)
    }

    fn option(&self, name: &str) -> Option<&'static str> {
        static OPTIONS: LazyLock<Vec<(&'static str, &'static str)>> = LazyLock::new(|| {
            let text = std::env::var("EBB_OPTIONS").unwrap_or_default();
            text.leak()
                .split_whitespace()
                .map(|o| o.split_once('=').unwrap_or((o, "")))
                .collect()
        });
        OPTIONS
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, value)| *value)
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
    let name = format!("EBB_{}", name.to_ascii_uppercase().replace('-', "_"));
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    *seen.entry(name).or_insert_with_key(|name| {
        let value = std::env::var(name).ok().filter(|v| !v.is_empty());
        value.map(|v| &*v.leak())
    })
}

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
