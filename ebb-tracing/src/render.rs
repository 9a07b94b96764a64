//! Fields as text: of a record on the time line, and of a line on the console.
//!
//! What must hold: both are bounded, and what a value says in debug form is asked for no further than that; a line has no control
//! characters, so that no message moves the cursor of a terminal.

use alloc::string::String;
use core::fmt::{self, Debug, Write};

use ebb_runtime::trace::Fields;
use tracing_core::{
    Event,
    field::{Field, Visit},
};

/// The field that an event's text is.
const MESSAGE: &str = "message";
/// Bytes of a line on the console.
const LINE_BYTES: usize = 1024;

/// Adds to the fields of a record.
pub struct IntoFields<'a>(pub &'a mut Fields);

impl Visit for IntoFields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == MESSAGE {
            self.0.title(format_args!("{value:?}"));
        } else {
            self.0.text(field.name(), format_args!("{value:?}"));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.integer(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.integer(field.name(), value);
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.0.integer(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.flag(field.name(), value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.float(field.name(), value);
    }
}

/// `WARN target: message name=value`, in one line.
pub fn line(event: &Event<'_>) -> String {
    let metadata = event.metadata();
    let mut line = Line(String::new());
    let _ = write!(line, "{} {}:", metadata.level(), metadata.target());
    event.record(&mut Message(&mut line));
    event.record(&mut Others(&mut line));
    line.0
}

/// A line; what does not fit is cut.
struct Line(String);

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if self.0.len() + c.len_utf8() > LINE_BYTES {
                if !self.0.ends_with('…') {
                    self.0.push('…');
                }
                return Err(fmt::Error);
            }
            self.0.push(if c.is_control() { ' ' } else { c });
        }
        Ok(())
    }
}

/// The message, which the line begins with wherever it stands in the source.
struct Message<'a>(&'a mut Line);

impl Visit for Message<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == MESSAGE {
            let _ = write!(self.0, " {value:?}");
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

/// All else. Texts are quoted.
struct Others<'a>(&'a mut Line);

impl Visit for Others<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() != MESSAGE {
            let _ = write!(self.0, " {}={value:?}", field.name());
        }
    }
}
