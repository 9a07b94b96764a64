//! What the macros expand to, compared with the files in `tests/macros/golden` of the workspace, which
//! `tests/macros/golden.rs` compiles. `EBB_BLESS=1 cargo test -p ebb-macros` writes the files anew.

use std::{fs, path::Path};

use proc_macro2::TokenStream;
use quote::quote;

use crate::{component, crates::Crates, ebb, entry, origin::Origin, provides, remote};

fn check(name: &str, expansion: TokenStream) {
    let expansion = Crates::fixed().resolve(expansion);
    let file = syn::parse2::<syn::File>(expansion.clone())
        .unwrap_or_else(|e| panic!("{name} does not parse: {e}\n{expansion}"));
    let text = format!(
        "// What the macro makes of `{name}` in src/golden.rs. Formatted by prettyplease.\n{}",
        prettyplease::unparse(&file)
    );
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/macros/golden")
        .join(format!("{name}.rs"));
    if std::env::var_os("EBB_BLESS").is_some() {
        fs::write(&path, text).expect("writing the golden file");
        return;
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    if golden == text {
        return;
    }
    let line = golden
        .lines()
        .zip(text.lines())
        .take_while(|(a, b)| a == b)
        .count();
    panic!(
        "{} differs from the expansion at line {}:\n  file:      {}\n  expansion: {}\n\
         If that is meant, run `EBB_BLESS=1 cargo test -p ebb-macros` and look at the difference.",
        path.display(),
        line + 1,
        golden.lines().nth(line).unwrap_or("(end)"),
        text.lines().nth(line).unwrap_or("(end)"),
    );
}

fn expand(options: TokenStream, item: TokenStream) -> TokenStream {
    ebb::expand(options, item, &Origin::fixed("golden"))
}

#[test]
fn a_per_core_ebb() {
    let item = quote! {
        /// Counts.
        #[derive(Default)]
        pub struct Hits {
            n: Cell<u64>,
        }
    };
    check("per_core", expand(quote!(per_core), item));
}

#[test]
fn a_shared_ebb_with_a_root() {
    let item = quote! {
        pub struct Registry {
            limits: Arc<Limits>,
            next: Option<Box<Self>>,
        }
    };
    check("shared_root", expand(quote!(shared, root = Limits), item));
}

#[test]
fn a_distributed_ebb_is_a_shared_one_whose_local_use_is_what_it_was() {
    let item = quote! {
        #[derive(Default)]
        pub struct Table(AtomicU64);
    };
    let alone = expand(quote!(distributed), item.clone());
    assert_eq!(
        alone.to_string(),
        expand(quote!(shared, distributed), item.clone()).to_string()
    );
    // What is added stands behind what a shared Ebb is.
    let shared = expand(quote!(shared), item).to_string();
    assert!(alone.to_string().starts_with(&shared));
    check("distributed", alone);
}

#[test]
fn a_generic_ebb_made_at_run_time() {
    let item = quote! {
        #[derive(Default)]
        pub struct Cache<K: Ord, V = u32, const N: usize = 4>
        where
            V: Copy,
        {
            entries: RefCell<BTreeMap<K, V>>,
        }
    };
    check("dynamic", expand(quote!(per_core, dynamic), item));
}

#[test]
fn a_shared_ebb_made_at_run_time() {
    let item = quote! {
        #[derive(Default)]
        pub struct Total(AtomicU64, Vec<u8>);
    };
    check("shared_dynamic", expand(quote!(shared, dynamic), item));
}

fn horn() -> TokenStream {
    quote! {
        /// Makes itself heard.
        pub trait Horn {
            /// Once.
            fn blow(&self, loudness: u8) -> u32;
            /// What is written on it.
            fn name<'a>(&self, prefix: &'a str, _: &[&'a u8]) -> (&str, &'a str, Option<Box<dyn Fn() -> u8 + '_>>);
        }
    }
}

fn horn_provider() -> TokenStream {
    quote! {
        impl Horn for Brass {
            fn blow(&self, loudness: u8) -> u32 {
                u32::from(loudness)
            }
            fn name<'a>(&self, prefix: &'a str, _: &[&'a u8]) -> (&str, &'a str, Option<Box<dyn Fn() -> u8 + '_>>) {
                ("brass", prefix, None)
            }
        }
    }
}

#[test]
fn a_component_and_its_provider() {
    let component = component::expand(quote!(), horn(), &Origin::fixed("component"));
    let provider = provides::expand(
        quote!(Horn, instance = &Brass),
        horn_provider(),
        &Origin::fixed("component"),
    );
    check("component", quote!(#component #provider));
}

#[test]
fn a_replaceable_component_and_its_default() {
    let component = component::expand(quote!(replaceable), horn(), &Origin::fixed("replaceable"));
    let provider = provides::expand(
        quote!(Horn, default),
        horn_provider(),
        &Origin::fixed("replaceable"),
    );
    check("replaceable", quote!(#component #provider));
}

fn package(native: bool) -> entry::Package {
    entry::Package {
        native,
        harness: false,
        no_main: true,
        lacks: None,
    }
}

#[test]
fn a_main_of_a_process() {
    let item = quote! {
        async fn main() -> Result<(), u8> {
            Ok(())
        }
    };
    check(
        "main_hosted",
        entry::expand_main(quote!(), item, &package(false)),
    );
}

#[test]
fn a_main_of_an_image() {
    let item = quote! {
        fn main() {}
    };
    check(
        "main_native",
        entry::expand_main(quote!(), item, &package(true)),
    );
}

#[test]
fn a_main_with_a_provider_for_each_platform() {
    let item = quote! {
        fn main() {}
    };
    let options = quote!(native = by_machine, hosted = by_processes);
    check(
        "main_providers",
        entry::expand_main(options, item, &package(true)),
    );
}

#[test]
fn a_main_beside_tests() {
    let item = quote! {
        fn main() {}
    };
    let package = entry::Package {
        harness: true,
        ..package(false)
    };
    check("main_tested", entry::expand_main(quote!(), item, &package));
}

#[test]
fn a_test() {
    let item = quote! {
        #[ignore = "slow"]
        #[should_panic]
        async fn four_cores() {
            panic!()
        }
    };
    check("test", entry::expand_test(quote!(cores = 4), item));
}

#[test]
fn an_ebb_with_an_error() {
    let item = quote! {
        pub struct Hits;
    };
    check("error", expand(quote!(dynamic), item));
}

#[test]
fn methods_that_other_machines_call() {
    let item = quote! {
        impl Table {
            /// The value of a key.
            pub async fn get(&self, key: u64) -> Option<String> {
                (key == 1).then(|| String::from("one"))
            }

            #[remote(oneway)]
            async fn hint(&self) {}

            async fn add_up(&self, from: u64, mut items: Items<u64>) -> u64 {
                let mut sum = from;
                while let Ok(Some(n)) = items.next().await {
                    sum += n;
                }
                sum
            }

            #[remote(stream)]
            async fn doubled(&self, mut items: Items<u64>, out: Sink<u64>) {
                while let Ok(Some(n)) = items.next().await {
                    if out.send(2 * n).await.is_err() {
                        return;
                    }
                }
            }

            #[remote(stream)]
            async fn numbers(&self, upto: u64, out: Sink<u64>) {
                for n in 0..upto {
                    if out.send(n).await.is_err() {
                        return;
                    }
                }
            }
        }
    };
    check("remote", remote::expand(quote!(name = "table"), item));
}
