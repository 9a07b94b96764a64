// What the macro makes of `replaceable` in src/golden.rs. Formatted by prettyplease.
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
            #[link_name = "ebb component replaceable::Horn: method blow (link exactly one crate that provides replaceable::Horn; see #[ebb::provides]) [replaceable 1.2.3, src/lib.rs:1, 1b6214873e140fff71857e11e03bc29c]"]
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
            #[link_name = "ebb component replaceable::Horn: method name (link exactly one crate that provides replaceable::Horn; see #[ebb::provides]) [replaceable 1.2.3, src/lib.rs:1, 1b6214873e140fff71857e11e03bc29c]"]
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
    pub const fn __ebb_signature_1b6214873e140fff71857e11e03bc29c_blow(
        _: fn(u8) -> u32,
    ) {}
    #[doc(hidden)]
    #[allow(unreachable_pub)]
    pub const fn __ebb_signature_1b6214873e140fff71857e11e03bc29c_name(
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
///The default provider of [`Horn`], replaced or not: what `EbbRef::<dyn Horn>::default_provider()` gives.
#[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
pub struct HornByDefault;
#[automatically_derived]
impl Horn for HornByDefault {
    #[inline(always)]
    fn blow(&self, loudness: u8) -> u32 {
        unsafe extern "Rust" {
            #[link_name = "ebb component replaceable::Horn: default method blow (link a platform, or whatever else provides replaceable::Horn by default; see #[ebb::provides]) [replaceable 1.2.3, src/lib.rs:1, 1b6214873e140fff71857e11e03bc29c]"]
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
            #[link_name = "ebb component replaceable::Horn: default method name (link a platform, or whatever else provides replaceable::Horn by default; see #[ebb::provides]) [replaceable 1.2.3, src/lib.rs:1, 1b6214873e140fff71857e11e03bc29c]"]
            safe fn __ebb_linked<'a>(
                prefix: &'a str,
                __ebb_argument_1: &[&'a u8],
            ) -> (&'static str, &'a str, Option<Box<dyn Fn() -> u8 + 'static>>);
        }
        __ebb_linked(prefix, __ebb_argument_1)
    }
}
#[diagnostic::do_not_recommend]
#[automatically_derived]
impl ::ebb::Replaceable for dyn Horn {
    type Default = HornByDefault;
    #[inline(always)]
    fn default_provider() -> &'static HornByDefault {
        &HornByDefault
    }
}
#[doc(hidden)]
///Used by `#[provides(Horn)]`.
#[macro_export]
macro_rules! __ebb_provide_Horn_1b6214873e140fff71857e11e03bc29c {
    (
        one, [$($ebb:tt)*], $component:path, $provider:ty, $instance:expr,
        $unique:literal, $described:literal
    ) => {
        const _ : () = { $($ebb)* ::__provide_method! {
        (::core::concat!("__ebb_provider_", $unique, "_blow")) (<< dyn $component as
        $($ebb)* ::Global > ::Target >
        ::__ebb_signature_1b6214873e140fff71857e11e03bc29c_blow) () (loudness : u8) (->
        u32) { let __ebb_provider : & 'static $provider = $instance; < $provider as
        $component > ::blow(__ebb_provider, loudness) } } $($ebb)* ::__provide_method! {
        (::core::concat!("__ebb_provider_", $unique, "_name")) (<< dyn $component as
        $($ebb)* ::Global > ::Target >
        ::__ebb_signature_1b6214873e140fff71857e11e03bc29c_name) (< 'a >) (prefix : & 'a
        str, __ebb_argument_1 : & [& 'a u8]) (-> (& 'static str, & 'a str, Option < Box <
        dyn Fn() -> u8 + 'static > >)) { let __ebb_provider : & 'static $provider =
        $instance; < $provider as $component > ::name(__ebb_provider, prefix,
        __ebb_argument_1) } } $($ebb)* ::__provide_object! { $unique, $described,
        ".ifndef __ebb_provide_Horn_1b6214873e140fff71857e11e03bc29c_provided",
        ".set __ebb_provide_Horn_1b6214873e140fff71857e11e03bc29c_provided, 1",
        ".macro __ebb_provide_Horn_1b6214873e140fff71857e11e03bc29c_provided_clash second",
        ::core::concat!(".error \"ebb component replaceable::Horn: provided twice, ",
        $described,
        " and \\second (link exactly one crate that provides replaceable::Horn; see #[ebb::provides]) [replaceable 1.2.3, src/lib.rs:1, 1b6214873e140fff71857e11e03bc29c]\""),
        ".endm",
        ".globl \"ebb component replaceable::Horn: provided twice (link exactly one crate that provides replaceable::Horn; see #[ebb::provides]) [replaceable 1.2.3, src/lib.rs:1, 1b6214873e140fff71857e11e03bc29c]\"",
        "\"ebb component replaceable::Horn: provided twice (link exactly one crate that provides replaceable::Horn; see #[ebb::provides]) [replaceable 1.2.3, src/lib.rs:1, 1b6214873e140fff71857e11e03bc29c]\":",
        "ud2", ::core::concat!(".type __ebb_jump_", $unique, "_blow, @function"),
        ::core::concat!("__ebb_jump_", $unique, "_blow: jmp __ebb_provider_", $unique,
        "_blow"), ::core::concat!(".type __ebb_jump_", $unique, "_name, @function"),
        ::core::concat!("__ebb_jump_", $unique, "_name: jmp __ebb_provider_", $unique,
        "_name"),
        ".ifndef __ebb_provide_Horn_1b6214873e140fff71857e11e03bc29c_defaulted",
        ".globl \"ebb component replaceable::Horn: method blow (link exactly one crate that provides replaceable::Horn; see #[ebb::provides]) [replaceable 1.2.3, src/lib.rs:1, 1b6214873e140fff71857e11e03bc29c]\"",
        ::core::concat!(".set \"ebb component replaceable::Horn: method blow (link exactly one crate that provides replaceable::Horn; see #[ebb::provides]) [replaceable 1.2.3, src/lib.rs:1, 1b6214873e140fff71857e11e03bc29c]\", __ebb_jump_",
        $unique, "_blow"),
        ".globl \"ebb component replaceable::Horn: method name (link exactly one crate that provides replaceable::Horn; see #[ebb::provides]) [replaceable 1.2.3, src/lib.rs:1, 1b6214873e140fff71857e11e03bc29c]\"",
        ::core::concat!(".set \"ebb component replaceable::Horn: method name (link exactly one crate that provides replaceable::Horn; see #[ebb::provides]) [replaceable 1.2.3, src/lib.rs:1, 1b6214873e140fff71857e11e03bc29c]\", __ebb_jump_",
        $unique, "_name"), ".else",
        ::core::concat!(".set \"ebb component replaceable::Horn: method blow (link exactly one crate that provides replaceable::Horn; see #[ebb::provides]) [replaceable 1.2.3, src/lib.rs:1, 1b6214873e140fff71857e11e03bc29c]\", __ebb_jump_",
        $unique, "_blow"),
        ::core::concat!(".set \"ebb component replaceable::Horn: method name (link exactly one crate that provides replaceable::Horn; see #[ebb::provides]) [replaceable 1.2.3, src/lib.rs:1, 1b6214873e140fff71857e11e03bc29c]\", __ebb_jump_",
        $unique, "_name"), ".endif",
        ".set __ebb_provide_Horn_1b6214873e140fff71857e11e03bc29c_replaced, 1", ".else",
        ::core::concat!("__ebb_provide_Horn_1b6214873e140fff71857e11e03bc29c_provided_clash \"",
        $described, "\""), ".endif", } };
    };
    (
        default, [$($ebb:tt)*], $component:path, $provider:ty, $instance:expr,
        $unique:literal, $described:literal
    ) => {
        const _ : () = { $($ebb)* ::__provide_method! {
        (::core::concat!("__ebb_provider_", $unique, "_blow")) (<< dyn $component as
        $($ebb)* ::Global > ::Target >
        ::__ebb_signature_1b6214873e140fff71857e11e03bc29c_blow) () (loudness : u8) (->
        u32) { let __ebb_provider : & 'static $provider = $instance; < $provider as
        $component > ::blow(__ebb_provider, loudness) } } $($ebb)* ::__provide_method! {
        (::core::concat!("__ebb_provider_", $unique, "_name")) (<< dyn $component as
        $($ebb)* ::Global > ::Target >
        ::__ebb_signature_1b6214873e140fff71857e11e03bc29c_name) (< 'a >) (prefix : & 'a
        str, __ebb_argument_1 : & [& 'a u8]) (-> (& 'static str, & 'a str, Option < Box <
        dyn Fn() -> u8 + 'static > >)) { let __ebb_provider : & 'static $provider =
        $instance; < $provider as $component > ::name(__ebb_provider, prefix,
        __ebb_argument_1) } } $($ebb)* ::__provide_object! { $unique, $described,
        ".ifndef __ebb_provide_Horn_1b6214873e140fff71857e11e03bc29c_has_default",
        ".set __ebb_provide_Horn_1b6214873e140fff71857e11e03bc29c_has_default, 1",
        ".macro __ebb_provide_Horn_1b6214873e140fff71857e11e03bc29c_has_default_clash second",
        ::core::concat!(".error \"ebb component replaceable::Horn: two defaults, ",
        $described,
        " and \\second (link one platform; see #[ebb::provides]) [replaceable 1.2.3, src/lib.rs:1, 1b6214873e140fff71857e11e03bc29c]\""),
        ".endm",
        ".globl \"ebb component replaceable::Horn: two defaults (link one platform; see #[ebb::provides]) [replaceable 1.2.3, src/lib.rs:1, 1b6214873e140fff71857e11e03bc29c]\"",
        "\"ebb component replaceable::Horn: two defaults (link one platform; see #[ebb::provides]) [replaceable 1.2.3, src/lib.rs:1, 1b6214873e140fff71857e11e03bc29c]\":",
        "ud2", ::core::concat!(".type __ebb_jump_", $unique, "_blow, @function"),
        ::core::concat!("__ebb_jump_", $unique, "_blow: jmp __ebb_provider_", $unique,
        "_blow"), ::core::concat!(".type __ebb_jump_", $unique, "_name, @function"),
        ::core::concat!("__ebb_jump_", $unique, "_name: jmp __ebb_provider_", $unique,
        "_name"),
        ".globl \"ebb component replaceable::Horn: default method blow (link a platform, or whatever else provides replaceable::Horn by default; see #[ebb::provides]) [replaceable 1.2.3, src/lib.rs:1, 1b6214873e140fff71857e11e03bc29c]\"",
        ::core::concat!(".set \"ebb component replaceable::Horn: default method blow (link a platform, or whatever else provides replaceable::Horn by default; see #[ebb::provides]) [replaceable 1.2.3, src/lib.rs:1, 1b6214873e140fff71857e11e03bc29c]\", __ebb_jump_",
        $unique, "_blow"),
        ".globl \"ebb component replaceable::Horn: default method name (link a platform, or whatever else provides replaceable::Horn by default; see #[ebb::provides]) [replaceable 1.2.3, src/lib.rs:1, 1b6214873e140fff71857e11e03bc29c]\"",
        ::core::concat!(".set \"ebb component replaceable::Horn: default method name (link a platform, or whatever else provides replaceable::Horn by default; see #[ebb::provides]) [replaceable 1.2.3, src/lib.rs:1, 1b6214873e140fff71857e11e03bc29c]\", __ebb_jump_",
        $unique, "_name"),
        ".ifndef __ebb_provide_Horn_1b6214873e140fff71857e11e03bc29c_replaced",
        ".weak \"ebb component replaceable::Horn: method blow (link exactly one crate that provides replaceable::Horn; see #[ebb::provides]) [replaceable 1.2.3, src/lib.rs:1, 1b6214873e140fff71857e11e03bc29c]\"",
        ::core::concat!(".set \"ebb component replaceable::Horn: method blow (link exactly one crate that provides replaceable::Horn; see #[ebb::provides]) [replaceable 1.2.3, src/lib.rs:1, 1b6214873e140fff71857e11e03bc29c]\", __ebb_jump_",
        $unique, "_blow"),
        ".weak \"ebb component replaceable::Horn: method name (link exactly one crate that provides replaceable::Horn; see #[ebb::provides]) [replaceable 1.2.3, src/lib.rs:1, 1b6214873e140fff71857e11e03bc29c]\"",
        ::core::concat!(".set \"ebb component replaceable::Horn: method name (link exactly one crate that provides replaceable::Horn; see #[ebb::provides]) [replaceable 1.2.3, src/lib.rs:1, 1b6214873e140fff71857e11e03bc29c]\", __ebb_jump_",
        $unique, "_name"),
        ".set __ebb_provide_Horn_1b6214873e140fff71857e11e03bc29c_defaulted, 1",
        ".endif", ".else",
        ::core::concat!("__ebb_provide_Horn_1b6214873e140fff71857e11e03bc29c_has_default_clash \"",
        $described, "\""), ".endif", } };
    };
}
#[doc(hidden)]
#[allow(unused_imports)]
pub use __ebb_provide_Horn_1b6214873e140fff71857e11e03bc29c as Horn;
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
    default, [::ebb], Horn, Brass, ::ebb::EbbRef:: < Brass > ::get(),
    "Horn_1b6214873e140fff71857e11e03bc29c",
    "provider Brass of replaceable 1.2.3, src/lib.rs:1, 1b6214873e140fff71857e11e03bc29c"
}
