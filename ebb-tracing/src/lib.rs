#![no_std]
//! What programs and libraries say through the crate `tracing`, on ebb's time line ([`ebb_runtime::trace`]) and console.
//!
//! ```no_run
//! ebb_tracing::install().expect("nothing else takes what is traced");
//! ```
//!
//! From then on, while tracing is on:
//! - each time that a span is entered is a slice on the line of the core that entered it. A span of an async task
//!   (`#[tracing::instrument]`, `Instrument`) is entered and left around each poll, and around the end of its future, so its slices
//!   are where the task ran;
//! - a span that is entered more than once is a flight, too: a line of its own from when it was made to when it is closed;
//! - an event is an instant with its message; what is added to a span by `record` is one as well.
//!
//! Fields are shown with each flight, the first slice and each event, up to [`FIELDS_BYTES`](ebb_runtime::trace::FIELDS_BYTES).
//! Events of a level (`WARN` and worse unless [`Tracing::console`] or the option `log=LEVEL` says otherwise) are also lines on the
//! console, whether tracing is on or not.
//!
//! # What must hold
//! - While tracing is off, a place costs a call that finds a flag unset; spans that are made then are never shown.
//! - Memory is bounded: [`SPANS`] spans at once, [`DEPTH`] of them entered on a core, a label for each place in the source. What is
//!   beyond is not shown, and [`left_out`] counts the spans.
//! - A thread that is no core has console lines only. An interrupt handler uses `ebb::instant!` instead: here are locks.
//!
//! `subscriber.rs` is what `tracing` calls, `live.rs` the spans that there are, `labels.rs` the places, `render.rs` the fields.

extern crate alloc;

mod labels;
mod live;
mod render;
mod subscriber;

use core::str::FromStr;

use ebb_runtime::{EbbRef, platform::Environment, try_current_core};
use tracing_core::{
    Dispatch,
    dispatcher::{self, SetGlobalDefaultError},
    metadata::LevelFilter,
};

use crate::subscriber::Subscriber;
pub use crate::{
    live::{SPANS, left_out},
    subscriber::DEPTH,
};

const OPTION: &str = "log";

ebb_runtime::option!("log", "off, error, warn, info, debug or trace", |value| {
    is_level(value)
});

fn is_level(value: &str) -> bool {
    !value.is_empty() && LevelFilter::from_str(value).is_ok()
}

/// What is taken of what is traced.
#[derive(Clone, Copy, Debug)]
#[must_use = "nothing is taken until it is installed"]
pub struct Tracing {
    line: LevelFilter,
    console: LevelFilter,
}

impl Tracing {
    /// Everything on the time line, and `WARN` and worse on the console.
    pub const fn new() -> Self {
        Self {
            line: LevelFilter::TRACE,
            console: LevelFilter::WARN,
        }
    }

    /// What goes on the time line: this level and worse.
    pub const fn time_line(mut self, level: LevelFilter) -> Self {
        self.line = level;
        self
    }

    /// Which events are lines on the console: this level and worse, unless the machine is started with the option `log`.
    pub const fn console(mut self, level: LevelFilter) -> Self {
        self.console = level;
        self
    }

    /// Takes what this program traces from now on, on all cores.
    ///
    /// # Errors
    /// When something else does already.
    pub fn install(mut self) -> Result<(), SetGlobalDefaultError> {
        // The environment is that of a machine.
        if try_current_core().is_some()
            && let Some(value) = EbbRef::<dyn Environment>::get().option(OPTION)
        {
            match LevelFilter::from_str(value) {
                Ok(level) if is_level(value) => self.console = level,
                // No program starts with it; a machine within one may (`ebb_hosted::run`).
                _ => ebb_runtime::inform!(
                    "ebb: option `{OPTION}` is `{value}`; it takes off, error, warn, info, debug or trace"
                ),
            }
        }
        dispatcher::set_global_default(Dispatch::new(Subscriber::new(self.line, self.console)))
    }
}

impl Default for Tracing {
    fn default() -> Self {
        Self::new()
    }
}

/// As [`Tracing::install`], with everything on the time line and `WARN` and worse on the console.
///
/// # Errors
/// When something else takes what is traced already.
pub fn install() -> Result<(), SetGlobalDefaultError> {
    Tracing::new().install()
}
