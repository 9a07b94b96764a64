//! Collects the errors of one macro use.

use proc_macro2::TokenStream;
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

    /// The `compile_error!` calls that show every error.
    pub fn into_tokens(self) -> TokenStream {
        self.errors
            .iter()
            .map(syn::Error::to_compile_error)
            .collect()
    }
}
