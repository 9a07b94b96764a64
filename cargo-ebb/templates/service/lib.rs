//! A web service: it greets, and counts on every core how often.
#![no_std]

extern crate alloc;

use alloc::format;
use core::cell::Cell;

use ebb::{
    EbbRef, ebb,
    net::http::{Request, Response, percent_decode},
};

/// What one core has served: every core has its own, so there is no lock and nothing atomic.
#[ebb(per_core)]
#[derive(Default)]
pub struct Served {
    requests: Cell<u64>,
}

impl Served {
    /// Counts a request; how many it has been on this core.
    pub fn count(&self) -> u64 {
        self.requests.set(self.requests.get() + 1);
        self.requests.get()
    }
}

/// How many requests all cores have served.
pub async fn total() -> u64 {
    let all = EbbRef::<Served>::new();
    let total = all.fold(0, |served| served.requests.get(), |sum, n| sum + n);
    // An error means that the machine is stopping.
    total.await.unwrap_or(0)
}

/// The answer to a request.
pub async fn answer(request: &mut Request<'_>) -> Response {
    EbbRef::<Served>::get().count();
    match (request.method(), request.path()) {
        ("GET" | "HEAD", "/total") => {
            Response::json(format!("{{\"requests\":{}}}\n", total().await))
        }
        ("GET" | "HEAD", path) => {
            match percent_decode(path.trim_start_matches('/'), false).as_deref() {
                Some("") => Response::text("hello; try /NAME and /total\n"),
                Some(name) => Response::text(format!("hello, {name}\n")),
                None => Response::error(400, "this is no name in UTF-8"),
            }
        }
        _ => Response::error(405, "this service is for GET").with("allow", "GET, HEAD"),
    }
}
