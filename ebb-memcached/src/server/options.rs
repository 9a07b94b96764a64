//! The command line, in memcached's letters.

use alloc::{format, string::String};

use crate::{Limits, output::COPIED_MOST};

/// What the command line may say.
pub const USAGE: &str = "usage: memcached [-p PORT] [-m MEBIBYTES] [--share BYTES]
  -p PORT        where to listen, TCP (11211); 0 takes any
  -m MEBIBYTES   memory for items (64); at most half of the machine's
  --share BYTES  values from this size on are sent from where they lie (2048; at most 65536)
  -V, --version  which version it is";

/// What can be chosen.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The TCP port.
    pub port: u16,
    /// Of the table.
    pub limits: Limits,
}

impl Options {
    /// Reads a command line, for a machine with so many bytes of memory, if that is known.
    ///
    /// # Errors
    /// A text that says which option is wrong.
    pub fn parse(arguments: &[&str], memory: Option<u64>) -> Result<Self, String> {
        let (mut port, mut items_mib, mut share) = (None, None, None);
        let mut words = arguments.iter().copied();
        while let Some(option) = words.next() {
            let (to, allowed) = match option {
                "-p" => (&mut port, 0..=65_535),
                "-m" => (&mut items_mib, 1..=MOST_MIB),
                "--share" => (&mut share, 1..=COPIED_MOST as u32),
                _ => return Err(format!("{option} is not known; --help lists what is")),
            };
            let value = words
                .next()
                .ok_or_else(|| format!("{option} needs a number; --help says which"))?;
            let number = value.parse().ok().filter(|n| allowed.contains(n));
            let number = number.ok_or_else(|| {
                let (least, most) = allowed.into_inner();
                format!("{option} takes a number from {least} to {most}, not {value}")
            })?;
            if to.replace(number).is_some() {
                return Err(format!("{option} is given twice"));
            }
        }
        let mut limits = Limits::default();
        let room = memory.map_or(u64::MAX, room);
        match items_mib {
            None => {
                limits.memory = limits
                    .memory
                    .min(usize::try_from(room).unwrap_or(usize::MAX))
            }
            Some(mib) if u64::from(mib) << 20 <= room => limits.memory = (mib as usize) << 20,
            Some(mib) => {
                return Err(format!(
                    "-m {mib}: items can have {} MiB here, half of the memory; give less, or an image more by EBB_MEMORY",
                    room >> 20
                ));
            }
        }
        if let Some(bytes) = share {
            limits.share = bytes as usize;
        }
        Ok(Self {
            port: port.map_or(11_211, |port| port as u16),
            limits,
        })
    }
}

/// A shift by 20 stays within an address space.
const MOST_MIB: u32 = 16 << 20;

/// How much of a machine's memory can be for items. The rest is for what lies between them when their lengths change, for the
/// table itself and for connections: a machine without memory ends.
fn room(memory: u64) -> u64 {
    memory / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_have_memcacheds_letters() {
        let line = ["-p", "0", "-m", "2", "--share", "4096"];
        let options = Options::parse(&line, None).expect("options");
        assert_eq!(options.port, 0);
        assert_eq!(
            (options.limits.memory, options.limits.share),
            (2 << 20, 4096)
        );
        let options = Options::parse(&[], None).expect("none");
        assert_eq!((options.port, options.limits.memory), (11_211, 64 << 20));
    }

    #[test]
    fn a_wrong_option_is_named_in_one_line() {
        for (line, named) in [
            (&["-x"][..], "-x is not known; --help lists what is"),
            (&["11211"], "11211 is not known"),
            (&["-p"], "-p needs a number"),
            (
                &["-p", "65536"],
                "-p takes a number from 0 to 65535, not 65536",
            ),
            (&["-p", "-1"], "not -1"),
            (&["-m", "0"], "-m takes a number from 1 to"),
            (
                &["-m", "99999999999999999999"],
                "-m takes a number from 1 to",
            ),
            (
                &["--share", "much"],
                "--share takes a number from 1 to 65536, not much",
            ),
            (&["-p", "1", "-p", "2"], "-p is given twice"),
        ] {
            let error = Options::parse(line, None).expect_err("a mistake");
            assert!(error.contains(named) && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn items_have_to_fit_into_the_machines_memory() {
        let parse = |line: &[&str], memory: u64| Options::parse(line, Some(memory << 20));
        assert!(parse(&["-m", "250"], 500).is_ok());
        let error = parse(&["-m", "251"], 500).expect_err("too much");
        assert_eq!(
            error,
            "-m 251: items can have 250 MiB here, half of the memory; give less, or an image more by EBB_MEMORY"
        );
        // What holds when nothing is said fits everywhere.
        let usual = |memory| parse(&[], memory).expect("options").limits.memory >> 20;
        assert_eq!((usual(500), usual(50)), (64, 25));
    }
}
