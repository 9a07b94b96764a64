//! Actions.

use super::{Common, Exec, Put};
use crate::failure::{Failure, Result};
use crate::json::{Json, Members};
use crate::limits::ActionLimits;
use crate::name::FullName;
use crate::parameters::Parameters;
use crate::runtimes::Runtimes;

/// The annotation that says whether a call is given the caller's key.
pub const PROVIDE_API_KEY: &str = "provide-api-key";
/// The annotation that makes an action a conductor: its result says which action is called next.
pub const CONDUCTOR: &str = "conductor";
/// The annotation that keeps an action's instances from being copies of one another, if it is false.
pub const SNAPSHOT: &str = "snapshot";
/// The annotation that says how many milliseconds an answer in parts may take altogether.
pub const STREAM_TIMEOUT: &str = "stream-timeout";
/// The parameter that shows the components of a sequence.
const COMPONENTS: &str = "_actions";

/// An action as it is at one time: any change makes another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// What all documents have.
    pub common: Common,
    /// What it does.
    pub exec: Exec,
    /// How much it may take.
    pub limits: ActionLimits,
    /// Differs between any two actions that the store ever held.
    pub revision: u64,
}

impl Action {
    /// The action that a PUT makes of `old`, or of nothing.
    ///
    /// # Errors
    /// 400: `exec` is missing, or any member is not what it should be; 413.
    pub fn put(
        put: &Put,
        name: &FullName,
        old: Option<&Self>,
        own: &str,
        now_ms: u64,
        revision: u64,
        runtimes: &Runtimes,
    ) -> Result<Self> {
        let mut common = put.common(name, old.map(|old| &old.common), now_ms)?;
        let exec = match put.get("exec") {
            Some(document) => Some(Exec::parse(document, own, put.code.as_ref(), runtimes)?),
            None => old.map(|old| old.exec.clone()),
        };
        if let Some(old) = old {
            common.annotations = put.merged_annotations(&old.common.annotations)?;
        }
        let limits = old.map(|old| old.limits).unwrap_or_default();
        let limits = match put.get("limits") {
            Some(document) => limits.merged(document)?,
            None => limits,
        };
        // A document that makes no sense is refused before one that lacks something.
        let exec = exec.ok_or_else(|| Failure::bad("exec undefined"))?;
        let was_sequence = old.is_some_and(|old| matches!(old.exec, Exec::Sequence(_)));
        if let Some(actions) = exec.actions_parameter() {
            common.parameters = Parameters::default();
            common.parameters.set(COMPONENTS, actions);
        } else if was_sequence && put.get("parameters").is_none() {
            // What showed the components is nothing that code should be given.
            common.parameters = Parameters::default();
        }
        if old.is_none() && common.annotations.get(PROVIDE_API_KEY).is_none() {
            common.annotations.set(PROVIDE_API_KEY, Json::bool(false));
        }
        common.annotations.set("exec", Json::text(exec.kind()));
        Ok(Self {
            common,
            exec,
            limits,
            revision,
        })
    }

    /// Whether its result says which action is called next. A sequence has no say in that.
    pub fn is_conductor(&self) -> bool {
        matches!(self.exec, Exec::Code(_)) && self.common.annotations.is_truthy(CONDUCTOR)
    }

    /// Whether instances of it may be copies of a snapshot of one of them.
    pub fn allows_snapshot(&self) -> bool {
        let annotation = self.common.annotations.get(SNAPSHOT);
        annotation.is_none_or(Json::is_truthy)
    }

    /// The document, with these parameters.
    pub fn to_json(&self, parameters: &Parameters, with_code: bool) -> Json {
        let mut members = Members::new();
        self.common.head(&mut members);
        members
            .raw("parameters", parameters.to_json().as_str())
            .raw("exec", self.exec.to_json(with_code).as_str())
            .raw("limits", self.limits.to_json().as_str())
            .finish()
    }
}
