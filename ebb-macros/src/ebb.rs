//! `#[ebb(per_core)]`, `#[ebb(shared)]`: options, checks, and the order of the parts of the
//! expansion. What the parts say is in `expand.rs`.

use proc_macro2::{Ident, TokenStream};
use quote::quote;
use syn::{
    Data, DeriveInput, GenericParam, Token, Type,
    parse::{ParseStream, Parser},
};

use crate::{
    expand,
    origin::Origin,
    report::{Report, failed, header},
};

/// How representatives relate to cores.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    PerCore,
    Shared,
}

#[derive(Default)]
pub struct Options {
    pub kind: Option<Kind>,
    pub root: Option<Type>,
    pub dynamic: bool,
}

pub fn expand(options: TokenStream, item: TokenStream, origin: &Origin) -> TokenStream {
    let mut report = Report::default();
    let options = parse_options(options, &mut report);
    let Ok(mut input) = syn::parse2::<DeriveInput>(item.clone()) else {
        report.error(
            header(&item),
            "`#[ebb]` is for structs: an Ebb's representative is a struct of your own",
        );
        return failed(item, report);
    };
    take_second_attribute(&mut input, &mut report);
    check_item(&input, &options, &mut report);
    let (Some(kind), true) = (options.kind, report.is_empty()) else {
        // The struct counts as an Ebb all the same: its uses have done nothing wrong.
        let stub = expand::stub(&input, &options);
        return failed(quote!(#input #stub), report);
    };
    let implementation = if options.dynamic {
        expand::dynamic(&input, kind, options.root.as_ref())
    } else {
        expand::well_known(&input, kind, options.root.as_ref(), origin)
    };
    quote!(#input #implementation)
}

fn parse_options(tokens: TokenStream, report: &mut Report) -> Options {
    let mut options = Options::default();
    let mut seen: Vec<String> = Vec::new();
    let parser = |input: ParseStream| -> syn::Result<()> {
        while !input.is_empty() {
            let name: Ident = input.call(syn::ext::IdentExt::parse_any).map_err(|e| {
                syn::Error::new(
                    e.span(),
                    "expected an option: `per_core`, `shared`, `dynamic` or `root = Type`",
                )
            })?;
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
                    refuse_value(input, &name, report)?;
                }
                "dynamic" => {
                    options.dynamic = true;
                    refuse_value(input, &name, report)?;
                }
                "root" => parse_root(input, &name, &mut options, report)?,
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
                    // A misspelt kind is not a missing one too.
                    match nearest(&text) {
                        Some("per_core") => options.kind = options.kind.or(Some(Kind::PerCore)),
                        Some("shared") => options.kind = options.kind.or(Some(Kind::Shared)),
                        Some("dynamic") => options.dynamic = true,
                        _ => {}
                    }
                    skip_option(input)?;
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

fn parse_root(
    input: ParseStream,
    name: &Ident,
    options: &mut Options,
    report: &mut Report,
) -> syn::Result<()> {
    const RULE: &str = "`root` names a type: `root = Type`";
    if input.parse::<Option<Token![=]>>()?.is_none() {
        report.error(name, RULE);
        return skip_option(input);
    }
    match input.parse::<Type>() {
        Ok(root) => options.root = Some(root),
        Err(e) => {
            report.add(syn::Error::new(e.span(), RULE));
            skip_option(input)?;
        }
    }
    Ok(())
}

fn refuse_value(input: ParseStream, name: &Ident, report: &mut Report) -> syn::Result<()> {
    if !input.is_empty() && !input.peek(Token![,]) {
        report.error(name, format!("the option `{name}` has no value"));
        skip_option(input)?;
    }
    Ok(())
}

/// Goes on at the next comma.
fn skip_option(input: ParseStream) -> syn::Result<()> {
    while !input.is_empty() && !input.peek(Token![,]) {
        input.parse::<proc_macro2::TokenTree>()?;
    }
    Ok(())
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

/// A second `#[ebb]` on the same struct would implement everything twice.
fn take_second_attribute(input: &mut DeriveInput, report: &mut Report) {
    input.attrs.retain(|attribute| {
        let second = attribute
            .path()
            .segments
            .last()
            .is_some_and(|s| s.ident == "ebb");
        if second {
            report.error(
                attribute,
                "one `#[ebb]` says everything: write all options into one attribute",
            );
        }
        !second
    });
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
    if options.kind.is_none() {
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
