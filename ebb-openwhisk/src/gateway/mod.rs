//! APIs: paths and methods of their own for web actions, as OpenWhisk's API gateway serves them. An API is an OpenAPI document
//! ("swagger" 2.0) with the gateway's extensions. Clients send it as a whole, or a path at a time, and get it back as it is.
//!
//! | module | |
//! |---|---|
//! | [`document`] | documents: an empty one, adding an operation to one, taking some away |
//! | [`routes`] | what a document says: which path and method calls which web action |
//! | [`path`] | base paths and relative paths |
//!
//! Sources: `core/routemgmt` of apache/openwhisk (`createApi.js`, `apigw-utils.js`) for what is made and refused, `scripts/lua` of
//! apache/openwhisk-apigateway (`routing.lua`, `swagger.lua`, `validation.lua`) for what it means.
//!
//! What must hold: an API that is there says of each of its operations which web action of this platform it calls, and promises nothing
//! that is not kept: a document that asks for keys, sign-in or rates, which the gateway has and this platform does not, is refused.

pub mod document;
pub mod path;
pub mod routes;

use crate::failure::Failure;
use crate::json::Members;
use alloc::format;

/// The package that the store has APIs in. None can have that name, so no other entity can have theirs.
pub const PACKAGE: &str = "default";
/// The largest document in bytes.
pub const DOCUMENT: usize = 1 << 20;
/// The deepest nesting of a document.
pub const DEPTH: usize = 64;
/// The most operations of one API.
pub const OPERATIONS: usize = 1_000;

/// The methods that an operation can have.
const VERBS: [&str; 7] = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"];

/// The method of that name, in any case.
pub fn verb(name: &str) -> Option<&'static str> {
    VERBS
        .into_iter()
        .find(|verb| verb.eq_ignore_ascii_case(name))
}

/// What OpenWhisk's actions for APIs refuse, which is an error of an action, with their text.
pub fn refused(text: impl core::fmt::Display) -> Failure {
    Failure::new(502, format!("{text}"))
}

/// What its gateway refuses, as those actions tell it. Source: `addApiToGateway` (`apigw-utils.js`), `err` (`request.lua`).
fn refused_by_gateway(text: impl core::fmt::Display) -> Failure {
    let said = Members::new()
        .number("status", 400)
        .text("message", &format!("Error: {text}"))
        .finish();
    refused(format!(
        "Unable to configure the API Gateway (status code 400): {said}"
    ))
}
