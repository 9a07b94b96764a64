//! Checkpoints: frames of the log that say where everything is, so that opening reads them and what came after instead of the
//! whole log.
//!
//! What must hold: a checkpoint says what the index was before its first frame, and nothing else is written between its frames.
//! It counts only once the superblock names it, and only until the tail has passed its first frame. Nothing is lost without
//! one: when a byte of it is not what it was, the log is read from its tail.

use alloc::boxed::Box;
use core::ops::Bound;

use ebb_block::Error;

use crate::{
    index::{Blob, Index, Item, Location, Sorted, chunk_length},
    layout::{Builder, Checkpoint, ChunkKey, Entry, FRAME, Hash, Kind, LOG, Place},
    walk::{Next, Walk, after},
};

/// Bytes that a location takes.
const LOCATION: usize = 17;

fn encode(location: Location, lost: bool) -> [u8; LOCATION] {
    let mut bytes = [0; LOCATION];
    bytes[..8].copy_from_slice(&location.position.to_le_bytes());
    bytes[8..12].copy_from_slice(&location.length.to_le_bytes());
    bytes[12..16].copy_from_slice(&location.sum.to_le_bytes());
    bytes[16] = lost.into();
    bytes
}

/// A location of the disk's, if it can be one.
fn decode(bytes: &[u8], end: u64) -> Option<(Location, bool)> {
    let bytes: &[u8; LOCATION] = bytes.try_into().ok()?;
    let (position, rest) = bytes.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<4>()?;
    let location = Location {
        position: u64::from_le_bytes(*position),
        length: u32::from_le_bytes(*length),
        sum: u32::from_le_bytes(*sum),
    };
    let lost = match rest {
        [0] => false,
        [1] => true,
        _ => return None,
    };
    let fits = location.length as usize <= FRAME
        && (LOG..=end).contains(&location.position)
        && end - location.position >= u64::from(location.length);
    (fits || lost).then_some((location, lost))
}

/// How far a checkpoint has come.
#[derive(Default)]
pub enum Cursor {
    /// It has not begun.
    #[default]
    Start,
    /// Items up to this key are in it.
    Items(Box<[u8]>),
    /// All items are, and blobs up to this piece.
    Pieces(Hash, u32),
    /// Everything is.
    End,
}

/// Bytes of entries that a checkpoint of this would have.
pub fn bytes(index: &Index) -> u64 {
    let items = index.items.iter();
    let items = items.map(|(key, item)| Builder::cost(key.len(), item.references.len(), LOCATION));
    let pieces: usize = index.blobs.values().map(|blob| blob.chunks.len()).sum();
    items.sum::<usize>() as u64 + (pieces * Builder::cost(44, 0, LOCATION)) as u64
}

fn add_item(frame: &mut Builder, key: &[u8], item: &Item) -> bool {
    let fits = frame.fits(Builder::cost(key.len(), item.references.len(), LOCATION));
    if fits {
        let location = encode(item.location, item.lost);
        frame.add(Kind::Item, item.mark, key, &item.references, &location);
    }
    fits
}

fn add_piece(frame: &mut Builder, hash: &Hash, blob: &Blob, number: u32) -> bool {
    let fits = frame.fits(Builder::cost(44, 0, LOCATION));
    if fits {
        let key = ChunkKey {
            hash: *hash,
            index: number,
            total: blob.total,
        };
        // Of one that was lost, its length is what it must have been.
        let known = blob.chunks[number as usize];
        let location = known.unwrap_or(Location {
            position: 0,
            length: chunk_length(blob.total, number.into()) as u32,
            sum: 0,
        });
        let location = encode(location, known.is_none());
        frame.add(Kind::Piece, 0, &key.encode(), &[], &location);
    }
    fits
}

/// Fills a frame with what comes next. Empty frames are none of a checkpoint's.
pub fn fill(index: &Index, cursor: &mut Cursor) -> Builder {
    let mut frame = Builder::default();
    let from = match &*cursor {
        Cursor::Start => Some(Bound::Unbounded),
        Cursor::Items(key) => Some(Bound::Excluded(key.clone())),
        _ => None,
    };
    if let Some(from) = from {
        let from = from.as_ref().map(|key| &**key);
        let mut last: Option<&[u8]> = None;
        for (key, item) in index.items.range::<[u8], _>((from, Bound::Unbounded)) {
            if !add_item(&mut frame, key, item) {
                if let Some(last) = last {
                    *cursor = Cursor::Items(last.into());
                }
                return frame;
            }
            last = Some(key);
        }
    }
    let from = match cursor {
        Cursor::Pieces(hash, number) => (*hash, *number + 1),
        Cursor::End => return frame,
        _ => ([0; 32], 0),
    };
    let mut last = None;
    for (hash, blob) in index.blobs.range(from.0..) {
        let first = if *hash == from.0 { from.1 } else { 0 };
        for number in first..blob.chunks.len() as u32 {
            if !add_piece(&mut frame, hash, blob, number) {
                // Nothing of a blob is in it yet: the items are.
                let all = || index.items.last_key_value().map(|(key, _)| key.clone());
                *cursor = match (last, &*cursor) {
                    (Some((hash, number)), _) => Cursor::Pieces(hash, number),
                    (None, Cursor::Pieces(hash, number)) => Cursor::Pieces(*hash, *number),
                    (None, _) => all().map_or(Cursor::Start, Cursor::Items),
                };
                return frame;
            }
            last = Some((*hash, number));
        }
    }
    *cursor = Cursor::End;
    frame
}

/// Reads a checkpoint: the index, and where the log goes on; `None` when it is not whole.
pub async fn load(
    walk: &mut Walk,
    checkpoint: Checkpoint,
    known: Place,
    end: u64,
) -> Result<Option<(Index, Place)>, Error> {
    let mut index = Sorted::default();
    let mut at = checkpoint.first;
    // More frames than the ring has room for are none.
    if checkpoint.frames > end / 4096 {
        return Ok(None);
    }
    for _ in 0..checkpoint.frames {
        let Next::Frame(position, header) = walk.next(at, known).await? else {
            return Ok(None);
        };
        let frame = walk.bytes(position, header.length).await?;
        let entries = header.entries(frame).unwrap_or_default();
        if entries.is_empty() || !entries.iter().all(|e| take(e, end, &mut index)) {
            return Ok(None);
        }
        at = Place {
            position: after(position, header.length, end),
            sequence: at.sequence + 1,
        };
    }
    Ok(Some((index.finish(), at)))
}

/// Whether it is what comes next in a checkpoint.
fn take(entry: &Entry<'_>, end: u64, index: &mut Sorted) -> bool {
    let location = entry.is_whole().then(|| decode(entry.value, end)).flatten();
    let Some((location, lost)) = location else {
        return false;
    };
    match entry.kind {
        Kind::Item => {
            let item = Item {
                location,
                lost,
                mark: entry.mark,
                references: entry.references.into(),
            };
            index.item(entry.key, item)
        }
        Kind::Piece => match ChunkKey::decode(entry.key) {
            Some(chunk) => index.piece(&chunk, (!lost).then_some(location)),
            None => true,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Header;
    use alloc::{format, vec::Vec};

    #[test]
    fn a_checkpoint_has_everything_once_however_many_frames_it_takes() {
        let mut index = Index::default();
        let place = |n: u64, length: u32| Location {
            position: LOG + n * 64,
            length,
            sum: n as u32,
        };
        for n in 0..9_000u64 {
            let hash = [(n % 200) as u8; 32];
            let references: &[Hash] = if n % 3 == 0 { &[hash] } else { &[] };
            let key = format!("key/{n}");
            index.apply(
                (Kind::Put, (n % 5) as u8),
                key.as_bytes(),
                references,
                place(n, 40),
                n % 7 == 0,
            );
        }
        for n in (0..200u8).step_by(3) {
            for piece in 0..20 {
                let key = ChunkKey {
                    hash: [n; 32],
                    index: piece,
                    total: 20 * crate::layout::CHUNK as u64,
                };
                let location = place(n.into(), crate::layout::CHUNK as u32);
                index.apply((Kind::Chunk, 0), &key.encode(), &[], location, piece == 5);
            }
        }
        index.collect();
        let (mut cursor, mut frames, mut copy) = (Cursor::default(), 0, Sorted::default());
        while !matches!(cursor, Cursor::End) {
            let (frame, _) = fill(&index, &mut cursor).finish(&[1; 16], frames + 1, frames);
            frames += 1;
            let header = Header::decode(&frame, &[1; 16]).unwrap();
            let entries = header.entries(&frame).unwrap();
            assert!(entries.iter().all(|e| take(e, 1 << 40, &mut copy)));
        }
        assert!(frames > 2, "{frames}");
        let mut copy = copy.finish();
        copy.collect();
        let items = |i: &Index| -> Vec<_> {
            let each = i.items.iter();
            each.map(|(k, i)| (k.clone(), i.location, i.lost, i.mark, i.references.clone()))
                .collect()
        };
        let blobs = |i: &Index| -> Vec<_> {
            let each = i.blobs.iter();
            each.map(|(h, b)| (*h, b.total, b.chunks.clone(), b.references))
                .collect()
        };
        assert!(items(&index) == items(&copy) && blobs(&index) == blobs(&copy));
        assert_eq!(index.live(), copy.live());
    }
}
