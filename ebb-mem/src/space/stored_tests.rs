//! Spaces that were taken apart and made anew, against the model of `tests.rs`.

use super::tests::{BASE, Model, PAGES, check, file, machine, space, step};
use super::*;
use crate::arena::Rng;
use std::collections::BTreeMap;
use std::vec::Vec;

/// All bytes of lines, a few at a time.
fn bytes_of(lines: &Lines) -> Vec<u8> {
    let mut bytes = Vec::new();
    for at in (0..lines.byte_count()).step_by(3 * LINE_BYTES) {
        lines.append(at, 3 * LINE_BYTES, &mut bytes);
    }
    bytes
}

/// The same space, made of its parts in portions; equal pages have one frame.
fn rebuilt(root: &PhysAddr, frozen: &Frozen, most: usize) -> Frozen {
    let mut pages: Vec<(u64, PageBytes)> = Vec::new();
    let mut next = Some(0);
    while let Some(from) = next {
        let took = frozen.pages_from(from, most, |page, bytes| pages.push((page, *bytes)));
        next = took.expect("nothing is shared");
    }
    let mut building = Building::new(*root, frozen.outline()).expect("it is sound");
    for page in frozen.shown() {
        building.show(page).expect("a file is there");
    }
    let mut known: BTreeMap<PageBytes, u64> = BTreeMap::new();
    for (page, bytes) in pages {
        let put = match known.get(&bytes) {
            Some(same) => building.put_again(page, *same),
            None => building.put(page, &bytes),
        };
        put.expect("it is mapped");
        known.entry(bytes).or_insert(page);
        assert_eq!(building.put(page, &bytes), Err(Error::Occupied));
    }
    building.finish()
}

#[test]
fn a_space_that_was_taken_apart_is_made_anew_and_differences_from_the_one_fit_the_other() {
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
        let frozen = first.freeze().expect("there is memory");
        let again = rebuilt(&root, &frozen, 1 + rng.below(20));
        assert_eq!(again.outline(), frozen.outline());
        assert_eq!(again.shown(), frozen.shown());
        // Tables that have become empty are not made anew.
        assert!(again.used() <= frozen.used());
        let mut second = frozen.thaw().expect("there is memory");
        let mut changed = model.clone();
        for _ in 0..rng.below(120) {
            step(&mut second, &mut changed, &mut rng);
        }
        let written = second.delta(&frozen, Vectors::of_this_process()).unwrap();
        let (parts, bytes) = (written.to_parts(), bytes_of(written.lines()));
        let mut lines = Lines::default();
        for some in bytes.chunks(LINE_BYTES * (1 + rng.below(300))) {
            lines.put(some).expect("they are whole");
        }
        let delta = Delta::from_parts(parts.clone(), lines).expect("they are a delta's");
        assert_eq!((delta.to_parts(), bytes_of(delta.lines())), (parts, bytes));
        assert_eq!(delta.size(), written.size());
        for from in [&frozen, &again] {
            let mut third = from.thaw_with(&delta, None).expect("there is memory");
            let mut of_third = changed.clone();
            check(&mut third, &of_third);
            for _ in 0..rng.below(60) {
                step(&mut third, &mut of_third, &mut rng);
            }
            check(&mut third, &of_third);
        }
        // Nobody has changed what they were made of.
        check(&mut again.thaw().expect("there is memory"), &model);
        check(&mut frozen.thaw().expect("there is memory"), &model);
    }
    crate::trim();
    assert_eq!(crate::frame::stats().free, before, "every frame is back");
}

#[test]
fn parts_that_no_space_has_are_refused() {
    let root = machine();
    let area = |start: u64, end: u64| Area {
        start,
        end,
        protection: Protection::WRITE,
        backing: Backing::Anonymous,
        offset: 0,
        note: 0,
        flags: Flags::NONE,
    };
    let outline = |areas: Vec<Area>| Outline {
        areas,
        top: GUEST_END,
        close: false,
        future: Flags::NONE,
        forks_differ: false,
        growth_limit: 0,
    };
    let end = BASE + PAGES * PAGE;
    let unsound = [
        outline([area(BASE, BASE)].into()),
        outline([area(BASE + 1, end)].into()),
        outline([area(BASE, end), area(end - PAGE, end + PAGE)].into()),
        outline([area(end, end + PAGE), area(BASE, BASE + PAGE)].into()),
        outline([area(0, PAGE)].into()),
        outline([area(BASE, GUEST_END + PAGE)].into()),
        outline([area(1 << 48, (1 << 48) + PAGE)].into()),
        Outline {
            top: 0,
            ..outline(Vec::new())
        },
        outline(
            [Area {
                offset: u64::MAX - PAGE + 1,
                ..area(BASE, end)
            }]
            .into(),
        ),
    ];
    for outline in unsound {
        let made = Building::new(*root, outline.clone());
        assert!(matches!(made, Err(Error::Invalid)), "{outline:?}");
    }
    let sound = outline([area(BASE, end)].into());
    let mut building = Building::new(*root, sound.clone()).expect("it is sound");
    let bytes = [7; PAGE as usize];
    for (page, why) in [
        (end, Error::NotMapped),
        (BASE + 8, Error::Invalid),
        (u64::MAX, Error::NotMapped),
    ] {
        assert_eq!(building.put(page, &bytes), Err(why));
    }
    assert_eq!(building.put_again(BASE, BASE + PAGE), Err(Error::NotMapped));
    assert_eq!(building.show(BASE), Err(Error::NotMapped));
    let parts = DeltaParts {
        outline: sound,
        pages: [(BASE, 0b101)].into(),
        gone: [BASE + PAGE].into(),
        rights: Vec::new(),
    };
    let mut lines = Lines::default();
    for some in [&[1; 127][..], &[1; 7]] {
        assert_eq!(lines.put(some), Err(Error::Invalid));
    }
    lines.put(&[1; LINE_BYTES]).expect("it is whole");
    let few = Delta::from_parts(parts.clone(), lines.clone());
    assert!(matches!(few, Err(Error::Invalid)), "a line is missing");
    lines.put(&[1; LINE_BYTES]).expect("it is whole");
    assert!(Delta::from_parts(parts.clone(), lines.clone()).is_ok());
    let wrong: [fn(&mut DeltaParts); 4] = [
        |parts| parts.pages.push((BASE, 1)),
        |parts| parts.gone.push(1 << 47),
        |parts| parts.rights.push(3),
        |parts| parts.outline.top = 1,
    ];
    for change in wrong {
        let mut parts = parts.clone();
        change(&mut parts);
        let refused = Delta::from_parts(parts, lines.clone());
        assert!(matches!(refused, Err(Error::Invalid)));
    }
}
