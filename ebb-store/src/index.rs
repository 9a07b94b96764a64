//! What the store remembers of the log: for each key where its value is, for each blob where its pieces are and how many
//! values refer to it. Values stay on the disk.

use alloc::{boxed::Box, collections::BTreeMap, vec::Vec};

use crate::layout::{Builder, CHUNK, ChunkKey, Hash, Kind};

/// Where bytes are on the disk, and their checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    pub position: u64,
    pub length: u32,
    pub sum: u32,
}

/// What a key has.
#[derive(Clone, Debug)]
pub struct Item {
    pub location: Location,
    /// The value was damaged and is gone; the key is kept so that its reader learns it.
    pub lost: bool,
    /// What its writer has marked it with.
    pub mark: u8,
    pub references: Box<[Hash]>,
}

/// What a blob is.
#[derive(Clone, Debug, Default)]
pub struct Blob {
    /// Bytes.
    pub total: u64,
    pub chunks: Vec<Option<Location>>,
    /// Values that refer to it.
    pub references: u32,
}

impl Blob {
    pub fn is_complete(&self) -> bool {
        self.chunks.len() as u64 == chunks(self.total) && self.chunks.iter().all(Option::is_some)
    }
}

/// Pieces of a blob of that many bytes; an empty one has one.
pub fn chunks(total: u64) -> u64 {
    total.div_ceil(CHUNK as u64).max(1)
}

/// Bytes of a piece.
pub fn chunk_length(total: u64, index: u64) -> u64 {
    (total - index * CHUNK as u64).min(CHUNK as u64)
}

/// See the module.
#[derive(Default)]
pub struct Index {
    pub items: BTreeMap<Box<[u8]>, Item>,
    pub blobs: BTreeMap<Hash, Blob>,
    /// Bytes that the items take in frames.
    items_live: u64,
    /// The same of blobs that are referred to, or may be.
    blobs_live: u64,
    /// Blobs that may have lost their last reference.
    idle: Vec<Hash>,
}

/// An index whose entries come in order, items before blobs, as a checkpoint has them: they are put side by side, and made a tree at
/// the end, which takes less time and less room than one insertion for each.
#[derive(Default)]
pub struct Sorted {
    items: Vec<(Box<[u8]>, Item)>,
    blobs: Vec<(Hash, Blob)>,
}

impl Sorted {
    /// Whether the key comes after the last.
    pub fn item(&mut self, key: &[u8], item: Item) -> bool {
        let in_order = self.items.last().is_none_or(|(last, _)| **last < *key);
        if in_order {
            self.items.push((key.into(), item));
        }
        in_order
    }

    /// Whether the piece comes after the last.
    pub fn piece(&mut self, chunk: &ChunkKey, location: Option<Location>) -> bool {
        let index = u64::from(chunk.index);
        if !is_piece(chunk) {
            return true;
        }
        let fits = |l: &Location| chunk_length(chunk.total, index) == u64::from(l.length);
        let location = location.filter(fits);
        match self.blobs.last_mut() {
            Some((last, blob)) if *last == chunk.hash => {
                let follows = blob.total == chunk.total && blob.chunks.len() as u64 == index;
                if follows {
                    blob.chunks.push(location);
                }
                follows
            }
            last => {
                let in_order = last.is_none_or(|(last, _)| *last < chunk.hash) && index == 0;
                if in_order {
                    let blob = Blob {
                        total: chunk.total,
                        chunks: alloc::vec![location],
                        references: 0,
                    };
                    self.blobs.push((chunk.hash, blob));
                }
                in_order
            }
        }
    }

    /// The index.
    pub fn finish(mut self) -> Index {
        // Blobs of which nothing but a reference is left.
        let mut unknown = Vec::new();
        for hash in self.items.iter().flat_map(|(_, item)| &item.references) {
            match self.blobs.binary_search_by(|(other, _)| other.cmp(hash)) {
                Ok(at) => self.blobs[at].1.references += 1,
                Err(_) => unknown.push(*hash),
            }
        }
        let items = self.items.iter();
        let items_live = items.map(|(key, item)| cost(key.len(), item)).sum();
        let blobs_live = self.blobs.iter().map(|(_, blob)| blob_cost(blob)).sum();
        let idle = self.blobs.iter().filter(|(_, blob)| blob.references == 0);
        let mut index = Index {
            idle: idle.map(|(hash, _)| *hash).collect(),
            items: self.items.into_iter().collect(),
            blobs: self.blobs.into_iter().collect(),
            items_live,
            blobs_live,
        };
        for hash in unknown {
            index.blobs.entry(hash).or_default().references += 1;
        }
        index
    }
}

/// Whether a blob can have such a piece, with as many pieces as frames fit on a disk of 2^40 bytes.
fn is_piece(chunk: &ChunkKey) -> bool {
    let count = chunks(chunk.total);
    u64::from(chunk.index) < count && count <= 1 << 22
}

fn cost(key: usize, item: &Item) -> u64 {
    Builder::cost(key, item.references.len(), item.location.length as usize) as u64
}

fn blob_cost(blob: &Blob) -> u64 {
    let chunks = blob.chunks.iter().flatten();
    chunks
        .map(|c| Builder::cost(44, 0, c.length as usize) as u64)
        .sum()
}

impl Index {
    /// Bytes of frames that what counts would fill.
    pub fn live(&self) -> u64 {
        self.items_live + self.blobs_live
    }

    /// Takes what an entry of a kind, with a mark, says.
    pub fn apply(
        &mut self,
        (kind, mark): (Kind, u8),
        key: &[u8],
        references: &[Hash],
        location: Location,
        lost: bool,
    ) {
        match kind {
            Kind::Put | Kind::Lost => {
                let item = Item {
                    location,
                    lost: lost || kind == Kind::Lost,
                    mark,
                    references: references.into(),
                };
                for hash in references {
                    self.blobs.entry(*hash).or_default().references += 1;
                }
                self.items_live += cost(key.len(), &item);
                let old = self.items.insert(key.into(), item);
                self.forget(key.len(), old);
            }
            Kind::Delete => {
                let old = self.items.remove(key);
                self.forget(key.len(), old);
            }
            Kind::Chunk => {
                if let Some(chunk) = ChunkKey::decode(key) {
                    self.apply_chunk(&chunk, location, lost);
                }
            }
            // Only opening reads checkpoints.
            Kind::Item | Kind::Piece => {}
        }
    }

    fn apply_chunk(&mut self, chunk: &ChunkKey, location: Location, lost: bool) {
        let index = u64::from(chunk.index);
        if !is_piece(chunk) || chunk_length(chunk.total, index) != u64::from(location.length) {
            return;
        }
        let blob = self.blobs.entry(chunk.hash).or_default();
        self.blobs_live -= blob_cost(blob);
        if blob.total != chunk.total || blob.chunks.is_empty() {
            blob.total = chunk.total;
            blob.chunks.clear();
        }
        if blob.chunks.len() <= index as usize {
            if blob.chunks.is_empty() {
                // Most have one.
                blob.chunks.reserve_exact(index as usize + 1);
            }
            blob.chunks.resize(index as usize + 1, None);
        }
        blob.chunks[index as usize] = (!lost).then_some(location);
        self.blobs_live += blob_cost(blob);
        if blob.references == 0 {
            self.idle.push(chunk.hash);
        }
    }

    fn forget(&mut self, key: usize, old: Option<Item>) {
        let Some(old) = old else { return };
        self.items_live -= cost(key, &old);
        for hash in old.references {
            if let Some(blob) = self.blobs.get_mut(&hash) {
                blob.references = blob.references.saturating_sub(1);
                if blob.references == 0 {
                    self.idle.push(hash);
                }
            }
        }
    }

    /// Forgets the blobs that nothing refers to. Between this and the next change every blob is referred to.
    pub fn collect(&mut self) {
        for hash in core::mem::take(&mut self.idle) {
            if let Some(blob) = self.blobs.get(&hash)
                && blob.references == 0
            {
                self.blobs_live -= blob_cost(blob);
                self.blobs.remove(&hash);
            }
        }
    }

    /// Whether what an entry at a location says still counts.
    pub fn is_live(&self, kind: Kind, key: &[u8], location: Location) -> bool {
        match kind {
            Kind::Put | Kind::Lost => self.items.get(key).is_some_and(|i| i.location == location),
            Kind::Delete | Kind::Item | Kind::Piece => false,
            Kind::Chunk => ChunkKey::decode(key).is_some_and(|chunk| {
                let blob = self.blobs.get(&chunk.hash);
                let chunks = blob.filter(|b| b.references > 0).map(|b| &b.chunks);
                chunks.and_then(|c| c.get(chunk.index as usize)) == Some(&Some(location))
            }),
        }
    }

    /// An item's or a piece's bytes have moved, or are lost.
    pub fn relocate(&mut self, kind: Kind, key: &[u8], location: Location, lost: bool) {
        match kind {
            Kind::Put | Kind::Lost => {
                if let Some(item) = self.items.get_mut(key) {
                    self.items_live -= cost(key.len(), item);
                    item.location = location;
                    item.lost |= lost;
                    self.items_live += cost(key.len(), item);
                }
            }
            Kind::Delete | Kind::Item | Kind::Piece => {}
            Kind::Chunk => {
                if let Some(chunk) = ChunkKey::decode(key) {
                    self.apply_chunk(&chunk, location, lost);
                }
            }
        }
    }

    /// Marks everything lost whose bytes are in a part of the disk; gives the keys and blobs concerned.
    pub fn lose(&mut self, inside: impl Fn(u64) -> bool) -> (Vec<Box<[u8]>>, Vec<Hash>) {
        let (mut keys, mut hashes) = (Vec::new(), Vec::new());
        for (key, item) in &mut self.items {
            if !item.lost && inside(item.location.position) {
                item.lost = true;
                keys.push(key.clone());
            }
        }
        for (hash, blob) in &mut self.blobs {
            let before = blob_cost(blob);
            let mut lost = false;
            for chunk in &mut blob.chunks {
                if chunk.is_some_and(|c| inside(c.position)) {
                    *chunk = None;
                    lost = true;
                }
            }
            if lost {
                hashes.push(*hash);
                self.blobs_live -= before - blob_cost(blob);
            }
        }
        (keys, hashes)
    }
}
