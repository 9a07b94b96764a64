//! The client of CouchDB.

use std::time::Duration;

use ebb_hosted::Config;
use ebb_openwhisk::json::Json;
use ebb_openwhisk_cluster::couchdb::{CouchDb, CouchDbOptions};
use ebb_openwhisk_cluster::seam::{Store, StoreError};
use serde_json::{Value, json};

use test_support::couch::{Couch, Fault};

use crate::messages::action;

fn options(couch: &Couch) -> CouchDbOptions {
    CouchDbOptions {
        host: "127.0.0.1".into(),
        port: couch.address().port(),
        username: "whisk".into(),
        password: "secret".into(),
        entities: "whisks".into(),
        activations: "activations".into(),
        subjects: "subjects".into(),
    }
}

fn with_couch(test: impl AsyncFnOnce(&Couch, &CouchDb) + Send + 'static) {
    let couch = Couch::start();
    ebb_hosted::run(
        &Config {
            cores: 1,
            pin: false,
        },
        async move || {
            let client = CouchDb::with_patience(options(&couch), Duration::from_millis(500));
            test(&couch, &client).await;
        },
    );
}

fn record(number: usize) -> (String, Json) {
    let id = format!("guest/{number:032x}");
    let document = json!({"_id": id, "entityType": "activation"});
    let document = Json::parse(&document.to_string()).expect("JSON");
    (id, document)
}

#[test]
fn documents_and_attachments_are_read_over_one_connection_with_their_revision() {
    with_couch(async |couch, client| {
        let mut document = action("a b+c", &"code".into());
        document["_id"] = "guest/pkg/a b+c".into();
        let revision = couch.put_action(&document);
        couch.put_attachment("guest/pkg/a b+c", "uuid-1", b"\x00\xff");
        let got = client
            .action("guest/pkg/a b+c", Some(&revision))
            .await
            .expect("there");
        let got: Value = serde_json::from_str(got.as_str()).expect("JSON");
        assert_eq!(got["_rev"], "1-abc");
        let bytes = client
            .attachment("guest/pkg/a b+c", &revision, "uuid-1")
            .await;
        assert_eq!(bytes, Ok(vec![0, 0xff]));
        assert_eq!(
            client.action("guest/none", None).await,
            Err(StoreError::Missing)
        );
        assert_eq!(couch.connections(), 1);
        assert_eq!(
            couch.state().requests,
            [
                "GET /whisks/guest%2Fpkg%2Fa%20b%2Bc \"1-abc\"",
                "GET /whisks/guest%2Fpkg%2Fa%20b%2Bc/uuid-1 \"1-abc\"",
                "GET /whisks/guest%2Fnone ",
            ]
        );
    });
}

#[test]
fn records_are_put_one_by_one_or_in_bulk_and_conflicts_are_told_apart() {
    with_couch(async |couch, client| {
        let (id, document) = record(1);
        assert_eq!(client.put_record(&id, &document).await, Ok(()));
        assert_eq!(
            client.put_record(&id, &document).await,
            Err(StoreError::Conflict)
        );
        let several = [document, record(2).1, record(3).1];
        let results = client.put_records(&several).await;
        assert_eq!(results, Ok(vec![Err(StoreError::Conflict), Ok(()), Ok(())]));
        assert_eq!(couch.records().len(), 3);
    });
}

#[test]
fn blocked_namespaces_are_those_of_the_view() {
    with_couch(async |couch, client| {
        couch.state().blocked = vec!["bad".into(), "worse".into()];
        let blocked = client.blocked_namespaces().await;
        assert_eq!(blocked, Ok(vec!["bad".into(), "worse".into()]));
    });
}

#[test]
fn a_database_that_is_busy_silent_or_cut_off_is_told_of_and_asked_again_later() {
    with_couch(async |couch, client| {
        couch.put_action(&action("hello", &"code".into()));
        for (fault, told) in [
            (Fault::Status(503), "503: "),
            (Fault::Status(401), "401: "),
            (Fault::Silence(Duration::from_secs(2)), "did not answer"),
            (Fault::Cut, "did not answer"),
        ] {
            couch.fail("GET", fault.clone());
            // A connection that had been used before is tried once more: it may have been closed meanwhile.
            let is_kept = matches!(fault, Fault::Cut);
            let got = client.action("guest/hello", None).await;
            match got {
                Err(StoreError::Failed(why)) => assert!(why.contains(told), "{why}"),
                Ok(_) if is_kept => {}
                other => panic!("{fault:?}: {other:?}"),
            }
            assert!(
                client.action("guest/hello", None).await.is_ok(),
                "after {fault:?}"
            );
        }
        couch.fail("PUT", Fault::Status(413));
        let (id, document) = record(1);
        let refused = client.put_record(&id, &document).await;
        assert!(matches!(refused, Err(StoreError::Refused(why)) if why.contains("413")));
    });
}

#[test]
fn a_database_that_is_not_there_is_told_with_its_address() {
    with_couch(async |_, _| {
        let nowhere = Couch::start();
        let mut options = options(&nowhere);
        // Nothing listens on a port that was just given back.
        let port = std::net::TcpListener::bind(("127.0.0.1", 0)).and_then(|l| l.local_addr());
        options.port = port.expect("a port").port();
        let told = CouchDb::new(options.clone())
            .action("guest/hello", None)
            .await;
        let place = format!("127.0.0.1:{}", options.port);
        assert!(matches!(told, Err(StoreError::Failed(why)) if why.contains(&place)));
    });
}
