//! The attribute macros of ebb. Use them through the facade crate `ebb`; the code they emit names
//! everything through it, under whatever name the package has it. `crate = PATH` among the options of any of them says where
//! it is, for a package that reaches ebb through another crate: `#[ebb(per_core, crate = my_library::ebb)]`.
//!
//! ```
//! use ebb::{EbbRef, ebb};
//! use std::sync::atomic::{AtomicU64, Ordering};
//!
//! #[ebb(shared)]
//! #[derive(Default)]
//! struct Tickets {
//!     next: AtomicU64,
//! }
//!
//! # ebb_hosted::run(&ebb_hosted::Config { cores: 2, pin: false }, || async {
//! let tickets = EbbRef::<Tickets>::new().gather(|t| t.next.fetch_add(1, Ordering::Relaxed)).await;
//! assert_eq!(tickets.unwrap().iter().sum::<u64>(), 0 + 1);
//! # });
//! ```
//!
//! One module per macro. Each takes the annotated item apart, collects every error of one use
//! before it reports any, and always emits the annotated item itself, so that an editor keeps
//! working and one mistake does not cause a page of others.

mod component;
mod crates;
mod ebb;
mod entry;
mod expand;
#[cfg(test)]
mod golden;
mod options;
mod origin;
mod package;
mod provides;
mod remote;
mod report;

use proc_macro::TokenStream;

use crate::{crates::Crates, origin::Origin};

/// Expands with what the crates are called where the macro is used.
fn named(
    options: TokenStream,
    item: TokenStream,
    expand: impl FnOnce(proc_macro2::TokenStream, proc_macro2::TokenStream) -> proc_macro2::TokenStream,
) -> TokenStream {
    let item = item.into();
    match Crates::of(options.into(), &item) {
        Ok((crates, options)) => crates.resolve(expand(options, item)).into(),
        Err(error) => error.into(),
    }
}

/// Makes a struct an Elastic Building Block.
///
/// ```
/// use ebb::{EbbRef, ebb};
/// use std::cell::Cell;
///
/// #[ebb(per_core)]
/// #[derive(Default)]
/// struct Hits {
///     n: Cell<u64>,
/// }
///
/// # let config = ebb_hosted::Config { cores: 2, pin: false };
/// # ebb_hosted::run(&config, || async {
/// let hits = EbbRef::<Hits>::get();
/// hits.n.set(hits.n.get() + 1);
/// let all = EbbRef::<Hits>::new().gather(|hits| hits.n.get()).await.unwrap();
/// assert_eq!(all, [1, 0]);
/// # });
/// ```
///
/// | option | meaning |
/// |---|---|
/// | `per_core` | every core has its own representative; needs neither `Send` nor `Sync` |
/// | `shared` | all cores share one representative, which must be `Sync` |
/// | `root = Type` | representatives are built by `FromRoot` from one `Type` that all cores share |
/// | `distributed` | other machines may call it (`ebb-distributed`), besides what it is else; `shared` unless it says `per_core` |
/// | `dynamic` | made at run time by `EbbRef::create`, any number of them; the form for generic structs |
///
/// Exactly one of `per_core` and `shared` is given, or `distributed`. Without a root, representatives are built by
/// `Default`. A shared Ebb that is `dynamic` is `Send` too: the last core that lets go drops it.
///
/// With a root and made at run time:
///
/// ```
/// use ebb::{EbbRef, FromRoot, ebb};
/// use std::{cell::RefCell, sync::Arc};
///
/// struct Limits {
///     most: usize,
/// }
///
/// #[ebb(per_core, dynamic, root = Limits)]
/// struct Pool<T: 'static> {
///     limits: Arc<Limits>,
///     free: RefCell<Vec<T>>,
/// }
///
/// impl<T> FromRoot<Limits> for Pool<T> {
///     fn from_root(limits: Arc<Limits>, _: EbbRef<Self>) -> Self {
///         Self { limits, free: RefCell::default() }
///     }
/// }
///
/// # let config = ebb_hosted::Config { cores: 2, pin: false };
/// # ebb_hosted::run(&config, || async {
/// let pool = EbbRef::<Pool<String>>::create(Limits { most: 8 });
/// pool.with(|pool| {
///     if pool.free.borrow().len() < pool.limits.most {
///         pool.free.borrow_mut().push(String::new());
///     }
/// });
/// pool.destroy().await;
/// # });
/// ```
///
/// The struct is emitted as it is; the rest is what the traits of `ebb` need. It passes `#![forbid(unsafe_code)]`. Ebbs are for executables: a
/// slot uses the local-exec thread-local model.
#[proc_macro_attribute]
pub fn ebb(options: TokenStream, item: TokenStream) -> TokenStream {
    named(options, item, |options, item| {
        ebb::expand(options, item, &Origin::here())
    })
}

/// Makes a trait a system component: a seam with one provider, bound by the linker.
///
/// ```
/// use ebb::{EbbRef, component, provides};
///
/// #[component]
/// pub trait Horn {
///     fn blow(&self, loudness: u32) -> u32;
/// }
///
/// // In this crate or another of the same program:
/// struct Brass;
///
/// #[provides(Horn, instance = &Brass)]
/// impl Horn for Brass {
///     fn blow(&self, loudness: u32) -> u32 {
///         loudness + 1
///     }
/// }
///
/// assert_eq!(EbbRef::<dyn Horn>::get().blow(1), 2);
/// ```
///
/// `EbbRef::<dyn Trait>::get()` gives the linked provider. Calls go straight to it, without a
/// table. A program that uses a component without a provider, or has two, does not link, and the
/// linker's message names the component. The methods take `&self` and are neither generic nor
/// `async`; what they borrow from `self` lives as long as the program.
///
/// `#[component(replaceable)]` allows for a default provider, `#[provides(Trait, default)]`, that
/// another may replace. Its calls are not inlined by link-time optimisation.
#[proc_macro_attribute]
pub fn component(options: TokenStream, item: TokenStream) -> TokenStream {
    named(options, item, |options, item| {
        component::expand(options, item, &Origin::here())
    })
}

/// Makes an `impl Trait for Type` the provider of the component `Trait` in every program that
/// links it.
///
/// | option | meaning |
/// |---|---|
/// | `Trait` | the component; comes first |
/// | `instance = EXPR` | the provider is the `&'static Type` that this gives; else it is the Ebb `Type` |
/// | `default` | another provider replaces this one; for components that are `replaceable` |
///
/// ```
/// use ebb::{EbbRef, ebb, platform::Entropy, provides};
///
/// /// In place of the platform's.
/// #[ebb(shared)]
/// #[derive(Default)]
/// struct Dice;
///
/// #[provides(Entropy)]
/// impl Entropy for Dice {
///     fn fill(&self, bytes: &mut [u8]) {
///         bytes.fill(4);
///     }
/// }
///
/// # let config = ebb_hosted::Config { cores: 1, pin: false };
/// # ebb_hosted::run(&config, || async {
/// let mut random = [0; 2];
/// EbbRef::<dyn Entropy>::get().fill(&mut random);
/// assert_eq!(random, [4, 4]);
/// # });
/// ```
///
/// An `instance` is for what must work where no core runs yet.
#[proc_macro_attribute]
pub fn provides(options: TokenStream, item: TokenStream) -> TokenStream {
    named(options, item, |options, item| {
        provides::expand(options, item, &Origin::here())
    })
}

/// Makes `async fn main()` or `fn main()` the first event on core 0. The machine stops with the
/// status that it returns. The crate is `#![no_std] #![no_main]`; its build script says
/// `ebb_build::images`.
///
/// `#[ebb::main(native = CRATE, hosted = CRATE)]` links a crate into the program on that platform only: one that provides a
/// component there. Each may be given several times.
#[proc_macro_attribute]
pub fn main(options: TokenStream, item: TokenStream) -> TokenStream {
    named(options, item, |options, item| {
        entry::expand_main(options, item, &entry::Package::here())
    })
}

/// Makes `async fn` or `fn` a test that runs as an event on core 0 of a machine: under libtest on
/// the hosted runtime, in a test image on the native one.
///
/// `#[ebb::test(cores = 4)]` asks for a number of cores (hosted; a native image has the cores it
/// was booted with, and skips a test that wants more). `should_panic` is for libtest only.
#[proc_macro_attribute]
pub fn test(options: TokenStream, item: TokenStream) -> TokenStream {
    named(options, item, entry::expand_test)
}

/// Lets other machines call the methods of an Ebb; used as `#[ebb_distributed::remote]`.
///
/// It stands on an `impl` block of the Ebb, whose methods are `async`, take `&self`, and arguments and results that own their data
/// (`ebb_distributed::Value`). Local calls stay what they are. For `Table` it makes `TableAt`, whose methods have the same arguments
/// and give `Result<_, Failure>`: `EbbRef::<Table>::new().at(node).get(key).await?`.
///
/// | on | option | meaning |
/// |---|---|---|
/// | the `impl` | `name = ".."` | what the Ebb is called on the wire; else its path, which must then be the same everywhere |
/// | a method | `#[remote(oneway)]` | nobody waits for it; it has no result |
/// | a method | `#[remote(stream)]` | it answers with items: its last argument is `out: Sink<Item>` |
/// | an argument behind all others but the sink | `items: Items<Item>` | the caller gives items |
#[proc_macro_attribute]
pub fn remote(options: TokenStream, item: TokenStream) -> TokenStream {
    named(options, item, remote::expand)
}
