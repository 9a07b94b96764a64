//! `#[component]`: traits whose one provider the linker binds.
//!
//! The component side declares one `extern "Rust"` symbol per method, and a macro of the trait's
//! name that defines them; the provider side (`provides.rs`) calls that macro. So the two sides
//! agree on a name that nobody can spell by accident, and a missing or doubled provider is the
//! linker's error, whose text is the symbol. The seam follows embassy's time driver.
//!
//! A symbol holds, beside what its message says, a number that no other component of any program has (`origin.rs`): two
//! components of one name, in modules of a crate or in two versions of it, are two components. The provider's side names the
//! types of the signatures again, in a scope of its own, in which they might mean something else; so it has the compiler
//! check the function behind each symbol against the type that the component's side gives it.
//!
//! The macro also defines a presence symbol, the same for all providers of a component, beside a
//! mark of each provider's own which an exported static refers to. rustc makes the linker look for
//! exported symbols in every linked crate, so that each provider's object is pulled from its
//! archive, and two of them clash, even where one would have been enough. A provider that nothing
//! calls is then dropped again, as all sections are that nothing refers to.
//!
//! What that macro makes names ebb as the provider's crate does, which hands its name over: it need not be that of the trait's.
//!
//! A replaceable component's symbols are defined in assembly: weak ones by a default provider,
//! strong ones by the provider that replaces it, both as a jump to the method. In an object of their
//! own the linker prefers the strong ones; where link-time optimisation put both into one assembly,
//! the conditions in it do. (`#[linkage = "weak"]` would do all that, and is unstable.)

use proc_macro2::{Ident, TokenStream};
use quote::{ToTokens, format_ident, quote};
use syn::{
    FnArg, GenericParam, ItemTrait, Lifetime, Pat, TraitItem, TraitItemFn, Type, TypeParamBound,
    TypeReference,
    parse::Parser,
    punctuated::Punctuated,
    visit_mut::{self, VisitMut},
};

use crate::{
    origin::Origin,
    report::{Report, failed, header},
};

pub fn expand(options: TokenStream, item: TokenStream, origin: &Origin) -> TokenStream {
    let mut report = Report::default();
    let replaceable = parse_options(options, &mut report);
    let Ok(input) = syn::parse2::<ItemTrait>(item.clone()) else {
        report.error(
            header(&item),
            "`#[component]` is for traits: the provider is another type's `impl`",
        );
        return failed(item, report);
    };
    check_trait(&input, &mut report);
    let methods = methods(&input, &mut report);
    if !report.is_empty() {
        return failed(item, report);
    }
    let names = Names::new(&input.ident, origin);
    let linked = linked(&input, &methods, &names);
    let default = replaceable.then(|| by_default(&input, &methods, &names));
    let provide = provide_macro(&input.ident, &methods, &names, replaceable);
    let vis = &input.vis;
    let name = &input.ident;
    let provide_name = &names.provide;
    quote! {
        #input
        #linked
        #default
        #provide
        #[doc(hidden)]
        #[allow(unused_imports)]
        #vis use #provide_name as #name;
    }
}

fn parse_options(options: TokenStream, report: &mut Report) -> bool {
    let parser = Punctuated::<Ident, syn::Token![,]>::parse_terminated;
    let options = match parser.parse2(options.clone()) {
        Ok(options) => options,
        Err(_) => {
            report.error(
                options,
                "`#[component]` has one option: `replaceable`, for components that may have a default \
                 provider",
            );
            return false;
        }
    };
    for option in &options {
        if option != "replaceable" {
            report.error(
                option,
                format!(
                    "unknown option `{option}`; the only option is `replaceable`, for components that \
                     may have a default provider"
                ),
            );
        }
    }
    if let Some(second) = options.iter().nth(1).filter(|o| *o == "replaceable") {
        report.error(second, "the option `replaceable` is given twice");
    }
    !options.is_empty()
}

fn check_trait(input: &ItemTrait, report: &mut Report) {
    if !input.generics.params.is_empty() {
        report.error(
            &input.generics,
            "a component has one provider, so its trait cannot be generic",
        );
    }
    if let Some(clause) = &input.generics.where_clause {
        report.error(clause, "a component's trait has no `where` clause");
    }
    if let Some(token) = &input.unsafety {
        report.error(
            token,
            "a component's trait is safe: whoever links a provider cannot promise anything about it",
        );
    }
    for bound in &input.supertraits {
        let harmless = match bound {
            TypeParamBound::Lifetime(_) => true,
            TypeParamBound::Trait(t) => t
                .path
                .segments
                .last()
                .is_some_and(|s| s.ident == "Send" || s.ident == "Sync" || s.ident == "Debug"),
            _ => false,
        };
        if !harmless {
            report.error(
                bound,
                "a component's trait has no supertraits, as the linker binds its own methods only; \
                 write what is needed into the trait",
            );
        }
    }
}

/// The symbols and identifiers of one component.
struct Names {
    component: String,
    /// Package, place and number of the component, at the end of its symbols.
    identity: String,
    hash: String,
    symbol: String,
    linked: Ident,
    provide: Ident,
}

impl Names {
    fn new(name: &Ident, origin: &Origin) -> Self {
        let symbol = origin.symbol("__ebb_provide", name);
        let hash = origin.hash(name);
        Self {
            component: format!("{}::{name}", origin.crate_name()),
            identity: format!("[{}, {hash}]", origin.described()),
            hash,
            linked: format_ident!("{name}Linked"),
            provide: format_ident!("{symbol}", span = name.span()),
            symbol,
        }
    }

    fn method(&self, method: &Ident) -> String {
        let Self {
            component,
            identity,
            ..
        } = self;
        format!(
            "ebb component {component}: method {} (link exactly one crate that provides \
             {component}; see #[ebb::provides]) {identity}",
            plain(method)
        )
    }

    fn default_method(&self, method: &Ident) -> String {
        let Self {
            component,
            identity,
            ..
        } = self;
        format!(
            "ebb component {component}: default method {} (link a platform, or whatever else provides \
             {component} by default; see #[ebb::provides]) {identity}",
            plain(method)
        )
    }

    fn presence(&self) -> String {
        let Self {
            component,
            identity,
            ..
        } = self;
        format!(
            "ebb component {component}: provided twice (link exactly one crate that provides \
             {component}; see #[ebb::provides]) {identity}"
        )
    }

    fn default_presence(&self) -> String {
        let Self {
            component,
            identity,
            ..
        } = self;
        format!(
            "ebb component {component}: two defaults (link one platform; see #[ebb::provides]) {identity}"
        )
    }

    /// The function that takes what a provider has for a method, by its exact type.
    fn check(&self, method: &Ident) -> Ident {
        format_ident!("__ebb_signature_{}_{}", self.hash, plain(method))
    }
}

/// The type that stands for whatever provider is linked.
fn linked(input: &ItemTrait, methods: &[Method], names: &Names) -> TokenStream {
    let Names { linked, .. } = names;
    let (name, vis) = (&input.ident, &input.vis);
    let forwards = forwards(methods, |method| names.method(method));
    let checks = methods.iter().map(|method| {
        let check = names.check(method.name);
        let Method {
            lifetimes,
            types,
            linked_output,
            ..
        } = method;
        let binder = if lifetimes.is_empty() {
            TokenStream::new()
        } else {
            quote!(for #lifetimes)
        };
        quote! {
            #[doc(hidden)]
            #[allow(unreachable_pub)]
            #vis const fn #check(_: #binder fn(#(#types),*) #linked_output) {}
        }
    });
    let doc = format!(
        "The provider of [`{name}`] that is linked into the program: what \
         `EbbRef::<dyn {name}>::get()` gives."
    );
    quote! {
        #[doc = #doc]
        #[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
        #vis struct #linked;

        #[automatically_derived]
        impl #name for #linked {
            #forwards
        }

        // What a provider has must be of exactly these types, as they are known here.
        #[allow(non_snake_case)]
        impl #linked {
            #(#checks)*
        }

        // Not in a list of what else might have been meant.
        #[diagnostic::do_not_recommend]
        #[automatically_derived]
        impl ::__ebb_crate::Global for dyn #name {
            type Target = #linked;
            #[inline(always)]
            fn get() -> &'static #linked {
                &#linked
            }
        }
    }
}

/// The methods of a type that stands for a provider: each calls a symbol.
fn forwards(methods: &[Method], symbol: impl Fn(&Ident) -> String) -> TokenStream {
    methods
        .iter()
        .map(|method| {
            let symbol = symbol(method.name);
            let Method {
                name,
                lifetimes,
                arguments,
                types,
                output,
                linked_output,
            } = method;
            quote! {
                #[inline(always)]
                fn #name #lifetimes (&self, #(#arguments: #types),*) #output {
                    unsafe extern "Rust" {
                        #[link_name = #symbol]
                        safe fn __ebb_linked #lifetimes (#(#arguments: #types),*) #linked_output;
                    }
                    __ebb_linked(#(#arguments),*)
                }
            }
        })
        .collect()
}

/// The type that stands for the default provider, also where another has replaced it.
fn by_default(input: &ItemTrait, methods: &[Method], names: &Names) -> TokenStream {
    let (name, vis) = (&input.ident, &input.vis);
    let default = format_ident!("{name}ByDefault");
    let forwards = forwards(methods, |method| names.default_method(method));
    let doc = format!(
        "The default provider of [`{name}`], replaced or not: what \
         `EbbRef::<dyn {name}>::default_provider()` gives."
    );
    quote! {
        #[doc = #doc]
        #[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
        #vis struct #default;

        #[automatically_derived]
        impl #name for #default {
            #forwards
        }

        #[diagnostic::do_not_recommend]
        #[automatically_derived]
        impl ::__ebb_crate::Replaceable for dyn #name {
            type Default = #default;
            #[inline(always)]
            fn default_provider() -> &'static #default {
                &#default
            }
        }
    }
}

/// The macro that `#[provides]` calls:
/// `(ROLE, COMPONENT, PROVIDER, INSTANCE, "unique name", "what it is called in messages")`, where the role is `one` or
/// `default`.
fn provide_macro(
    name: &Ident,
    methods: &[Method],
    names: &Names,
    replaceable: bool,
) -> TokenStream {
    let provide = &names.provide;
    let macro_doc = format!("Used by `#[provides({name})]`.");
    let presence = Presence {
        symbol: names.presence(),
        mark: format!("{}_provided", names.symbol),
    };
    let arms = if replaceable {
        replaceable_arms(methods, names, &presence)
    } else {
        single_arms(name, methods, names, &presence)
    };
    quote! {
        #[doc(hidden)]
        #[doc = #macro_doc]
        #[macro_export]
        macro_rules! #provide { #arms }
    }
}

/// Where there is a default provider: the component's methods are bound to jumps, by weak symbols to those of the default.
fn replaceable_arms(methods: &[Method], names: &Names, presence: &Presence) -> TokenStream {
    let functions = definitions(methods, names, |method| {
        let suffix = format!("_{}", plain(method));
        quote!(::core::concat!("__ebb_provider_", $unique, #suffix))
    });
    let jumps = jumps(methods);
    let bind = |binding| bind(methods, names, binding);
    let (weak, strong, again) = (bind(".weak "), bind(".globl "), bind(""));
    let always = bind_default(methods, names);
    let replaced = format!("{}_replaced", names.symbol);
    let defaulted = format!("{}_defaulted", names.symbol);
    let unless_replaced = format!(".ifndef {replaced}");
    let unless_defaulted = format!(".ifndef {defaulted}");
    let set_replaced = format!(".set {replaced}, 1");
    let set_defaulted = format!(".set {defaulted}, 1");
    let default_presence = Presence {
        symbol: names.default_presence(),
        mark: format!("{}_has_default", names.symbol),
    };
    let one = object(
        presence,
        quote! {
            #jumps
            // Where the default came before, in this assembly, its symbols are weak already.
            #unless_defaulted,
            #strong
            ".else",
            #again
            ".endif",
            #set_replaced,
        },
    );
    let default = object(
        &default_presence,
        quote! {
            #jumps
            #always
            #unless_replaced,
            #weak
            #set_defaulted,
            ".endif",
        },
    );
    quote! {
        (one, [$($ebb:tt)*], $component:path, $provider:ty, $instance:expr, $unique:literal, $described:literal) => {
            const _: () = { #functions #one };
        };
        (default, [$($ebb:tt)*], $component:path, $provider:ty, $instance:expr, $unique:literal, $described:literal) => {
            const _: () = { #functions #default };
        };
    }
}

/// A jump to each method of a provider, which another object can bind to.
fn jumps(methods: &[Method]) -> TokenStream {
    methods
        .iter()
        .map(|method| {
            let suffix = format!("_{}", plain(method.name));
            let typed = format!("_{}, @function", plain(method.name));
            let jump = format!("_{}: jmp __ebb_provider_", plain(method.name));
            quote! {
                ::core::concat!(".type __ebb_jump_", $unique, #typed),
                ::core::concat!("__ebb_jump_", $unique, #jump, $unique, #suffix),
            }
        })
        .collect()
}

/// The component's methods bound to the provider's jumps; `binding` is the directive that comes before a symbol, if any.
fn bind(methods: &[Method], names: &Names, binding: &str) -> TokenStream {
    methods
        .iter()
        .map(|method| {
            let symbol = assembly_name(&names.method(method.name));
            let binding = format!("{binding}{symbol}");
            let set = format!(".set {symbol}, __ebb_jump_");
            let suffix = format!("_{}", plain(method.name));
            let bind = if binding.starts_with('.') {
                quote!(#binding,)
            } else {
                TokenStream::new()
            };
            quote!(#bind ::core::concat!(#set, $unique, #suffix),)
        })
        .collect()
}

/// The default provider's methods, which stay callable when it is replaced.
fn bind_default(methods: &[Method], names: &Names) -> TokenStream {
    methods
        .iter()
        .map(|method| {
            let symbol = assembly_name(&names.default_method(method.name));
            let global = format!(".globl {symbol}");
            let set = format!(".set {symbol}, __ebb_jump_");
            let suffix = format!("_{}", plain(method.name));
            quote!(#global, ::core::concat!(#set, $unique, #suffix),)
        })
        .collect()
}

/// Where there is none: the one provider has the component's methods themselves.
fn single_arms(
    name: &Ident,
    methods: &[Method],
    names: &Names,
    presence: &Presence,
) -> TokenStream {
    let functions = definitions(methods, names, |method| {
        names.method(method).to_token_stream()
    });
    let one = object(presence, TokenStream::new());
    let refusal = format!(
        "the component `{name}` has no default provider: its trait says `#[component]`, not \
         `#[component(replaceable)]`"
    );
    quote! {
        (one, [$($ebb:tt)*], $component:path, $provider:ty, $instance:expr, $unique:literal, $described:literal) => {
            const _: () = { #functions #one };
        };
        (default, $($rest:tt)*) => {
            ::core::compile_error!(#refusal);
        };
    }
}

/// The provider's methods as functions with symbols. What is unsafe in it is written in macros of
/// ebb's, hence foreign to the user's lints also where component and provider are in one crate.
fn definitions(
    methods: &[Method],
    names: &Names,
    symbol: impl Fn(&Ident) -> TokenStream,
) -> TokenStream {
    methods
        .iter()
        .map(|method| {
            let Method {
                name,
                lifetimes,
                arguments,
                types,
                linked_output,
                ..
            } = method;
            let symbol = symbol(name);
            let check = names.check(name);
            quote! {
                $($ebb)*::__provide_method! {
                    (#symbol) (<<dyn $component as $($ebb)*::Global>::Target>::#check) (#lifetimes) (#(#arguments: #types),*) (#linked_output)
                    {
                        let __ebb_provider: &'static $provider = $instance;
                        <$provider as $component>::#name(__ebb_provider, #(#arguments),*)
                    }
                }
            }
        })
        .collect()
}

/// What two providers of a component clash by.
struct Presence {
    /// Where they are in objects of their own: the linker names both, by what encloses the symbol in each.
    symbol: String,
    /// Where link-time optimisation put both into one assembly: defined by the first, which leaves a macro of a message.
    mark: String,
}

/// An object that every program pulls from the provider's archive, with the presence symbol and
/// `body`.
fn object(presence: &Presence, body: TokenStream) -> TokenStream {
    let Presence { symbol, mark } = presence;
    let (what, rest) = symbol.split_once(" (").unwrap_or((symbol, ""));
    let symbol = assembly_name(symbol);
    let global = format!(".globl {symbol}");
    let label = format!("{symbol}:");
    let if_first = format!(".ifndef {mark}");
    let set_mark = format!(".set {mark}, 1");
    let begin_message = format!(".macro {mark}_clash second");
    let message = format!(".error \"{what}, ");
    let rest = format!(" and \\second ({rest}\"");
    let clash = format!("{mark}_clash \"");
    quote! {
        $($ebb)*::__provide_object! {
            $unique,
            $described,
            #if_first,
            #set_mark,
            #begin_message,
            ::core::concat!(#message, $described, #rest),
            ".endm",
            #global,
            #label,
            "ud2",
            #body
            ".else",
            ::core::concat!(#clash, $described, "\""),
            ".endif",
        }
    }
}

/// A method's name as a part of a symbol.
fn plain(method: &Ident) -> String {
    method.to_string().trim_start_matches("r#").to_owned()
}

/// A symbol as assembly spells it.
fn assembly_name(symbol: &str) -> String {
    format!("\"{symbol}\"")
}

struct Method<'a> {
    name: &'a Ident,
    lifetimes: TokenStream,
    arguments: Vec<Ident>,
    types: Vec<&'a Type>,
    output: TokenStream,
    /// The result of the function behind the symbol, which has no `self` to borrow from: the
    /// provider lives as long as the program.
    linked_output: TokenStream,
}

fn methods<'a>(input: &'a ItemTrait, report: &mut Report) -> Vec<Method<'a>> {
    let mut methods = Vec::new();
    for item in &input.items {
        let TraitItem::Fn(function) = item else {
            report.error(
                item,
                "a component consists of methods: the linker can bind nothing else",
            );
            continue;
        };
        if !check_method(function, report) {
            continue;
        }
        let sig = &function.sig;
        let (arguments, types) = sig
            .inputs
            .iter()
            .skip(1)
            .enumerate()
            .filter_map(|(i, argument)| match argument {
                FnArg::Typed(argument) => {
                    let name = match &*argument.pat {
                        Pat::Ident(p) => p.ident.clone(),
                        _ => format_ident!("__ebb_argument_{i}"),
                    };
                    Some((name, &*argument.ty))
                }
                FnArg::Receiver(_) => None,
            })
            .unzip();
        let mut linked_output = sig.output.clone();
        ElidedToStatic.visit_return_type_mut(&mut linked_output);
        methods.push(Method {
            name: &sig.ident,
            lifetimes: sig.generics.to_token_stream(),
            arguments,
            types,
            output: sig.output.to_token_stream(),
            linked_output: linked_output.to_token_stream(),
        });
    }
    methods
}

/// Reports what keeps a method from being one symbol.
fn check_method(function: &TraitItemFn, report: &mut Report) -> bool {
    let sig = &function.sig;
    let mut good = true;
    let mut error = |at: &dyn ToTokens, message: &str| {
        report.error(at, message);
        good = false;
    };
    if let Some(token) = &sig.asyncness {
        error(
            token,
            "a component's methods are not `async`; return a future type instead",
        );
    }
    if let Some(token) = &sig.constness {
        error(token, "a component's methods are not `const`");
    }
    if let Some(abi) = &sig.abi {
        error(abi, "a component's methods are plain Rust functions");
    }
    if sig.safety.to_token_stream().to_string() == "unsafe" {
        error(
            &sig.safety,
            "a component's methods are safe: whoever links a provider cannot promise anything about it",
        );
    }
    for parameter in &sig.generics.params {
        if !matches!(parameter, GenericParam::Lifetime(_)) {
            error(
                parameter,
                "a component's methods are not generic: each is one symbol",
            );
        }
    }
    if let Some(clause) = &sig.generics.where_clause {
        error(clause, "a component's methods have no `where` clause");
    }
    for attribute in &function.attrs {
        if attribute.path().is_ident("cfg") || attribute.path().is_ident("cfg_attr") {
            error(
                attribute,
                "a component's methods are the same in every build: its provider may be compiled with \
                 other features",
            );
        }
    }
    match sig.inputs.first() {
        Some(FnArg::Receiver(r))
            if matches!(r.kind, syn::ReceiverKind::Reference(_, None, None)) => {}
        Some(FnArg::Receiver(r)) => error(
            r,
            "a component's methods take `&self`: the provider is shared by the whole program",
        ),
        _ => error(
            &sig.ident,
            "a component's methods take `&self`: the provider is an object",
        ),
    }
    let mut traits = ImplTraits(Vec::new());
    let mut copy = sig.clone();
    traits.visit_signature_mut(&mut copy);
    for found in traits.0 {
        error(
            &found,
            "a component's methods name their types: `impl Trait` has no fixed size for the linker",
        );
    }
    good
}

/// Finds `impl Trait`.
struct ImplTraits(Vec<TokenStream>);

impl VisitMut for ImplTraits {
    fn visit_type_impl_trait_mut(&mut self, node: &mut syn::TypeImplTrait) {
        self.0.push(node.to_token_stream());
    }
}

/// What is elided in the result of a `&self` method borrows from `self`.
struct ElidedToStatic;

impl VisitMut for ElidedToStatic {
    fn visit_type_reference_mut(&mut self, node: &mut TypeReference) {
        node.lifetime
            .get_or_insert_with(|| Lifetime::new("'static", node.and_token.span));
        visit_mut::visit_type_reference_mut(self, node);
    }

    fn visit_lifetime_mut(&mut self, node: &mut Lifetime) {
        if node.ident == "_" {
            *node = Lifetime::new("'static", node.span());
        }
    }

    // These have elision rules of their own.
    fn visit_type_fn_ptr_mut(&mut self, _: &mut syn::TypeFnPtr) {}
    fn visit_parenthesized_generic_arguments_mut(
        &mut self,
        _: &mut syn::ParenthesizedGenericArguments,
    ) {
    }
}
