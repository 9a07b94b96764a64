//! Names of entities, and the paths that documents use to refer to them.

use crate::failure::{Failure, Result};
use crate::json::Json;
use alloc::{format, string::String};

/// The longest name in characters.
pub const LONGEST: usize = 256;

/// Checks a name.
///
/// # Errors
/// 400 with the protocol's text.
pub fn check(name: &str) -> Result<()> {
    let length = name.chars().count();
    if length > LONGEST {
        return Err(Failure::bad(format!(
            "Name segement longer than allowed: {length} > {LONGEST}."
        )));
    }
    let word = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
    let bytes = name.as_bytes();
    let legal = bytes.first().is_some_and(|&c| word(c))
        && bytes.iter().all(|&c| word(c) || b"@ .&-".contains(&c))
        && bytes.last() != Some(&b' ');
    if legal {
        Ok(())
    } else {
        Err(Failure::bad(
            "The name of the entity contains illegal characters.",
        ))
    }
}

/// Checks the namespace of a path.
///
/// # Errors
/// 400 with the protocol's text, which differs from that for other names.
pub fn check_namespace(name: &str) -> Result<()> {
    check(name).map_err(|_| match name.chars().count() {
        length if length > LONGEST => Failure::bad(format!(
            "Namespace longer than allowed: {length} > {LONGEST}."
        )),
        _ => Failure::bad("The namespace contains illegal characters."),
    })
}

/// Where an entity is: namespace, package if it is in one, name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FullName {
    /// The namespace.
    pub namespace: String,
    /// The package, for actions in one.
    pub package: Option<String>,
    /// The name.
    pub name: String,
}

impl FullName {
    /// An entity outside of packages.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            package: None,
            name: name.into(),
        }
    }

    /// An action in a package.
    pub fn packaged(namespace: &str, package: &str, name: &str) -> Self {
        Self {
            package: Some(package.into()),
            ..Self::new(namespace, name)
        }
    }

    /// Reads the member of a document that names an entity: such a path, or the reference that documents show.
    ///
    /// # Errors
    /// 400 with the texts of `FullyQualifiedEntityName.serdes`, which a path of one part alone has of its own.
    pub fn read(document: &Json, own: &str) -> Result<Self> {
        let malformed = || Failure::malformed("fully qualified name malformed");
        if let Some(text) = document.to_text() {
            if text.split('/').filter(|part| !part.is_empty()).count() == 1 {
                return Err(Failure::malformed(
                    "requirement failed: The fully qualified name of the entity must contain at least the namespace and the name of the entity.",
                ));
            }
            return Self::parse(&text, own);
        }
        let object = document.to_object().ok_or_else(malformed)?;
        let member = |name: &str| object.get(name).and_then(Json::to_text);
        let path = member("path").zip(member("name")).ok_or_else(malformed)?;
        Self::parse(&format!("/{}/{}", path.0, path.1), own)
    }

    /// Reads `/ns/name` or `/ns/pkg/name`; `_` is the caller's namespace, and further slashes say nothing.
    ///
    /// # Errors
    /// 400: another form, or names that are not.
    pub fn parse(text: &str, own: &str) -> Result<Self> {
        let mut parts = text.split('/').filter(|part| !part.is_empty());
        let malformed = || {
            Failure::malformed(format!(
                "'{text}' is not of the form /namespace/[package/]name"
            ))
        };
        let (Some(namespace), Some(second)) = (parts.next(), parts.next()) else {
            return Err(malformed());
        };
        let third = parts.next();
        if parts.next().is_some() {
            return Err(malformed());
        }
        let namespace = if namespace == "_" { own } else { namespace };
        check(namespace)?;
        check(second)?;
        match third {
            Some(name) => {
                check(name)?;
                Ok(Self::packaged(namespace, second, name))
            }
            None => Ok(Self::new(namespace, second)),
        }
    }

    /// The member `namespace` of a document, and `path` of a reference: `ns` or `ns/pkg`.
    pub fn path(&self) -> String {
        match &self.package {
            Some(package) => format!("{}/{package}", self.namespace),
            None => self.namespace.clone(),
        }
    }

    /// `pkg/name`, or the name.
    pub fn local(&self) -> String {
        match &self.package {
            Some(package) => format!("{package}/{}", self.name),
            None => self.name.clone(),
        }
    }
}

impl FullName {
    /// What [`Display`](core::fmt::Display) shows, behind `before`; each call says it several times, and the machinery that formats takes ten times
    /// as long.
    pub fn text_behind(&self, before: &str) -> String {
        let package = self.package.as_deref();
        let bytes = before.len() + self.namespace.len() + self.name.len() + 2;
        let mut text = String::with_capacity(bytes + package.map_or(0, str::len));
        text.push_str(before);
        text.push_str(&self.namespace);
        for part in package.into_iter().chain([self.name.as_str()]) {
            text.push('/');
            text.push_str(part);
        }
        text
    }
}

/// `ns/name` or `ns/pkg/name`.
impl core::fmt::Display for FullName {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.text_behind(""))
    }
}
