//! The golden expansions as code: what `ebb-macros/src/golden.rs` compares is also right. (`main_hosted` is in
//! `golden_main.rs`; `main_native` is for images, and `error` does not compile, both on purpose.)

// The golden files carry neither comments nor the spans by which clippy knows a macro.
#![allow(
    dead_code,
    missing_docs,
    clippy::all,
    clippy::undocumented_unsafe_blocks
)]

mod per_core {
    use std::cell::Cell;
    include!("golden/per_core.rs");

    impl Hits {
        fn hit(&self) -> u64 {
            self.n.set(self.n.get() + 1);
            self.n.get()
        }
    }

    #[ebb::test]
    async fn the_expansion_of_per_core_works() {
        assert_eq!(ebb::EbbRef::<Hits>::get().hit(), 1);
        assert_eq!(
            ebb::EbbRef::<Hits>::new().gather(Hits::hit).await.unwrap(),
            [2, 1]
        );
    }
}

mod shared_root {
    use std::sync::Arc;
    include!("golden/shared_root.rs");

    #[derive(Default)]
    pub struct Limits;

    impl ebb::FromRoot<Limits> for Registry {
        fn from_root(limits: Arc<Limits>, _: ebb::EbbRef<Self>) -> Self {
            Self { limits, next: None }
        }
    }

    #[ebb::test]
    async fn the_expansion_of_shared_works() {
        let here = std::ptr::from_ref(ebb::EbbRef::<Registry>::get()).addr();
        let all = ebb::EbbRef::<Registry>::new()
            .gather(|r| std::ptr::from_ref(r).addr())
            .await;
        assert_eq!(all.unwrap(), [here, here]);
    }
}

mod dynamic {
    use std::{cell::RefCell, collections::BTreeMap};
    include!("golden/dynamic.rs");

    #[ebb::test]
    async fn the_expansion_of_dynamic_works() {
        let cache = ebb::EbbRef::<Cache<u8>>::create(());
        cache.with(|c| c.entries.borrow_mut().insert(1, 2));
        assert_eq!(cache.with(|c| c.entries.borrow().len()), 1);
        cache.destroy().await;
    }
}

mod shared_dynamic {
    use std::sync::atomic::{AtomicU64, Ordering};
    include!("golden/shared_dynamic.rs");

    #[ebb::test]
    async fn the_expansion_of_shared_dynamic_works() {
        let total = ebb::EbbRef::<Total>::create(());
        let add = |t: &Total| t.0.fetch_add(1, Ordering::Relaxed);
        assert_eq!(total.gather(add).await.unwrap().into_iter().sum::<u64>(), 1);
        total.destroy().await;
    }
}

mod component {
    struct Brass;
    include!("golden/component.rs");

    #[test]
    fn the_expansion_of_a_component_works() {
        let horn = ebb::EbbRef::<dyn Horn>::get();
        assert_eq!(horn.blow(7), 7);
        assert_eq!(horn.name("b", &[]).0, "brass");
    }
}

mod replaceable {
    #[ebb::ebb(shared)]
    #[derive(Default)]
    struct Brass;
    include!("golden/replaceable.rs");

    #[ebb::test]
    async fn the_expansion_of_a_replaceable_component_works() {
        let horn = ebb::EbbRef::<dyn Horn>::get();
        assert_eq!(horn.blow(7), 7);
        assert_eq!(horn.name("b", &[]).1, "b");
    }
}

mod test {
    include!("golden/test.rs");
}

mod remote {
    use ebb_distributed::{Items, RemoteRef, Sink};
    use std::sync::atomic::AtomicU64;

    include!("golden/distributed.rs");
    include!("golden/remote.rs");

    #[ebb::test]
    async fn the_expansion_of_remote_works() {
        // A local call is the method itself.
        let local = ebb::EbbRef::<Table>::get().get(1).await;
        assert_eq!(local.as_deref(), Some("one"));
        let key = ebb_distributed::Key::random();
        let here = ebb_distributed::NodeId(1);
        let config = ebb_distributed::Config::new(here, key, ([127, 0, 0, 1], 0));
        let _server = ebb_distributed::join(config).await.unwrap();
        ebb::EbbRef::<Table>::new().serve();
        let table = ebb::EbbRef::<Table>::new().at(here);
        assert_eq!(table.get(2).await, Ok(None));
        table.hint().unwrap();
        let mut sum = table.add_up(1);
        for n in 0..100 {
            sum.send(n).await.unwrap();
        }
        assert_eq!(sum.finish().await, Ok(4951));
        let (mut feed, mut doubled) = table.doubled();
        for n in 0..40 {
            feed.send(n).await.unwrap();
            assert_eq!(doubled.next().await, Some(Ok(2 * n)));
        }
        feed.end().await;
        assert_eq!(doubled.next().await, None);
        let mut numbers = table.numbers(1);
        assert_eq!(numbers.next().await, Some(Ok(0)));
        assert_eq!(numbers.next().await, None);
    }
}
