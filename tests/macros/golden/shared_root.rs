// What the macro makes of `shared_root` in src/golden.rs. Formatted by prettyplease.
pub struct Registry {
    limits: Arc<Limits>,
    next: Option<Box<Self>>,
}
const _: () = {
    #[allow(unused_imports)]
    use ::ebb::__private::NotKnown as _;
    const _: () = ::ebb::__private::assert_field_sync::<
        Arc<Limits>,
        { <::ebb::__private::SyncProbe<Registry>>::YES },
    >();
    const _: () = ::ebb::__private::assert_field_sync::<
        Option<Box<Registry>>,
        { <::ebb::__private::SyncProbe<Registry>>::YES },
    >();
    mod __ebb_slot {
        ::ebb::__slot!(define "__ebb_slot_Registry_b4be59c680aec5ffcd2a0678ecc212a7");
    }
    static __EBB_DEFINITION: ::ebb::__private::Definition = ::ebb::__private::Definition::new(
        "Registry",
        ::core::module_path!(),
        ::core::file!(),
        ::core::line!(),
        ::core::column!(),
    );
    #[automatically_derived]
    impl ::ebb::Ebb for Registry {
        type Root = Limits;
        const DEFINITION: &'static ::ebb::__private::Definition = &__EBB_DEFINITION;
        #[inline]
        fn construct(
            __ebb_root: impl ::core::ops::FnOnce() -> ::ebb::__private::Arc<Self::Root>,
            __ebb_this: ::ebb::EbbRef<Self>,
        ) -> Self {
            ::ebb::__private::from_root::<Registry, Limits>(__ebb_root(), __ebb_this)
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
    unsafe impl ::ebb::__private::WellKnown for Registry {
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
                    load "__ebb_slot_Registry_b4be59c680aec5ffcd2a0678ecc212a7", pure,
                    nomem
                )
            }
        }
        #[inline(always)]
        fn slot_again() -> *const Self {
            unsafe {
                ::ebb::__slot!(
                    load "__ebb_slot_Registry_b4be59c680aec5ffcd2a0678ecc212a7", readonly
                )
            }
        }
        #[inline(always)]
        unsafe fn set_slot(__ebb_rep: *const Self) {
            unsafe {
                ::ebb::__slot!(
                    store "__ebb_slot_Registry_b4be59c680aec5ffcd2a0678ecc212a7",
                    __ebb_rep
                )
            }
        }
    }
    #[diagnostic::do_not_recommend]
    #[automatically_derived]
    impl ::ebb::Global for Registry {
        type Target = Self;
        #[inline(always)]
        fn get() -> &'static Self {
            ::ebb::__private::dereference::<Self>()
        }
    }
};
