//! What `#[ebb]` implements for a struct.
//!
//! Hygiene: every path is absolute, from `::ebb` (by the marker of `crates.rs`) or `::core`; every name that lives beside the
//! user's types begins with `__ebb`, so that no type, module or constant of the user's is shadowed.
//! Tokens carry the attribute's span except where an error should point into the struct: code with
//! the attribute's span is foreign to the user's lints, `forbid(unsafe_code)` among them.

use proc_macro2::{Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::{Data, DeriveInput, GenericParam, Generics, Type, spanned::Spanned};

use crate::{
    options::{Kind, Options},
    origin::Origin,
};

/// An Ebb with a slot of its own.
pub fn well_known(
    input: &DeriveInput,
    kind: Kind,
    root: Option<&Type>,
    origin: &Origin,
) -> TokenStream {
    let name = &input.ident;
    let symbol = origin.symbol("__ebb_slot", name);
    let (representation, assertions) = match kind {
        Kind::PerCore => (quote!(PerCore), TokenStream::new()),
        Kind::Shared => (quote!(Shared), field_assertions(input, &["Sync"])),
    };
    let (root_type, construct) = construct(&name.to_token_stream(), name.span(), root);
    let definition = definition(name);
    quote! {
        const _: () = {
            #assertions

            // In a module: a block takes no bare `global_asm!`.
            mod __ebb_slot {
                ::__ebb_crate::__slot!(define #symbol);
            }
            static __EBB_DEFINITION: ::__ebb_crate::__private::Definition = #definition;

            #[automatically_derived]
            impl ::__ebb_crate::Ebb for #name {
                #root_type
                const DEFINITION: &'static ::__ebb_crate::__private::Definition = &__EBB_DEFINITION;
                #[inline]
                fn construct(
                    __ebb_root: impl ::core::ops::FnOnce() -> ::__ebb_crate::__private::Arc<Self::Root>,
                    __ebb_this: ::__ebb_crate::EbbRef<Self>,
                ) -> Self {
                    #construct
                }
                #[inline(always)]
                fn with_rep<__EbbR>(
                    _: ::__ebb_crate::EbbId,
                    __ebb_f: impl ::core::ops::FnOnce(&Self) -> __EbbR,
                ) -> __EbbR {
                    __ebb_f(<Self as ::__ebb_crate::Global>::get())
                }
            }

            // SAFETY: the slot is 8 bytes of thread-local storage of this type's own, which only
            // these functions touch; it starts as null. Shared is said of `Sync` types only.
            #[automatically_derived]
            unsafe impl ::__ebb_crate::__private::WellKnown for #name {
                type Representation = ::__ebb_crate::__private::#representation;
                fn default_root() -> ::core::option::Option<::__ebb_crate::__private::Arc<Self::Root>> {
                    #[allow(unused_imports)]
                    use ::__ebb_crate::__private::{NoDefaultRoot as _, ViaDefault as _};
                    (&::__ebb_crate::__private::RootProbe::<<Self as ::__ebb_crate::Ebb>::Root>(
                        ::core::marker::PhantomData,
                    ))
                        .__ebb_default_root()
                }
                #[inline(always)]
                fn slot() -> *const Self {
                    // SAFETY: reads this thread's slot. A stale null only leads to the miss path,
                    // which looks again; anything else stays valid for the life of the machine.
                    unsafe { ::__ebb_crate::__slot!(load #symbol, pure, nomem) }
                }
                #[inline(always)]
                fn slot_again() -> *const Self {
                    // SAFETY: reads this thread's slot.
                    unsafe { ::__ebb_crate::__slot!(load #symbol, readonly) }
                }
                #[inline(always)]
                unsafe fn set_slot(__ebb_rep: *const Self) {
                    // SAFETY: writes this thread's slot; the caller vouches for the value.
                    unsafe { ::__ebb_crate::__slot!(store #symbol, __ebb_rep) }
                }
            }

            #[diagnostic::do_not_recommend]
            #[automatically_derived]
            impl ::__ebb_crate::Global for #name {
                type Target = Self;
                #[inline(always)]
                fn get() -> &'static Self {
                    ::__ebb_crate::__private::dereference::<Self>()
                }
            }
        };
    }
}

/// An Ebb whose instances are made at run time.
pub fn dynamic(input: &DeriveInput, kind: Kind, root: Option<&Type>) -> TokenStream {
    let name = &input.ident;
    let mut generics = input.generics.clone();
    let this = this(name, &generics);
    let generic = !generics.params.is_empty();
    for parameter in generics.type_params_mut() {
        parameter.bounds.push(syn::parse_quote!('static));
    }
    let where_clause = generics.make_where_clause();
    // A generic struct is an Ebb only for those parameters with which it can be built and shared.
    if generic {
        where_clause.predicates.push(match root {
            Some(root) => syn::parse_quote!(#this: ::__ebb_crate::FromRoot<#root>),
            None => syn::parse_quote!(#this: ::core::default::Default),
        });
        if kind == Kind::Shared {
            where_clause
                .predicates
                .push(syn::parse_quote!(#this: ::core::marker::Send + ::core::marker::Sync));
        }
    }
    let (representation, assertions) = match kind {
        Kind::PerCore => (quote!(PerCore), TokenStream::new()),
        Kind::Shared if generic => (quote!(Shared), TokenStream::new()),
        Kind::Shared => (quote!(Shared), field_assertions(input, &["Sync", "Send"])),
    };
    let (root_type, construct) = construct(&this, name.span(), root);
    let definition = definition(name);
    let (impl_generics, _, where_clause) = generics.split_for_impl();
    quote! {
        const _: () = {
            #assertions

            static __EBB_DEFINITION: ::__ebb_crate::__private::Definition = #definition;

            #[automatically_derived]
            impl #impl_generics ::__ebb_crate::Ebb for #this #where_clause {
                #root_type
                const DEFINITION: &'static ::__ebb_crate::__private::Definition = &__EBB_DEFINITION;
                #[inline]
                fn construct(
                    __ebb_root: impl ::core::ops::FnOnce() -> ::__ebb_crate::__private::Arc<Self::Root>,
                    __ebb_this: ::__ebb_crate::EbbRef<Self>,
                ) -> Self {
                    #construct
                }
                #[inline]
                fn with_rep<__EbbR>(
                    __ebb_id: ::__ebb_crate::EbbId,
                    __ebb_f: impl ::core::ops::FnOnce(&Self) -> __EbbR,
                ) -> __EbbR {
                    ::__ebb_crate::__private::with_dynamic::<Self, __EbbR>(__ebb_id, __ebb_f)
                }
            }

            // SAFETY: Shared is said of types only that are `Send` and `Sync`.
            #[automatically_derived]
            unsafe impl #impl_generics ::__ebb_crate::__private::Dynamic for #this #where_clause {
                type Representation = ::__ebb_crate::__private::#representation;
            }
        };
    }
}

/// What makes a distributed Ebb one: it may have methods that other machines call, and has some.
pub fn distributed(input: &DeriveInput) -> TokenStream {
    let name = &input.ident;
    // The compiler points at the name when they are missing.
    let has = quote_spanned!(name.span()=> has_remote_methods::<#name>());
    quote! {
        #[automatically_derived]
        impl ::__ebb_distributed_crate::Distributed for #name {}

        const _: fn() = || {
            fn has_remote_methods<T: ::__ebb_distributed_crate::Remote>() {}
            #has;
        };
    }
}

/// An Ebb in name only, for a struct about which there is an error: so that the uses of the struct
/// cause no errors of their own. It is never run.
pub fn stub(input: &DeriveInput, options: &Options) -> TokenStream {
    let name = &input.ident;
    if input.generics.lifetimes().next().is_some() {
        return TokenStream::new();
    }
    let mut generics = input.generics.clone();
    for parameter in generics.type_params_mut() {
        parameter.bounds.push(syn::parse_quote!('static));
    }
    let this = this(name, &generics);
    let (impl_generics, _, where_clause) = generics.split_for_impl();
    let root = match &options.root {
        Some(root) => quote!(#root),
        None => quote!(()),
    };
    let definition = definition(name);
    quote! {
        const _: () = {
            static __EBB_DEFINITION: ::__ebb_crate::__private::Definition = #definition;
            impl #impl_generics ::__ebb_crate::Ebb for #this #where_clause {
                type Root = #root;
                const DEFINITION: &'static ::__ebb_crate::__private::Definition = &__EBB_DEFINITION;
                fn construct(
                    _: impl ::core::ops::FnOnce() -> ::__ebb_crate::__private::Arc<Self::Root>,
                    _: ::__ebb_crate::EbbRef<Self>,
                ) -> Self {
                    ::core::unreachable!()
                }
                fn with_rep<__EbbR>(
                    _: ::__ebb_crate::EbbId,
                    _: impl ::core::ops::FnOnce(&Self) -> __EbbR,
                ) -> __EbbR {
                    ::core::unreachable!()
                }
            }
            unsafe impl #impl_generics ::__ebb_crate::__private::Dynamic for #this #where_clause {
                type Representation = ::__ebb_crate::__private::PerCore;
            }
            unsafe impl #impl_generics ::__ebb_crate::__private::WellKnown for #this #where_clause {
                type Representation = ::__ebb_crate::__private::PerCore;
                fn default_root() -> ::core::option::Option<::__ebb_crate::__private::Arc<Self::Root>> {
                    ::core::option::Option::None
                }
                fn slot() -> *const Self { ::core::ptr::null() }
                fn slot_again() -> *const Self { ::core::ptr::null() }
                unsafe fn set_slot(_: *const Self) {}
            }
            impl #impl_generics ::__ebb_crate::Global for #this #where_clause {
                type Target = Self;
                fn get() -> &'static Self { ::core::unreachable!() }
            }
        };
    }
}

/// The struct's type, with its parameters as arguments.
fn this(name: &Ident, generics: &Generics) -> TokenStream {
    let arguments: Vec<_> = generics
        .params
        .iter()
        .map(|p| match p {
            GenericParam::Type(t) => t.ident.to_token_stream(),
            GenericParam::Const(c) => c.ident.to_token_stream(),
            GenericParam::Lifetime(l) => l.lifetime.to_token_stream(),
        })
        .collect();
    if arguments.is_empty() {
        quote!(#name)
    } else {
        quote!(#name<#(#arguments),*>)
    }
}

/// The root's type, and how a representative is made: from the root if there is one, else by
/// `Default`. Errors about the root point at it, errors about `Default` at the struct.
fn construct(this: &TokenStream, name: Span, root: Option<&Type>) -> (TokenStream, TokenStream) {
    match root {
        Some(root) => (
            quote!(type Root = #root;),
            quote_spanned! {root.span()=>
                ::__ebb_crate::__private::from_root::<#this, #root>(__ebb_root(), __ebb_this)
            },
        ),
        None => {
            let of = quote_spanned!(name=> ::<#this>);
            (
                quote!(
                    type Root = ();
                ),
                quote! {
                    let _ = (__ebb_root, __ebb_this);
                    ::__ebb_crate::__private::by_default #of ()
                },
            )
        }
    }
}

fn definition(name: &Ident) -> TokenStream {
    let text = name.to_string();
    let text = text.trim_start_matches("r#");
    // The place is that of the struct's name.
    let place = quote_spanned! {name.span()=>
        ::core::file!(), ::core::line!(), ::core::column!(),
    };
    quote! {
        ::__ebb_crate::__private::Definition::new(#text, ::core::module_path!(), #place)
    }
}

/// Points at the fields that keep the struct from being `Sync` (or `Send`). A struct that says
/// itself that it is, by an `unsafe impl`, is taken at its word. One that does not is exactly what
/// its fields are, so a struct that lacks the trait has a field that does not pass.
fn field_assertions(input: &DeriveInput, traits: &[&str]) -> TokenStream {
    let Data::Struct(data) = &input.data else {
        return TokenStream::new();
    };
    let name = &input.ident;
    let mut assertions = TokenStream::new();
    for what in traits {
        let probe = Ident::new(&format!("{what}Probe"), Span::call_site());
        let assert = Ident::new(
            &format!("assert_field_{}", what.to_lowercase()),
            Span::call_site(),
        );
        for field in &data.fields {
            let ty = replace_self(field.ty.to_token_stream(), name);
            assertions.extend(quote! {
                const _: () = ::__ebb_crate::__private::#assert::<
                    #ty,
                    { <::__ebb_crate::__private::#probe::<#name>>::YES },
                >();
            });
        }
    }
    if assertions.is_empty() {
        return assertions;
    }
    quote! {
        #[allow(unused_imports)]
        use ::__ebb_crate::__private::NotKnown as _;
        #assertions
    }
}

/// `Self` means the struct in its fields, and nothing in an assertion about them.
fn replace_self(tokens: TokenStream, name: &Ident) -> TokenStream {
    tokens
        .into_iter()
        .map(|token| match token {
            TokenTree::Ident(ident) if ident == "Self" => {
                TokenTree::Ident(Ident::new(&name.to_string(), ident.span()))
            }
            TokenTree::Group(group) => {
                let mut new = Group::new(group.delimiter(), replace_self(group.stream(), name));
                new.set_span(group.span());
                TokenTree::Group(new)
            }
            other => other,
        })
        .collect()
}
