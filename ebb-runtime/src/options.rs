//! The options that a program is started with, and what is said of one that it does not take.
//!
//! The linker gathers what the program's crates declare ([`option!`](crate::option!)); a platform adds what only it takes,
//! and checks every option before the program starts.

use core::{fmt, slice};

use crate::platform::OptionSpec;

/// An option that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong<'a> {
    /// What the options are given in is not UTF-8.
    NotText {
        /// What that is, in words.
        given_in: &'static str,
    },
    /// No option has that name.
    Unknown {
        /// The name.
        name: &'a str,
        /// The options that are the platform's own: name, and what it takes in words.
        own: &'static [(&'static str, &'static str)],
    },
    /// The option does not take that value.
    Refused {
        /// Its name.
        name: &'a str,
        /// The value.
        value: &'a str,
        /// What it takes, in words.
        takes: &'static str,
    },
}

impl fmt::Display for Wrong<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotText { given_in } => write!(f, "{given_in} is not UTF-8 text"),
            Self::Unknown { name, own } => {
                write!(f, "unknown option `{name}`; the options are")?;
                let own = own.iter().copied();
                let declared = declared().iter().map(|spec| (spec.name, spec.takes));
                for (i, (name, takes)) in own.chain(declared).enumerate() {
                    write!(f, "{} {name}= ({takes})", if i == 0 { "" } else { "," })?;
                }
                Ok(())
            }
            Self::Refused { name, value, takes } => {
                write!(f, "option `{name}` is `{value}`; it takes {takes}")
            }
        }
    }
}

unsafe extern "C" {
    static __start_ebb_options: u8;
    static __stop_ebb_options: u8;
}

/// What the program's crates declare. This crate does too (the option `trace-ring`), so the linker has the section in every
/// program.
#[must_use]
pub fn declared() -> &'static [OptionSpec] {
    let start = (&raw const __start_ebb_options).cast::<OptionSpec>();
    let stop = (&raw const __stop_ebb_options).cast::<OptionSpec>();
    // SAFETY: the linker's bounds of the section, which holds these and nothing else.
    unsafe { slice::from_raw_parts(start, stop.offset_from_unsigned(start)) }
}

/// What a crate declares of the option with this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static OptionSpec> {
    declared().iter().find(|spec| spec.name == name)
}

/// The options among words `NAME=VALUE`.
pub fn named(words: &str) -> impl Iterator<Item = (&str, &str)> {
    words
        .split_ascii_whitespace()
        .map(|word| word.split_once('=').unwrap_or((word, "")))
}

impl OptionSpec {
    /// Whether it takes that value.
    ///
    /// # Errors
    /// [`Wrong::Refused`].
    pub fn check<'a>(&self, value: &'a str) -> Result<(), Wrong<'a>> {
        if (self.accepts)(value) {
            return Ok(());
        }
        Err(Wrong::Refused {
            name: self.name,
            value,
            takes: self.takes,
        })
    }
}
