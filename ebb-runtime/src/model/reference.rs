//! [`EbbRef`] and the traits that `#[ebb]` implements. What else a reference does is where it belongs: making representatives in
//! `miss.rs`, Ebbs made at run time in `dynamic.rs`, other cores in `remote.rs`.

use alloc::sync::Arc;
use core::{any::type_name, fmt, marker::PhantomData};

use super::cell::BuildCell;

/// Where an Ebb was defined, for messages.
pub struct Definition {
    name: &'static str,
    module: &'static str,
    file: &'static str,
    line: u32,
    column: u32,
}

impl Definition {
    /// Used by `#[ebb]`.
    #[doc(hidden)]
    pub const fn new(
        name: &'static str,
        module: &'static str,
        file: &'static str,
        line: u32,
        column: u32,
    ) -> Self {
        Self {
            name,
            module,
            file,
            line,
            column,
        }
    }

    /// The struct's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The module it is in.
    #[must_use]
    pub const fn module(&self) -> &'static str {
        self.module
    }
}

impl fmt::Display for Definition {
    /// `` `Hits` (src/main.rs:3:8) ``
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` ({}:{}:{})",
            self.name, self.file, self.line, self.column
        )
    }
}

impl fmt::Debug for Definition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}::{}", self.module, self.name)
    }
}

/// Which of the Ebbs of a type an [`EbbRef`] means.
///
/// A well-known Ebb is the only one of its type and has the id [`WELL_KNOWN`](Self::WELL_KNOWN). An
/// Ebb made at run time has a small index that is used again after its destruction, and a generation
/// that never is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct EbbId {
    pub(crate) index: u32,
    /// 0 for well-known Ebbs. Never used twice in a process.
    pub(crate) generation: u64,
}

impl EbbId {
    /// The id of every well-known Ebb.
    pub const WELL_KNOWN: Self = Self {
        index: 0,
        generation: 0,
    };

    /// The place in the per-core tables. Small: ids of destroyed Ebbs are used again.
    #[must_use]
    pub const fn index(self) -> u32 {
        self.index
    }
}

impl fmt::Debug for EbbId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::WELL_KNOWN {
            f.write_str("well-known")
        } else {
            write!(f, "#{}.{}", self.index, self.generation)
        }
    }
}

/// A type that `#[ebb]` made an Ebb. Not to be implemented by hand.
pub trait Ebb: Sized + 'static {
    /// What all representatives are built from; `()` without `root = Type`.
    type Root: RootObject;
    /// Where it was defined.
    #[doc(hidden)]
    const DEFINITION: &'static Definition;
    /// Builds a representative. Asks for the root only if it is built from one: finding it takes a lock.
    #[doc(hidden)]
    fn construct(root: impl FnOnce() -> Arc<Self::Root>, this: EbbRef<Self>) -> Self;
    /// Calls `f` with this core's representative.
    #[doc(hidden)]
    fn with_rep<R>(id: EbbId, f: impl FnOnce(&Self) -> R) -> R;
}

/// An Ebb with one slot in thread-local storage.
///
/// # Safety
/// The functions access an 8-byte slot of the calling thread that belongs to this type alone and
/// starts as null. A type whose representation is [`Shared`](super::Shared) is `Sync`.
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

/// How the representatives of an Ebb relate to cores.
pub trait Representation<T: Ebb> {
    /// This core's representative of a well-known Ebb.
    fn make() -> &'static T
    where
        T: WellKnown;
    /// This core's representative of an Ebb made at run time. `shared` is one place for all cores.
    fn make_dynamic(root: Arc<T::Root>, this: EbbRef<T>, shared: &BuildCell) -> Arc<T>;
}

/// What can be a root: all cores share it, so it is `Send`, `Sync` and owns what it holds.
/// Implemented by every type that is.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the root of an Ebb, because cores cannot share it",
    label = "this root is not `Send + Sync + 'static`",
    note = "all cores build their representatives from the one root: use `Arc`, atomics or a lock in it instead of `Rc`, `Cell` or `RefCell`"
)]
pub trait RootObject: Send + Sync + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Send + Sync + 'static> RootObject for T {}

/// Components that may have a default provider, as `dyn Trait`: those with `#[component(replaceable)]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no default provider",
    label = "not a replaceable component",
    note = "a component that may be replaced is a trait with `#[component(replaceable)]`, named `dyn Trait`"
)]
pub trait Replaceable: Global {
    /// Stands for the default provider.
    type Default: 'static;
    /// The default provider.
    #[doc(hidden)]
    fn default_provider() -> &'static Self::Default;
}

/// What [`EbbRef::get`] can give: well-known Ebbs, and components as `dyn Trait`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is neither a well-known Ebb nor a component, so there is nothing to get",
    label = "not an Ebb with a representative on every core",
    note = "a well-known Ebb is a struct with `#[ebb(per_core)]` or `#[ebb(shared)]`; a component is a trait with `#[component]`, named `dyn Trait`",
    note = "Ebbs made at run time (`dynamic`) are reached through the `EbbRef` that `create` gave: `ebb.with(|rep| ..)`"
)]
pub trait Global {
    /// What `get` returns a reference to.
    type Target: 'static;
    /// This core's representative, or the component's provider.
    #[doc(hidden)]
    fn get() -> &'static Self::Target;
}

/// How the representatives of an Ebb with `root = Root` are built.
///
/// ```ignore
/// #[ebb(per_core, root = Limits)]
/// struct Pool { limits: Arc<Limits>, free: RefCell<Vec<Buffer>> }
///
/// impl FromRoot<Limits> for Pool {
///     fn from_root(limits: Arc<Limits>, _: EbbRef<Self>) -> Self {
///         Self { limits, free: RefCell::default() }
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "the Ebb `{Self}` says `root = {Root}`, but does not say how to build a representative from one",
    label = "this Ebb has a root",
    note = "write `impl FromRoot<{Root}> for {Self}`"
)]
pub trait FromRoot<Root>: Sized {
    /// Builds the representative of the core that this runs on ([`current_core`](crate::current_core)).
    /// `this` is the Ebb's own reference, by which the representative can reach the other cores.
    fn from_root(root: Arc<Root>, this: EbbRef<Self>) -> Self;
}

/// Used by `#[ebb]`.
#[doc(hidden)]
pub fn from_root<T: FromRoot<Root>, Root>(root: Arc<Root>, this: EbbRef<T>) -> T {
    T::from_root(root, this)
}

/// `Default`, with the message that the user of `#[ebb]` should read.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "the Ebb `{Self}` has neither `Default` nor a root, so no core can build its representative",
    label = "this Ebb is built lazily, on the core that first uses it",
    note = "derive or implement `Default`, or give a root: `#[ebb(.., root = Type)]` with `impl FromRoot<Type> for {Self}`"
)]
pub trait BuiltByDefault {
    fn build() -> Self;
}

#[diagnostic::do_not_recommend]
impl<T: Default> BuiltByDefault for T {
    fn build() -> Self {
        T::default()
    }
}

/// Used by `#[ebb]`.
#[doc(hidden)]
pub fn by_default<T: BuiltByDefault>() -> T {
    T::build()
}

/// Finds out whether a root can be made by `Default`: method look-up prefers [`ViaDefault`] where it
/// applies (autoref specialisation, after David Tolnay).
#[doc(hidden)]
pub struct RootProbe<Root>(pub PhantomData<Root>);

#[doc(hidden)]
pub trait ViaDefault {
    type Root;
    fn __ebb_default_root(&self) -> Option<Arc<Self::Root>>;
}

impl<Root: Default> ViaDefault for RootProbe<Root> {
    type Root = Root;
    fn __ebb_default_root(&self) -> Option<Arc<Root>> {
        Some(Arc::new(Root::default()))
    }
}

#[doc(hidden)]
pub trait NoDefaultRoot {
    type Root;
    fn __ebb_default_root(&self) -> Option<Arc<Self::Root>>;
}

impl<Root> NoDefaultRoot for &RootProbe<Root> {
    type Root = Root;
    fn __ebb_default_root(&self) -> Option<Arc<Root>> {
        None
    }
}

/// Finds out whether a concrete type is `Sync`: the inherent constant hides the trait's where it
/// applies (as in the crate `impls`, by Nikolai Vazquez).
#[doc(hidden)]
pub struct SyncProbe<T: ?Sized>(PhantomData<T>);

/// As [`SyncProbe`], for `Send`.
#[doc(hidden)]
pub struct SendProbe<T: ?Sized>(PhantomData<T>);

#[doc(hidden)]
pub trait NotKnown {
    const YES: bool = false;
}

impl<T: ?Sized> NotKnown for SyncProbe<T> {}
impl<T: ?Sized> NotKnown for SendProbe<T> {}

impl<T: ?Sized + Sync> SyncProbe<T> {
    /// It is.
    pub const YES: bool = true;
}

impl<T: ?Sized + Send> SendProbe<T> {
    /// It is.
    pub const YES: bool = true;
}

/// `Sync`, with the message that the user of `#[ebb(shared)]` should read. `WHOLE` says that the
/// struct is `Sync` whatever its fields are.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "a field of a shared Ebb has the type `{Self}`, which cores cannot share",
    label = "this field's type is not `Sync`",
    note = "all cores use the one representative of a shared Ebb at the same time: use atomics or a lock, or make it `#[ebb(per_core)]`"
)]
pub trait SyncField<const WHOLE: bool> {}

impl<T: ?Sized> SyncField<true> for T {}

#[diagnostic::do_not_recommend]
impl<T: ?Sized + Sync> SyncField<false> for T {}

/// Used by `#[ebb(shared)]`.
#[doc(hidden)]
pub const fn assert_field_sync<T: SyncField<WHOLE> + ?Sized, const WHOLE: bool>() {}

/// As [`SyncField`], for `Send`: the last core that lets go of a shared Ebb made at run time drops
/// it.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "a field of a shared Ebb made at run time has the type `{Self}`, which cannot go to another core",
    label = "this field's type is not `Send`",
    note = "whichever core is the last to let go of the representative drops it"
)]
pub trait SendField<const WHOLE: bool> {}

impl<T: ?Sized> SendField<true> for T {}

#[diagnostic::do_not_recommend]
impl<T: ?Sized + Send> SendField<false> for T {}

/// Used by `#[ebb(shared, dynamic)]`.
#[doc(hidden)]
pub const fn assert_field_send<T: SendField<WHOLE> + ?Sized, const WHOLE: bool>() {}

/// A reference to an Ebb: the same on every core, resolved to each core's representative when used.
///
/// - `EbbRef::<Hits>::get()` gives this core's representative of a well-known Ebb. It costs one load
///   and one predicted branch; the first use on a core builds the representative.
/// - `EbbRef::<dyn Console>::get()` gives the linked provider of a component.
/// - `EbbRef::create(root)` makes an Ebb at run time (`#[ebb(.., dynamic)]`); `with` calls a closure
///   with this core's representative, and `destroy` ends it.
/// - [`on`](Self::on), [`gather`](Self::gather), [`broadcast`](Self::broadcast) and
///   [`fold`](Self::fold) reach the representatives of other cores.
///
/// `Copy`, `Send` and `'static` whatever `T` is: it is a name, not a pointer.
pub struct EbbRef<T: ?Sized> {
    pub(crate) id: EbbId,
    pub(crate) of: PhantomData<fn() -> *const T>,
}

impl<T: ?Sized> Clone for EbbRef<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: ?Sized> Copy for EbbRef<T> {}

impl<T: ?Sized> PartialEq for EbbRef<T> {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl<T: ?Sized> Eq for EbbRef<T> {}

impl<T: ?Sized> fmt::Debug for EbbRef<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EbbRef<{}>({:?})", type_name::<T>(), self.id)
    }
}

impl<T: ?Sized> EbbRef<T> {
    /// This core's representative of a well-known Ebb, or the linked provider of a component.
    ///
    /// # Panics
    /// On a thread that is not a core, when the representative's construction panics or needs
    /// itself, and for a representative not built yet while the machine stops. The message names
    /// the Ebb and where it was defined.
    #[inline(always)]
    #[must_use]
    pub fn get() -> &'static T::Target
    where
        T: Global,
    {
        T::get()
    }

    /// The default provider of a component, also where another has replaced it: for one that does a little more than the
    /// platform's and leaves the rest to it.
    ///
    /// ```no_run
    /// # extern crate ebb_runtime as ebb;
    /// use ebb::{EbbRef, platform::Entropy, provides};
    ///
    /// /// The platform's random bytes, without zeroes.
    /// struct NoZeroes;
    ///
    /// #[provides(Entropy, instance = &NoZeroes)]
    /// impl Entropy for NoZeroes {
    ///     fn fill(&self, bytes: &mut [u8]) {
    ///         EbbRef::<dyn Entropy>::default_provider().fill(bytes);
    ///         bytes.iter_mut().for_each(|byte| *byte = (*byte).max(1));
    ///     }
    /// }
    /// # fn main() {}
    /// ```
    #[inline(always)]
    #[must_use]
    pub fn default_provider() -> &'static T::Default
    where
        T: Replaceable,
    {
        T::default_provider()
    }
}

impl<T: WellKnown> Default for EbbRef<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: WellKnown> EbbRef<T> {
    /// The reference to the well-known Ebb `T`, for [`on`](Self::on) and its kin.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            id: EbbId::WELL_KNOWN,
            of: PhantomData,
        }
    }
}

impl<T: Ebb> EbbRef<T> {
    /// The id; [`EbbId::WELL_KNOWN`] for a well-known Ebb.
    #[must_use]
    pub const fn id(self) -> EbbId {
        self.id
    }

    /// Calls `f` with this core's representative.
    ///
    /// # Panics
    /// As [`get`](Self::get); and after [`destroy`](Self::destroy).
    #[inline]
    pub fn with<R>(self, f: impl FnOnce(&T) -> R) -> R {
        T::with_rep(self.id, f)
    }
}
