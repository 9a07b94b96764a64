//! What the command line and the environment say.

use alloc::{format, string::String};
use ebb::EbbRef;
use ebb::platform::Environment;

/// Says what there is, for people.
pub const HELP: &str = "\
usage: invoker [--port N] [--actions DIR] [--runtimes FILE] [--ephemeral] [--strict-records] [--auth UUID:KEY] [--admin UUID:KEY] [--quiet]
       invoker --runtime [--port N] [--concurrent]

A serverless platform that speaks Apache OpenWhisk's REST API; actions are JavaScript, Python, or programs that answer lines.

  --actions DIR     deploys the .js, .py, .zip and .tgz files of a folder at the start
  --runtimes FILE   the kinds of code, as OpenWhisk's runtimes.json
  --port N          where to listen (3233)
  --ephemeral       keeps nothing: what is deployed is gone at the end
  --strict-records  answers a call when its record is on the disk, and not up to 0.1 s before
  --auth UUID:KEY   the key that opens it, as EBB_AUTH; a random one when left out
  --admin UUID:KEY  the key with which namespaces are managed (ebb-invoker namespace --help), as EBB_ADMIN
  --quiet           prints no line for each activation
  --runtime         is one action container instead: /init and /run on port 8080
  --concurrent      lets runs of that container overlap";

ebb::option!("auth", "uuid:key", |v| v.contains(':'));
ebb::option!("admin", "uuid:key", |v| v.contains(':'));

/// What the program is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Print [`HELP`].
    Help,
    /// Be a platform: see [`Service`](crate::Service).
    Serve(ServiceOptions),
    /// Be one action container: see [`serve_container`](crate::serve_container).
    Container(Container),
}

/// How the platform is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceOptions {
    /// The TCP port of the API; 0 takes any.
    pub port: u16,
    /// A folder whose files are deployed as actions at the start.
    pub actions: Option<&'static str>,
    /// A manifest of the kinds of code, in place of the built-in one.
    pub runtimes: Option<&'static str>,
    /// Keep nothing.
    pub ephemeral: bool,
    /// A call is answered when its record is durable.
    pub strict_records: bool,
    /// The key of the one user, `uuid:key`; a random one if there is none.
    pub auth: Option<&'static str>,
    /// The key with which namespaces are managed, `uuid:key`; where there is none, they are not.
    pub admin: Option<&'static str>,
    /// Print no line for each activation.
    pub quiet: bool,
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
    /// `--auth` and `--admin`.
    ///
    /// # Errors
    /// A text that says which word is wrong, and how to write it.
    pub fn parse(arguments: &[&'static str]) -> Result<Self, String> {
        let machine = EbbRef::<dyn Environment>::get();
        Self::parse_with(arguments, machine.option("auth"), machine.option("admin"))
    }

    fn parse_with(
        arguments: &[&'static str],
        auth: Option<&'static str>,
        admin: Option<&'static str>,
    ) -> Result<Self, String> {
        let (mut port, mut concurrent, mut is_container) = (None, false, false);
        let mut options = ServiceOptions {
            port: 3233,
            actions: None,
            runtimes: None,
            ephemeral: false,
            strict_records: false,
            auth,
            admin,
            quiet: false,
        };
        let usage = HELP.lines().next().unwrap_or_default();
        let mut words = arguments.iter().copied();
        while let Some(word) = words.next() {
            let mut value = || {
                let value = words.next();
                value.ok_or_else(|| format!("{word} needs a value; {usage}"))
            };
            match word {
                "--port" => port = Some(port_number(value()?)?),
                "--actions" => options.actions = Some(value()?),
                "--runtimes" => options.runtimes = Some(value()?),
                "--ephemeral" => options.ephemeral = true,
                "--strict-records" => options.strict_records = true,
                "--auth" => options.auth = Some(value()?),
                "--admin" => options.admin = Some(value()?),
                "--quiet" => options.quiet = true,
                "--help" | "-h" => return Ok(Self::Help),
                "--runtime" => is_container = true,
                "--concurrent" => concurrent = true,
                other => return Err(format!("{other} is not known; {usage}")),
            }
        }
        if is_container {
            let port = port.unwrap_or(8080);
            return Ok(Self::Container(Container { port, concurrent }));
        }
        options.port = port.unwrap_or(options.port);
        let mut keys = options.auth.into_iter().chain(options.admin);
        if let Some(key) = keys.find(|key| !key.contains(':')) {
            return Err(format!("the key is of the form uuid:key, not {key}"));
        }
        Ok(Self::Serve(options))
    }
}

fn port_number(text: &str) -> Result<u16, String> {
    let number = text.parse();
    number.map_err(|_| format!("--port takes a number from 0 to 65535, not {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_options_the_platform_listens_on_port_3233_with_the_machines_key() {
        let options = ServiceOptions {
            port: 3233,
            actions: None,
            runtimes: None,
            ephemeral: false,
            strict_records: false,
            auth: Some("a:b"),
            admin: Some("e:f"),
            quiet: false,
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
            "--ephemeral",
            "--strict-records",
        ];
        let options = ServiceOptions {
            port: 0,
            actions: Some("dir"),
            runtimes: Some("kinds.json"),
            ephemeral: true,
            strict_records: true,
            auth: Some("c:d"),
            admin: Some("g:h"),
            quiet: true,
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
    fn help_is_given_whatever_else_is_said() {
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
            (&["--port", "65536"], "not 65536"),
            (&["--auth", "secret"], "uuid:key, not secret"),
            (&["--admin", "secret"], "uuid:key, not secret"),
        ] {
            let error = Command::parse_with(line, None, None).expect_err("a mistake");
            assert!(error.contains(named), "{error}");
        }
    }
}
