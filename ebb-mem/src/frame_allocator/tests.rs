//! The frame allocator against a model that remembers who owns what.

use super::*;
use crate::arena::{Arena, Rng};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::vec::Vec;

fn allocator(arena: &Arena, map: &[Range<PhysAddr>]) -> FrameAllocator {
    // SAFETY: the arena outlives the allocator in every test.
    match unsafe { FrameAllocator::new(map, arena.linear(), 8192) } {
        Ok((frames, extra)) => {
            assert!(extra.is_aligned(4096));
            frames
        }
        Err(error) => panic!("{error}"),
    }
}

/// One use of the allocator; numbers are taken modulo what there is.
#[derive(Clone, Copy, Debug)]
enum Use {
    /// So many frames, aligned to so many orders more than needed.
    Alloc(u32, u32),
    Free(usize),
    Resize(usize, u32),
}

/// Does `uses`, checking that live ranges never overlap and never leave the
/// map; then frees all.
fn against_model(map_of: impl Fn(&Arena) -> Vec<Range<PhysAddr>>, uses: impl Iterator<Item = Use>) {
    let arena = Arena::new(16 << 20, 3 << 28);
    let map = map_of(&arena);
    let frames = allocator(&arena, &map);
    let fresh = frames.stats();
    assert_eq!(fresh.free, fresh.total);
    let mut live: BTreeMap<u64, u32> = BTreeMap::new();
    for step in uses {
        match step {
            Use::Alloc(pages, more) => {
                let order = pages.next_power_of_two().ilog2() + more;
                if let Some(addr) = frames.alloc_pages(pages, order) {
                    assert!(addr.is_aligned((FRAME_SIZE as u64) << order));
                    claim(&mut live, &map, addr, pages);
                }
            }
            Use::Free(which) => {
                if let Some((addr, pages)) = pick(&live, which) {
                    live.remove(&addr.0);
                    // SAFETY: the range is live and ours.
                    unsafe { frames.free_pages(addr, pages) };
                }
            }
            Use::Resize(which, new) => {
                if let Some((addr, pages)) = pick(&live, which) {
                    let new = 1 + new % (2 * pages);
                    live.remove(&addr.0);
                    // SAFETY: as above.
                    let done = unsafe { frames.resize_pages(addr, pages, new) };
                    assert!(done || new > pages, "shrinking always works");
                    claim(&mut live, &map, addr, if done { new } else { pages });
                }
            }
        }
        let used: u64 = live.values().map(|&pages| u64::from(pages)).sum();
        assert_eq!(frames.stats().free + used, fresh.total);
    }
    for (addr, pages) in live {
        // SAFETY: as above.
        unsafe { frames.free_pages(PhysAddr(addr), pages) };
    }
    assert_eq!(frames.stats(), fresh, "all joined again");
}

/// A long random run of uses.
fn random_uses(seed: u64) -> impl Iterator<Item = Use> {
    let mut rng = Rng(seed);
    (0..3000).map(move |_| match rng.below(8) {
        0..=3 => Use::Alloc(rng.size(11) as u32, u32::from(rng.below(8) == 0)),
        4..=5 => Use::Free(rng.next() as usize),
        _ => Use::Resize(rng.next() as usize, rng.next() as u32),
    })
}

fn any_use() -> impl Strategy<Value = Use> {
    prop_oneof![
        (1..200u32, 0..2u32).prop_map(|(pages, more)| Use::Alloc(pages, more)),
        any::<usize>().prop_map(Use::Free),
        (any::<usize>(), any::<u32>()).prop_map(|(which, new)| Use::Resize(which, new)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    /// Ranges may touch, overlap and be of any length and alignment.
    #[test]
    fn any_use_of_any_map_never_overlaps_and_joins_again(
        ranges in prop::collection::vec((1..3800usize, 1..250usize), 1..6),
        uses in prop::collection::vec(any_use(), 0..300),
    ) {
        against_model(
            // One range that surely holds the tables.
            |a| ranges.iter().map(|&(start, length)| a.frames(start..start + length))
                .chain([a.frames(4066..4096)]).collect(),
            uses.iter().copied(),
        );
    }
}

fn pick(live: &BTreeMap<u64, u32>, which: usize) -> Option<(PhysAddr, u32)> {
    if live.is_empty() {
        return None;
    }
    live.iter()
        .nth(which % live.len())
        .map(|(&a, &p)| (PhysAddr(a), p))
}

fn claim(live: &mut BTreeMap<u64, u32>, map: &[Range<PhysAddr>], addr: PhysAddr, pages: u32) {
    let end = addr.0 + u64::from(pages) * FRAME_SIZE as u64;
    for page in 0..u64::from(pages) {
        // Page by page, for a block may lie in two adjacent ranges.
        let at = addr.offset(page * FRAME_SIZE as u64);
        assert!(
            map.iter().any(|r| r.contains(&at)),
            "{at} is outside the map"
        );
    }
    if let Some((&before, &n)) = live.range(..=addr.0).next_back() {
        assert!(
            before + u64::from(n) * FRAME_SIZE as u64 <= addr.0,
            "overlap at {addr}"
        );
    }
    if let Some((&after, _)) = live.range(addr.0..).next() {
        assert!(end <= after, "overlap at {addr}");
    }
    live.insert(addr.0, pages);
}

#[test]
fn random_use_of_one_range_never_overlaps_and_joins_again() {
    for seed in 1..20 {
        against_model(|a| [a.range()].into(), random_uses(seed));
    }
}

#[test]
fn random_use_of_scattered_odd_ranges_never_overlaps_and_joins_again() {
    for seed in 1..20 {
        against_model(
            |a| {
                [
                    a.frames(3..77),
                    a.frames(78..1001),
                    a.frames(2000..4095),
                    a.frames(1001..1003),
                ]
                .into()
            },
            random_uses(seed),
        );
    }
}

#[test]
fn sixteen_gib_start_without_touching_their_table() {
    let resident = || {
        let Ok(statm) = std::fs::read_to_string("/proc/self/statm") else {
            return 0;
        };
        statm
            .split(' ')
            .nth(1)
            .and_then(|pages| pages.parse().ok())
            .unwrap_or(0)
    };
    const BYTES: usize = 16 << 30;
    let Ok(layout) = std::alloc::Layout::from_size_align(BYTES, 2 << 20) else {
        unreachable!()
    };
    // SAFETY: the size is not zero. The system gives address space only.
    let base = unsafe { std::alloc::alloc(layout) };
    if base.is_null() {
        // A system that does not overcommit; nothing to see.
        return;
    }
    let start = PhysAddr(1 << 32);
    let linear = LinearMap::new(base.expose_provenance().wrapping_sub(start.0 as usize));
    let before: usize = resident();
    // SAFETY: the memory is ours while the allocator is used.
    let frames = unsafe { FrameAllocator::new(&[start..start.offset(BYTES as u64)], linear, 0) };
    let Ok((frames, _)) = frames else {
        panic!("init failed")
    };
    let Some(block) = frames.alloc(MAX_ORDER) else {
        panic!("no 1 GiB block")
    };
    assert!(block.is_aligned(1 << 30));
    let pages = resident() - before;
    assert!(pages < 256, "{pages} pages were touched");
    // SAFETY: ours.
    unsafe { std::alloc::dealloc(base, layout) };
}

#[test]
fn ranges_are_sorted_joined_and_rounded_inwards() {
    let ranges = [
        PhysAddr(0x9000)..PhysAddr(0xa000),
        PhysAddr(0)..PhysAddr(0x2fff),
        PhysAddr(0x8001)..PhysAddr(0x9000),
        PhysAddr(0x5000)..PhysAddr(0x9800),
        PhysAddr(0xb000)..PhysAddr(0xbfff),
    ];
    let usable = UsableRanges::from_map(&ranges);
    assert_eq!(usable.as_slice(), [(1, 2), (5, 10)]);
}

#[test]
fn a_little_memory_far_up_is_left_out() {
    let ranges = [
        PhysAddr(0x1000)..PhysAddr(64 << 20),
        PhysAddr(1 << 40)..PhysAddr((1 << 40) + 4096),
    ];
    let mut usable = UsableRanges::from_map(&ranges);
    usable.drop_not_worth_it();
    assert_eq!(usable.as_slice(), [(1, 64 << 8)]);
}

#[test]
fn more_ranges_than_fit_keep_the_largest() {
    let ranges: Vec<_> = (1..200u64)
        .map(|i| PhysAddr(i << 24)..PhysAddr((i << 24) + i * FRAME_SIZE as u64))
        .collect();
    let usable = UsableRanges::from_map(&ranges);
    assert_eq!(usable.as_slice().len(), MAX_RANGES);
    assert_eq!(
        usable.as_slice()[0].1 - usable.as_slice()[0].0,
        200 - MAX_RANGES as u32
    );
}

#[test]
fn no_memory_and_too_little_memory_are_errors() {
    let arena = Arena::new(2 << 20, 0);
    // SAFETY: nothing is allocated from them.
    let (none, little) = unsafe {
        (
            FrameAllocator::new(&[], arena.linear(), 0).err(),
            FrameAllocator::new(&[arena.frames(1..4)], arena.linear(), 1 << 20).err(),
        )
    };
    assert_eq!(none, Some(InitError::NoUsableMemory));
    assert!(
        matches!(little, Some(InitError::TooLittleMemory { .. })),
        "{little:?}"
    );
}

#[test]
fn references_keep_a_frame_until_the_last_is_gone() {
    let arena = Arena::new(4 << 20, 1 << 30);
    let frames = allocator(&arena, &[arena.range()]);
    let Some(frame) = frames.alloc(0) else {
        panic!("no memory")
    };
    assert_eq!(frames.refs(frame), 1);
    frames.share(frame);
    frames.share(frame);
    assert!(!frames.unref(frame));
    assert!(!frames.unref(frame));
    assert_eq!(frames.refs(frame), 1);
    assert!(frames.unref(frame));
}

#[test]
fn a_broken_up_block_is_freed_frame_by_frame_and_joins_again() {
    let arena = Arena::new(4 << 20, 1 << 30);
    let frames = allocator(&arena, &[arena.range()]);
    let fresh = frames.stats();
    let Some(block) = frames.alloc(5) else {
        panic!("no memory")
    };
    frames.break_up(block, 5);
    for i in 0..32 {
        // SAFETY: each frame is ours.
        unsafe { frames.free(block.offset(i * FRAME_SIZE as u64), 0) };
    }
    assert_eq!(frames.stats(), fresh);
}

#[test]
fn a_core_s_cache_gives_everything_back() {
    let arena = Arena::new(4 << 20, 1 << 30);
    let frames = allocator(&arena, &[arena.range()]);
    let fresh = frames.stats();
    let mut cache = FrameCache::new();
    let mut live = Vec::new();
    while let Some(frame) = cache.alloc(&frames) {
        live.push(frame);
    }
    assert_eq!(live.len() as u64, fresh.total);
    for frame in live {
        // SAFETY: ours.
        unsafe { cache.free(&frames, frame) };
    }
    cache.flush(&frames, usize::MAX);
    assert_eq!(frames.stats(), fresh);
}

#[cfg(debug_assertions)]
mod misuse {
    use super::*;

    #[test]
    #[should_panic(expected = "double free")]
    fn freeing_a_frame_twice_is_caught() {
        let arena = Arena::new(4 << 20, 1 << 30);
        let frames = allocator(&arena, &[arena.range()]);
        let Some(frame) = frames.alloc(0) else {
            panic!("no memory")
        };
        // SAFETY: deliberately wrong; caught.
        unsafe {
            frames.free(frame, 0);
            frames.free(frame, 0);
        }
    }

    #[test]
    #[should_panic(expected = "double free")]
    fn freeing_a_cached_frame_twice_is_caught() {
        let arena = Arena::new(4 << 20, 1 << 30);
        let frames = allocator(&arena, &[arena.range()]);
        let mut cache = FrameCache::new();
        let Some(frame) = cache.alloc(&frames) else {
            panic!("no memory")
        };
        // SAFETY: deliberately wrong; caught.
        unsafe {
            cache.free(&frames, frame);
            cache.free(&frames, frame);
        }
    }

    #[test]
    #[should_panic(expected = "foreign")]
    fn freeing_a_foreign_frame_is_caught() {
        let arena = Arena::new(4 << 20, 1 << 30);
        let frames = allocator(&arena, &[arena.range()]);
        // SAFETY: deliberately wrong; caught.
        unsafe { frames.free(PhysAddr(0x1000), 0) };
    }
}

/// Single frames stop before the last large pages, which are the heap's, and go on in what lies free in pieces.
#[test]
fn single_frames_leave_the_heap_its_large_pages() {
    let arena = Arena::new(512 << 20, 3 << 28);
    let frames = allocator(&arena, &[arena.range()]);
    let fresh = frames.stats();
    let kept = fresh.kept >> LARGE_PAGE_ORDER;
    assert!(kept >= 2, "{fresh:?}");
    assert_eq!(fresh.kept, fresh.to_keep);
    let mut cache = FrameCache::new();
    let mut single: Vec<_> = core::iter::from_fn(|| cache.alloc(&frames)).collect();
    let full = frames.stats();
    assert_eq!(single.len() as u64, fresh.free_for_pages());
    assert_eq!((full.free_for_pages(), full.kept), (0, fresh.kept));
    assert_eq!(frames.alloc_sparing(LARGE_PAGE_ORDER), None);

    let mut rng = Rng(7);
    let mut large: Vec<_> = (0..kept)
        .map(|_| frames.alloc(LARGE_PAGE_ORDER).expect("kept for this"))
        .collect();
    assert_eq!(frames.alloc(LARGE_PAGE_ORDER), None);
    // What is given back in pieces is for single frames again.
    for _ in 0..5000 {
        let at = rng.below(single.len());
        // SAFETY: allocated above, and forgotten here.
        unsafe { cache.free(&frames, single.swap_remove(at)) };
    }
    single.extend(core::iter::from_fn(|| cache.alloc(&frames)));
    assert_eq!(single.len() as u64, fresh.free_for_pages());
    // What becomes a large page again is the heap's first.
    for addr in single.drain(..) {
        // SAFETY: as above.
        unsafe { cache.free(&frames, addr) };
    }
    cache.flush(&frames, CACHE_FRAMES);
    assert_eq!(frames.stats().kept, fresh.kept);
    for addr in large.drain(..) {
        // SAFETY: as above.
        unsafe { frames.free(addr, LARGE_PAGE_ORDER) };
    }
    assert_eq!(frames.stats(), fresh);
}

/// What the heap takes for a while, in pieces of large pages, does not use up what is kept for it, however full the machine is of single
/// frames meanwhile; and all comes together again.
#[test]
fn what_the_heap_takes_and_gives_back_is_kept_for_it() {
    let arena = Arena::new(512 << 20, 3 << 28);
    let frames = allocator(&arena, &[arena.range()]);
    let fresh = frames.stats();
    for seed in 1..=20 {
        let mut rng = Rng(seed);
        let (mut cache, mut single) = (FrameCache::new(), Vec::new());
        let mut heap: Vec<(PhysAddr, u32)> = Vec::new();
        for _ in 0..400 {
            match rng.below(8) {
                0 => single.extend(core::iter::from_fn(|| cache.alloc(&frames))),
                1 => {
                    for _ in 0..rng.below(20_000).min(single.len()) {
                        let at = rng.below(single.len());
                        // SAFETY: allocated above, and forgotten here.
                        unsafe { cache.free(&frames, single.swap_remove(at)) };
                    }
                }
                2..=4 => {
                    let most = [400, 400, 400, 1500][rng.below(4)];
                    let pages = 1 + rng.below(most) as u32;
                    let order = pages.next_power_of_two().trailing_zeros();
                    let range = frames.alloc_pages(pages, order);
                    heap.extend(range.map(|at| (at, pages)));
                }
                5 if !heap.is_empty() => {
                    let at = rng.below(heap.len());
                    let (range, pages) = heap[at];
                    let new = 1 + rng.below(2 * pages as usize) as u32;
                    // SAFETY: of that length, and what is given up is not used.
                    if unsafe { frames.resize_pages(range, pages, new) } {
                        heap[at].1 = new;
                    }
                }
                _ if !heap.is_empty() => {
                    let (range, pages) = heap.swap_remove(rng.below(heap.len()));
                    // SAFETY: of that length, and forgotten here.
                    unsafe { frames.free_pages(range, pages) };
                }
                _ => {}
            }
        }
        single.extend(core::iter::from_fn(|| cache.alloc(&frames)));
        for (range, pages) in heap.drain(..) {
            // SAFETY: as above.
            unsafe { frames.free_pages(range, pages) };
        }
        assert_eq!(frames.stats().kept, fresh.kept, "seed {seed}");
        for addr in single.drain(..) {
            // SAFETY: as above.
            unsafe { cache.free(&frames, addr) };
        }
        cache.flush(&frames, CACHE_FRAMES);
        assert_eq!(frames.stats(), fresh, "seed {seed}");
    }
}
