//! Records as a document in the Trace Event Format (JSON object form), which Perfetto and Chrome read: `ts` in microseconds, one
//! thread for each core.
//!
//! What must hold: every `B` has its `E` on the same thread, in the order of a stack, though the ring may have lost either; times
//! of a thread never go back, but for `b`, which may have been recorded after the fact. Nothing is allocated.

use core::{
    fmt::{self, Write},
    panic::Location,
};

use super::{
    fields::{Assembly, Kind, parts},
    ring::{Phase, Record, Ring},
};

/// The process that the machine is in the document.
const MACHINE: u32 = 1;
/// Spans within each other; deeper ones are left out.
const DEEPEST: usize = 64;

/// Converts ticks of the time stamp counter to the clock's nanoseconds.
pub(super) struct Time {
    origin_ticks: u64,
    origin_ns: u64,
    elapsed_ticks: u64,
    elapsed_ns: u64,
}

impl Time {
    /// By two points in time by both: ticks, nanoseconds.
    pub fn new(origin: (u64, u64), now: (u64, u64)) -> Self {
        Self {
            origin_ticks: origin.0,
            origin_ns: origin.1,
            elapsed_ticks: now.0.saturating_sub(origin.0).max(1),
            elapsed_ns: now.1.saturating_sub(origin.1),
        }
    }

    fn ns(&self, ticks: u64) -> u64 {
        let since = ticks.saturating_sub(self.origin_ticks);
        let ns = u128::from(since) * u128::from(self.elapsed_ns) / u128::from(self.elapsed_ticks);
        self.origin_ns + ns as u64
    }
}

type Lines<'a> = &'a mut dyn FnMut(fmt::Arguments<'_>);

/// Writes the document, line by line.
pub(super) fn write<'r>(rings: impl Iterator<Item = &'r Ring>, time: &Time, line: Lines<'_>) {
    line(format_args!(r#"{{"displayTimeUnit":"ns","traceEvents":["#));
    line(format_args!(
        r#"{{"ph":"M","pid":{MACHINE},"tid":0,"name":"process_name","args":{{"name":"ebb"}}}}"#
    ));
    let mut overwritten = 0;
    for (core, ring) in rings.enumerate() {
        overwritten += ring.overwritten();
        line(format_args!(
            r#",{{"ph":"M","pid":{MACHINE},"tid":{core},"name":"thread_name","args":{{"name":"core {core}","overwritten":{}}}}}"#,
            ring.overwritten()
        ));
        Core::new(core).write(ring.records(), time, line);
    }
    line(format_args!(
        r#"],"otherData":{{"overwritten":{overwritten}}}}}"#
    ));
}

/// What is open on a core.
struct Core {
    core: usize,
    /// Their depths, each more than the one before.
    open: [u64; DEEPEST],
    count: usize,
    /// The time of the last record.
    now_ns: u64,
    /// The fields of a record that follows.
    fields: Assembly,
}

impl Core {
    fn new(core: usize) -> Self {
        Self {
            core,
            open: [0; DEEPEST],
            count: 0,
            now_ns: 0,
            fields: Assembly::new(),
        }
    }

    fn write(mut self, records: impl Iterator<Item = Record>, time: &Time, line: Lines<'_>) {
        for record in records {
            match record.phase {
                Phase::Fields => self.fields.add(&record),
                Phase::Departure => self.event(&record, "b", time.ns(record.ticks), line),
                _ => {
                    // An interrupt's record may stand before an older one, which it interrupted.
                    self.now_ns = self.now_ns.max(time.ns(record.ticks));
                    self.one(&record, line);
                }
            }
        }
        self.close_to(0, line);
    }

    fn one(&mut self, record: &Record, line: Lines<'_>) {
        match record.phase {
            Phase::Begin => {
                self.close_to(record.depth, line);
                if self.count < DEEPEST {
                    self.open[self.count] = record.depth;
                    self.count += 1;
                    self.event(record, "B", self.now_ns, line);
                }
            }
            Phase::End => {
                self.close_to(record.depth + 1, line);
                if self.open[..self.count].last() == Some(&record.depth) {
                    self.close_to(record.depth, line);
                }
            }
            Phase::Instant => self.event(record, "i", self.now_ns, line),
            Phase::Arrival => self.event(record, "e", self.now_ns, line),
            Phase::Departure | Phase::Fields => {}
        }
    }

    /// Ends all that is at least this deep.
    fn close_to(&mut self, depth: u64, line: Lines<'_>) {
        while self.open[..self.count].last().is_some_and(|d| *d >= depth) {
            self.count -= 1;
            line(format_args!(
                r#",{{"ph":"E","pid":{MACHINE},"tid":{},"ts":{}}}"#,
                self.core,
                Micros(self.now_ns)
            ));
        }
    }

    fn event(&mut self, record: &Record, phase: &str, ns: u64, line: Lines<'_>) {
        let label = record.label;
        let fields = if record.has_fields {
            self.fields.text()
        } else {
            ""
        };
        line(format_args!(
            r#",{{"ph":"{phase}","pid":{MACHINE},"tid":{},"ts":{},"cat":"{}","name":{},"args":{{{}}}{}}}"#,
            self.core,
            Micros(ns),
            Escaped(label.category),
            Name(record, fields),
            Arguments(record, fields),
            Rest(record),
        ));
        if record.has_fields {
            self.fields.clear();
        }
    }
}

/// Nanoseconds as microseconds.
struct Micros(u64);

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

/// The name: a title among the fields, else that of the label; an event is called by its task's spawn site.
struct Name<'a>(&'a Record, &'a str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let title = parts(self.1).find(|part| part.kind == Kind::Title);
        match (self.0.phase, self.0.site, title) {
            (Phase::Begin, Some(site), _) => write!(f, "\"{}\"", Site(site)),
            (_, _, Some(title)) => write!(f, "\"{}\"", Escaped(title.value)),
            _ => write!(f, "\"{}\"", Escaped(self.0.label.name)),
        }
    }
}

struct Site(&'static Location<'static>);

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", Escaped(self.0.file()), self.0.line())
    }
}

struct Arguments<'a>(&'a Record, &'a str);

impl fmt::Display for Arguments<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for (key, value) in self.0.label.keys.iter().zip(self.0.values) {
            if !key.is_empty() {
                write!(f, "{comma}\"{}\":{value}", Escaped(key))?;
                comma = ",";
            }
        }
        for part in parts(self.1) {
            match part.kind {
                Kind::Title => continue,
                Kind::Number => write!(f, "{comma}\"{}\":{}", Escaped(part.key), part.value)?,
                Kind::Text => {
                    let (key, value) = (Escaped(part.key), Escaped(part.value));
                    write!(f, "{comma}\"{key}\":\"{value}\"")?;
                }
            }
            comma = ",";
        }
        if let Some(site) = self.0.site {
            write!(f, "{comma}\"spawned_at\":\"{}\"", Site(site))?;
        }
        Ok(())
    }
}

/// What some phases have beside the rest.
struct Rest<'a>(&'a Record);

impl fmt::Display for Rest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.phase {
            Phase::Instant => f.write_str(r#","s":"t""#),
            Phase::Departure | Phase::Arrival => write!(f, r#","id":{}"#, self.0.depth),
            Phase::Begin | Phase::End | Phase::Fields => Ok(()),
        }
    }
}

/// Text within a JSON string. Long ones are cut: a line of the image's report is bounded.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 200;
        for (n, c) in self.0.chars().enumerate() {
            match c {
                _ if n == LONGEST => return f.write_char('…'),
                '"' | '\\' => {
                    f.write_char('\\')?;
                    f.write_char(c)?;
                }
                c if c.is_control() => write!(f, "\\u{:04x}", c as u32)?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use alloc::{string::String, vec::Vec};

    use super::*;
    use crate::trace::Label;

    static LABEL: Label = Label::new("a \"quoted\\\u{1}\" name", "test", ["n", "m"]);

    fn written(shapes: &[(Phase, u64, u64)]) -> Vec<String> {
        let records = shapes.iter().map(|&(phase, depth, ticks)| Record {
            ticks,
            label: &LABEL,
            site: None,
            phase,
            depth,
            values: [1, 2],
            has_fields: false,
        });
        let mut lines = Vec::new();
        let time = Time::new((0, 0), (1000, 1000));
        Core::new(3).write(records, &time, &mut |line| {
            lines.push(alloc::format!("{line}"))
        });
        lines
    }

    fn phases(shapes: &[(Phase, u64, u64)]) -> String {
        let letter = |line: &String| line.chars().nth(8).unwrap_or('?');
        written(shapes).iter().map(letter).collect()
    }

    #[test]
    fn what_the_ring_has_lost_leaves_a_stack() {
        use Phase::{Begin, End, Instant};
        assert_eq!(phases(&[(End, 0, 1), (End, 2, 2), (Instant, 0, 3)]), "i");
        assert_eq!(phases(&[(Begin, 0, 1), (Begin, 1, 2)]), "BBEE");
        assert_eq!(phases(&[(Begin, 0, 1), (Begin, 1, 2), (End, 0, 3)]), "BBEE");
        assert_eq!(phases(&[(Begin, 0, 1), (End, 1, 2), (End, 0, 3)]), "BE");
        assert_eq!(phases(&[(Begin, 0, 1), (Begin, 0, 2), (End, 0, 3)]), "BEBE");
        assert_eq!(phases(&[(Begin, 2, 1), (End, 2, 2), (End, 1, 3)]), "BE");
        let deep: Vec<_> = (0..100).map(|depth| (Begin, depth, depth)).collect();
        assert_eq!(phases(&deep).matches('B').count(), DEEPEST);
        assert_eq!(phases(&deep).matches('E').count(), DEEPEST);
    }

    #[test]
    fn times_never_go_back_and_names_are_escaped() {
        let lines = written(&[(Phase::Instant, 0, 500), (Phase::Instant, 0, 400)]);
        assert_eq!(
            lines[0].replace("0.500", "T"),
            lines[1].replace("0.500", "T")
        );
        assert_eq!(
            lines[0],
            r#",{"ph":"i","pid":1,"tid":3,"ts":0.500,"cat":"test","name":"a \"quoted\\\u0001\" name","args":{"n":1,"m":2},"s":"t"}"#
        );
    }
}
