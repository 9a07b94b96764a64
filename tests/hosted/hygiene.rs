//! Hygiene: what the macros emit works whatever the user's names mean, wherever the user writes an
//! Ebb, and under lints that the user has forbidden to be broken. This crate is such a user.

#![forbid(unsafe_code, unsafe_op_in_unsafe_fn)]
#![deny(
    missing_docs,
    missing_debug_implementations,
    non_local_definitions,
    unused,
    unreachable_pub,
    unused_qualifications,
    non_camel_case_types,
    single_use_lifetimes,
    clippy::all,
    clippy::pedantic,
    clippy::undocumented_unsafe_blocks,
    clippy::multiple_unsafe_ops_per_block,
    clippy::items_after_statements,
    clippy::std_instead_of_core,
    clippy::missing_docs_in_private_items,
    clippy::missing_inline_in_public_items,
    clippy::wildcard_imports
)]
// Tests that have nothing to wait for.
#![allow(clippy::unused_async, clippy::similar_names)]

/// Everything that an expansion could mean by a bare name means something else here.
mod shadows {
    use ::core::cell::Cell as RealCell;
    use ::ebb::{EbbRef as Reference, ebb as an_ebb};

    /// Stands for any module.
    #[derive(Debug)]
    struct Wrong;

    macro_rules! shadow {
        ($($name:ident),*) => { $(
            /// Not what it seems.
            #[allow(dead_code, non_camel_case_types)]
            mod $name {}
        )* };
    }
    shadow!(core, alloc, std, ebb, ebb_runtime, ebb_hosted, __ebb_root);

    macro_rules! shadow_types {
        ($($name:ident),*) => { $(
            #[allow(dead_code, non_camel_case_types)]
            /// Not what it seems.
            type $name = Wrong;
        )* };
    }
    shadow_types!(
        Option,
        Result,
        Default,
        Box,
        Arc,
        Vec,
        String,
        Send,
        Sync,
        FnOnce,
        Clone,
        Copy,
        Debug,
        PhantomData,
        EbbRef,
        EbbId,
        Ebb,
        Global,
        Definition,
        u8,
        u32,
        usize,
        str,
        bool
    );

    #[allow(dead_code, non_upper_case_globals)]
    /// Not what they seem.
    mod values {
        /// Not what it seems.
        pub(super) const Some: u64 = 1;
        /// Not what it seems.
        pub(super) const None: u64 = 2;
        /// Not what it seems.
        pub(super) const Ok: u64 = 3;
        /// Not what it seems.
        pub(super) const DEFINITION: u64 = 4;
        /// Not what it seems.
        pub(super) const root: u64 = 5;
        /// Not what it seems.
        pub(super) const this: u64 = 6;
        /// Not what it seems.
        pub(super) const slot: u64 = 7;
        /// Not what it seems.
        pub(super) const f: u64 = 8;
        /// Not what it seems.
        pub(super) const rep: u64 = 9;
    }
    #[allow(unused_imports)]
    use values::{DEFINITION, None, Ok, Some, f, rep, root, slot, this};

    #[allow(unused_macros)]
    /// Not what they seem.
    mod macros {
        macro_rules! asm {
            ($($t:tt)*) => {
                compile_error!("a macro of the user's")
            };
        }
        macro_rules! panic {
            ($($t:tt)*) => {
                compile_error!("a macro of the user's")
            };
        }
    }

    /// A method of every type, of the kind that autoref probes could meet.
    trait Meddling {
        /// Not what it seems.
        #[allow(dead_code)]
        fn root(&self) -> u64 {
            0
        }
        /// Not what it seems.
        #[allow(dead_code)]
        fn get(&self) -> u64 {
            0
        }
    }
    impl<T: ?Sized> Meddling for T {}

    /// A per-core Ebb.
    #[an_ebb(per_core)]
    #[derive(::core::default::Default, ::core::fmt::Debug)]
    pub(crate) struct Hits {
        /// How many.
        count: RealCell<u64>,
    }

    /// A root with a default.
    #[derive(::core::default::Default, ::core::fmt::Debug)]
    pub(crate) struct Limits(RealU64);

    /// What `u64` is elsewhere.
    type RealU64 = ::core::primitive::u64;

    /// A shared Ebb with a root.
    #[an_ebb(shared, root = Limits)]
    #[derive(::core::fmt::Debug)]
    pub(crate) struct Registry {
        /// The root.
        limits: ::std::sync::Arc<Limits>,
    }

    impl ::ebb::FromRoot<Limits> for Registry {
        fn from_root(limits: ::std::sync::Arc<Limits>, _: Reference<Self>) -> Self {
            Self { limits }
        }
    }

    /// A generic Ebb, with parameters of unfortunate names.
    #[an_ebb(per_core, dynamic)]
    #[derive(::core::default::Default)]
    #[allow(missing_debug_implementations)]
    pub(crate) struct Cache<R: 'static, T: 'static> {
        /// One entry.
        entry: RealCell<::core::option::Option<(R, T)>>,
    }

    /// A component.
    #[::ebb::component]
    pub(crate) trait Horn {
        /// Blows.
        fn blow(&self, loudness: RealU64) -> RealU64;
    }

    /// Its provider.
    #[an_ebb(shared)]
    #[derive(::core::default::Default, ::core::fmt::Debug)]
    pub(crate) struct Brass;

    #[::ebb::provides(Horn)]
    impl Horn for Brass {
        fn blow(&self, loudness: RealU64) -> RealU64 {
            loudness + 1
        }
    }

    /// A component with a default.
    #[::ebb::component(replaceable)]
    pub(crate) trait Drum {
        /// Beats.
        fn r#move(&self) -> RealU64;
    }

    #[::ebb::provides(Drum, default, instance = &Brass)]
    impl Drum for Brass {
        fn r#move(&self) -> RealU64 {
            7
        }
    }

    #[::ebb::test]
    async fn names_of_the_users_own_do_not_matter() {
        let hits = Reference::<Hits>::get();
        hits.count.set(hits.count.get() + 1);
        ::core::assert_eq!(hits.count.get(), 1);
        ::core::assert_eq!(Reference::<Registry>::get().limits.0, 0);
        let cache = Reference::<Cache<RealU64, RealU64>>::create(());
        cache.with(|cache| cache.entry.set(::core::option::Option::Some((1, 2))));
        cache.destroy().await;
        ::core::assert_eq!(Reference::<dyn Horn>::get().blow(1), 2);
        ::core::assert_eq!(Reference::<dyn Drum>::get().r#move(), 7);
    }
}

/// Ebbs in places where items can be.
mod places {
    use core::cell::Cell;
    use ebb::{EbbRef, ebb};

    /// One of three of this name.
    #[ebb(per_core)]
    #[derive(Debug, Default)]
    struct Same(Cell<u32>);

    /// The second.
    mod inner {
        use core::cell::Cell;

        /// One of three of this name.
        #[ebb::ebb(per_core)]
        #[derive(Debug, Default)]
        pub(super) struct Same(pub(super) Cell<u32>);
    }

    #[ebb::test]
    async fn ebbs_of_one_name_have_slots_of_their_own() {
        #[ebb(per_core)]
        #[derive(Debug, Default)]
        struct Same(Cell<u32>);
        EbbRef::<Same>::get().0.set(1);
        EbbRef::<self::Same>::get().0.set(2);
        EbbRef::<inner::Same>::get().0.set(3);
        let all = (
            EbbRef::<Same>::get().0.get(),
            EbbRef::<self::Same>::get().0.get(),
            EbbRef::<inner::Same>::get().0.get(),
        );
        assert_eq!(all, (1, 2, 3));
    }

    /// Makes Ebbs; several uses of the same place in the source.
    macro_rules! counters {
        ($($name:ident),*) => { $(
            /// A counter.
            #[ebb(per_core)]
            #[derive(Debug, Default)]
            struct $name(Cell<u32>);
        )* };
    }
    counters!(Red, Green);
    counters!(Blue);

    /// The same name each time, hidden by a block each.
    macro_rules! hidden {
        ($value:expr) => {{
            #[ebb(per_core)]
            #[derive(Debug, Default)]
            struct Hidden(Cell<u32>);
            EbbRef::<Hidden>::get().0.set($value);
            move || EbbRef::<Hidden>::get().0.get()
        }};
    }

    #[ebb::test]
    async fn ebbs_that_a_macro_makes_have_slots_of_their_own() {
        EbbRef::<Red>::get().0.set(1);
        EbbRef::<Green>::get().0.set(2);
        EbbRef::<Blue>::get().0.set(3);
        let all = (
            EbbRef::<Red>::get().0.get(),
            EbbRef::<Green>::get().0.get(),
            EbbRef::<Blue>::get().0.get(),
        );
        assert_eq!(all, (1, 2, 3));
        let (one, two) = (hidden!(1), hidden!(2));
        assert_eq!((one(), two()), (1, 2));
    }

    /// A name that assembly cannot spell.
    #[ebb(shared)]
    #[derive(Debug, Default)]
    struct Zähler;

    /// A keyword.
    #[ebb(shared)]
    #[allow(non_camel_case_types)]
    #[derive(Debug, Default)]
    struct r#type;

    #[ebb::test]
    async fn names_beyond_ascii_and_keywords_are_names() {
        let _ = (EbbRef::<Zähler>::get(), EbbRef::<r#type>::get());
    }

    /// A list.
    #[ebb(shared)]
    #[derive(Debug, Default)]
    struct Alone {
        /// The type itself, in a field.
        next: Option<Box<Self>>,
    }

    #[ebb::test]
    async fn a_field_may_mention_self() {
        assert!(EbbRef::<Alone>::get().next.is_none());
    }
}
