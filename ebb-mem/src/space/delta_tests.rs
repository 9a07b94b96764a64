//! What a delta keeps, and that it gives all of it back.

use super::tests::{machine, space};
use super::*;
use std::vec::Vec;

/// The pages lie on both sides of a boundary of the upper tables.
const BASE: u64 = (1 << 39) - PAGES / 2 * PAGE;
const PAGES: u64 = 64;

#[test]
fn a_delta_keeps_the_lines_that_changed_and_no_more() {
    let root = machine();
    let mut space = space(&root, 1 << 30);
    let map = space.map(
        Place::Fixed(BASE),
        PAGES * PAGE,
        Protection::WRITE,
        Backing::Anonymous,
        0,
        0,
    );
    assert_eq!(map, Ok(BASE));
    for page in 0..PAGES {
        assert_eq!(space.put(BASE + page * PAGE, page), Ok(()));
    }
    let Some(frozen) = space.freeze() else {
        panic!("no memory to freeze")
    };
    let empty = space.delta(&frozen).unwrap().size();
    for page in 0..10 {
        assert_eq!(space.put(BASE + page * PAGE + 640, 7u64), Ok(()));
    }
    // Written to, and the same again.
    assert_eq!(space.put(BASE + 20 * PAGE, 20u64), Ok(()));
    let delta = space.delta(&frozen).unwrap();
    assert_eq!(delta.pages(), 10);
    // And where the lines lie.
    let list = size_of::<Vec<u8>>() as u64;
    assert_eq!(delta.size(), empty + 10 * (64 + 16) + list);
}

#[test]
fn a_delta_of_many_lines_gives_all_of_them_back() {
    let root = machine();
    let mut space = space(&root, 1 << 30);
    let map = space.map(
        Place::Fixed(BASE),
        PAGES * PAGE,
        Protection::WRITE,
        Backing::Anonymous,
        0,
        0,
    );
    assert_eq!(map, Ok(BASE));
    let frozen = space.freeze().expect("memory to freeze");
    // Every line of some pages, every other one of the rest: in more than one piece, whose ends lie within pages.
    let lines = |page: u64| (0..64).filter(move |line| page.is_multiple_of(3) || line % 2 == 1);
    for page in 0..50 {
        for line in lines(page) {
            let at = BASE + page * PAGE + line * 64;
            assert_eq!(space.put(at, at), Ok(()));
        }
    }
    let delta = space.delta(&frozen).expect("memory for it");
    let mut copy = frozen.thaw_with(&delta).expect("memory for it");
    for page in 0..50 {
        for line in 0..64 {
            let at = BASE + page * PAGE + line * 64;
            assert_eq!(copy.get::<u64>(at), space.get::<u64>(at), "{at:#x}");
        }
    }
}
