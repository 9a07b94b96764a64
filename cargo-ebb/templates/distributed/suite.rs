//! Tests that run as a Linux process (`cargo test`) and in an image (`cargo ebb test`).
#![allow(missing_docs)]

use ebb::EbbRef;
use ebb_distributed::{Config, Key, NodeId, RemoteRef, join};

use {{crate}}::{Counter, total};

#[ebb::test]
async fn a_call_by_its_nodes_name_reaches_the_counter() {
    let here = NodeId(1);
    let config = Config::new(here, Key::random(), ([127, 0, 0, 1], 0));
    let _server = join(config).await.unwrap();
    EbbRef::<Counter>::new().serve();
    let counter = EbbRef::<Counter>::new().at(here);
    let before = counter.sum().await.unwrap();
    assert_eq!(counter.add(3).await, Ok(before + 3));
    // The same Ebb: a local call is the method itself.
    assert_eq!(EbbRef::<Counter>::get().sum().await, before + 3);
    assert_eq!(total(&[here]).await, Ok(before + 3));
}
