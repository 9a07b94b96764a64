//! The load of web servers: `GET /` over kept-alive connections, each with one request outstanding.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use crate::{
    answer::whole,
    functions::metrics,
    held::hold,
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

/// The order `HOLD COUNT`: so many connections more are opened, and left alone after a request each; of those that there were, none is left.
pub const HOLD: f64 = -1.0;
/// The order `FREE 0`: bytes of memory that the server says to be free.
pub const FREE: f64 = -2.0;

/// If this program was started as an agent: loads the server by orders `RATE SECONDS`, 0 for a closed loop, and obeys [`HOLD`] and [`FREE`].
pub fn get_agent(right: fn(&[u8]) -> bool) -> bool {
    let mut generator = None;
    let mut idle = Vec::new();
    agent(|address: SocketAddr, order: &[f64]| -> Figures {
        let one = |per_second| Figures {
            per_second,
            p50_us: 0.0,
            p99_us: 0.0,
        };
        match *order {
            [HOLD, count] => {
                idle.clear();
                // Servers close what waits too long meanwhile.
                generator = None;
                idle = hold(address, count as usize, get_once);
                return one(count);
            }
            [FREE, _] => return one(metrics(address)("memory_free_bytes")),
            _ => {}
        }
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

/// One request, and its answer.
fn get_once(stream: &mut TcpStream) {
    let mut asked = Vec::new();
    Get(|_| true).request(&mut asked);
    stream.write_all(&asked).expect("the server listens");
    let (mut buffer, mut answer) = ([0; 4096], Vec::new());
    while whole(&answer).is_none() {
        let count = stream.read(&mut buffer).expect("the server answers");
        assert!(count > 0, "the server ended a connection within an answer");
        answer.extend_from_slice(&buffer[..count]);
    }
}
