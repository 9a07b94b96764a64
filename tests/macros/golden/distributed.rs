// What the macro makes of `distributed` in src/golden.rs. Formatted by prettyplease.
#[derive(Default)]
pub struct Table(AtomicU64);
const _: () = {
    #[allow(unused_imports)]
    use ::ebb::__private::NotKnown as _;
    const _: () = ::ebb::__private::assert_field_sync::<
        AtomicU64,
        { <::ebb::__private::SyncProbe<Table>>::YES },
    >();
    mod __ebb_slot {
        ::ebb::__slot!(define "__ebb_slot_Table_55a5105db3278ed1ce9b5a12afd65be4");
    }
    static __EBB_DEFINITION: ::ebb::__private::Definition = ::ebb::__private::Definition::new(
        "Table",
        ::core::module_path!(),
        ::core::file!(),
        ::core::line!(),
        ::core::column!(),
    );
    #[automatically_derived]
    impl ::ebb::Ebb for Table {
        type Root = ();
        const DEFINITION: &'static ::ebb::__private::Definition = &__EBB_DEFINITION;
        #[inline]
        fn construct(
            __ebb_root: impl ::core::ops::FnOnce() -> ::ebb::__private::Arc<Self::Root>,
            __ebb_this: ::ebb::EbbRef<Self>,
        ) -> Self {
            let _ = (__ebb_root, __ebb_this);
            ::ebb::__private::by_default::<Table>()
        }
        #[inline(always)]
        fn with_rep<__EbbR>(
            _: ::ebb::EbbId,
            __ebb_f: impl ::core::ops::FnOnce(&Self) -> __EbbR,
        ) -> __EbbR {
            __ebb_f(<Self as ::ebb::Global>::get())
        }
    }
    #[automatically_derived]
    unsafe impl ::ebb::__private::WellKnown for Table {
        type Representation = ::ebb::__private::Shared;
        fn default_root() -> ::core::option::Option<::ebb::__private::Arc<Self::Root>> {
            #[allow(unused_imports)]
            use ::ebb::__private::{NoDefaultRoot as _, ViaDefault as _};
            (&::ebb::__private::RootProbe::<
                <Self as ::ebb::Ebb>::Root,
            >(::core::marker::PhantomData))
                .__ebb_default_root()
        }
        #[inline(always)]
        fn slot() -> *const Self {
            unsafe {
                ::ebb::__slot!(
                    load "__ebb_slot_Table_55a5105db3278ed1ce9b5a12afd65be4", pure, nomem
                )
            }
        }
        #[inline(always)]
        fn slot_again() -> *const Self {
            unsafe {
                ::ebb::__slot!(
                    load "__ebb_slot_Table_55a5105db3278ed1ce9b5a12afd65be4", readonly
                )
            }
        }
        #[inline(always)]
        unsafe fn set_slot(__ebb_rep: *const Self) {
            unsafe {
                ::ebb::__slot!(
                    store "__ebb_slot_Table_55a5105db3278ed1ce9b5a12afd65be4", __ebb_rep
                )
            }
        }
    }
    #[diagnostic::do_not_recommend]
    #[automatically_derived]
    impl ::ebb::Global for Table {
        type Target = Self;
        #[inline(always)]
        fn get() -> &'static Self {
            ::ebb::__private::dereference::<Self>()
        }
    }
};
#[automatically_derived]
impl ::ebb_distributed::Distributed for Table {}
const _: fn() = || {
    fn has_remote_methods<T: ::ebb_distributed::Remote>() {}
    has_remote_methods::<Table>();
};
