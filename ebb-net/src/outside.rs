//! Where people reach this machine.

use alloc::{
    format,
    string::{String, ToString},
};

use ebb::{EbbRef, platform::Environment};

/// The host and port at which the user reaches a TCP port of this machine: the runner says which of its own lead here (option
/// `forward`, entries `[ADDRESS:]PORT:PORT-HERE` between commas).
#[must_use]
pub fn reached_at(port: u16) -> (String, u16) {
    let found = forwards().and_then(|forwards| forwarded(forwards, port));
    found.unwrap_or_else(|| ("localhost".into(), port))
}

/// What to tell the user where the runner leads ports to this machine, and none to this one: nobody would reach it. Port 0,
/// for one, takes a port that nothing can have been led to.
#[must_use]
pub fn unreached(port: u16) -> Option<String> {
    match forwarded(forwards()?, port) {
        Some(_) => None,
        None => Some(format!(
            "no port of the host leads to port {port} of this image: choose a port, and EBB_FORWARD=HOST:PORT leads to it"
        )),
    }
}

fn forwards() -> Option<&'static str> {
    EbbRef::<dyn Environment>::get().option("forward")
}

fn forwarded(forwards: &str, port: u16) -> Option<(String, u16)> {
    for forward in forwards.split(',') {
        let mut parts = forward.rsplitn(3, ':');
        let (guest, host, at) = (parts.next(), parts.next(), parts.next());
        if guest.and_then(|g| g.parse().ok()) == Some(port)
            && let (Some(Ok(host)), Some(at)) = (host.map(str::parse), at)
        {
            let at = match at {
                "127.0.0.1" | "0.0.0.0" => "localhost",
                other => other,
            };
            return Some((at.to_string(), host));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::forwarded;

    #[test]
    fn a_port_is_reached_where_the_runner_says_that_one_leads_to_it() {
        let forwards = "127.0.0.1:8080:80,10.0.0.7:443:443";
        assert_eq!(forwarded(forwards, 80), Some(("localhost".into(), 8080)));
        assert_eq!(forwarded(forwards, 443), Some(("10.0.0.7".into(), 443)));
        assert_eq!(forwarded(forwards, 8080), None);
        assert_eq!(forwarded("", 80), None);
    }
}
