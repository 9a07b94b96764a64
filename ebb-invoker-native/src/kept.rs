//! Bases on a disk: written when they have been made, read at the next start, so that nothing has to be started and warmed.
//!
//! What must hold: a base is used only on a machine that runs the same image over the same boot archive on a CPU with the same
//! features, and only as it was written. Else it is made anew, and why is said.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use borsh::{BorshDeserialize, BorshSerialize};
use ebb::platform::Environment;
use ebb::{EbbRef, ebb, println, time};
use ebb_block::{BLOCK, Disks, Part};
use ebb_invoker::state::disk_name;
use ebb_linux::snapshot::{Identity, PAGE_BYTES, Restoring, Unusable};
use ebb_openwhisk::runtimes::Launch;
use ebb_shelf::{Error, Item, Shelf};
use spin::mutex::SpinMutex;

use crate::functions::KeptFunctions;
use crate::guest::{ChannelIds, Frozen};
use crate::near::{LARGEST_RECORD, marks};

/// Pages that are looked at in one event while a base is written: half a millisecond's worth when emulated.
const PORTION: usize = 64;
/// How long other events have the core between two of them.
const PAUSE: Duration = Duration::from_micros(500);

/// The number of the disk that bases are on: the machine's second, for the first has the platform's state. A machine that
/// only makes bases has one.
fn disk() -> usize {
    usize::from(EbbRef::<dyn Environment>::get().option("bake").is_none())
}

/// Bytes of the disk that are for bases, at most, and half of it: the rest is for functions' snapshots.
const BASES: u64 = 512 << 20;

/// The disk with bases.
#[ebb(shared)]
pub struct KeptBases {
    /// `None` before it is first asked for; nothing where there is none.
    opened: SpinMutex<Option<Option<Arc<Opened>>>>,
}

struct Opened {
    shelf: Shelf,
    /// What is for functions' snapshots, until it is used.
    rest: SpinMutex<Option<Part>>,
}

impl Default for KeptBases {
    fn default() -> Self {
        Self {
            opened: SpinMutex::new(None),
        }
    }
}

/// What goes before a record.
#[derive(BorshSerialize, BorshDeserialize)]
struct Head {
    channels: ChannelIds,
    record: Vec<u8>,
}

/// The name of a launch's base.
fn name_of(launch: &Launch) -> u128 {
    ebb_shelf::checksum(format!("{launch:?}").as_bytes())
}

impl KeptBases {
    /// What is on the machine's disk; `None` where there is none.
    async fn opened(&self) -> Option<Arc<Opened>> {
        if let Some(opened) = &*self.opened.lock() {
            return opened.clone();
        }
        let disks = EbbRef::<dyn Disks>::get();
        let opened = if disks.count() > disk() {
            match Opened::of(disks).await {
                Ok(opened) => Some(Arc::new(opened)),
                Err(why) => {
                    let disk = disk_name(disk());
                    println!("invoker: {disk} is not used for snapshots: {why}");
                    None
                }
            }
        } else {
            None
        };
        // Two cores may have read it; they go on with the same.
        self.opened.lock().get_or_insert(opened).clone()
    }

    /// Opens what there is of functions' snapshots, if nobody has yet. Apart from the bases, for it may take a while.
    pub async fn open_functions(&self) {
        let Some(opened) = self.opened().await else {
            return;
        };
        let part = opened.rest.lock().take();
        if let Some(part) = part {
            let items = opened.shelf.items();
            let contents = items.iter().map(Item::content).collect();
            EbbRef::<KeptFunctions>::get().open(part, contents).await;
        }
    }

    /// The base of a launch, and the name of its content.
    ///
    /// # Errors
    /// Why there is none that can be used; nothing where none are kept.
    pub async fn read(&self, launch: &Launch) -> Result<(Frozen, u128), Option<String>> {
        let opened = self.opened().await.ok_or(None)?;
        let shelf = &opened.shelf;
        let identity = Identity::of_machine().ok_or(None)?;
        let item = shelf.find(name_of(launch));
        let item = item.ok_or_else(|| Some(format!("{} has none", disk_name(disk()))))?;
        let kept = match item.marks[..] {
            [image, archive, cpu] => Some(Identity {
                image,
                archive,
                cpu,
            }),
            _ => None,
        };
        let difference = match kept {
            Some(kept) => kept.difference(&identity),
            None => Some("of another sort"),
        };
        if let Some(difference) = difference {
            return Err(Some(format!(
                "the one on {} is {difference}",
                disk_name(disk())
            )));
        }
        let read = read(shelf, &item).await;
        let base = read.map_err(|why| {
            Some(format!(
                "the one on {} cannot be used: {why}",
                disk_name(disk())
            ))
        })?;
        let functions = EbbRef::<KeptFunctions>::get();
        functions.base_is_kept(launch, &base, Some(item.content()));
        Ok((base, item.content()))
    }

    /// Writes a base down, in pieces between which other events run. False where none are kept.
    ///
    /// # Errors
    /// Why it cannot be.
    pub async fn write(&self, launch: &Launch, base: &Frozen) -> Result<bool, String> {
        let opened = self.opened().await;
        let Some(opened) = opened.filter(|opened| !opened.shelf.is_read_only()) else {
            return Ok(false);
        };
        let functions = EbbRef::<KeptFunctions>::get();
        functions.base_is_coming(base);
        let written = write(&opened.shelf, launch, base).await;
        let content = written.as_ref().ok().map(Item::content);
        functions.base_is_kept(launch, base, content);
        written.map(|_| true)
    }
}

impl Opened {
    async fn of(disks: &dyn Disks) -> Result<Self, Error> {
        let device = disks.open(disk())?;
        let block = BLOCK as u64;
        let bases = (device.size() / 2).min(BASES) / block * block;
        let rest = Part::new(Arc::clone(&device), bases, device.size() - bases)?;
        let (shelf, damaged) = Shelf::open(Arc::new(Part::new(device, 0, bases)?)).await?;
        if damaged {
            let disk = disk_name(disk());
            println!("invoker: what {disk} had of snapshots is damaged; they are made anew");
        }
        Ok(Self {
            shelf,
            rest: SpinMutex::new(Some(rest)),
        })
    }
}

async fn write(shelf: &Shelf, launch: &Launch, base: &Frozen) -> Result<Item, String> {
    let Some(identity) = Identity::of_machine() else {
        return Err("the boot archive has no name of its content; pack it anew".into());
    };
    let (snapshot, channels) = base.parts();
    let most = snapshot.used() + LARGEST_RECORD;
    let writing = shelf.write(name_of(launch), marks(&identity).into(), most);
    let mut writing = writing.await.map_err(|error| error.to_string())?;
    let mut recording = snapshot.record();
    let mut pages = Vec::new();
    let unwritable = |what: Unusable| format!("it has {what}, which cannot be written down");
    loop {
        let more = recording.pages(PORTION, &mut pages).map_err(unwritable)?;
        if pages.len() >= ebb_shelf::CHUNK || !more {
            let added = writing.add(&mut pages).await;
            added.map_err(|error| error.to_string())?;
        }
        if !more {
            break;
        }
        time::sleep(PAUSE).await;
    }
    let record = recording.finish().map_err(unwritable)?;
    let head = borsh::to_vec(&Head { channels, record }).map_err(|e| e.to_string())?;
    let done = writing.finish(&head).await;
    done.map_err(|error| error.to_string())
}

async fn read(shelf: &Shelf, item: &Item) -> Result<Frozen, String> {
    let told = |error: Error| error.to_string();
    let mut reading = shelf.read(item).await.map_err(told)?;
    let unusable = |what: Unusable| what.to_string();
    let head: Head = borsh::from_slice(&reading.head).map_err(|error| error.to_string())?;
    let mut restoring = Restoring::new(&head.record).map_err(unusable)?;
    let mut number = 0;
    while let Some(chunk) = reading.next_chunk().await.map_err(told)? {
        let (pages, _) = chunk.as_chunks::<PAGE_BYTES>();
        restoring.put(number, pages).map_err(unusable)?;
        number += pages.len() as u32;
        // Who waits for the network has its turn.
        ebb::yield_now().await;
    }
    let snapshot = restoring.finish(None).map_err(unusable)?;
    Ok(Frozen::from_parts(snapshot, head.channels))
}
