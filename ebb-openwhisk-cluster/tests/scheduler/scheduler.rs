//! The whole program in scheduler mode: a broker, etcd, a database, functions in Node. The test plays the scheduler over tonic, and the
//! controller that is told of activations.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use ebb::time;
use ebb_hosted::Config;
use ebb_openwhisk::json::Json;
use ebb_openwhisk_cluster::counts::Counts;
use ebb_openwhisk_cluster::kafka::{Brokers, Kafka, KafkaFeed, ensure_topic};
use ebb_openwhisk_cluster::proto::{
    FetchRequest, FetchResponse, RescheduleRequest, RescheduleResponse,
};
use ebb_openwhisk_cluster::seam::{Bus, Feed};
use serde_json::{Value, json};
use test_support::{broker::Broker, couch::Couch};
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{NamedService, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use crate::etcd::{EtcdServer, until};
use crate::messages::{action, completions, id, message};
use crate::running::Running;

/// What the scheduler has, and was told.
#[derive(Default)]
pub struct Played {
    /// Activations by the name of their action.
    queues: BTreeMap<String, VecDeque<Value>>,
    fetches: Vec<FetchRequest>,
    /// It has no queue of this action.
    gone: Option<String>,
}

/// A scheduler. It ends with the process.
#[derive(Clone)]
pub struct Scheduler {
    played: Arc<Mutex<Played>>,
    pub port: u16,
}

impl Scheduler {
    pub fn start() -> Self {
        let free = TcpListener::bind(("127.0.0.1", 0)).and_then(|l| l.local_addr());
        let address = free.expect("a port");
        let scheduler = Self {
            played: Arc::default(),
            port: address.port(),
        };
        let service = scheduler.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let serving = tonic::transport::Server::builder()
                .add_service(service)
                .serve(address);
            runtime
                .expect("a runtime")
                .block_on(serving)
                .expect("it serves");
        });
        scheduler
    }

    fn played(&self) -> MutexGuard<'_, Played> {
        self.played.lock().expect("no panic")
    }

    pub fn add(&self, message: Value) {
        let name = message["action"]["name"].as_str().expect("a name");
        let name = name.to_owned();
        let mut played = self.played();
        played.queues.entry(name).or_default().push_back(message);
    }

    /// Fetches for an action.
    pub fn fetches(&self, action: &str) -> Vec<FetchRequest> {
        let played = self.played();
        let of_action = played
            .fetches
            .iter()
            .filter(|fetch| name_of(&fetch.fqn) == action);
        of_action.cloned().collect()
    }

    /// `ContainerCreationMessage`.
    pub fn creation(&self, number: usize, action: &str, revision: &str) -> Value {
        json!({
            "transid": ["0123456789abcdef0123456789abcdef", 1500], "invocationNamespace": "guest",
            "action": {"path": "guest", "name": action, "version": "0.0.1"}, "revision": revision,
            "whiskActionMetaData": {"name": action, "exec": {"kind": "nodejs:20", "binary": false}},
            "rootSchedulerIndex": {"asString": "0"}, "schedulerHost": "127.0.0.1", "rpcPort": self.port,
            "retryCount": 0, "creationId": id(number),
        })
    }

    /// What there is for an action at the moment.
    fn look(&self, name: &str) -> Option<Value> {
        let mut played = self.played();
        if played.gone.as_deref() == Some(name) {
            let gone = json!({"noMemoryQueue": "no memory queue exist", "type": "NoMemoryQueue"});
            return Some(gone);
        }
        played.queues.get_mut(name)?.pop_front()
    }

    async fn answer(self, fetch: FetchRequest) -> Value {
        let name = name_of(&fetch.fqn);
        let is_alive = fetch.alive;
        self.played().fetches.push(fetch);
        // As `MemoryQueue`: it waits for an activation, and says then that there is none.
        for _ in 0..20 {
            if let Some(answer) = self.look(&name) {
                return answer;
            }
            if !is_alive {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        json!({"noActivationMessage": "no activation message exist", "type": "NoActivationMessage"})
    }
}

fn name_of(fqn: &str) -> String {
    let fqn: Value = serde_json::from_str(fqn).expect("a name in JSON");
    fqn["name"].as_str().expect("a name").to_owned()
}

impl NamedService for Scheduler {
    const NAME: &'static str = "activation.ActivationService";
}

impl Service<http::Request<tonic::body::Body>> for Scheduler {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let scheduler = self.clone();
        Box::pin(async move {
            let fetches = request.uri().path().ends_with("/FetchActivation");
            Ok(match fetches {
                true => {
                    let codec = ProstCodec::<FetchResponse, FetchRequest>::default();
                    let mut grpc = tonic::server::Grpc::new(codec);
                    grpc.unary(scheduler, request).await
                }
                false => {
                    let codec = ProstCodec::<RescheduleResponse, RescheduleRequest>::default();
                    let mut grpc = tonic::server::Grpc::new(codec);
                    grpc.unary(scheduler, request).await
                }
            })
        })
    }
}

impl UnaryService<FetchRequest> for Scheduler {
    type Response = FetchResponse;
    type Future = BoxFuture<Response<FetchResponse>, Status>;

    fn call(&mut self, request: Request<FetchRequest>) -> Self::Future {
        let scheduler = self.clone();
        Box::pin(async move {
            let message = scheduler.answer(request.into_inner()).await;
            Ok(Response::new(FetchResponse {
                activation_message: json!({ "message": message }).to_string(),
            }))
        })
    }
}

impl UnaryService<RescheduleRequest> for Scheduler {
    type Response = RescheduleResponse;
    type Future = BoxFuture<Response<RescheduleResponse>, Status>;

    fn call(&mut self, request: Request<RescheduleRequest>) -> Self::Future {
        let message = serde_json::from_str(&request.into_inner().activation_message);
        self.add(message.expect("an activation in JSON"));
        Box::pin(async {
            Ok(Response::new(RescheduleResponse {
                is_rescheduled: true,
            }))
        })
    }
}

/// A cluster with one invoker.
pub struct Cluster {
    pub etcd: EtcdServer,
    pub couch: Couch,
    pub scheduler: Scheduler,
    pub running: Running,
    kafka: Kafka,
    pub answers: KafkaFeed,
    completed: KafkaFeed,
}

impl Cluster {
    async fn start(broker: &Broker, variables: &[(&str, &str)]) -> Self {
        let (etcd, couch, scheduler) = (EtcdServer::start(), Couch::start(), Scheduler::start());
        let mut brokers = Brokers::at(&broker.address.to_string());
        brokers
            .consumer
            .insert("fetch.wait.max.ms".into(), "50".into());
        for topic in ["invoker0", "completed0", "creationAck0"] {
            ensure_topic(&brokers, topic).await.expect("a topic");
        }
        let counts = Arc::new(Counts::default());
        let feed = |topic| KafkaFeed::subscribe(&brokers, topic, 10_000, &counts).expect("a feed");
        let options = ["--scheduler", &etcd.address.to_string()];
        let cluster = Self {
            running: Running::set(&broker.address, &couch.url(), &options, variables),
            kafka: Kafka::new(&brokers).expect("a producer"),
            answers: feed("creationAck0"),
            completed: feed("completed0"),
            etcd,
            couch,
            scheduler,
        };
        // Consumers take a while to join; nothing is to have happened before.
        for (topic, feed) in [
            ("creationAck0", &cluster.answers),
            ("completed0", &cluster.completed),
        ] {
            let mark = Json::parse(r#"{"mark":1}"#).expect("JSON");
            cluster.kafka.send(topic, &mark).await.expect("sent");
            assert_eq!(Self::next(feed).await, json!({"mark": 1}));
        }
        until("the invoker is up", 60, || cluster.status() == "up").await;
        cluster
    }

    pub fn resources(&self) -> Value {
        let told = self.etcd.below("whisk/invokers/0");
        let told = told.first().map(|(_, value)| serde_json::from_str(value));
        told.and_then(Result::ok).unwrap_or_default()
    }

    pub fn status(&self) -> String {
        let resources = self.resources();
        resources["status"].as_str().unwrap_or_default().to_owned()
    }

    pub async fn ask(&self, message: &Value) {
        let json = Json::parse(&message.to_string()).expect("JSON");
        self.kafka
            .send("invoker0", &json)
            .await
            .expect("the broker takes it");
    }

    pub async fn next(feed: &KafkaFeed) -> Value {
        let next = time::timeout(Duration::from_secs(60), feed.next()).await;
        let next = next.expect("in time").expect("a message");
        serde_json::from_slice(&next).expect("JSON")
    }

    /// Reads on until so many activations have been completed.
    pub async fn completed(&self, count: usize) -> Vec<Value> {
        let mut told = Vec::new();
        while completions(&told).values().sum::<usize>() < count {
            told.push(Self::next(&self.completed).await);
        }
        told
    }
}

fn with_cluster(test: impl AsyncFnOnce(Cluster) + Send + 'static) {
    with_cluster_set(&[], test);
}

/// Runs a test with a cluster whose invoker has these variables in its environment.
pub fn with_cluster_set(
    variables: &'static [(&'static str, &'static str)],
    test: impl AsyncFnOnce(Cluster) + Send + 'static,
) {
    test_support::needs!("node", "/usr/bin/python3", "etcd");
    let Some(broker) = Broker::start() else {
        return;
    };
    ebb_hosted::run(
        &Config {
            cores: 1,
            pin: false,
        },
        async move || {
            let cluster = Cluster::start(&broker, variables).await;
            test(cluster).await;
        },
    );
}

#[test]
fn a_container_lives_from_its_creation_over_its_rest_to_its_end_as_schedulers_see_it() {
    with_cluster(async |cluster| {
        assert_eq!(cluster.resources()["freeMemory"], 1024);
        // The health action was stored and run.
        let code = "const main = x => { console.log('n is', x.n); return { n: x.n } }";
        let revision = cluster.couch.put_action(&action("hello", &code.into()));
        for number in 0..10 {
            cluster
                .scheduler
                .add(message(number, "hello", &revision, number % 2 == 0));
        }
        let creation = cluster.scheduler.creation(100, "hello", &revision);
        cluster.ask(&creation).await;
        let answer = Cluster::next(&cluster.answers).await;
        assert_eq!(answer["creationId"], id(100));
        assert_eq!(answer.get("error"), None, "{answer}");
        assert_eq!(answer["rootInvokerIndex"]["instance"], 0);
        assert_eq!(answer["actionMetaData"], creation["whiskActionMetaData"]);
        let told = cluster.completed(10).await;
        let expected: BTreeMap<String, usize> = (0..10).map(|n| (id(n), 1)).collect();
        assert_eq!(completions(&told), expected);
        let results = told.iter().filter(|t| t["response"].is_object()).count();
        assert_eq!(results, 5, "blocking ones get their results");

        // It asks, then it rests, and its key says so.
        let prefix = format!("whisk/warmed/guest/guest/hello/{revision}/invoker/0/container/");
        until("it rests", 20, || cluster.etcd.below(&prefix).len() == 1).await;
        let fetches = cluster.scheduler.fetches("hello");
        assert!(!fetches[0].warmed && fetches[0].last_duration.is_none());
        assert!(fetches[1].warmed && fetches[1].last_duration.is_some());
        assert!(fetches.iter().all(|fetch| fetch.alive));
        let container = &fetches[0].container_id;
        assert_eq!(
            cluster.etcd.below(&prefix)[0].0,
            format!("{prefix}{container}")
        );
        let existing = "whisk/namespace/guest/";
        until("its other key is gone", 5, || {
            cluster.etcd.below(existing).is_empty()
        })
        .await;
        until("its memory is free", 5, || {
            cluster.resources()["freeMemory"] == 1024
        })
        .await;
        let pool = cluster.running.http("GET /pool");
        assert!(
            pool.contains(&format!(
                r#""pausedPool":{{"total":1,"containers":[{{"containerId":"{container}","#
            )),
            "{pool}"
        );

        // The next creation is that container again.
        cluster.scheduler.add(message(10, "hello", &revision, true));
        let creation = cluster.scheduler.creation(101, "hello", &revision);
        cluster.ask(&creation).await;
        assert_eq!(Cluster::next(&cluster.answers).await["creationId"], id(101));
        cluster.completed(1).await;
        let fetches = cluster.scheduler.fetches("hello");
        assert!(fetches.iter().all(|fetch| fetch.container_id == *container));
        assert!(cluster.etcd.below(&prefix).is_empty());
        assert_eq!(cluster.etcd.below(existing).len(), 1);

        // A deletion ends it, and it says so.
        let mut deletion = cluster.scheduler.creation(0, "hello", &revision);
        deletion
            .as_object_mut()
            .expect("an object")
            .remove("creationId");
        cluster.ask(&deletion).await;
        until("it says goodbye", 10, || {
            let fetches = cluster.scheduler.fetches("hello");
            fetches.last().is_some_and(|fetch| !fetch.alive)
        })
        .await;
        until("its keys are gone", 5, || {
            cluster.etcd.below(existing).is_empty()
        })
        .await;
        let records = cluster.couch.records();
        assert_eq!(
            records.len(),
            11,
            "records of the health action are not kept"
        );

        cluster.running.signal("-TERM");
        assert_eq!(cluster.running.ended(), Some(0));
        assert!(
            cluster.etcd.below("whisk/i").is_empty(),
            "its lease has ended"
        );
    });
}

#[test]
fn creations_that_cannot_be_are_answered_and_idle_containers_make_room() {
    with_cluster(async |cluster| {
        let mut creations = 0;
        let mut create = async |name: &str, revision: &str| {
            creations += 1;
            let creation = cluster.scheduler.creation(creations, name, revision);
            cluster.ask(&creation).await;
            let answer = Cluster::next(&cluster.answers).await;
            assert_eq!(answer["creationId"], id(creations));
            answer["error"].as_str().unwrap_or("none").to_owned()
        };
        assert_eq!(create("missing", "1-a").await, "DBFetchError");
        let mut large = action("large", &"const main = x => x".into());
        large["limits"]["memory"] = 512.into();
        let large = cluster.couch.put_action(&large);
        let mut other = action("other", &"const main = x => x".into());
        other["limits"]["memory"] = 1024.into();
        let other = cluster.couch.put_action(&other);
        cluster.scheduler.add(message(1, "large", &large, true));
        assert_eq!(create("large", &large).await, "none");
        assert_eq!(create("large", &large).await, "none");
        assert_eq!(create("other", &other).await, "ResourceNotEnoughError");
        cluster.completed(1).await;
        // One has run something and rests; the other ended without.
        until("one rests", 20, || {
            cluster.etcd.below("whisk/warmed/guest/guest/large/").len() == 1
                && cluster.etcd.below("whisk/namespace/").is_empty()
        })
        .await;
        assert_eq!(create("other", &other).await, "none");
        until("it made room", 5, || {
            cluster.etcd.below("whisk/warmed/guest/").is_empty()
        })
        .await;
        // Disabled: it says so, lets its containers go, and makes no further ones.
        assert!(
            cluster
                .running
                .http("POST /disable")
                .contains("now disabled")
        );
        until("it is down", 10, || cluster.status() == "down").await;
        assert_eq!(create("large", &large).await, "UnknownError");
        until("they have gone", 10, || {
            cluster.etcd.below("whisk/namespace/").is_empty()
        })
        .await;
        assert!(
            cluster
                .running
                .http("GET /pool/count")
                .ends_with("\r\n\r\n0")
        );
        assert!(cluster.running.http("POST /enable").contains("now enabled"));
        until("it is up again", 20, || cluster.status() == "up").await;
        assert_eq!(create("large", &large).await, "none");
    });
}

#[test]
fn a_queue_that_moved_is_followed_and_a_lost_lease_loses_no_activation() {
    with_cluster(async |cluster| {
        let code = "const main = x => new Promise(done => setTimeout(() => done({ n: x.n }), 20))";
        let revision = cluster.couch.put_action(&action("moves", &code.into()));
        for number in 0..50 {
            cluster
                .scheduler
                .add(message(number, "moves", &revision, false));
        }
        for number in 0..3 {
            let creation = cluster.scheduler.creation(number, "moves", &revision);
            cluster.ask(&creation).await;
            Cluster::next(&cluster.answers).await;
        }
        assert_eq!(cluster.etcd.revoke_all(), 1);
        let mut told = cluster.completed(20).await;
        // The queue is another scheduler's now, which says so in etcd.
        let second = Scheduler::start();
        let rest: Vec<Value> = {
            let mut played = cluster.scheduler.played();
            played.gone = Some("moves".into());
            let queue = played.queues.get_mut("moves");
            queue.map(std::mem::take).unwrap_or_default().into()
        };
        for message in rest {
            second.add(message);
        }
        cluster.etcd.put(
            "whisk/queue/guest/guest/moves/leader",
            &json!({"host": "127.0.0.1", "rpcPort": second.port, "akkaPort": 7}).to_string(),
        );
        let freed: usize = completions(&told).values().sum();
        told.extend(cluster.completed(50 - freed).await);
        let expected: BTreeMap<String, usize> = (0..50).map(|n| (id(n), 1)).collect();
        assert_eq!(completions(&told), expected);
        assert!(!second.fetches("moves").is_empty());
        until("the keys are there again", 10, || {
            cluster.status() == "up" && !cluster.etcd.below("whisk/instance/invoker0/").is_empty()
        })
        .await;
        // A queue that nobody has ends its containers.
        second.played().gone = Some("moves".into());
        cluster.etcd.remove("whisk/queue/guest/guest/moves/leader");
        until("they have gone", 10, || {
            cluster.etcd.below("whisk/namespace/").is_empty()
                && cluster.etcd.below("whisk/warmed/").is_empty()
        })
        .await;
    });
}
