//! Ebbs made at run time: any number of one type, each with an id.
//!
//! Invariants:
//! - A generation is never used twice in a process, so an [`EbbId`] means one Ebb for ever and an
//!   entry of that generation holds a representative of that Ebb's type.
//! - A core's table is changed only by that core, and an entry is removed only by an event of its
//!   own: no [`with_dynamic`] of an earlier event can still be running. That is the whole of
//!   quiescence here, and it costs readers nothing.

use alloc::{sync::Arc, vec::Vec};
use core::{
    any::Any,
    cell::RefCell,
    marker::PhantomData,
    pin::Pin,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    task::{Context, Poll},
};

use super::{Definition, Ebb, EbbId, EbbRef, Representation, cell::BuildCell, miss};
use crate::{
    event::Home,
    per_core::{Part, part},
    remote::{RemoteHandle, spawn_to},
};

/// An Ebb whose instances are made at run time.
///
/// # Safety
/// A type whose representation is [`Shared`](super::Shared) is `Send` and `Sync`.
#[diagnostic::on_unimplemented(
    message = "the Ebb `{Self}` is not made at run time",
    label = "a well-known Ebb: there is one, and nobody creates it",
    note = "use `EbbRef::<{Self}>::get()`, or say `#[ebb(.., dynamic)]` to make any number of them"
)]
pub unsafe trait Dynamic: Ebb {
    /// How representatives relate to cores.
    type Representation: Representation<Self>;
}

/// A core's part: its representatives, and what its machine knows of all.
pub(crate) struct DynamicEbbs {
    ids: &'static DynamicIds,
    table: RefCell<DynamicTable>,
}

part!("__ebb_dynamic", DynamicEbbs);

impl DynamicEbbs {
    pub fn new(ids: &'static DynamicIds) -> Self {
        Self {
            ids,
            table: RefCell::default(),
        }
    }

    /// Drops this core's representatives.
    pub fn clear(&self) {
        let table = self.table.take();
        drop(table);
    }
}

/// One core's representatives, by index.
#[derive(Default)]
struct DynamicTable {
    entries: Vec<Entry>,
}

struct Entry {
    /// 0 when there is no representative here.
    generation: u64,
    /// From `Arc::into_raw`.
    rep: *const (),
    release: unsafe fn(*const ()),
}

impl Entry {
    const NONE: Self = Self {
        generation: 0,
        rep: core::ptr::null(),
        release: |_| {},
    };
}

impl Drop for Entry {
    fn drop(&mut self) {
        if self.generation != 0 {
            // SAFETY: `rep` and `release` were set together, for one count of the `Arc`.
            unsafe { (self.release)(self.rep) }
        }
    }
}

impl DynamicTable {
    #[inline]
    fn get(&self, id: EbbId) -> Option<*const ()> {
        let entry = self.entries.get(id.index as usize)?;
        (entry.generation == id.generation).then_some(entry.rep)
    }

    /// Returns what was there before, to be dropped when the table is not borrowed.
    fn set<T>(&mut self, id: EbbId, rep: Arc<T>) -> Entry {
        let index = id.index as usize;
        if self.entries.len() <= index {
            self.entries.resize_with(index + 1, || Entry::NONE);
        }
        let entry = Entry {
            generation: id.generation,
            rep: Arc::into_raw(rep).cast(),
            release: release::<T>,
        };
        core::mem::replace(&mut self.entries[index], entry)
    }

    fn take(&mut self, id: EbbId) -> Option<Entry> {
        let entry = self.entries.get_mut(id.index as usize)?;
        (entry.generation == id.generation).then(|| core::mem::replace(entry, Entry::NONE))
    }
}

/// What a machine knows of the Ebbs made at run time. Only misses, creation and destruction look
/// here.
#[derive(Default)]
pub(crate) struct DynamicIds {
    ids: spin::Mutex<Ids>,
}

#[derive(Default)]
struct Ids {
    known: Vec<Option<Known>>,
    free: Vec<u32>,
}

struct Known {
    generation: u64,
    root: Arc<dyn Any + Send + Sync>,
    shared: Arc<SharedPlace>,
    dying: bool,
}

impl DynamicIds {
    fn create<T: Dynamic>(&self, root: Arc<T::Root>) -> EbbId {
        static GENERATION: AtomicU64 = AtomicU64::new(1);
        let generation = GENERATION.fetch_add(1, Ordering::Relaxed);
        let known = Known {
            generation,
            root,
            shared: Arc::new(SharedPlace {
                rep: BuildCell::new(),
                release: release::<T>,
            }),
            dying: false,
        };
        let mut ids = self.ids.lock();
        let index = ids.free.pop().unwrap_or_else(|| {
            ids.known.push(None);
            u32::try_from(ids.known.len() - 1).expect("fewer than 2^32 Ebbs at a time")
        });
        ids.known[index as usize] = Some(known);
        EbbId { index, generation }
    }

    fn roots(&self, id: EbbId) -> Option<(Arc<dyn Any + Send + Sync>, Arc<SharedPlace>)> {
        let ids = self.ids.lock();
        let known = ids.known.get(id.index as usize)?.as_ref()?;
        (known.generation == id.generation && !known.dying)
            .then(|| (Arc::clone(&known.root), Arc::clone(&known.shared)))
    }

    /// False when it was not alive.
    fn mark_dying(&self, id: EbbId) -> bool {
        let mut ids = self.ids.lock();
        match ids.known.get_mut(id.index as usize) {
            Some(Some(known)) if known.generation == id.generation && !known.dying => {
                known.dying = true;
                true
            }
            _ => false,
        }
    }

    fn forget(&self, id: EbbId) {
        let mut ids = self.ids.lock();
        let known = ids.known[id.index as usize].take();
        ids.free.push(id.index);
        drop(ids);
        // The root's destructor is the user's code: not under the lock.
        drop(known);
    }

    fn live(&self) -> usize {
        let ids = self.ids.lock();
        ids.known.len() - ids.free.len()
    }
}

/// Where the cores find the representative of a shared Ebb; stays empty for other Ebbs.
struct SharedPlace {
    rep: BuildCell,
    release: unsafe fn(*const ()),
}

// SAFETY: the representative is one of a shared Ebb, hence `Send` and `Sync` (see [`Dynamic`]).
unsafe impl Send for SharedPlace {}
// SAFETY: as above.
unsafe impl Sync for SharedPlace {}

impl Drop for SharedPlace {
    fn drop(&mut self) {
        if let Some(rep) = self.rep.get() {
            // SAFETY: the place holds one count of the `Arc`, of the type that it was made for.
            unsafe { (self.release)(rep) }
        }
    }
}

/// Gives a count of an `Arc<T>` back.
///
/// # Safety
/// `rep` is from `Arc::<T>::into_raw`, and this count is nobody else's.
unsafe fn release<T>(rep: *const ()) {
    // SAFETY: the caller's promise.
    drop(unsafe { Arc::from_raw(rep.cast::<T>()) });
}

/// How many Ebbs made at run time exist on this machine, those being destroyed included.
///
/// # Panics
/// On a thread that is not a core.
#[must_use]
pub fn live_dynamic_ebbs() -> usize {
    DynamicEbbs::current().ids.live()
}

/// Calls `f` with this core's representative of an Ebb made at run time.
#[inline]
pub fn with_dynamic<T: Dynamic, R>(id: EbbId, f: impl FnOnce(&T) -> R) -> R {
    let rep = rep::<T>(id);
    // SAFETY: an entry of this generation holds a `T`, and is removed only by an event of its own,
    // that is, after `f` has returned.
    f(unsafe { &*rep })
}

#[inline]
fn rep<T: Dynamic>(id: EbbId) -> *const T {
    let rep = DynamicEbbs::try_current().and_then(|core| core.table.borrow().get(id));
    match rep {
        Some(rep) => rep.cast(),
        None => miss_dynamic::<T>(id),
    }
}

#[cold]
#[inline(never)]
fn miss_dynamic<T: Dynamic>(id: EbbId) -> *const T {
    let definition = T::DEFINITION;
    let Some(core) = DynamicEbbs::try_current() else {
        panic!(
            "the Ebb {definition} ({id:?}) was used on a thread that is not a core; run this code as \
             an event (spawn it on a core)"
        )
    };
    let Some((root, shared)) = core.ids.roots(id) else {
        destroyed(definition, id)
    };
    let root = root
        .downcast::<T::Root>()
        .unwrap_or_else(|_| destroyed(definition, id));
    let this = EbbRef {
        id,
        of: PhantomData,
    };
    miss::constructing(miss::Constructions::current(), definition, id, || {
        let rep = T::Representation::make_dynamic(root, this, &shared.rep);
        let pointer = Arc::as_ptr(&rep);
        let old = core.table.borrow_mut().set(id, rep);
        drop(old);
        pointer
    })
}

#[cold]
#[track_caller]
fn destroyed(definition: &Definition, id: EbbId) -> ! {
    panic!("the Ebb {definition} ({id:?}) was used after it was destroyed")
}

impl<T: Ebb> EbbRef<T> {
    /// Makes an Ebb. Its representatives are built from `root`, each on the core that first uses it.
    ///
    /// # Panics
    /// On a thread that is not a core.
    #[must_use = "an Ebb that nobody refers to can never be destroyed"]
    pub fn create(root: T::Root) -> Self
    where
        T: Dynamic,
    {
        let id = DynamicEbbs::current().ids.create::<T>(Arc::new(root));
        Self {
            id,
            of: PhantomData,
        }
    }
}

impl<T: Dynamic> EbbRef<T> {
    /// A counted handle on this core's representative, for use across `.await`. It keeps the
    /// representative, not the Ebb: after [`destroy`](Self::destroy) it is the last to drop it.
    ///
    /// # Panics
    /// As [`with`](Self::with).
    #[must_use]
    pub fn hold(self) -> Arc<T> {
        let rep = rep::<T>(self.id);
        // SAFETY: the table's entry holds a count of this `Arc<T>`.
        unsafe {
            Arc::increment_strong_count(rep);
            Arc::from_raw(rep)
        }
    }

    /// Ends the Ebb. No representative is built from now on; those that exist are dropped, each on
    /// its core, by an event of its own. When all are gone the id's index is free for another Ebb.
    /// The returned future tells when that is so; it need not be awaited.
    ///
    /// # Panics
    /// When it was destroyed already, and on a thread that is not a core.
    pub fn destroy(self) -> Destroyed {
        let id = self.id;
        let ids = DynamicEbbs::current().ids;
        if !ids.mark_dying(id) {
            destroyed(T::DEFINITION, id);
        }
        let homes = Home::current().all();
        let left = Arc::new(AtomicUsize::new(homes.len()));
        let steps = homes
            .iter()
            .map(|&home| {
                let left = Arc::clone(&left);
                spawn_to(home, async move || {
                    let entry = DynamicEbbs::current().table.borrow_mut().take(id);
                    drop(entry);
                    if left.fetch_sub(1, Ordering::AcqRel) == 1 {
                        ids.forget(id);
                    }
                })
            })
            .collect();
        Destroyed { steps }
    }
}

/// Ready when every representative of a destroyed Ebb is gone.
#[derive(Debug)]
pub struct Destroyed {
    steps: Vec<RemoteHandle<()>>,
}

impl Future for Destroyed {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(step) = self.steps.last_mut() {
            // A core that stops drops its table, so an error here is an end as well.
            if Pin::new(step).poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.steps.pop();
        }
        Poll::Ready(())
    }
}
