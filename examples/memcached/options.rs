//! The command line, in memcached's letters.

use alloc::{format, string::String};

use ebb_memcached::Limits;

/// What the command line may say.
pub const USAGE: &str = "usage: memcached [-p PORT] [-m MEBIBYTES] [--share BYTES]
  -p PORT        where to listen, TCP (11211)
  -m MEBIBYTES   memory for items (64)
  --share BYTES  values from this size on are sent from where they lie";

/// What can be chosen.
pub struct Options {
    pub port: u16,
    pub limits: Limits,
}

impl Options {
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
