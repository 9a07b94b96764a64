//! The ring of a core's records.
//!
//! What must hold: only the core itself writes, though an interrupt may do so in the middle of a write: it takes a slot of its
//! own. Every core may read at any time: a slot says which record it holds, 0 while it is written, and whoever reads looks
//! before and after. Pointers in slots are those of labels and sites, which live as long as the program, or null; so a slot
//! whose words are of two records is wrong but harmless.

use alloc::{boxed::Box, vec::Vec};
use core::{
    panic::Location,
    ptr,
    sync::atomic::{AtomicPtr, AtomicU64, Ordering, fence},
};

use once_cell::race::OnceBox;

use super::Label;
use crate::per_core::part;

/// The time stamp counter.
#[inline(always)]
pub(super) fn ticks() -> u64 {
    // SAFETY: every x86-64 has the counter, and both runtimes leave it readable.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// What a record says of its label.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    Instant,
    Begin,
    End,
    /// A flight begins.
    Departure,
    /// A flight ends.
    Arrival,
    /// A part of the fields of a record that follows.
    Fields,
}

/// Beside the phase: fields stand before the record.
const HAS_FIELDS: u64 = 0x80;

const PHASES: [Phase; 6] = [
    Phase::Instant,
    Phase::Begin,
    Phase::End,
    Phase::Departure,
    Phase::Arrival,
    Phase::Fields,
];

/// A record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    /// When, by the time stamp counter; of a part of fields, its first bytes.
    pub ticks: u64,
    pub label: &'static Label,
    /// The spawn site of the task that it is about.
    pub site: Option<&'static Location<'static>>,
    pub phase: Phase,
    /// How many spans of the core it is within; of a flight, its number; of a part of fields, which it is, and its length in
    /// bytes in the lowest byte.
    pub depth: u64,
    pub values: [u64; 2],
    /// Whether fields stand before it.
    pub has_fields: bool,
}

/// A record's place: a cache line.
#[repr(align(64))]
struct Slot {
    /// One more than the number of the record, 0 while it is written.
    number: AtomicU64,
    ticks: AtomicU64,
    label: AtomicPtr<Label>,
    site: AtomicPtr<Location<'static>>,
    /// The phase and `HAS_FIELDS` in the lowest byte, the depth above it.
    shape: AtomicU64,
    values: [AtomicU64; 2],
}

/// The records of one core.
pub(crate) struct Ring {
    /// Those of all cores of the machine.
    pub(super) all: &'static Rings,
    slots: OnceBox<Vec<Slot>>,
    /// The number of the next record.
    next: AtomicU64,
    /// Spans that are open.
    depth: AtomicU64,
    /// The number of the event.
    event: AtomicU64,
}

part!("__ebb_trace", Ring);

/// The rings of a machine's cores, by number. Filled in right after they are made: each points here.
#[derive(Default)]
pub struct Rings(OnceBox<Vec<&'static Ring>>);

impl Rings {
    pub(crate) fn set(&self, rings: Vec<&'static Ring>) {
        self.0.get_or_init(|| Box::new(rings));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &'static Ring> {
        self.0.get().map_or(&[][..], Vec::as_slice).iter().copied()
    }
}

impl core::fmt::Debug for Rings {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Rings")
    }
}

impl Ring {
    pub fn new(all: &'static Rings) -> Self {
        Self {
            all,
            slots: OnceBox::new(),
            next: AtomicU64::new(0),
            depth: AtomicU64::new(0),
            event: AtomicU64::new(0),
        }
    }

    /// Gives it its slots, a power of two; the first time counts.
    pub(super) fn make(&self, records: usize) {
        self.slots.get_or_init(|| {
            let slot = || Slot {
                number: AtomicU64::new(0),
                ticks: AtomicU64::new(0),
                label: AtomicPtr::new(ptr::null_mut()),
                site: AtomicPtr::new(ptr::null_mut()),
                shape: AtomicU64::new(0),
                values: [AtomicU64::new(0), AtomicU64::new(0)],
            };
            Box::new(core::iter::repeat_with(slot).take(records).collect())
        });
    }

    fn slots(&self) -> &[Slot] {
        self.slots.get().map_or(&[], Vec::as_slice)
    }

    /// Adds a record in place of the oldest. Called by the core itself.
    pub(super) fn push(&self, record: &Record) {
        let slots = self.slots();
        let Some(mask) = slots.len().checked_sub(1) else {
            return;
        };
        // An interrupt may come in between: in one step.
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let slot = &slots[number as usize & mask];
        slot.number.store(0, Ordering::Relaxed);
        fence(Ordering::Release);
        slot.ticks.store(record.ticks, Ordering::Relaxed);
        slot.label
            .store(ptr::from_ref(record.label).cast_mut(), Ordering::Relaxed);
        let site = record.site.map_or(ptr::null(), ptr::from_ref);
        slot.site.store(site.cast_mut(), Ordering::Relaxed);
        let has_fields = u64::from(record.has_fields) * HAS_FIELDS;
        let shape = record.depth << 8 | has_fields | record.phase as u64;
        slot.shape.store(shape, Ordering::Relaxed);
        for (place, value) in slot.values.iter().zip(record.values) {
            place.store(value, Ordering::Relaxed);
        }
        slot.number.store(number + 1, Ordering::Release);
    }

    /// The records that are whole, oldest first.
    pub(super) fn records(&self) -> impl Iterator<Item = Record> {
        let end = self.next.load(Ordering::Acquire);
        let begin = end.saturating_sub(self.slots().len() as u64);
        (begin..end).filter_map(|number| self.read(number))
    }

    fn read(&self, number: u64) -> Option<Record> {
        let slots = self.slots();
        let slot = &slots[number as usize & slots.len().checked_sub(1)?];
        if slot.number.load(Ordering::Acquire) != number + 1 {
            return None;
        }
        let label = slot.label.load(Ordering::Relaxed);
        let site = slot.site.load(Ordering::Relaxed);
        let shape = slot.shape.load(Ordering::Relaxed);
        let ticks = slot.ticks.load(Ordering::Relaxed);
        let values = [0, 1].map(|i: usize| slot.values[i].load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        if slot.number.load(Ordering::Relaxed) != number + 1 {
            return None;
        }
        Some(Record {
            ticks,
            // SAFETY: null or a `&'static Label` (module's invariant).
            label: unsafe { label.as_ref() }?,
            // SAFETY: null or a `&'static Location`.
            site: unsafe { site.as_ref() },
            phase: *PHASES.get((shape & 0xff & !HAS_FIELDS) as usize)?,
            depth: shape >> 8,
            values,
            has_fields: shape & HAS_FIELDS != 0,
        })
    }

    /// Records that newer ones have replaced.
    pub(super) fn overwritten(&self) -> u64 {
        self.next
            .load(Ordering::Relaxed)
            .saturating_sub(self.slots().len() as u64)
    }

    /// One span more is open; gives how many were. Called by the core itself, outside interrupts, as the rest.
    pub(super) fn descend(&self) -> u64 {
        let depth = self.depth.load(Ordering::Relaxed);
        self.depth.store(depth + 1, Ordering::Relaxed);
        depth
    }

    /// So many spans are open now.
    pub(super) fn ascend(&self, depth: u64) {
        self.depth.store(depth, Ordering::Relaxed);
    }

    /// The number of the event.
    pub(super) fn event(&self) -> u64 {
        self.event.load(Ordering::Relaxed)
    }

    /// Another event begins, which is open.
    pub(super) fn next_event(&self) {
        let event = self.event.load(Ordering::Relaxed);
        self.event.store(event + 1, Ordering::Relaxed);
        self.ascend(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static LABEL: Label = Label::new("label", "test", ["n", ""]);

    fn numbered(n: u64) -> Record {
        Record {
            ticks: n,
            label: &LABEL,
            site: None,
            phase: Phase::Instant,
            depth: n % 3,
            values: [n, !n],
            has_fields: n.is_multiple_of(2),
        }
    }

    #[test]
    fn the_newest_records_stay_and_the_others_are_counted() {
        let ring = Ring::new(Box::leak(Box::default()));
        ring.push(&numbered(99));
        assert_eq!((ring.records().count(), ring.overwritten()), (0, 0));
        ring.make(8);
        ring.make(64);
        for n in 0..21 {
            ring.push(&numbered(n));
        }
        let values: Vec<u64> = ring.records().map(|r| r.values[0]).collect();
        assert_eq!(values, (13..21).collect::<Vec<_>>());
        assert_eq!(ring.overwritten(), 13);
    }

    #[test]
    fn whoever_reads_while_the_core_writes_gets_whole_records() {
        extern crate std;
        let ring = Ring::new(Box::leak(Box::default()));
        ring.make(4);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| (0..200_000).for_each(|n| ring.push(&numbered(n))));
            let mut seen = 0;
            while !writer.is_finished() || seen == 0 {
                for record in ring.records() {
                    let [n, inverse] = record.values;
                    assert_eq!(
                        (inverse, record.ticks, record.depth, record.has_fields),
                        (!n, n, n % 3, n.is_multiple_of(2)),
                        "torn"
                    );
                    seen += 1;
                }
            }
        });
    }
}
