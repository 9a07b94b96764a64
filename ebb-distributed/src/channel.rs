//! The protected channel below a connection: Noise, pattern NNpsk0 with X25519, BLAKE2s, and AES-256-GCM or ChaCha20-Poly1305: the side
//! that connects takes the one that its CPU is faster at, the other tries which it was. The choice is part of what both sides prove.
//!
//! Both sides prove that they have the cluster's key, by the handshake; everything after it is encrypted, and cannot be changed,
//! left out, repeated or put into another order without the channel ending. A recorded channel tells nothing later, also to
//! one that learns the key: its keys come from a new exchange.
//!
//! On the wire: records of a length (`u16`, little-endian) and that many bytes, first one from each side for the handshake. What
//! must hold: before the peer has proved that it has the key, it costs one record of [`HANDSHAKE`] bytes and nothing that it
//! sends reaches a connection.

use alloc::{boxed::Box, vec, vec::Vec};

use crate::cipher::{self, Direction, Suite};
use bytes::{Bytes, BytesMut};
use ebb_runtime::{
    EbbRef,
    platform::{Entropy, VectorRegisters},
};
use snow::{
    Builder, HandshakeState,
    params::{CipherChoice, DHChoice, HashChoice},
    resolvers::{CryptoResolver, DefaultResolver},
    types::{Cipher, Dh, Hash, Random},
};

/// What both sides must mean to speak.
const PROLOGUE: &[u8] = b"ebb-distributed 1";
/// An exchanged key and the tag of an empty message.
pub const HANDSHAKE: usize = 32 + 16;
/// The longest record, by the Noise specification.
const RECORD: usize = 65535;
const TAG: usize = 16;
/// Plaintext of a record: what makes records of whole pages.
pub(crate) const PLAIN: usize = 16 * 1024 - TAG - 2;
/// Up to so many bytes of a record it costs less to copy them than to hand them on by reference.
const LENT: usize = 2048;

/// The key of a cluster: whoever has it, belongs to it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key([u8; 32]);

impl Key {
    /// From bytes, which are secret and random.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A new one, from the platform's entropy.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes = [0; 32];
        EbbRef::<dyn Entropy>::get().fill(&mut bytes);
        Self(bytes)
    }

    /// From 64 hexadecimal digits, as options and files have it.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits = text.trim().as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            let high = char::from(pair[0]).to_digit(16)?;
            let low = char::from(pair[1]).to_digit(16)?;
            *byte = (high * 16 + low) as u8;
        }
        Some(Self(bytes))
    }

    /// As [`from_hex`](Self::from_hex) reads it. Secret.
    #[must_use]
    pub fn to_hex(&self) -> alloc::string::String {
        self.0
            .iter()
            .map(|byte| alloc::format!("{byte:02x}"))
            .collect()
    }
}

impl core::fmt::Debug for Key {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Key(..)")
    }
}

/// Chance from the platform; the algorithms are snow's.
struct Primitives;

struct PlatformRandom;

impl Random for PlatformRandom {
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), snow::Error> {
        EbbRef::<dyn Entropy>::get().fill(bytes);
        Ok(())
    }
}

impl CryptoResolver for Primitives {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(PlatformRandom))
    }
    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        DefaultResolver.resolve_dh(choice)
    }
    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }
    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        cipher::resolve(choice)
    }
}

/// Before anything is encrypted or decrypted: snow's ciphers and curves use AVX where the CPU has it.
fn claim_vector_registers() {
    EbbRef::<dyn VectorRegisters>::get().claim();
}

/// The peer does not have the key, or somebody changed what it sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Untrusted;

/// Where plaintext goes: it is decrypted there, in place.
pub trait Plain {
    /// Takes a sealed message to where its plaintext is wanted, has it opened there, and keeps as many bytes as `open` says, or none.
    fn take(&mut self, sealed: &[u8], open: impl FnOnce(&mut [u8]) -> Option<usize>) -> Option<()>;
}

/// Hands plaintext on.
struct Handed<F>(F);

impl<F: FnMut(&[u8])> Plain for Handed<F> {
    fn take(&mut self, sealed: &[u8], open: impl FnOnce(&mut [u8]) -> Option<usize>) -> Option<()> {
        let mut room = sealed.to_vec();
        let count = open(&mut room)?;
        self.0(&room[..count]);
        Some(())
    }
}

fn builder<'a>(key: &'a Key, cipher: &CipherChoice) -> Builder<'a> {
    let cipher = Suite::of(cipher).expect("one of its names").name();
    let pattern = alloc::format!("Noise_NNpsk0_25519_{cipher}_BLAKE2s");
    let pattern = pattern.parse().expect("a pattern that snow knows");
    Builder::with_resolver(pattern, Box::new(Primitives))
        .psk(0, &key.0)
        .and_then(|b| b.prologue(PROLOGUE))
        .expect("each is set once")
}

/// The handshake of the side that listens, if the first record was made by this key and cipher.
fn answering(key: &Key, cipher: &CipherChoice, record: &[u8]) -> Option<Box<Handshake>> {
    let noise = builder(key, cipher).build_responder();
    let mut noise = noise.expect("all primitives are there");
    let suite = Suite::of(cipher)?;
    hears(&mut noise, record).then(|| Box::new(Handshake { suite, noise }))
}

/// Whether this was the peer's turn, and a record of its handshake.
fn hears(handshake: &mut HandshakeState, record: &[u8]) -> bool {
    let mut nothing = [0; HANDSHAKE];
    !handshake.is_my_turn() && handshake.read_message(record, &mut nothing) == Ok(0)
}

struct Handshake {
    suite: Suite,
    noise: HandshakeState,
}

enum State {
    /// This side listens, and nothing has come.
    Listening(Key),
    Handshake(Box<Handshake>),
    Open(Open),
    Broken,
}

/// Both directions of an open channel.
struct Open {
    seals: Direction,
    opens: Direction,
    /// Plaintext of the record that is being gathered, behind room for its length.
    record: Vec<u8>,
    pace: Pace,
}

impl Open {
    /// Adds to the record; whole ones are sealed.
    fn gather(&mut self, mut bytes: &[u8], out: &mut Vec<Bytes>) -> Result<(), Untrusted> {
        while !bytes.is_empty() {
            if self.record.is_empty() {
                let room = bytes.len().min(PLAIN) + 2 + TAG;
                if self.record.capacity() < room {
                    self.record = Vec::with_capacity(room);
                }
                self.record.extend_from_slice(&[0; 2]);
            }
            let more = bytes.len().min(2 + PLAIN - self.record.len());
            if self.record.capacity() < self.record.len() + more + TAG {
                // With the tag: a full record would be moved for its sake.
                self.record.reserve_exact(more + TAG);
            }
            self.record.extend_from_slice(&bytes[..more]);
            bytes = &bytes[more..];
            if self.record.len() == 2 + PLAIN {
                self.finish(out)?;
            }
        }
        Ok(())
    }

    /// Seals what has been gathered.
    fn finish(&mut self, out: &mut Vec<Bytes>) -> Result<(), Untrusted> {
        if !self.record.is_empty() {
            self.close_record()?;
            out.push(core::mem::take(&mut self.record).into());
        }
        Ok(())
    }

    /// Seals it where it lies.
    fn close_record(&mut self) -> Result<(), Untrusted> {
        let record = &mut self.record;
        self.seals.seal(record, 2).ok_or(Untrusted)?;
        let length = (record.len() - 2) as u16;
        record[..2].copy_from_slice(&length.to_le_bytes());
        self.pace.records += 1;
        Ok(())
    }
}

/// How often records come and go.
#[derive(Default)]
struct Pace {
    /// Since `begun_ns`.
    records: u32,
    begun_ns: u64,
    /// There were many in the time before.
    is_busy: bool,
}

impl Pace {
    const WINDOW_NS: u64 = 400_000_000;
    /// More than a channel has that is only kept alive.
    const MANY: u32 = 8;

    /// Whether making keys anew for the next record costs nothing beside the waiting for it.
    fn is_idle(&mut self, now_ns: u64) -> bool {
        if now_ns.saturating_sub(self.begun_ns) > Self::WINDOW_NS {
            *self = Self {
                records: 0,
                begun_ns: now_ns,
                is_busy: self.records > Self::MANY,
            };
        }
        !self.is_busy && self.records <= Self::MANY
    }
}

/// One side of a channel: bytes in, bytes out, no I/O.
pub struct Channel {
    state: State,
    /// The beginning of a record that has not come as a whole.
    input: BytesMut,
    first: Option<Bytes>,
}

impl Channel {
    /// The side that connects. Its first record is there at once.
    #[must_use]
    pub fn connecting(key: &Key) -> Self {
        let [cipher, _] = cipher::preferred();
        Self::connecting_by(key, &cipher)
    }

    fn connecting_by(key: &Key, cipher: &CipherChoice) -> Self {
        claim_vector_registers();
        let noise = builder(key, cipher).build_initiator();
        let noise = noise.expect("all primitives are there");
        let suite = Suite::of(cipher).expect("one of its names");
        let mut channel = Self::new(State::Handshake(Box::new(Handshake { suite, noise })));
        channel.write_handshake();
        channel
    }

    /// The side that listens.
    #[must_use]
    pub fn listening(key: &Key) -> Self {
        Self::new(State::Listening(*key))
    }

    fn new(state: State) -> Self {
        Self {
            state,
            input: BytesMut::new(),
            first: None,
        }
    }

    fn write_handshake(&mut self) {
        claim_vector_registers();
        let State::Handshake(handshake) = &mut self.state else {
            return;
        };
        let mut record = vec![0; 2 + HANDSHAKE];
        let length = handshake
            .noise
            .write_message(&[], &mut record[2..])
            .expect("it is this side's turn");
        record.truncate(2 + length);
        record[..2].copy_from_slice(&(length as u16).to_le_bytes());
        self.first = Some(record.into());
        self.open();
    }

    /// The handshake's keys become those of the directions: by Noise, the first is that of what the connecting side says.
    fn open(&mut self) {
        let State::Handshake(handshake) = &mut self.state else {
            return;
        };
        if !handshake.noise.is_handshake_finished() {
            return;
        }
        let connects = handshake.noise.is_initiator();
        let (first, second) = handshake.noise.dangerously_get_raw_split();
        let (seals, opens) = match connects {
            true => (first, second),
            false => (second, first),
        };
        let suite = handshake.suite;
        self.state = State::Open(Open {
            seals: Direction::new(suite, seals),
            opens: Direction::new(suite, opens),
            record: Vec::new(),
            pace: Pace::default(),
        });
    }

    /// Whether the peer has proved that it has the key.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// A record of the handshake that is to be sent.
    pub fn poll_handshake(&mut self) -> Option<Bytes> {
        self.first.take()
    }

    /// Takes bytes of the transport, and gives what they say to `sink`.
    ///
    /// # Errors
    /// [`Untrusted`]: the transport is to be closed.
    pub fn receive(&mut self, bytes: &[u8], sink: impl FnMut(&[u8])) -> Result<(), Untrusted> {
        self.receive_into(bytes, Handed(sink))
    }

    /// As [`receive`](Self::receive), with the plaintext where it is wanted. A record that comes as a whole is read where it lies.
    ///
    /// # Errors
    /// [`Untrusted`]: the transport is to be closed.
    pub fn receive_into(&mut self, bytes: &[u8], mut sink: impl Plain) -> Result<(), Untrusted> {
        let mut bytes = bytes;
        while !bytes.is_empty() {
            if self.input.is_empty()
                && let Some((length, rest)) = bytes.split_first_chunk::<2>()
                && let Some((record, rest)) = rest.split_at_checked(self.record_length(*length)?)
            {
                self.record(record, &mut sink)?;
                bytes = rest;
                continue;
            }
            let need = match self.input.split_first_chunk::<2>() {
                Some((length, _)) => 2 + self.record_length(*length)?,
                None => 2,
            };
            let more = (need - self.input.len()).min(bytes.len());
            // At once, instead of moving it as it grows.
            self.input.reserve(need - self.input.len());
            self.input.extend_from_slice(&bytes[..more]);
            bytes = &bytes[more..];
            if self.input.len() < need {
                return Ok(());
            }
            if need == 2 {
                continue;
            }
            // What an idle channel keeps is no record: the next one gets room when it comes in parts again.
            let record = core::mem::take(&mut self.input);
            self.record(&record[2..], &mut sink)?;
        }
        Ok(())
    }

    /// At most one record is held, so that a stranger costs no more than its handshake.
    fn record_length(&mut self, length: [u8; 2]) -> Result<usize, Untrusted> {
        let most = if self.is_open() { RECORD } else { HANDSHAKE };
        let length = usize::from(u16::from_le_bytes(length));
        if length > most || length < TAG {
            self.distrust()?;
        }
        Ok(length)
    }

    fn record(&mut self, record: &[u8], sink: &mut impl Plain) -> Result<(), Untrusted> {
        claim_vector_registers();
        match &mut self.state {
            State::Listening(key) => {
                let key = *key;
                let found = cipher::preferred()
                    .iter()
                    .find_map(|cipher| answering(&key, cipher, record));
                let Some(handshake) = found else {
                    return self.distrust();
                };
                self.state = State::Handshake(handshake);
                self.write_handshake();
                self.open();
            }
            State::Handshake(handshake) => {
                if !hears(&mut handshake.noise, record) {
                    return self.distrust();
                }
                self.open();
            }
            State::Open(open) => {
                open.pace.records += 1;
                if sink.take(record, |room| open.opens.open(room)).is_none() {
                    return self.distrust();
                }
            }
            State::Broken => return Err(Untrusted),
        }
        Ok(())
    }

    fn distrust(&mut self) -> Result<(), Untrusted> {
        self.state = State::Broken;
        self.input = BytesMut::new();
        Err(Untrusted)
    }

    /// Makes records of `bytes`, with all that was [gathered](Self::gather) before.
    ///
    /// # Errors
    /// [`Untrusted`] before the channel is open.
    pub fn seal(&mut self, bytes: &[u8], out: &mut Vec<Bytes>) -> Result<(), Untrusted> {
        self.gather(bytes, out)?;
        self.opened()?.finish(out)
    }

    /// Makes a record of what was [gathered](Self::gather), and lends it to `send`, if that is short: its memory is used again. `None` when
    /// there is nothing, or much.
    ///
    /// # Errors
    /// [`Untrusted`] before the channel is open.
    pub fn lend<R>(&mut self, send: impl FnOnce(&[u8]) -> R) -> Result<Option<R>, Untrusted> {
        let open = self.opened()?;
        if open.record.is_empty() || open.record.len() > LENT {
            return Ok(None);
        }
        open.close_record()?;
        let sent = send(&open.record);
        open.record.clear();
        Ok(Some(sent))
    }

    /// As [`seal`](Self::seal), with what does not fill a record kept for the next one.
    ///
    /// # Errors
    /// [`Untrusted`] before the channel is open.
    pub fn gather(&mut self, bytes: &[u8], out: &mut Vec<Bytes>) -> Result<(), Untrusted> {
        claim_vector_registers();
        self.opened()?.gather(bytes, out)
    }

    fn opened(&mut self) -> Result<&mut Open, Untrusted> {
        match &mut self.state {
            State::Open(open) => Ok(open),
            _ => Err(Untrusted),
        }
    }

    /// Nothing is to be done now: gives back what the next record can make again, if records are rare. Says whether they are.
    pub fn rest(&mut self, now_ns: u64) -> bool {
        let State::Open(open) = &mut self.state else {
            return false;
        };
        let is_idle = open.pace.is_idle(now_ns);
        if is_idle {
            open.seals.rest();
            open.opens.rest();
            if open.record.is_empty() {
                open.record = Vec::new();
            }
        }
        is_idle
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shaken(key: &Key, cipher: &CipherChoice) -> (Channel, Channel) {
        let mut near = Channel::connecting_by(key, cipher);
        let mut far = Channel::listening(key);
        let nothing = |_: &[u8]| panic!("no data yet");
        let first = near.poll_handshake().expect("the first record");
        far.receive(&first, nothing).expect("the same key");
        let second = far.poll_handshake().expect("the answer");
        near.receive(&second, nothing).expect("the same key");
        (near, far)
    }

    #[test]
    fn the_side_that_connects_chooses_the_cipher() {
        let config = ebb_hosted::Config {
            cores: 1,
            pin: false,
        };
        ebb_hosted::run(&config, async || {
            let key = Key::random();
            for cipher in cipher::preferred() {
                let (mut near, mut far) = shaken(&key, &cipher);
                assert!(near.is_open() && far.is_open(), "{cipher:?}");
                for (from, to) in [(0, 1), (1, 0)] {
                    let both = [&mut near, &mut far];
                    let mut records = Vec::new();
                    both[from].seal(b"said", &mut records).expect("it is open");
                    let mut heard = Vec::new();
                    let taken = both[to].receive(&records.concat(), |plain| heard.extend(plain));
                    assert_eq!((taken, &*heard), (Ok(()), &b"said"[..]), "{cipher:?}");
                }
            }
        });
    }
}
