//! Functions' snapshots from before the platform was started: found when a function is called that has none in memory.
//!
//! What must hold: a snapshot is used for the very function that it was taken of. So it is kept under a name that is made of all
//! that an instance is told before it is captured, but for what differs from call to call.

use ebb::EbbRef;
use ebb_openwhisk::call::Call;
use ebb_openwhisk::entity::Exec;
use ebb_openwhisk::pool::{Evicted, Source};
use xxhash_rust::xxh3::Xxh3;

use crate::books::Books;
use crate::instance::{InstanceMaker, SharedSnapshot};

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

/// What an instance of a function without a snapshot in memory is made of: the one that is kept, which is in memory from then
/// on, or nothing.
pub(crate) async fn source_of(
    call: &Call,
    make_room: impl FnOnce(Evicted<SharedSnapshot>),
) -> Source<SharedSnapshot> {
    let Some(launch) = call.launch().filter(|_| call.action.allows_snapshot()) else {
        return Source::Scratch;
    };
    let maker = EbbRef::<dyn InstanceMaker>::get();
    if !maker.keeps() {
        return Source::Scratch;
    }
    let Some((snapshot, cost_us)) = maker.kept(launch, name_of(call)).await else {
        return Source::Scratch;
    };
    let (key, bytes) = (call.key(), snapshot.memory_bytes());
    let evicted = EbbRef::<Books>::get().pool(|pool| {
        // Another call may have found it meanwhile.
        let is_new = !pool.has_snapshot(&key);
        is_new.then(|| pool.keep_snapshot(&key, snapshot.clone(), bytes, cost_us))
    });
    if let Some(evicted) = evicted
        && !(evicted.instances.is_empty() && evicted.snapshots.is_empty())
    {
        make_room(evicted);
    }
    Source::Snapshot(snapshot)
}
