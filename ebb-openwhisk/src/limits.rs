//! Limits: of one action, and of the platform.

use crate::failure::{Failure, Result};
use crate::json::{Json, Kind, Members, Object};
use alloc::format;

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
}

/// Milliseconds for init, and again for run.
pub const TIMEOUT: Range = Range {
    least: 100,
    most: 300_000,
    default: 60_000,
    words: ("duration", " milliseconds"),
};
/// MB.
pub const MEMORY: Range = Range {
    least: 128,
    most: 512,
    default: 256,
    words: ("memory size", " MB"),
};
/// MB of logs.
pub const LOGS: Range = Range {
    least: 0,
    most: 10,
    default: 10,
    words: ("log size", " MB"),
};
/// Calls at once on one instance.
pub const CONCURRENCY: Range = Range {
    least: 1,
    most: 1,
    default: 1,
    words: ("concurrency", ""),
};

impl Range {
    fn read(&self, value: &Json, name: &str) -> Result<u32> {
        let number = value
            .to_integer()
            .filter(|_| value.kind() == Kind::Number)
            .ok_or_else(|| Failure::malformed(format!("the limit '{name}' must be an integer")))?;
        let (what, unit) = self.words;
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

/// What one namespace may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamespaceLimits {
    /// Calls in any minute.
    pub calls_per_minute: u32,
    /// Calls at once.
    pub concurrent_calls: u32,
    /// Triggers fired in any minute.
    pub fires_per_minute: u32,
}

impl Default for NamespaceLimits {
    /// Far above OpenWhisk's 60, 30 and 60, which are meant for a public cloud.
    fn default() -> Self {
        Self {
            calls_per_minute: 1_000_000,
            concurrent_calls: 10_000,
            fires_per_minute: 1_000_000,
        }
    }
}
