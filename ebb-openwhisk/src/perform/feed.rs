//! Calls of the platform's own feeds: they change a trigger, and need no instance.

use super::Executor;
use crate::activation::{Outcome, Status};
use crate::alarm::Feed;
use crate::call::{Call, CallOutcome, Spent, Start};
use alloc::vec::Vec;

/// Makes the call.
pub(super) async fn perform<E: Executor>(executor: &E, feed: Feed, call: &Call) -> CallOutcome {
    let start_ms = executor.now_ms();
    let outcome = loop {
        let called = executor.change(|c| {
            let outcome = c.call_feed(feed, call, start_ms);
            (outcome, c.take_missed())
        });
        match called.await {
            Ok((outcome, missed)) if missed.is_empty() => break Ok(outcome),
            Ok((_, missed)) => executor.bring(missed).await,
            Err(failure) => break Err(failure),
        }
    };
    CallOutcome {
        start_ms,
        end_ms: executor.now_ms(),
        init_ms: None,
        spent: Spent::default(),
        kind: Start::Hot,
        outcome: outcome
            .unwrap_or_else(|failure| Outcome::error(Status::InternalError, &failure.text)),
        timed_out: false,
        logs: Vec::new(),
        streamed: None,
    }
}
