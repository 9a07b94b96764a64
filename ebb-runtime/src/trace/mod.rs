//! Tracing: what every core did and when, for a time line.
//!
//! While tracing is on, each core writes records into a ring of its own: the oldest are overwritten, and how many is told. The
//! event loop records its events with their tasks' spawn sites, spawns, timers, messages between cores, idle work and sleep; a
//! program adds [`span!`](crate::span!)s, [`instant!`](crate::instant!)s and [`Flight`]s. [`chrome`] gives all of it in the Trace
//! Event Format, which Perfetto and Chrome's `about:tracing` show.
//!
//! ```no_run
//! use ebb_runtime::{instant, span, trace};
//!
//! trace::start(trace::RECORDS);
//! {
//!     let _span = span!("parse", bytes = 17);
//!     instant!("cache miss");
//! }
//! trace::stop();
//! ebb_runtime::println!("{}", trace::chrome());
//! ```
//!
//! While it is off, each of these places costs the load of a flag and one branch that is predicted
//! (`cargo bench --bench dispatch`). What must hold: whoever has recorded a beginning records its end, whether tracing is on then
//! or not; nothing here allocates but [`start`] and [`chrome`], so an interrupt handler may record instants, and a core that
//! reports a fault may write the trace.
//!
//! Libraries that have more to say than two numbers give a record [`Fields`]: text of a bounded length, which takes records of its
//! own in the ring.
//!
//! `ring.rs` has the memory, `fields.rs` the text, `chrome.rs` the format.

mod chrome;
mod fields;
mod ring;

use core::{
    fmt,
    marker::PhantomData,
    panic::Location,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

pub use self::fields::{FIELDS_BYTES, Fields};
pub(crate) use self::ring::Ring;
pub use self::ring::Rings;
use self::ring::{Phase, Record};
use crate::{EbbRef, per_core::Part, platform::Clock};

/// Records that a core's ring has when nobody says how many.
pub const RECORDS: usize = 4096;
/// The most records that a core's ring may have: 8 MiB.
pub const MOST_RECORDS: usize = 1 << 17;

static ON: AtomicBool = AtomicBool::new(false);
/// A point in time by the time stamp counter and by the clock, from when tracing was first started; their rate follows from it.
static ORIGIN_TICKS: AtomicU64 = AtomicU64::new(0);
static ORIGIN_NS: AtomicU64 = AtomicU64::new(0);

/// What a record is called: one for each place that records.
#[derive(Debug)]
pub struct Label {
    name: &'static str,
    category: &'static str,
    keys: [&'static str; 2],
}

impl Label {
    /// A label. The category is what viewers filter by; a key that is empty has no value.
    #[must_use]
    pub const fn new(name: &'static str, category: &'static str, keys: [&'static str; 2]) -> Self {
        Self {
            name,
            category,
            keys,
        }
    }
}

/// Whether tracing is on.
#[inline(always)]
#[must_use]
pub fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// The option by which platforms trace from a program's first event on.
pub const OPTION: &str = "trace-ring";

crate::option!(OPTION, "a number of records for each core", |value| value
    .parse::<usize>()
    .is_ok());

/// Starts tracing on all cores of this machine, with rings of at least `records` records (at most [`MOST_RECORDS`]) of 64 bytes
/// each. Rings that there are already stay as they are, with what is in them.
///
/// # Panics
/// On a thread that is not a core.
pub fn start(records: usize) {
    start_on(
        Ring::current().all,
        records,
        EbbRef::<dyn Clock>::get().now_ns(),
    );
}

/// As [`start`], for a platform, which may do so before the machine's cores run.
pub fn start_on(rings: &Rings, records: usize, now_ns: u64) {
    for ring in rings.iter() {
        ring.make(records.clamp(2, MOST_RECORDS).next_power_of_two());
    }
    let ticks = ring::ticks();
    if ORIGIN_TICKS
        .compare_exchange(0, ticks, Ordering::AcqRel, Ordering::Acquire)
        .is_ok()
    {
        ORIGIN_NS.store(now_ns, Ordering::Release);
    }
    ON.store(true, Ordering::Release);
}

/// Stops tracing. What was recorded stays.
pub fn stop() {
    ON.store(false, Ordering::Release);
}

/// Records of this machine that were overwritten by newer ones.
///
/// # Panics
/// On a thread that is not a core.
#[must_use]
pub fn overwritten() -> u64 {
    Ring::current().all.iter().map(Ring::overwritten).sum()
}

/// What the rings of this machine hold, as a document in the Trace Event Format. Nothing is recorded meanwhile.
///
/// # Panics
/// On a thread that is not a core.
#[must_use]
pub fn chrome() -> alloc::string::String {
    let mut text = alloc::string::String::new();
    let now_ns = EbbRef::<dyn Clock>::get().now_ns();
    write_chrome(Ring::current().all, now_ns, &mut |line| {
        use fmt::Write;
        let _ = writeln!(text, "{line}");
    });
    text
}

/// As [`chrome`], line by line and without allocating, for a platform. `now_ns` is what the clock says.
pub fn write_chrome(rings: &Rings, now_ns: u64, line: &mut dyn FnMut(fmt::Arguments<'_>)) {
    let was_on = ON.swap(false, Ordering::AcqRel);
    let time = chrome::Time::new(
        (
            ORIGIN_TICKS.load(Ordering::Acquire),
            ORIGIN_NS.load(Ordering::Acquire),
        ),
        (ring::ticks(), now_ns),
    );
    chrome::write(rings.iter(), &time, line);
    if was_on {
        ON.store(true, Ordering::Release);
    }
}

#[cold]
#[inline(never)]
fn record(label: &'static Label, phase: Phase, depth: u64, values: [u64; 2]) {
    record_at(label, phase, depth, values, None);
}

fn record_at(
    label: &'static Label,
    phase: Phase,
    depth: u64,
    values: [u64; 2],
    site: Option<&'static Location<'static>>,
) {
    if let Some(ring) = Ring::try_current() {
        ring.push(&Record {
            ticks: ring::ticks(),
            label,
            site,
            phase,
            depth,
            values,
            has_fields: false,
        });
    }
}

/// Fields, and the record that they belong to.
fn record_with(
    label: &'static Label,
    phase: Phase,
    (depth, ticks): (u64, u64),
    values: [u64; 2],
    fields: &Fields,
) {
    if let Some(ring) = Ring::try_current() {
        fields.push(ring, label);
        ring.push(&Record {
            ticks,
            label,
            site: None,
            phase,
            depth,
            values,
            has_fields: !fields.is_empty(),
        });
    }
}

// --- What programs record ----------------------------------------------------------------------

/// Records an instant. [`instant!`](crate::instant!) asks first whether tracing is on.
pub fn instant(label: &'static Label, values: [u64; 2]) {
    record(label, Phase::Instant, 0, values);
}

/// As [`instant`], with more to say of it.
pub fn instant_with(label: &'static Label, values: [u64; 2], fields: &Fields) {
    record_with(label, Phase::Instant, (0, ring::ticks()), values, fields);
}

/// Records that something happens now: a name, and at most two values (`u64`) with names of their own.
///
/// `ebb::instant!("cache miss", key = key, bytes = length)`. The values are computed only while tracing is on.
#[macro_export]
macro_rules! instant {
    ($name:literal $(, $key:ident = $value:expr)* $(,)?) => {
        if $crate::trace::is_on() {
            $crate::trace::instant($crate::__label!($name $(, $key)*), $crate::__values!($($value),*));
        }
    };
}

/// Begins a span, which ends when its guard is dropped, or with the event that it began in: one that is to last over an `await`
/// is a [`Flight`](crate::trace::Flight). A name, and at most two values (`u64`) with names of their own.
///
/// `let _span = ebb::span!("parse", bytes = length);` The values are computed only while tracing is on.
#[macro_export]
macro_rules! span {
    ($name:literal $(, $key:ident = $value:expr)* $(,)?) => {
        if $crate::trace::is_on() {
            $crate::trace::Span::begin($crate::__label!($name $(, $key)*), $crate::__values!($($value),*))
        } else {
            $crate::trace::Span::off()
        }
    };
}

/// Begins a [`Flight`](crate::trace::Flight): as [`span!`](crate::span!), but it may last over many events.
#[macro_export]
macro_rules! flight {
    ($name:literal $(, $key:ident = $value:expr)* $(,)?) => {
        if $crate::trace::is_on() {
            $crate::trace::Flight::begin($crate::__label!($name $(, $key)*), $crate::__values!($($value),*))
        } else {
            $crate::trace::Flight::off()
        }
    };
}

/// The label of a place.
#[doc(hidden)]
#[macro_export]
macro_rules! __label {
    ($name:literal) => { $crate::__label!(@ $name, "", "") };
    ($name:literal, $a:ident) => { $crate::__label!(@ $name, ::core::stringify!($a), "") };
    ($name:literal, $a:ident, $b:ident) => {
        $crate::__label!(@ $name, ::core::stringify!($a), ::core::stringify!($b))
    };
    (@ $name:literal, $a:expr, $b:expr) => {{
        static LABEL: $crate::trace::Label =
            $crate::trace::Label::new($name, ::core::module_path!(), [$a, $b]);
        &LABEL
    }};
}

/// Its values.
#[doc(hidden)]
#[macro_export]
macro_rules! __values {
    () => {
        [0, 0]
    };
    ($a:expr) => {
        [$a as u64, 0]
    };
    ($a:expr, $b:expr) => {
        [$a as u64, $b as u64]
    };
}

/// A span that has begun; see [`span!`](crate::span!). Belongs to the core that it began on.
#[must_use = "the span ends when this is dropped"]
pub struct Span {
    open: Option<Open>,
    here: PhantomData<*const ()>,
}

/// Where a span stands among those of its core.
struct Open {
    label: &'static Label,
    depth: u64,
    /// The event that it is in.
    event: u64,
}

impl Span {
    /// One that records nothing.
    #[inline(always)]
    pub const fn off() -> Self {
        Self {
            open: None,
            here: PhantomData,
        }
    }

    /// Records its beginning.
    #[cold]
    #[inline(never)]
    pub fn begin(label: &'static Label, values: [u64; 2]) -> Self {
        Self::begin_with(label, values, &Fields::new())
    }

    /// As [`begin`](Self::begin), with more to say of it.
    pub fn begin_with(label: &'static Label, values: [u64; 2], fields: &Fields) -> Self {
        let open = Ring::try_current().map(|ring| {
            let place = (ring.descend(), ring::ticks());
            record_with(label, Phase::Begin, place, values, fields);
            Open {
                label,
                depth: place.0,
                event: ring.event(),
            }
        });
        Self {
            open,
            here: PhantomData,
        }
    }
}

impl Drop for Span {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(open) = self.open.take() {
            end(&open);
        }
    }
}

#[cold]
#[inline(never)]
fn end(open: &Open) {
    // After its event there is nothing to be ended: the viewer's span ended with that.
    if let Some(ring) = Ring::try_current().filter(|ring| ring.event() == open.event) {
        record(open.label, Phase::End, open.depth, [0, 0]);
        ring.ascend(open.depth);
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Span")
            .field("label", &self.open.as_ref().map(|open| open.label))
            .finish()
    }
}

/// A point in time on the time line.
#[derive(Clone, Copy, Debug)]
pub struct Moment(u64);

impl Moment {
    /// This one.
    #[must_use]
    pub fn now() -> Self {
        Self(ring::ticks())
    }
}

/// A span on a line of its own, which may last over many events and end on another core; see [`flight!`](crate::flight!).
#[must_use = "it ends when this is dropped"]
#[derive(Debug)]
pub struct Flight(Option<(&'static Label, u64)>);

impl Flight {
    /// One that records nothing.
    #[inline(always)]
    pub const fn off() -> Self {
        Self(None)
    }

    /// Records its beginning.
    #[cold]
    #[inline(never)]
    pub fn begin(label: &'static Label, values: [u64; 2]) -> Self {
        Self::begin_at(label, Moment::now(), values, &Fields::new())
    }

    /// Records that it has begun, at a moment that may be past, with more to say of it.
    pub fn begin_at(
        label: &'static Label,
        moment: Moment,
        values: [u64; 2],
        fields: &Fields,
    ) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        record_with(label, Phase::Departure, (number, moment.0), values, fields);
        Self(Some((label, number)))
    }
}

impl Drop for Flight {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some((label, number)) = self.0.take() {
            record(label, Phase::Arrival, number, [0, 0]);
        }
    }
}

// --- What the runtime records ------------------------------------------------------------------

/// An event of the event loop, or another stretch of its time: what else is open on the core has ended.
pub(crate) struct Stretch {
    label: &'static Label,
}

impl Stretch {
    #[cold]
    #[inline(never)]
    pub fn begin(
        label: &'static Label,
        value: u64,
        site: Option<&'static Location<'static>>,
    ) -> Self {
        if let Some(ring) = Ring::try_current() {
            ring.next_event();
        }
        record_at(label, Phase::Begin, 0, [value, 0], site);
        Self { label }
    }
}

impl Drop for Stretch {
    fn drop(&mut self) {
        record(self.label, Phase::End, 0, [0, 0]);
    }
}

pub(crate) static EVENT: Label = Label::new("event", "event", ["task", ""]);
pub(crate) static SLEEP: Label = Label::new("sleep", "idle", ["until_ns", ""]);
pub(crate) static IDLE_WORK: Label = Label::new("idle work", "idle", ["", ""]);
pub(crate) static TIMERS: Label = Label::new("timers", "timer", ["fired", ""]);
pub(crate) static ARRIVALS: Label = Label::new("arrivals", "message", ["tasks", ""]);
static SPAWN: Label = Label::new("spawn", "task", ["task", ""]);
static SEND: Label = Label::new("send", "message", ["to_core", "task"]);

/// A task was spawned.
#[cold]
#[inline(never)]
pub(crate) fn spawned(task: u64, site: &'static Location<'static>) {
    record_at(&SPAWN, Phase::Instant, 0, [task, 0], Some(site));
}

/// A task was woken, or spawned, that is another core's.
#[cold]
#[inline(never)]
pub(crate) fn sent(core: u64, task: u64, site: &'static Location<'static>) {
    record_at(&SEND, Phase::Instant, 0, [core, task], Some(site));
}
