//! Plans: what a request asks to be run, and how its outcome becomes a response.
//!
//! [`Controller::handle`](crate::Controller::handle) decides at once about everything that can be decided, and hands the
//! rest over as a [`Plan`], which [`perform`](crate::perform()) carries out, and a [`Reply`], which turns the record into the
//! response.

use crate::activation::{Activation, Status};
use crate::call::{Call, Caller};
use crate::entity::{Action, Resolved, absent::Sought};
use crate::failure::Failure;
use crate::http::{Cors, GatewayCors, Response};
use crate::json::{Json, Kind, Members, Object};
use crate::media;
use crate::name::FullName;
use crate::parameters::Parameters;
use crate::project::{self, Extension};
use crate::throttle::Admission;
use alloc::{boxed::Box, string::String, sync::Arc, vec::Vec};

/// What is to be run.
#[derive(Debug)]
pub enum Plan {
    /// One call.
    Action(Box<Call>),
    /// Calls one after the other.
    Sequence(Box<Sequence>),
    /// Calls that a conductor decides on, one after the other.
    Composition(Box<Composition>),
    /// Calls beside one another.
    Trigger(Box<Fire>),
}

/// The body of a call: an object, or (in sequences only) an array.
#[derive(Clone, Debug)]
pub enum Body {
    /// Merged with the parameters.
    Object(Object),
    /// Taken as it is: an array, or an object where there are no parameters.
    Whole(Json),
}

impl Body {
    /// A result as the body of the next call.
    pub fn of(json: Json) -> Self {
        match (json.kind(), json.to_object()) {
            (Kind::Array, _) => Self::Whole(json),
            (_, object) => Self::Object(object.unwrap_or_default()),
        }
    }

    /// The text.
    pub fn to_json(&self) -> Json {
        match self {
            Self::Object(object) => object.to_json(),
            Self::Whole(whole) => whole.clone(),
        }
    }
}

/// A call of a sequence.
#[derive(Debug)]
pub struct Sequence {
    /// The activation's id.
    pub activation: String,
    /// The sequence.
    pub action: Arc<Action>,
    /// The binding that it was reached through.
    pub binding: Option<FullName>,
    /// The body of the first call.
    pub body: Json,
    /// On whose behalf it is made.
    pub caller: Caller,
    /// The enclosing sequence's activation.
    pub cause: Option<String>,
    /// When the request came, in epoch milliseconds.
    pub received_ms: u64,
}

/// A call of a conductor: an action that says which action is called next.
#[derive(Debug)]
pub struct Composition {
    /// The id of the activation that stands for all of it.
    pub activation: String,
    /// The conductor.
    pub conductor: Resolved,
    /// The body of its first call.
    pub body: Body,
    /// On whose behalf it is made.
    pub caller: Caller,
    /// The enclosing sequence's or composition's activation.
    pub cause: Option<String>,
    /// When the request came, in epoch milliseconds.
    pub received_ms: u64,
}

/// A trigger that has fired.
#[derive(Debug)]
pub struct Fire {
    /// The trigger's record; its logs come when all rules have been asked.
    pub record: Activation,
    /// Its rules.
    pub rules: Vec<FiredRule>,
}

/// What becomes of one rule of a trigger that has fired.
#[derive(Debug)]
pub struct FiredRule {
    /// The rule.
    pub rule: FullName,
    /// Its action.
    pub action: FullName,
    /// The call, or what the trigger's record says instead.
    pub plan: Result<Plan, Unfired>,
}

/// Why a rule calls nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfired {
    /// An application error, or the platform's.
    pub status: Status,
    /// The reason.
    pub error: String,
}

impl From<Failure> for Unfired {
    fn from(failure: Failure) -> Self {
        Self {
            status: match failure.status {
                500.. => Status::InternalError,
                _ => Status::ApplicationError,
            },
            error: failure.text,
        }
    }
}

impl Plan {
    /// The activation's id.
    pub fn activation(&self) -> &str {
        match self {
            Self::Action(call) => &call.activation,
            Self::Sequence(sequence) => &sequence.activation,
            Self::Composition(composition) => &composition.activation,
            Self::Trigger(fire) => &fire.record.id,
        }
    }

    /// Bytes that it takes while it waits, about.
    pub fn bytes(&self) -> usize {
        /// A task, its call, a connection's buffers.
        const EACH: usize = 4 << 10;
        EACH + match self {
            Self::Action(call) => call.arguments.as_str().len(),
            Self::Sequence(sequence) => sequence.body.as_str().len(),
            Self::Composition(composition) => match &composition.body {
                Body::Object(object) => object.bytes(),
                Body::Whole(whole) => whole.as_str().len(),
            },
            Self::Trigger(fire) => {
                let plans = fire
                    .rules
                    .iter()
                    .filter_map(|fired| fired.plan.as_ref().ok());
                plans.map(Self::bytes).sum()
            }
        }
    }
}

/// What the response shows.
#[derive(Clone, Debug)]
pub enum Shape {
    /// The record.
    Record,
    /// The result alone.
    Result,
    /// What a web action says that it is.
    Web(Extension),
}

/// How the outcome becomes a response.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The activation.
    pub activation: String,
    /// How long to wait for its end, in milliseconds; `None` not at all.
    pub wait_ms: Option<u64>,
    /// What the response shows.
    pub shape: Shape,
    /// What it counts for: [`Controller::end`](crate::Controller::end) wants it when the plan is carried out.
    pub admission: Admission,
    /// What all answers to the request carry.
    pub(crate) stamp: Stamp,
}

/// The headers that every answer to a request carries.
#[derive(Clone, Debug)]
pub(crate) struct Stamp {
    pub transaction: String,
    /// None where the answers are not for pages of other origins, or where the action says for whom they are.
    pub cors: Option<Cors>,
    /// What an API says in the place of that, and of the action.
    pub gateway: Option<GatewayCors>,
    /// The media types that the client takes, where it does not take all.
    pub accept: Option<String>,
}

impl Stamp {
    /// The response, if the client takes what it has; refusals are sent to everybody.
    fn acceptable(&self, response: Response) -> Response {
        let Some(accept) = &self.accept else {
            return response;
        };
        match response.header("content-type") {
            Some(media) if !media::accepts(accept, media) => {
                let failure = Failure::not_acceptable(media);
                Response::failure(&failure, &self.transaction)
            }
            _ => response,
        }
    }

    /// The same of an answer that is no refusal.
    pub fn on_success(&self, response: Response) -> Response {
        self.on(self.acceptable(response))
    }

    pub fn on(&self, response: Response) -> Response {
        let response = response.with("X-Request-ID", self.transaction.clone());
        let response = match &self.cors {
            Some(cors) => cors.on(response),
            None => response,
        };
        match &self.gateway {
            Some(gateway) => gateway.on(response),
            None => response,
        }
    }
}

const ACTIVATION_HEADER: &str = "x-openwhisk-activation-id";

impl Reply {
    /// The answer of a request whose plan the platform has no room for.
    pub fn refuse(&self, failure: &Failure) -> Response {
        let response = Response::failure(failure, &self.stamp.transaction);
        self.stamp.on(response)
    }

    /// The answer of a request that does not wait, or not any longer.
    pub fn accepted(&self) -> Response {
        let members = match self.shape {
            Shape::Web(_) => Members::new()
                .text("error", "Response not yet ready.")
                .text("code", &self.stamp.transaction)
                .finish(),
            _ => Members::new()
                .text("activationId", &self.activation)
                .finish(),
        };
        let response = Response::json(202, &members);
        self.finish(self.stamp.acceptable(response))
    }

    /// The answer of a request that waited for this record.
    pub fn respond(&self, record: &Activation) -> Response {
        let outcome = &record.outcome;
        let response = match &self.shape {
            Shape::Web(extension) => match project::respond(*extension, outcome) {
                Ok(response) => self.stamp.acceptable(response),
                Err(failure) => Response::failure(&failure, &self.stamp.transaction),
            },
            shape => {
                let status = match outcome.status {
                    Status::Success => 200,
                    Status::ApplicationError | Status::DeveloperError => 502,
                    Status::InternalError => 500,
                };
                let result = outcome.result.clone().unwrap_or_else(Json::null);
                let bare = matches!(shape, Shape::Result) || result.kind() == Kind::Array;
                // The logs of one call come later; those of a sequence are the ids of its calls.
                let with_logs = record.is_of_several();
                let body = if bare {
                    result
                } else {
                    record.to_json(with_logs)
                };
                self.stamp.acceptable(Response::json(status, &body))
            }
        };
        self.finish(response)
    }

    /// The beginning of an answer that comes in parts: its status and headers as the function says. The body follows.
    ///
    /// # Errors
    /// The answer, because the function says something else.
    pub fn begin(&self, head: &Json) -> Result<Response, Response> {
        let Shape::Web(extension) = &self.shape else {
            return Err(self.accepted());
        };
        match project::begin(*extension, head) {
            Ok(response) => Ok(self.finish(response)),
            Err(failure) => {
                let response = Response::failure(&failure, &self.stamp.transaction);
                Err(self.finish(response))
            }
        }
    }

    fn finish(&self, response: Response) -> Response {
        self.stamp
            .on(response.with(ACTIVATION_HEADER, self.activation.clone()))
    }
}

/// The answer that shows an action. It may be large, so it is made when the state of the API is not in use any more.
#[derive(Debug)]
pub struct Document {
    pub(crate) action: Arc<Action>,
    pub(crate) parameters: Parameters,
    pub(crate) with_code: bool,
    pub(crate) stamp: Stamp,
}

impl Document {
    /// The response.
    pub fn respond(self) -> Response {
        let json = self.action.to_json(&self.parameters, self.with_code);
        self.stamp.on_success(Response::json(200, &json))
    }
}

/// What a request comes to.
#[derive(Debug)]
pub enum Step {
    /// An answer at once.
    Respond(Response),
    /// An answer with an action.
    Document(Document),
    /// Something has to be run.
    Invoke(Plan, Reply),
    /// It needs what is to come: asked again when that is here, it is answered. Nothing was changed.
    Later(Vec<Sought>),
}
