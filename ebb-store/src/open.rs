//! Opening: whose disk it is, and what its log says.

use alloc::{boxed::Box, sync::Arc, vec, vec::Vec};
use core::fmt;

use ebb_block::{BLOCK, BlockDevice};

use crate::{
    checkpoint,
    index::{Index, Location},
    layout::{Found, Hash, Kind, LAYOUT, LOG, Place, SUPERBLOCKS, Superblock},
    walk::{Next, Walk, after},
};

/// The smallest disk.
pub const SMALLEST: u64 = 2 << 20;

/// Why a disk cannot be opened. It is untouched then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// It failed to read or write.
    Device(ebb_block::Error),
    /// It has fewer bytes than a store needs, or than it had when the store was made.
    TooSmall {
        /// Bytes that it has.
        has: u64,
        /// Bytes that it needs.
        needs: u64,
    },
    /// Something else's data is on it.
    NotOurs,
    /// A newer program wrote it.
    Newer {
        /// Its layout.
        layout: u32,
    },
    /// A program older than any that this one can follow wrote it.
    Older {
        /// Its layout.
        layout: u32,
    },
    /// Both of its superblocks are damaged.
    Damaged,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(error) => error.fmt(f),
            Self::TooSmall { has, needs } => {
                write!(f, "the disk has {has} bytes and the store needs {needs}")
            }
            Self::NotOurs => {
                f.write_str("the disk holds something that is not a store; it is left as it is")
            }
            Self::Newer { layout } => {
                write!(
                    f,
                    "the store has layout {layout}, this program knows those up to {LAYOUT}; it is left as it is"
                )
            }
            Self::Older { layout } => {
                write!(
                    f,
                    "the store has layout {layout}, which this program no longer knows; it is left as it is"
                )
            }
            Self::Damaged => {
                f.write_str("both superblocks of the store are damaged; it is left as it is")
            }
        }
    }
}

impl core::error::Error for OpenError {}

impl From<ebb_block::Error> for OpenError {
    fn from(error: ebb_block::Error) -> Self {
        Self::Device(error)
    }
}

/// Something on the disk that cannot be read any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The value of a key.
    Value(Box<[u8]>),
    /// A piece of a blob.
    Blob(Hash),
    /// Commits whose keys are unknown: what they changed has the value of before.
    Commits {
        /// Sequence number of the first.
        first: u64,
        /// How many.
        count: u64,
    },
    /// A block that the device cannot read.
    Block(u64),
}

/// What opening has found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The disk was empty and a store was made.
    pub created: bool,
    /// Keys that have values.
    pub keys: usize,
    /// Frames that were read.
    pub frames: u64,
    /// What is damaged.
    pub damage: Vec<Damage>,
}

/// What the writer goes on from.
pub struct Opened {
    pub superblock: Superblock,
    pub head: Place,
    pub index: Index,
    /// Bytes of log after the checkpoint.
    pub replayed: u64,
    pub report: Report,
}

/// Opens the store of a disk, or makes one on an empty disk.
pub async fn open(device: &Arc<dyn BlockDevice>, id: [u8; 16]) -> Result<Opened, OpenError> {
    let size = device.size();
    if size < SMALLEST {
        return Err(OpenError::TooSmall {
            has: size,
            needs: SMALLEST,
        });
    }
    let mut found = [Found::Nothing; 2];
    // Both are under way before the first is waited for.
    let reads = SUPERBLOCKS.map(|at| device.read(at, BLOCK));
    for (found, read) in found.iter_mut().zip(reads) {
        *found = match read.await {
            Ok(block) => Superblock::decode(&block),
            // The other one may do.
            Err(ebb_block::Error::Io) => Found::Damaged,
            Err(error) => return Err(error.into()),
        };
    }
    for each in found {
        match each {
            Found::Layout(layout) if layout > LAYOUT => return Err(OpenError::Newer { layout }),
            Found::Layout(layout) => return Err(OpenError::Older { layout }),
            _ => {}
        }
    }
    let newest = found
        .iter()
        .filter_map(|f| {
            if let Found::Valid(s) = f {
                Some(*s)
            } else {
                None
            }
        })
        .max_by_key(|s| s.generation);
    if let Some(superblock) = newest {
        if superblock.size > size || superblock.size < SMALLEST {
            return Err(OpenError::TooSmall {
                has: size,
                needs: superblock.size.max(SMALLEST),
            });
        }
        return replay(device, superblock).await;
    }
    match found {
        [Found::Nothing, Found::Nothing] => {}
        // The first write of all was torn.
        [Found::Damaged, Found::Nothing] | [Found::Nothing, Found::Damaged] => {}
        [Found::Damaged, Found::Damaged] => return Err(OpenError::Damaged),
        _ => return Err(OpenError::NotOurs),
    }
    if !is_blank(device, size).await? {
        return Err(OpenError::NotOurs);
    }
    create(device, id, size).await
}

/// Whether there are only zeros where partition tables, file systems and databases have their first and last bytes.
async fn is_blank(device: &Arc<dyn BlockDevice>, size: u64) -> Result<bool, OpenError> {
    let last = (size - (64 << 10)) & !(BLOCK as u64 - 1);
    for (at, length) in [(0, 1 << 20), (last, 64 << 10)] {
        let mut bytes = device.read(at, length).await?;
        if at == 0 {
            // What may be a torn superblock has been looked at.
            for superblock in SUPERBLOCKS {
                let at = superblock as usize;
                if Superblock::decode(&bytes[at..at + BLOCK]) == Found::Damaged {
                    bytes[at..at + BLOCK].fill(0);
                }
            }
        }
        if bytes.iter().any(|b| *b != 0) {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn create(
    device: &Arc<dyn BlockDevice>,
    id: [u8; 16],
    size: u64,
) -> Result<Opened, OpenError> {
    let first = Place {
        position: LOG,
        sequence: 1,
    };
    let superblock = Superblock {
        store: id,
        generation: 1,
        size: size & !(BLOCK as u64 - 1),
        tail: first,
        hint: first,
        layout: LAYOUT,
        checkpoint: None,
    };
    for at in SUPERBLOCKS {
        device.write(at, superblock.encode()).await?;
        device.flush().await?;
    }
    Ok(Opened {
        superblock,
        head: first,
        index: Index::default(),
        replayed: 0,
        report: Report {
            created: true,
            ..Report::default()
        },
    })
}

/// Reads the log from its tail to its end, and wipes what a power cut has left after that.
async fn replay(
    device: &Arc<dyn BlockDevice>,
    superblock: Superblock,
) -> Result<Opened, OpenError> {
    let end = superblock.size;
    let mut walk = Walk::new(device.clone(), superblock.store, end).reading_ahead();
    let mut report = Report::default();
    let known = superblock.hint;
    let loaded = match superblock.checkpoint {
        Some(checkpoint) => {
            let loaded = checkpoint::load(&mut walk, checkpoint, known, end).await?;
            report.frames += checkpoint.frames;
            loaded
        }
        None => None,
    };
    let (mut index, mut at) = loaded.unwrap_or((Index::default(), superblock.tail));
    let mut replayed = 0;
    loop {
        match walk.next(at, known).await? {
            Next::Frame(position, header) => {
                let next = Place {
                    position: after(position, header.length, end),
                    sequence: at.sequence + 1,
                };
                if at.sequence >= known.sequence && !is_whole(&mut walk, position).await? {
                    // Half done, unless something says that it was whole once.
                    if walk
                        .later(
                            Place {
                                sequence: at.sequence,
                                ..next
                            },
                            false,
                        )
                        .await?
                        .is_none()
                    {
                        break;
                    }
                }
                take(&mut walk, position, &mut index).await?;
                replayed += header.length as u64;
                report.frames += 1;
                at = next;
            }
            Next::Damaged(next) => {
                report.damage.push(Damage::Commits {
                    first: at.sequence,
                    count: next.sequence - at.sequence,
                });
                at = next;
            }
            Next::End => break,
        }
    }
    index.collect();
    let lost = index.items.iter().filter(|(_, i)| i.lost);
    report
        .damage
        .extend(lost.map(|(key, _)| Damage::Value(key.clone())));
    let incomplete = index.blobs.iter().filter(|(_, b)| !b.is_complete());
    report
        .damage
        .extend(incomplete.map(|(hash, _)| Damage::Blob(*hash)));
    // A frame after the end was never acknowledged. It must not be taken for one that will be written before it.
    let mut wiped = false;
    for (position, sequence) in walk.frames_ahead(at.position).await? {
        if sequence >= at.sequence {
            device.write(position, vec![0; BLOCK]).await?;
            wiped = true;
        }
    }
    if wiped {
        device.flush().await?;
    }
    report
        .damage
        .extend(walk.unreadable.iter().map(|at| Damage::Block(*at)));
    report.keys = index.items.len();
    Ok(Opened {
        superblock,
        head: at,
        index,
        replayed,
        report,
    })
}

async fn is_whole(walk: &mut Walk, position: u64) -> Result<bool, OpenError> {
    let Some(header) = walk.header(position).await? else {
        return Ok(false);
    };
    let frame = walk.bytes(position, header.length).await?;
    let entries = header.entries(frame).unwrap_or_default();
    Ok(entries.iter().all(crate::layout::Entry::is_whole))
}

async fn take(walk: &mut Walk, position: u64, index: &mut Index) -> Result<(), OpenError> {
    let Some(header) = walk.header(position).await? else {
        return Ok(());
    };
    let frame = walk.bytes(position, header.length).await?;
    for entry in header.entries(frame).unwrap_or_default() {
        let location = Location {
            position: position + entry.value_at as u64,
            length: entry.value.len() as u32,
            sum: entry.value_sum,
        };
        let lost = entry.kind != Kind::Delete && !entry.is_whole();
        let kind = (entry.kind, entry.mark);
        index.apply(kind, entry.key, entry.references, location, lost);
    }
    Ok(())
}
