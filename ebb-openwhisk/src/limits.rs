//! Limits: of one action, and of the platform.

use crate::failure::{Failure, Result};
use crate::json::{Json, Kind, Members, Object};
use alloc::{collections::BTreeSet, format, string::String, sync::Arc};

/// The largest code in bytes.
pub const CODE: usize = 48 << 20;
/// The largest list of parameters or annotations in bytes.
pub const PARAMETERS: usize = 1 << 20;
/// The largest body of a call, and the largest answer, in bytes.
pub const PAYLOAD: usize = 1 << 20;
/// The longest that a blocking call waits in milliseconds.
pub const BLOCKING: u64 = 60_000;
/// The most components of a sequence.
pub const SEQUENCE: usize = 50;

/// What one limit may be.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    /// At least.
    pub least: u32,
    /// At most.
    pub most: u32,
    /// If nothing is said.
    pub default: u32,
    /// How messages name it, and its unit.
    words: (&'static str, &'static str),
    /// How they name one that is no whole number, where that is the protocol's text. Source: `serdes` in `TimeLimit.scala`,
    /// `MemoryLimit.scala`, `LogLimit.scala` and `IntraConcurrencyLimit.scala`.
    malformed: Option<&'static str>,
}

/// Milliseconds for init, and again for run.
pub const TIMEOUT: Range = Range {
    least: 100,
    most: 300_000,
    default: 60_000,
    words: ("duration", " milliseconds"),
    malformed: Some("time limit"),
};
/// MB.
pub const MEMORY: Range = Range {
    least: 128,
    most: 512,
    default: 256,
    words: ("memory size", " MB"),
    malformed: Some("memory limit"),
};
/// MB of logs.
pub const LOGS: Range = Range {
    least: 0,
    most: 10,
    default: 10,
    words: ("log size", " MB"),
    malformed: Some("log limit"),
};
/// Calls at once on one instance.
pub const CONCURRENCY: Range = Range {
    least: 1,
    most: 1,
    default: 1,
    words: ("concurrency", ""),
    malformed: Some("concurrency limit"),
};

impl Range {
    fn read(&self, value: &Json, name: &str) -> Result<u32> {
        let number = value
            .to_integer()
            .filter(|_| value.kind() == Kind::Number)
            .ok_or_else(|| match (self.malformed, value.kind()) {
                (Some(what), Kind::Number) => {
                    Failure::malformed(format!("requirement failed: {what} must be whole number"))
                }
                (Some(what), _) => Failure::malformed(format!("{what} malformed")),
                (None, _) => Failure::malformed(format!("the limit '{name}' must be an integer")),
            })?;
        let (what, unit) = self.words;
        // Source: `ByteSize` (`Size.scala`).
        if number < 0 && unit == " MB" {
            return Err(Failure::malformed(
                "requirement failed: a negative size of an object is not allowed.",
            ));
        }
        let refuse = |direction, threshold| {
            Err(Failure::bad(format!(
                "{what} {number}{unit} {direction} allowed threshold of {threshold}{unit}"
            )))
        };
        if number < i64::from(self.least) {
            return refuse("below", self.least);
        }
        match u32::try_from(number) {
            Ok(number) if number <= self.most => Ok(number),
            _ => refuse("exceeds", self.most),
        }
    }
}

/// The limits of one action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActionLimits {
    /// Milliseconds for init, and again for run.
    pub timeout_ms: u32,
    /// MB.
    pub memory_mb: u32,
    /// MB.
    pub logs_mb: u32,
    /// Calls at once on one instance.
    pub concurrency: u32,
}

impl Default for ActionLimits {
    fn default() -> Self {
        Self {
            timeout_ms: TIMEOUT.default,
            memory_mb: MEMORY.default,
            logs_mb: LOGS.default,
            concurrency: CONCURRENCY.default,
        }
    }
}

impl ActionLimits {
    /// These, with the members of a document's `limits` in their place.
    ///
    /// # Errors
    /// 400: no object, no integers, or out of range.
    pub fn merged(mut self, document: &Json) -> Result<Self> {
        let object: Object = document
            .to_object()
            .ok_or_else(|| Failure::malformed("limits must be an object"))?;
        for (name, range, target) in [
            ("timeout", &TIMEOUT, &mut self.timeout_ms),
            ("memory", &MEMORY, &mut self.memory_mb),
            ("logs", &LOGS, &mut self.logs_mb),
            ("concurrency", &CONCURRENCY, &mut self.concurrency),
        ] {
            if let Some(value) = object.get(name).filter(|v| v.kind() != Kind::Null) {
                *target = range.read(value, name)?;
            }
        }
        Ok(self)
    }

    /// The document.
    pub fn to_json(self) -> Json {
        Members::new()
            .number("timeout", self.timeout_ms)
            .number("memory", self.memory_mb)
            .number("logs", self.logs_mb)
            .number("concurrency", self.concurrency)
            .finish()
    }
}

/// Kinds that actions may have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kinds(Option<Arc<BTreeSet<String>>>);

/// The most kinds that a list of them names, and bytes of each.
const KINDS: usize = 64;
const KIND: usize = 64;

impl Kinds {
    /// How documents name them.
    const NAME: &str = "allowedKinds";

    /// Reads an array; an empty one stands for all kinds, as in OpenWhisk (`KindRestrictor.scala`).
    pub(crate) fn parse(value: &Json) -> Result<Self> {
        let wrong = || {
            Failure::malformed(format!(
                "the limit '{}' must be an array of at most {KINDS} kinds",
                Self::NAME
            ))
        };
        let kinds = value.to_array().filter(|kinds| kinds.len() <= KINDS);
        let kind = |kind: &Json| {
            let kind = kind.to_text();
            kind.filter(|kind| (1..=KIND).contains(&kind.len()))
        };
        let kinds = kinds.and_then(|kinds| kinds.iter().map(kind).collect::<Option<BTreeSet<_>>>());
        let kinds = kinds.ok_or_else(wrong)?;
        Ok(Self((!kinds.is_empty()).then(|| Arc::new(kinds))))
    }

    /// Whether an action may be of this kind.
    pub fn allow(&self, kind: &str) -> bool {
        self.0.as_ref().is_none_or(|kinds| kinds.contains(kind))
    }

    /// Writes the array, unless all kinds are allowed.
    pub(crate) fn tell(&self, members: &mut Members) {
        if let Some(kinds) = &self.0 {
            let kinds = Json::array(kinds.iter().map(|kind| Json::text(kind)));
            members.raw(Self::NAME, kinds.as_str());
        }
    }
}

/// What one namespace may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceLimits {
    /// Calls in any minute.
    pub calls_per_minute: u32,
    /// Calls at once.
    pub concurrent_calls: u32,
    /// Triggers fired in any minute.
    pub fires_per_minute: u32,
    /// MB that the memory limits of the calls that it makes at once come to.
    pub memory_mb: u32,
    /// MB of the memory limit of one of its actions.
    pub action_memory_mb: u32,
    /// MB of the code of one of its actions.
    pub code_mb: u32,
    /// MB of all its entities.
    pub storage_mb: u32,
    /// Turns that its functions get in each round of the namespaces that wait for instances.
    pub weight: u32,
    /// Kinds that its actions may be made of.
    pub kinds: Kinds,
}

impl Default for NamespaceLimits {
    /// Far above OpenWhisk's 60, 30 and 60, which are meant for a public cloud.
    fn default() -> Self {
        Self {
            calls_per_minute: 1_000_000,
            concurrent_calls: 10_000,
            fires_per_minute: 1_000_000,
            memory_mb: MOST,
            action_memory_mb: MEMORY.most,
            code_mb: (CODE >> 20) as u32,
            storage_mb: MOST,
            weight: 1,
            kinds: Kinds::default(),
        }
    }
}

/// The most that a namespace's limit can be, where nothing else bounds it.
const MOST: u32 = 1_000_000_000;

/// A limit of a namespace: how documents name it (as `wskadmin limits set` does, where that has it), and what it can be.
struct Limit {
    name: &'static str,
    range: Range,
    of: fn(&mut NamespaceLimits) -> &mut u32,
}

const fn limit(
    name: &'static str,
    least: u32,
    most: u32,
    of: fn(&mut NamespaceLimits) -> &mut u32,
) -> Limit {
    let range = Range {
        least,
        most,
        default: most,
        words: (name, ""),
        malformed: None,
    };
    Limit { name, range, of }
}

const NAMESPACE: [Limit; 8] = [
    limit("invocationsPerMinute", 0, MOST, |l| &mut l.calls_per_minute),
    limit("concurrentInvocations", 0, MOST, |l| {
        &mut l.concurrent_calls
    }),
    limit("firesPerMinute", 0, MOST, |l| &mut l.fires_per_minute),
    limit("memory", 0, MOST, |l| &mut l.memory_mb),
    limit("maxActionMemory", MEMORY.least, MEMORY.most, |l| {
        &mut l.action_memory_mb
    }),
    limit("maxActionCode", 0, (CODE >> 20) as u32, |l| &mut l.code_mb),
    limit("storage", 0, MOST, |l| &mut l.storage_mb),
    limit("weight", 1, 1000, |l| &mut l.weight),
];

impl NamespaceLimits {
    /// These, with the members of a document in their place; `null` stands for that of `defaults`.
    ///
    /// # Errors
    /// 400: no object, no such limit, no integer, or out of range.
    pub fn merged(&self, document: &Json, defaults: &Self) -> Result<Self> {
        let object: Object = document
            .to_object()
            .ok_or_else(|| Failure::malformed("limits must be an object"))?;
        let (mut merged, mut defaults) = (self.clone(), defaults.clone());
        for (name, value) in object.iter() {
            if name == Kinds::NAME {
                merged.kinds = match value.kind() {
                    Kind::Null => defaults.kinds.clone(),
                    _ => Kinds::parse(value)?,
                };
                continue;
            }
            let Some(limit) = NAMESPACE.iter().find(|limit| limit.name == name) else {
                let all = NAMESPACE.map(|limit| limit.name).join(", ");
                return Err(Failure::malformed(format!(
                    "there is no limit '{name}'; there are {all}, {}",
                    Kinds::NAME
                )));
            };
            *(limit.of)(&mut merged) = match value.kind() {
                Kind::Null => *(limit.of)(&mut defaults),
                _ => limit.range.read(value, name)?,
            };
        }
        Ok(merged)
    }

    /// The document.
    pub fn to_json(&self) -> Json {
        let (mut members, mut limits) = (Members::new(), self.clone());
        for limit in &NAMESPACE {
            members.number(limit.name, *(limit.of)(&mut limits));
        }
        self.kinds.tell(&mut members);
        members.finish()
    }
}
