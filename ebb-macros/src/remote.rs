//! `#[ebb_distributed::remote]`: methods of an Ebb that are called from other machines. Checks, the reference that has them
//! (`TableAt` for `Table`), and what runs them where a call arrives. The impl itself stays as it is: a local call is what it was.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{
    FnArg, Ident, ImplItem, ImplItemFn, ItemImpl, LitStr, Pat, Path, ReturnType, Type,
    punctuated::Punctuated, spanned::Spanned, visit_mut::VisitMut,
};

use crate::report::{Report, failed, header};

/// Methods of the generated reference itself.
const TAKEN: [&str; 2] = ["node", "within"];
/// CBOR tuples are implemented up to here.
const MOST_ARGUMENTS: usize = 16;

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Call,
    Oneway,
    Stream,
}

struct Method {
    kind: Kind,
    item: ImplItemFn,
    names: Vec<Ident>,
    types: Vec<Type>,
    /// Of the items that it takes, if it takes any.
    items: Option<Type>,
    /// Of the result, or of an item.
    result: Type,
}

pub fn expand(options: TokenStream, item: TokenStream) -> TokenStream {
    let mut report = Report::default();
    let Ok(mut input) = syn::parse2::<ItemImpl>(item.clone()) else {
        report.error(
            header(&item),
            "`#[remote]` is for the `impl` block with the methods that other machines call",
        );
        return failed(item, report);
    };
    let name = parse_name(options, &mut report);
    let ebb = check_impl(&input, &mut report);
    let mut methods = Vec::new();
    for item in &mut input.items {
        match item {
            ImplItem::Fn(method) => methods.extend(check_method(method, &mut report)),
            other => report.error(
                other,
                "only methods can be called from other machines; put this into an `impl` block without `#[remote]`",
            ),
        }
    }
    if input.items.is_empty() {
        report.error(
            &input.self_ty,
            "there is no method that other machines could call",
        );
    }
    let (Some(ebb), true) = (ebb, report.is_empty()) else {
        // The struct has remote methods all the same.
        let stub = ebb_of(&input).map(stub);
        return failed(quote!(#input #stub), report);
    };
    let implementation = implementation(&ebb, name, &methods);
    quote!(#input #implementation)
}

fn parse_name(options: TokenStream, report: &mut Report) -> Option<LitStr> {
    if options.is_empty() {
        return None;
    }
    let parse = |input: syn::parse::ParseStream<'_>| {
        let option: Ident = input.parse()?;
        if option != "name" {
            return Err(syn::Error::new_spanned(
                option,
                "the option of `#[remote]` is `name = \"..\"`",
            ));
        }
        input.parse::<syn::Token![=]>()?;
        let name: LitStr = input.parse()?;
        if name.value().is_empty() {
            return Err(syn::Error::new_spanned(
                name,
                "an Ebb has a name by which other machines find it",
            ));
        }
        Ok(name)
    };
    match syn::parse::Parser::parse2(parse, options) {
        Ok(name) => Some(name),
        Err(error) => {
            report.add(error);
            None
        }
    }
}

/// The name of a struct that `#[remote]` may stand beside.
fn ebb_of(input: &ItemImpl) -> Option<Ident> {
    match &*input.self_ty {
        Type::Path(path) if path.qself.is_none() => path.path.get_ident().cloned(),
        _ => None,
    }
    .filter(|_| input.generics.params.is_empty())
}

/// In place of what a wrong `impl` would give, so that one mistake is told once.
fn stub(ebb: Ident) -> TokenStream {
    quote! {
        #[automatically_derived]
        impl ::__ebb_distributed_crate::Remote for #ebb {
            const NAME: &'static str = "";
            type At = ::__ebb_distributed_crate::At;
            fn dispatch(
                _: ::__ebb_distributed_crate::__private::Incoming,
            ) -> ::core::option::Option<::__ebb_distributed_crate::__private::Answering> {
                ::core::option::Option::None
            }
        }
    }
}

fn check_impl(input: &ItemImpl, report: &mut Report) -> Option<Ident> {
    if let Some((path, _)) = &input.trait_ {
        report.error(
            path,
            "`#[remote]` is for an Ebb's own methods; a trait's are called through methods of your own",
        );
    }
    if !input.generics.params.is_empty() {
        report.error(
            &input.generics,
            "other machines find an Ebb by its name, so it cannot be generic",
        );
    }
    match &*input.self_ty {
        Type::Path(path) if path.qself.is_none() && path.path.get_ident().is_some() => {
            path.path.get_ident().cloned()
        }
        other => {
            report.error(
                other,
                "`#[remote]` stands beside the Ebb's struct: `impl Table { .. }`",
            );
            None
        }
    }
}

/// Finds what cannot travel in a type.
#[derive(Default)]
struct Within(Vec<(TokenStream, &'static str)>);

impl VisitMut for Within {
    fn visit_type_mut(&mut self, ty: &mut Type) {
        match ty {
            Type::Reference(_) => self.0.push((
                ty.to_token_stream(),
                "a reference cannot leave this machine: take and give what owns its data (`String`, `Vec`, `Blob`)",
            )),
            Type::Ptr(_) => self.0.push((ty.to_token_stream(), "a pointer means nothing on another machine")),
            Type::ImplTrait(_) => self.0.push((
                ty.to_token_stream(),
                "both machines must know the type: name it instead of `impl Trait`",
            )),
            Type::Path(path) if path.path.is_ident("Self") => self.0.push((
                ty.to_token_stream(),
                "write the type's name: the method exists on its reference too, where `Self` is another type",
            )),
            _ => syn::visit_mut::visit_type_mut(self, ty),
        }
    }
}

fn check_type(ty: &Type, report: &mut Report) {
    let mut within = Within::default();
    within.visit_type_mut(&mut ty.clone());
    for (at, message) in within.0 {
        report.error(at, message);
    }
}

/// Takes `#[remote(..)]` off a method.
fn take_kind(method: &mut ImplItemFn, report: &mut Report) -> Kind {
    let mut kind = Kind::Call;
    let attributes = std::mem::take(&mut method.attrs);
    for attribute in attributes {
        if !attribute.path().is_ident("remote") {
            method.attrs.push(attribute);
            continue;
        }
        let options =
            attribute.parse_args_with(Punctuated::<Path, syn::Token![,]>::parse_terminated);
        match options {
            Ok(options) if options.len() == 1 && kind == Kind::Call => {
                let option = &options[0];
                if option.is_ident("oneway") {
                    kind = Kind::Oneway;
                } else if option.is_ident("stream") {
                    kind = Kind::Stream;
                } else {
                    report.error(
                        option,
                        "a method is `#[remote(oneway)]`, `#[remote(stream)]`, or neither",
                    );
                }
            }
            Ok(_) => report.error(
                attribute,
                "a method is either `oneway` or a `stream`: say it once",
            ),
            Err(error) => report.add(error),
        }
    }
    kind
}

fn check_method(method: &mut ImplItemFn, report: &mut Report) -> Option<Method> {
    let kind = take_kind(method, report);
    let before = report.count();
    check_signature(method, report);
    let (names, mut types) = arguments(method, report);
    let result = match &method.sig.output {
        ReturnType::Default => syn::parse_quote!(()),
        ReturnType::Type(_, ty) => (**ty).clone(),
    };
    let result = match kind {
        Kind::Stream => item_type(method, &mut types, report)?,
        Kind::Call => result,
        Kind::Oneway => {
            if let ReturnType::Type(_, ty) = &method.sig.output {
                report.error(ty, "nobody waits for a one-way method, so it has no result");
            }
            result
        }
    };
    if kind == Kind::Stream
        && let ReturnType::Type(_, ty) = &method.sig.output
    {
        report.error(
            ty,
            "a stream gives its items to the `Sink` and has no other result",
        );
    }
    let items = wrapped(&types, "Items");
    if items.is_some() {
        types.pop();
    }
    if items.is_some() && kind == Kind::Oneway {
        report.error(
            &method.sig.ident,
            "nobody would tell the caller of a one-way method when it has had enough: give it a result, or let it be a stream",
        );
    }
    for ty in &types {
        let name = match ty {
            Type::Path(path) => path.path.segments.last().map(|s| s.ident.to_string()),
            _ => None,
        };
        if matches!(name.as_deref(), Some("Items" | "Sink")) {
            report.error(
                ty,
                "what items come from and go to stands behind all other arguments: `items: Items<In>`, and then, in a stream, `out: Sink<Out>`",
            );
        }
    }
    for ty in types.iter().chain(&items).chain([&result]) {
        check_type(ty, report);
    }
    (report.count() == before).then(|| Method {
        kind,
        item: method.clone(),
        names,
        types,
        items,
        result,
    })
}

fn check_signature(method: &ImplItemFn, report: &mut Report) {
    let signature = &method.sig;
    let name = &signature.ident;
    if signature.asyncness.is_none() {
        report.error(
            signature.fn_token,
            format!("the answer takes time to come: write `async fn {name}`, or put it into an `impl` block without `#[remote]`"),
        );
    }
    if matches!(signature.safety, syn::Safety::Unsafe(_)) {
        report.error(
            &signature.safety,
            "other machines cannot keep what an `unsafe fn` asks of its callers",
        );
    }
    if !signature.generics.params.is_empty() {
        report.error(
            &signature.generics,
            "a method that other machines call has one signature, so it cannot be generic",
        );
    }
    if TAKEN.contains(&name.to_string().as_str()) {
        report.error(
            name,
            format!(
                "the reference to the Ebb has a method `{name}` of its own: choose another name"
            ),
        );
    }
    match signature.inputs.first() {
        Some(FnArg::Receiver(receiver)) => {
            if !matches!(receiver.kind, syn::ReceiverKind::Reference(_, None, None)) {
                report.error(
                    receiver,
                    "an Ebb's methods take `&self`: its representative stays where it is",
                );
            }
        }
        _ => report.error(
            name,
            "an Ebb's methods take `&self`; a function without it needs no Ebb",
        ),
    }
}

fn arguments(method: &ImplItemFn, report: &mut Report) -> (Vec<Ident>, Vec<Type>) {
    let (mut names, mut types) = (Vec::new(), Vec::new());
    for argument in &method.sig.inputs {
        let FnArg::Typed(argument) = argument else {
            continue;
        };
        match &*argument.pat {
            Pat::Ident(name) if name.subpat.is_none() && name.by_ref.is_none() => {
                names.push(name.ident.clone())
            }
            other => report.error(
                other,
                "give the argument a name, and take it apart in the method",
            ),
        }
        types.push((*argument.ty).clone());
    }
    if types.len() > MOST_ARGUMENTS {
        report.error(
            &method.sig.ident,
            format!("a method that other machines call has at most {MOST_ARGUMENTS} arguments: make a struct of them"),
        );
    }
    (names, types)
}

/// Takes the `Sink<Item>` off the arguments of a stream.
fn item_type(method: &ImplItemFn, types: &mut Vec<Type>, report: &mut Report) -> Option<Type> {
    let item = wrapped(types, "Sink");
    if item.is_none() {
        report.error(
            &method.sig.ident,
            "the last argument of a stream is what takes its items: `out: Sink<Item>`",
        );
    }
    types.pop();
    item
}

/// `T` of a last argument `Name<T>`.
fn wrapped(types: &[Type], name: &str) -> Option<Type> {
    let Type::Path(path) = types.last()? else {
        return None;
    };
    let last = path.path.segments.last().filter(|s| s.ident == name)?;
    let syn::PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return None;
    };
    match arguments.args.first() {
        Some(syn::GenericArgument::Type(item)) if arguments.args.len() == 1 => Some(item.clone()),
        _ => None,
    }
}

/// What is hashed: without blanks, so that formatting does not matter.
fn text(tokens: impl ToTokens) -> String {
    tokens
        .to_token_stream()
        .to_string()
        .split_whitespace()
        .collect()
}

fn implementation(ebb: &Ident, name: Option<LitStr>, methods: &[Method]) -> TokenStream {
    let at = format_ident!("{ebb}At");
    let name = match name {
        Some(name) => quote!(#name),
        None => {
            let ebb = ebb.to_string();
            quote!(::core::concat!(::core::module_path!(), "::", #ebb))
        }
    };
    let hashes: Vec<String> = methods.iter().map(Method::signature).collect();
    let values = methods
        .iter()
        .flat_map(|m| m.types.iter().chain(&m.items).chain([&m.result]));
    let values = values.map(|ty| quote_spanned!(ty.span()=> travels::<#ty>();));
    let calls = methods
        .iter()
        .zip(&hashes)
        .map(|(method, hash)| method.call(ebb, hash));
    let arms = methods
        .iter()
        .zip(&hashes)
        .map(|(method, hash)| method.arm(ebb, hash));
    let what = format!("`{ebb}` on a node: its methods, and how long they may take.");
    quote! {
        // Says of each type alone that it cannot travel.
        const _: fn() = || {
            fn travels<T: ::__ebb_distributed_crate::Value>() {}
            #(#values)*
        };

        #[doc = #what]
        #[derive(Clone, Copy, Debug)]
        pub struct #at(::__ebb_distributed_crate::At);

        #[automatically_derived]
        impl ::core::convert::From<::__ebb_distributed_crate::At> for #at {
            fn from(at: ::__ebb_distributed_crate::At) -> Self {
                Self(at)
            }
        }

        #[allow(private_interfaces, dead_code)]
        impl #at {
            /// The node.
            #[must_use]
            pub fn node(self) -> ::__ebb_distributed_crate::NodeId {
                self.0.node()
            }

            /// The same node, with a deadline for each call: so long after its start.
            #[must_use]
            pub fn within(self, limit: ::core::time::Duration) -> Self {
                Self(self.0.within(limit))
            }

            #(#calls)*
        }

        #[automatically_derived]
        impl ::__ebb_distributed_crate::Remote for #ebb {
            const NAME: &'static str = #name;
            type At = #at;

            fn dispatch(
                call: ::__ebb_distributed_crate::__private::Incoming,
            ) -> ::core::option::Option<::__ebb_distributed_crate::__private::Answering> {
                #(#arms)*
                ::core::option::Option::None
            }
        }
    }
}

impl Method {
    fn signature(&self) -> String {
        let kind = match self.kind {
            Kind::Call => "",
            Kind::Oneway => "oneway ",
            Kind::Stream => "stream ",
        };
        let types: Vec<String> = self.types.iter().map(text).collect();
        let items = self.items.as_ref().map(|ty| format!(";{}", text(ty)));
        format!(
            "{kind}{}({}{})->{}",
            self.item.sig.ident,
            types.join(","),
            items.unwrap_or_default(),
            text(&self.result)
        )
    }

    /// The method of the reference.
    fn call(&self, ebb: &Ident, hash: &str) -> TokenStream {
        let Self {
            item,
            names,
            types,
            items,
            result,
            ..
        } = self;
        let (visibility, name) = (&item.vis, &item.sig.ident);
        let documentation = item.attrs.iter().filter(|a| a.path().is_ident("doc"));
        // A stream's sink has a name, and is not an argument here.
        let names = &names[..types.len()];
        let ids = quote! {
            const { ::__ebb_distributed_crate::hash(<#ebb as ::__ebb_distributed_crate::Remote>::NAME) },
            const { ::__ebb_distributed_crate::hash(#hash) },
        };
        let body = match (self.kind, items) {
            (Kind::Call, Some(items)) => quote! {
                #visibility fn #name(self #(, #names: #types)*) -> ::__ebb_distributed_crate::Upload<#items, #result> {
                    self.0.upload::<(#(#types,)*), #items, #result>(#ids (#(#names,)*))
                }
            },
            (Kind::Stream, Some(items)) => quote! {
                #visibility fn #name(self #(, #names: #types)*)
                    -> (::__ebb_distributed_crate::Feed<#items>, ::__ebb_distributed_crate::Stream<#result>)
                {
                    self.0.both_ways::<(#(#types,)*), #items, #result>(#ids (#(#names,)*))
                }
            },
            (Kind::Call, None) => quote! {
                #visibility async fn #name(self #(, #names: #types)*)
                    -> ::core::result::Result<#result, ::__ebb_distributed_crate::Failure>
                {
                    self.0.call::<(#(#types,)*), #result>(#ids (#(#names,)*)).await
                }
            },
            (Kind::Oneway, _) => quote! {
                #visibility fn #name(self #(, #names: #types)*)
                    -> ::core::result::Result<(), ::__ebb_distributed_crate::Failure>
                {
                    self.0.oneway::<(#(#types,)*)>(#ids (#(#names,)*))
                }
            },
            (Kind::Stream, None) => quote! {
                #visibility fn #name(self #(, #names: #types)*) -> ::__ebb_distributed_crate::Stream<#result> {
                    self.0.stream::<(#(#types,)*), #result>(#ids (#(#names,)*))
                }
            },
        };
        quote!(#(#documentation)* #body)
    }

    /// What runs the method where a call arrives.
    fn arm(&self, ebb: &Ident, hash: &str) -> TokenStream {
        let Self {
            item,
            names,
            types,
            result,
            ..
        } = self;
        let name = &item.sig.ident;
        let given = self
            .items
            .as_ref()
            .map(|_| quote!(::__ebb_distributed_crate::Items::of(given),));
        let keeps = self.items.as_ref().map(|_| quote!(let given = call.given;));
        let sink = match self.kind {
            Kind::Stream => quote!(::__ebb_distributed_crate::Sink::of(items)),
            _ => quote!(),
        };
        let names = &names[..types.len()];
        let result = match self.kind {
            Kind::Stream => quote!(()),
            _ => quote!(#result),
        };
        quote! {
            if call.method == const { ::__ebb_distributed_crate::hash(#hash) } {
                let items = call.items;
                #keeps
                return ::__ebb_distributed_crate::__private::answering::<(#(#types,)*), #result>(
                    call.payload,
                    async move |(#(#names,)*): (#(#types,)*)| {
                        let _ = &items;
                        ::__ebb_distributed_crate::__private::EbbRef::<#ebb>::get().#name(#(#names,)* #given #sink).await
                    },
                );
            }
        }
    }
}
