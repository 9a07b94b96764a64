//! Files and names of the Linux that a front end runs on: the provider of [`Host`], which `ebb_offload::Share` stands on. A
//! program links it by naming it, `#[ebb::main(hosted = ebb_offload_hosted)]`.
//!
//! What must hold:
//! - A path is resolved by the kernel below the shared directory's descriptor (`openat2` with `RESOLVE_BENEATH`), at once and for
//!   each call: neither `..`, an absolute path, a link, nor somebody who exchanges a directory for a link meanwhile leads out
//!   of it. A link to somewhere below is followed.
//! - Nothing but regular files is read, and opening waits for nobody: a pipe without a writer is no trap.
//! - A core hands a request to threads and goes on; there are so many threads, and so many requests that wait.

extern crate ebb_runtime as ebb;

mod root;
mod threads;

use std::{
    env,
    net::{IpAddr, ToSocketAddrs},
    sync::{Arc, OnceLock},
};

use ebb_offload::{
    LookupError,
    host::{Host, Pending, Root},
};
use ebb_runtime::provides;
use threads::Threads;

/// Threads for names: look-ups wait for a network, and are not to hold up files.
const LOOKUPS: usize = 4;
/// A longer name is none (RFC 1035).
const LONGEST_NAME: usize = 253;

/// Linux, as the provider.
struct Linux;

#[provides(Host, instance = &Linux)]
impl Host for Linux {
    fn open_root(&self, path: &str) -> Result<Arc<dyn Root>, String> {
        root::open(path).map(|root| Arc::new(root) as Arc<dyn Root>)
    }

    fn variable(&self, name: &str) -> Option<String> {
        env::var(name).ok()
    }

    fn lookup(&self, name: String) -> Pending<Vec<IpAddr>, LookupError> {
        static THREADS: OnceLock<Option<Threads>> = OnceLock::new();
        let threads = THREADS.get_or_init(|| Threads::start("ebb names", LOOKUPS).ok());
        let look_up = move || {
            if name.len() > LONGEST_NAME || name.contains('\0') {
                return Err(LookupError::Failed);
            }
            let found = (name.as_str(), 0).to_socket_addrs();
            let mut addresses = Vec::new();
            for address in found.map_err(|_| LookupError::Failed)? {
                if !addresses.contains(&address.ip()) {
                    addresses.push(address.ip());
                }
            }
            Ok(addresses)
        };
        match threads {
            Some(threads) => threads.run(look_up, LookupError::Busy),
            None => Box::pin(std::future::ready(Err(LookupError::Busy))),
        }
    }
}
