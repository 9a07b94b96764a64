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
