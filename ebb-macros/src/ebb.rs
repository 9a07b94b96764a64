//! `#[ebb(per_core)]`, `#[ebb(shared)]`: checks, and the order of the parts of the
//! expansion. What may be said is in `options.rs`, what the parts say in `expand.rs`.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{Data, DeriveInput, GenericParam, Type};

use crate::{
    expand,
    options::{Kind, Options},
    origin::Origin,
    report::{Report, failed, header},
};

pub fn expand(options: TokenStream, item: TokenStream, origin: &Origin) -> TokenStream {
    let mut report = Report::default();
    let options = Options::parse(options, &mut report);
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
        if unsized_field(&input).is_some() {
            return failed(quote!(#input), report);
        }
        // The struct counts as an Ebb all the same: its uses have done nothing wrong.
        let stub = expand::stub(&input, &options);
        return failed(quote!(#input #stub), report);
    };
    let implementation = if options.dynamic {
        expand::dynamic(&input, kind, options.root.as_ref())
    } else {
        expand::well_known(&input, kind, options.root.as_ref(), origin)
    };
    let distributed = options.distributed.then(|| expand::distributed(&input));
    quote!(#input #implementation #distributed)
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

/// The type of the last field, where it says itself that it has no size.
fn unsized_field(input: &DeriveInput) -> Option<&Type> {
    let Data::Struct(data) = &input.data else {
        return None;
    };
    let last = &data.fields.iter().next_back()?.ty;
    let is_unsized = match last {
        Type::Slice(_) | Type::TraitObject(_) => true,
        Type::Path(path) => path.path.is_ident("str"),
        _ => false,
    };
    is_unsized.then_some(last)
}

fn check_item(input: &DeriveInput, options: &Options, report: &mut Report) {
    let name = &input.ident;
    match &input.data {
        Data::Struct(_) => {
            if let Some(field) = unsized_field(input) {
                report.error(
                    field,
                    format!(
                        "a representative has a size that the compiler knows; put this into a box: `Box<{}>`",
                        field.to_token_stream()
                    ),
                );
            }
        }
        Data::Enum(e) => report.error(
            e.enum_token,
            "`#[ebb]` is for structs; put the enum into a field of one",
        ),
        Data::Union(u) => report.error(
            u.union_token,
            "`#[ebb]` is for structs; put the union into a field of one",
        ),
    }
    if options.distributed && options.dynamic {
        report.error(
            name,
            "other machines find an Ebb by its name, and one that is made at run time has none: an Ebb is `distributed` or `dynamic`",
        );
    }
    if options.kind.is_none() {
        report.error(
            name,
            "say which kind of Ebb this is: `#[ebb(per_core)]` (one representative for every core), \
             `#[ebb(shared)]` (one for all) or `#[ebb(distributed)]` (shared, and called from other machines too)",
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
