//! Refusals: an HTTP status and the protocol's text for it.

use alloc::{format, string::String};
use core::fmt::Display;

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The HTTP status.
    pub status: u16,
    /// The member `error` of the answer.
    pub text: String,
    /// It is the gateway's of APIs, which has a form of its own.
    pub(crate) is_gateways: bool,
}

const METHODS: &str = "HTTP method not allowed, supported methods: ";

/// What a request comes to.
pub type Result<T> = core::result::Result<T, Failure>;

impl Failure {
    /// Any refusal.
    pub fn new(status: u16, text: impl Into<String>) -> Self {
        Self {
            status,
            text: text.into(),
            is_gateways: false,
        }
    }

    /// A refusal of the gateway of APIs. Source: `err` (`request.lua` of apache/openwhisk-apigateway).
    pub fn of_gateway(status: u16, text: impl Display) -> Self {
        Self {
            is_gateways: true,
            ..Self::new(status, format!("Error: {text}"))
        }
    }

    /// A 400 with the text as it is.
    pub fn bad(text: impl Into<String>) -> Self {
        Self::new(400, text)
    }

    /// The body is not what it should be.
    pub fn malformed(detail: impl core::fmt::Display) -> Self {
        Self::bad(format!("The request content was malformed:\n{detail}"))
    }

    /// A query parameter is not what it should be.
    pub fn query(name: &str, detail: impl core::fmt::Display) -> Self {
        Self::bad(format!(
            "The query parameter '{name}' was malformed:\n{detail}"
        ))
    }

    /// No such entity.
    pub fn no_entity() -> Self {
        Self::new(404, "The requested resource does not exist.")
    }

    /// No such package, where it is told by its name. Source: `authorizeAndDispatch` (`AuthorizedRouteDispatcher.scala`).
    pub fn no_package(name: impl Display) -> Self {
        Self::new(
            404,
            format!("The requested resource '{name}' does not exist."),
        )
    }

    /// No such path.
    pub fn no_path() -> Self {
        Self::new(404, "The requested resource could not be found.")
    }

    /// The path has other methods.
    pub fn method(allowed: &str) -> Self {
        Self::new(405, format!("{METHODS}{allowed}"))
    }

    /// The methods that the path has, of a refusal for another one.
    pub fn allowed(&self) -> Option<&str> {
        self.text.strip_prefix(METHODS)
    }

    /// The credentials are wrong.
    pub fn unauthenticated() -> Self {
        Self::new(401, "The supplied authentication is invalid")
    }

    /// There are no credentials, or none of the kind that is understood.
    pub fn no_credentials() -> Self {
        Self::new(
            401,
            "The resource requires authentication, which was not supplied with the request",
        )
    }

    /// An action on the web asks for credentials, or for a secret, that the request does not show.
    pub fn not_admitted() -> Self {
        Self::new(
            401,
            "Authentication is possible but has failed or not yet been provided.",
        )
    }

    /// Somebody else's.
    pub fn forbidden(resource: &str) -> Self {
        Self::new(
            403,
            format!("The supplied authentication is not authorized to access '{resource}'."),
        )
    }

    /// A kind of action that the caller may not make. Source: `notAuthorizedtoActionKind` (`ErrorResponse.scala`).
    pub fn forbidden_kind(kind: &str) -> Self {
        Self::new(
            403,
            format!(
                "The supplied authentication is not authorized to access actions of kind '{kind}'."
            ),
        )
    }

    /// The name is an entity of another type.
    pub fn other_collection() -> Self {
        Self::new(
            409,
            "Resource by this name exists but is not in this collection.",
        )
    }

    /// There already, and not to be overwritten.
    pub fn exists() -> Self {
        Self::new(409, "resource already exists")
    }

    /// The client takes no body of this type.
    pub fn not_acceptable(media: &str) -> Self {
        let media = media.replace("charset=utf-8", "charset=UTF-8");
        Self::new(
            406,
            format!("Resource representation is only available with these types:\n{media}"),
        )
    }

    /// Too large.
    pub fn too_large(field: &str, size: usize, limit: usize) -> Self {
        Self::new(
            413,
            format!("{field} larger than allowed: {size} > {limit} bytes."),
        )
    }

    /// The store has as many entities as it may have.
    pub fn too_many_entities(most: usize) -> Self {
        Self::new(
            503,
            format!("There are {most} entities, as many as there may be; delete some."),
        )
    }

    /// The store's entities have as many bytes as they may have.
    pub fn too_many_bytes(most: usize) -> Self {
        let most = most >> 20;
        Self::new(
            503,
            format!("All entities take {most} MiB, as much as they may; delete some."),
        )
    }

    /// A call names a parameter that it must not set.
    pub fn reserved_parameters() -> Self {
        Self::bad("Request defines parameters that are not allowed (e.g., reserved properties).")
    }
}
