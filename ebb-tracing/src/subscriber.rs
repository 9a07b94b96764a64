//! What the crate `tracing` calls.
//!
//! What must hold: what a core has entered is that core's own, innermost last; a span that is left need not be the innermost.

use alloc::vec::Vec;
use core::cell::RefCell;

use ebb_runtime::{
    EbbRef, ebb,
    platform::Console,
    trace::{self, Fields, Flight},
    try_current_core,
};
use tracing_core::{
    Event, Metadata,
    metadata::LevelFilter,
    span::{Attributes, Current, Id, Record},
    subscriber::Interest,
};

use crate::{labels, live, render};

/// Spans that a core may have entered at once; those within are not shown.
pub const DEPTH: usize = 64;

/// Takes what is traced.
pub struct Subscriber {
    line: LevelFilter,
    console: LevelFilter,
}

impl Subscriber {
    pub fn new(line: LevelFilter, console: LevelFilter) -> Self {
        Self { line, console }
    }

    fn is_on_line(&self, metadata: &Metadata<'_>) -> bool {
        trace::is_on() && *metadata.level() <= self.line
    }

    fn is_on_console(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= self.console
    }
}

/// What a core has entered.
#[ebb(per_core, crate = ebb_runtime)]
#[derive(Default)]
struct Entered {
    spans: RefCell<Vec<(Id, trace::Span)>>,
}

/// Those of this core. Nothing may be traced meanwhile.
fn with_entered<T>(f: impl FnOnce(&mut Vec<(Id, trace::Span)>) -> T) -> Option<T> {
    try_current_core()?;
    let entered = EbbRef::<Entered>::get();
    let mut spans = entered.spans.try_borrow_mut().ok()?;
    Some(f(&mut spans))
}

impl tracing_core::Subscriber for Subscriber {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        // Tracing may be started and stopped at any time.
        if *metadata.level() <= self.line || self.is_on_console(metadata) {
            Interest::sometimes()
        } else {
            Interest::never()
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.line.max(self.console))
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.is_on_line(metadata) || self.is_on_console(metadata)
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Fields::new();
        span.record(&mut render::IntoFields(&mut fields));
        live::make(span.metadata(), fields)
    }

    fn record(&self, id: &Id, values: &Record<'_>) {
        let mut added = Fields::new();
        values.record(&mut render::IntoFields(&mut added));
        let of = live::with(id, |span| {
            span.fields.extend(&added);
            (span.entered > 0).then_some(span.metadata)
        });
        if let Some(Some(metadata)) = of
            && self.is_on_line(metadata)
        {
            trace::instant_with(labels::of(metadata), labels::values(metadata), &added);
        }
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {
        // The time line has no arrows between spans.
    }

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        if self.is_on_line(metadata) {
            let mut fields = Fields::new();
            fields.text("level", format_args!("{}", metadata.level()));
            event.record(&mut render::IntoFields(&mut fields));
            trace::instant_with(labels::of(metadata), labels::values(metadata), &fields);
        }
        if self.is_on_console(metadata) {
            EbbRef::<dyn Console>::get().note(&render::line(event));
        }
    }

    fn enter(&self, id: &Id) {
        let is_on = trace::is_on() && try_current_core().is_some();
        let begun = live::with(id, |span| {
            let (label, values) = (labels::of(span.metadata), labels::values(span.metadata));
            let times = span.entered;
            span.entered = (times + 1).min(2);
            if !is_on {
                return trace::Span::off();
            }
            match times {
                0 => trace::Span::begin_with(label, values, &span.fields),
                _ => {
                    if span.flight.is_none() {
                        let flight = Flight::begin_at(label, span.made, values, &span.fields);
                        span.flight = Some(flight);
                    }
                    trace::Span::begin(label, values)
                }
            }
        });
        if let Some(begun) = begun {
            with_entered(|spans| {
                if spans.len() < DEPTH {
                    spans.push((id.clone(), begun));
                }
            });
        }
    }

    fn exit(&self, id: &Id) {
        with_entered(|spans| {
            if let Some(at) = spans.iter().rposition(|(entered, _)| entered == id) {
                drop(spans.remove(at));
            }
        });
    }

    fn clone_span(&self, id: &Id) -> Id {
        live::refer(id);
        id.clone()
    }

    fn try_close(&self, id: Id) -> bool {
        live::release(&id)
    }

    fn current_span(&self) -> Current {
        let innermost = with_entered(|spans| spans.last().map(|(id, _)| id.clone())).flatten();
        innermost
            .and_then(|id| {
                let metadata = live::with(&id, |span| span.metadata)?;
                Some(Current::new(id, metadata))
            })
            .unwrap_or_else(Current::none)
    }
}
