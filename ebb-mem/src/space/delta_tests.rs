//! What a delta keeps, and that it gives all of it back.

use super::tests::{machine, space};
use super::*;
use crate::arena::Rng;
use std::vec::Vec;

/// The pages lie on both sides of a boundary of the upper tables.
const BASE: u64 = (1 << 39) - PAGES / 2 * PAGE;
const PAGES: u64 = 64;
/// Bytes of them.
const LEN: u64 = PAGES * PAGE;

/// A space with that memory mapped.
fn mapped(root: &PhysAddr) -> Space {
    let mut space = space(root, 1 << 30);
    let place = Place::Fixed(BASE);
    let map = space.map(place, LEN, Protection::WRITE, Backing::Anonymous, 0, 0);
    assert_eq!(map, Ok(BASE));
    space
}

#[test]
fn a_delta_keeps_the_lines_that_changed_and_no_more() {
    let root = machine();
    let mut space = mapped(&root);
    for page in 0..PAGES {
        assert_eq!(space.put(BASE + page * PAGE, page), Ok(()));
    }
    let Some(frozen) = space.freeze() else {
        panic!("no memory to freeze")
    };
    let empty = space
        .delta(&frozen, Vectors::of_this_process())
        .unwrap()
        .size();
    for page in 0..10 {
        assert_eq!(space.put(BASE + page * PAGE + 640, 7u64), Ok(()));
    }
    // Written to, and the same again.
    assert_eq!(space.put(BASE + 20 * PAGE, 20u64), Ok(()));
    let delta = space.delta(&frozen, Vectors::of_this_process()).unwrap();
    assert_eq!(delta.pages(), 10);
    // And where the lines lie.
    let list = size_of::<Vec<u8>>() as u64;
    assert_eq!(delta.size(), empty + 10 * (64 + 16) + list);
}

#[test]
fn a_delta_of_many_lines_gives_all_of_them_back() {
    let root = machine();
    let mut space = mapped(&root);
    let frozen = space.freeze().expect("memory to freeze");
    // Every line of some pages, every other one of the rest: in more than one piece, whose ends lie within pages.
    let lines = |page: u64| (0..64).filter(move |line| page.is_multiple_of(3) || line % 2 == 1);
    for page in 0..50 {
        for line in lines(page) {
            let at = BASE + page * PAGE + line * 64;
            assert_eq!(space.put(at, at), Ok(()));
        }
    }
    let delta = space
        .delta(&frozen, Vectors::of_this_process())
        .expect("memory for it");
    let mut copy = frozen.thaw_with(&delta, None).expect("memory for it");
    for page in 0..50 {
        for line in 0..64 {
            let at = BASE + page * PAGE + line * 64;
            assert_eq!(copy.get::<u64>(at), space.get::<u64>(at), "{at:#x}");
        }
    }
}

/// One thing that happens to a clone.
fn happen(
    space: &mut Space,
    set: &WorkingSet,
    from: &Frozen,
    rng: &mut Rng,
    kept: &mut Vec<Space>,
) {
    let page = BASE + rng.below(PAGES as usize) as u64 * PAGE;
    let at = page + rng.below(64) as u64 * 64;
    match rng.below(16) {
        0..5 => {
            let first = rng.below(set.len());
            let next = space.prefetch_part(set, from, first..first + 8, Vectors::of_this_process());
            assert!(next > first);
        }
        5..8 => {
            let _ = space.put(at, rng.next());
        }
        8..11 => {
            let value = rng.next();
            if !space.tables.write_as_cpu(at, value) && space.fault(at, Access::Write).is_ok() {
                assert!(space.tables.write_as_cpu(at, value));
            }
        }
        11 => {
            let writable = rng.below(3) > 0;
            let protection = if writable {
                Protection::WRITE
            } else {
                Protection::READ
            };
            let _ = space.protect(page, PAGE, protection);
        }
        12 => assert_eq!(
            space.discard(page, PAGE).is_ok(),
            space.is_mapped(page, PAGE)
        ),
        13 => {
            let to = BASE + rng.below(PAGES as usize) as u64 * PAGE;
            let _ = space.remap(page, PAGE, PAGE, Some(Place::Fixed(to)), rng.below(2) == 0);
        }
        14 => kept.push(space.duplicate().expect("memory for a copy")),
        _ => {
            if let Some(mut other) = kept.pop() {
                let _ = other.put(at, rng.next());
            }
        }
    }
}

#[test]
fn a_clone_whose_working_set_was_fetched_is_kept_whole_whatever_happens_to_it() {
    let root = machine();
    let mut rng = Rng(7);
    for round in 0..400 {
        let (frozen, set) = base_of_pages(&root);
        let mut clone = frozen.thaw().expect("memory to thaw");
        let mut kept = Vec::new();
        for _ in 0..rng.below(80) {
            happen(&mut clone, &set, &frozen, &mut rng, &mut kept);
            // What was found out for one delta is used for the next, and by the clones of it.
            if rng.below(8) == 0 {
                let delta = delta_of(&mut clone, &frozen);
                if rng.below(3) == 0 {
                    clone = frozen.thaw_with(&delta, None).expect("memory for it");
                }
            }
        }
        let delta = delta_of(&mut clone, &frozen);
        let mut copy = frozen.thaw_with(&delta, None).expect("memory for it");
        for at in (BASE..BASE + LEN).step_by(64) {
            assert_eq!(
                copy.get::<u64>(at),
                clone.get::<u64>(at),
                "{at:#x} in round {round}"
            );
        }
    }
}

#[test]
fn pages_that_were_fetched_and_not_used_are_no_part_of_a_delta() {
    let root = machine();
    let mut base = mapped(&root);
    assert_eq!(base.fill(BASE, LEN as usize / 2, 1), Ok(()));
    let frozen = base.freeze().expect("memory to freeze");
    let pages = (0..PAGES).map(|page| BASE + page * PAGE);
    let set = WorkingSet::new(pages.collect(), Vec::new());
    let mut clone = frozen.thaw().expect("memory to thaw");
    clone.prefetch(&set, &frozen, Vectors::of_this_process());
    assert_eq!(clone.put(BASE, 2u8), Ok(()));
    assert!(clone.tables.write_as_cpu(BASE + 40 * PAGE, 3));
    // Behind the delta's back, which therefore has not looked there.
    let unseen = clone
        .tables
        .usable(BASE + 2 * PAGE, false)
        .expect("it was fetched");
    // SAFETY: a frame of the clone's, to which no reference exists.
    unsafe { unseen.write(9) };
    assert_eq!(delta_of(&mut clone, &frozen).pages(), 2);
}

#[test]
fn a_page_that_was_compared_is_compared_again_when_it_was_written_to() {
    let root = machine();
    let mut base = mapped(&root);
    assert_eq!(base.fill(BASE, LEN as usize / 2, 1), Ok(()));
    let frozen = base.freeze().expect("memory to freeze");
    let mut first = frozen.thaw().expect("memory to thaw");
    assert_eq!(first.put(BASE, 2u8), Ok(()));
    let delta = delta_of(&mut first, &frozen);
    assert_eq!(delta.lines.len(), 1);
    // The one that it was taken of, and one that goes on from it.
    for mut space in [
        first,
        frozen.thaw_with(&delta, None).expect("memory for it"),
    ] {
        let page = space.tables.usable(BASE, false).expect("it has one");
        // Behind its back, once in a line that is known to differ and once in one that is not.
        // SAFETY: a frame of the space's, to which no reference exists.
        unsafe {
            page.write(3);
            page.add(64).write(3);
        }
        assert!(space.tables.usable(BASE, true).is_none());
        let again = delta_of(&mut space, &frozen);
        assert_eq!(again.lines.len(), 1);
        let mut copy = frozen.thaw_with(&again, None).expect("memory for it");
        assert_eq!(copy.get::<u8>(BASE), Ok(3));
        assert_eq!(copy.get::<u8>(BASE + 64), Ok(1));
        // A fold keeps no more.
        space.fold(&frozen, &[], true, Vectors::of_this_process());
        assert_eq!(space.get::<u8>(BASE + 64), Ok(1));
        assert_eq!(space.put(BASE + 64, 4u8), Ok(()));
        assert_eq!(delta_of(&mut space, &frozen).lines.len(), 2);
        assert!(space.tables.write_as_cpu(BASE + 128, 5));
        assert_eq!(delta_of(&mut space, &frozen).lines.len(), 3);
    }
}

#[test]
fn a_delta_is_the_same_whichever_registers_compare() {
    let root = machine();
    let mut rng = Rng(11);
    let (frozen, set) = base_of_pages(&root);
    let (mut clone, mut kept) = (frozen.thaw().expect("memory to thaw"), Vec::new());
    for _ in 0..200 {
        happen(&mut clone, &set, &frozen, &mut rng, &mut kept);
    }
    let wide = delta_of(&mut clone, &frozen);
    let mut copy = frozen.thaw_with(&wide, None).expect("memory for it");
    for page in 0..PAGES {
        // So that all are compared again.
        let _ = copy.put(BASE + page * PAGE + 8, page);
    }
    let narrow = copy.delta(&frozen, Vectors::BASELINE);
    let mut other = frozen
        .thaw_with(&narrow.expect("memory for it"), None)
        .expect("memory for it");
    for at in (BASE..BASE + LEN).step_by(8) {
        assert_eq!(other.get::<u64>(at), copy.get::<u64>(at), "{at:#x}");
    }
}

fn delta_of(space: &mut Space, from: &Frozen) -> super::Delta {
    space
        .delta(from, Vectors::of_this_process())
        .expect("memory for it")
}

/// A base with values in some of its pages, and a working set of some.
fn base_of_pages(root: &PhysAddr) -> (Frozen, WorkingSet) {
    let mut base = mapped(root);
    for page in (0..PAGES).filter(|page| page % 3 != 0) {
        assert_eq!(base.put(BASE + page * PAGE, page + 1), Ok(()));
    }
    let frozen = base.freeze().expect("memory to freeze");
    let pages = (0..PAGES)
        .filter(|page| page % 4 != 0)
        .map(|page| BASE + page * PAGE);
    (frozen, WorkingSet::new(pages.collect(), Vec::new()))
}

#[test]
fn a_program_does_not_see_that_its_pages_are_folded_and_every_frame_comes_back() {
    let root = machine();
    let before = crate::frame::stats().free;
    for seed in 1..400 {
        let (frozen, set) = base_of_pages(&root);
        let (mut rng, mut folds) = (Rng(seed), Rng(seed + 1000));
        let mut same = Rng(seed);
        let spares = frozen.spares((0..PAGES).map(|page| BASE + page * PAGE));
        let mut folding = frozen.thaw().expect("memory to thaw");
        let mut plain = frozen.thaw().expect("memory to thaw");
        let (mut kept, mut kept_plain) = (Vec::new(), Vec::new());
        for _ in 0..folds.below(80) {
            if folds.below(4) == 0 {
                let needed: Vec<(u64, bool)> = (0..PAGES)
                    .filter(|_| folds.below(4) == 0)
                    .map(|page| (BASE + page * PAGE, page % 2 == 0))
                    .collect();
                folding.fold(
                    &frozen,
                    &needed,
                    folds.below(2) == 0,
                    Vectors::of_this_process(),
                );
            }
            match folds.below(12) {
                0 => folding.fold_all(&frozen, Vectors::of_this_process()),
                1 => folding.unfold_expected(None),
                4 => drop(delta_of(&mut folding, &frozen)),
                5 => {
                    let delta = delta_of(&mut folding, &frozen);
                    let spares = Some(&spares).filter(|_| folds.below(2) == 0);
                    folding = frozen.thaw_with(&delta, spares).expect("memory for it");
                }
                2 | 3 => {
                    let most = folds.below(2 * PAGES as usize);
                    spares.make(most, Vectors::of_this_process());
                    folding.unfold_expected(Some(&spares));
                }
                _ => {}
            }
            happen(&mut folding, &set, &frozen, &mut rng, &mut kept);
            happen(&mut plain, &set, &frozen, &mut same, &mut kept_plain);
        }
        folding.fold(&frozen, &[], true, Vectors::of_this_process());
        if seed % 2 == 0 {
            // A copy of the whole, and a delta of it.
            let delta = folding
                .delta(&frozen, Vectors::of_this_process())
                .expect("memory for it");
            folding.fold(&frozen, &[], true, Vectors::of_this_process());
            kept.push(folding);
            folding = frozen.thaw_with(&delta, None).expect("memory for it");
        }
        kept.push(folding);
        let fork = kept.last_mut().and_then(Space::duplicate);
        kept.extend(fork);
        kept_plain.push(plain);
        for folding in &mut kept.iter_mut().rev().take(2) {
            let plain = kept_plain.last_mut().expect("it was pushed");
            for at in (BASE..BASE + LEN).step_by(64) {
                assert_eq!(
                    folding.get::<u64>(at),
                    plain.get::<u64>(at),
                    "{at:#x}, seed {seed}"
                );
            }
        }
        drop((kept, kept_plain, spares, frozen));
        assert_eq!(crate::frame::stats().free, before, "seed {seed}");
    }
}

#[test]
fn a_folded_page_is_its_lines_until_it_is_used_and_one_that_is_needed_stays() {
    let root = machine();
    let (frozen, _) = base_of_pages(&root);
    let mut clone = frozen.thaw().expect("memory to thaw");
    for page in 0..40 {
        for line in 0..3 {
            let at = BASE + page * PAGE + line * 1024;
            assert_eq!(clone.put(at + 8, page), Ok(()));
        }
    }
    // Full of other lines: it would not be smaller.
    assert_eq!(clone.fill(BASE + 50 * PAGE, PAGE as usize, 1), Ok(()));
    // What it was.
    assert_eq!(clone.put(BASE + 52 * PAGE, 53u64), Ok(()));
    let unfolded = clone.beyond(&frozen);
    clone.fold(
        &frozen,
        &[(BASE, true), (BASE + 7 * PAGE, false)],
        true,
        Vectors::of_this_process(),
    );
    let in_memory = |clone: &Space| {
        (0..PAGES)
            .filter(|page| clone.page_in_memory(BASE + page * PAGE).is_some())
            .count()
    };
    // Those two, the full one, and what it shares: every third page has never been.
    assert_eq!(
        in_memory(&clone),
        2 + 1 + (40..PAGES).filter(|p| p % 3 != 0 && *p != 50).count()
    );
    // 38 pages of three lines, and where they lie.
    let least = 39 * PAGE - 38 * 3 * 64 - 38 * 48;
    assert!(unfolded - clone.beyond(&frozen) > least - PAGE);
    // Only what is used is a page again.
    let folded = clone.beyond(&frozen);
    assert_eq!(clone.get::<u64>(BASE + 20 * PAGE + 1024 + 8), Ok(20));
    assert_eq!(clone.beyond(&frozen), folded + PAGE);
    // The next time it stays, because it was used.
    clone.fold(&frozen, &[], false, Vectors::of_this_process());
    assert!(clone.page_in_memory(BASE + 20 * PAGE).is_some());
    clone.fold(&frozen, &[], false, Vectors::of_this_process());
    assert!(clone.page_in_memory(BASE + 20 * PAGE).is_none());
    // After a long rest that comes back which was in use before it: two pages that were needed until then.
    assert_eq!(clone.put(BASE + 8, 1u64), Ok(()));
    assert_eq!(clone.put(BASE + 7 * PAGE + 8, 1u64), Ok(()));
    let awake = in_memory(&clone);
    clone.fold_all(&frozen, Vectors::of_this_process());
    assert_eq!(in_memory(&clone), awake - 2);
    clone.unfold_expected(None);
    assert_eq!(in_memory(&clone), awake);
    assert_eq!(clone.get::<u64>(BASE + 8), Ok(1));
}

#[test]
fn copies_that_were_made_ahead_are_taken_and_made_anew() {
    let root = machine();
    let (frozen, _) = base_of_pages(&root);
    let mut clone = frozen.thaw().expect("memory to thaw");
    // One page differs, one is what it was, and of the third the frozen space has none.
    let pages = [1, 2, 3].map(|page| BASE + page * PAGE);
    assert_eq!(clone.put(pages[0] + 8, 7u64), Ok(()));
    assert_eq!(clone.put(pages[1], 3u64), Ok(()));
    assert_eq!(clone.put(pages[2] + 8, 9u64), Ok(()));
    let spares = frozen.spares(pages.into_iter());
    assert_eq!(spares.size(), 0);
    while spares.make(1, Vectors::of_this_process()) {}
    let all = spares.size();
    assert!(all >= 2 * PAGE && all.is_multiple_of(2 * PAGE));
    let needed = pages.map(|page| (page, true));
    clone.fold(&frozen, &needed, true, Vectors::of_this_process());
    clone.fold_all(&frozen, Vectors::of_this_process());
    clone.unfold_expected(Some(&spares));
    assert_eq!(spares.size(), all - 2 * PAGE);
    for (page, word, value) in [(0, 8, 7), (0, 0, 2), (1, 0, 3), (2, 8, 9), (2, 0, 0)] {
        assert_eq!(clone.get::<u64>(pages[page] + word), Ok(value));
    }
    // Both are its own, so nothing of them is copied when it writes.
    let free = crate::frame::stats().free;
    assert_eq!(clone.put(pages[0], 1u64), Ok(()));
    assert_eq!(clone.put(pages[1], 1u64), Ok(()));
    assert_eq!(crate::frame::stats().free, free);
    // What the frozen space holds is what it was.
    let mut other = frozen.thaw().expect("memory to thaw");
    assert_eq!(other.get::<u64>(pages[0]), Ok(2));
    while spares.make(8, Vectors::of_this_process()) {}
    assert_eq!(spares.size(), all);
}

#[test]
fn copies_may_be_made_when_the_frozen_space_has_gone_and_every_frame_comes_back() {
    let root = machine();
    let before = crate::frame::stats().free;
    let (frozen, _) = base_of_pages(&root);
    let spares = frozen.spares([1, 2].map(|page| BASE + page * PAGE).into_iter());
    assert!(spares.make(1, Vectors::of_this_process()));
    drop(frozen);
    // Whatever has its frames now.
    let (other, _) = base_of_pages(&root);
    while spares.make(1, Vectors::of_this_process()) {}
    assert!(spares.size() > 2 * PAGE);
    drop((other, spares));
    assert_eq!(crate::frame::stats().free, before);
}

#[test]
fn copies_are_found_in_whatever_order_they_are_asked_for_and_whatever_lies_between() {
    let root = machine();
    let mut space = mapped(&root);
    for page in 0..PAGES {
        assert_eq!(space.put(BASE + page * PAGE, page), Ok(()));
    }
    let frozen = space.freeze().expect("memory to freeze");
    let at = |page: u64| BASE + page * PAGE;
    let spares = frozen.spares([1, 3, 5].map(at).into_iter());
    while spares.make(8, Vectors::of_this_process()) {}
    let frame = |page| entry::frame_of(frozen.0.tables.entry(page));
    let mut taking = spares.taking();
    for (page, there) in [
        (0, false),
        (1, true),
        (2, false),
        (3, true),
        (4, false),
        (5, true),
        (6, false),
        (1, true),
        (5, true),
        (0, false),
        (3, true),
    ] {
        let of = frame(at(page));
        let Some(copy) = taking.take(at(page), of) else {
            assert!(!there, "{page}");
            continue;
        };
        assert!(there, "{page}");
        // SAFETY: both frames are allocated, and nobody writes to them.
        let same = unsafe { super::lines::content(copy).0 == super::lines::content(of).0 };
        assert!(same);
        // SAFETY: it was given to us, and nobody uses it.
        assert!(unsafe { crate::frame::release(copy) });
    }
}

#[test]
fn a_space_of_differences_says_what_it_was_given_besides_without_a_look_at_its_tables() {
    let root = machine();
    let mut space = mapped(&root);
    for page in 0..PAGES {
        assert_eq!(space.put(BASE + page * PAGE, page), Ok(()));
    }
    let frozen = space.freeze().expect("memory to freeze");
    assert_eq!(space.put(BASE, 7u64), Ok(()));
    let delta = space.delta(&frozen, Vectors::of_this_process()).unwrap();
    assert!(space.take_noted().is_none());
    let mut clone = frozen.thaw_with(&delta, None).expect("memory to thaw");
    // What it writes to, some of it twice, and what it only reads and has already.
    for page in [9, 4, 9] {
        assert_eq!(clone.put(BASE + page * PAGE + 8, 1u64), Ok(()));
    }
    assert_eq!(clone.get::<u64>(BASE + 20 * PAGE), Ok(20));
    let set = clone.take_noted().expect("they were noted");
    let written = [4, 9].map(|page| BASE + page * PAGE);
    assert_eq!(set, WorkingSet::new(written.to_vec(), Vec::new()));
    assert!(clone.take_noted().is_none());
    // Another one gets them at once.
    let mut other = frozen.thaw_with(&delta, None).expect("memory to thaw");
    other.prefetch(&set, &frozen, Vectors::of_this_process());
    let faults = other.faults();
    for page in [9, 4] {
        assert!(other.tables.write_as_cpu(BASE + page * PAGE, 1));
    }
    assert_eq!(other.faults(), faults);
}
