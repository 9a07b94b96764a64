//! Joining a cluster as the options of this machine say: for what `Nodes::start` has started, and for what was started by hand.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use ebb_runtime::{
    EbbRef,
    platform::{Console, Environment},
    time::{Instant, sleep},
};

use crate::{
    channel::Key,
    connection::Limits,
    node::{Config, NodeId, introduce, join, this_node},
};

ebb_runtime::option!("node", "a number", |v| v.parse::<u64>().is_ok());
ebb_runtime::option!(
    "cluster-key",
    "64 hexadecimal digits, or `console` for a line that is typed",
    |v| v == "console" || Key::from_hex(v).is_some()
);
ebb_runtime::option!("listen", "PORT or ADDRESS:PORT", |v| address(v).is_some());
ebb_runtime::option!("peers", "NODE@ADDRESS:PORT,...", |v| peers(v).is_some());

/// How long the key may take to be typed.
const TYPED: Duration = Duration::from_secs(60);

fn address(text: &str) -> Option<SocketAddr> {
    let port = text.parse().ok();
    let any = port.map(|port: u16| (Ipv4Addr::UNSPECIFIED, port).into());
    any.or_else(|| text.parse().ok())
}

fn peers(text: &str) -> Option<Vec<(NodeId, SocketAddr)>> {
    let peer = |each: &str| {
        let (node, at) = each.split_once('@')?;
        Some((NodeId(node.parse().ok()?), at.parse().ok()?))
    };
    text.split(',').map(peer).collect()
}

/// The first line that is typed on the console and is not empty, without its end.
async fn typed() -> Result<String, String> {
    let console = EbbRef::<dyn Console>::get();
    let mut line = Vec::new();
    let begun = Instant::now();
    loop {
        let mut byte = [0];
        match console.read(&mut byte) {
            0 if begun.elapsed() >= TYPED => {
                return Err(
                    "the cluster's key has not been typed: a line of 64 hexadecimal digits".into(),
                );
            }
            0 => sleep(Duration::from_millis(1)).await,
            _ if byte[0] == b'\n' || byte[0] == b'\r' => {
                if !line.is_empty() {
                    break;
                }
            }
            _ if line.len() > 256 => return Err("what was typed is no key".into()),
            _ => line.push(byte[0]),
        }
    }
    Ok(String::from_utf8_lossy(&line).to_string())
}

impl Config {
    /// What the options of this machine say: `node` is its number, `cluster-key` the key (`console`: the first line that is typed, which
    /// nobody else sees, for example `< key-file`), `listen` where it is called (port 7000 by default). Nodes in `peers` are introduced when it
    /// has [joined](join_by_options).
    ///
    /// # Errors
    /// An option is missing or is not what it should be: which, and how it is written.
    pub async fn of_options() -> Result<Self, String> {
        let environment = EbbRef::<dyn Environment>::get();
        let missing = |name: &str, takes: &str| {
            let setting = name.to_ascii_uppercase().replace('-', "_");
            format!(
                "this machine joins a cluster, and needs the option {name} ({takes}): EBB_OPTIONS=\"{name}=..\", or EBB_{setting} for a process"
            )
        };
        let node = environment.option("node").and_then(|n| n.parse().ok());
        let node = node.ok_or_else(|| missing("node", "its number"))?;
        let key = match environment.option("cluster-key") {
            Some("console") => Key::from_hex(&typed().await?),
            Some(given) => Key::from_hex(given),
            None => {
                return Err(missing(
                    "cluster-key",
                    "64 hexadecimal digits, or `console`",
                ));
            }
        };
        let key = key.ok_or("the cluster's key has 64 hexadecimal digits")?;
        let listen = environment.option("listen").unwrap_or("7000");
        let listen = address(listen).ok_or_else(|| missing("listen", "PORT or ADDRESS:PORT"))?;
        Ok(Self::new(NodeId(node), key, listen))
    }
}

/// Joins the cluster that the options of this machine name ([`Config::of_options`]), as one that `Nodes::start` has started does, or one
/// that was started by hand. What each connection may cost is in `limits`.
///
/// # Errors
/// What is missing, or why it cannot listen.
pub async fn join_by_options(limits: Limits) -> Result<ebb_net::tcp::Server, String> {
    let config = Config {
        limits,
        ..Config::of_options().await?
    };
    let listen = config.listen;
    let server = join(config).await;
    let server = server.map_err(|error| format!("{listen} cannot be listened at: {error}"))?;
    let named = EbbRef::<dyn Environment>::get().option("peers");
    for (node, address) in named.and_then(peers).unwrap_or_default() {
        if this_node() != Some(node) {
            introduce(node, address);
        }
    }
    Ok(server)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_peers_are_read_as_they_are_documented() {
        assert_eq!(address("7000"), Some(([0, 0, 0, 0], 7000).into()));
        assert_eq!(address("127.0.0.1:70"), Some(([127, 0, 0, 1], 70).into()));
        assert_eq!(address("70000"), None);
        let two = peers("1@10.0.0.1:7000,2@[::1]:7");
        assert_eq!(two.map(|peers| peers.len()), Some(2));
        for wrong in ["", "1", "1@", "x@1.2.3.4:5", "1@1.2.3.4"] {
            assert_eq!(peers(wrong), None, "{wrong}");
        }
    }
}
