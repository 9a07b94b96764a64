//! Triggers.

use super::{Common, Put};
use crate::alarm::Alarm;
use crate::failure::{Failure, Result};
use crate::json::{Json, Members};
use crate::name::{self, FullName};
use alloc::{collections::BTreeMap, format, sync::Arc};

/// A trigger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// What all documents have.
    pub common: Common,
    /// Its rules: the action of each, and whether it is active.
    pub rules: BTreeMap<FullName, (FullName, bool)>,
    /// When it fires by itself.
    pub alarm: Option<Arc<Alarm>>,
}

/// A reference to an entity: `{"path":"ns[/pkg]","name":"..."}`.
pub fn reference(name: &FullName) -> Json {
    Members::new()
        .text("path", &name.path())
        .text("name", &name.name)
        .finish()
}

/// The word for the state of a rule.
pub fn status(active: bool) -> &'static str {
    if active { "active" } else { "inactive" }
}

impl Trigger {
    /// The trigger that a PUT makes of `old`, or of nothing.
    ///
    /// # Errors
    /// 400: a member is not what it should be; 413.
    pub fn put(put: &Put, name: &FullName, old: Option<&Self>, now_ms: u64) -> Result<Self> {
        let common = put.common(name, old.map(|old| &old.common), now_ms)?;
        if old.is_none() && !common.annotations.get("feed").is_none_or(Self::is_feed) {
            return Err(Failure::bad("Feed name is not valid"));
        }
        Ok(Self {
            common,
            rules: old.map(|old| old.rules.clone()).unwrap_or_default(),
            alarm: old.and_then(|old| old.alarm.clone()),
        })
    }

    /// Whether this names a feed: `[/][namespace/][package/]name`. Whether there is one shows when it is called.
    fn is_feed(annotation: &Json) -> bool {
        annotation.to_text().is_some_and(|path| {
            let mut parts = path.split('/').filter(|part| !part.is_empty()).peekable();
            parts.peek().is_some() && parts.all(|part| name::check(part).is_ok())
        })
    }

    /// The document.
    pub fn to_json(&self) -> Json {
        let mut members = Members::new();
        self.common.head(&mut members);
        members
            .raw("parameters", self.common.parameters.to_json().as_str())
            .raw("limits", "{}");
        if !self.rules.is_empty() {
            let mut rules = Members::new();
            for (rule, (action, active)) in &self.rules {
                let rule_json = Members::new()
                    .raw("action", reference(action).as_str())
                    .text("status", status(*active))
                    .finish();
                rules.raw(&format!("{rule}"), rule_json.as_str());
            }
            members.raw("rules", rules.finish().as_str());
        }
        members.finish()
    }
}
