//! Where people reach this machine.

use alloc::string::{String, ToString};

use ebb::{EbbRef, platform::Environment};

/// The host and port at which the user reaches a TCP port of this machine: the runner says which of its own lead here (option
/// `forward`, entries `[ADDRESS:]PORT:PORT-HERE` between commas).
#[must_use]
pub fn reached_at(port: u16) -> (String, u16) {
    let forwards = EbbRef::<dyn Environment>::get().option("forward");
    for forward in forwards.unwrap_or("").split(',') {
        let mut parts = forward.rsplitn(3, ':');
        let (guest, host, at) = (parts.next(), parts.next(), parts.next());
        if guest.and_then(|g| g.parse().ok()) == Some(port)
            && let (Some(Ok(host)), Some(at)) = (host.map(str::parse), at)
        {
            let at = match at {
                "127.0.0.1" | "0.0.0.0" => "localhost",
                other => other,
            };
            return (at.to_string(), host);
        }
    }
    ("localhost".into(), port)
}
