//! An image serves an Ebb, and this process calls it.

extern crate alloc;

#[path = "../examples/cluster/table.rs"]
mod table;

use std::{sync::Arc, time::Duration};

use ebb::{EbbRef, time};
use ebb_distributed::{
    Config, Failure, Key, NodeId, NotSent, RemoteRef, State, introduce, join, watch,
};
use table::Table;
use test_support::{Image, cargo, needs};

#[test]
fn an_image_answers_calls_of_a_process_until_it_is_gone() {
    needs!("qemu-system-x86_64");
    let key = Arc::new(std::sync::Mutex::new(None));
    let made = Arc::clone(&key);
    ebb_hosted::run(
        &ebb_hosted::Config {
            cores: 1,
            pin: false,
        },
        async move || {
            *made.lock().unwrap() = Some(Key::random());
        },
    );
    let key = key.lock().unwrap().take().expect("it was made");
    let settings = [("EBB_CORES", "2")];
    let hex = key.to_hex();
    let arguments = ["back", "1", &hex];
    let image = Image::boot(
        &cargo::example("cluster"),
        &arguments,
        7000,
        "serving the table",
        &settings,
    );
    let node = NodeId(1);
    ebb_hosted::run(
        &ebb_hosted::Config {
            cores: 1,
            pin: false,
        },
        async move || {
            let _listening = join(Config::new(NodeId(2), key, ([127, 0, 0, 1], 0)))
                .await
                .unwrap();
            introduce(node, image.address);
            let mut watch = watch(node);
            while watch.next().await == State::Down {
                time::sleep(Duration::from_millis(50)).await;
            }
            let table = EbbRef::<Table>::new().at(node);
            for n in 0..200_u32 {
                let value: Vec<u8> = (0..n * 1000).map(|i| (i ^ n) as u8).collect();
                table
                    .put(format!("key {n}"), value.clone().into())
                    .await
                    .unwrap();
                assert_eq!(
                    table.get(format!("key {n}")).await.unwrap().as_deref(),
                    Some(&value[..])
                );
            }
            assert_eq!(table.size().await, Ok(200));
            assert_eq!(table.get("none".into()).await, Ok(None));
            drop(image);
            assert_eq!(watch.next().await, State::Down);
            let failure = table.size().await.unwrap_err();
            assert!(
                matches!(failure, Failure::NotSent(NotSent::Unreachable)),
                "{failure:?}"
            );
        },
    );
}
