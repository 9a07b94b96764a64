//! What the command line asks for, as requests.

use serde_json::{Map, Value, json};

/// What is to be done.
#[derive(Debug, PartialEq)]
pub enum Command {
    /// Print the help.
    Help,
    /// Print which version it is.
    Version,
    /// Ask a running invoker.
    Manage {
        /// Its URL, without a slash at the end.
        host: String,
        /// The key, `uuid:key`.
        admin: String,
        /// What it is asked.
        request: Request,
    },
}

/// A request below `/admin/namespaces`.
#[derive(Debug, PartialEq)]
pub struct Request {
    /// The method.
    pub method: &'static str,
    /// What follows `/admin/namespaces`.
    pub path: String,
    /// The body.
    pub body: Option<Value>,
    /// What is printed of the answer.
    pub show: Show,
}

/// What is printed of an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Show {
    /// The key.
    Key,
    /// A line for each namespace.
    List,
    /// A line for each limit.
    Limits,
    /// That it is gone.
    Removed,
}

impl Show {
    /// The text.
    pub fn text(self, answer: &Value) -> String {
        match self {
            Self::Key => text(&answer["key"]),
            Self::Removed => format!("removed {}", text(&answer["namespace"])),
            Self::List => {
                let all = answer.as_array().map(Vec::as_slice).unwrap_or_default();
                let width = all.iter().map(|n| text(&n["namespace"]).len()).max();
                let width = width.unwrap_or(0);
                let line = |n: &Value| {
                    format!(
                        "{:width$}  {}  {} bytes  {} running",
                        text(&n["namespace"]),
                        text(&n["uuid"]),
                        n["storageBytes"],
                        n["running"]
                    )
                };
                all.iter().map(line).collect::<Vec<_>>().join("\n")
            }
            Self::Limits => {
                let limits = answer.get("limits").unwrap_or(answer);
                let lines = limits.as_object().into_iter().flatten();
                let lines = lines.map(|(name, value)| format!("{name} = {value}"));
                lines.collect::<Vec<_>>().join("\n")
            }
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().into()
}

impl Command {
    /// Reads a command line; `variable` gives variables of the environment.
    ///
    /// # Errors
    /// A text that says what is wrong.
    pub fn parse(
        arguments: &[String],
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        let mut words = Vec::new();
        let mut options = Map::new();
        let mut all = arguments.iter();
        while let Some(word) = all.next() {
            match word.strip_prefix("--") {
                Some("help") => return Ok(Self::Help),
                Some("version") => return Ok(Self::Version),
                Some(name) => {
                    let value = all.next().ok_or_else(|| format!("{word} needs a value"))?;
                    if options.insert(name.into(), json!(value)).is_some() {
                        return Err(format!("{word} is given twice"));
                    }
                }
                None if word == "-h" => return Ok(Self::Help),
                None if word == "-V" => return Ok(Self::Version),
                None if word.starts_with('-') => {
                    return Err(format!("{word} is not known; --help says what is"));
                }
                None => words.push(word.as_str()),
            }
        }
        let mut take = |name: &str| options.remove(name).map(|value| text(&value));
        let host = take("apihost").or_else(|| variable("APIHOST"));
        let host = host.unwrap_or_else(|| "http://localhost:3233".into());
        let host = match host.contains("://") {
            true => host,
            false => format!("http://{host}"),
        };
        let admin = take("admin").or_else(|| variable("EBB_ADMIN"));
        let key = take("key").map(|key| json!(key));
        let request = match words.as_slice() {
            [] | ["namespace"] => return Ok(Self::Help),
            ["namespace", "list"] => request("GET", "", None, Show::List),
            ["namespace", "add", name] => {
                let mut body = json!({"limits": limits(&mut options)?});
                if let Some(key) = &key {
                    body["key"] = key.clone();
                }
                request("PUT", &path(name, "")?, Some(body), Show::Key)
            }
            ["namespace", "limits", name] if options.is_empty() => {
                request("GET", &path(name, "")?, None, Show::Limits)
            }
            ["namespace", "limits", name] => {
                let body = limits(&mut options)?;
                request("POST", &path(name, "/limits")?, Some(body), Show::Limits)
            }
            ["namespace", "rotate", name] => {
                let body = key.as_ref().map(|key| json!({"key": key}));
                request("POST", &path(name, "/key")?, body, Show::Key)
            }
            ["namespace", "remove", name] => {
                request("DELETE", &path(name, "")?, None, Show::Removed)
            }
            ["namespace", "add" | "limits" | "rotate" | "remove", ..] => {
                return Err("one name of a namespace is needed; --help says more".into());
            }
            words => {
                return Err(format!(
                    "{} is not known; --help says what is",
                    words.join(" ")
                ));
            }
        };
        if let Some(name) = options.keys().next() {
            return Err(format!(
                "--{name} has no meaning here; --help says what has"
            ));
        }
        let takes_key = matches!(words.get(1), Some(&("add" | "rotate")));
        if key.is_some() && !takes_key {
            return Err("--key has no meaning here; --help says what has".into());
        }
        let admin = admin.ok_or(
            "the key that the invoker was started with is needed: --admin UUID:KEY, or EBB_ADMIN",
        )?;
        Ok(Self::Manage {
            host: host.trim_end_matches('/').into(),
            admin,
            request,
        })
    }
}

fn request(method: &'static str, path: &str, body: Option<Value>, show: Show) -> Request {
    Request {
        method,
        path: path.into(),
        body,
        show,
    }
}

/// The path of a namespace. The platform says which names there can be; here they must only be one part of a path.
fn path(name: &str, rest: &str) -> Result<String, String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "@._&-".contains(c);
    match !name.is_empty() && name.chars().all(legal) && !name.starts_with('.') {
        true => Ok(format!("/{name}{rest}")),
        false => Err(format!("{name} cannot be the name of a namespace")),
    }
}

/// The options that are left as limits; the platform says which there are.
fn limits(options: &mut Map<String, Value>) -> Result<Value, String> {
    let mut limits = Map::new();
    for (name, value) in core::mem::take(options) {
        let word = text(&value);
        let value = match word.as_str() {
            "default" => Value::Null,
            kinds if name == "allowedKinds" => kinds.split(',').collect(),
            number => json!(
                number
                    .parse::<u32>()
                    .map_err(|_| format!("--{name} takes a number or `default`, not {number}"))?
            ),
        };
        limits.insert(name, value);
    }
    Ok(Value::Object(limits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command, String> {
        let words: Vec<String> = line.split_whitespace().map(String::from).collect();
        Command::parse(&words, |name| (name == "EBB_ADMIN").then(|| "a:b".into()))
    }

    fn asked(line: &str) -> (String, Value) {
        match parse(line) {
            Ok(Command::Manage { request, .. }) => {
                let asked = format!("{} {}", request.method, request.path);
                (asked, request.body.unwrap_or(Value::Null))
            }
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn each_command_is_a_request() {
        let null = Value::Null;
        for (line, request, body) in [
            ("list", "GET ", null.clone()),
            ("add a", "PUT /a", json!({"limits": {}})),
            (
                "add a --key u:k --memory 5",
                "PUT /a",
                json!({"limits": {"memory": 5}, "key": "u:k"}),
            ),
            ("limits a", "GET /a", null.clone()),
            (
                "limits a --memory default --weight 2",
                "POST /a/limits",
                json!({"memory": null, "weight": 2}),
            ),
            (
                "limits a --allowedKinds nodejs:20,sequence",
                "POST /a/limits",
                json!({"allowedKinds": ["nodejs:20", "sequence"]}),
            ),
            ("rotate a", "POST /a/key", null.clone()),
            ("rotate a --key u:k", "POST /a/key", json!({"key": "u:k"})),
            ("remove a", "DELETE /a", null),
        ] {
            assert_eq!(
                asked(&format!("namespace {line}")),
                (request.into(), body),
                "{line}"
            );
        }
    }

    #[test]
    fn options_go_before_variables_and_those_before_what_is_usual() {
        let at = |line: &str| match parse(line) {
            Ok(Command::Manage { host, admin, .. }) => (host, admin),
            other => panic!("{other:?}"),
        };
        let is = |host: &str, admin: &str| (String::from(host), String::from(admin));
        assert_eq!(at("namespace list"), is("http://localhost:3233", "a:b"));
        let line = "namespace list --apihost 10.0.0.1:80/ --admin c:d";
        assert_eq!(at(line), is("http://10.0.0.1:80", "c:d"));
        let none = Command::parse(&["namespace".into(), "list".into()], |_| None);
        assert!(none.is_err_and(|why| why.contains("EBB_ADMIN")));
    }

    #[test]
    fn a_wrong_word_is_named() {
        for (line, named) in [
            ("namespace lsit", "lsit"),
            ("namespace add", "one name"),
            ("namespace add a b", "one name"),
            ("namespace add ../guest", "../guest"),
            ("namespace add a --memory x", "--memory takes a number"),
            ("namespace add a --memory", "--memory needs a value"),
            ("namespace remove a --memory 1", "--memory has no meaning"),
            ("namespace list --key u:k", "--key has no meaning"),
        ] {
            let error = parse(line).expect_err(line);
            assert!(error.contains(named), "{line}: {error}");
        }
        assert_eq!(parse(""), Ok(Command::Help));
        assert_eq!(parse("namespace add --help"), Ok(Command::Help));
        assert_eq!(parse("namespace --version"), Ok(Command::Version));
    }
}
