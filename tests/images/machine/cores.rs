//! Cores: their storage, their sleep, their processor state.

use core::{
    arch::{asm, global_asm, x86_64::__cpuid},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use ebb::{CoreId, core_stats, cores, spawn_on, time};

// A thread-local variable with a first value, the way a C compiler would make it.
global_asm!(
    ".pushsection .tdata.ebb_test, \"awT\", @progbits",
    ".balign 32",
    // Global: the compiler may put the function that names it into another object file.
    ".globl ebb_test_initialised",
    "ebb_test_initialised: .quad 0x1234567890abcdef",
    ".popsection"
);

fn initialised() -> *mut u64 {
    let at: u64;
    // SAFETY: the address of this core's own variable: the thread pointer and its offset.
    unsafe { asm!("mov {0}, fs:[0]", "lea {0}, [{0} + ebb_test_initialised@tpoff]", out(reg) at) };
    at as *mut u64
}

#[ebb::test]
async fn every_core_has_thread_local_storage_with_its_first_values() {
    for core in cores() {
        let (value, aligned) = spawn_on(core, async || {
            let at = initialised();
            // SAFETY: this core's own variable.
            unsafe {
                let value = at.read();
                at.write(7);
                (value, (at as usize).is_multiple_of(32))
            }
        })
        .await
        .unwrap();
        assert_eq!(value, 0x1234_5678_90ab_cdef, "{core:?}");
        assert!(aligned);
    }
}

#[ebb::test(cores = 2)]
async fn a_sleeping_core_wakes_for_a_task_from_another() {
    let other = CoreId::new(1);
    for _ in 0..20 {
        time::sleep(Duration::from_millis(2)).await;
        let begun = time::Instant::now();
        spawn_on(other, async || ()).await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(1));
    }
}

#[ebb::test]
async fn a_core_with_nothing_to_do_sleeps() {
    let before = core_stats();
    time::sleep(Duration::from_millis(100)).await;
    let after = core_stats();
    for (before, after) in before.iter().zip(&after) {
        // One sleep to the timer, and a few for what else comes; a loop that spins has thousands.
        assert!(after.parks - before.parks < 50, "{before} then {after}");
    }
}

#[ebb::test]
async fn all_cores_count_together() {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let handles: alloc::vec::Vec<_> = cores()
        .map(|core| {
            spawn_on(core, async || {
                for _ in 0..1000 {
                    COUNT.fetch_add(1, Ordering::Relaxed);
                    ebb::yield_now().await;
                }
            })
        })
        .collect();
    let n = handles.len() as u64;
    for handle in handles {
        handle.await.unwrap();
    }
    assert_eq!(COUNT.load(Ordering::Relaxed), 1000 * n);
}

#[ebb::test]
async fn every_core_has_the_same_processor_features_on() {
    let features = || {
        let (cr0, cr4): (u64, u64);
        // SAFETY: reads two control registers.
        unsafe { asm!("mov {}, cr0", "mov {}, cr4", out(reg) cr0, out(reg) cr4) };
        (cr0, cr4)
    };
    let (cr0, cr4) = features();
    assert_ne!(cr0 & 1 << 16, 0, "write protection");
    assert_ne!(cr4 & 1 << 7, 0, "global pages");
    if __cpuid(7).ebx & 1 << 7 != 0 {
        assert_ne!(cr4 & 1 << 20, 0, "SMEP");
    }
    if __cpuid(7).ebx & 1 << 20 != 0 {
        assert_ne!(cr4 & 1 << 21, 0, "SMAP");
    }
    for core in cores() {
        assert_eq!(
            spawn_on(core, async move || features()).await.unwrap(),
            (cr0, cr4),
            "{core:?}"
        );
    }
}
