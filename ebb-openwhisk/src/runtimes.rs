//! The kinds of code that there are, as data: OpenWhisk's manifest of runtimes (`runtimes.json`) with a member of ours, `ebb`,
//! which says how an instance of a kind is started.
//!
//! Source of the form: apache/openwhisk, `docs/actions-new.md` and `ansible/files/runtimes.json`. What else stands in such a
//! file (images, stem cells, blackboxes) is read past.

use crate::json::{Json, Members, Object};
use alloc::{borrow::ToOwned, format, string::String, sync::Arc, vec::Vec};

/// How code is loaded, and in which form an instance is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Loader {
    /// Node.js with the invoker's loader: frames.
    Node,
    /// Python with the invoker's loader: frames.
    Python,
    /// The code is a program, or an archive with one named `exec`, that answers lines: OpenWhisk's ActionLoop.
    Executable,
}

impl Loader {
    const ALL: [(&'static str, Self); 3] = [
        ("node", Self::Node),
        ("python", Self::Python),
        ("executable", Self::Executable),
    ];

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name);
        found.map(|(_, loader)| *loader)
    }

    /// The word for it in a manifest.
    pub fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(_, loader)| *loader == self);
        found.map_or("", |(name, _)| name)
    }
}

/// What has to be known to start an instance of a kind. Kinds with equal launches share a base.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Launch {
    /// Who loads the code.
    pub loader: Loader,
    /// The program that the loader runs in, by its path in the boot archive or on the machine; the loader's usual one if `None`.
    pub program: Option<String>,
    /// `NAME=VALUE` each, in addition to what all instances have.
    pub environment: Vec<String>,
}

impl Launch {
    /// With the usual program of a loader.
    pub const fn usual(loader: Loader) -> Self {
        Self {
            loader,
            program: None,
            environment: Vec::new(),
        }
    }
}

/// A kind of code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runtime {
    /// `FAMILY:VERSION`, in lower case.
    pub kind: String,
    /// `FAMILY:default` means it.
    pub is_default: bool,
    /// Whoever uses it should use another one.
    pub is_deprecated: bool,
    /// The name of its container image, without registry and tag, for clients and for code of kind `blackbox`.
    pub image: String,
    /// How an instance is started.
    pub launch: Launch,
}

impl Runtime {
    /// What stands before the colon.
    pub fn family(&self) -> &str {
        self.kind.split(':').next().unwrap_or_default()
    }

    fn version(&self) -> &str {
        self.kind.split_once(':').map_or("", |(_, version)| version)
    }
}

/// All kinds, in the order in which they are listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runtimes {
    all: Vec<Arc<Runtime>>,
}

/// The kinds of a machine that is told nothing else, the default of each family first: kind, image, loader. Code that was written
/// for an older Node or Python runs on the one that there is, and what deploys it may name the older kind. Programs are not asked
/// which language they were written in.
const BUILT_IN: &[(&str, &str, Loader)] = &[
    ("nodejs:20", "action-nodejs-v20", Loader::Node),
    ("nodejs:18", "action-nodejs-v18", Loader::Node),
    ("nodejs:16", "action-nodejs-v16", Loader::Node),
    ("nodejs:14", "action-nodejs-v14", Loader::Node),
    ("python:3.11", "action-python-v3.11", Loader::Python),
    ("python:3.12", "action-python-v3.12", Loader::Python),
    ("python:3.10", "action-python-v3.10", Loader::Python),
    ("python:3.9", "action-python-v3.9", Loader::Python),
    ("native:default", "action-loop", Loader::Executable),
    ("go:1.x", "action-golang-v1.x", Loader::Executable),
    ("rust:1.x", "action-rust-v1.x", Loader::Executable),
];

impl Default for Runtimes {
    /// The built-in ones.
    fn default() -> Self {
        let mut families: Vec<&str> = Vec::new();
        let all = BUILT_IN.iter().map(|(kind, image, loader)| {
            let family = kind.split(':').next().unwrap_or_default();
            let is_default = !families.contains(&family);
            if is_default {
                families.push(family);
            }
            Arc::new(Runtime {
                kind: (*kind).to_owned(),
                is_default,
                is_deprecated: false,
                image: (*image).to_owned(),
                launch: Launch::usual(*loader),
            })
        });
        Self { all: all.collect() }
    }
}

impl Runtimes {
    /// Reads a manifest.
    ///
    /// # Errors
    /// A text that says where it is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let document = Json::parse(text)?;
        let families = document
            .to_object()
            .and_then(|o| o.get("runtimes")?.to_object());
        let families = families.ok_or("it has no object `runtimes`")?;
        let mut all: Vec<Arc<Runtime>> = Vec::new();
        for (family, kinds) in families.iter() {
            let kinds = kinds
                .to_array()
                .ok_or_else(|| format!("runtimes.{family} is not an array"))?;
            let (first, several) = (all.len(), kinds.len() > 1);
            for (at, kind) in kinds.iter().enumerate() {
                let place = || format!("runtimes.{family}[{at}]");
                let object = kind
                    .to_object()
                    .ok_or_else(|| format!("{} is not an object", place()))?;
                let runtime =
                    runtime(family, &object).map_err(|why| format!("{}: {why}", place()))?;
                if all.iter().any(|known| known.kind == runtime.kind) {
                    return Err(format!("{}: {} is there twice", place(), runtime.kind));
                }
                all.push(Arc::new(runtime));
            }
            let defaults = all[first..].iter().filter(|r| r.is_default).count();
            if defaults > 1 || several && defaults == 0 {
                return Err(format!(
                    "runtimes.{family} has {defaults} kinds with \"default\": true, and needs one"
                ));
            }
        }
        if all.is_empty() {
            return Err("it has no kinds".into());
        }
        Ok(Self { all })
    }

    /// Those whose launch is possible.
    #[must_use]
    pub fn available(self, is_possible: impl Fn(&Launch) -> bool) -> Self {
        let all = self.all.into_iter().filter(|r| is_possible(&r.launch));
        Self { all: all.collect() }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Runtime>> {
        self.all.iter()
    }

    /// The different launches that have a base to be made ahead, that of the first kind first.
    pub fn launches(&self) -> Vec<Launch> {
        let mut launches: Vec<Launch> = Vec::new();
        for runtime in &self.all {
            let launch = &runtime.launch;
            if launch.loader != Loader::Executable && !launches.contains(launch) {
                launches.push(launch.clone());
            }
        }
        launches
    }

    /// The kind of this name: itself, `FAMILY:default`, or `FAMILY:3` for a version `3.x`, of which the default comes first.
    pub fn find(&self, kind: &str) -> Option<&Arc<Runtime>> {
        if let Some(found) = self.all.iter().find(|r| r.kind == kind) {
            return Some(found);
        }
        let (family, version) = kind.split_once(':')?;
        let mut of_family = self.all.iter().filter(|r| r.family() == family);
        if version == "default" {
            return of_family
                .clone()
                .find(|r| r.is_default)
                .or_else(|| of_family.next());
        }
        let is_of = |r: &&Arc<Runtime>| {
            let rest = r.version().strip_prefix(version);
            rest.is_some_and(|rest| rest.starts_with('.'))
        };
        of_family
            .clone()
            .filter(is_of)
            .find(|r| r.is_default)
            .or_else(|| of_family.find(is_of))
    }

    /// The kind of this container image, whatever its registry and tag.
    pub fn of_image(&self, image: &str) -> Option<&Arc<Runtime>> {
        let name = image.rsplit('/').next().unwrap_or_default();
        let name = name.split([':', '@']).next().unwrap_or_default();
        self.all.iter().find(|r| r.image == name)
    }

    /// The names of all kinds, for people.
    pub fn names(&self) -> String {
        let names: Vec<&str> = self.all.iter().map(|r| r.kind.as_str()).collect();
        format!("'{}'", names.join("', '"))
    }

    /// What `GET /` says of them.
    pub fn to_json(&self) -> Json {
        let mut families: Vec<&str> = Vec::new();
        for runtime in &self.all {
            if !families.contains(&runtime.family()) {
                families.push(runtime.family());
            }
        }
        let mut members = Members::new();
        for family in families {
            let kinds = self.all.iter().filter(|r| r.family() == family);
            let kinds = Json::array(kinds.map(|r| {
                Members::new()
                    .text("kind", &r.kind)
                    .text("image", &r.image)
                    .bool("deprecated", r.is_deprecated)
                    .bool("default", r.is_default)
                    .bool("attached", true)
                    .bool("requireMain", false)
                    .finish()
            }));
            members.raw(family, kinds.as_str());
        }
        members.finish()
    }
}

/// Reads a kind.
fn runtime(family: &str, object: &Object) -> Result<Runtime, String> {
    let text = |object: &Object, name: &str| match object.get(name) {
        None => Ok(None),
        Some(value) => value
            .to_text()
            .map(Some)
            .ok_or_else(|| format!("`{name}` is not a string")),
    };
    let truth = |name: &str| match object.get(name) {
        None => Ok(false),
        Some(value) => value
            .to_bool()
            .ok_or_else(|| format!("`{name}` is neither true nor false")),
    };
    let kind = text(object, "kind")?
        .ok_or("it has no `kind`")?
        .to_ascii_lowercase();
    if kind
        .split_once(':')
        .is_none_or(|(f, v)| f != family || v.is_empty())
    {
        return Err(format!("the kind {kind} is not {family}:VERSION"));
    }
    let image = match object.get("image").map(Json::to_object) {
        None => None,
        Some(image) => text(&image.ok_or("`image` is not an object")?, "name")?,
    };
    let ours = match object.get("ebb") {
        None => Object::new(),
        Some(ours) => ours.to_object().ok_or("`ebb` is not an object")?,
    };
    let loader = match text(&ours, "loader")? {
        Some(name) => Loader::named(&name).ok_or_else(|| {
            format!("ebb.loader is {name}; there are node, python and executable")
        })?,
        None => match family {
            "nodejs" => Loader::Node,
            "python" => Loader::Python,
            _ => Loader::Executable,
        },
    };
    let environment = match ours.get("environment") {
        None => Vec::new(),
        Some(value) => value
            .to_object()
            .ok_or("ebb.environment is not an object")?
            .iter()
            .map(|(name, value)| {
                let value = value.to_text();
                let value =
                    value.ok_or_else(|| format!("ebb.environment.{name} is not a string"))?;
                Ok(format!("{name}={value}"))
            })
            .collect::<Result<Vec<String>, String>>()?,
    };
    Ok(Runtime {
        is_default: truth("default")?,
        is_deprecated: truth("deprecated")?,
        image: image.unwrap_or_else(|| kind.replace(':', "-")),
        launch: Launch {
            loader,
            program: text(&ours, "program")?,
            environment,
        },
        kind,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(runtimes: &Runtimes, name: &str) -> Option<String> {
        runtimes.find(name).map(|r| r.kind.clone())
    }

    #[test]
    fn a_kind_is_found_by_its_name_its_familys_default_and_a_part_of_its_version() {
        let built_in = Runtimes::default();
        for (name, found) in [
            ("nodejs:20", Some("nodejs:20")),
            ("nodejs:default", Some("nodejs:20")),
            ("nodejs:14", Some("nodejs:14")),
            ("python:default", Some("python:3.11")),
            ("python:3", Some("python:3.11")),
            ("python:3.9", Some("python:3.9")),
            ("go:default", Some("go:1.x")),
            ("go:1", Some("go:1.x")),
            ("native:default", Some("native:default")),
            ("nodejs:2", None),
            ("python:3.1", None),
            ("python", None),
            ("java:default", None),
        ] {
            assert_eq!(kind(&built_in, name).as_deref(), found, "{name}");
        }
    }

    #[test]
    fn a_manifest_of_openwhisk_is_read() {
        let runtimes = Runtimes::parse(
            r#"{"description": [], "runtimes": {
                "nodejs": [
                    {"kind": "nodejs:20", "default": false, "deprecated": true, "attached": {"attachmentName": "c"},
                     "image": {"prefix": "openwhisk", "name": "action-nodejs-v20", "tag": "nightly"}},
                    {"kind": "nodejs:22", "default": true, "ebb": {"program": "/opt/node22/bin/node", "environment": {"A": "b"}},
                     "stemCells": [{"initialCount": 2, "memory": "256 MB"}]}],
                "php": [{"kind": "php:8.2"}],
                "python": [{"kind": "Python:3.12", "default": true}]
            }, "blackboxes": [{"name": "dockerskeleton"}]}"#,
        )
        .expect("a manifest");
        let node = runtimes.find("nodejs:default").expect("a default");
        assert_eq!(
            node.launch,
            Launch {
                loader: Loader::Node,
                program: Some("/opt/node22/bin/node".into()),
                environment: Vec::from(["A=b".into()]),
            }
        );
        assert!(runtimes.find("nodejs:20").expect("a kind").is_deprecated);
        let php = runtimes.find("php:default").expect("the only one");
        assert_eq!(php.launch.loader, Loader::Executable);
        assert_eq!(kind(&runtimes, "python:3").as_deref(), Some("python:3.12"));
        let image = runtimes.of_image("docker.io/openwhisk/action-nodejs-v20:nightly");
        assert_eq!(image.map(|r| r.kind.as_str()), Some("nodejs:20"));
        assert_eq!(
            runtimes.names(),
            "'nodejs:20', 'nodejs:22', 'php:8.2', 'python:3.12'"
        );
    }

    #[test]
    fn what_is_wrong_with_a_manifest_is_said_with_its_place() {
        for (text, why) in [
            ("{", "expected a string at byte 1"),
            ("[]", "no object `runtimes`"),
            (r#"{"runtimes": {}}"#, "no kinds"),
            (
                r#"{"runtimes": {"php": {}}}"#,
                "runtimes.php is not an array",
            ),
            (
                r#"{"runtimes": {"php": [1]}}"#,
                "runtimes.php[0] is not an object",
            ),
            (
                r#"{"runtimes": {"php": [{}]}}"#,
                "runtimes.php[0]: it has no `kind`",
            ),
            (
                r#"{"runtimes": {"php": [{"kind": "go:1"}]}}"#,
                "the kind go:1 is not php:VERSION",
            ),
            (
                r#"{"runtimes": {"php": [{"kind": "php:8"}, {"kind": "php:9"}]}}"#,
                "has 0 kinds with \"default\": true",
            ),
            (
                r#"{"runtimes": {"php": [{"kind": "php:8", "default": true}, {"kind": "php:8"}]}}"#,
                "php:8 is there twice",
            ),
            (
                r#"{"runtimes": {"php": [{"kind": "php:8", "default": "yes"}]}}"#,
                "`default` is neither true nor false",
            ),
            (
                r#"{"runtimes": {"php": [{"kind": "php:8", "ebb": {"loader": "php"}}]}}"#,
                "ebb.loader is php",
            ),
            (
                r#"{"runtimes": {"php": [{"kind": "php:8", "ebb": {"environment": {"A": 1}}}]}}"#,
                "ebb.environment.A is not a string",
            ),
        ] {
            let error = Runtimes::parse(text).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn kinds_whose_program_is_missing_are_not_there() {
        let some = Runtimes::default().available(|launch| launch.loader != Loader::Python);
        assert_eq!(kind(&some, "python:3"), None);
        assert_eq!(kind(&some, "nodejs:default").as_deref(), Some("nodejs:20"));
    }

    #[test]
    fn clients_are_told_families_and_defaults() {
        let json = Runtimes::default().to_json();
        let families = json.to_object().expect("an object");
        let python = families
            .get("python")
            .and_then(Json::to_array)
            .expect("kinds");
        let defaults: Vec<bool> = python
            .iter()
            .map(|kind| kind.to_object().and_then(|o| o.get("default")?.to_bool()) == Some(true))
            .collect();
        assert_eq!(defaults, [true, false, false, false]);
    }
}
