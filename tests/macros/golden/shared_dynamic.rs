// What the macro makes of `shared_dynamic` in src/golden.rs. Formatted by prettyplease.
#[derive(Default)]
pub struct Total(AtomicU64, Vec<u8>);
const _: () = {
    #[allow(unused_imports)]
    use ::ebb::__private::NotKnown as _;
    const _: () = ::ebb::__private::assert_field_sync::<
        AtomicU64,
        { <::ebb::__private::SyncProbe<Total>>::YES },
    >();
    const _: () = ::ebb::__private::assert_field_sync::<
        Vec<u8>,
        { <::ebb::__private::SyncProbe<Total>>::YES },
    >();
    const _: () = ::ebb::__private::assert_field_send::<
        AtomicU64,
        { <::ebb::__private::SendProbe<Total>>::YES },
    >();
    const _: () = ::ebb::__private::assert_field_send::<
        Vec<u8>,
        { <::ebb::__private::SendProbe<Total>>::YES },
    >();
    static __EBB_DEFINITION: ::ebb::__private::Definition = ::ebb::__private::Definition::new(
        "Total",
        ::core::module_path!(),
        ::core::file!(),
        ::core::line!(),
        ::core::column!(),
    );
    #[automatically_derived]
    impl ::ebb::Ebb for Total {
        type Root = ();
        const DEFINITION: &'static ::ebb::__private::Definition = &__EBB_DEFINITION;
        #[inline]
        fn construct(
            __ebb_root: impl ::core::ops::FnOnce() -> ::ebb::__private::Arc<Self::Root>,
            __ebb_this: ::ebb::EbbRef<Self>,
        ) -> Self {
            let _ = (__ebb_root, __ebb_this);
            ::ebb::__private::by_default::<Total>()
        }
        #[inline]
        fn with_rep<__EbbR>(
            __ebb_id: ::ebb::EbbId,
            __ebb_f: impl ::core::ops::FnOnce(&Self) -> __EbbR,
        ) -> __EbbR {
            ::ebb::__private::with_dynamic::<Self, __EbbR>(__ebb_id, __ebb_f)
        }
    }
    #[automatically_derived]
    unsafe impl ::ebb::__private::Dynamic for Total {
        type Representation = ::ebb::__private::Shared;
    }
};
