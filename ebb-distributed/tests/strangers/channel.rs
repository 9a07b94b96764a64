//! The protected channel: strangers, changes, repetition.

use bytes::Bytes;
use ebb_distributed::{
    channel::{Channel, HANDSHAKE, Key, Untrusted},
    sim::Chance,
};

/// Moves what each says to the other until both are open, or one does not believe.
fn shake(near: &mut Channel, far: &mut Channel) -> Result<(), Untrusted> {
    while let Some(record) = near.poll_handshake().or_else(|| {
        let record = far.poll_handshake()?;
        near.receive(&record, |_| panic!("no data yet")).ok()?;
        Some(Bytes::new())
    }) {
        far.receive(&record, |_| panic!("no data yet"))?;
    }
    Ok(())
}

fn pair() -> (Channel, Channel) {
    let key = Key::random();
    let (mut near, mut far) = (Channel::connecting(&key), Channel::listening(&key));
    shake(&mut near, &mut far).unwrap();
    assert!(near.is_open() && far.is_open());
    (near, far)
}

fn sealed(channel: &mut Channel, bytes: &[u8]) -> Vec<u8> {
    let mut records = Vec::new();
    channel.seal(bytes, &mut records).unwrap();
    records.concat()
}

fn on_a_core(test: fn()) {
    ebb_hosted::run(
        &ebb_hosted::Config {
            cores: 1,
            pin: false,
        },
        async move || test(),
    );
}

#[test]
fn bytes_come_out_as_they_went_in_however_they_are_cut() {
    on_a_core(|| {
        let (mut near, mut far) = pair();
        let mut chance = Chance::new(1);
        for _ in 0..50 {
            let message: Vec<u8> = (0..chance.below(60_000)).map(|i| i as u8).collect();
            let wire = sealed(&mut near, &message);
            let (mut rest, mut got) = (wire.as_slice(), Vec::new());
            while !rest.is_empty() {
                let piece = 1 + chance.below(rest.len() as u64) as usize;
                far.receive(&rest[..piece], |plain| got.extend_from_slice(plain))
                    .unwrap();
                rest = &rest[piece..];
            }
            assert_eq!(got, message);
            std::mem::swap(&mut near, &mut far);
        }
    });
}

#[test]
fn a_short_record_is_lent_and_a_long_one_handed_on() {
    on_a_core(|| {
        let (mut near, mut far) = pair();
        let mut records = Vec::new();
        assert_eq!(near.lend(|_| ()), Ok(None), "nothing to say");
        // Long ones between: what is lent leaves nothing behind for the next.
        for length in [1, 64, 1000, 10_000, 64, 40_000, 1, 2000] {
            let message: Vec<u8> = (0..length).map(|i| i as u8).collect();
            let (first, second) = message.split_at(length / 3);
            near.gather(first, &mut records).unwrap();
            near.gather(second, &mut records).unwrap();
            let lent = near.lend(<[u8]>::to_vec).unwrap();
            assert_eq!(lent.is_some(), length <= 2000, "{length}");
            near.seal(&[], &mut records).unwrap();
            let wire = lent.unwrap_or_else(|| records.concat());
            records.clear();
            let mut got = Vec::new();
            let taken = far.receive(&wire, |plain| got.extend_from_slice(plain));
            assert_eq!((taken, got), (Ok(()), message));
        }
        let mut stranger = Channel::listening(&Key::random());
        assert_eq!(stranger.lend(|_| ()), Err(Untrusted));
    });
}

#[test]
fn one_without_the_key_is_not_believed_by_either_side() {
    on_a_core(|| {
        let (mine, other) = (Key::random(), Key::random());
        let (mut near, mut far) = (Channel::connecting(&other), Channel::listening(&mine));
        assert_eq!(shake(&mut near, &mut far), Err(Untrusted));
        assert!(!near.is_open() && !far.is_open());
        // A listener that does not have it either cannot say anything that is believed.
        let mut near = Channel::connecting(&mine);
        let mut guess = (HANDSHAKE as u16).to_le_bytes().to_vec();
        guess.extend_from_slice(&[5; HANDSHAKE]);
        assert_eq!(near.receive(&guess, |_| panic!("no data")), Err(Untrusted));
    });
}

#[test]
fn changed_repeated_and_left_out_records_end_the_channel() {
    on_a_core(|| {
        let (mut near, mut far) = pair();
        let mut wire = sealed(&mut near, b"hello");
        wire[4] ^= 1;
        assert_eq!(far.receive(&wire, |_| panic!("believed")), Err(Untrusted));
        let (mut near, mut far) = pair();
        let wire = sealed(&mut near, b"hello");
        far.receive(&wire, |_| {}).unwrap();
        assert_eq!(
            far.receive(&wire, |_| panic!("believed twice")),
            Err(Untrusted)
        );
        let (mut near, mut far) = pair();
        let _lost = sealed(&mut near, b"first");
        let wire = sealed(&mut near, b"second");
        assert_eq!(
            far.receive(&wire, |_| panic!("out of order")),
            Err(Untrusted)
        );
    });
}

#[test]
fn a_handshake_that_is_replayed_opens_nothing() {
    on_a_core(|| {
        let key = Key::random();
        let mut near = Channel::connecting(&key);
        let recorded = near.poll_handshake().unwrap();
        let mut far = Channel::listening(&key);
        far.receive(&recorded, |_| {}).unwrap();
        near.receive(&far.poll_handshake().unwrap(), |_| {})
            .unwrap();
        let data = sealed(&mut near, b"pay");
        // The same bytes to the same listener's next channel: it has drawn another key.
        let mut again = Channel::listening(&key);
        again.receive(&recorded, |_| {}).unwrap();
        assert_eq!(again.receive(&data, |_| panic!("replayed")), Err(Untrusted));
    });
}

#[test]
fn strangers_bytes_neither_panic_nor_open() {
    on_a_core(|| {
        let key = Key::random();
        for seed in 0..2000 {
            let mut chance = Chance::new(seed);
            let mut far = Channel::listening(&key);
            let mut bytes: Vec<u8> = (0..chance.below(200))
                .map(|_| chance.number() as u8)
                .collect();
            if chance.in_thousand(700) && bytes.len() >= 2 {
                bytes[..2].copy_from_slice(&(HANDSHAKE as u16).to_le_bytes());
            }
            let _ = far.receive(&bytes, |_| panic!("believed"));
            assert!(!far.is_open());
        }
    });
}

#[test]
fn a_key_is_read_as_it_is_written() {
    on_a_core(|| {
        let key = Key::random();
        assert!(Key::from_hex(&key.to_hex()) == Some(key));
        assert!(Key::from_hex("12").is_none() && Key::from_hex(&"é".repeat(32)).is_none());
        assert_eq!(format!("{key:?}"), "Key(..)");
    });
}
