//! The options of `#[ebb(..)]`.

use proc_macro2::{Ident, TokenStream};
use syn::{
    Token, Type,
    parse::{ParseStream, Parser},
};

use crate::report::Report;

/// The name that an option of an attribute begins with.
pub fn option_name(input: ParseStream, there_are: &str) -> syn::Result<Ident> {
    let name = input.call(syn::ext::IdentExt::parse_any);
    name.map_err(|e| syn::Error::new(e.span(), format!("expected an option: {there_are}")))
}

/// How representatives relate to cores.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    PerCore,
    Shared,
}

/// What an `#[ebb(..)]` says.
#[derive(Default)]
pub struct Options {
    pub kind: Option<Kind>,
    pub root: Option<Type>,
    pub dynamic: bool,
    pub distributed: bool,
}

impl Options {
    /// Reads the attribute's tokens; what is wrong goes into the report.
    pub fn parse(tokens: TokenStream, report: &mut Report) -> Self {
        let mut options = Self::default();
        let mut seen: Vec<String> = Vec::new();
        let parser = |input: ParseStream| -> syn::Result<()> {
            while !input.is_empty() {
                let name = option_name(
                    input,
                    "`per_core`, `shared`, `distributed`, `dynamic` or `root = Type`",
                )?;
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
                    "distributed" => {
                        options.distributed = true;
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
                             `distributed`, `dynamic` and `root = Type`{hint}"
                            ),
                        );
                        // A misspelt kind is not a missing one too.
                        match nearest(&text) {
                            Some("per_core") => options.kind = options.kind.or(Some(Kind::PerCore)),
                            Some("shared") => options.kind = options.kind.or(Some(Kind::Shared)),
                            Some("dynamic") => options.dynamic = true,
                            Some("distributed") => options.distributed = true,
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
        // One for each machine, unless it says otherwise.
        if options.distributed {
            options.kind = options.kind.or(Some(Kind::Shared));
        }
        options
    }
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
    // What else stands there is another option, and a comma is missing.
    if input.peek(Token![=]) || input.peek(syn::token::Paren) {
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
        "distribute" | "remote" | "cluster" | "everywhere" => Some("distributed"),
        "roots" | "from" => Some("root"),
        _ => None,
    }
}
