//! The first dereference of a well-known Ebb on a core.
//!
//! Invariant: a slot is null or points to a representative that is never dropped. The hot path
//! relies on it ([`dereference`]); only [`miss`] sets slots. Representatives of well-known Ebbs are
//! like statics: they live as long as the program, so `&'static` is the truth.

use alloc::{boxed::Box, collections::BTreeMap, format, string::String, sync::Arc, vec::Vec};
use core::{cell::Cell, fmt::Write, ptr};

use super::{
    Definition, Ebb, EbbId, EbbRef, Representation, WellKnown,
    cell::{BuildCell, Claim},
};
use crate::per_core::{CoreId, Part, part};

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
    let Some(core) = Constructions::try_current() else {
        panic!(
            "the Ebb {} was used on a thread that is not a core; run this code as an event (spawn \
             it on a core)",
            T::DEFINITION
        )
    };
    let rep = constructing(core, T::DEFINITION, EbbId::WELL_KNOWN, || {
        T::Representation::make()
    });
    // SAFETY: `make` gives a leaked representative for this core.
    unsafe { T::set_slot(rep) };
    #[cfg(feature = "stepped")]
    core.slots.keep(rep);
    rep
}

/// A representative for every core.
pub struct PerCore;

impl<T: Ebb> Representation<T> for PerCore {
    fn make() -> &'static T
    where
        T: WellKnown,
    {
        let root = || root_of::<T>(Constructions::current());
        Box::leak(Box::new(T::construct(root, EbbRef::new())))
    }

    fn make_dynamic(root: Arc<T::Root>, this: EbbRef<T>, _: &BuildCell) -> Arc<T> {
        Arc::new(T::construct(|| root, this))
    }
}

/// One representative for all cores. Whoever makes it the representation of a type promises that
/// the type is `Sync`, and `Send` for Ebbs made at run time; see [`WellKnown`] and
/// [`Dynamic`](super::Dynamic).
pub struct Shared;

impl<T: Ebb> Representation<T> for Shared {
    fn make() -> &'static T
    where
        T: WellKnown,
    {
        let core = Constructions::current();
        let cell = core.shared.cell::<T>(Role::Rep);
        let rep = get_or_build(cell, core, T::DEFINITION, || {
            let root = || root_of::<T>(core);
            Box::into_raw(Box::new(T::construct(root, EbbRef::new()))).cast()
        });
        // SAFETY: `Role::Rep` cells of this definition hold a leaked `T`.
        unsafe { &*rep.cast::<T>() }
    }

    fn make_dynamic(root: Arc<T::Root>, this: EbbRef<T>, shared: &BuildCell) -> Arc<T> {
        let rep = get_or_build(shared, Constructions::current(), T::DEFINITION, || {
            Arc::into_raw(Arc::new(T::construct(|| root, this)))
                .cast_mut()
                .cast()
        });
        let rep: *const T = rep.cast_const().cast();
        // SAFETY: the place belongs to this Ebb and holds a count of its `Arc<T>`.
        unsafe {
            Arc::increment_strong_count(rep);
            Arc::from_raw(rep)
        }
    }
}

// --- Roots and shared representatives ----------------------------------------------------------

/// What a machine shares for one well-known Ebb.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    Root,
    Rep,
}

/// The roots and shared representatives of a machine's well-known Ebbs. Only misses look here.
#[derive(Default)]
pub(crate) struct SharedReps {
    cells: spin::Mutex<BTreeMap<(usize, Role), &'static BuildCell>>,
    waits: spin::Mutex<Vec<Wait>>,
}

impl SharedReps {
    fn cell<T: Ebb>(&self, role: Role) -> &'static BuildCell {
        let key = (ptr::from_ref(T::DEFINITION).addr(), role);
        self.cells
            .lock()
            .entry(key)
            .or_insert_with(|| Box::leak(Box::new(BuildCell::new())))
    }
}

/// A core that waits until another has built something. In the list as long as it waits; what it
/// points to lives as long as that.
struct Wait {
    core: CoreId,
    cell: *const BuildCell,
    definition: &'static Definition,
}

// SAFETY: the cell is `Sync`, and alive while its wait is in the list.
unsafe impl Send for Wait {}

/// The value of a cell, built by `build` if nobody did so yet. A core that loses a race waits for
/// the winner, unless the winner waits for it.
fn get_or_build(
    cell: &BuildCell,
    core: &'static Constructions,
    definition: &'static Definition,
    build: impl FnOnce() -> *mut (),
) -> *mut () {
    loop {
        match cell.claim(core.core.number()) {
            Claim::Ready(value) => return value,
            Claim::Mine(builder) => {
                let value = build();
                builder.finish(value);
                return value;
            }
            Claim::Building(builder) => wait_for(cell, builder, core, definition),
        }
    }
}

/// Waits until `builder` no longer builds the value of `cell`. Builders run to completion, so the
/// wait ends, unless cores wait for one another in a circle. A circle is closed by the last of its
/// cores that begins to wait, and that one sees all the others: the list is changed and read under
/// one lock.
fn wait_for(
    cell: &BuildCell,
    builder: usize,
    core: &'static Constructions,
    definition: &'static Definition,
) {
    let waits = &core.shared.waits;
    {
        let mut waits = waits.lock();
        if let Some(circle) = circle(&waits, builder, core.core, definition) {
            drop(waits);
            panic!(
                "shared Ebbs that need each other while they are built: {circle}; let one of them \
                 look the other up when it is used, not when it is built"
            );
        }
        waits.push(Wait {
            core: core.core,
            cell,
            definition,
        });
    }
    while cell.builder() == Some(builder) {
        core::hint::spin_loop();
    }
    waits.lock().retain(|wait| wait.core != core.core);
}

/// The circle that `core` would close by waiting for `builder`, in words.
fn circle(
    waits: &[Wait],
    mut builder: usize,
    core: CoreId,
    definition: &'static Definition,
) -> Option<String> {
    let mut text = format!("{core:?} needs {definition}");
    loop {
        if builder == core.number() {
            return Some(text);
        }
        let wait = waits.iter().find(|wait| wait.core.number() == builder)?;
        // SAFETY: in the list, so its core waits, and has the cell borrowed.
        let next = unsafe { (*wait.cell).builder() }?;
        let _ = write!(
            text,
            ", which {:?} builds, which needs {}",
            wait.core, wait.definition
        );
        builder = next;
    }
}

/// The root that all representatives of `T` are built from, made by `Default` of the root unless
/// it was given with [`EbbRef::set_root`].
fn root_of<T: WellKnown>(core: &'static Constructions) -> Arc<T::Root> {
    let cell = core.shared.cell::<T>(Role::Root);
    let root = get_or_build(cell, core, T::DEFINITION, || {
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
        let core = Constructions::current();
        let cell = core.shared.cell::<T>(Role::Root);
        let mut root = Some(root);
        get_or_build(cell, core, T::DEFINITION, || {
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
        root_of::<T>(Constructions::current())
    }
}

// --- Constructions under way ---------------------------------------------------------------

/// The model's part of a core.
pub(crate) struct Constructions {
    core: CoreId,
    /// What its machine shares.
    shared: &'static SharedReps,
    /// Representatives under construction, innermost first.
    innermost: Cell<*const Constructing>,
    /// The core drops what it has; nothing is built any more.
    stopping: Cell<bool>,
    #[cfg(feature = "stepped")]
    pub slots: super::slots::Slots,
}

part!("__ebb_constructions", Constructions);

impl Constructions {
    pub fn new(core: CoreId, shared: &'static SharedReps) -> Self {
        Self {
            core,
            shared,
            innermost: Cell::new(ptr::null()),
            stopping: Cell::new(false),
            #[cfg(feature = "stepped")]
            slots: super::slots::Slots::default(),
        }
    }

    /// From now on building a representative is an error.
    pub fn stop(&self) {
        self.stopping.set(true);
    }
}

/// A construction that is under way on this core; a list on the stack, innermost first.
struct Constructing {
    definition: &'static Definition,
    id: EbbId,
    outer: *const Constructing,
}

/// Ends the construction when dropped, also by a panic: the slot is then still empty, and the next
/// use tries again.
struct End {
    core: &'static Constructions,
    outer: *const Constructing,
}

impl Drop for End {
    fn drop(&mut self) {
        self.core.innermost.set(self.outer);
    }
}

/// Runs `build` as a construction of this core, unless it would need itself or the machine stops.
#[inline]
pub(super) fn constructing<R>(
    core: &'static Constructions,
    definition: &'static Definition,
    id: EbbId,
    build: impl FnOnce() -> R,
) -> R {
    let outer = outer_of(core, definition, id);
    // Stays where it is while `build` runs, and is out of the list before it ends.
    let this = Constructing {
        definition,
        id,
        outer,
    };
    core.innermost.set(&raw const this);
    let _end = End { core, outer };
    build()
}

/// The innermost construction of this core, around which none is of this Ebb.
fn outer_of(
    core: &'static Constructions,
    definition: &'static Definition,
    id: EbbId,
) -> *const Constructing {
    if core.stopping.get() {
        panic!(
            "the Ebb {definition} was first used on {:?} while the machine stops; use it earlier, \
             or not in a destructor",
            core.core
        );
    }
    let outer = core.innermost.get();
    let mut at = outer;
    // SAFETY: the list holds the constructions under way, which are on the stack below this call.
    while let Some(step) = unsafe { at.as_ref() } {
        if ptr::eq(step.definition, definition) && step.id == id {
            cycle(outer, definition, id);
        }
        at = step.outer;
    }
    outer
}

#[cold]
fn cycle(mut at: *const Constructing, definition: &'static Definition, id: EbbId) -> ! {
    let mut chain = alloc::vec![definition];
    // SAFETY: as in `outer_of`.
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
