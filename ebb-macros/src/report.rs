//! Collects the errors of one macro use.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::ToTokens;

/// Every error found so far, in the order of discovery.
#[derive(Default)]
pub struct Report {
    errors: Vec<syn::Error>,
}

impl Report {
    /// Adds an error that points at `at`. The message states the rule, not only the offence.
    pub fn error(&mut self, at: impl ToTokens, message: impl std::fmt::Display) {
        self.errors.push(syn::Error::new_spanned(at, message));
    }

    /// Adds an error that `syn` found.
    pub fn add(&mut self, error: syn::Error) {
        self.errors.push(error);
    }

    /// True when nothing was found.
    pub fn is_empty(&self) -> bool {
        self.errors.is_empty()
    }

    /// How many were found.
    pub fn count(&self) -> usize {
        self.errors.len()
    }

    /// The `compile_error!` calls that show every error.
    pub fn into_tokens(self) -> TokenStream {
        self.errors
            .iter()
            .map(syn::Error::to_compile_error)
            .collect()
    }
}

/// The part of an item to point an error at: from its keyword to its name or type, without
/// attributes and body.
pub fn header(item: &TokenStream) -> TokenStream {
    let mut header = TokenStream::new();
    let mut tokens = item.clone().into_iter().peekable();
    while let Some(token) = tokens.next() {
        match &token {
            TokenTree::Punct(p) if p.as_char() == '#' => {
                tokens.next_if(|t| matches!(t, TokenTree::Group(_)));
                continue;
            }
            TokenTree::Group(g) if g.delimiter() == Delimiter::Brace => break,
            TokenTree::Punct(p) if p.as_char() == ';' => break,
            _ => header.extend([token]),
        }
    }
    header
}

/// The item after the errors about it, without further expansion.
pub fn failed(item: TokenStream, report: Report) -> TokenStream {
    let errors = report.into_tokens();
    quote::quote!(#item #errors)
}
