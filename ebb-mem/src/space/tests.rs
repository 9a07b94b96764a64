//! The space against a model that remembers what every page allows and holds.

use super::*;
use crate::arena::{Arena, Rng};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, OnceLock};

/// Half of the pages lie on each side of a border that every level of the tables has.
pub(super) const BASE: u64 = (1 << 39) - PAGES / 2 * PAGE;
pub(super) const PAGES: u64 = 64;

/// The process has one machine; the tests that count its frames take turns.
pub(super) fn machine() -> MutexGuard<'static, PhysAddr> {
    static MACHINE: OnceLock<Mutex<PhysAddr>> = OnceLock::new();
    let lock = MACHINE.get_or_init(|| {
        let arena = Arena::new(32 << 20, 1 << 30);
        let offset = arena.linear().to_virt(PhysAddr(0)) as usize;
        let map: std::vec::Vec<_> = [arena.range()].into();
        // SAFETY: the arena is leaked.
        assert_eq!(unsafe { crate::init(&map, offset, 1) }, Ok(()));
        std::mem::forget(arena);
        let Some(root) = crate::frame::alloc_zeroed(0, crate::frame::Node::LOCAL) else {
            unreachable!()
        };
        Mutex::new(root)
    });
    lock.lock().unwrap_or_else(|e| e.into_inner())
}

pub(super) fn space(root: &PhysAddr, limit: u64) -> Space {
    let Some(space) = Space::new(*root, limit) else {
        panic!("no frame for a space")
    };
    space
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Page {
    protection: Protection,
    /// What its first byte is, and what it was at first.
    byte: u8,
    fresh: u8,
}

pub(super) type Model = BTreeMap<u64, Page>;

fn protection(rng: &mut Rng) -> Protection {
    [
        Protection::NONE,
        Protection::READ,
        Protection::WRITE,
        Protection::WRITE,
        Protection::EXECUTE,
    ][rng.below(5)]
}

pub(super) fn check(space: &mut Space, model: &Model) {
    for page in 0..PAGES {
        let at = BASE + page * PAGE;
        let expected = match model.get(&at) {
            Some(p) if p.protection.any() => Ok(p.byte),
            _ => Err(BadAddressOf),
        };
        assert_eq!(
            space.get::<u8>(at).map_err(|_| BadAddressOf),
            expected,
            "page {page}"
        );
        if model.get(&at).is_none_or(|p| !p.protection.write) {
            assert!(
                space.put::<u8>(at, 1).is_err(),
                "page {page} must not be writable"
            );
        }
    }
    let mapped: u64 = model.len() as u64 * PAGE;
    assert_eq!(space.mapped(), mapped);
    let areas: std::vec::Vec<_> = space.areas().cloned().collect();
    for pair in areas.windows(2) {
        assert!(
            pair[0].end <= pair[1].start,
            "areas overlap or are unsorted"
        );
    }
}

#[derive(PartialEq, Debug)]
struct BadAddressOf;

/// A file of `PAGES / 2` pages: page i is filled with i + 1.
pub(super) fn file() -> Backing {
    static FILE: OnceLock<PhysAddr> = OnceLock::new();
    let pages = PAGES / 2;
    let start = *FILE.get_or_init(|| {
        let order = pages.next_power_of_two().ilog2();
        let Some(at) = crate::frame::alloc(order, crate::frame::Node::LOCAL) else {
            unreachable!()
        };
        for i in 0..pages {
            // SAFETY: within the block.
            unsafe {
                crate::phys_to_virt(at.offset(i * PAGE)).write_bytes(i as u8 + 1, PAGE as usize)
            };
        }
        at
    });
    Backing::Image {
        start,
        len: pages * PAGE,
    }
}

pub(super) fn step(space: &mut Space, model: &mut Model, rng: &mut Rng) {
    let first = rng.below(PAGES as usize) as u64;
    let count = 1 + rng.below((PAGES - first).min(12) as usize) as u64;
    let start = BASE + first * PAGE;
    let len = count * PAGE;
    let pages = || (0..count).map(move |i| start + i * PAGE);
    match rng.below(9) {
        0 => {
            let protection = protection(rng);
            assert_eq!(
                space.map(
                    Place::Fixed(start),
                    len,
                    protection,
                    Backing::Anonymous,
                    0,
                    0
                ),
                Ok(start)
            );
            for at in pages() {
                model.insert(
                    at,
                    Page {
                        protection,
                        byte: 0,
                        fresh: 0,
                    },
                );
            }
        }
        1 => {
            let protection = protection(rng);
            let offset = rng.below((PAGES / 2 - count + 1) as usize) as u64;
            assert_eq!(
                space.map(
                    Place::Fixed(start),
                    len,
                    protection,
                    file(),
                    offset * PAGE,
                    0
                ),
                Ok(start)
            );
            for (i, at) in pages().enumerate() {
                let byte = offset as u8 + i as u8 + 1;
                model.insert(
                    at,
                    Page {
                        protection,
                        byte,
                        fresh: byte,
                    },
                );
            }
        }
        2 => {
            assert_eq!(space.unmap(start, len), Ok(()));
            for at in pages() {
                model.remove(&at);
            }
        }
        3 => {
            let protection = protection(rng);
            let full = pages().all(|at| model.contains_key(&at));
            assert_eq!(space.protect(start, len, protection).is_ok(), full);
            // Up to the first hole it is done.
            for at in pages()
                .take_while(|at| model.contains_key(at))
                .collect::<std::vec::Vec<_>>()
            {
                model.entry(at).and_modify(|p| p.protection = protection);
            }
        }
        4 => {
            let full = pages().all(|at| model.contains_key(&at));
            assert_eq!(space.discard(start, len).is_ok(), full);
            for at in pages() {
                model.entry(at).and_modify(|p| p.byte = p.fresh);
            }
        }
        5 => {
            let to = BASE + rng.below((PAGES - count) as usize + 1) as u64 * PAGE;
            let new = 1 + rng.below(count as usize) as u64;
            let overlap = to < start + len && start < to + new * PAGE;
            let one = space.area(start).is_some_and(|a| a.end >= start + len);
            let result = space.remap(start, len, new * PAGE, Some(Place::Fixed(to)), false);
            assert_eq!(result.is_ok(), one && !overlap, "{result:?}");
            if result.is_ok() {
                let old: std::vec::Vec<_> = pages().filter_map(|at| model.remove(&at)).collect();
                for (i, page) in old.into_iter().take(new as usize).enumerate() {
                    model.insert(to + i as u64 * PAGE, page);
                }
            }
        }
        _ => {
            for at in pages() {
                let byte = rng.next() as u8;
                let allowed = model.get(&at).is_some_and(|p| p.protection.write);
                assert_eq!(space.put(at, byte).is_ok(), allowed);
                if allowed {
                    model.entry(at).and_modify(|p| p.byte = byte);
                }
            }
        }
    }
}

#[test]
fn random_changes_and_copies_read_back_as_the_model_says_and_give_every_frame_back() {
    let root = machine();
    file();
    crate::trim();
    let before = crate::frame::stats().free;
    for seed in 1..30 {
        let mut rng = Rng(seed);
        let mut spaces = std::vec::Vec::from([(space(&root, 1 << 30), Model::new())]);
        for _ in 0..400 {
            let which = rng.below(spaces.len());
            if rng.below(40) == 0 && spaces.len() < 5 {
                let Some(copy) = spaces[which].0.duplicate() else {
                    panic!("no memory for a copy")
                };
                let model = spaces[which].1.clone();
                spaces.push((copy, model));
            } else if rng.below(100) == 0 && spaces.len() > 1 {
                spaces.swap_remove(which);
            } else {
                let (space, model) = &mut spaces[which];
                step(space, model, &mut rng);
            }
        }
        for (space, model) in &mut spaces {
            check(space, model);
        }
    }
    crate::trim();
    assert_eq!(crate::frame::stats().free, before);
}

#[test]
fn a_space_made_of_a_delta_is_what_the_delta_was_made_of_and_goes_its_own_way() {
    let root = machine();
    file();
    crate::trim();
    let before = crate::frame::stats().free;
    for seed in 1..60 {
        let mut rng = Rng(seed);
        let (mut first, mut model) = (space(&root, 1 << 30), Model::new());
        for _ in 0..rng.below(120) {
            step(&mut first, &mut model, &mut rng);
        }
        let Some(frozen) = first.freeze() else {
            panic!("no memory to freeze")
        };
        let Some(mut second) = frozen.thaw() else {
            panic!("no memory to thaw")
        };
        let mut changed = model.clone();
        for _ in 0..rng.below(120) {
            step(&mut second, &mut changed, &mut rng);
            step(&mut first, &mut model, &mut rng);
        }
        let delta = second.delta(&frozen, Vectors::of_this_process()).unwrap();
        let was = changed.clone();
        for _ in 0..rng.below(20) {
            step(&mut second, &mut changed, &mut rng);
        }
        let mut made = std::vec::Vec::new();
        for _ in 0..3 {
            let Some(copy) = frozen.thaw_with(&delta, None) else {
                panic!("no memory for a copy")
            };
            made.push((copy, was.clone()));
        }
        for _ in 0..60 {
            let which = rng.below(made.len());
            let (space, model) = &mut made[which];
            step(space, model, &mut rng);
        }
        made.push((first, model));
        made.push((second, changed));
        for (space, model) in &mut made {
            check(space, model);
        }
        // Nobody has changed what the others are made of.
        let Some(mut last) = frozen.thaw_with(&delta, None) else {
            panic!("no memory for a copy")
        };
        check(&mut last, &was);
    }
    crate::trim();
    assert_eq!(crate::frame::stats().free, before);
}

/// One of a tree of spaces and frozen spaces, each a copy of another.
enum Held {
    Running(Space, Model),
    Frozen(Frozen, Model),
}

impl Held {
    fn private(&self) -> u64 {
        match self {
            Self::Running(space, _) => space.private(),
            Self::Frozen(frozen, _) => frozen.private(),
        }
    }
}

#[test]
fn dropping_one_of_a_tree_of_copies_frees_exactly_what_only_it_holds() {
    let root = machine();
    file();
    let free = || {
        crate::trim();
        crate::frame::stats().free
    };
    let at_first = free();
    for seed in 1..40 {
        let mut rng = Rng(seed);
        let mut all = std::vec::Vec::from([Held::Running(space(&root, 1 << 30), Model::new())]);
        let mut dropped = 0;
        while dropped < 30 {
            let which = rng.below(all.len());
            let more = match &mut all[which] {
                Held::Running(space, model) if rng.below(4) > 0 => {
                    step(space, model, &mut rng);
                    None
                }
                Held::Running(space, model) => {
                    space.freeze().map(|f| Held::Frozen(f, model.clone()))
                }
                Held::Frozen(frozen, model) => {
                    frozen.thaw().map(|s| Held::Running(s, model.clone()))
                }
            };
            all.extend(more);
            if all.len() > 8 {
                let gone = all.swap_remove(rng.below(all.len()));
                let (before, private) = (free(), gone.private());
                drop(gone);
                assert_eq!(free(), before + private / PAGE, "seed {seed}");
                dropped += 1;
            }
        }
        for held in &mut all {
            if let Held::Running(space, model) = held {
                check(space, model);
            }
        }
    }
    assert_eq!(free(), at_first);
}

#[test]
fn a_working_set_can_be_fetched_in_pieces() {
    let root = machine();
    let mut first = space(&root, 1 << 30);
    let len = PAGES * PAGE;
    let anonymous = first.map(
        Place::Fixed(BASE),
        len,
        Protection::WRITE,
        Backing::Anonymous,
        0,
        0,
    );
    let of_file = first.map(
        Place::Fixed(BASE + len),
        len / 2,
        Protection::READ,
        file(),
        0,
        0,
    );
    assert!(anonymous.is_ok() && of_file.is_ok());
    let Some(frozen) = first.freeze() else {
        panic!("no memory to freeze")
    };
    let thaw = || match frozen.thaw() {
        Some(space) => space,
        None => panic!("no memory to thaw"),
    };
    let mut used = thaw();
    for page in 0..10 {
        assert!(used.put(BASE + page * PAGE, 1u8).is_ok());
    }
    assert!(used.get::<u8>(BASE + len).is_ok());
    let set = used.working_set(&frozen);
    assert_eq!((set.written(), set.read()), (10, AROUND_FAULT));
    let (mut whole, mut pieces, mut read) = (thaw(), thaw(), thaw());
    whole.prefetch(&set, &frozen, Vectors::BASELINE);
    let mut next = 0;
    while next < set.len() {
        let then = pieces.prefetch_part(&set, &frozen, next..next + 3, Vectors::of_this_process());
        assert!(then > next && then <= next + 3);
        next = then;
    }
    assert_eq!(pieces.working_set(&frozen), whole.working_set(&frozen));
    read.prefetch_read(&set);
    assert_eq!(read.working_set(&frozen).written(), 0);
    assert_eq!(read.working_set(&frozen).read(), AROUND_FAULT);
}

/// Pages of a file that a fault on one of them maps.
const AROUND_FAULT: usize = 16;

#[test]
fn a_space_that_is_kept_close_puts_what_is_far_away_side_by_side() {
    let root = machine();
    let mut space = space(&root, 1 << 30);
    space.keep_close();
    let mut at = |hint, len| {
        space.map(
            Place::Near(hint),
            len,
            Protection::WRITE,
            Backing::Anonymous,
            0,
            0,
        )
    };
    let first = at(0x2345_6704_0000, 64 * PAGE);
    assert_eq!(first, Ok(ZONE));
    assert_eq!(
        at(0x6543_2100_0000, PAGE),
        Ok(ZONE + (2 << 20)),
        "as aligned"
    );
    assert_eq!(at(0x1234_5678_0000, 64 * PAGE), Ok(ZONE + (1 << 19)));
    assert_eq!(at(ZONE + 0x1000_0000, PAGE), Ok(ZONE + 0x1000_0000), "near");
}

#[test]
fn a_space_refuses_more_memory_than_its_limit() {
    let root = machine();
    let mut space = space(&root, 20 * PAGE);
    assert!(
        space
            .map(
                Place::Fixed(BASE),
                1 << 40,
                Protection::WRITE,
                Backing::Anonymous,
                0,
                0
            )
            .is_ok()
    );
    let written = (0..64)
        .take_while(|i| space.put(BASE + i * PAGE, 1u8).is_ok())
        .count();
    assert_eq!(written, 16, "20 frames less 4 tables");
    assert_eq!(space.used(), 20 * PAGE);
    assert_eq!(
        space.fault(BASE + 17 * PAGE, Access::Write),
        Err(Fault::OutOfMemory)
    );
    assert_eq!(space.discard(BASE, 4 * PAGE), Ok(()));
    assert!(space.put(BASE + 17 * PAGE, 1u8).is_ok());
}

#[test]
fn wrapping_and_kernel_ranges_are_refused_everywhere() {
    let root = machine();
    let mut space = space(&root, 1 << 20);
    for (start, len) in [
        (0, PAGE),
        (GUEST_END, PAGE),
        (GUEST_END - PAGE, 2 * PAGE),
        (0xffff_8000_0000_0000, PAGE),
        (PAGE, u64::MAX),
        (u64::MAX - PAGE + 1, PAGE),
        (BASE, 0),
        (BASE + 1, PAGE),
    ] {
        let map = space.map(
            Place::Fixed(start),
            len,
            Protection::WRITE,
            Backing::Anonymous,
            0,
            0,
        );
        assert_eq!(map, Err(Error::Invalid), "{start:#x} {len:#x}");
        if start != 0 {
            assert_eq!(
                space.unmap(start, len),
                Err(Error::Invalid),
                "{start:#x} {len:#x}"
            );
        }
    }
    let mut byte = [0; 2];
    for at in [
        0,
        GUEST_END,
        GUEST_END - 1,
        0x8000_0000_0000,
        0xffff_ffff_8000_0000,
        u64::MAX,
    ] {
        assert_eq!(space.read(at, &mut byte), Err(BadAddress), "{at:#x}");
        assert_eq!(space.write(at, &byte), Err(BadAddress), "{at:#x}");
    }
}

#[test]
fn mappings_without_a_place_do_not_overlap_and_fill_gaps_from_the_top() {
    let root = machine();
    let mut space = space(&root, 1 << 20);
    space.set_top(BASE + 100 * PAGE);
    let mut at = |len| {
        space.map(
            Place::Near(0),
            len,
            Protection::WRITE,
            Backing::Anonymous,
            0,
            0,
        )
    };
    let a = at(10 * PAGE);
    let b = at(1);
    assert_eq!(a, Ok(BASE + 90 * PAGE));
    assert_eq!(b, Ok(BASE + 89 * PAGE));
    assert_eq!(
        space.areas().count(),
        1,
        "adjoining areas of a kind are one"
    );
    assert_eq!(space.unmap(BASE + 92 * PAGE, 2 * PAGE), Ok(()));
    let near = space.map(
        Place::Near(0),
        2 * PAGE,
        Protection::READ,
        Backing::Anonymous,
        0,
        0,
    );
    assert_eq!(near, Ok(BASE + 92 * PAGE));
    let taken = space.map(
        Place::FixedFree(BASE + 92 * PAGE),
        PAGE,
        Protection::READ,
        Backing::Anonymous,
        0,
        0,
    );
    assert_eq!(taken, Err(Error::Occupied));
}

#[test]
fn pages_beyond_the_end_of_a_file_fault_as_such() {
    let root = machine();
    let mut space = space(&root, 1 << 20);
    let offset = (PAGES / 2 - 1) * PAGE;
    assert!(
        space
            .map(
                Place::Fixed(BASE),
                2 * PAGE,
                Protection::READ,
                file(),
                offset,
                0
            )
            .is_ok()
    );
    assert_eq!(space.fault(BASE, Access::Read), Ok(()));
    assert_eq!(
        space.fault(BASE + PAGE, Access::Read),
        Err(Fault::BeyondEnd)
    );
}

/// Pages over several tables of the last level, of which a copy has some too.
fn spread(space: &mut Space) -> u64 {
    const PAGES_OF_A_TABLE: u64 = 512;
    let len = 5 * PAGES_OF_A_TABLE * PAGE;
    let mapped = space.map(
        Place::Fixed(BASE),
        len,
        Protection::WRITE,
        Backing::Anonymous,
        0,
        0,
    );
    assert_eq!(mapped, Ok(BASE));
    for page in 0..len / PAGE {
        assert!(space.put(BASE + page * PAGE, page as u32).is_ok());
    }
    len
}

#[test]
fn a_long_change_is_made_in_parts_that_come_to_its_end() {
    let root = machine();
    let before = crate::frame::stats().free;
    let mut space = space(&root, 24 << 20);
    let len = spread(&mut space);
    let mut at = 0;
    let mut parts = 0;
    while let Some(part) = space.reach(BASE + at, len - at, 700) {
        assert!(part > 0 && at + part < len);
        assert_eq!(space.unmap(BASE + at, part), Ok(()));
        at += part;
        parts += 1;
        assert!(space.get::<u32>(BASE + at).is_ok() && space.get::<u32>(BASE + at - 1).is_err());
    }
    assert!((2..=5).contains(&parts), "{parts} parts");
    assert_eq!(space.unmap(BASE + at, len - at), Ok(()));
    assert_eq!(space.reach(BASE, len, 1), None);
    assert_eq!(space.reach(BASE + 1, len, 1), None);
    assert_eq!(space.reach(BASE, u64::MAX, 1), None);
    assert_eq!(space.resident(), 0);
    drop(space);
    crate::trim();
    assert_eq!(crate::frame::stats().free, before);
}

#[test]
fn a_space_that_ends_leaves_alone_what_its_copy_shares() {
    let root = machine();
    let mut space = space(&root, 1 << 20);
    let pages = Shared::new(&Quota::new(10), PAGE);
    let mapped = space.map(
        Place::Fixed(BASE),
        PAGE,
        Protection::WRITE,
        Backing::Shared(pages),
        0,
        0,
    );
    assert!(mapped.is_ok() && space.put(BASE, 1u8).is_ok());
    let Some(mut copy) = space.duplicate() else {
        panic!("no frame for a copy")
    };
    assert!(space.put(BASE, 2u8).is_ok() && space.release_part(1000));
    drop(space);
    assert_eq!(copy.get::<u8>(BASE), Ok(2));
    assert!(copy.release_part(1000) && copy.all_shared().all(|s| s.pages() == 0));
}

#[test]
fn a_space_that_ends_gives_its_frames_back_in_parts_and_its_copy_keeps_its_own() {
    let root = machine();
    let before = crate::frame::stats().free;
    let mut space = space(&root, 24 << 20);
    let len = spread(&mut space);
    let Some(mut copy) = space.duplicate() else {
        panic!("no frame for a copy")
    };
    // Two tables of the space's own again; the others both have.
    assert!(space.put(BASE, 7u32).is_ok() && space.put(BASE + len - PAGE, 7u32).is_ok());
    assert!(space.release_part(100_000));
    drop(space);
    for page in 0..len / PAGE {
        assert_eq!(copy.get::<u32>(BASE + page * PAGE), Ok(page as u32));
    }
    let mut parts = 0;
    let mut free = crate::frame::stats().free;
    while !copy.release_part(300) {
        let now = crate::frame::stats().free;
        assert!(now <= free + 310, "more than a part at once");
        free = now;
        parts += 1;
    }
    assert!(parts >= 8, "{parts} parts");
    drop(copy);
    crate::trim();
    assert_eq!(crate::frame::stats().free, before);
}

#[test]
fn what_was_written_through_shared_pages_is_told_once() {
    let root = machine();
    let mut space = space(&root, 1 << 20);
    let pages = Shared::new(&Quota::new(10), 4 * PAGE);
    let backing = Backing::Shared(pages);
    let mapped = space.map(
        Place::Fixed(BASE),
        4 * PAGE,
        Protection::WRITE,
        backing,
        0,
        0,
    );
    assert!(mapped.is_ok());
    assert_eq!(space.get::<u8>(BASE), Ok(0));
    let told = |space: &mut Space, page: u64| {
        let written = space.take_written(BASE + page * PAGE, PAGE);
        written.map(|w| w.len())
    };
    assert_eq!(told(&mut space, 0), Ok(0), "reading is not writing");
    assert!(space.put(BASE + PAGE, 1u8).is_ok());
    assert_eq!(told(&mut space, 0), Ok(0));
    assert_eq!(told(&mut space, 1), Ok(1));
    assert_eq!(told(&mut space, 1), Ok(0));
}
