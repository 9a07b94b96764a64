//! Packages, and bindings: packages that stand for another one.

use super::{Common, Put};
use crate::failure::{Failure, Result};
use crate::json::{Json, Kind, Members};
use crate::name::{self, FullName};

/// A package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// What all documents have.
    pub common: Common,
    /// The package that it stands for.
    pub binding: Option<FullName>,
}

impl Package {
    /// The package that a PUT makes of `old`, or of nothing. Whether the bound package exists is for the store to say.
    ///
    /// # Errors
    /// 400: a member is not what it should be; 409: a package cannot become a binding.
    pub fn put(
        put: &Put,
        name: &FullName,
        old: Option<&Self>,
        own: &str,
        now_ms: u64,
    ) -> Result<Self> {
        let mut common = put.common(name, old.map(|old| &old.common), now_ms)?;
        let given = match put.get("binding") {
            Some(document) => Self::binding(document, own)?,
            // Unlike other members it cannot be left out so. Source: `optionalBindingDeserializer` (`WhiskPackage.scala`).
            None if put.is_null("binding") => return Err(Self::malformed_binding()),
            None => None,
        };
        if old.is_some_and(|old| old.binding.is_none()) && given.is_some() {
            return Err(Failure::new(
                409,
                "Resource is a package and cannot be converted into a binding.",
            ));
        }
        // An update that names none leaves a binding what it is.
        let binding = given.or_else(|| old.and_then(|old| old.binding.clone()));
        // It is the platform's to say.
        common.annotations.remove("binding");
        if let Some(binding) = &binding {
            let value = Members::new()
                .text("namespace", &binding.namespace)
                .text("name", &binding.name)
                .finish();
            common.annotations.set("binding", value);
        }
        Ok(Self { common, binding })
    }

    /// Refuses the name that stands for no package.
    ///
    /// # Errors
    /// 400: it is that.
    pub fn check_name(name: &str) -> Result<()> {
        match name {
            "default" => Err(Failure::bad("Package name 'default' is reserved.")),
            _ => Ok(()),
        }
    }

    fn malformed_binding() -> Failure {
        Failure::malformed("binding must be an object with the members 'namespace' and 'name'")
    }

    fn binding(document: &Json, own: &str) -> Result<Option<FullName>> {
        let malformed = Self::malformed_binding;
        if document.to_bool() == Some(false) {
            return Ok(None);
        }
        let object = document.to_object().ok_or_else(malformed)?;
        if object.is_empty() {
            return Ok(None);
        }
        let text = |key: &str| {
            object
                .get(key)
                .filter(|v| v.kind() == Kind::Text)
                .and_then(Json::to_text)
                .ok_or_else(malformed)
        };
        let (namespace, package) = (text("namespace")?, text("name")?);
        let namespace = if namespace == "_" { own } else { &namespace };
        name::check(namespace)?;
        name::check(&package)?;
        Ok(Some(FullName::new(namespace, &package)))
    }

    /// The member `binding`; `none` if there is none.
    pub fn binding_json(&self, none: &str) -> Json {
        match &self.binding {
            Some(binding) => Members::new()
                .text("name", &binding.name)
                .text("namespace", &binding.namespace)
                .finish(),
            None => Json::parse(none).unwrap_or_else(|_| Json::null()),
        }
    }

    /// The document, still open.
    pub fn members(&self) -> Members {
        let mut members = Members::new();
        self.common.head(&mut members);
        members
            .raw("parameters", self.common.parameters.to_json().as_str())
            .raw("binding", self.binding_json("{}").as_str());
        members
    }

    /// The document as PUT and DELETE answer it.
    pub fn to_json(&self) -> Json {
        self.members().finish()
    }
}
