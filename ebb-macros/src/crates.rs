//! What the crates that an expansion names are called where the macro is used.
//!
//! A package may rename what it depends on (`elastic = { package = "ebb-os" }`), or reach ebb through another crate that
//! re-exports it. So expansions name the crates by markers, and [`Crates::resolve`] puts the names in their place: what
//! `crate = PATH` among the attribute's options says, else what the compiler was told (`--extern NAME=../libebb-HASH.rlib`),
//! which holds however the manifest is written. An editor does not run the compiler; there it is `::ebb`.
//!
//! | marker | crate |
//! |---|---|
//! | `::__ebb_crate` | the facade `ebb`, or `ebb_runtime` under that name |
//! | `::__ebb_distributed_crate` | `ebb_distributed` |
//! | `__ebb_hosted_crate`, `__ebb_native_crate` | the platforms, as names for `extern crate` |

use proc_macro2::{Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::{Path, parse::Parser};

use crate::{
    origin::compiler_arguments,
    report::{Report, failed},
};

/// Names of the crates, for one use of a macro.
pub struct Crates {
    ebb: TokenStream,
    distributed: TokenStream,
    hosted: String,
    native: String,
}

/// The crates that a compilation was given: the name here, and the name that the crate has itself.
pub struct Externs(Vec<(String, String)>);

impl Externs {
    /// Of this compilation; `None` where it is no compiler's.
    pub fn here() -> Option<Self> {
        let externs = Self::of(&compiler_arguments());
        (!externs.0.is_empty()).then_some(externs)
    }

    fn of(arguments: &[String]) -> Self {
        let mut found = Vec::new();
        let mut follows = false;
        for argument in arguments {
            let value = match argument.strip_prefix("--extern") {
                Some("") => {
                    follows = true;
                    continue;
                }
                Some(rest) => rest.strip_prefix('='),
                None => follows.then_some(argument.as_str()),
            };
            follows = false;
            // `[OPTIONS:]NAME=PATH`
            let Some((name, path)) = value.and_then(|v| v.split_once('=')) else {
                continue;
            };
            let name = name.rsplit(':').next().unwrap_or(name);
            let file = path.rsplit('/').next().unwrap_or(path);
            let stem = file.split('.').next().unwrap_or(file);
            let own = stem.strip_prefix("lib").unwrap_or(stem);
            let own = own.split('-').next().unwrap_or(own);
            found.push((name.to_owned(), own.to_owned()));
        }
        Self(found)
    }

    /// What a crate is called here.
    pub fn name_of(&self, own: &str) -> Option<&str> {
        let mut all = self.0.iter();
        all.find(|(_, o)| o == own).map(|(name, _)| name.as_str())
    }
}

impl Crates {
    /// Takes `crate = PATH` out of the options; the rest is looked up. Says what is wrong instead, where nothing can be found.
    pub fn of(
        options: TokenStream,
        item: &TokenStream,
    ) -> Result<(Self, TokenStream), TokenStream> {
        let mut report = Report::default();
        let (path, options) = take_path(options, &mut report);
        let externs = Externs::here();
        let name_of = |own: &str| Some(externs.as_ref()?.name_of(own)?.to_owned());
        let own = std::env::var("CARGO_CRATE_NAME").unwrap_or_default();
        if path.is_none() && externs.as_ref().is_some_and(|e| !e.reach_ebb(&own)) {
            report.error(
                TokenStream::new(),
                format!(
                    "this package does not depend on `ebb` itself: write `ebb-os = \"{}\"` under [dependencies] in its \
                     Cargo.toml, or say where the crate that it reaches ebb through has it: `crate = that_crate::ebb` among \
                     this attribute's options",
                    env!("CARGO_PKG_VERSION")
                ),
            );
        }
        if !report.is_empty() {
            return Err(failed(item.clone(), report));
        }
        let rooted = |name: &str| {
            let name = Ident::new(name, Span::call_site());
            quote!(::#name)
        };
        let ebb = match path {
            Some(path) => path.to_token_stream(),
            // What stands on `ebb_runtime` alone says `extern crate ebb_runtime as ebb;`.
            None => rooted(&name_of("ebb").unwrap_or_else(|| "ebb".to_owned())),
        };
        let or_own = |own: &str| name_of(own).unwrap_or_else(|| own.to_owned());
        let crates = Self {
            ebb,
            distributed: rooted(&or_own("ebb_distributed")),
            hosted: or_own("ebb_hosted"),
            native: or_own("native_target"),
        };
        Ok((crates, options))
    }

    /// The crates under their own names.
    #[cfg(test)]
    pub fn fixed() -> Self {
        Self {
            ebb: quote!(::ebb),
            distributed: quote!(::ebb_distributed),
            hosted: "ebb_hosted".to_owned(),
            native: "native_target".to_owned(),
        }
    }

    /// Puts the names in the markers' place.
    pub fn resolve(&self, tokens: TokenStream) -> TokenStream {
        let mut resolved: Vec<TokenTree> = Vec::new();
        for token in tokens {
            match token {
                TokenTree::Group(group) => {
                    let mut inner = Group::new(group.delimiter(), self.resolve(group.stream()));
                    inner.set_span(group.span());
                    resolved.push(inner.into());
                }
                TokenTree::Ident(name) => self.resolve_name(name, &mut resolved),
                token => resolved.push(token),
            }
        }
        resolved.into_iter().collect()
    }

    fn resolve_name(&self, name: Ident, resolved: &mut Vec<TokenTree>) {
        let span = name.span();
        let path = if name == "__ebb_crate" {
            &self.ebb
        } else if name == "__ebb_distributed_crate" {
            &self.distributed
        } else {
            let name = if name == "__ebb_hosted_crate" {
                Ident::new(&self.hosted, span)
            } else if name == "__ebb_native_crate" {
                Ident::new(&self.native, span)
            } else {
                name
            };
            return resolved.push(name.into());
        };
        // The `::` before the marker; the path has its own.
        resolved.truncate(resolved.len().saturating_sub(2));
        resolved.extend(path.clone().into_iter().map(|mut token| {
            token.set_span(span);
            token
        }));
    }
}

impl Externs {
    /// Whether a crate, of this name, has ebb or what the facade is made of.
    fn reach_ebb(&self, own: &str) -> bool {
        let mut crates = ["ebb", "ebb_runtime"].into_iter();
        crates.any(|ebb| ebb == own || self.name_of(ebb).is_some())
    }
}

/// Takes the option `crate = PATH` out of an attribute's options.
fn take_path(options: TokenStream, report: &mut Report) -> (Option<Path>, TokenStream) {
    let is = |token: &TokenTree, c: char| matches!(token, TokenTree::Punct(p) if p.as_char() == c);
    let tokens: Vec<TokenTree> = options.into_iter().collect();
    let mut path = None;
    let mut rest: Vec<TokenTree> = Vec::new();
    for option in tokens.split_inclusive(|token| is(token, ',')) {
        let [TokenTree::Ident(word), sign, value @ ..] = option else {
            rest.extend_from_slice(option);
            continue;
        };
        if word != "crate" || !is(sign, '=') {
            rest.extend_from_slice(option);
            continue;
        }
        if path.is_some() {
            report.error(word, "the option `crate` is given twice");
        }
        let value = value.iter().filter(|t| !is(t, ',')).cloned();
        match Parser::parse2(Path::parse_mod_style, value.collect()) {
            Ok(found) => path = Some(found),
            Err(_) => report.error(
                word,
                "`crate` is the path by which this file reaches ebb: `crate = my_library::ebb`",
            ),
        }
    }
    if rest.last().is_some_and(|token| is(token, ',')) {
        rest.pop();
    }
    (path, rest.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use quote::quote;

    use super::{Crates, Externs, take_path};
    use crate::report::Report;

    #[test]
    fn a_crate_is_found_under_the_name_that_the_package_gave_it() {
        let line = "rustc --extern elastic=/t/deps/libebb-0f.rmeta --extern=noprelude:h=/t/libebb_hosted-1e.rlib --extern std";
        let externs = Externs::of(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(externs.name_of("ebb"), Some("elastic"));
        assert_eq!(externs.name_of("ebb_hosted"), Some("h"));
        assert_eq!(externs.name_of("native_target"), None);
        assert!(externs.reach_ebb("mine"));
        assert!(!Externs::of(&[]).reach_ebb("mine"));
        assert!(Externs::of(&[]).reach_ebb("ebb_runtime"));
    }

    #[test]
    fn a_path_among_the_options_is_taken_out_wherever_it_stands() {
        for (options, rest) in [
            (quote!(crate = a::ebb), quote!()),
            (quote!(per_core, crate = a::ebb), quote!(per_core)),
            (quote!(crate = a::ebb, per_core), quote!(per_core)),
            (
                quote!(per_core, crate = a::ebb, root = Map<A, B>),
                quote!(per_core, root = Map<A, B>),
            ),
        ] {
            let mut report = Report::default();
            let (path, left) = take_path(options, &mut report);
            assert!(report.is_empty());
            assert_eq!(quote!(#path).to_string(), quote!(a::ebb).to_string());
            assert_eq!(left.to_string(), rest.to_string());
        }
        let mut report = Report::default();
        // A component in this crate is no such option.
        let (path, left) = take_path(quote!(crate::Horn, default), &mut report);
        assert!(path.is_none() && report.is_empty());
        assert_eq!(left.to_string(), quote!(crate::Horn, default).to_string());
        take_path(quote!(crate = 5, crate = a, crate = b), &mut report);
        assert_eq!(report.count(), 2);
    }

    #[test]
    fn markers_become_paths_and_nothing_else_changes() {
        let crates = Crates {
            ebb: quote!(a::b),
            ..Crates::fixed()
        };
        let resolved = crates
            .resolve(quote!(f(::__ebb_crate::X, ::ebb::Y); extern crate __ebb_hosted_crate as _;));
        let meant = quote!(f(a::b::X, ::ebb::Y); extern crate ebb_hosted as _;);
        assert_eq!(resolved.to_string(), meant.to_string());
    }
}
