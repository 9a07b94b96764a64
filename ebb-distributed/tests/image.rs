//! A process starts an image, which serves an Ebb, and calls it.

extern crate alloc;

#[path = "../examples/cluster/table.rs"]
mod table;

use std::time::Duration;

use ebb::{EbbRef, time};
use ebb_distributed::{Failure, NodeId, Nodes, NotSent, RemoteRef, Start, State, watch};
use ebb_launch as _;
use table::Table;
use test_support::{cargo, needs};

#[test]
fn an_image_answers_calls_of_a_process_until_it_is_gone() {
    needs!("qemu-system-x86_64");
    let image = cargo::example("cluster");
    let one = ebb_hosted::Config {
        cores: 1,
        pin: false,
    };
    ebb_hosted::run(&one, async move || {
        let start = Start::new(image.to_str().expect("a path in UTF-8"))
            .argument("back")
            .setting("EBB_CORES", "2")
            .setting("EBB_MEMORY", "256M")
            .setting("EBB_TIMEOUT", "300");
        let nodes = Nodes::start(start, 1).await.expect("the image joins");
        let node = NodeId(1);
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
        let mut watch = watch(node);
        assert!(matches!(watch.next().await, State::Up { .. }));
        let process = nodes.process(node).expect("it runs");
        nodes.stop(node).await;
        assert!(!std::path::Path::new(&format!("/proc/{process}")).exists());
        assert_eq!(watch.next().await, State::Down);
        let failure = table.size().await.unwrap_err();
        assert!(
            matches!(
                failure,
                Failure::NotSent(NotSent::Unreachable | NotSent::UnknownNode)
            ),
            "{failure:?}"
        );
        time::sleep(Duration::from_millis(1)).await;
    });
}
