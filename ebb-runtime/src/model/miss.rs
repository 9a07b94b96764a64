//! The first dereference of a well-known Ebb on a core.
//!
//! Invariant: a slot is null or points to a representative that is never dropped. The hot path
//! relies on it ([`dereference`]); only [`miss`] sets slots. Representatives of well-known Ebbs are
//! like statics: they live as long as the program, so `&'static` is the truth.

use alloc::{boxed::Box, collections::BTreeMap, string::String, sync::Arc};
use core::{
    any::Any,
    fmt::Write,
    ptr,
    sync::atomic::{AtomicU8, Ordering},
};

use super::{Definition, Ebb, EbbId, EbbRef};
use crate::{
    core::{Core, CoreId, Phase},
    machine::Machine,
};

/// An Ebb with one slot in thread-local storage.
///
/// # Safety
/// The functions access an 8-byte slot of the calling thread that belongs to this type alone and
/// starts as null.
pub unsafe trait WellKnown: Ebb {
    /// How representatives relate to cores.
    type Representation: Representation<Self>;
    /// The root by its type's `Default`, if that has one.
    fn default_root() -> Option<Arc<Self::Root>>;
    /// The slot, possibly as it was earlier in this event.
    fn slot() -> *const Self;
    /// The slot as it is now.
    fn slot_again() -> *const Self;
    /// Sets the slot.
    ///
    /// # Safety
    /// `rep` is a representative of this core that lives as long as the program.
    unsafe fn set_slot(rep: *const Self);
}

/// One load, one predicted branch.
#[inline(always)]
pub fn dereference<T: WellKnown>() -> &'static T {
    // SAFETY: the module's invariant.
    match unsafe { T::slot().as_ref() } {
        Some(rep) => rep,
        None => miss::<T>(),
    }
}

#[cold]
#[inline(never)]
fn miss<T: WellKnown>() -> &'static T {
    // SAFETY: the module's invariant.
    if let Some(rep) = unsafe { T::slot_again().as_ref() } {
        return rep;
    }
    let Some(core) = Core::try_current() else {
        panic!(
            "the Ebb {} was used on a thread that is not a core; run this code as an event (spawn \
             it on a core)",
            T::DEFINITION
        )
    };
    let _step = begin(core, T::DEFINITION, EbbId::WELL_KNOWN);
    let rep = T::Representation::make();
    // SAFETY: `make` gives a leaked representative for this core.
    unsafe { T::set_slot(rep) };
    rep
}

/// How the representatives of an Ebb relate to cores.
pub trait Representation<T: Ebb> {
    /// This core's representative of a well-known Ebb.
    fn make() -> &'static T
    where
        T: WellKnown;
    /// This core's representative of an Ebb made at run time. `shared` is one place for all cores.
    fn make_dynamic(
        root: Arc<T::Root>,
        this: EbbRef<T>,
        shared: &spin::Mutex<Option<Arc<dyn Any + Send + Sync>>>,
    ) -> Arc<T>;
}

/// A representative for every core.
pub struct PerCore;

impl<T: Ebb> Representation<T> for PerCore {
    fn make() -> &'static T
    where
        T: WellKnown,
    {
        let root = root_of::<T>(Core::current().machine);
        Box::leak(Box::new(T::construct(root, EbbRef::new())))
    }

    #[allow(clippy::arc_with_non_send_sync)] // It stays on its core; see `DynamicTable`.
    fn make_dynamic(
        root: Arc<T::Root>,
        this: EbbRef<T>,
        _: &spin::Mutex<Option<Arc<dyn Any + Send + Sync>>>,
    ) -> Arc<T> {
        Arc::new(T::construct(root, this))
    }
}

/// One representative for all cores.
pub struct Shared;

impl<T: Ebb + Sync> Representation<T> for Shared
where
    T: Send,
{
    fn make() -> &'static T
    where
        T: WellKnown,
    {
        let core = Core::current();
        let cell = core.machine.shared.cell::<T>(Role::Rep);
        let rep = cell.get_or_build(core, T::DEFINITION, || {
            let root = root_of::<T>(core.machine);
            Box::into_raw(Box::new(T::construct(root, EbbRef::new()))).cast()
        });
        // SAFETY: `Role::Rep` cells of this definition hold a leaked `T`.
        unsafe { &*rep.cast::<T>() }
    }

    fn make_dynamic(
        root: Arc<T::Root>,
        this: EbbRef<T>,
        shared: &spin::Mutex<Option<Arc<dyn Any + Send + Sync>>>,
    ) -> Arc<T> {
        // Held while the representative is built; a builder that panics leaves the place empty.
        let mut place = shared.lock();
        let rep = place.get_or_insert_with(|| Arc::new(T::construct(root, this)));
        Arc::clone(rep)
            .downcast::<T>()
            .expect("the place belongs to this Ebb")
    }
}

// --- Roots and shared representatives of well-known Ebbs --------------------------------------

/// What a machine shares for one well-known Ebb.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    Root,
    Rep,
}

/// The roots and shared representatives of a machine's well-known Ebbs. Only misses look here.
#[derive(Default)]
pub(crate) struct SharedReps {
    cells: spin::Mutex<BTreeMap<(usize, Role), &'static SharedCell>>,
}

impl SharedReps {
    fn cell<T: Ebb>(&self, role: Role) -> &'static SharedCell {
        let key = (ptr::from_ref(T::DEFINITION).addr(), role);
        self.cells
            .lock()
            .entry(key)
            .or_insert_with(|| Box::leak(Box::default()))
    }
}

const EMPTY: u8 = 0;
const READY: u8 = 0xff;

/// Built once, whoever races. A core that loses the race waits for the winner; a builder that
/// panics leaves the cell empty for the next.
#[derive(Default)]
pub(crate) struct SharedCell {
    /// `EMPTY`, `READY`, or one more than the number of the core that builds.
    state: AtomicU8,
    value: spin::Once<usize>,
}

impl SharedCell {
    fn get_or_build(
        &self,
        core: &'static Core,
        definition: &'static Definition,
        build: impl FnOnce() -> *mut (),
    ) -> *mut () {
        let me = core.id.number() as u8 + 1;
        loop {
            match self
                .state
                .compare_exchange(EMPTY, me, Ordering::Acquire, Ordering::Acquire)
            {
                Ok(_) => break,
                Err(READY) => {
                    return ptr::with_exposed_provenance_mut(
                        *self.value.get().expect("set before READY"),
                    );
                }
                Err(builder) => {
                    core.waiting
                        .store(ptr::from_ref(self).cast_mut(), Ordering::Release);
                    let cycle = self.leads_to(core, usize::from(builder) - 1);
                    if let Some(other) = cycle {
                        core.waiting.store(ptr::null_mut(), Ordering::Release);
                        panic!(
                            "shared Ebbs that need each other while they are built, on two cores: \
                             {definition} waits for {:?}, which waits for {:?}; let one of them \
                             look the other up when it is used, not when it is built",
                            other, core.id
                        );
                    }
                    core::hint::spin_loop();
                    core.waiting.store(ptr::null_mut(), Ordering::Release);
                }
            }
        }
        struct Reset<'a>(&'a AtomicU8);
        impl Drop for Reset<'_> {
            fn drop(&mut self) {
                self.0.store(EMPTY, Ordering::Release);
            }
        }
        let reset = Reset(&self.state);
        let value = build();
        core::mem::forget(reset);
        self.value.call_once(|| value.expose_provenance());
        self.state.store(READY, Ordering::Release);
        value
    }
}

impl SharedCell {
    /// The core at which a chain of cores that wait for one another, starting with the builder of
    /// this cell, comes back to `core`. Such a chain is stable: nobody in it can go on.
    fn leads_to(&self, core: &'static Core, builder: usize) -> Option<CoreId> {
        let mut at = builder;
        for _ in 0..core.machine.cores.len() {
            let other = core.machine.cores.get(at)?;
            // SAFETY: null or a leaked cell.
            let cell = unsafe { other.waiting.load(Ordering::Acquire).as_ref() }?;
            let next = cell.state.load(Ordering::Acquire);
            if next == EMPTY || next == READY {
                return None;
            }
            if usize::from(next) - 1 == core.id.number() {
                return Some(other.id);
            }
            at = usize::from(next) - 1;
        }
        None
    }
}

/// The root that all representatives of `T` are built from, made by `Default` of the root unless
/// it was given with [`EbbRef::set_root`].
fn root_of<T: WellKnown>(machine: &'static Machine) -> Arc<T::Root> {
    let core = Core::current();
    let cell = machine.shared.cell::<T>(Role::Root);
    let root = cell.get_or_build(core, T::DEFINITION, || {
        let root = T::default_root().unwrap_or_else(|| {
            panic!(
                "the Ebb {} was used before its root was given; call `EbbRef::<{}>::set_root` \
                 first, for example at the start of main",
                T::DEFINITION,
                T::DEFINITION.name()
            )
        });
        Arc::into_raw(root).cast_mut().cast()
    });
    let root: *const T::Root = root.cast_const().cast();
    // SAFETY: a `Role::Root` cell of this definition holds a leaked count of an `Arc<T::Root>`.
    unsafe {
        Arc::increment_strong_count(root);
        Arc::from_raw(root)
    }
}

impl<T: WellKnown> EbbRef<T> {
    /// Gives the root that every core's representative is built from. To be done once, before the
    /// first use; typically the first lines of main.
    ///
    /// # Errors
    /// Gives `root` back when there is one already.
    pub fn set_root(root: T::Root) -> Result<(), T::Root> {
        let core = Core::current();
        let cell = core.machine.shared.cell::<T>(Role::Root);
        let mut root = Some(root);
        cell.get_or_build(core, T::DEFINITION, || {
            let root = root.take().expect("built at most once");
            Arc::into_raw(Arc::new(root)).cast_mut().cast()
        });
        root.map_or(Ok(()), Err)
    }

    /// The root that every core's representative is built from.
    ///
    /// # Panics
    /// When none was given yet.
    #[must_use]
    pub fn root() -> Arc<T::Root> {
        root_of::<T>(Core::current().machine)
    }
}

// --- Constructions under way ---------------------------------------------------------------

/// A construction that is under way on this core; a list on the stack, innermost first.
pub(crate) struct Constructing {
    definition: &'static Definition,
    id: EbbId,
    outer: *const Constructing,
}

/// Ends the construction when dropped, also by a panic: the slot is then still empty, and the next
/// use tries again.
pub(super) struct Step {
    core: &'static Core,
    // Boxed so that it has an address while `Step` moves.
    this: Box<Constructing>,
}

impl Drop for Step {
    fn drop(&mut self) {
        self.core.local.constructing.set(self.this.outer);
    }
}

/// Begins a construction, unless it would need itself or the machine stops.
pub(super) fn begin(core: &'static Core, definition: &'static Definition, id: EbbId) -> Step {
    if core.local.phase.get() == Phase::Stopping {
        panic!(
            "the Ebb {definition} was first used on {:?} while the machine stops; use it earlier, \
             or not in a destructor",
            core.id
        );
    }
    let outer = core.local.constructing.get();
    let mut at = outer;
    // SAFETY: the list holds the constructions under way, whose `Step`s are alive.
    while let Some(step) = unsafe { at.as_ref() } {
        if ptr::eq(step.definition, definition) && step.id == id {
            cycle(outer, definition, id);
        }
        at = step.outer;
    }
    let this = Box::new(Constructing {
        definition,
        id,
        outer,
    });
    core.local.constructing.set(&raw const *this);
    Step { core, this }
}

#[cold]
fn cycle(mut at: *const Constructing, definition: &'static Definition, id: EbbId) -> ! {
    let mut chain = alloc::vec![definition];
    // SAFETY: as in `begin`.
    while let Some(step) = unsafe { at.as_ref() } {
        chain.push(step.definition);
        if ptr::eq(step.definition, definition) && step.id == id {
            break;
        }
        at = step.outer;
    }
    let mut text = String::new();
    for (n, definition) in chain.iter().rev().enumerate() {
        let _ = write!(text, "{}{definition}", if n == 0 { "" } else { " -> " });
    }
    panic!(
        "Ebbs that need each other while they are built: {text}; let one of them look the other up \
         when it is used, not when it is built"
    )
}
