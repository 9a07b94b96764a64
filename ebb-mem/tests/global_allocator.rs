//! The heap as the allocator of a whole Linux process: this one, test harness
//! included. What was allocated before the machine existed is the system's.

use ebb_mem::{Heap, PhysAddr};
use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

const BYTES: usize = 256 << 20;

struct Process;

static STATE: AtomicU8 = AtomicU8::new(0);
static ARENA: AtomicUsize = AtomicUsize::new(0);

fn ready() -> bool {
    if STATE.load(Ordering::Acquire) == 2 {
        return true;
    }
    if STATE
        .compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed)
        .is_err()
    {
        return false;
    }
    // SAFETY: size and alignment are valid.
    let arena = unsafe { System.alloc(Layout::from_size_align_unchecked(BYTES, 2 << 20)) };
    ARENA.store(arena.expose_provenance(), Ordering::Release);
    let start = PhysAddr(1 << 32);
    let offset = arena.addr().wrapping_sub(start.0 as usize);
    // SAFETY: the arena is ours and stays.
    let made = unsafe { ebb_mem::init(&[start..start.offset(BYTES as u64)], offset, 4) };
    if made.is_err() {
        return false;
    }
    STATE.store(2, Ordering::Release);
    true
}

// SAFETY: forwards to allocators; the arena tells whose a block is.
unsafe impl GlobalAlloc for Process {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe {
            if ready() {
                Heap.alloc(layout)
            } else {
                System.alloc(layout)
            }
        }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        let arena = ARENA.load(Ordering::Acquire);
        // SAFETY: the caller's promise.
        unsafe {
            if ptr.addr().wrapping_sub(arena) < BYTES {
                Heap.dealloc(ptr, layout);
            } else {
                System.dealloc(ptr, layout);
            }
        }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let arena = ARENA.load(Ordering::Acquire);
        // SAFETY: the caller's promise.
        unsafe {
            if ptr.addr().wrapping_sub(arena) < BYTES {
                Heap.realloc(ptr, layout, new_size)
            } else {
                System.realloc(ptr, layout, new_size)
            }
        }
    }
}

#[global_allocator]
static PROCESS: Process = Process;

fn use_collections(seed: usize) {
    let mut map = HashMap::new();
    let mut tree = BTreeMap::new();
    for i in 0..20_000 {
        let key = (i * 7919 + seed) % 5003;
        map.insert(key, format!("{key} times {}", "x".repeat(key % 300)));
        tree.insert(key, vec![i as u8; key % 1000]);
        if i % 3 == 0 {
            map.remove(&(key / 2));
            tree.remove(&(key / 3));
        }
    }
    for (key, text) in &map {
        assert!(text.starts_with(&format!("{key} times")));
        assert_eq!(text.len(), format!("{key} times ").len() + key % 300);
    }
    for (key, bytes) in &tree {
        assert_eq!(bytes.len(), key % 1000);
        assert!(bytes.windows(2).all(|w| w[0] == w[1]));
    }
    let mut growing = Vec::new();
    for i in 0..2_000_000u32 {
        growing.push(i);
    }
    assert!(growing.iter().enumerate().all(|(i, &v)| i as u32 == v));
}

#[test]
fn collections_and_threads_live_on_the_heap() {
    let threads: Vec<_> = (0..4)
        .map(|id| {
            std::thread::spawn(move || {
                // Two of the threads are cores, two share the locked state.
                if id < 2 {
                    ebb_mem::attach_any().expect("a free core");
                }
                use_collections(id);
                ebb_mem::detach_core();
                // Freed by whoever joins us.
                vec![id; 1000]
            })
        })
        .collect();
    for (id, thread) in threads.into_iter().enumerate() {
        assert_eq!(thread.join().expect("a thread"), vec![id; 1000]);
    }
    assert!(
        ebb_mem::heap_stats().blocks > 0,
        "the process itself lives here"
    );
}
