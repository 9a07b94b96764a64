//! APIs: what OpenWhisk's API gateway keeps, here an entity of the namespace whose they are.

use super::Common;
use crate::failure::{Failure, Result};
use crate::gateway::{DOCUMENT, PACKAGE, path, refused, routes::Routes};
use crate::json::Json;
use crate::name::FullName;

/// An API.
#[derive(Clone, Debug)]
pub struct Api {
    /// What all documents have. The name is made of the base path.
    pub common: Common,
    /// The OpenAPI document, as its owner sent or made it.
    pub document: Json,
    /// What the document calls it.
    pub title: alloc::string::String,
    /// What all its paths are below: it begins with a slash, and ends with none unless it is that.
    pub base: alloc::string::String,
    /// What the document says.
    pub routes: Routes,
}

impl Api {
    /// The name of the API at a base path, which may end with a slash.
    ///
    /// # Errors
    /// 400 and 502: it is none.
    pub fn name(namespace: &str, base: &str) -> Result<FullName> {
        let name = path::name_of(&path::check_base(base)?)?;
        Ok(FullName::packaged(namespace, PACKAGE, &name))
    }

    /// The API of a namespace that a document describes, in the place of `old`.
    ///
    /// # Errors
    /// 400, 413 and 502: the document is none, or says what cannot be kept.
    pub fn new(namespace: &str, document: Json, old: Option<&Self>, now_ms: u64) -> Result<Self> {
        let bytes = document.as_str().len();
        if bytes > DOCUMENT {
            return Err(Failure::too_large(
                "The document of an API",
                bytes,
                DOCUMENT,
            ));
        }
        let text = |value: Option<Json>| value.and_then(|value| value.to_text());
        let base = text(document.member("basePath"));
        let base = base.ok_or_else(|| refused("swagger is missing the basePath field."))?;
        let title = document
            .member("info")
            .and_then(|info| info.member("title"));
        let title = text(title).ok_or_else(|| {
            Failure::bad("The member 'info' must name the API: its 'title' is a text.")
        })?;
        let common = Common {
            version: old.map_or(super::Version::FIRST, |old| old.common.version.next()),
            updated_ms: now_ms,
            ..Common::new(Self::name(namespace, &base)?)
        };
        Ok(Self {
            common,
            routes: Routes::read(&document, namespace)?,
            base: path::check_base(&base)?,
            title,
            document,
        })
    }

    /// Bytes that it takes besides what all have, about.
    pub fn size(&self) -> usize {
        self.document.as_str().len() + self.routes.bytes() + self.title.len() + self.base.len()
    }
}
