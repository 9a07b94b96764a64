// What the macro makes of `dynamic` in src/golden.rs. Formatted by prettyplease.
#[derive(Default)]
pub struct Cache<K: Ord, V = u32, const N: usize = 4>
where
    V: Copy,
{
    entries: RefCell<BTreeMap<K, V>>,
}
const _: () = {
    static __EBB_DEFINITION: ::ebb::__private::Definition = ::ebb::__private::Definition::new(
        "Cache",
        ::core::module_path!(),
        ::core::file!(),
        ::core::line!(),
        ::core::column!(),
    );
    #[automatically_derived]
    impl<K: Ord + 'static, V: 'static, const N: usize> ::ebb::Ebb for Cache<K, V, N>
    where
        V: Copy,
        Cache<K, V, N>: ::core::default::Default,
    {
        type Root = ();
        const DEFINITION: &'static ::ebb::__private::Definition = &__EBB_DEFINITION;
        #[inline]
        fn construct(
            __ebb_root: impl ::core::ops::FnOnce() -> ::ebb::__private::Arc<Self::Root>,
            __ebb_this: ::ebb::EbbRef<Self>,
        ) -> Self {
            let _ = (__ebb_root, __ebb_this);
            ::ebb::__private::by_default::<Cache<K, V, N>>()
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
    unsafe impl<K: Ord + 'static, V: 'static, const N: usize> ::ebb::__private::Dynamic
    for Cache<K, V, N>
    where
        V: Copy,
        Cache<K, V, N>: ::core::default::Default,
    {
        type Representation = ::ebb::__private::PerCore;
    }
};
