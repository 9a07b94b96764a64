//! The crate's public face in a Linux process: an arena stands for physical
//! memory, threads for cores.

use ebb_mem::frame::{self, Node};
use ebb_mem::{FRAME_SIZE, Heap, PhysAddr};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::{Mutex, MutexGuard, OnceLock};

const BYTES: usize = 64 << 20;
const CORES: usize = 4;
const START: PhysAddr = PhysAddr(1 << 30);

/// Sets the machine up; tests that look at its counters take turns.
fn machine() -> MutexGuard<'static, ()> {
    static READY: OnceLock<()> = OnceLock::new();
    static TURN: Mutex<()> = Mutex::new(());
    // A test that fails must not fail the others.
    let turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    READY.get_or_init(|| {
        // SAFETY: the size is not zero.
        let early = unsafe { Heap.alloc(layout(64)) };
        assert!(early.is_null(), "nothing before init");
        assert!(
            frame::alloc(0, Node::LOCAL).is_none(),
            "nothing before init"
        );
        assert_eq!(
            ebb_mem::attach_core(0),
            Err(ebb_mem::AttachError::NotInitialised)
        );
        let arena = Layout::from_size_align(BYTES, 2 << 20).expect("a layout");
        // SAFETY: the size is not zero.
        let base = unsafe { System.alloc(arena) };
        let offset = base.expose_provenance().wrapping_sub(START.0 as usize);
        let map = [START..START.offset(BYTES as u64)];
        // SAFETY: the arena is ours and stays.
        unsafe {
            assert_eq!(ebb_mem::init(&map, offset, CORES), Ok(()));
            assert_eq!(
                ebb_mem::init(&map, offset, CORES),
                Err(frame::InitError::AlreadyInitialised)
            );
        }
    });
    turn
}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 8).expect("a layout")
}

/// Runs `f` on a new thread that is core `id`.
fn on_core<R: Send>(id: usize, f: impl FnOnce() -> R + Send) -> R {
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            ebb_mem::attach_core(id).expect("a free core");
            assert_eq!(ebb_mem::current_core(), Some(id));
            let result = f();
            ebb_mem::detach_core();
            assert_eq!(ebb_mem::current_core(), None);
            result
        });
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn all_free() -> bool {
    ebb_mem::trim();
    let stats = frame::stats();
    stats.free == stats.total
}

#[test]
fn a_core_allocates_resizes_and_frees_and_leaves_nothing() {
    let _turn = machine();
    on_core(1, || {
        let mut live = Vec::new();
        for i in 0..5000usize {
            let layout = layout(1 + i * 37 % 3000);
            // SAFETY: the size is not zero; the block is ours.
            unsafe {
                let ptr = Heap.alloc(layout);
                assert!(!ptr.is_null());
                ptr.write_bytes(i as u8, layout.size());
                live.push((ptr.addr(), ptr, layout));
            }
        }
        for (i, (_, ptr, layout)) in live.into_iter().enumerate() {
            // SAFETY: live, of this layout.
            unsafe {
                let grown = Heap.realloc(ptr, layout, layout.size() * 2);
                assert_eq!(grown.add(layout.size() - 1).read(), i as u8);
                Heap.dealloc(grown, self::layout(layout.size() * 2));
            }
        }
    });
    let stats = ebb_mem::core_stats(1).expect("a core");
    assert_eq!(
        (stats.blocks, stats.bytes, stats.spans, stats.chunks),
        (0, 0, 0, 0)
    );
    assert!(all_free());
}

#[test]
fn a_block_freed_by_a_thread_that_is_no_core_goes_home() {
    let _turn = machine();
    let block = on_core(2, || {
        // SAFETY: the size is not zero.
        unsafe { Heap.alloc(layout(100)) }.expose_provenance()
    });
    let sent = ebb_mem::core_stats(CORES)
        .expect("the shared state")
        .remote_sent;
    // SAFETY: allocated above with this layout.
    unsafe { Heap.dealloc(std::ptr::with_exposed_provenance_mut(block), layout(100)) };
    ebb_mem::trim();
    assert_eq!(
        ebb_mem::core_stats(CORES)
            .expect("the shared state")
            .remote_sent,
        sent + 1
    );
    on_core(2, || {});
    // The batch in which the block went home comes back.
    ebb_mem::trim();
    assert_eq!(ebb_mem::heap_stats().blocks, 0);
    assert!(all_free());
}

#[test]
fn two_threads_cannot_be_one_core() {
    let _turn = machine();
    on_core(3, || {
        assert_eq!(ebb_mem::attach_core(0), Err(ebb_mem::AttachError::Attached));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                assert_eq!(ebb_mem::attach_core(3), Err(ebb_mem::AttachError::Taken));
                assert_eq!(
                    ebb_mem::attach_core(CORES),
                    Err(ebb_mem::AttachError::NoSuchCore)
                );
                assert_eq!(ebb_mem::attach_any(), Ok(0));
                ebb_mem::detach_core();
            });
        });
    });
}

#[test]
fn shared_frames_are_freed_with_their_last_reference() {
    let _turn = machine();
    on_core(0, || {
        let page = frame::alloc_zeroed(0, Node::LOCAL).expect("memory");
        let bytes = ebb_mem::phys_to_virt(page);
        assert_eq!(ebb_mem::virt_to_phys(bytes), Some(page));
        for i in 0..FRAME_SIZE {
            // SAFETY: the frame is ours.
            assert_eq!(unsafe { bytes.add(i).read() }, 0);
        }
        assert!(frame::is_unique(page));
        frame::share(page);
        assert!(!frame::is_unique(page));
        // SAFETY: two references, released twice.
        unsafe {
            assert!(!frame::release(page));
            assert!(frame::is_unique(page));
            assert!(frame::release(page));
        }
        let large = frame::alloc(frame::LARGE_PAGE_ORDER, Node::LOCAL).expect("memory");
        assert!(large.is_aligned(2 << 20));
        // SAFETY: ours; broken up, each frame has its own reference.
        unsafe {
            frame::break_up(large, frame::LARGE_PAGE_ORDER);
            for i in 0..512 {
                assert!(frame::release(large.offset(i * FRAME_SIZE as u64)));
            }
        }
    });
    assert!(all_free());
}

#[test]
fn a_frame_shared_by_two_cores_is_freed_exactly_once() {
    let _turn = machine();
    for _ in 0..200 {
        let page = frame::alloc(0, Node::LOCAL).expect("memory");
        frame::share(page);
        let freed = std::thread::scope(|scope| {
            // SAFETY: two references, one for each thread.
            let other = scope.spawn(move || unsafe { frame::release(page) });
            // SAFETY: as above.
            let here = unsafe { frame::release(page) };
            usize::from(here) + usize::from(other.join().expect("a thread"))
        });
        assert_eq!(freed, 1);
    }
    assert!(all_free());
}

/// A global allocator must not unwind, so this is seen from outside.
#[cfg(debug_assertions)]
#[test]
fn misuse_of_the_heap_ends_the_process_with_a_message() {
    if std::env::var_os("EBB_MEM_TEST_MISUSE").is_some() {
        let _turn = machine();
        // SAFETY: deliberately wrong; the memory stays mapped.
        on_core(0, || unsafe {
            let block = Heap.alloc(layout(40));
            Heap.dealloc(block, layout(40));
            Heap.dealloc(block, layout(40));
        });
        return;
    }
    let output = std::process::Command::new(std::env::current_exe().expect("a path"))
        .args([
            "--exact",
            "misuse_of_the_heap_ends_the_process_with_a_message",
            "--nocapture",
        ])
        .env("EBB_MEM_TEST_MISUSE", "1")
        .output()
        .expect("this program runs again");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code().is_none(),
        "ended by a signal, not by {:?}: {said}",
        output.status
    );
    assert!(
        said.contains("double free of") && said.contains("40 bytes"),
        "{said}"
    );
}
