//! The command line, and OpenWhisk's own configuration in the environment.
//!
//! OpenWhisk's images take `CONFIG_whisk_a_bC=v` for the setting `whisk.a.b-c = v` (`common/scala/transformEnvironment.sh`), and some
//! older variables. What an invoker of OpenWhisk is started with, this one can be started with; words of the command line go first.

use std::collections::HashMap;
use std::time::Duration;

use ebb_invoker::Machines;

use crate::couchdb::CouchDbOptions;
use crate::encryption::Keys;
use crate::invoker::{Settings, StoreLevel};
use crate::kafka::{Brokers, SERDES_OVERHEAD};
use crate::message::instance::InvokerId;
use crate::pool::PoolSettings;
use crate::size::{duration, parse_bytes};

/// Says what there is, for people.
pub const HELP: &str = "\
usage: whisk-invoker --id N --kafka HOST:PORT --couchdb URL [--scheduler ETCD] [--memory SIZE] [--port N] [--runtimes FILE]

An invoker of an existing OpenWhisk: reads activations from Kafka's topic invokerN (sharding load balancer), or fetches them
from schedulers; runs them, acknowledges them, and stores their records in CouchDB.

  --id N            the invoker's number: one that no other invoker of this OpenWhisk has; numbers begin with 0, without gaps
  --kafka HOSTS     the brokers, HOST:PORT,HOST:PORT            (KAFKA_HOSTS)
  --couchdb URL     http://USER:PASSWORD@HOST:PORT              (CONFIG_whisk_couchdb_protocol, _username, ...)
  --database-prefix P  its databases are P + whisks, activations, subjects  (CONFIG_whisk_couchdb_databases_*)
  --scheduler ETCD  activations come from schedulers, which etcd knows: HOST:PORT,HOST:PORT  (CONFIG_whisk_etcd_hosts, with
                    CONFIG_whisk_spi_InvokerProvider=org.apache.openwhisk.core.invoker.FPCInvokerReactive)
  --memory SIZE     what controllers share out, 2G by default   (CONFIG_whisk_containerPool_userMemory)
  --port N          where /ping, /metrics, /enable, /disable, /isEnabled are (8080, or PORT)
  --runtimes FILE   the kinds of code, as OpenWhisk's runtimes.json
  --machines N      runs functions on N machines, which it starts with an image of the REST invoker
  --image FILE      that image (target/release/examples/invoker)
  --machine-cores N, --machine-memory SIZE   of each machine (1, 2G)
  --help            says this
  --version         which version it is

Further settings are read where OpenWhisk's own invoker has them: topics' prefix, user events, parameter storage, levels of
stored records, payload sizes, Kafka's client settings (CONFIG_whisk_kafka_common_*, _producer_*, _consumer_*).";

/// How the invoker is started.
#[derive(Debug)]
pub struct Options {
    /// How it behaves.
    pub settings: Settings,
    /// Where the bus is.
    pub brokers: Brokers,
    /// Where the database is.
    pub couchdb: CouchDbOptions,
    /// The port of its own HTTP.
    pub port: u16,
    /// Who may enable and disable it, `user:password`.
    pub credentials: String,
    /// The manifest of the kinds of code.
    pub runtimes: Option<String>,
    /// Activations at once.
    pub slots: usize,
    /// Where schedulers are, if activations come from them.
    pub scheduler: Option<SchedulerOptions>,
    /// Machines that functions run on; `None` to run them here.
    pub machines: Option<Machines>,
}

/// Where etcd is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdOptions {
    /// `HOST:PORT,..`, `whisk.etcd.hosts`.
    pub hosts: String,
    /// Who asks, and the password, where etcd wants to know.
    pub user: Option<(String, String)>,
    /// Seconds of the lease, `whisk.etcd.lease.timeout`.
    pub lease_seconds: u32,
}

/// What scheduler mode needs besides.
#[derive(Debug)]
pub struct SchedulerOptions {
    /// Where etcd is.
    pub etcd: EtcdOptions,
    /// How containers live.
    pub pool: PoolSettings,
}

/// What the program is to do.
#[derive(Debug)]
pub enum Command {
    /// Print [`HELP`].
    Help,
    /// Print which version it is.
    Version,
    /// Be an invoker.
    Serve(Box<Options>),
}

/// Words of the command line that are followed by another word.
const WORDS: [&str; 12] = [
    "--id",
    "--kafka",
    "--couchdb",
    "--database-prefix",
    "--memory",
    "--port",
    "--runtimes",
    "--scheduler",
    "--machines",
    "--image",
    "--machine-cores",
    "--machine-memory",
];

impl Command {
    /// Reads a command line and an environment.
    ///
    /// # Errors
    /// Which word or variable is wrong, and how to write it.
    pub fn parse<'a>(
        arguments: impl IntoIterator<Item = &'a str>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, String> {
        let mut words: HashMap<&str, &str> = HashMap::new();
        let mut arguments = arguments.into_iter();
        while let Some(word) = arguments.next() {
            match word {
                "--help" | "-h" => return Ok(Self::Help),
                "--version" | "-V" => return Ok(Self::Version),
                _ => {}
            }
            let Some(known) = WORDS.into_iter().find(|known| *known == word) else {
                return Err(format!("'{word}' is no option; --help says what there is"));
            };
            let value = arguments.next();
            let value = value
                .ok_or_else(|| format!("{word} is followed by nothing; --help says by what"))?;
            if words.insert(known, value).is_some() {
                return Err(format!("{word} is given twice"));
            }
        }
        let environment = Environment(environment.into_iter().collect());
        environment
            .options(&words)
            .map(|options| Self::Serve(Box::new(options)))
    }
}

struct Environment(HashMap<String, String>);

impl Environment {
    fn get(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|v| !v.is_empty())
    }

    /// A setting below `whisk`.
    fn whisk(&self, name: &str) -> Option<&str> {
        self.get(&format!("CONFIG_whisk_{name}"))
    }

    fn read<T>(
        &self,
        name: &str,
        default: T,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, String> {
        match self.whisk(name) {
            Some(text) => read(text).map_err(|why| format!("CONFIG_whisk_{name}: {why}")),
            None => Ok(default),
        }
    }

    /// Settings of Kafka's clients: `fetchMaxWaitMs` is `fetch.max.wait.ms`, by names that librdkafka has others for in a few cases.
    fn kafka(&self, part: &str) -> HashMap<String, String> {
        let prefix = format!("CONFIG_whisk_kafka_{part}_");
        let settings = self.0.iter().filter_map(|(name, value)| {
            let name = librdkafka(&dotted(name.strip_prefix(&prefix)?))?;
            Some((name, value.clone()))
        });
        settings.collect()
    }

    fn options(&self, words: &HashMap<&str, &str>) -> Result<Options, String> {
        let number = |name: &str, text: &str| {
            let number = text.parse::<u32>();
            number.map_err(|_| format!("{name} is followed by '{text}', which is no number"))
        };
        let id = words.get("--id").ok_or(
            "which invoker is this? --id N gives its number (numbers by ZooKeeper are not supported)",
        )?;
        let memory = match words
            .get("--memory")
            .copied()
            .or(self.whisk("containerPool_userMemory"))
        {
            Some(text) => parse_bytes(text).map_err(|why| format!("--memory: {why}"))?,
            None => 2 << 30,
        };
        let slots = usize::try_from(memory / LEAST_MEMORY).unwrap_or(usize::MAX);
        if slots == 0 {
            let text = "--memory: an invoker has at least 128 MB, the least that an action has";
            return Err(text.into());
        }
        let kafka = words.get("--kafka").copied().or(self.get("KAFKA_HOSTS"));
        let kafka = kafka.ok_or("where is Kafka? --kafka HOST:PORT says so")?;
        let payload = self.read("activation_payload_max", 1 << 20, parse_bytes)?;
        let overhead = self.read(
            "activation_kafka_serdesOverhead",
            SERDES_OVERHEAD as u64,
            parse_bytes,
        )?;
        let port = words
            .get("--port")
            .copied()
            .or(self.get("PORT"))
            .unwrap_or("8080");
        let replication = self.read("kafka_replicationFactor", 1, |text| {
            text.parse().map_err(|_| format!("'{text}' is no number"))
        })?;
        let mut invoker = InvokerId::new(number("--id", id)?, memory);
        invoker.displayed_name = self.get("INVOKER_NAME").map(str::to_owned);
        Ok(Options {
            settings: self.settings(invoker)?,
            brokers: Brokers {
                hosts: kafka.into(),
                common: self.kafka("common"),
                producer: self.kafka("producer"),
                consumer: self.kafka("consumer"),
                message_bytes: usize::try_from(payload + overhead).unwrap_or(usize::MAX),
                replication,
            },
            couchdb: self.couchdb(words)?,
            port: port
                .parse()
                .map_err(|_| format!("--port: '{port}' is no port"))?,
            credentials: format!(
                "{}:{}",
                self.whisk("credentials_invoker_username")
                    .unwrap_or("invoker.user"),
                self.whisk("credentials_invoker_password")
                    .unwrap_or("invoker.pass")
            ),
            runtimes: words.get("--runtimes").map(|&file| file.to_owned()),
            slots,
            scheduler: self.scheduler(words)?,
            machines: machines(words)?,
        })
    }

    /// Scheduler mode, if it is asked for here or by the provider of the reference that is named.
    fn scheduler(&self, words: &HashMap<&str, &str>) -> Result<Option<SchedulerOptions>, String> {
        let word = words.get("--scheduler").copied();
        let provider = self.whisk("spi_InvokerProvider").unwrap_or_default();
        if word.is_none() && !provider.ends_with(".FPCInvokerReactive") {
            return Ok(None);
        }
        let hosts = word.or(self.whisk("etcd_hosts"));
        let hosts = hosts.ok_or("where is etcd? --scheduler HOST:PORT says so")?;
        if self.whisk("scheduler_grpc_tls") == Some("true") {
            return Err(
                "CONFIG_whisk_scheduler_grpc_tls: schedulers are reached without TLS".into(),
            );
        }
        let user = self.whisk("etcd_username");
        let password = self.whisk("etcd_password").unwrap_or_default();
        let lease_seconds = self.read("etcd_lease_timeout", 10, |text| {
            text.parse().map_err(|_| format!("'{text}' is no number"))
        })?;
        let time = |name: &str, usual| {
            let name = format!("containerProxy_timeouts_{name}");
            self.read(&name, usual, duration)
        };
        let usual = PoolSettings::usual();
        Ok(Some(SchedulerOptions {
            etcd: EtcdOptions {
                hosts: hosts.into(),
                user: user.map(|name| (name.into(), password.into())),
                lease_seconds,
            },
            pool: PoolSettings {
                cluster: self.whisk("cluster_name").unwrap_or("whisk").into(),
                pause_grace: time("pauseGrace", usual.pause_grace)?,
                idle: time("idleContainer", usual.idle)?,
                keeping: time("keepingDuration", usual.keeping)?,
            },
        }))
    }

    fn settings(&self, id: InvokerId) -> Result<Settings, String> {
        let prefix = self.whisk("kafka_topics_prefix").unwrap_or_default();
        let events = self.read("userEvents_enabled", false, |text| match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(format!("'{text}' is neither true nor false")),
        })?;
        let event_prefix = self
            .whisk("kafka_topics_userEvent_prefix")
            .unwrap_or_default();
        let level = |name| self.read(name, StoreLevel::Always, StoreLevel::parse);
        let usual = Duration::from_secs(300);
        let blocked_every = self.read("blacklist_pollInterval", usual, duration)?;
        let host = self.get("WHISK_API_HOST_NAME").map(|name| {
            let protocol = self.get("WHISK_API_HOST_PROTO").unwrap_or("https");
            let port = self.get("WHISK_API_HOST_PORT").unwrap_or("443");
            format!("{protocol}://{name}:{port}")
        });
        let key = |name| self.whisk(name).unwrap_or_default();
        Ok(Settings {
            topic_prefix: prefix.into(),
            events: events.then(|| format!("{event_prefix}events")),
            store_levels: (
                level("activation_storeBlockingResultLevel")?,
                level("activation_storeNonBlockingResultLevel")?,
            ),
            api_host: host,
            keys: Keys::new(
                key("parameterStorage_aes128"),
                key("parameterStorage_aes256"),
            )?,
            blocked_every,
            ..Settings::usual(id)
        })
    }

    fn couchdb(&self, words: &HashMap<&str, &str>) -> Result<CouchDbOptions, String> {
        let url = match words.get("--couchdb") {
            Some(url) => Some((*url).to_owned()),
            None => self.whisk("couchdb_host").map(|host| {
                let part = |name, usual| self.whisk(name).unwrap_or(usual);
                format!(
                    "{}://{}:{}@{host}:{}",
                    part("couchdb_protocol", "http"),
                    part("couchdb_username", ""),
                    part("couchdb_password", ""),
                    part("couchdb_port", "5984")
                )
            }),
        };
        let url =
            url.ok_or("where is CouchDB? --couchdb http://USER:PASSWORD@HOST:PORT says so")?;
        let wrong = || {
            let shown = url.rsplit('@').next().unwrap_or_default();
            format!(
                "--couchdb: '..{shown}' is not http://USER:PASSWORD@HOST:PORT; for https, put a proxy that speaks TLS before it"
            )
        };
        let rest = url.strip_prefix("http://").ok_or_else(wrong)?;
        let (who, place) = rest.rsplit_once('@').unwrap_or((":", rest));
        let (username, password) = who.split_once(':').ok_or_else(wrong)?;
        let place = place.trim_end_matches('/');
        let (host, port) = place.rsplit_once(':').unwrap_or((place, "5984"));
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || host.contains('/') {
            return Err(wrong());
        }
        let prefix = words.get("--database-prefix").copied().unwrap_or_default();
        let database = |class: &str, usual: &str| {
            let named = self.whisk(&format!("couchdb_databases_{class}"));
            named.map_or_else(|| format!("{prefix}{usual}"), str::to_owned)
        };
        Ok(CouchDbOptions {
            host: host.into(),
            port: port.parse().map_err(|_| wrong())?,
            username: username.into(),
            password: password.into(),
            entities: database("WhiskEntity", "whisks"),
            activations: database("WhiskActivation", "activations"),
            subjects: database("WhiskAuth", "subjects"),
        })
    }
}

/// The least memory of an action (`whisk.memory.min`): as many activations run at once as there are of these.
const LEAST_MEMORY: u64 = 128 << 20;

/// Machines, as the REST invoker starts them.
fn machines(words: &HashMap<&str, &str>) -> Result<Option<Machines>, String> {
    let text = |name: &str, usual: &'static str| {
        // It is wanted as long as the program runs.
        let given = words.get(name).map(|text| &*String::from(*text).leak());
        given.unwrap_or(usual)
    };
    let of_machines = ["--image", "--machine-cores", "--machine-memory"];
    let Some(count) = words.get("--machines") else {
        return match of_machines.into_iter().find(|w| words.contains_key(w)) {
            Some(word) => Err(format!("{word} is of machines: --machines N starts them")),
            None => Ok(None),
        };
    };
    let count = count
        .parse()
        .ok()
        .filter(|count| (1..=MACHINES).contains(count));
    Ok(Some(Machines {
        count: count.ok_or_else(|| format!("--machines takes a number from 1 to {MACHINES}"))?,
        image: text("--image", "target/release/examples/invoker"),
        cores: text("--machine-cores", "1"),
        memory: text("--machine-memory", "2G"),
    }))
}

/// Machines at most.
const MACHINES: usize = 64;

/// `fetchMaxWaitMs` and `fetch-max-wait-ms` as `fetch.max.wait.ms`.
fn dotted(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        match c {
            '-' | '_' => out.push('.'),
            c if c.is_ascii_uppercase() => {
                out.push('.');
                out.push(c.to_ascii_lowercase());
            }
            c => out.push(c),
        }
    }
    out
}

/// What librdkafka calls a setting of Kafka's Java clients; `None` for what it has no use for.
fn librdkafka(name: &str) -> Option<String> {
    Some(match name {
        "fetch.max.wait.ms" => "fetch.wait.max.ms".into(),
        "security.protocol" | "acks" | "retries" => name.into(),
        // The consumer group's request has no time of its own, and a request's size is a message's.
        "request.timeout.ms" | "max.request.size" | "max.poll.records" | "metric.reporters" => {
            return None;
        }
        "ssl.truststore.location" | "ssl.truststore.password" => return None,
        "metadata.max.age.ms" => name.into(),
        other => other.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str, environment: &[(&str, &str)]) -> Result<Options, String> {
        let environment = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        match Command::parse(line.split_whitespace(), environment)? {
            Command::Serve(options) => Ok(*options),
            other => Err(format!("{other:?}")),
        }
    }

    const LINE: &str = "--id 3 --kafka k:9092 --couchdb http://u:p@db:5985 --memory 1G";

    #[test]
    fn a_command_line_says_it_all() {
        let options =
            parse(&format!("{LINE} --database-prefix x_ --port 9"), &[]).expect("options");
        assert_eq!(options.settings.topic(), "invoker3");
        assert_eq!(options.brokers.hosts, "k:9092");
        assert_eq!(options.brokers.message_bytes, (1 << 20) + 6068);
        assert_eq!((options.slots, options.port), (8, 9));
        let couchdb = &options.couchdb;
        assert_eq!((couchdb.host.as_str(), couchdb.port), ("db", 5985));
        assert_eq!(
            (couchdb.username.as_str(), couchdb.password.as_str()),
            ("u", "p")
        );
        assert_eq!(
            (couchdb.entities.as_str(), couchdb.subjects.as_str()),
            ("x_whisks", "x_subjects")
        );
        assert_eq!(options.credentials, "invoker.user:invoker.pass");
    }

    #[test]
    fn the_environment_of_the_references_invoker_says_it_all_but_the_id() {
        let options = parse(
            "--id 0",
            &[
                ("KAFKA_HOSTS", "a:1,b:2"),
                ("CONFIG_whisk_couchdb_host", "db"),
                ("CONFIG_whisk_couchdb_username", "u"),
                ("CONFIG_whisk_couchdb_password", "p:@q"),
                ("CONFIG_whisk_couchdb_databases_WhiskEntity", "local_whisks"),
                ("CONFIG_whisk_containerPool_userMemory", "2048 m"),
                ("CONFIG_whisk_kafka_topics_prefix", "pre-"),
                ("CONFIG_whisk_kafka_topics_userEvent_prefix", "ev-"),
                ("CONFIG_whisk_userEvents_enabled", "true"),
                ("CONFIG_whisk_kafka_consumer_fetchMaxWaitMs", "50"),
                ("CONFIG_whisk_kafka_common_securityProtocol", "PLAINTEXT"),
                ("CONFIG_whisk_activation_payload_max", "2 m"),
                (
                    "CONFIG_whisk_activation_storeBlockingResultLevel",
                    "STORE_FAILURES",
                ),
                ("CONFIG_whisk_blacklist_pollInterval", "2 minutes"),
                ("WHISK_API_HOST_NAME", "api"),
            ],
        )
        .expect("options");
        assert_eq!(options.brokers.hosts, "a:1,b:2");
        assert_eq!(options.settings.topic(), "pre-invoker0");
        assert_eq!(options.settings.events.as_deref(), Some("ev-events"));
        assert_eq!(
            options.settings.store_levels,
            (StoreLevel::Failures, StoreLevel::Always)
        );
        assert_eq!(options.settings.blocked_every, Duration::from_secs(120));
        assert_eq!(
            options.settings.api_host.as_deref(),
            Some("https://api:443")
        );
        assert_eq!(options.couchdb.entities, "local_whisks");
        assert_eq!(options.couchdb.activations, "activations");
        assert_eq!(options.couchdb.password, "p:@q");
        assert_eq!(
            options
                .brokers
                .consumer
                .get("fetch.wait.max.ms")
                .map(String::as_str),
            Some("50")
        );
        assert_eq!(
            options
                .brokers
                .common
                .get("security.protocol")
                .map(String::as_str),
            Some("PLAINTEXT")
        );
        assert_eq!(options.brokers.message_bytes, (2 << 20) + 6068);
        assert_eq!(options.slots, 16);
    }

    #[test]
    fn schedulers_and_machines_are_named_as_elsewhere() {
        let options = parse(
            &format!("{LINE} --machines 2 --image i"),
            &[
                (
                    "CONFIG_whisk_spi_InvokerProvider",
                    "org.apache.openwhisk.core.invoker.FPCInvokerReactive",
                ),
                ("CONFIG_whisk_etcd_hosts", "e1:2379,e2:2379"),
                ("CONFIG_whisk_etcd_lease_timeout", "1"),
                ("CONFIG_whisk_cluster_name", "mine"),
                (
                    "CONFIG_whisk_containerProxy_timeouts_pauseGrace",
                    "50 milliseconds",
                ),
            ],
        )
        .expect("options");
        let scheduler = options.scheduler.expect("scheduler mode");
        assert_eq!(scheduler.etcd.hosts, "e1:2379,e2:2379");
        assert_eq!(scheduler.etcd.lease_seconds, 1);
        assert_eq!(scheduler.pool.cluster, "mine");
        assert_eq!(scheduler.pool.pause_grace, Duration::from_millis(50));
        assert_eq!(scheduler.pool.idle, Duration::from_secs(600));
        let machines = options.machines.expect("machines");
        assert_eq!((machines.count, machines.image), (2, "i"));
        let options = parse(&format!("{LINE} --scheduler e:1"), &[]).expect("options");
        assert_eq!(options.scheduler.expect("scheduler mode").etcd.hosts, "e:1");
    }

    #[test]
    fn mistakes_say_what_to_write() {
        for (line, environment, told) in [
            ("", None, "--id N"),
            ("--id x --kafka k --couchdb http://h", None, "no number"),
            ("--id 1 --couchdb http://h", None, "where is Kafka?"),
            ("--id 1 --kafka k", None, "where is CouchDB?"),
            (
                "--id 1 --kafka k --couchdb https://u:secret@h",
                None,
                "proxy that speaks TLS",
            ),
            (
                "--id 1 --kafka k --couchdb http://h --memory 64M",
                None,
                "at least 128 MB",
            ),
            (
                "--id 1 --kafka k --couchdb http://h --memory much",
                None,
                "512M",
            ),
            ("--id 1 --kafka", None, "followed by nothing"),
            ("--ids 1", None, "'--ids' is no option"),
            (
                "--id 1 --kafka k --couchdb http://h --machines 0",
                None,
                "from 1 to",
            ),
            (
                "--id 1 --kafka k --couchdb http://h --image x",
                None,
                "--machines N",
            ),
            (
                "--id 1 --kafka k --couchdb http://h",
                Some((
                    "CONFIG_whisk_spi_InvokerProvider",
                    "org.apache.openwhisk.core.invoker.FPCInvokerReactive",
                )),
                "where is etcd?",
            ),
            (
                "--id 1 --kafka k --couchdb http://h --scheduler e:2379",
                Some(("CONFIG_whisk_scheduler_grpc_tls", "true")),
                "without TLS",
            ),
            (
                "--id 1 --kafka k --couchdb http://h --scheduler e:2379",
                Some(("CONFIG_whisk_containerProxy_timeouts_pauseGrace", "soon")),
                "5 minutes",
            ),
            (
                LINE,
                Some(("CONFIG_whisk_userEvents_enabled", "yes")),
                "neither true nor false",
            ),
            (
                LINE,
                Some(("CONFIG_whisk_activation_storeBlockingResultLevel", "X")),
                "STORE_ALWAYS",
            ),
            (
                LINE,
                Some(("CONFIG_whisk_parameterStorage_aes128", "AA==")),
                "16 bytes",
            ),
            (
                LINE,
                Some(("CONFIG_whisk_blacklist_pollInterval", "5 weeks")),
                "5 minutes",
            ),
        ] {
            let why = parse(line, environment.as_slice()).expect_err(told);
            assert!(why.contains(told), "{why}, not {told}");
            assert!(!why.contains("secret"), "{why}");
        }
        assert!(matches!(Command::parse(["--help"], []), Ok(Command::Help)));
        assert!(matches!(
            Command::parse(["--version"], []),
            Ok(Command::Version)
        ));
        let twice = Command::parse(["--id", "1", "--id", "2"], []).expect_err("twice");
        assert_eq!(twice, "--id is given twice");
    }
}
