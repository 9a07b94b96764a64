//! Tests that run as a Linux process (`cargo test`) and in an image (`cargo ebb test`).
#![allow(missing_docs)]

use core::net::{Ipv4Addr, SocketAddr};

use ebb::{
    EbbRef,
    net::http::{self, Client, Limits},
};

use {{crate}}::{Served, answer, total};

#[ebb::test]
async fn what_all_cores_have_counted_is_added_up() {
    let before = total().await;
    let all = EbbRef::<Served>::new();
    all.broadcast(|served: &Served| {
        served.count();
    })
    .await
    .unwrap();
    assert_eq!(total().await, before + ebb::core_count() as u64);
}

#[ebb::test]
async fn whoever_gives_a_name_is_greeted_by_it() {
    let server = http::listen(0, Limits::default(), answer).await.unwrap();
    let here = SocketAddr::from((Ipv4Addr::LOCALHOST, server.local_addr().port()));
    let mut client = Client::connect(here, "localhost", Limits::default())
        .await
        .unwrap();
    let response = client.request("GET", "/J%C3%B6rg", &[], b"").await.unwrap();
    assert_eq!(
        (response.status, &*response.body),
        (200, "hello, Jörg\n".as_bytes())
    );
}
