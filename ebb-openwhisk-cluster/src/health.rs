//! How well the invoker is, in scheduler mode: it runs an action of its own until that went well, and watches what its activations come
//! to (`core/invoker/.../containerpool/v2/InvokerHealthManager.scala`).

use std::collections::VecDeque;

use ebb_openwhisk::json::{Json, Members};
use ebb_openwhisk::runtimes::Runtimes;

use crate::message::activation::ActivationMessage;
use crate::message::instance::InvokerId;

/// `bufferSize`: results that are remembered.
const REMEMBERED: usize = 10;
/// `bufferErrorTolerance`: with so many errors of the platform's among them it is unhealthy.
const TOO_MANY: usize = 3;

/// How it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// It is disabled, or has not begun.
    #[default]
    Down,
    /// It runs nothing but its own action.
    Unhealthy,
    /// It takes containers.
    Up,
}

impl State {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Unhealthy => "unhealthy",
            Self::Up => "up",
        }
    }
}

/// The state, and the results that it follows from.
#[derive(Debug, Default)]
pub struct Health {
    state: State,
    results: VecDeque<bool>,
}

impl Health {
    /// The state.
    pub fn state(&self) -> State {
        self.state
    }

    /// It is to begin, or to begin again.
    pub fn enable(&mut self) {
        if self.state == State::Down {
            self.state = State::Unhealthy;
        }
    }

    /// It is to end.
    pub fn disable(&mut self) {
        self.state = State::Down;
    }

    /// An activation came to something: false for an error of the platform's.
    pub fn report(&mut self, is_well: bool) {
        if self.state == State::Down {
            return;
        }
        if self.results.len() == REMEMBERED {
            self.results.pop_front();
        }
        self.results.push_back(is_well);
        let errors = self.results.iter().filter(|&&well| !well).count();
        // An error alone makes nothing better; in the reference the first one does.
        if errors >= TOO_MANY {
            self.state = State::Unhealthy;
        } else if is_well {
            self.state = State::Up;
        }
    }
}

/// The action that shows whether functions run: its document, and a message that calls it.
#[derive(Debug)]
pub struct Probe {
    /// The id of the document.
    pub id: String,
    /// The document, to be stored where there is none.
    pub document: Json,
    /// The call.
    pub message: ActivationMessage,
}

impl Probe {
    /// That of an invoker with these kinds.
    ///
    /// # Errors
    /// No Node.js is among them, in which the action is written.
    pub fn new(invoker: &InvokerId, runtimes: &Runtimes) -> Result<Self, String> {
        let runtime = runtimes.find("nodejs:default").ok_or(
            "the health action is in Node.js, and that is not among the kinds of this invoker",
        )?;
        let name = format!("invokerHealthTestAction{}", invoker.number);
        let id = format!("whisk.system/{name}");
        let exec = Members::new()
            .text("kind", &runtime.kind)
            .text("code", "function main(params) { return params; }")
            .bool("binary", false)
            .finish();
        let document = Members::new()
            .text("_id", &id)
            .text("namespace", "whisk.system")
            .text("name", &name)
            .raw("exec", exec.as_str())
            .raw("parameters", "[]")
            .raw(
                "limits",
                r#"{"timeout":60000,"memory":128,"logs":0,"concurrency":1}"#,
            )
            .text("version", "0.0.1")
            .bool("publish", false)
            .raw("annotations", "[]")
            .text("entityType", "action")
            .number("updated", crate::invoker::epoch_ms())
            .finish();
        let text = format!(
            r#"{{"transid":["sid_invokerHealthActivation",0],"action":{{"path":"whisk.system","name":"{name}","version":"0.0.1"}},"revision":null,"user":{{"subject":"whisk.system","namespace":{{"name":"whisk.system","uuid":"{id:032}"}},"authkey":{{}},"rights":[],"limits":{{}}}},"activationId":"{id:032x}","rootControllerIndex":{{"asString":"health"}},"blocking":false,"initArgs":[],"lockedArgs":{{}}}}"#,
            id = 0,
        );
        let message = ActivationMessage::parse(text.as_bytes(), 0);
        Ok(Self {
            id,
            document,
            message: message.map_err(|why| why.0)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_errors_of_ten_make_it_unhealthy_and_successes_well_again() {
        let mut health = Health::default();
        health.report(true);
        assert_eq!(health.state(), State::Down, "it has not begun");
        health.enable();
        health.report(false);
        assert_eq!(health.state(), State::Unhealthy);
        health.report(true);
        assert_eq!(health.state(), State::Up);
        health.report(false);
        assert_eq!(health.state(), State::Up);
        health.report(false);
        assert_eq!(health.state(), State::Unhealthy);
        // The eleventh result, and the first error is forgotten.
        for _ in 0..6 {
            health.report(true);
            assert_eq!(health.state(), State::Unhealthy);
        }
        health.report(true);
        assert_eq!(health.state(), State::Up);
        health.disable();
        health.report(true);
        assert_eq!(health.state().name(), "down");
    }

    #[test]
    fn the_probe_is_an_action_that_this_invoker_runs() {
        let runtimes = Runtimes::default();
        let probe = Probe::new(&InvokerId::new(7, 1 << 30), &runtimes).expect("Node.js");
        assert_eq!(probe.message.action.id(), probe.id);
        let mut object = probe.document.to_object().expect("an object");
        object.set("_rev", Json::text("1-a"));
        let document = crate::document::Document::read(&probe.id, &object.to_json());
        let code = Some(Json::text("1"));
        let runnable = document.expect("a document").runnable(code, 1, &runtimes);
        assert_eq!(runnable.expect("an action").action.limits.logs_mb, 0);
    }
}
