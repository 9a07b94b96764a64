//! Session tickets (RFC 8446, section 4.6.1): the server's memory of a session, which the client keeps for it, encrypted.
//!
//! What must hold:
//! - no two tickets are encrypted with the same key and nonce, in copies of one snapshot either: each has a key of its own, made of
//!   the long-lived key and 32 random bytes that the platform gives at that moment;
//! - a long-lived key makes tickets for [`ROTATION`] and opens them for twice as long; then it is gone, and with it what could
//!   decrypt recorded tickets.

use alloc::{sync::Arc, vec::Vec};
use core::{fmt, time::Duration};

use ebb::time::Instant;
use rustls::server::ProducesTickets;
use spin::Mutex;

use crate::primitives::{TAG, open, random, seal};

/// How long a key makes tickets.
const ROTATION: Duration = Duration::from_secs(6 * 60 * 60);
/// Tickets are longer by this than what they hold: the key's name, the salt, the tag.
const NAME: usize = 16;
const SALT: usize = 32;
/// Nothing that was made here is longer.
const LONGEST: usize = 64 << 10;

struct Key {
    name: [u8; NAME],
    secret: [u8; 32],
    made: Instant,
}

impl Key {
    fn new(now: Instant) -> Self {
        Self {
            name: random(),
            secret: random(),
            made: now,
        }
    }

    fn age(&self, now: Instant) -> Duration {
        now.since(self.made)
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.secret.fill(0);
    }
}

#[derive(Default)]
struct Keys {
    current: Option<Arc<Key>>,
    previous: Option<Arc<Key>>,
}

impl Keys {
    /// Retires what is too old. The first use makes the first key.
    fn current(&mut self, now: Instant) -> Arc<Key> {
        match &self.current {
            Some(key) if key.age(now) < ROTATION => Arc::clone(key),
            _ => {
                self.previous = self.current.take();
                Arc::clone(self.current.insert(Arc::new(Key::new(now))))
            }
        }
    }

    fn named(&mut self, name: &[u8], now: Instant) -> Option<Arc<Key>> {
        self.current(now);
        let known = [&self.current, &self.previous].into_iter().flatten();
        let mut fresh = known.filter(|key| key.age(now) < 2 * ROTATION);
        fresh.find(|key| key.name == name).cloned()
    }
}

/// Makes and opens tickets.
#[derive(Default)]
pub struct Tickets(Mutex<Keys>);

impl Tickets {
    fn encrypt_at(&self, plain: &[u8], now: Instant) -> Option<Vec<u8>> {
        let key = self.0.lock().current(now);
        let salt: [u8; SALT] = random();
        let mut ticket = Vec::with_capacity(NAME + SALT + plain.len() + TAG);
        ticket.extend_from_slice(&key.name);
        ticket.extend_from_slice(&salt);
        ticket.extend_from_slice(plain);
        seal(&key.secret, &salt, &mut ticket, NAME + SALT)?;
        Some(ticket)
    }

    fn decrypt_at(&self, ticket: &[u8], now: Instant) -> Option<Vec<u8>> {
        if ticket.len() > LONGEST {
            return None;
        }
        let (name, rest) = ticket.split_at_checked(NAME)?;
        let (salt, sealed) = rest.split_first_chunk::<SALT>()?;
        let key = self.0.lock().named(name, now)?;
        open(&key.secret, salt, sealed.to_vec())
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        ROTATION.as_secs() as u32
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.encrypt_at(plain, Instant::now())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.decrypt_at(cipher, Instant::now())
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets(..)")
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    const CORE: ebb_hosted::Config = ebb_hosted::Config {
        cores: 1,
        pin: false,
    };

    fn later(from: Instant, hours: u64) -> Instant {
        from + Duration::from_secs(hours * 3600)
    }

    #[test]
    fn a_key_makes_tickets_for_six_hours_and_opens_them_for_six_more() {
        ebb_hosted::run(&CORE, || async {
            let (tickets, start) = (Tickets::default(), Instant::now());
            let ticket = tickets.encrypt_at(b"session", start).unwrap();
            assert_eq!(
                tickets.decrypt_at(&ticket, later(start, 5)).unwrap(),
                b"session"
            );
            let second = tickets.encrypt_at(b"session", later(start, 7)).unwrap();
            assert_ne!(ticket[..NAME], second[..NAME], "another key");
            assert_eq!(
                tickets.decrypt_at(&ticket, later(start, 11)).unwrap(),
                b"session"
            );
            assert_eq!(tickets.decrypt_at(&ticket, later(start, 12)), None);
            assert_eq!(
                tickets.decrypt_at(&second, later(start, 18)).unwrap(),
                b"session"
            );
            assert_eq!(tickets.decrypt_at(&second, later(start, 31)), None);
        });
    }

    #[test]
    fn copies_of_a_machine_share_a_key_and_never_a_ticket() {
        ebb_hosted::run(&CORE, || async {
            let (tickets, now) = (Tickets::default(), Instant::now());
            let first = tickets.encrypt_at(b"session", now).unwrap();
            // What a copy of a snapshot starts with.
            let key = tickets.0.lock().current(now);
            let copy = Tickets(Mutex::new(Keys {
                current: Some(key),
                previous: None,
            }));
            let mut seen = std::collections::HashSet::new();
            for side in [&tickets, &copy].repeat(100) {
                let ticket = side.encrypt_at(b"session", now).unwrap();
                assert_eq!(ticket[..NAME], first[..NAME]);
                assert!(
                    seen.insert(ticket[NAME..NAME + SALT].to_vec()),
                    "a salt again"
                );
                assert_eq!(tickets.decrypt_at(&ticket, now).unwrap(), b"session");
            }
        });
    }

    #[test]
    fn what_was_changed_or_is_too_long_is_no_ticket() {
        ebb_hosted::run(&CORE, || async {
            let (tickets, now) = (Tickets::default(), Instant::now());
            let ticket = tickets.encrypt_at(b"session", now).unwrap();
            for at in 0..ticket.len() {
                let mut changed = ticket.clone();
                changed[at] ^= 1;
                assert_eq!(tickets.decrypt_at(&changed, now), None, "byte {at}");
                assert_eq!(tickets.decrypt_at(&ticket[..at], now), None);
            }
            let mut long = ticket;
            long.resize(LONGEST + 1, 0);
            assert_eq!(tickets.decrypt_at(&long, now), None);
        });
    }
}
