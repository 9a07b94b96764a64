//! Snapshots that travel to other machines and come from them: what is written to a disk ([`crate::kept`], [`crate::functions`]), as pieces.
//!
//! The first piece is a [`Head`]; then come the record, and the pages of a base or the lines of a function. The record is made before the
//! pages are given, by looking at all of them, because whoever reads puts each page in its place as it comes.
//!
//! What must hold:
//! - a snapshot is used only on a machine that runs the same image over the same boot archive on a CPU with the same features, started in
//!   the same way; a function's only with the very base that it differs from. All bases have a name of their content, which travels along;
//! - neither side holds more than a piece of pages at a time, besides the record. Lines of a function are as many as it has on a disk.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;
use core::time::Duration;

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use ebb::platform::Entropy;
use ebb::{EbbRef, ebb, time};
use ebb_invoker::instance::Boxed;
use ebb_invoker::pieces::{Fetched, PIECE_BYTES, Pieces};
use ebb_linux::Snapshot;
use ebb_linux::snapshot::{Identity, LINE_BYTES, PAGE_BYTES, Recording, Restoring, Unusable};
use ebb_openwhisk::runtimes::Launch;
use spin::mutex::SpinMutex;

use crate::guest::{ChannelIds, Frozen};

const _: () =
    assert!(PIECE_BYTES.is_multiple_of(PAGE_BYTES) && PIECE_BYTES.is_multiple_of(LINE_BYTES));
/// Bytes that the record of a base has at most.
pub const LARGEST_RECORD: u64 = 16 << 20;
/// Pages that are looked at in one event, and how long other events have the core between two of them.
const PORTION: usize = 64;
const PAUSE: Duration = Duration::from_micros(500);

/// What a snapshot is made for, as a disk and a stream say it.
pub fn marks(identity: &Identity) -> [u128; 3] {
    [identity.image, identity.archive, identity.cpu]
}

/// What comes before a record.
#[derive(BorshSerialize, BorshDeserialize)]
struct Head {
    /// [`marks`].
    made_for: [u128; 3],
    /// The [`Launch`], as text.
    launch: Option<String>,
    /// Of the base that it is, or that it differs from.
    content: u128,
    channels: ChannelIds,
    record_bytes: u64,
}

/// A base that other machines may have.
struct Known {
    launch: Launch,
    base: Arc<Frozen>,
    content: u128,
}

/// The bases that are what they will be.
#[ebb(shared)]
pub struct SharedBases {
    known: SpinMutex<Vec<Known>>,
}

impl Default for SharedBases {
    fn default() -> Self {
        Self {
            known: SpinMutex::new(Vec::new()),
        }
    }
}

impl SharedBases {
    /// There is one. One that was made here gets a content, which no other has.
    pub fn add(&self, launch: &Launch, base: &Arc<Frozen>, content: Option<u128>) {
        let content = content.unwrap_or_else(|| {
            let mut drawn = [0; 16];
            EbbRef::<dyn Entropy>::get().fill(&mut drawn);
            u128::from_le_bytes(drawn)
        });
        self.known.lock().push(Known {
            launch: launch.clone(),
            base: Arc::clone(base),
            content,
        });
    }

    fn of_launch(&self, launch: &Launch) -> Option<(Arc<Frozen>, u128)> {
        let known = self.known.lock();
        let of_launch = known.iter().find(|known| known.launch == *launch);
        of_launch.map(|known| (Arc::clone(&known.base), known.content))
    }

    /// The content of the base of a launch.
    pub fn content(&self, launch: &Launch) -> Option<u128> {
        self.of_launch(launch).map(|(_, content)| content)
    }

    /// The content of a base.
    fn content_of(&self, base: &Snapshot) -> Option<u128> {
        let known = self.known.lock();
        let found = known.iter().find(|known| known.base.parts().0.is(base));
        found.map(|known| known.content)
    }

    /// Gives that of a launch.
    pub fn give(&self, launch: &Launch) -> Option<Box<dyn Pieces>> {
        let (base, content) = self.of_launch(launch)?;
        let launch = Some(format!("{launch:?}"));
        giving(&base, launch, content)
    }
}

/// Gives a function's snapshot of the base with this content.
pub fn give_function(frozen: &Frozen, base: u128) -> Option<Box<dyn Pieces>> {
    let content = EbbRef::<SharedBases>::get().content_of(frozen.parts().0.root())?;
    if content != base {
        return None;
    }
    giving(frozen, None, content)
}

fn giving(frozen: &Frozen, launch: Option<String>, content: u128) -> Option<Box<dyn Pieces>> {
    let (snapshot, channels) = frozen.parts();
    let head = Head {
        made_for: marks(&Identity::of_machine()?),
        launch,
        content,
        channels,
        record_bytes: 0,
    };
    Some(Box::new(Giving {
        snapshot: snapshot.clone(),
        head: Some(head),
        ready: VecDeque::new(),
        pages: None,
    }))
}

/// A snapshot on its way out.
struct Giving {
    snapshot: Snapshot,
    /// Until it has been given.
    head: Option<Head>,
    /// Pieces that are there.
    ready: VecDeque<Bytes>,
    /// What pages are still to come, and those that have been looked at.
    pages: Option<(Recording, Vec<u8>)>,
}

impl Giving {
    /// Makes the record, and the lines where it has some.
    async fn begin(&mut self, mut head: Head) -> Result<(), String> {
        let refused = |what: Unusable| format!("it has {what}, which cannot be written down");
        let mut recording = self.snapshot.record();
        let mut pages = Vec::new();
        let mut is_whole = false;
        while recording.pages(PORTION, &mut pages).map_err(refused)? {
            is_whole |= !pages.is_empty();
            pages.clear();
            time::sleep(PAUSE).await;
        }
        is_whole |= !pages.is_empty();
        if is_whole != head.launch.is_some() {
            return Err("it does not differ from a base, or is none".into());
        }
        let lines = recording.lines();
        let record = Bytes::from(recording.finish().map_err(refused)?);
        head.record_bytes = record.len() as u64;
        let head = borsh::to_vec(&head).map_err(|error| error.to_string())?;
        self.ready.push_back(head.into());
        let starts = |all: usize| (0..all).step_by(PIECE_BYTES);
        let part = |at: usize| record.slice(at..record.len().min(at + PIECE_BYTES));
        self.ready.extend(starts(record.len()).map(part));
        let piece = |at: usize| {
            let mut piece = Vec::with_capacity(PIECE_BYTES.min(lines.byte_count() - at));
            lines.append(at, PIECE_BYTES, &mut piece);
            Bytes::from(piece)
        };
        self.ready.extend(starts(lines.byte_count()).map(piece));
        self.pages = is_whole.then(|| (self.snapshot.record(), Vec::new()));
        Ok(())
    }

    /// The next piece of pages.
    async fn next_pages(&mut self) -> Result<Option<Bytes>, String> {
        let Some((recording, pages)) = &mut self.pages else {
            return Ok(None);
        };
        let mut more = true;
        while more && pages.len() < PIECE_BYTES {
            more = recording
                .pages(PIECE_BYTES / PAGE_BYTES, pages)
                .map_err(|what| what.to_string())?;
            ebb::yield_now().await;
        }
        let rest = pages.split_off(pages.len().min(PIECE_BYTES));
        let piece = mem::replace(pages, rest);
        Ok((!piece.is_empty()).then(|| piece.into()))
    }
}

impl Pieces for Giving {
    fn next(&mut self) -> Boxed<'_, Result<Option<Bytes>, String>> {
        Box::pin(async {
            if let Some(head) = self.head.take() {
                self.begin(head).await?;
            }
            match self.ready.pop_front() {
                Some(piece) => Ok(Some(piece)),
                None => self.next_pages().await,
            }
        })
    }
}

/// Takes the base of a launch; its content comes with it.
pub async fn take_base(launch: &Launch, mut pieces: Box<dyn Pieces>) -> Fetched<(Frozen, u128)> {
    let Some((head, mut restoring)) = begin(&mut *pieces).await? else {
        return Ok(None);
    };
    if head.launch.as_deref() != Some(&format!("{launch:?}")) {
        return Err("it is of another program".into());
    }
    let unusable = |what: Unusable| what.to_string();
    let mut number = 0;
    while let Some(piece) = pieces.next().await? {
        let (pages, rest) = piece.as_chunks::<PAGE_BYTES>();
        if !rest.is_empty() {
            return Err("a part of a page".into());
        }
        restoring.put(number, pages).map_err(unusable)?;
        number += pages.len() as u32;
        // Who waits for the network has its turn.
        ebb::yield_now().await;
    }
    let snapshot = restoring.finish(None).map_err(unusable)?;
    let base = Frozen::from_parts(snapshot, head.channels);
    Ok(Some((base, head.content)))
}

/// Takes a function's snapshot that differs from the base of a launch.
pub async fn take_function(launch: &Launch, mut pieces: Box<dyn Pieces>) -> Fetched<Frozen> {
    let Some((head, mut restoring)) = begin(&mut *pieces).await? else {
        return Ok(None);
    };
    let base = EbbRef::<SharedBases>::get().of_launch(launch);
    let base = base.filter(|(_, content)| *content == head.content && head.launch.is_none());
    let Some((base, _)) = base else {
        return Err("it differs from another base".into());
    };
    let unusable = |what: Unusable| what.to_string();
    while let Some(piece) = pieces.next().await? {
        restoring.put_lines(&piece).map_err(unusable)?;
        ebb::yield_now().await;
    }
    let snapshot = restoring.finish(Some(base.parts().0)).map_err(unusable)?;
    Ok(Some(Frozen::from_parts(snapshot, head.channels)))
}

/// Takes head and record, if there is a snapshot, and it can be used on this machine.
async fn begin(pieces: &mut dyn Pieces) -> Fetched<(Head, Restoring)> {
    let Some(first) = pieces.next().await? else {
        return Ok(None);
    };
    let head: Head = borsh::from_slice(&first).map_err(|error| error.to_string())?;
    let own = Identity::of_machine().ok_or("this machine's boot archive has no name")?;
    let [image, archive, cpu] = head.made_for;
    let theirs = Identity {
        image,
        archive,
        cpu,
    };
    if let Some(difference) = theirs.difference(&own) {
        return Err(format!("it is {difference}"));
    }
    if head.record_bytes > LARGEST_RECORD {
        return Err("its record is too long".into());
    }
    let mut record = Vec::new();
    while (record.len() as u64) < head.record_bytes {
        let piece = pieces.next().await?.ok_or("its record is cut off")?;
        record.extend_from_slice(&piece);
    }
    if record.len() as u64 != head.record_bytes {
        return Err("its record has another length".into());
    }
    let restoring = Restoring::new(&record).map_err(|what| what.to_string())?;
    Ok(Some((head, restoring)))
}
