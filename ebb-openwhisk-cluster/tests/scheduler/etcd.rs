//! The real client against a real etcd, which is looked at through its JSON gateway, not through the client.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ebb::time;
use ebb_etcd::outside::Outside;
use ebb_hosted::Config;
use ebb_openwhisk_cluster::etcd::Etcd;
use ebb_openwhisk_cluster::options::EtcdOptions;
use ebb_openwhisk_cluster::seam::Directory;
use serde_json::{Value, json};

/// An etcd that runs.
pub struct EtcdServer {
    etcd: test_support::etcd::Etcd,
    pub address: SocketAddr,
}

impl EtcdServer {
    pub fn start() -> Self {
        let etcd = test_support::etcd::Etcd::start(1);
        let address = etcd.address(0);
        Self { etcd, address }
    }

    /// Kills it and starts it again, with what it has stored.
    pub fn restart(&mut self, away: Duration) {
        self.etcd.kill(0);
        std::thread::sleep(away);
        self.etcd.start_again(0);
    }

    pub fn ask(&self, path: &str, body: &Value) -> Value {
        self.etcd.ask(0, path, body)
    }

    /// All keys that begin so, with their values.
    pub fn below(&self, prefix: &str) -> Vec<(String, String)> {
        let mut end = prefix.as_bytes().to_vec();
        *end.last_mut().expect("a prefix") += 1;
        let answer = self.ask(
            "/v3/kv/range",
            &json!({"key": STANDARD.encode(prefix), "range_end": STANDARD.encode(end)}),
        );
        let text = |value: &Value| {
            let bytes = STANDARD.decode(value.as_str().unwrap_or_default());
            String::from_utf8(bytes.expect("base64")).expect("text")
        };
        let kvs = answer["kvs"].as_array().cloned().unwrap_or_default();
        kvs.iter()
            .map(|kv| (text(&kv["key"]), text(&kv["value"])))
            .collect()
    }

    pub fn put(&self, key: &str, value: &str) {
        let body = json!({"key": STANDARD.encode(key), "value": STANDARD.encode(value)});
        self.ask("/v3/kv/put", &body);
    }

    pub fn remove(&self, key: &str) {
        self.ask("/v3/kv/deleterange", &json!({"key": STANDARD.encode(key)}));
    }

    /// Ends all leases.
    pub fn revoke_all(&self) -> usize {
        let leases = self.etcd.leases(0);
        for lease in &leases {
            self.ask("/v3/lease/revoke", &json!({"ID": lease["ID"]}));
        }
        leases.len()
    }
}

/// Waits until it is so.
pub async fn until(what: &str, seconds: u64, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(seconds), "{what}");
        time::sleep(Duration::from_millis(20)).await;
    }
}

fn with_etcd(test: impl AsyncFnOnce(EtcdServer, Etcd) + Send + 'static) {
    test_support::needs!("etcd");
    let server = EtcdServer::start();
    ebb_hosted::run(
        &Config {
            cores: 1,
            pin: false,
        },
        async move || {
            let outside = Outside::start("test").expect("a thread");
            let options = EtcdOptions {
                hosts: server.address.to_string(),
                user: None,
                lease_seconds: 2,
            };
            let etcd = Etcd::start(&outside, &options, "t/lease").expect("an address");
            test(server, etcd).await;
        },
    );
}

#[test]
fn what_is_wished_last_is_what_is_there_and_goes_at_the_end() {
    with_etcd(async |server, etcd| {
        etcd.put("t/a", "1");
        etcd.put("t/b", "1");
        etcd.put("t/a", "2");
        etcd.delete("t/b");
        until("the key", 10, || {
            server.below("t/a") == [("t/a".into(), "2".into())]
        })
        .await;
        assert_eq!(server.below("t/").len(), 2, "{:?}", server.below("t/"));
        assert_eq!(server.below("t/")[1].0, "t/lease");
        server.put("x/1", "one");
        server.put("x/2", "two");
        assert_eq!(etcd.get("x/2").await, Ok(Some("two".into())));
        assert_eq!(etcd.get("x/3").await, Ok(None));
        assert_eq!(etcd.below("x/").await, Ok(vec!["one".into(), "two".into()]));
        assert_eq!(etcd.count("x/").await, Ok(2));
        // Longer than the lease: it is kept alive.
        time::sleep(Duration::from_millis(4500)).await;
        assert_eq!(server.below("t/").len(), 2);
        etcd.end().await;
        assert!(server.below("t/").is_empty());
    });
}

#[test]
fn a_lost_lease_a_lost_key_and_an_etcd_that_was_away_cost_nothing_that_is_to_be_there() {
    with_etcd(async |mut server, etcd| {
        for number in 0..20 {
            etcd.put(&format!("t/{number:02}"), "there");
        }
        until("all keys", 10, || server.below("t/").len() == 21).await;
        let lease = server.below("t/lease");
        assert_eq!(server.revoke_all(), 1);
        until("all keys with another lease", 10, || {
            server.below("t/").len() == 21 && server.below("t/lease") != lease
        })
        .await;
        server.remove("t/07");
        until("the key again", 10, || server.below("t/").len() == 21).await;
        // What is wished while it is away comes to pass afterwards.
        let away = std::thread::spawn(move || {
            server.restart(Duration::from_secs(1));
            server
        });
        etcd.delete("t/03");
        etcd.put("t/20", "new");
        while !away.is_finished() {
            time::sleep(Duration::from_millis(20)).await;
        }
        let server = away.join().expect("etcd is back");
        until("the wishes", 20, || {
            let keys = server.below("t/");
            keys.iter().any(|(key, _)| key == "t/20") && keys.iter().all(|(key, _)| key != "t/03")
        })
        .await;
        assert_eq!(server.below("t/").len(), 21);
    });
}

#[test]
fn a_watch_tells_what_is_there_and_what_becomes_of_it_and_goes_on_when_etcd_was_away() {
    with_etcd(async |mut server, etcd| {
        server.put("w/a", "1");
        let mut changes = etcd.watch("w/");
        let mut next = async || {
            let change = time::timeout(Duration::from_secs(20), changes.recv()).await;
            let change = change.expect("in time").expect("it goes on");
            (change.key, change.value)
        };
        let change = |key: &str, value: Option<&str>| (key.to_owned(), value.map(str::to_owned));
        assert_eq!(next().await, change("w/a", Some("1")));
        server.put("w/b", "2");
        server.put("x/b", "nobody watches this");
        server.put("w/a", "3");
        server.remove("w/b");
        assert_eq!(next().await, change("w/b", Some("2")));
        assert_eq!(next().await, change("w/a", Some("3")));
        assert_eq!(next().await, change("w/b", None));
        server.restart(Duration::ZERO);
        // What is there is told again.
        assert_eq!(next().await, change("w/a", Some("3")));
        server.put("w/c", "4");
        assert_eq!(next().await, change("w/c", Some("4")));
    });
}

#[test]
fn an_etcd_that_wants_to_know_who_asks_is_told_again_when_its_token_has_ended() {
    test_support::needs!("etcd");
    let mut server = EtcdServer::start();
    for (path, body) in [
        ("/v3/auth/role/add", json!({"name": "root"})),
        (
            "/v3/auth/user/add",
            json!({"name": "root", "password": "secret"}),
        ),
        (
            "/v3/auth/user/grant",
            json!({"user": "root", "role": "root"}),
        ),
        ("/v3/auth/enable", json!({})),
    ] {
        let answer = server.ask(path, &body);
        assert!(answer.get("error").is_none(), "{path}: {answer}");
    }
    ebb_hosted::run(
        &Config {
            cores: 1,
            pin: false,
        },
        async move || {
            let outside = Outside::start("test").expect("a thread");
            let hosts = server.address.to_string();
            let options = |user| EtcdOptions {
                hosts: hosts.clone(),
                user,
                lease_seconds: 10,
            };
            let user = Some(("root".into(), "secret".into()));
            let etcd = Etcd::start(&outside, &options(user), "t/lease").expect("an address");
            etcd.put("t/a", "1");
            let began = Instant::now();
            while etcd.get("t/a").await != Ok(Some("1".into())) {
                assert!(began.elapsed() < Duration::from_secs(10), "the key");
                time::sleep(Duration::from_millis(20)).await;
            }
            // It forgets its tokens.
            server.restart(Duration::ZERO);
            let began = Instant::now();
            while etcd.get("t/a").await != Ok(Some("1".into())) {
                assert!(began.elapsed() < Duration::from_secs(10), "the key again");
                time::sleep(Duration::from_millis(20)).await;
            }
            let nobody = Etcd::start(&outside, &options(None), "t/other").expect("an address");
            let told = nobody.get("t/a").await.expect_err("nobody may ask");
            assert!(told.contains("user name is empty"), "{told}");
        },
    );
}
