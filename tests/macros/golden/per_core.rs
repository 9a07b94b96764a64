// What the macro makes of `per_core` in src/golden.rs. Formatted by prettyplease.
/// Counts.
#[derive(Default)]
pub struct Hits {
    n: Cell<u64>,
}
const _: () = {
    mod __ebb_slot {
        ::ebb::__slot!(define "__ebb_slot_Hits_dc6aed20a480882c8d40b24e0518e10a");
    }
    static __EBB_DEFINITION: ::ebb::__private::Definition = ::ebb::__private::Definition::new(
        "Hits",
        ::core::module_path!(),
        ::core::file!(),
        ::core::line!(),
        ::core::column!(),
    );
    #[automatically_derived]
    impl ::ebb::Ebb for Hits {
        type Root = ();
        const DEFINITION: &'static ::ebb::__private::Definition = &__EBB_DEFINITION;
        #[inline]
        fn construct(
            __ebb_root: impl ::core::ops::FnOnce() -> ::ebb::__private::Arc<Self::Root>,
            __ebb_this: ::ebb::EbbRef<Self>,
        ) -> Self {
            let _ = (__ebb_root, __ebb_this);
            ::ebb::__private::by_default::<Hits>()
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
    unsafe impl ::ebb::__private::WellKnown for Hits {
        type Representation = ::ebb::__private::PerCore;
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
                    load "__ebb_slot_Hits_dc6aed20a480882c8d40b24e0518e10a", pure, nomem
                )
            }
        }
        #[inline(always)]
        fn slot_again() -> *const Self {
            unsafe {
                ::ebb::__slot!(
                    load "__ebb_slot_Hits_dc6aed20a480882c8d40b24e0518e10a", readonly
                )
            }
        }
        #[inline(always)]
        unsafe fn set_slot(__ebb_rep: *const Self) {
            unsafe {
                ::ebb::__slot!(
                    store "__ebb_slot_Hits_dc6aed20a480882c8d40b24e0518e10a", __ebb_rep
                )
            }
        }
    }
    #[diagnostic::do_not_recommend]
    #[automatically_derived]
    impl ::ebb::Global for Hits {
        type Target = Self;
        #[inline(always)]
        fn get() -> &'static Self {
            ::ebb::__private::dereference::<Self>()
        }
    }
};
