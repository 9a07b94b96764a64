//! Private mappings of objects, against a model; what areas ask of forks; areas that grow.

use super::tests::{machine, space};
use super::*;
use crate::arena::Rng;
use std::vec::Vec;

const AT: u64 = 0x7000_0000;
const PAGES: u64 = 12;

fn private(space: &mut Space, object: &Arc<Shared>, at: u64) {
    let backing = Backing::Private(Arc::clone(object));
    let mapped = space.map(
        Place::Fixed(at),
        PAGES * PAGE,
        Protection::WRITE,
        backing,
        0,
        0,
    );
    assert_eq!(mapped, Ok(at));
}

/// What a space shows of an object: a byte for each page that it has copied.
struct Viewer {
    space: Space,
    copied: Vec<Option<u8>>,
}

impl Viewer {
    fn check(&mut self, object: &[u8], size: u64) {
        for (page, own) in (0..PAGES).zip(&self.copied) {
            let expected = match own {
                _ if page >= size => None,
                Some(byte) => Some(*byte),
                None => Some(object[page as usize]),
            };
            let seen = self.space.get::<u8>(AT + page * PAGE).ok();
            assert_eq!(seen, expected, "page {page}");
        }
    }

    fn forget(&mut self, pages: Range<u64>) {
        for page in pages {
            self.copied[page as usize] = None;
        }
    }
}

#[test]
fn a_private_mapping_sees_what_is_written_to_its_object_in_every_page_that_it_has_not_changed() {
    let root = machine();
    let before = crate::frame::stats().free;
    for seed in 0..40u64 {
        let mut rng = Rng(seed + 1);
        let quota = Quota::new(1000);
        let object = Shared::new(&quota, PAGES * PAGE);
        let mut content = [0u8; PAGES as usize];
        let mut size = PAGES;
        let mut first = space(&root, 1 << 30);
        private(&mut first, &object, AT);
        let copied = [None; PAGES as usize].to_vec();
        let mut viewers = Vec::from([Viewer {
            space: first,
            copied,
        }]);
        for _ in 0..300 {
            let page = rng.below(PAGES as usize) as u64;
            let who = rng.below(viewers.len());
            match rng.below(7) {
                0 | 1 => {
                    let byte = rng.next() as u8;
                    if page < size {
                        assert_eq!(object.write(page * PAGE, &[byte]), Ok(1));
                        content[page as usize] = byte;
                    }
                }
                2 | 3 => {
                    let byte = rng.next() as u8;
                    let written = viewers[who].space.put(AT + page * PAGE, byte);
                    assert_eq!(written.is_ok(), page < size);
                    if page < size {
                        viewers[who].copied[page as usize] = Some(byte);
                    }
                }
                4 => {
                    if viewers.len() < 5 {
                        let from = &mut viewers[who];
                        let Some(space) = from.space.duplicate() else {
                            panic!("no frame")
                        };
                        let copied = from.copied.clone();
                        viewers.push(Viewer { space, copied });
                    } else {
                        viewers.swap_remove(who);
                    }
                }
                5 => {
                    // Cut and grown again: what lay beyond the end is zeroes to all.
                    let (cut, new) = (page.min(size), 1 + rng.below(PAGES as usize) as u64);
                    object.resize(cut * PAGE);
                    for viewer in &mut viewers {
                        assert_eq!(viewer.space.unmap_shared(&object), Ok(()));
                        viewer.forget(cut..PAGES);
                    }
                    content[cut as usize..].fill(0);
                    object.resize(new.max(cut) * PAGE);
                    size = new.max(cut);
                }
                _ => {
                    let viewer = &mut viewers[who];
                    assert_eq!(viewer.space.discard(AT + page * PAGE, PAGE), Ok(()));
                    viewer.forget(page..page + 1);
                }
            }
            for viewer in &mut viewers {
                viewer.check(&content, size);
            }
        }
        drop(viewers);
        drop(object);
        assert_eq!(quota.used(), 0);
        assert_eq!(crate::frame::stats().free, before, "seed {seed}");
    }
}

#[test]
fn a_hole_in_an_object_is_seen_through_private_mappings_that_keep_what_they_copied() {
    let root = machine();
    let object = Shared::new(&Quota::new(100), PAGES * PAGE);
    assert_eq!(
        object.write(0, &[1; 3 * PAGE as usize]),
        Ok(3 * PAGE as usize)
    );
    let mut space = space(&root, 1 << 30);
    private(&mut space, &object, AT);
    assert_eq!(space.get::<u8>(AT), Ok(1));
    assert_eq!(space.put(AT + PAGE, 9u8), Ok(()));
    object.punch(0, 2);
    assert_eq!(space.unmap_shared(&object), Ok(()));
    let seen = [0, 1, 2].map(|page| space.get::<u8>(AT + page * PAGE));
    assert_eq!(seen, [Ok(0), Ok(9), Ok(1)]);
}

#[test]
fn another_object_takes_the_place_of_a_frozen_one_and_private_copies_stay() {
    let root = machine();
    let quota = Quota::new(100);
    let frozen = Shared::new(&quota, PAGES * PAGE);
    assert_eq!(frozen.write(0, &[1; PAGE as usize]), Ok(PAGE as usize));
    frozen.freeze();
    let mut space = space(&root, 1 << 30);
    private(&mut space, &frozen, AT);
    assert_eq!(
        (space.get::<u8>(AT), space.put(AT + PAGE, 7u8)),
        (Ok(1), Ok(()))
    );
    let Some(mut clone) = space.duplicate() else {
        panic!("no frame")
    };
    let Some(own) = frozen.copy(&quota) else {
        panic!("no memory")
    };
    assert!(!own.is_frozen());
    let swap = |o: &Arc<Shared>| Arc::ptr_eq(o, &frozen).then(|| Arc::clone(&own));
    assert_eq!(clone.exchange_shared(swap), Ok(()));
    assert_eq!(own.write(0, &[2]), Ok(1));
    let seen = |s: &mut Space| (s.get::<u8>(AT), s.get::<u8>(AT + PAGE));
    assert_eq!(seen(&mut clone), (Ok(2), Ok(7)));
    assert_eq!(seen(&mut space), (Ok(1), Ok(7)));
}

#[test]
fn a_delta_over_a_private_mapping_is_what_it_was_made_of() {
    let root = machine();
    let quota = Quota::new(100);
    let object = Shared::new(&quota, PAGES * PAGE);
    for page in 0..PAGES {
        assert_eq!(object.write(page * PAGE, &[page as u8 + 1; 99]), Ok(99));
    }
    object.freeze();
    let mut first = space(&root, 1 << 30);
    private(&mut first, &object, AT);
    assert_eq!(first.get::<u8>(AT), Ok(1));
    let Some(base) = first.freeze() else {
        panic!("no frame")
    };
    let Some(mut clone) = base.thaw() else {
        panic!("no frame")
    };
    // One page that the base had mapped, one that it had not, and one that is only read.
    for page in [0, 3] {
        assert_eq!(clone.put(AT + page * PAGE + 8, 77u8), Ok(()));
    }
    assert_eq!(clone.get::<u8>(AT + 5 * PAGE), Ok(6));
    let delta = clone.delta(&base, Vectors::of_this_process()).unwrap();
    assert_eq!(delta.pages(), 2);
    let Some(mut again) = base.thaw_with(&delta, None) else {
        panic!("no frame")
    };
    for page in 0..PAGES {
        let at = AT + page * PAGE;
        let expected = (clone.get::<[u8; 16]>(at), clone.get::<u8>(at + 98));
        assert_eq!((again.get(at), again.get(at + 98)), expected, "page {page}");
    }
}

fn anonymous(space: &mut Space, at: u64, flags: Flags) {
    let what = Mapping {
        protection: Protection::WRITE,
        backing: Backing::Anonymous,
        offset: 0,
        note: 0,
        flags,
    };
    assert_eq!(space.map_as(Place::Fixed(at), 2 * PAGE, what), Ok(at));
    assert_eq!(space.put(at, 5u8), Ok(()));
}

#[test]
fn a_fork_does_what_areas_ask_of_it_and_a_copy_of_a_snapshot_can_wipe() {
    let root = machine();
    let mut parent = space(&root, 1 << 30);
    for (at, flags) in [
        (AT, Flags::NONE),
        (AT + (1 << 20), Flags::WIPE_ON_FORK),
        (AT + (2 << 20), Flags::DONT_FORK),
        (AT + (3 << 20), Flags::LOCKED),
    ] {
        anonymous(&mut parent, at, flags);
    }
    parent.set_future(Flags::LOCKED);
    let seen = |s: &mut Space| [0, 1, 2, 3].map(|i| s.get::<u8>(AT + (i << 20)).ok());
    let Some(mut child) = parent.fork() else {
        panic!("no frame")
    };
    assert_eq!(seen(&mut child), [Some(5), Some(0), None, Some(5)]);
    assert_eq!((parent.locked(), child.locked()), (2 * PAGE, 0));
    assert_eq!(child.future(), Flags::NONE);
    assert_eq!(seen(&mut parent), [Some(5); 4]);
    // The child's children find zeroes too.
    assert_eq!(child.put(AT + (1 << 20), 6u8), Ok(()));
    let grandchild = child.fork().map(|mut s| s.get::<u8>(AT + (1 << 20)));
    assert_eq!(grandchild, Some(Ok(0)));
    let mut thawed = parent.freeze().and_then(|f| f.thaw());
    let Some(clone) = &mut thawed else {
        panic!("no frame")
    };
    assert_eq!(clone.wipe(), Ok(()));
    assert_eq!(seen(clone), [Some(5), Some(0), Some(5), Some(5)]);
}

#[test]
fn an_area_that_grows_down_grows_up_to_its_limit_and_not_into_what_is_below() {
    let root = machine();
    let mut space = space(&root, 1 << 30);
    let top = AT + (16 << 20);
    anonymous(&mut space, top, Flags::GROWS_DOWN);
    space.set_growth_limit(4 << 20);
    for page in 1..600 {
        assert_eq!(space.put(top - page * PAGE, 1u8), Ok(()), "page {page}");
    }
    assert_eq!(space.areas().count(), 1);
    let too_far = top + 2 * PAGE - (4 << 20) - PAGE;
    assert!(space.put(too_far, 1u8).is_err());
    assert_eq!(space.put(too_far + PAGE, 1u8), Ok(()));
    // What may be used keeps its distance, what may not be used need not.
    let mut other = super::tests::space(&root, 1 << 30);
    anonymous(&mut other, top, Flags::GROWS_DOWN);
    anonymous(&mut other, top - (2 << 20), Flags::NONE);
    assert!(other.put(top - (1 << 20), 1u8).is_err());
    assert_eq!(other.put(top - (1 << 20) + 4 * PAGE, 1u8), Ok(()));
}

#[test]
fn what_is_brought_in_ahead_is_there_and_what_may_not_be_used_ends_it() {
    let root = machine();
    let mut space = space(&root, 1 << 30);
    anonymous(&mut space, AT, Flags::NONE);
    anonymous(&mut space, AT + 2 * PAGE, Flags::RANDOM);
    assert_eq!(space.populate(AT, 4 * PAGE, None, 3), Ok(3 * PAGE));
    let there = space.residency(AT, 4 * PAGE);
    assert_eq!(there, Ok([true, true, true, false].to_vec()));
    assert_eq!(space.protect(AT, PAGE, Protection::NONE), Ok(()));
    assert_eq!(space.populate(AT, PAGE, None, 9), Err(Fault::Denied));
    assert_eq!(
        space.populate(AT + 3 * PAGE, 2 * PAGE, None, 9),
        Err(Fault::NotMapped)
    );
}

#[test]
fn mappings_that_must_be_low_are_below_two_gibibytes_until_there_is_no_room() {
    let root = machine();
    let mut space = space(&root, 1 << 30);
    let map = |space: &mut Space, hint, len| {
        space.map(
            Place::Low(hint),
            len,
            Protection::NONE,
            Backing::Anonymous,
            0,
            0,
        )
    };
    assert_eq!(map(&mut space, 0x2000_0000, PAGE), Ok(0x2000_0000));
    assert_eq!(map(&mut space, GUEST_END - PAGE, PAGE), Ok(LOW.start));
    assert_eq!(map(&mut space, 0, PAGE), Ok(LOW.start + PAGE));
    assert_eq!(map(&mut space, 0, 1 << 30), Err(Error::NoRoom));
}

#[test]
fn a_part_of_a_mapping_moves_and_stays_mapped_and_empty() {
    let root = machine();
    let mut space = space(&root, 1 << 30);
    anonymous(&mut space, AT, Flags::NONE);
    let moved = space.remap(AT, 2 * PAGE, 2 * PAGE, Some(Place::Near(0)), true);
    let Ok(at) = moved else { panic!("{moved:?}") };
    assert_eq!((space.get::<u8>(at), space.get::<u8>(AT)), (Ok(5), Ok(0)));
    assert_eq!(space.mapped(), 4 * PAGE);
}

#[test]
fn what_is_behind_a_mapping_can_forbid_that_it_is_written_to() {
    let root = machine();
    let mut space = space(&root, 1 << 30);
    let what = Mapping {
        protection: Protection::READ,
        backing: Backing::Shared(Shared::new(&Quota::new(9), 2 * PAGE)),
        offset: 0,
        note: 0,
        flags: Flags::NEVER_WRITE,
    };
    assert_eq!(space.map_as(Place::Fixed(AT), 2 * PAGE, what), Ok(AT));
    let protect = |space: &mut Space, p| space.protect(AT, 2 * PAGE, p);
    assert_eq!(protect(&mut space, Protection::WRITE), Err(Error::Denied));
    assert_eq!(protect(&mut space, Protection::EXECUTE), Ok(()));
}
