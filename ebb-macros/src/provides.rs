//! `#[provides]`: the provider's side of a component; see `component.rs`.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{
    Expr, ItemImpl, Path, Token, Type,
    parse::{ParseStream, Parser},
    spanned::Spanned,
};

use crate::{
    options::option_name,
    origin::Origin,
    report::{Report, failed, header},
};

#[derive(Default)]
struct Options {
    component: Option<Path>,
    default: bool,
    instance: Option<Expr>,
}

fn parse_options(tokens: TokenStream, report: &mut Report) -> Options {
    let mut options = Options::default();
    let parser = |input: ParseStream| -> syn::Result<()> {
        match input.parse::<Path>() {
            Ok(path) => options.component = Some(path),
            Err(e) => {
                return Err(syn::Error::new(
                    e.span(),
                    "say which component this provides: `#[provides(Trait)]`",
                ));
            }
        }
        while !input.is_empty() {
            input.parse::<Token![,]>().map_err(|e| {
                syn::Error::new(
                    e.span(),
                    "options are separated by commas: `#[provides(Trait, instance = EXPR)]`",
                )
            })?;
            if input.is_empty() {
                break;
            }
            let option = option_name(input, "`instance = EXPR` or `default`")?;
            if option == "default" {
                if options.default {
                    report.error(&option, "the option `default` is given twice");
                }
                options.default = true;
            } else if option == "instance" {
                if options.instance.is_some() {
                    report.error(&option, "the option `instance` is given twice");
                }
                const RULE: &str = "`instance` is a `&'static` to the provider: `instance = EXPR`";
                input
                    .parse::<Token![=]>()
                    .map_err(|e| syn::Error::new(e.span(), RULE))?;
                let value = input.parse().map_err(|e| syn::Error::new(e.span(), RULE))?;
                options.instance = Some(value);
            } else {
                report.error(
                    &option,
                    format!(
                        "unknown option `{option}`; the options are `instance = EXPR`, a `&'static` \
                         to the provider, and `default`, for a provider that another may replace"
                    ),
                );
                while !input.is_empty() && !input.peek(Token![,]) {
                    input.parse::<proc_macro2::TokenTree>()?;
                }
            }
        }
        Ok(())
    };
    if let Err(e) = Parser::parse2(parser, tokens) {
        report.add(e);
    }
    options
}

pub fn expand(options: TokenStream, item: TokenStream, origin: &Origin) -> TokenStream {
    let mut report = Report::default();
    let options = parse_options(options, &mut report);
    let Ok(input) = syn::parse2::<ItemImpl>(item.clone()) else {
        report.error(
            header(&item),
            "`#[provides(Trait)]` stands on an `impl Trait for Type`",
        );
        return failed(item, report);
    };
    check(&input, &options, &mut report);
    let (Some(component), true) = (&options.component, report.is_empty()) else {
        return failed(item, report);
    };
    let provider = &input.self_ty;
    let instance = match &options.instance {
        Some(expr) => quote!(#expr),
        None => {
            let of = quote_spanned!(provider.span()=> <#provider>);
            quote!(::__ebb_crate::EbbRef::#of::get())
        }
    };
    let role = if options.default {
        quote!(default)
    } else {
        quote!(one)
    };
    let name = component
        .segments
        .last()
        .map_or_else(|| format_ident!("component"), |s| s.ident.clone());
    let unique = origin.symbol("", &name);
    let unique = unique.trim_start_matches('_');
    let described = format!(
        "provider {} of {}, {}",
        provider.to_token_stream().to_string().replace(' ', ""),
        origin.described(),
        origin.hash(&name),
    );
    quote! {
        #item
        #component! { #role, [::__ebb_crate], #component, #provider, #instance, #unique, #described }
    }
}

fn check(input: &ItemImpl, options: &Options, report: &mut Report) {
    let last = |path: &Path| path.segments.last().map(|s| s.ident.clone());
    match (&input.trait_, &options.component) {
        (None, component) => {
            let component = component
                .as_ref()
                .map_or_else(|| "Trait".to_owned(), |c| c.to_token_stream().to_string());
            report.error(
                &input.self_ty,
                format!(
                    "`#[provides({component})]` stands on an `impl {component} for Type`, not on a \
                     type's own methods"
                ),
            );
        }
        (Some((path, _)), Some(component)) if last(path) != last(component) => {
            let component = component.to_token_stream();
            report.error(
                path,
                format!("`#[provides({component})]` stands on an `impl {component} for Type`"),
            );
        }
        _ => {}
    }
    if !input.generics.params.is_empty() {
        report.error(
            &input.generics,
            "a component has one provider, so it cannot be generic",
        );
    }
    if options.instance.is_none() && !matches!(*input.self_ty, Type::Path(_)) {
        report.error(
            &input.self_ty,
            "the provider is an Ebb, or something else of which there is one: \
             `#[provides(Trait, instance = EXPR)]`",
        );
    }
}
