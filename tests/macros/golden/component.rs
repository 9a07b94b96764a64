// What the macro makes of `component` in src/golden.rs. Formatted by prettyplease.
/// Makes itself heard.
pub trait Horn {
    /// Once.
    fn blow(&self, loudness: u8) -> u32;
    /// What is written on it.
    fn name<'a>(
        &self,
        prefix: &'a str,
        _: &[&'a u8],
    ) -> (&str, &'a str, Option<Box<dyn Fn() -> u8 + '_>>);
}
///The provider of [`Horn`] that is linked into the program: what `EbbRef::<dyn Horn>::get()` gives.
#[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
pub struct HornLinked;
#[automatically_derived]
impl Horn for HornLinked {
    #[inline(always)]
    fn blow(&self, loudness: u8) -> u32 {
        unsafe extern "Rust" {
            #[link_name = "ebb component component::Horn: method blow (link exactly one crate that provides component::Horn; see #[ebb::provides]) [component 1.2.3, src/lib.rs:1, 61f2b14049bcded54e295e9161892ead]"]
            safe fn __ebb_linked(loudness: u8) -> u32;
        }
        __ebb_linked(loudness)
    }
    #[inline(always)]
    fn name<'a>(
        &self,
        prefix: &'a str,
        __ebb_argument_1: &[&'a u8],
    ) -> (&str, &'a str, Option<Box<dyn Fn() -> u8 + '_>>) {
        unsafe extern "Rust" {
            #[link_name = "ebb component component::Horn: method name (link exactly one crate that provides component::Horn; see #[ebb::provides]) [component 1.2.3, src/lib.rs:1, 61f2b14049bcded54e295e9161892ead]"]
            safe fn __ebb_linked<'a>(
                prefix: &'a str,
                __ebb_argument_1: &[&'a u8],
            ) -> (&'static str, &'a str, Option<Box<dyn Fn() -> u8 + 'static>>);
        }
        __ebb_linked(prefix, __ebb_argument_1)
    }
}
#[allow(non_snake_case)]
impl HornLinked {
    #[doc(hidden)]
    #[allow(unreachable_pub)]
    pub const fn __ebb_signature_61f2b14049bcded54e295e9161892ead_blow(
        _: fn(u8) -> u32,
    ) {}
    #[doc(hidden)]
    #[allow(unreachable_pub)]
    pub const fn __ebb_signature_61f2b14049bcded54e295e9161892ead_name(
        _: for<'a> fn(
            &'a str,
            &[&'a u8],
        ) -> (&'static str, &'a str, Option<Box<dyn Fn() -> u8 + 'static>>),
    ) {}
}
#[diagnostic::do_not_recommend]
#[automatically_derived]
impl ::ebb::Global for dyn Horn {
    type Target = HornLinked;
    #[inline(always)]
    fn get() -> &'static HornLinked {
        &HornLinked
    }
}
#[doc(hidden)]
///Used by `#[provides(Horn)]`.
#[macro_export]
macro_rules! __ebb_provide_Horn_61f2b14049bcded54e295e9161892ead {
    (
        one, [$($ebb:tt)*], $component:path, $provider:ty, $instance:expr,
        $unique:literal, $described:literal
    ) => {
        const _ : () = { $($ebb)* ::__provide_method! {
        ("ebb component component::Horn: method blow (link exactly one crate that provides component::Horn; see #[ebb::provides]) [component 1.2.3, src/lib.rs:1, 61f2b14049bcded54e295e9161892ead]")
        (<< dyn $component as $($ebb)* ::Global > ::Target >
        ::__ebb_signature_61f2b14049bcded54e295e9161892ead_blow) () (loudness : u8) (->
        u32) { let __ebb_provider : & 'static $provider = $instance; < $provider as
        $component > ::blow(__ebb_provider, loudness) } } $($ebb)* ::__provide_method! {
        ("ebb component component::Horn: method name (link exactly one crate that provides component::Horn; see #[ebb::provides]) [component 1.2.3, src/lib.rs:1, 61f2b14049bcded54e295e9161892ead]")
        (<< dyn $component as $($ebb)* ::Global > ::Target >
        ::__ebb_signature_61f2b14049bcded54e295e9161892ead_name) (< 'a >) (prefix : & 'a
        str, __ebb_argument_1 : & [& 'a u8]) (-> (& 'static str, & 'a str, Option < Box <
        dyn Fn() -> u8 + 'static > >)) { let __ebb_provider : & 'static $provider =
        $instance; < $provider as $component > ::name(__ebb_provider, prefix,
        __ebb_argument_1) } } $($ebb)* ::__provide_object! { $unique, $described,
        ".ifndef __ebb_provide_Horn_61f2b14049bcded54e295e9161892ead_provided",
        ".set __ebb_provide_Horn_61f2b14049bcded54e295e9161892ead_provided, 1",
        ".macro __ebb_provide_Horn_61f2b14049bcded54e295e9161892ead_provided_clash second",
        ::core::concat!(".error \"ebb component component::Horn: provided twice, ",
        $described,
        " and \\second (link exactly one crate that provides component::Horn; see #[ebb::provides]) [component 1.2.3, src/lib.rs:1, 61f2b14049bcded54e295e9161892ead]\""),
        ".endm",
        ".globl \"ebb component component::Horn: provided twice (link exactly one crate that provides component::Horn; see #[ebb::provides]) [component 1.2.3, src/lib.rs:1, 61f2b14049bcded54e295e9161892ead]\"",
        "\"ebb component component::Horn: provided twice (link exactly one crate that provides component::Horn; see #[ebb::provides]) [component 1.2.3, src/lib.rs:1, 61f2b14049bcded54e295e9161892ead]\":",
        "ud2", ".else",
        ::core::concat!("__ebb_provide_Horn_61f2b14049bcded54e295e9161892ead_provided_clash \"",
        $described, "\""), ".endif", } };
    };
    (default, $($rest:tt)*) => {
        ::core::compile_error!("the component `Horn` has no default provider: its trait says `#[component]`, not `#[component(replaceable)]`");
    };
}
#[doc(hidden)]
#[allow(unused_imports)]
pub use __ebb_provide_Horn_61f2b14049bcded54e295e9161892ead as Horn;
impl Horn for Brass {
    fn blow(&self, loudness: u8) -> u32 {
        u32::from(loudness)
    }
    fn name<'a>(
        &self,
        prefix: &'a str,
        _: &[&'a u8],
    ) -> (&str, &'a str, Option<Box<dyn Fn() -> u8 + '_>>) {
        ("brass", prefix, None)
    }
}
Horn! {
    one, [::ebb], Horn, Brass, & Brass, "Horn_61f2b14049bcded54e295e9161892ead",
    "provider Brass of component 1.2.3, src/lib.rs:1, 61f2b14049bcded54e295e9161892ead"
}
