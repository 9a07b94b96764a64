//! Where a macro was used, and names that no other use in a program has.
//!
//! Names of crates, versions and places are not enough to tell two uses apart: a program may contain two crates of one name
//! and version from different sources, and a macro may put two uses at one place. What no two crates of a program share is
//! what rustc tells them apart by: the crate's name and `-C metadata`, which Cargo makes of the package's identity. rustc
//! refuses a program in which they collide.

use std::{
    env, fs,
    sync::atomic::{AtomicUsize, Ordering},
};

use proc_macro2::Ident;

/// One use of a macro.
pub struct Origin {
    crate_name: String,
    /// Name and version of the package.
    package: String,
    /// File and line, for messages.
    place: String,
    /// Differs between any two uses in the crates of one program.
    key: String,
}

impl Origin {
    /// The use that is being expanded.
    pub fn here() -> Self {
        // A macro that is used in the output of another may share its place with other uses.
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let variable = |name| env::var(name).unwrap_or_default();
        let crate_name = variable("CARGO_CRATE_NAME");
        let package = format!(
            "{} {}",
            variable("CARGO_PKG_NAME"),
            variable("CARGO_PKG_VERSION")
        );
        let span = proc_macro::Span::call_site();
        let place = format!("{}:{}", span.file(), span.line());
        let key = format!(
            "{crate_name}|{}|{package}|{place}|{}|{}",
            metadata(compiler_arguments()),
            span.column(),
            COUNT.fetch_add(1, Ordering::Relaxed),
        );
        Self {
            crate_name,
            package,
            place,
            key,
        }
    }

    /// The same in every run: for tests, whose expansions are compared.
    #[cfg(test)]
    pub fn fixed(name: &str) -> Self {
        Self {
            crate_name: name.to_owned(),
            package: format!("{name} 1.2.3"),
            place: "src/lib.rs:1".to_owned(),
            key: name.to_owned(),
        }
    }

    /// The crate that uses the macro.
    pub fn crate_name(&self) -> &str {
        &self.crate_name
    }

    /// The package and the place, for messages: `horn 0.1.0, src/lib.rs:3`.
    pub fn described(&self) -> String {
        // It becomes part of symbols.
        format!("{}, {}", self.package, self.place).replace(['"', '\\', '{', '}'], "_")
    }

    /// A number that no other use has.
    pub fn hash(&self, name: &Ident) -> String {
        // FNV-1a.
        let hash = format!("{}|{}", self.key, plain(name))
            .bytes()
            .fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128, |h, b| {
                (h ^ u128::from(b)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
            });
        format!("{hash:032x}")
    }

    /// A symbol that no other use has: `prefix_name_hash`.
    pub fn symbol(&self, prefix: &str, name: &Ident) -> String {
        // Assembly names are ASCII, Rust's are not.
        let ascii: String = plain(name).chars().filter(char::is_ascii).collect();
        format!("{prefix}_{ascii}_{}", self.hash(name))
    }
}

fn plain(name: &Ident) -> String {
    name.to_string().trim_start_matches("r#").to_owned()
}

/// What the compiler was called with; the arguments of an `@file` in its place.
pub fn compiler_arguments() -> Vec<String> {
    env::args_os()
        .flat_map(|argument| {
            let argument = argument.to_string_lossy().into_owned();
            match argument.strip_prefix('@').map(fs::read_to_string) {
                Some(Ok(text)) => text.lines().map(str::to_owned).collect(),
                _ => vec![argument],
            }
        })
        .collect()
}

/// Every `-C metadata` of these arguments.
fn metadata(arguments: Vec<String>) -> String {
    let mut found = Vec::new();
    let mut codegen = false;
    for argument in &arguments {
        let option = match argument.as_str() {
            "-C" | "--codegen" => {
                codegen = true;
                continue;
            }
            option if codegen => option,
            option => option
                .strip_prefix("-C")
                .or_else(|| option.strip_prefix("--codegen="))
                .unwrap_or_default(),
        };
        codegen = false;
        found.extend(option.strip_prefix("metadata="));
    }
    found.join(" ")
}

#[cfg(test)]
mod tests {
    use super::metadata;

    #[test]
    fn the_metadata_of_a_compilation_is_found_however_it_is_written() {
        let of = |line: &str| metadata(line.split(' ').map(str::to_owned).collect());
        assert_eq!(of("rustc -C metadata=1f -C extra-filename=-1f"), "1f");
        assert_eq!(of("rustc --codegen metadata=1f src/lib.rs"), "1f");
        assert_eq!(of("rustc -Cmetadata=1f --codegen=metadata=2e"), "1f 2e");
        assert_eq!(of("rustc --crate-name metadata=0 -C opt-level=3"), "");
    }
}
