//! The attribute macros of ebb. Use them through the facade crate `ebb`; the code they emit names
//! everything through `::ebb`.
//!
//! One module per macro. Each takes the annotated item apart, collects every error of one use
//! before it reports any, and always emits the annotated item itself, so that an editor keeps
//! working and one mistake does not cause a page of others.

mod component;
mod ebb;
mod entry;
mod expand;
#[cfg(test)]
mod golden;
mod origin;
mod provides;
mod report;

use proc_macro::TokenStream;

use crate::origin::Origin;

/// Makes a struct an Elastic Building Block.
///
/// ```ignore
/// #[ebb(per_core)]            // a representative per core, built by `Default` on first use
/// #[derive(Default)]
/// struct Hits { n: Cell<u64> }
///
/// EbbRef::<Hits>::get().hit();
/// ```
///
/// | option | meaning |
/// |---|---|
/// | `per_core` | every core has its own representative; needs neither `Send` nor `Sync` |
/// | `shared` | all cores share one representative, which must be `Sync` |
/// | `root = Type` | representatives are built by `FromRoot` from one `Type` that all cores share |
/// | `dynamic` | made at run time by `EbbRef::create`, any number of them; the form for generic structs |
///
/// Exactly one of `per_core` and `shared` is given.
#[proc_macro_attribute]
pub fn ebb(options: TokenStream, item: TokenStream) -> TokenStream {
    ebb::expand(options.into(), item.into(), &Origin::here()).into()
}

/// Makes a trait a system component: a seam with one provider, bound by the linker.
///
/// `EbbRef::<dyn Trait>::get()` gives the linked provider. Calls go straight to it, without a
/// table. A program without a provider, or with two, does not link, and the linker's message names
/// the component. The methods take `&self` and are neither generic nor `async`.
#[proc_macro_attribute]
pub fn component(options: TokenStream, item: TokenStream) -> TokenStream {
    component::expand(options.into(), item.into(), &Origin::here()).into()
}

/// Makes an `impl Trait for Type` the provider of the component `Trait` in every program that
/// links it.
///
/// `#[provides(Trait)]` uses the Ebb `Type`; `#[provides(Trait, instance = EXPR)]` the `&'static
/// Type` that the expression gives, for what must work where no core runs yet.
#[proc_macro_attribute]
pub fn provides(options: TokenStream, item: TokenStream) -> TokenStream {
    provides::expand(options.into(), item.into(), &Origin::here()).into()
}

/// Makes `async fn main()` or `fn main()` the first event on core 0. The machine stops with the
/// status that it returns. The crate is `#![no_std] #![no_main]`; its build script says
/// `ebb_build::images`.
#[proc_macro_attribute]
pub fn main(options: TokenStream, item: TokenStream) -> TokenStream {
    entry::expand_main(options.into(), item.into(), entry::native()).into()
}

/// Makes `async fn` or `fn` a test that runs as an event on core 0 of a machine: under libtest on
/// the hosted runtime, in a test image on the native one.
///
/// `#[ebb::test(cores = 4)]` asks for a number of cores (hosted; a native image has the cores it
/// was booted with, and skips a test that wants more). `should_panic` is for libtest only.
#[proc_macro_attribute]
pub fn test(options: TokenStream, item: TokenStream) -> TokenStream {
    entry::expand_test(options.into(), item.into()).into()
}
