//! Requests and responses, free of any connection.

use crate::code::CodeText;
use crate::failure::Failure;
use crate::json::{Json, Members};
use crate::media::Media;
use alloc::{borrow::Cow, string::String, vec::Vec};

/// A request.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// In capitals.
    pub method: &'a str,
    /// Percent-encoded, without the query.
    pub path: &'a str,
    /// After the question mark.
    pub query: &'a str,
    /// Names in any case.
    pub headers: &'a [(&'a str, &'a str)],
    /// The whole body.
    pub body: &'a [u8],
    /// Code that was [taken out](crate::code::lift) of the body.
    pub code: Option<&'a CodeText>,
}

impl<'a> Request<'a> {
    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|&(_, value)| value.trim())
    }

    /// Whether the body says that it is JSON.
    pub fn is_json(&self) -> bool {
        // As most clients write it.
        self.header("content-type") == Some("application/json")
            || self.media().as_ref().is_some_and(Media::is_json)
    }

    /// The media type of the body, if it names one.
    pub fn media(&self) -> Option<Media<'a>> {
        Media::parse(self.header("content-type")?)
    }
}

/// A response. `Content-Length` and connection headers are up to who sends it, and so is to leave out the body where HEAD was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// Headers.
    pub headers: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// Without a body.
    pub fn empty(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// With a body of that type.
    pub fn new(status: u16, media: impl Into<Cow<'static, str>>, body: impl Into<Vec<u8>>) -> Self {
        Self {
            body: body.into(),
            ..Self::empty(status)
        }
        .with("Content-Type", media)
    }

    /// JSON.
    pub fn json(status: u16, json: &Json) -> Self {
        Self::new(status, "application/json", json.as_str())
    }

    /// A refusal.
    pub fn failure(failure: &Failure, transaction: &str) -> Self {
        if failure.is_gateways {
            let mut members = Members::new();
            members
                .number("status", failure.status)
                .text("message", &failure.text);
            let json = members.finish();
            return Self::new(
                failure.status,
                "application/json; charset=utf-8",
                json.as_str(),
            );
        }
        let response = Self::json(
            failure.status,
            &Members::new()
                .text("error", &failure.text)
                .text("code", transaction)
                .finish(),
        );
        match (failure.status, failure.allowed()) {
            (401, _) => response.with("WWW-Authenticate", "Basic realm=\"OpenWhisk secure realm\""),
            (405, Some(allowed)) => response.with("Allow", String::from(allowed)),
            _ => response,
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.headers.push((Cow::Borrowed(name), value.into()));
        self
    }

    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_ref())
    }
}

/// What the gateway of APIs says about pages of other origins, whatever the action says. Source: `replaceHeaders` (`cors.lua` of
/// apache/openwhisk-apigateway).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayCors {
    /// Those that may read the answer; `None`: none may.
    pub origin: Option<String>,
}

impl GatewayCors {
    /// Puts it on a response.
    #[must_use]
    pub fn on(&self, mut response: Response) -> Response {
        const METHODS: &str = "GET, POST, PUT, DELETE, PATCH, HEAD, OPTIONS";
        const SAID: [&str; 3] = [
            "Access-Control-Allow-Origin",
            "Access-Control-Allow-Methods",
            "Access-Control-Allow-Credentials",
        ];
        const UNSAID: [&str; 3] = [
            "Access-Control-Allow-Headers",
            "Access-Control-Expose-Headers",
            "Access-Control-Max-Age",
        ];
        let without = |response: &mut Response, names: &[&str]| {
            let is_one = |name: &str| names.iter().any(|one| one.eq_ignore_ascii_case(name));
            response.headers.retain(|(name, _)| !is_one(name));
        };
        without(&mut response, &SAID);
        let Some(origin) = &self.origin else {
            without(&mut response, &UNSAID);
            return response;
        };
        let [allowed, methods, credentials] = SAID;
        response
            .with(allowed, origin.clone())
            .with(methods, METHODS)
            .with(credentials, "true")
    }
}

/// What answers say about pages of other origins: any may read them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// The methods that such a page may use.
    pub methods: &'static str,
    /// The request headers that it may send, if they are not the usual ones.
    pub headers: Option<String>,
}

impl Cors {
    /// Of answers with these methods.
    pub fn new(methods: &'static str) -> Self {
        Self {
            methods,
            headers: None,
        }
    }

    /// Puts on a response what it does not say itself.
    #[must_use]
    pub fn on(&self, mut response: Response) -> Response {
        const HEADERS: &str =
            "Authorization, Origin, X-Requested-With, Content-Type, Accept, User-Agent";
        let headers = match &self.headers {
            Some(headers) => Cow::Owned(headers.clone()),
            None => Cow::Borrowed(HEADERS),
        };
        for (name, value) in [
            ("Access-Control-Allow-Origin", Cow::Borrowed("*")),
            ("Access-Control-Allow-Methods", Cow::Borrowed(self.methods)),
            ("Access-Control-Allow-Headers", headers),
        ] {
            if response.header(name).is_none() {
                response = response.with(name, value);
            }
        }
        response
    }
}
