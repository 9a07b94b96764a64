//! Rules: whenever that trigger fires, call this action.

use super::trigger::{reference, status};
use super::{Common, Put};
use crate::failure::{Failure, Result};
use crate::json::{Json, Members};
use crate::name::FullName;

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What all documents have.
    pub common: Common,
    /// When it fires.
    pub trigger: FullName,
    /// What is called.
    pub action: FullName,
    /// Whether it does so.
    pub active: bool,
}

impl Rule {
    /// The rule that a PUT makes of `old`, or of nothing: a new one is active, an old one stays what it is. Whether trigger
    /// and action exist is for the store to say.
    ///
    /// # Errors
    /// 400: trigger or action is missing, or a member is not what it should be.
    pub fn put(
        put: &Put,
        name: &FullName,
        old: Option<&Self>,
        own: &str,
        now_ms: u64,
    ) -> Result<Self> {
        let common = put.common(name, old.map(|old| &old.common), now_ms)?;
        let part = |member: &str, old: Option<&FullName>| match put.get(member) {
            Some(document) => FullName::read(document, own).map(Some),
            None => Ok(old.cloned()),
        };
        match (
            part("trigger", old.map(|old| &old.trigger))?,
            part("action", old.map(|old| &old.action))?,
        ) {
            (Some(trigger), Some(action)) => Ok(Self {
                common,
                trigger,
                action,
                active: old.is_none_or(|old| old.active),
            }),
            _ => Err(Failure::bad(
                "rule requires a valid trigger and a valid action",
            )),
        }
    }

    /// The members after the common ones.
    pub fn tail(&self, members: &mut Members) {
        members
            .text("status", status(self.active))
            .raw("trigger", reference(&self.trigger).as_str())
            .raw("action", reference(&self.action).as_str());
    }

    /// The document.
    pub fn to_json(&self) -> Json {
        let mut members = Members::new();
        self.common.head(&mut members);
        self.tail(&mut members);
        members.finish()
    }
}
