//! What the command line and the environment say.

use alloc::{format, string::String, vec::Vec};
use core::ops::RangeInclusive;

use ebb::EbbRef;
use ebb::platform::Environment;

/// Says what there is, for people.
pub const HELP: &str = "\
usage: invoker [--port N] [--tls] [--actions DIR] [--runtimes FILE] [--ephemeral] [--records MB] [--record-days N] [--strict-records]
               [--auth UUID:KEY] [--admin UUID:KEY] [--quiet] [--machines N [--image FILE] [--machine-cores N] [--machine-memory SIZE]]
       invoker --runtime [--port N] [--concurrent]
       invoker --machine

A serverless platform that speaks Apache OpenWhisk's REST API; actions are JavaScript, Python, or programs that answer lines.

  --actions DIR     deploys the .js, .py, .zip and .tgz files of a folder at the start
  --runtimes FILE   the kinds of code, as OpenWhisk's runtimes.json
  --port N          where to listen (3233); 0 takes any
  --tls             speaks HTTPS; the certificate is made at the first start, or given by PUT /admin/certificate
  --ephemeral       keeps nothing: what is deployed is gone at the end
  --records MB      how much of the records of activations is kept (64); the oldest of whoever has most go first
  --record-days N   how long they are kept (30)
  --strict-records  answers a call when its record is on the disk, and not up to 0.1 s before
  --auth UUID:KEY   the key that opens it, as EBB_AUTH; a random one when left out
  --admin UUID:KEY  the key with which namespaces are managed (ebb-invoker namespace --help), as EBB_ADMIN
  --quiet           prints no line for each activation
  --machines N      runs functions on N machines, which it starts with an image of itself; as a Linux process only
  --image FILE      that image (target/release/examples/invoker)
  --machine-cores N, --machine-memory SIZE
                    the size of each machine (1, 2G)
  --runtime         is one action container instead: /init and /run on port 8080
  --concurrent      lets runs of that container overlap
  --machine         is one of the machines of --machines, which options say how to join: node, cluster-key, listen
  --version         which version it is";

ebb::option!("auth", "uuid:key", |v| v.contains(':'));
ebb::option!("admin", "uuid:key", |v| v.contains(':'));
ebb::option!("bake", "1", |v| v == "1");

/// What the program is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Print [`HELP`].
    Help,
    /// Print which version it is.
    Version,
    /// Be a platform: see [`Service`](crate::Service).
    Serve(ServiceOptions),
    /// Make the snapshots that instances are copies of, write them to the machine's disk, and end: see [`bake`](crate::bake).
    Bake(ServiceOptions),
    /// Be one action container: see [`serve_container`](crate::serve_container).
    Container(Container),
    /// Be one of the machines of another invoker: see `ebb-invoker-machines`.
    Machine,
}

/// How the platform is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceOptions {
    /// The TCP port of the API; 0 takes any.
    pub port: u16,
    /// Speak HTTPS, and nothing else.
    pub tls: bool,
    /// A folder whose files are deployed as actions at the start.
    pub actions: Option<&'static str>,
    /// A manifest of the kinds of code, in place of the built-in one.
    pub runtimes: Option<&'static str>,
    /// Keep nothing.
    pub ephemeral: bool,
    /// MB of the records that are kept.
    pub records_mb: u32,
    /// Days for which they are kept.
    pub record_days: u32,
    /// A call is answered when its record is durable.
    pub strict_records: bool,
    /// The key of the one user, `uuid:key`; a random one if there is none.
    pub auth: Option<&'static str>,
    /// The key with which namespaces are managed, `uuid:key`; where there is none, they are not.
    pub admin: Option<&'static str>,
    /// Print no line for each activation.
    pub quiet: bool,
    /// Other machines that run functions; `None` to run them here.
    pub machines: Option<Machines>,
}

impl Default for ServiceOptions {
    fn default() -> Self {
        Self {
            port: 3233,
            tls: false,
            actions: None,
            runtimes: None,
            ephemeral: false,
            records_mb: 64,
            record_days: 30,
            strict_records: false,
            auth: None,
            admin: None,
            quiet: false,
            machines: None,
        }
    }
}

/// Machines that the platform starts and runs functions on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machines {
    /// How many.
    pub count: usize,
    /// Their image.
    pub image: &'static str,
    /// Cores of each, as `EBB_CORES` has it.
    pub cores: &'static str,
    /// Memory of each, as `EBB_MEMORY` has it.
    pub memory: &'static str,
}

impl Machines {
    const USUAL: Self = Self {
        count: 0,
        image: "target/release/examples/invoker",
        cores: "1",
        memory: "2G",
    };
}

/// How an action container is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Container {
    /// The TCP port of `/init` and `/run`.
    pub port: u16,
    /// Runs may overlap.
    pub concurrent: bool,
}

impl Command {
    /// Reads a command line. The options `auth` and `admin` of the machine (`EBB_AUTH`, `EBB_ADMIN`) stand in for
    /// `--auth` and `--admin`; with `bake`, which `ebb-runner bake` sets, it makes snapshots and is no platform.
    ///
    /// # Errors
    /// A text that says which word is wrong, and how to write it.
    pub fn parse(arguments: &[&'static str]) -> Result<Self, String> {
        let machine = EbbRef::<dyn Environment>::get();
        let parsed = Self::parse_with(arguments, machine.option("auth"), machine.option("admin"))?;
        Ok(match parsed {
            Self::Serve(options) if machine.option("bake").is_some() => Self::Bake(options),
            other => other,
        })
    }

    fn parse_with(
        arguments: &[&'static str],
        auth: Option<&'static str>,
        admin: Option<&'static str>,
    ) -> Result<Self, String> {
        let (mut port, mut concurrent, mut is_container) = (None, false, false);
        let (mut machines, mut is_machine) = (Machines::USUAL, false);
        let mut of_machines = None;
        let mut options = ServiceOptions {
            auth,
            admin,
            ..ServiceOptions::default()
        };
        let mut given = Vec::new();
        let mut words = arguments.iter().copied();
        while let Some(word) = words.next() {
            let mut value = || {
                let value = words.next();
                value.ok_or_else(|| format!("{word} needs a value; --help says of what form"))
            };
            match word {
                "--port" => port = Some(number(word, value()?, 0..=65535)? as u16),
                "--tls" => options.tls = true,
                "--actions" => options.actions = Some(value()?),
                "--runtimes" => options.runtimes = Some(value()?),
                "--ephemeral" => options.ephemeral = true,
                "--records" => options.records_mb = number(word, value()?, RECORDS_MB)?,
                "--record-days" => options.record_days = number(word, value()?, RECORD_DAYS)?,
                "--strict-records" => options.strict_records = true,
                "--auth" => options.auth = Some(value()?),
                "--admin" => options.admin = Some(value()?),
                "--quiet" => options.quiet = true,
                "--help" | "-h" => return Ok(Self::Help),
                "--version" | "-V" => return Ok(Self::Version),
                "--runtime" => is_container = true,
                "--concurrent" => concurrent = true,
                "--machine" => is_machine = true,
                "--machines" => machines.count = number(word, value()?, MACHINES)? as usize,
                "--image" => (machines.image, of_machines) = (value()?, Some(word)),
                "--machine-cores" => (machines.cores, of_machines) = (value()?, Some(word)),
                "--machine-memory" => (machines.memory, of_machines) = (value()?, Some(word)),
                other => {
                    return Err(format!("{other} is not known; --help lists what is"));
                }
            }
            if given.contains(&word) {
                return Err(format!("{word} is given twice"));
            }
            given.push(word);
        }
        contradiction(&given)?;
        if is_container {
            let port = port.unwrap_or(8080);
            return Ok(Self::Container(Container { port, concurrent }));
        }
        if is_machine {
            return Ok(Self::Machine);
        }
        options.machines = (machines.count > 0).then_some(machines);
        if let (None, Some(word)) = (options.machines, of_machines) {
            return Err(format!("{word} is of machines: --machines N starts them"));
        }
        options.port = port.unwrap_or(options.port);
        let mut keys = options.auth.into_iter().chain(options.admin);
        // An empty half would be a door without a lock.
        let is_key = |key: &str| matches!(key.split_once(':'), Some((uuid, key)) if !uuid.is_empty() && !key.is_empty());
        if let Some(key) = keys.find(|key| !is_key(key)) {
            return Err(format!("the key is of the form uuid:key, not {key}"));
        }
        Ok(Self::Serve(options))
    }
}

/// Records are in memory as well, and more than 16 GiB of them are none.
const RECORDS_MB: RangeInclusive<u32> = 1..=16 << 10;
const RECORD_DAYS: RangeInclusive<u32> = 1..=36_500;
const MACHINES: RangeInclusive<u32> = 1..=64;

/// Says which word of a command line another one makes idle: whoever gave both would believe that both hold.
fn contradiction(given: &[&str]) -> Result<(), String> {
    let has = |word: &str| given.contains(&word);
    for (role, what, of_role) in [
        (
            "--runtime",
            "an action container",
            &["--runtime", "--port", "--concurrent"][..],
        ),
        ("--machine", "a machine of another invoker", &["--machine"]),
    ] {
        if has(role)
            && let Some(word) = given.iter().find(|word| !of_role.contains(word))
        {
            return Err(format!("{word} does not go with {role}, which is {what}"));
        }
    }
    if has("--concurrent") && !has("--runtime") {
        return Err("--concurrent is of an action container: --runtime makes this one".into());
    }
    if has("--ephemeral") && has("--strict-records") {
        return Err("--strict-records needs a disk, and --ephemeral uses none".into());
    }
    Ok(())
}

fn number(word: &str, text: &str, allowed: RangeInclusive<u32>) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| allowed.contains(number));
    number.ok_or_else(|| {
        let (least, most) = allowed.into_inner();
        format!("{word} takes a number from {least} to {most}, not {text}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_options_the_platform_listens_on_port_3233_with_the_machines_key() {
        let options = ServiceOptions {
            port: 3233,
            tls: false,
            actions: None,
            runtimes: None,
            ephemeral: false,
            records_mb: 64,
            record_days: 30,
            strict_records: false,
            auth: Some("a:b"),
            admin: Some("e:f"),
            quiet: false,
            machines: None,
        };
        assert_eq!(
            Command::parse_with(&[], Some("a:b"), Some("e:f")),
            Ok(Command::Serve(options))
        );
    }

    #[test]
    fn the_command_line_overrides_the_machines_key() {
        let line = [
            "--auth",
            "c:d",
            "--port",
            "0",
            "--quiet",
            "--admin",
            "g:h",
            "--actions",
            "dir",
            "--runtimes",
            "kinds.json",
            "--records",
            "5",
            "--record-days",
            "7",
            "--strict-records",
            "--machines",
            "3",
            "--image",
            "target/debug/examples/invoker",
            "--machine-cores",
            "2",
        ];
        let options = ServiceOptions {
            port: 0,
            tls: false,
            actions: Some("dir"),
            runtimes: Some("kinds.json"),
            ephemeral: false,
            records_mb: 5,
            record_days: 7,
            strict_records: true,
            auth: Some("c:d"),
            admin: Some("g:h"),
            quiet: true,
            machines: Some(Machines {
                count: 3,
                image: "target/debug/examples/invoker",
                cores: "2",
                memory: "2G",
            }),
        };
        assert_eq!(
            Command::parse_with(&line, Some("a:b"), Some("e:f")),
            Ok(Command::Serve(options))
        );
    }

    #[test]
    fn a_container_listens_on_port_8080_unless_told_otherwise() {
        let container = |port, concurrent| Ok(Command::Container(Container { port, concurrent }));
        assert_eq!(
            Command::parse_with(&["--runtime"], None, None),
            container(8080, false)
        );
        let line = ["--concurrent", "--runtime", "--port", "9000"];
        assert_eq!(
            Command::parse_with(&line, None, None),
            container(9000, true)
        );
    }

    #[test]
    fn a_machine_of_another_invoker_takes_the_rest_from_its_options() {
        assert_eq!(
            Command::parse_with(&["--machine"], None, None),
            Ok(Command::Machine)
        );
    }

    #[test]
    fn help_and_version_are_given_whatever_else_is_said() {
        assert_eq!(
            Command::parse_with(&["--port", "0", "--version"], None, None),
            Ok(Command::Version)
        );
        assert_eq!(
            Command::parse_with(&["--quiet", "-h"], None, None),
            Ok(Command::Help)
        );
    }

    #[test]
    fn a_wrong_word_is_named() {
        for (line, named) in [
            (&["--prot"][..], "--prot is not known"),
            (&["--port"], "--port needs a value"),
            (&["--port", "1", "--port", "2"], "--port is given twice"),
            (&["--quiet", "--quiet"], "--quiet is given twice"),
            (&["--port", "65536"], "from 0 to 65535, not 65536"),
            (&["--records", "0"], "from 1 to 16384, not 0"),
            (&["--record-days", "x"], "from 1 to 36500, not x"),
            (&["--auth", "secret"], "uuid:key, not secret"),
            (&["--machines", "0"], "from 1 to 64, not 0"),
            (&["--machine-cores", "2"], "--machines N starts them"),
            (&["--admin", "secret"], "uuid:key, not secret"),
            (&["--auth", ":"], "uuid:key, not :"),
            (&["--auth", "me:"], "uuid:key, not me:"),
            (&["--runtime", "--auth", "a:b"], "--auth does not go with"),
            (&["--tls", "--runtime"], "--tls does not go with"),
            (&["--machine", "--port", "5"], "--port does not go with"),
            (&["--concurrent"], "--runtime makes this one"),
            (&["--ephemeral", "--strict-records"], "needs a disk"),
        ] {
            let error = Command::parse_with(line, None, None).expect_err("a mistake");
            assert!(error.contains(named), "{error}");
        }
    }
}
