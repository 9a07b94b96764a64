//! Where a macro was used, and names that no other use has.

use std::sync::atomic::{AtomicUsize, Ordering};

use proc_macro2::Ident;

/// One use of a macro.
pub struct Origin {
    crate_name: String,
    /// Differs between any two uses in the crates of one program.
    key: String,
}

impl Origin {
    /// The use that is being expanded.
    pub fn here() -> Self {
        // A macro that is used in the output of another may share its place with other uses.
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let variable = |name| std::env::var(name).unwrap_or_default();
        let crate_name = variable("CARGO_CRATE_NAME");
        let place = proc_macro::Span::call_site();
        let key = format!(
            "{}|{}|{crate_name}|{}|{}|{}|{}",
            variable("CARGO_PKG_NAME"),
            variable("CARGO_PKG_VERSION"),
            place.file(),
            place.line(),
            place.column(),
            COUNT.fetch_add(1, Ordering::Relaxed),
        );
        Self { crate_name, key }
    }

    /// The same in every run: for tests, whose expansions are compared.
    #[cfg(test)]
    pub fn fixed(name: &str) -> Self {
        Self {
            crate_name: name.to_owned(),
            key: name.to_owned(),
        }
    }

    /// The crate that uses the macro.
    pub fn crate_name(&self) -> &str {
        &self.crate_name
    }

    /// A symbol that no other use has: `prefix_name_hash`. Two that do clash by accident are a
    /// build error, as all symbols are defined strongly.
    pub fn symbol(&self, prefix: &str, name: &Ident) -> String {
        let name = name.to_string();
        let name = name.trim_start_matches("r#");
        // FNV-1a.
        let hash = format!("{}|{name}", self.key)
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325u64, |h, b| {
                (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
            });
        // Assembly names are ASCII, Rust's are not.
        let plain: String = name.chars().filter(char::is_ascii).collect();
        format!("{prefix}_{plain}_{hash:016x}")
    }
}
