//! The one machine of this program, and the states of its cores.
//!
//! What must hold: `init` runs once, before anything else, and publishes the
//! machine with a release store; from then on it is never moved or changed.

use crate::frame_allocator::{FrameAllocator, FrameCache, InitError};
use crate::phys::{LinearMap, PhysAddr};
use crate::spans::Core;
use crate::stats::CoreStats;
use crate::tls;
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ops::Range;
use core::sync::atomic::{
    AtomicPtr, AtomicU8,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use spin::mutex::SpinMutex;

/// Frames per core below which memory is scarce: two chunks.
const FEW_FRAMES: usize = 1024;

/// Frames and core states of one machine.
pub(crate) struct Memory {
    frames: FrameAllocator,
    cores: *const Core,
    /// Cores; one more state follows them, for threads that are none.
    count: usize,
    stride: usize,
    shared: SpinMutex<()>,
    /// Called when a thread without a core allocates.
    claim: AtomicPtr<()>,
}

// SAFETY: core states guard themselves (see `Core`); the rest is constant or
// locked.
unsafe impl Sync for Memory {}
// SAFETY: as above.
unsafe impl Send for Memory {}

impl Memory {
    /// Builds a machine in `slot`.
    ///
    /// # Safety
    /// As [`crate::init`]; `slot` is never moved afterwards.
    pub unsafe fn init_at(
        slot: *mut Memory,
        map: &[Range<PhysAddr>],
        linear: LinearMap,
        count: usize,
    ) -> Result<(), InitError> {
        assert!(
            linear.keeps_alignment(2 << 20),
            "ebb-mem: the linear map must be offset by a multiple of 2 MiB"
        );
        let states = count + 1;
        let stride = Core::footprint(states);
        // SAFETY: the caller's promise about the map.
        let (frames, at) = unsafe { FrameAllocator::new(map, linear, stride * states)? };
        let cores = linear.to_virt(at).cast::<Core>();
        // SAFETY: `slot` is the caller's to write; the states lie in memory
        // set aside for them and point to the allocator where it now stays.
        unsafe {
            slot.write(Memory {
                frames,
                cores,
                count,
                stride,
                shared: SpinMutex::new(()),
                claim: AtomicPtr::new(core::ptr::null_mut()),
            });
            let frames = &raw const (*slot).frames;
            for id in 0..states {
                Core::init(cores.byte_add(id * stride), id, states, frames);
            }
            if (*frames).stats().total < (states * FEW_FRAMES) as u64 {
                // Not every core may get a chunk; the shared state, from
                // which they then allocate, must have one.
                (*cores.byte_add(count * stride)).reserve_chunk();
            }
        }
        Ok(())
    }

    #[inline]
    pub fn frames(&self) -> &FrameAllocator {
        &self.frames
    }

    pub fn count(&self) -> usize {
        self.count
    }

    pub fn core(&self, id: usize) -> Option<&Core> {
        // SAFETY: states 0..=count were initialised and live for ever.
        (id <= self.count).then(|| unsafe { &*self.cores.byte_add(id * self.stride) })
    }

    /// Runs `f` with the state that threads without a core share.
    pub fn with_shared<R>(&self, f: impl FnOnce(&Core) -> R) -> R {
        let _guard = self.shared.lock();
        // SAFETY: the state behind the last core.
        f(unsafe { &*self.cores.byte_add(self.count * self.stride) })
    }

    /// Lets the platform give the calling thread a core.
    pub fn claim(&self) {
        let hook = self.claim.load(Acquire);
        if !hook.is_null() {
            // SAFETY: only `on_unattached` stores here, and stores an `fn()`.
            let hook: fn() = unsafe { core::mem::transmute(hook) };
            hook();
        }
    }
}

struct Global {
    state: AtomicU8,
    memory: UnsafeCell<MaybeUninit<Memory>>,
}

const EMPTY: u8 = 0;
const BUSY: u8 = 1;
const READY: u8 = 2;

// SAFETY: written once under `BUSY`, read only after `READY` was acquired.
unsafe impl Sync for Global {}

static GLOBAL: Global = Global {
    state: AtomicU8::new(EMPTY),
    memory: UnsafeCell::new(MaybeUninit::uninit()),
};

/// The machine; None before [`init`].
#[inline]
pub(crate) fn memory() -> Option<&'static Memory> {
    if GLOBAL.state.load(Acquire) == READY {
        // SAFETY: initialised, and not changed since.
        Some(unsafe { (*GLOBAL.memory.get()).assume_init_ref() })
    } else {
        None
    }
}

/// Runs `f` on the frame allocator, with the calling core's cache of single
/// frames when `cached` asks for it and there is one.
#[inline]
pub(crate) fn with_frames<R>(
    cached: bool,
    f: impl FnOnce(&FrameAllocator, Option<&mut FrameCache>) -> R,
) -> Option<R> {
    let memory = memory()?;
    let core = tls::get();
    let cache = if cached && !core.is_null() {
        // SAFETY: this thread's own core; `f` uses frames only.
        Some(unsafe { (*core).frame_cache() })
    } else {
        None
    };
    Some(f(memory.frames(), cache))
}

/// Takes over the machine's memory. To be called once, on the boot core,
/// before any allocation.
///
/// `map` lists the usable physical memory that nothing else uses: the image,
/// boot data, devices and holes left out. Ranges may be in any order, touch
/// and overlap; they are rounded inwards to whole frames. `linear_offset` is
/// what the linear map adds to a physical address, a multiple of 2 MiB.
/// `cores` is the number of cores that will attach.
///
/// Time does not grow with memory: the frame table is written as frames are
/// used.
///
/// # Errors
/// When the map has no usable memory, or too little for the tables (16 bytes
/// per frame between the lowest and the highest address, in one piece), or
/// when called again.
///
/// # Safety
/// All memory of `map` is readable and writable at `physical address +
/// linear_offset` for ever, and nobody else touches it from now on.
pub unsafe fn init(
    map: &[Range<PhysAddr>],
    linear_offset: usize,
    cores: usize,
) -> Result<(), InitError> {
    if GLOBAL
        .state
        .compare_exchange(EMPTY, BUSY, AcqRel, Relaxed)
        .is_err()
    {
        return Err(InitError::AlreadyInitialised);
    }
    // SAFETY: we alone hold `BUSY`; a static never moves; the caller's
    // promise about the map.
    let result = unsafe {
        Memory::init_at(
            (*GLOBAL.memory.get()).as_mut_ptr(),
            map,
            LinearMap::new(linear_offset),
            cores,
        )
    };
    GLOBAL
        .state
        .store(if result.is_ok() { READY } else { EMPTY }, Release);
    result
}

/// Why [`attach_core`] failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum AttachError {
    /// [`init`] has not run.
    NotInitialised,
    /// There is no core of this number.
    NoSuchCore,
    /// Another thread is this core.
    Taken,
    /// The calling thread is a core already.
    Attached,
}

impl core::fmt::Display for AttachError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            AttachError::NotInitialised => "ebb-mem is not initialised; call init first",
            AttachError::NoSuchCore => "core number beyond what ebb_mem::init was told",
            AttachError::Taken => "another thread is this core; it must detach first",
            AttachError::Attached => "this thread is a core already; detach it first",
        })
    }
}

impl core::error::Error for AttachError {}

/// Makes the calling thread core `id`, counted from 0: from now on it
/// allocates without locks. FS must point to the thread's own TLS block.
///
/// # Errors
/// See [`AttachError`].
pub fn attach_core(id: usize) -> Result<(), AttachError> {
    let memory = memory().ok_or(AttachError::NotInitialised)?;
    if !tls::get().is_null() {
        return Err(AttachError::Attached);
    }
    if id >= memory.count() {
        return Err(AttachError::NoSuchCore);
    }
    let core = memory.core(id).ok_or(AttachError::NoSuchCore)?;
    if core
        .claimed
        .compare_exchange(false, true, Acquire, Relaxed)
        .is_err()
    {
        return Err(AttachError::Taken);
    }
    tls::set(core);
    Ok(())
}

/// Makes the calling thread the first core that nobody is; its number. For
/// hosted programs, whose threads come and go.
///
/// # Errors
/// [`AttachError::Taken`] when there is none free.
pub fn attach_any() -> Result<usize, AttachError> {
    let cores = memory().ok_or(AttachError::NotInitialised)?.count();
    for id in 0..cores {
        match attach_core(id) {
            Ok(()) => return Ok(id),
            Err(AttachError::Taken) => {}
            Err(error) => return Err(error),
        }
    }
    Err(AttachError::Taken)
}

/// Ends the calling thread's time as a core: its caches are given back, and
/// its spans wait for the next thread that attaches to this number. Does
/// nothing on a thread that is no core.
pub fn detach_core() {
    let core = tls::get();
    if core.is_null() {
        return;
    }
    // SAFETY: this thread's own core until the slot is cleared.
    unsafe { (*core).trim() };
    tls::set(core::ptr::null());
    // SAFETY: core states live for ever.
    unsafe { (*core).claimed.store(false, Release) };
}

/// The number of the calling core; None on a thread that is none.
#[must_use]
pub fn current_core() -> Option<usize> {
    let core = tls::get();
    // SAFETY: null or a core state, which lives for ever.
    (!core.is_null()).then(|| unsafe { (*core).id() })
}

/// Gives what the calling core keeps back: freed blocks of other cores go
/// home, empty spans and cached frames to the frame allocator. Also exact
/// figures in [`core_stats`] from here on, until it allocates again. Cheap
/// enough for an idle loop that is about to sleep for long.
pub fn trim() {
    let core = tls::get();
    if core.is_null() {
        if let Some(memory) = memory() {
            // SAFETY: under the shared state's lock.
            memory.with_shared(|core| unsafe { core.trim() });
        }
    } else {
        // SAFETY: this thread's own core.
        unsafe { (*core).trim() };
    }
}

/// Sends freed blocks of other cores home and takes some of the calling
/// core's own back. For an idle loop, before it sleeps; takes microseconds at
/// most.
pub fn flush_remote() {
    let core = tls::get();
    if !core.is_null() {
        // SAFETY: this thread's own core.
        unsafe { (*core).exchange() };
    }
}

/// The counters of core `id`, from any core. The number one past the last
/// core stands for all threads that are none.
#[must_use]
pub fn core_stats(id: usize) -> Option<CoreStats> {
    Some(memory()?.core(id)?.stats())
}

/// The sum over all cores and threads.
#[must_use]
pub fn heap_stats() -> CoreStats {
    let mut sum = CoreStats::default();
    if let Some(memory) = memory() {
        for id in 0..=memory.count() {
            if let Some(core) = memory.core(id) {
                sum += core.stats();
            }
        }
    }
    sum
}

/// Sets what a thread without a core calls before it uses the shared, locked
/// state; the hook may [`attach_any`]. It must not allocate. For hosted
/// programs that want every thread to be a core.
pub fn on_unattached(hook: fn()) {
    if let Some(memory) = memory() {
        memory.claim.store(hook as *mut (), Release);
    }
}

/// Where a physical address is mapped; null before [`init`].
#[inline]
#[must_use]
pub fn phys_to_virt(addr: PhysAddr) -> *mut u8 {
    memory().map_or(core::ptr::null_mut(), |m| m.frames().linear().to_virt(addr))
}

/// The physical address of a pointer into the linear map (every heap block
/// is one). None before [`init`].
#[inline]
#[must_use]
pub fn virt_to_phys(ptr: *const u8) -> Option<PhysAddr> {
    Some(memory()?.frames().linear().to_phys(ptr))
}
