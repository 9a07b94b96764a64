// What the macro makes of `error` in src/golden.rs. Formatted by prettyplease.
pub struct Hits;
const _: () = {
    static __EBB_DEFINITION: ::ebb::__private::Definition = ::ebb::__private::Definition::new(
        "Hits",
        ::core::module_path!(),
        ::core::file!(),
        ::core::line!(),
        ::core::column!(),
    );
    impl ::ebb::Ebb for Hits {
        type Root = ();
        const DEFINITION: &'static ::ebb::__private::Definition = &__EBB_DEFINITION;
        fn construct(
            _: impl ::core::ops::FnOnce() -> ::ebb::__private::Arc<Self::Root>,
            _: ::ebb::EbbRef<Self>,
        ) -> Self {
            ::core::unreachable!()
        }
        fn with_rep<__EbbR>(
            _: ::ebb::EbbId,
            _: impl ::core::ops::FnOnce(&Self) -> __EbbR,
        ) -> __EbbR {
            ::core::unreachable!()
        }
    }
    unsafe impl ::ebb::__private::Dynamic for Hits {
        type Representation = ::ebb::__private::PerCore;
    }
    unsafe impl ::ebb::__private::WellKnown for Hits {
        type Representation = ::ebb::__private::PerCore;
        fn default_root() -> ::core::option::Option<::ebb::__private::Arc<Self::Root>> {
            ::core::option::Option::None
        }
        fn slot() -> *const Self {
            ::core::ptr::null()
        }
        fn slot_again() -> *const Self {
            ::core::ptr::null()
        }
        unsafe fn set_slot(_: *const Self) {}
    }
    impl ::ebb::Global for Hits {
        type Target = Self;
        fn get() -> &'static Self {
            ::core::unreachable!()
        }
    }
};
::core::compile_error! {
    "say which kind of Ebb this is: `#[ebb(per_core)]` (one representative for every core), `#[ebb(shared)]` (one for all) or `#[ebb(distributed)]` (shared, and called from other machines too)"
}
