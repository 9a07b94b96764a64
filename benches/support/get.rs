//! The load of web servers: `GET /` over kept-alive connections, each with one request outstanding.

use std::net::SocketAddr;

use crate::{
    answer::whole,
    load::{Figures, Generator, Load, Protocol},
    sides::agent,
};

/// Connections of the load.
const CONNECTIONS: usize = 16;

/// A request like curl's; says of a body whether it is right.
struct Get(fn(&[u8]) -> bool);

impl Protocol for Get {
    fn request(&mut self, out: &mut Vec<u8>) -> u64 {
        out.extend(
            b"GET / HTTP/1.1\r\nHost: 10.0.2.15\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n",
        );
        0
    }

    fn answer(&mut self, input: &[u8], _note: u64) -> Option<usize> {
        let answer = whole(input)?;
        let right = answer.is_good && (self.0)(&input[answer.body.clone()]);
        assert!(right, "{}", String::from_utf8_lossy(input));
        Some(answer.body.end)
    }
}

/// If this program was started as an agent: loads the server by orders `RATE SECONDS`, 0 for a closed loop.
pub fn get_agent(right: fn(&[u8]) -> bool) -> bool {
    let mut generator = None;
    agent(|address: SocketAddr, order: &[f64]| -> Figures {
        let load = Load {
            depth: 1,
            rate: order[0],
            seconds: order[1],
        };
        generator
            .get_or_insert_with(|| Generator::new(address, CONNECTIONS))
            .run(load, None, &mut Get(right))
    })
}
