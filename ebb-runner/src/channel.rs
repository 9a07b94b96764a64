//! Channels between the image and the host: `EBB_CHANNEL`.

use std::path::PathBuf;

/// Channels that an image may have: the driver's ports, but for the first, which QEMU keeps for consoles.
const MOST: usize = 15;

/// A channel: a Unix socket that QEMU listens on, and whose bytes the image gets by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// How the image calls it.
    pub name: String,
    /// The socket.
    pub path: PathBuf,
}

impl Channel {
    /// Parses a value of `EBB_CHANNEL`.
    ///
    /// # Errors
    /// What is accepted.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, String> {
        let wanted = || {
            format!(
                "NAME=unix:PATH[;...], at most {MOST}, each name once, of letters, digits, . - and _"
            )
        };
        let mut all: Vec<Self> = Vec::new();
        for item in text.split(';') {
            let channel = Self::parse(item).ok_or_else(wanted)?;
            let is_twice = |c: &Self| c.name == channel.name || c.path == channel.path;
            if all.len() >= MOST || all.iter().any(is_twice) {
                return Err(wanted());
            }
            all.push(channel);
        }
        Ok(all)
    }

    fn parse(item: &str) -> Option<Self> {
        let (name, place) = item.trim().split_once('=')?;
        let path = place.strip_prefix("unix:")?;
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        // The longest path of a socket (unix(7)).
        let is_fine = (1..=64).contains(&name.len()) && name.chars().all(fits);
        (is_fine && (1..=107).contains(&path.len())).then(|| Self {
            name: name.into(),
            path: path.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_a_name_and_a_socket() {
        let list = Channel::parse_list("log=unix:/tmp/a;work.1=unix:b,c").unwrap();
        let channel = |name: &str, path: &str| Channel {
            name: name.into(),
            path: path.into(),
        };
        assert_eq!(list, [channel("log", "/tmp/a"), channel("work.1", "b,c")]);
    }

    #[test]
    fn malformed_channels_are_refused() {
        let long = format!("a=unix:{}", "x".repeat(108));
        for text in [
            "",
            "a",
            "a=",
            "a=/tmp/a",
            "a=unix:",
            "=unix:/a",
            "a b=unix:/a",
            "a=unix:/a;",
            "a=vsock:3:1",
            "a=unix:/a;a=unix:/b",
            "a=unix:/a;b=unix:/a",
            &long,
        ] {
            assert!(Channel::parse_list(text).is_err(), "{text}");
        }
    }
}
