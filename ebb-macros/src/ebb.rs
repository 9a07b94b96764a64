//! `#[ebb(per_core)]`, `#[ebb(shared)]`.

use std::sync::atomic::{AtomicUsize, Ordering};

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::{
    Data, DeriveInput, GenericParam, Token, Type,
    parse::{ParseStream, Parser},
    spanned::Spanned,
};

use crate::report::Report;

/// How representatives relate to cores.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    PerCore,
    Shared,
}

#[derive(Default)]
struct Options {
    kind: Option<Kind>,
    root: Option<Type>,
    dynamic: bool,
}

pub fn expand(options: TokenStream, item: TokenStream) -> TokenStream {
    let mut report = Report::default();
    let options = parse_options(options, &mut report);
    let Ok(input) = syn::parse2::<DeriveInput>(item.clone()) else {
        report.error(
            first_tokens(&item),
            "`#[ebb]` is for structs: an Ebb's representative is a struct of your own",
        );
        let errors = report.into_tokens();
        return quote!(#item #errors);
    };
    check_item(&input, &options, &mut report);
    if !report.is_empty() {
        let errors = report.into_tokens();
        return quote!(#item #errors);
    }
    let kind = options.kind.expect("checked by check_item");
    let implementation = if options.dynamic {
        expand_dynamic(&input, kind, options.root.as_ref())
    } else {
        expand_well_known(&input, kind, options.root.as_ref())
    };
    quote!(#item #implementation)
}

/// Enough of an item to point an error at: its header, not its body.
fn first_tokens(item: &TokenStream) -> TokenStream {
    item.clone()
        .into_iter()
        .take_while(|t| !matches!(t, proc_macro2::TokenTree::Group(g) if g.delimiter() == proc_macro2::Delimiter::Brace))
        .collect()
}

fn parse_options(tokens: TokenStream, report: &mut Report) -> Options {
    let mut options = Options::default();
    let mut seen: Vec<String> = Vec::new();
    let parser = |input: ParseStream| -> syn::Result<()> {
        while !input.is_empty() {
            let name: Ident = input.call(syn::ext::IdentExt::parse_any)?;
            let text = name.to_string();
            if seen.contains(&text) {
                report.error(&name, format!("the option `{text}` is given twice"));
            }
            match text.as_str() {
                "per_core" | "shared" => {
                    let kind = if text == "shared" {
                        Kind::Shared
                    } else {
                        Kind::PerCore
                    };
                    if options.kind.is_some_and(|k| k != kind) {
                        report.error(
                            &name,
                            "an Ebb is either `per_core` (one representative for every core) or \
                             `shared` (one for all), not both",
                        );
                    }
                    options.kind = Some(kind);
                }
                "dynamic" => options.dynamic = true,
                "root" => {
                    if input.parse::<Option<Token![=]>>()?.is_none() {
                        report.error(&name, "`root` names a type: `root = Type`");
                    } else {
                        match input.parse::<Type>() {
                            Ok(root) => options.root = Some(root),
                            Err(e) => {
                                report.add(syn::Error::new(
                                    e.span(),
                                    "`root` names a type: `root = Type`",
                                ));
                                // What follows cannot be told apart from the broken type.
                                input.step(|c| {
                                    let mut rest = *c;
                                    while let Some((_, next)) = rest.token_tree() {
                                        rest = next;
                                    }
                                    Ok(((), rest))
                                })?;
                            }
                        }
                    }
                }
                _ => {
                    let hint = nearest(&text)
                        .map(|n| format!("; did you mean `{n}`?"))
                        .unwrap_or_default();
                    report.error(
                        &name,
                        format!(
                            "unknown option `{text}`; the options are `per_core`, `shared`, \
                             `dynamic` and `root = Type`{hint}"
                        ),
                    );
                    if input.parse::<Option<Token![=]>>()?.is_some() {
                        let _ = input.parse::<syn::Expr>();
                    }
                }
            }
            seen.push(text);
            if input.is_empty() {
                break;
            }
            input.parse::<Token![,]>().map_err(|e| {
                syn::Error::new(
                    e.span(),
                    "options are separated by commas: `#[ebb(per_core, root = Type)]`",
                )
            })?;
        }
        Ok(())
    };
    if let Err(e) = Parser::parse2(parser, tokens) {
        report.add(e);
    }
    options
}

/// The option that a misspelt one was probably meant to be.
fn nearest(text: &str) -> Option<&'static str> {
    let plain: String = text
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect::<String>()
        .to_ascii_lowercase();
    match plain.as_str() {
        "percore" | "core" | "percpu" | "local" => Some("per_core"),
        "share" | "global" | "singleton" => Some("shared"),
        "dyn" | "generic" => Some("dynamic"),
        "roots" | "from" => Some("root"),
        _ => None,
    }
}

fn check_item(input: &DeriveInput, options: &Options, report: &mut Report) {
    let name = &input.ident;
    match &input.data {
        Data::Struct(_) => {}
        Data::Enum(e) => report.error(
            e.enum_token,
            "`#[ebb]` is for structs; put the enum into a field of one",
        ),
        Data::Union(u) => report.error(
            u.union_token,
            "`#[ebb]` is for structs; put the union into a field of one",
        ),
    }
    if options.kind.is_none() && report.is_empty() {
        report.error(
            name,
            "say which kind of Ebb this is: `#[ebb(per_core)]` (one representative for every core) \
             or `#[ebb(shared)]` (one for all)",
        );
    }
    for parameter in &input.generics.params {
        match parameter {
            GenericParam::Lifetime(l) => report.error(
                l,
                "an Ebb lives as long as the machine, so it cannot borrow: own the data, or use `&'static`",
            ),
            GenericParam::Type(_) | GenericParam::Const(_) if !options.dynamic => report.error(
                parameter,
                format!(
                    "a well-known Ebb has one slot, so `{name}` cannot be generic; make its Ebbs at \
                     run time: `#[ebb({}, dynamic)]` and `EbbRef::create`",
                    match options.kind {
                        Some(Kind::Shared) => "shared",
                        _ => "per_core",
                    }
                ),
            ),
            _ => {}
        }
    }
}

/// A name that no other slot in the program has. A literal, because the symbol is named in
/// assembly text on both sides.
fn slot_symbol(name: &Ident) -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let span = name.span().unwrap();
    let key = format!(
        "{}|{}|{}|{}|{}|{}|{}|{}",
        std::env::var("CARGO_PKG_NAME").unwrap_or_default(),
        std::env::var("CARGO_PKG_VERSION").unwrap_or_default(),
        std::env::var("CARGO_CRATE_NAME").unwrap_or_default(),
        span.file(),
        span.line(),
        span.column(),
        name,
        COUNT.fetch_add(1, Ordering::Relaxed),
    );
    // FNV-1a; 64 bits are plenty for the Ebbs of one program, and a clash is a build error.
    let hash = key.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("__ebb_slot_{name}_{hash:016x}")
}

/// How a representative is made: from the root if there is one, else by `Default`.
fn construct(name: &TokenStream, root: Option<&Type>) -> (TokenStream, TokenStream) {
    match root {
        Some(root) => (
            quote!(#root),
            quote_spanned! {root.span()=> ::ebb::__private::from_root::<#name, #root>(root, this) },
        ),
        None => (
            quote!(()),
            quote! { { let _ = (root, this); ::ebb::__private::by_default::<#name>() } },
        ),
    }
}

fn definition(name: &Ident) -> TokenStream {
    let text = name.to_string();
    quote_spanned! {name.span()=>
        ::ebb::__private::Definition::new(
            #text, ::core::module_path!(), ::core::file!(), ::core::line!(), ::core::column!(),
        )
    }
}

/// Points at the field that keeps a shared Ebb from being `Sync`.
fn sync_assertions(input: &DeriveInput) -> TokenStream {
    let Data::Struct(data) = &input.data else {
        return TokenStream::new();
    };
    data.fields
        .iter()
        .map(|field| {
            let ty = &field.ty;
            quote_spanned! {ty.span()=> const _: () = ::ebb::__private::assert_shareable::<#ty>(); }
        })
        .collect()
}

fn expand_well_known(input: &DeriveInput, kind: Kind, root: Option<&Type>) -> TokenStream {
    let name = &input.ident;
    let name_tokens = quote_spanned!(name.span()=> #name);
    let symbol = slot_symbol(name);
    let (root_type, construct) = construct(&name_tokens, root);
    let definition = definition(name);
    let define_slot = [
        format!(".pushsection .tbss.{symbol},\"awT\",@nobits"),
        ".balign 8".to_owned(),
        format!(".globl {symbol}"),
        format!(".hidden {symbol}"),
        format!(".type {symbol}, @object"),
        format!(".size {symbol}, 8"),
        format!("{symbol}:"),
        ".zero 8".to_owned(),
        ".popsection".to_owned(),
    ];
    let load = format!("mov {{slot}}, qword ptr fs:[{symbol}@tpoff]");
    let store = format!("mov qword ptr fs:[{symbol}@tpoff], {{rep}}");
    let (representation, assertions) = match kind {
        Kind::PerCore => (quote!(PerCore), TokenStream::new()),
        Kind::Shared => (quote!(Shared), sync_assertions(input)),
    };
    quote! {
        #assertions
        const _: () = {
            // In a module: a block takes no bare `global_asm!`.
            mod slot {
                ::core::arch::global_asm!(#(#define_slot),*);
            }
            static DEFINITION: ::ebb::__private::Definition = #definition;

            #[automatically_derived]
            impl ::ebb::Ebb for #name {
                type Root = #root_type;
                const DEFINITION: &'static ::ebb::__private::Definition = &DEFINITION;
                #[inline]
                fn construct(
                    root: ::ebb::__private::Arc<Self::Root>,
                    this: ::ebb::EbbRef<Self>,
                ) -> Self {
                    #construct
                }
                #[inline(always)]
                fn with_rep<__R>(
                    _: ::ebb::EbbId,
                    f: impl ::core::ops::FnOnce(&Self) -> __R,
                ) -> __R {
                    f(<Self as ::ebb::Global>::get())
                }
            }

            // SAFETY: the slot is 8 bytes of thread-local storage of this type's own, which only
            // these two functions touch; it starts as null.
            #[automatically_derived]
            unsafe impl ::ebb::__private::WellKnown for #name {
                type Representation = ::ebb::__private::#representation;
                fn default_root() -> ::core::option::Option<::ebb::__private::Arc<Self::Root>> {
                    #[allow(unused_imports)]
                    use ::ebb::__private::{NoDefaultRoot as _, ViaDefault as _};
                    (&::ebb::__private::RootProbe::<#root_type>(::core::marker::PhantomData)).root()
                }
                #[inline(always)]
                fn slot() -> *const Self {
                    let slot: *const Self;
                    // SAFETY: reads this thread's slot. A stale null only leads to the miss path,
                    // which looks again; anything else stays valid for the life of the machine.
                    unsafe {
                        ::core::arch::asm!(
                            #load,
                            slot = out(reg) slot,
                            options(pure, nomem, nostack, preserves_flags),
                        );
                    }
                    slot
                }
                #[inline(always)]
                fn slot_again() -> *const Self {
                    let slot: *const Self;
                    // SAFETY: reads this thread's slot.
                    unsafe {
                        ::core::arch::asm!(
                            #load,
                            slot = out(reg) slot,
                            options(readonly, nostack, preserves_flags),
                        );
                    }
                    slot
                }
                #[inline(always)]
                unsafe fn set_slot(rep: *const Self) {
                    // SAFETY: writes this thread's slot; the caller vouches for the value.
                    unsafe {
                        ::core::arch::asm!(
                            #store,
                            rep = in(reg) rep,
                            options(nostack, preserves_flags),
                        );
                    }
                }
            }

            #[automatically_derived]
            impl ::ebb::Global for #name {
                type Target = Self;
                #[inline(always)]
                fn get() -> &'static Self {
                    ::ebb::__private::dereference::<Self>()
                }
            }
        };
    }
}

fn expand_dynamic(input: &DeriveInput, kind: Kind, root: Option<&Type>) -> TokenStream {
    let name = &input.ident;
    let mut generics = input.generics.clone();
    for parameter in generics.type_params_mut() {
        parameter.bounds.push(syn::parse_quote!('static));
    }
    let parameters: Vec<_> = generics
        .params
        .iter()
        .map(|p| match p {
            GenericParam::Type(t) => {
                let i = &t.ident;
                quote!(#i)
            }
            GenericParam::Const(c) => {
                let i = &c.ident;
                quote!(#i)
            }
            GenericParam::Lifetime(l) => quote!(#l),
        })
        .collect();
    let this = if parameters.is_empty() {
        quote_spanned!(name.span()=> #name)
    } else {
        quote_spanned!(name.span()=> #name<#(#parameters),*>)
    };
    // A generic struct has its construction's requirement as a condition of being an Ebb.
    let where_clause = generics.make_where_clause();
    if !parameters.is_empty() {
        where_clause.predicates.push(match root {
            Some(root) => syn::parse_quote!(#this: ::ebb::FromRoot<#root>),
            None => syn::parse_quote!(#this: ::core::default::Default),
        });
    }
    let (representation, assertions) = match kind {
        Kind::PerCore => (quote!(PerCore), TokenStream::new()),
        Kind::Shared if parameters.is_empty() => (quote!(Shared), sync_assertions(input)),
        Kind::Shared => {
            where_clause
                .predicates
                .push(syn::parse_quote!(#this: ::core::marker::Send + ::core::marker::Sync));
            (quote!(Shared), TokenStream::new())
        }
    };
    let (root_type, construct) = construct(&this, root);
    let definition = definition(name);
    let (impl_generics, _, where_clause) = generics.split_for_impl();
    let definition_name = format_ident!("DEFINITION", span = Span::mixed_site());
    quote! {
        #assertions
        const _: () = {
            static #definition_name: ::ebb::__private::Definition = #definition;

            #[automatically_derived]
            impl #impl_generics ::ebb::Ebb for #this #where_clause {
                type Root = #root_type;
                const DEFINITION: &'static ::ebb::__private::Definition = &#definition_name;
                #[inline]
                fn construct(
                    root: ::ebb::__private::Arc<Self::Root>,
                    this: ::ebb::EbbRef<Self>,
                ) -> Self {
                    #construct
                }
                #[inline]
                fn with_rep<__R>(
                    id: ::ebb::EbbId,
                    f: impl ::core::ops::FnOnce(&Self) -> __R,
                ) -> __R {
                    ::ebb::__private::with_dynamic::<Self, __R>(id, f)
                }
            }

            #[automatically_derived]
            impl #impl_generics ::ebb::__private::Dynamic for #this #where_clause {
                type Representation = ::ebb::__private::#representation;
            }
        };
    }
}
