//! `#[main]` and `#[test]`: where a program begins.
//!
//! The platform is the one that the package's build script chose (`ebb_build::images`), told
//! through the environment variable `EBB_PLATFORM`; without a build script it is the hosted one.

use proc_macro2::{Ident, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{
    Expr, ItemFn, LitInt, Token,
    parse::{ParseStream, Parser},
    spanned::Spanned,
};

use crate::{
    crates::Externs,
    options::option_name,
    origin, package,
    report::{Report, failed, header},
};

fn parse_function(item: &TokenStream, what: &str, report: &mut Report) -> Option<ItemFn> {
    let Ok(function) = syn::parse2::<ItemFn>(item.clone()) else {
        report.error(header(item), format!("`#[ebb::{what}]` is for functions"));
        return None;
    };
    if !function.sig.inputs.is_empty() {
        report.error(
            &function.sig.inputs,
            format!(
                "`#[ebb::{what}]` functions have no parameters; a program's arguments are `ebb::args()`"
            ),
        );
    }
    for token in [
        function.sig.constness.to_token_stream(),
        function.sig.safety.to_token_stream(),
        function.sig.abi.to_token_stream(),
    ] {
        if !token.is_empty() {
            report.error(
                token,
                format!("`#[ebb::{what}]` functions are plain functions, `async` or not"),
            );
        }
    }
    if !function.sig.generics.params.is_empty() {
        report.error(
            &function.sig.generics,
            format!("`#[ebb::{what}]` functions are not generic"),
        );
    }
    Some(function)
}

/// The function's result as a future, whether or not it is `async`.
fn call(function: &ItemFn) -> TokenStream {
    let name = &function.sig.ident;
    if function.sig.asyncness.is_some() {
        quote!(#name().await)
    } else {
        quote!(#name())
    }
}

/// Crates that are linked on one platform only, because they provide its components.
#[derive(Default)]
struct Links {
    native: Vec<Ident>,
    hosted: Vec<Ident>,
}

fn parse_links(tokens: TokenStream, report: &mut Report) -> Links {
    let mut links = Links::default();
    const RULE: &str = "a crate of one platform is named like this: `native = my_provider`";
    let parser = |input: ParseStream| -> syn::Result<()> {
        while !input.is_empty() {
            let name = option_name(input, "`native = CRATE` or `hosted = CRATE`")?;
            let crates = match name.to_string().as_str() {
                "native" => &mut links.native,
                "hosted" => &mut links.hosted,
                other => {
                    let text = format!(
                        "unknown option `{other}`; there are `native = CRATE` and `hosted = CRATE`, \
                         and the number of cores is chosen when the program starts (`EBB_CORES`)"
                    );
                    return Err(syn::Error::new(name.span(), text));
                }
            };
            input
                .parse::<Token![=]>()
                .map_err(|_| syn::Error::new(name.span(), RULE))?;
            crates.push(
                input
                    .parse::<Ident>()
                    .map_err(|error| syn::Error::new(error.span(), RULE))?,
            );
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(())
    };
    if let Err(error) = Parser::parse2(parser, tokens) {
        report.add(error);
    }
    links
}

/// What the package's build script chose and what stands around the function.
pub struct Package {
    /// Programs are images.
    pub native: bool,
    /// Compiled with libtest, which begins elsewhere. (`cfg(test)` holds of targets without it as well.)
    pub harness: bool,
    /// The file says `#![no_main]`, in a test build as well.
    pub no_main: bool,
    /// What to say about the platform's crate, if the package does not depend on it.
    pub lacks: Option<String>,
}

impl Package {
    /// Of the use that is being expanded.
    pub fn here() -> Self {
        let native = std::env::var("EBB_PLATFORM").as_deref() == Ok("native");
        let file = proc_macro::Span::call_site().local_file();
        let text = file.and_then(|file| std::fs::read_to_string(file).ok());
        let (platform, what_for) = if native {
            ("native-target", "the machine that an image runs on")
        } else {
            ("ebb-hosted", "which runs programs as Linux processes")
        };
        let depends = Externs::here().is_some_and(|externs| {
            let known = externs.name_of(&platform.replace('-', "_"));
            known.is_some()
        });
        let lacks = (!depends).then(|| package::lacks(platform, what_for));
        Self {
            native,
            harness: origin::compiler_arguments()
                .iter()
                .any(|argument| argument == "--test"),
            no_main: text.is_some_and(|text| package::has_no_main(&text)),
            lacks: lacks.flatten(),
        }
    }
}

pub fn expand_main(options: TokenStream, item: TokenStream, package: &Package) -> TokenStream {
    let mut report = Report::default();
    let links = parse_links(options, &mut report);
    let function = parse_function(&item, "main", &mut report);
    if let Some(lacks) = &package.lacks {
        report.error(header(&item), lacks);
        // So that this is the only error: a platform brings a panic handler and an allocator.
        let item = quote!(#item const _: () = { extern crate std as _; };);
        return failed(item, report);
    }
    let Some(function) = function.filter(|_| report.is_empty()) else {
        return failed(item, report);
    };
    let call = call(&function);
    // A result that is no exit status is an error at the result's type.
    let run = quote_spanned!(function.sig.output.span()=> ::__ebb_crate::__private::run_main);
    let start = quote! {
        fn __ebb_start() {
            #run(async { #call });
        }
    };
    let (of_images, of_processes) = (&links.native, &links.hosted);
    let hosted = quote! {
        #(extern crate #of_processes as _;)*
        extern crate __ebb_hosted_crate as __ebb_platform;
        #[unsafe(no_mangle)]
        extern "C" fn main(
            __ebb_argc: ::core::ffi::c_int,
            __ebb_argv: *const *const ::core::ffi::c_char,
        ) -> ::core::ffi::c_int {
            // SAFETY: the C runtime's own arguments.
            unsafe { __ebb_platform::main(__ebb_argc, __ebb_argv, __ebb_start) }
        }
    };
    let entry = if package.native {
        let instead = says_instead(
            "ebb: this program is to be an image, and an image has no unwinder: write `panic = \"abort\"` under \
             [profile.dev] (or whichever profile this is) in the Cargo.toml of the workspace",
        );
        // Unwinding needs std. `cargo test` compiles an image's example that way, to see whether it builds; so it builds as
        // a Linux process would.
        quote! {
            #[cfg(panic = "abort")]
            const _: () = {
                #(extern crate #of_images as _;)*
                extern crate __ebb_native_crate as _;
                #[unsafe(no_mangle)]
                extern "Rust" fn __ebb_main() { __ebb_start(); }
            };
            #[cfg(not(panic = "abort"))]
            const _: () = { #hosted #instead };
        }
    } else {
        hosted
    };
    let entry = if package.harness {
        let tested = tested(package);
        quote! {
            const _: fn() = __ebb_start;
            #tested
        }
    } else {
        entry
    };
    quote! {
        #function
        // Two scopes: the entry point may have the name of the user's function.
        const _: () = { #start const _: () = { #entry }; };
    }
}

/// The entry where libtest has its own: a program's tests are run, not the program.
fn tested(package: &Package) -> TokenStream {
    if package.native {
        return says_instead(
            "ebb: the unit tests of a program that is an image run as a Linux process: `EBB_PLATFORM=hosted cargo test`; or \
             move what they test into a library, and write `test = false` under [[bin]] in Cargo.toml",
        );
    }
    if !package.no_main {
        return quote!(
            extern crate __ebb_hosted_crate as _;
        );
    }
    let message = "ebb: `#![no_main]` leaves out what runs the tests: write `#![cfg_attr(not(test), no_std, no_main)]` \
                   instead of `#![no_std]` and `#![no_main]`\n";
    quote! {
        extern crate __ebb_hosted_crate as __ebb_platform;
        #[unsafe(no_mangle)]
        extern "C" fn main() -> ::core::ffi::c_int {
            __ebb_platform::refuse(#message)
        }
    }
}

/// The entry of a program that was linked as an image and is none: `ebb_build` gives it a linker script by which Linux can
/// load it as far as this, and it says so.
fn says_instead(message: &str) -> TokenStream {
    let text = format!(".ascii \"{}\\n\"", message.replace('"', "\\\""));
    let length = format!("mov edx, {}", message.len() + 1);
    quote! {
        mod __ebb_instead {
            ::core::arch::global_asm!(
                ".pushsection .text.boot,\"ax\",@progbits",
                ".globl ebb_pvh_entry",
                "ebb_pvh_entry:",
                // write(2, message, length), exit_group(2)
                "mov eax, 1",
                "mov edi, 2",
                "lea rsi, [rip + 2f]",
                #length,
                "syscall",
                "mov eax, 231",
                "mov edi, 2",
                "syscall",
                "2:",
                #text,
                ".popsection",
            );
        }
    }
}

#[derive(Default)]
struct TestOptions {
    cores: Option<LitInt>,
}

fn parse_test_options(tokens: TokenStream, report: &mut Report) -> TestOptions {
    let mut options = TestOptions::default();
    const RULE: &str = "`cores` is a number from 1 to 64: `cores = 4`";
    let parser = |input: ParseStream| -> syn::Result<()> {
        while !input.is_empty() {
            let name = option_name(input, "`cores = NUMBER`")?;
            if name != "cores" {
                report.error(
                    &name,
                    format!("unknown option `{name}`; the only option is `cores = NUMBER`"),
                );
                while !input.is_empty() && !input.peek(Token![,]) {
                    input.parse::<proc_macro2::TokenTree>()?;
                }
            } else {
                if options.cores.is_some() {
                    report.error(&name, "the option `cores` is given twice");
                }
                input
                    .parse::<Token![=]>()
                    .map_err(|_| syn::Error::new(name.span(), RULE))?;
                if input.is_empty() {
                    return Err(syn::Error::new(name.span(), RULE));
                }
                let value = input.parse::<Expr>();
                match value.map_err(|e| syn::Error::new(e.span(), RULE))? {
                    Expr::Lit(syn::ExprLit {
                        lit: syn::Lit::Int(n),
                        ..
                    }) if n
                        .base10_parse::<usize>()
                        .is_ok_and(|n| (1..=64).contains(&n)) =>
                    {
                        options.cores = Some(n);
                    }
                    other => report.error(other, RULE),
                }
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(())
    };
    if let Err(e) = Parser::parse2(parser, tokens) {
        report.add(e);
    }
    options
}

pub fn expand_test(options: TokenStream, item: TokenStream) -> TokenStream {
    let mut report = Report::default();
    let options = parse_test_options(options, &mut report);
    let function = parse_function(&item, "test", &mut report);
    let Some(function) = function.filter(|_| report.is_empty()) else {
        return failed(item, report);
    };
    let cores = match &options.cores {
        Some(n) => quote!(::core::option::Option::Some(#n)),
        None => quote!(::core::option::Option::None),
    };
    let name = &function.sig.ident;
    let text = name.to_string();
    let (ignored, kept): (Vec<_>, Vec<_>) = function
        .attrs
        .iter()
        .partition(|a| a.path().is_ident("ignore"));
    let (test_attributes, attributes): (Vec<_>, Vec<_>) = kept
        .into_iter()
        .partition(|a| a.path().is_ident("should_panic"));
    let ignore = !ignored.is_empty();
    let mut body = function.clone();
    body.attrs = attributes.into_iter().cloned().collect();
    let body_name = format_ident!("__ebb_body");
    body.sig.ident = body_name;
    body.vis = syn::Visibility::Inherited;
    let call = call(&body);
    let vis = &function.vis;
    // A crate under libtest has `cfg(test)`, an image has not.
    quote! {
        #[cfg(test)]
        #[test]
        #(#ignored)*
        #(#test_attributes)*
        #vis fn #name() {
            #body
            ::__ebb_hosted_crate::test(#cores, || async { ::__ebb_crate::__private::test_outcome(#call) });
        }

        #[cfg(not(test))]
        const _: () = {
            #body
            fn __ebb_start() -> ::__ebb_crate::__private::TestFuture {
                ::__ebb_crate::__private::Box::pin(async { ::__ebb_crate::__private::test_outcome(#call) })
            }
            #[used]
            #[unsafe(link_section = "ebb_tests")]
            static __EBB_TEST: ::__ebb_crate::__private::TestCase = ::__ebb_crate::__private::TestCase {
                module: ::core::module_path!(),
                name: #text,
                cores: #cores,
                ignore: #ignore,
                start: __ebb_start,
            };
        };
    }
}
