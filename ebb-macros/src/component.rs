//! `#[component]` and `#[provides]`: traits whose one provider the linker binds.
//!
//! The component side declares one `extern "Rust"` symbol per method and a macro of the trait's
//! name; the provider side calls that macro, which alone knows the symbols. So the two sides agree
//! on a name that nobody can spell by accident, and a missing or doubled provider is the linker's
//! error. The seam follows embassy's time driver; the symbol text is the error message.

use proc_macro2::{Ident, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{
    Expr, FnArg, ItemImpl, ItemTrait, Pat, Path, Token, TraitItem, Type,
    parse::{Parse, ParseStream},
    spanned::Spanned,
};

use crate::report::Report;

pub fn expand_component(options: TokenStream, item: TokenStream) -> TokenStream {
    let mut report = Report::default();
    if !options.is_empty() {
        report.error(&options, "`#[component]` has no options");
    }
    let input = match syn::parse2::<ItemTrait>(item.clone()) {
        Ok(input) => input,
        Err(_) => {
            report.error(
                item.clone().into_iter().take(3).collect::<TokenStream>(),
                "`#[component]` is for traits: the provider is another type's `impl`",
            );
            let errors = report.into_tokens();
            return quote!(#item #errors);
        }
    };
    let name = &input.ident;
    if !input.generics.params.is_empty() {
        report.error(
            &input.generics,
            "a component has one provider, so its trait cannot be generic",
        );
    }
    let methods = methods(&input, &mut report);
    if !report.is_empty() {
        let errors = report.into_tokens();
        return quote!(#item #errors);
    }

    let vis = &input.vis;
    let linked = format_ident!("{name}Linked");
    let provide = format_ident!("__ebb_provide_{name}");
    let origin = format!(
        "{}::{}",
        std::env::var("CARGO_CRATE_NAME").unwrap_or_default(),
        name
    );
    let mut forwards = TokenStream::new();
    let mut definitions = TokenStream::new();
    for method in &methods {
        let symbol = format!(
            "ebb component {origin}: method {} (link exactly one crate that provides {name}; see #[ebb::provides])",
            method.name
        );
        let Method {
            name: method_name,
            signature,
            arguments,
            types,
            output,
            attributes,
        } = method;
        forwards.extend(quote! {
            #(#attributes)*
            #[inline(always)]
            #signature {
                unsafe extern "Rust" {
                    #[link_name = #symbol]
                    safe fn linked(#(#arguments: #types),*) #output;
                }
                linked(#(#arguments),*)
            }
        });
        definitions.extend(quote! {
            const _: () = {
                #[unsafe(export_name = #symbol)]
                fn linked(#(#arguments: #types),*) #output {
                    let provider: &'static $provider = $instance;
                    <$provider as $component>::#method_name(provider, #(#arguments),*)
                }
            };
        });
    }
    let linked_doc =
        format!("The linked provider of [`{name}`]; see [`component`](::ebb::component).");
    let macro_doc = format!("Used by `#[provides({name})]`.");
    quote! {
        #input

        #[doc = #linked_doc]
        #[derive(Clone, Copy, Debug)]
        #vis struct #linked;

        #[automatically_derived]
        impl #name for #linked {
            #forwards
        }

        #[automatically_derived]
        impl ::ebb::Global for dyn #name {
            type Target = #linked;
            #[inline(always)]
            fn get() -> &'static #linked {
                &#linked
            }
        }

        #[doc(hidden)]
        #[doc = #macro_doc]
        #[macro_export]
        macro_rules! #provide {
            ($component:path, $provider:ty, $instance:expr) => { #definitions };
        }
        #[doc(hidden)]
        #[allow(unused_imports)]
        #vis use #provide as #name;
    }
}

struct Method<'a> {
    name: &'a Ident,
    signature: TokenStream,
    arguments: Vec<Ident>,
    types: Vec<&'a Type>,
    output: TokenStream,
    attributes: Vec<&'a syn::Attribute>,
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
        let sig = &function.sig;
        if let Some(a) = &sig.asyncness {
            report.error(
                a,
                "a component's methods are not `async`; return a future type instead",
            );
        }
        if !sig.generics.params.is_empty() {
            report.error(
                &sig.generics,
                "a component's methods are not generic: each is one symbol",
            );
        }
        let by_reference = matches!(
            sig.inputs.first(),
            Some(FnArg::Receiver(r)) if matches!(r.kind, syn::ReceiverKind::Reference(_, _, None))
        );
        if !by_reference {
            report.error(sig, "a component's methods take `&self`");
            continue;
        }
        let mut arguments = Vec::new();
        let mut types = Vec::new();
        for (i, argument) in sig.inputs.iter().skip(1).enumerate() {
            let FnArg::Typed(argument) = argument else {
                continue;
            };
            arguments.push(match &*argument.pat {
                Pat::Ident(p) => p.ident.clone(),
                _ => format_ident!("argument_{i}"),
            });
            types.push(&*argument.ty);
        }
        let name = &sig.ident;
        let output = sig.output.to_token_stream();
        methods.push(Method {
            name,
            signature: quote!(fn #name(&self, #(#arguments: #types),*) #output),
            arguments,
            types,
            output,
            attributes: function
                .attrs
                .iter()
                .filter(|a| a.path().is_ident("cfg"))
                .collect(),
        });
    }
    methods
}

struct Provides {
    component: Path,
    instance: Option<Expr>,
}

impl Parse for Provides {
    fn parse(input: ParseStream) -> syn::Result<Self> {
        let component = input.parse().map_err(|e| {
            syn::Error::new(
                e.span(),
                "say which component this provides: `#[provides(Trait)]`",
            )
        })?;
        let mut instance = None;
        while input.parse::<Option<Token![,]>>()?.is_some() && !input.is_empty() {
            let option: Ident = input.parse()?;
            if option != "instance" {
                return Err(syn::Error::new_spanned(
                    option,
                    "the only option is `instance = EXPR`, a `&'static` to the provider",
                ));
            }
            input.parse::<Token![=]>()?;
            instance = Some(input.parse()?);
        }
        if !input.is_empty() {
            return Err(input.error("expected `, instance = EXPR` or the end"));
        }
        Ok(Self {
            component,
            instance,
        })
    }
}

pub fn expand_provides(options: TokenStream, item: TokenStream) -> TokenStream {
    let mut report = Report::default();
    let options = syn::parse2::<Provides>(options).map_err(|e| report.add(e));
    let input = syn::parse2::<ItemImpl>(item.clone()).map_err(|_| {
        report.error(
            item.clone().into_iter().take(3).collect::<TokenStream>(),
            "`#[provides(Trait)]` stands on an `impl Trait for Type`",
        );
    });
    let (Ok(options), Ok(input)) = (options, input) else {
        let errors = report.into_tokens();
        return quote!(#item #errors);
    };
    let component = &options.component;
    if !matches!(&input.trait_, Some((path, _)) if path.segments.last().map(|s| &s.ident) == component.segments.last().map(|s| &s.ident))
    {
        report.error(
            &input.self_ty,
            format!(
                "`#[provides({0})]` stands on an `impl {0} for Type`",
                component.to_token_stream()
            ),
        );
    }
    if !input.generics.params.is_empty() {
        report.error(
            &input.generics,
            "a component has one provider, so it cannot be generic",
        );
    }
    if !report.is_empty() {
        let errors = report.into_tokens();
        return quote!(#item #errors);
    }
    let provider = &input.self_ty;
    let instance = match &options.instance {
        Some(expr) => quote!(#expr),
        None => quote_spanned!(provider.span()=> ::ebb::EbbRef::<#provider>::get()),
    };
    quote! {
        #item
        #component! { #component, #provider, #instance }
    }
}
