//! The spans that there are: what each is, and how many refer to it.
//!
//! What must hold: a number names one span, and none once that is closed; any core may use any number, so each place has a lock,
//! which is held for a few instructions. There are at most [`SPANS`] at once; their memory is made as it is needed, and kept.

use alloc::{boxed::Box, vec::Vec};
use core::{
    num::NonZeroU64,
    sync::atomic::{AtomicU64, Ordering},
};

use ebb_runtime::trace::{Fields, Flight, Moment};
use once_cell::race::OnceBox;
use spin::mutex::SpinMutex;
use tracing_core::{Metadata, span::Id};

/// Spans that there may be at once; what is beyond is not shown.
pub const SPANS: usize = GROUPS * GROUP;
const GROUPS: usize = 64;
const GROUP: usize = 64;
/// The number of all spans that are not shown.
const LEFT_OUT: u64 = u64::MAX;

/// A span.
pub struct Span {
    pub metadata: &'static Metadata<'static>,
    pub fields: Fields,
    pub made: Moment,
    /// How often it was entered, up to two.
    pub entered: u8,
    /// Its line, from the second time on.
    pub flight: Option<Flight>,
    references: usize,
}

#[derive(Default)]
struct Place {
    /// How many spans it has had.
    generation: u32,
    span: Option<Span>,
}

type Group = [SpinMutex<Place>; GROUP];

static PLACES: [OnceBox<Group>; GROUPS] = [const { OnceBox::new() }; GROUPS];
static FREE: SpinMutex<Free> = SpinMutex::new(Free {
    list: Vec::new(),
    made: 0,
});
static LEFT_OUT_COUNT: AtomicU64 = AtomicU64::new(0);

/// Places without a span.
struct Free {
    list: Vec<u16>,
    /// Those that never had one begin here.
    made: u16,
}

/// How many spans were not shown because there were too many at once.
#[must_use]
pub fn left_out() -> u64 {
    LEFT_OUT_COUNT.load(Ordering::Relaxed)
}

fn place(index: u16) -> Option<&'static SpinMutex<Place>> {
    let index = usize::from(index);
    let group = PLACES.get(index / GROUP)?.get()?;
    group.get(index % GROUP)
}

fn take_place() -> Option<(u16, &'static SpinMutex<Place>)> {
    let index = {
        let mut free = FREE.lock();
        match free.list.pop() {
            Some(index) => index,
            None if usize::from(free.made) < SPANS => {
                free.made += 1;
                free.made - 1
            }
            None => return None,
        }
    };
    let group = PLACES[usize::from(index) / GROUP]
        .get_or_init(|| Box::new(core::array::from_fn(|_| SpinMutex::default())));
    Some((index, &group[usize::from(index) % GROUP]))
}

/// Makes a span, with one reference.
pub fn make(metadata: &'static Metadata<'static>, fields: Fields) -> Id {
    let Some((index, place)) = take_place() else {
        LEFT_OUT_COUNT.fetch_add(1, Ordering::Relaxed);
        return Id::from_u64(LEFT_OUT);
    };
    let mut place = place.lock();
    // 31 bits, so that none is that of those which are left out.
    place.generation = (place.generation + 1) & (u32::MAX >> 1);
    place.span = Some(Span {
        metadata,
        fields,
        made: Moment::now(),
        entered: 0,
        flight: None,
        references: 1,
    });
    let number = u64::from(place.generation) << 16 | u64::from(index);
    Id::from_non_zero_u64(NonZeroU64::MIN.saturating_add(number))
}

fn split(id: &Id) -> Option<(u32, u16)> {
    let number = id.into_u64() - 1;
    Some((u32::try_from(number >> 16).ok()?, number as u16))
}

/// Does something with a span, if there is such a one. No other core can use it meanwhile: this must be short.
pub fn with<T>(id: &Id, f: impl FnOnce(&mut Span) -> T) -> Option<T> {
    let (generation, index) = split(id)?;
    let mut place = place(index)?.lock();
    if place.generation != generation {
        return None;
    }
    place.span.as_mut().map(f)
}

/// One more refers to it.
pub fn refer(id: &Id) {
    with(id, |span| span.references += 1);
}

/// One less refers to it; whether it is closed now.
pub fn release(id: &Id) -> bool {
    let is_last = with(id, |span| {
        span.references -= 1;
        span.references == 0
    });
    let (Some(true), Some((_, index))) = (is_last, split(id)) else {
        return false;
    };
    let closed = place(index).and_then(|place| place.lock().span.take());
    // Its flight ends here, after the lock.
    drop(closed);
    FREE.lock().list.push(index);
    true
}
