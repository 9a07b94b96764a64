//! A load on a store that knows what it must find again, for tests that end a machine at a random instant.
//!
//! Each of several writers commits batches, number 1, 2, 3 and so on; what a batch changes follows from its number alone.
//! So from the last batch of a writer that is there everything follows that must be there, and nothing else may be.

use alloc::{collections::BTreeMap, format, string::String, vec, vec::Vec};

use ebb::{println, spawn};
use ebb_store::{Batch, Store};

/// Writers.
pub const WRITERS: usize = 4;
/// Keys of each.
const KEYS: u64 = 24;

fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

/// A value, and the content of a blob that it refers to.
type Value = (Vec<u8>, Option<Vec<u8>>);

/// What batch `number` of a writer changes, besides the number itself.
fn changes(writer: usize, number: u64) -> Vec<(String, Option<Value>)> {
    let seed = mix(writer as u64 * 1_000_003 + number);
    let count = 1 + seed % 4;
    (0..count)
        .map(|n| {
            let seed = mix(seed + n);
            let key = format!("writer/{writer}/key/{}", seed % KEYS);
            if seed >> 8 & 3 == 0 {
                return (key, None);
            }
            let mut value = format!("{writer} {number} {n} ").into_bytes();
            let length = value.len() + (seed >> 16) as usize % 3000;
            value.resize(length, seed as u8);
            let content = seed >> 40 & 7;
            let blob =
                (seed >> 32 & 7 == 0).then(|| vec![content as u8; content as usize * 30_000]);
            (key, Some((value, blob)))
        })
        .collect()
}

fn number_key(writer: usize) -> String {
    format!("writer/{writer}/number")
}

async fn number(store: &Store, writer: usize) -> Result<u64, String> {
    let value = store.get(number_key(writer)).await;
    let value = value.map_err(|e| format!("writer {writer}: its number: {e}"))?;
    let bytes = value.as_deref().unwrap_or(&[0; 8]);
    let bytes = bytes
        .try_into()
        .map_err(|_| format!("writer {writer}: a number of {} bytes", bytes.len()))?;
    Ok(u64::from_le_bytes(bytes))
}

/// Compares what a writer's keys have with what they must have.
async fn check(store: &Store, writer: usize, acknowledged: u64) -> Result<u64, String> {
    let last = number(store, writer).await?;
    if last < acknowledged {
        return Err(format!(
            "writer {writer}: batch {acknowledged} was acknowledged, and {last} is the last that is there"
        ));
    }
    // Of each key its last change counts: back to where all of them are known, however long the store has been written to.
    let mut model = BTreeMap::new();
    for number in (1..=last).rev() {
        if model.len() as u64 == KEYS {
            break;
        }
        for (key, value) in changes(writer, number).into_iter().rev() {
            model.entry(key).or_insert(value);
        }
    }
    model.retain(|_, value| value.is_some());
    let keys = store.keys(format!("writer/{writer}/key/"));
    let found: Vec<&str> = keys
        .iter()
        .filter_map(|k| core::str::from_utf8(k).ok())
        .collect();
    let wanted: Vec<&str> = model.keys().map(String::as_str).collect();
    if found != wanted {
        return Err(format!(
            "writer {writer} at {last}: the keys {found:?} instead of {wanted:?}"
        ));
    }
    for (key, (value, blob)) in model
        .iter()
        .filter_map(|(key, is)| Some((key, is.as_ref()?)))
    {
        let has = store
            .get(key)
            .await
            .map_err(|e| format!("{key} at {last}: {e}"))?;
        if has.as_ref() != Some(value) {
            return Err(format!("{key} at {last}: another value"));
        }
        if let Some(blob) = blob {
            let has = store.blob(&ebb_store::hash(blob)).await;
            if has
                .map_err(|e| format!("the blob of {key} at {last}: {e}"))?
                .as_ref()
                != Some(blob)
            {
                return Err(format!("{key} at {last}: another blob"));
            }
        }
    }
    Ok(last)
}

async fn write(store: Store, writer: usize, last: u64) {
    for number in last + 1.. {
        let mut batch = Batch::default();
        for (key, value) in changes(writer, number) {
            match value {
                Some((value, blob)) => {
                    let blob = blob.map(|b| batch.blob(b));
                    batch.put_with(key, value, blob);
                }
                None => batch.delete(key),
            }
        }
        batch.put(number_key(writer), number.to_le_bytes());
        match store.commit(batch).await {
            Ok(()) => println!("done {writer} {number}"),
            Err(error) => return println!("failed {writer} {number}: {error}"),
        }
    }
}

/// Opens the store of disk 0, makes sure that of each writer at least the batches that were acknowledged are there and
/// nothing half or invented, says `checked`, and goes on to write, saying `done WRITER NUMBER` of each batch.
///
/// # Errors
/// What is wrong.
pub async fn run(acknowledged: [u64; WRITERS]) -> Result<core::convert::Infallible, String> {
    let (store, report) = Store::open_disk(0).await.map_err(|e| format!("{e}"))?;
    if !report.damage.is_empty() {
        return Err(format!("damage: {:?}", report.damage));
    }
    let mut lasts = Vec::new();
    for (writer, acknowledged) in acknowledged.into_iter().enumerate() {
        lasts.push(check(&store, writer, acknowledged).await?);
    }
    println!("checked {lasts:?}");
    let writers: Vec<_> = lasts
        .into_iter()
        .enumerate()
        .map(|(writer, last)| spawn(write(store.clone(), writer, last)))
        .collect();
    for writer in writers {
        let _ = writer.await;
    }
    Err("the writers have ended".into())
}
