//! Functions' snapshots from before the platform was started, or of another machine: found when a function is called that has none in
//! memory.
//!
//! What must hold: a snapshot is used for the very function that it was taken of. So it is kept under a name that is made of all
//! that an instance is told before it is captured, but for what differs from call to call.

use ebb::{EbbRef, ebb};
use ebb_openwhisk::call::Call;
use ebb_openwhisk::entity::Exec;
use ebb_openwhisk::pool::{Evicted, Source};
use xxhash_rust::xxh3::Xxh3;

use crate::books::Books;
use crate::instance::{InstanceMaker, SharedSnapshot};
use crate::invoker::Invoker;
use crate::near::Near;
use crate::once::Reads;

/// The name of a call's function among the snapshots that are kept.
pub(crate) fn name_of(call: &Call) -> u128 {
    let mut hash = Xxh3::new();
    let mut add = |bytes: &[u8]| {
        hash.update(&(bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    let key = call.key();
    add(&key.revision.to_le_bytes());
    add(key.caller.as_bytes());
    let common = &call.action.common;
    add(common.name.namespace.as_bytes());
    add(common
        .name
        .package
        .as_deref()
        .unwrap_or_default()
        .as_bytes());
    add(common.name.name.as_bytes());
    add(alloc::format!("{}", common.version).as_bytes());
    for (name, value) in &call.environment {
        add(name.as_bytes());
        add(value.as_bytes());
    }
    if let Exec::Code(code) = &call.action.exec {
        add(code.main.as_deref().unwrap_or_default().as_bytes());
        add(&[u8::from(code.binary)]);
        add(code.code.as_str().as_bytes());
    }
    hash.digest128()
}

/// The snapshots that are being read.
#[ebb(shared)]
#[derive(Default)]
struct BeingRead {
    reads: Reads<Option<SharedSnapshot>>,
}

/// What an instance of a function without a snapshot in memory is made of: the one that is kept, or a neighbour's, which is in memory from
/// then on, or nothing. Calls that come together read it once.
pub(crate) async fn source_of(
    call: &Call,
    make_room: impl FnOnce(Evicted<SharedSnapshot>),
) -> Source<SharedSnapshot> {
    let Some(launch) = call.launch().filter(|_| call.action.allows_snapshot()) else {
        return Source::Scratch;
    };
    let maker = EbbRef::<dyn InstanceMaker>::get();
    let near = EbbRef::<Near>::get();
    if !maker.keeps() && !near.has_any() {
        return Source::Scratch;
    }
    let name = name_of(call);
    let read = || async {
        let (books, key) = (EbbRef::<Books>::get(), call.key());
        // A call that came before this one may have ended its reading meanwhile.
        let found = books.pool(|pool| pool.snapshot(&key).cloned());
        if found.is_some() {
            return found;
        }
        let kept = maker.kept(launch, name).await;
        let (snapshot, cost_us) = match kept {
            Some(kept) => {
                EbbRef::<Invoker>::get().count(|m| m.snapshots_read += 1);
                kept
            }
            None => {
                let (snapshot, cost_us) = near.function(call).await?;
                if maker.keeps() {
                    snapshot.keep(name, cost_us);
                }
                (snapshot, cost_us)
            }
        };
        let bytes = snapshot.memory_bytes();
        let evicted = books.pool(|pool| {
            // One may have been captured in the meantime.
            let is_new = !pool.has_snapshot(&key);
            is_new.then(|| pool.keep_snapshot(&key, snapshot.clone(), bytes, cost_us))
        });
        if let Some(evicted) = evicted
            && !(evicted.instances.is_empty() && evicted.snapshots.is_empty())
        {
            make_room(evicted);
        }
        Some(snapshot)
    };
    let reads = &EbbRef::<BeingRead>::get().reads;
    let found = reads.once(name, read).await;
    found.map_or(Source::Scratch, Source::Snapshot)
}
