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
            #[link_name = "ebb component replaceable::Horn: method blow (link exactly one crate that provides replaceable::Horn; see #[ebb::provides])"]
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
            #[link_name = "ebb component replaceable::Horn: method name (link exactly one crate that provides replaceable::Horn; see #[ebb::provides])"]
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
macro_rules! __ebb_provide_Horn_4e5da1683261b944 {
    (one, $component:path, $provider:ty, $instance:expr, $unique:literal) => {
        const _ : () = { ::ebb::__provide_method! { (::core::concat!("__ebb_provider_",
        $unique, "_blow")) () (loudness : u8) (-> u32) { let __ebb_provider : & 'static
        $provider = $instance; < $provider as $component > ::blow(__ebb_provider,
        loudness) } } ::ebb::__provide_method! { (::core::concat!("__ebb_provider_",
        $unique, "_name")) (< 'a >) (prefix : & 'a str, __ebb_argument_1 : & [& 'a u8])
        (-> (& 'static str, & 'a str, Option < Box < dyn Fn() -> u8 + 'static > >)) { let
        __ebb_provider : & 'static $provider = $instance; < $provider as $component >
        ::name(__ebb_provider, prefix, __ebb_argument_1) } } ::ebb::__provide_object! {
        $unique,
        ".globl \"ebb component replaceable::Horn: provided twice (link exactly one crate that provides replaceable::Horn; see #[ebb::provides])\"",
        "\"ebb component replaceable::Horn: provided twice (link exactly one crate that provides replaceable::Horn; see #[ebb::provides])\":",
        "ud2", ::core::concat!(".type __ebb_jump_", $unique, "_blow, @function"),
        ::core::concat!("__ebb_jump_", $unique, "_blow: jmp __ebb_provider_", $unique,
        "_blow"), ::core::concat!(".type __ebb_jump_", $unique, "_name, @function"),
        ::core::concat!("__ebb_jump_", $unique, "_name: jmp __ebb_provider_", $unique,
        "_name"), ".ifndef __ebb_provide_Horn_4e5da1683261b944_defaulted",
        ".globl \"ebb component replaceable::Horn: method blow (link exactly one crate that provides replaceable::Horn; see #[ebb::provides])\"",
        ::core::concat!(".set \"ebb component replaceable::Horn: method blow (link exactly one crate that provides replaceable::Horn; see #[ebb::provides])\", __ebb_jump_",
        $unique, "_blow"),
        ".globl \"ebb component replaceable::Horn: method name (link exactly one crate that provides replaceable::Horn; see #[ebb::provides])\"",
        ::core::concat!(".set \"ebb component replaceable::Horn: method name (link exactly one crate that provides replaceable::Horn; see #[ebb::provides])\", __ebb_jump_",
        $unique, "_name"), ".else",
        ::core::concat!(".set \"ebb component replaceable::Horn: method blow (link exactly one crate that provides replaceable::Horn; see #[ebb::provides])\", __ebb_jump_",
        $unique, "_blow"),
        ::core::concat!(".set \"ebb component replaceable::Horn: method name (link exactly one crate that provides replaceable::Horn; see #[ebb::provides])\", __ebb_jump_",
        $unique, "_name"), ".endif",
        ".set __ebb_provide_Horn_4e5da1683261b944_replaced, 1", } };
    };
    (default, $component:path, $provider:ty, $instance:expr, $unique:literal) => {
        const _ : () = { ::ebb::__provide_method! { (::core::concat!("__ebb_provider_",
        $unique, "_blow")) () (loudness : u8) (-> u32) { let __ebb_provider : & 'static
        $provider = $instance; < $provider as $component > ::blow(__ebb_provider,
        loudness) } } ::ebb::__provide_method! { (::core::concat!("__ebb_provider_",
        $unique, "_name")) (< 'a >) (prefix : & 'a str, __ebb_argument_1 : & [& 'a u8])
        (-> (& 'static str, & 'a str, Option < Box < dyn Fn() -> u8 + 'static > >)) { let
        __ebb_provider : & 'static $provider = $instance; < $provider as $component >
        ::name(__ebb_provider, prefix, __ebb_argument_1) } } ::ebb::__provide_object! {
        $unique,
        ".globl \"ebb component replaceable::Horn: two defaults (link one platform; see #[ebb::provides])\"",
        "\"ebb component replaceable::Horn: two defaults (link one platform; see #[ebb::provides])\":",
        "ud2", ::core::concat!(".type __ebb_jump_", $unique, "_blow, @function"),
        ::core::concat!("__ebb_jump_", $unique, "_blow: jmp __ebb_provider_", $unique,
        "_blow"), ::core::concat!(".type __ebb_jump_", $unique, "_name, @function"),
        ::core::concat!("__ebb_jump_", $unique, "_name: jmp __ebb_provider_", $unique,
        "_name"), ".ifndef __ebb_provide_Horn_4e5da1683261b944_replaced",
        ".weak \"ebb component replaceable::Horn: method blow (link exactly one crate that provides replaceable::Horn; see #[ebb::provides])\"",
        ::core::concat!(".set \"ebb component replaceable::Horn: method blow (link exactly one crate that provides replaceable::Horn; see #[ebb::provides])\", __ebb_jump_",
        $unique, "_blow"),
        ".weak \"ebb component replaceable::Horn: method name (link exactly one crate that provides replaceable::Horn; see #[ebb::provides])\"",
        ::core::concat!(".set \"ebb component replaceable::Horn: method name (link exactly one crate that provides replaceable::Horn; see #[ebb::provides])\", __ebb_jump_",
        $unique, "_name"), ".set __ebb_provide_Horn_4e5da1683261b944_defaulted, 1",
        ".endif", } };
    };
}
#[doc(hidden)]
#[allow(unused_imports)]
pub use __ebb_provide_Horn_4e5da1683261b944 as Horn;
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
    default, Horn, Brass, ::ebb::EbbRef:: < Brass > ::get(), "Horn_4e5da1683261b944"
}
