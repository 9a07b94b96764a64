//! What else the front end's Linux knows: the time, variables of its environment, the addresses of names.

use alloc::{collections::BTreeSet, string::String, vec::Vec};
use core::net::IpAddr;

use ebb_distributed::remote;
use ebb_runtime::{EbbRef, ebb, time::unix_time};
use spin::Mutex;

use crate::{host::Host, wire::LookupError};

/// What a front end [shares](crate::Share) beside files.
#[ebb(distributed)]
#[derive(Default)]
pub struct FrontEnd {
    shared: Mutex<Shared>,
}

#[derive(Default)]
struct Shared {
    variables: BTreeSet<String>,
    names: bool,
}

impl FrontEnd {
    pub(crate) fn set(&self, variables: BTreeSet<String>, names: bool) {
        *self.shared.lock() = Shared { variables, names };
    }
}

#[remote(name = "ebb.FrontEnd")]
impl FrontEnd {
    /// The front end's wall clock, in microseconds since 1970; half of what the call took is how far it may be off.
    pub async fn unix_time_us(&self) -> u64 {
        u64::try_from(unix_time().as_micros()).unwrap_or(u64::MAX)
    }

    /// A variable of the front end's environment, if it is set, is UTF-8, and is shared.
    pub async fn variable(&self, name: String) -> Option<String> {
        if !self.shared.lock().variables.contains(&name) {
            return None;
        }
        EbbRef::<dyn Host>::get().variable(&name)
    }

    /// The addresses of a name, as the front end's Linux knows them: `/etc/hosts`, DNS, whatever it is set up for.
    pub async fn lookup(&self, name: String) -> Result<Vec<IpAddr>, LookupError> {
        if !self.shared.lock().names {
            return Err(LookupError::NotShared);
        }
        EbbRef::<dyn Host>::get().lookup(name).await
    }
}
