//! The command line, in memcached's letters.

use alloc::{format, string::String};

use crate::Limits;

/// What the command line may say.
pub const USAGE: &str = "usage: memcached [-p PORT] [-m MEBIBYTES] [--share BYTES]
  -p PORT        where to listen, TCP (11211)
  -m MEBIBYTES   memory for items (64)
  --share BYTES  values from this size on are sent from where they lie";

/// What can be chosen.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The TCP port.
    pub port: u16,
    /// Of the table.
    pub limits: Limits,
}

impl Options {
    /// Reads a command line.
    ///
    /// # Errors
    /// A text that says which option is wrong.
    pub fn parse(arguments: &[&str]) -> Result<Self, String> {
        let mut options = Self {
            port: 11211,
            limits: Limits::default(),
        };
        let mut arguments = arguments.iter();
        while let Some(option) = arguments.next() {
            let value = arguments.next().copied();
            let number = || {
                let value = value.ok_or_else(|| format!("{option} needs a number"))?;
                value
                    .parse::<usize>()
                    .map_err(|_| format!("{option} {value}: not a number"))
            };
            match *option {
                "-p" => {
                    options.port = u16::try_from(number()?)
                        .map_err(|_| String::from("-p: a port is at most 65535"))?;
                }
                "-m" => {
                    let bytes = number()?.checked_mul(1 << 20).filter(|bytes| *bytes > 0);
                    options.limits.memory =
                        bytes.ok_or("-m: give the mebibytes for items, at least 1")?;
                }
                "--share" => options.limits.share = number()?,
                _ => {
                    return Err(format!("{option}: unknown"));
                }
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_have_memcacheds_letters() {
        let options = Options::parse(&["-p", "0", "-m", "2", "--share", "4096"]).expect("options");
        assert_eq!(options.port, 0);
        assert_eq!(
            (options.limits.memory, options.limits.share),
            (2 << 20, 4096)
        );
        assert_eq!(Options::parse(&[]).expect("none").port, 11211);
    }

    #[test]
    fn a_wrong_option_is_named() {
        for (line, named) in [
            (&["-x"][..], "-x: unknown"),
            (&["-p"], "-p needs a number"),
            (&["-p", "65536"], "at most 65535"),
            (&["-m", "0"], "at least 1"),
            (&["--share", "much"], "--share much: not a number"),
        ] {
            let error = Options::parse(line).expect_err("a mistake");
            assert!(error.contains(named), "{error}");
        }
    }
}
