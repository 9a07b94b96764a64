//! kvmclock: the hypervisor's line from the TSC to time. Source: Linux `Documentation/virt/kvm/x86/msr.rst`.

use super::{line, scaled};
use crate::{memory_map, msr, paging};
use core::arch::x86_64::__cpuid;
use core::sync::atomic::{Ordering, fence};
use x86_64::registers::model_specific::Msr;

/// The highest CPUID leaf of the hypervisor, where there is one.
pub fn hypervisor_max_leaf() -> Option<u32> {
    // Bit 31 of leaf 1 ECX: there is a hypervisor and its leaves.
    (__cpuid(1).ecx >> 31 == 1).then(|| __cpuid(0x4000_0000).eax)
}

fn is_kvm() -> bool {
    hypervisor_max_leaf().is_some() && {
        let leaf = __cpuid(0x4000_0000);
        [leaf.ebx, leaf.ecx, leaf.edx] == [0x4b4d_564b, 0x564b_4d56, 0x0000_004d]
    }
}

#[derive(Clone, Copy)]
pub struct Time {
    tsc: u64,
    system_ns: u64,
    pub mul: u32,
    pub shift: i8,
}

/// kvmclock's time information, read once.
pub fn time() -> Option<Time> {
    if !is_kvm() || __cpuid(0x4000_0001).eax & 1 << 3 == 0 {
        return None;
    }
    let frame = memory_map::take_zeroed()?;
    let at = paging::linear(frame).cast::<u32>();
    // SAFETY: the frame is ours and stays so; the hypervisor fills it when told where it is, and
    // stops when told 0. Its version is odd while it writes.
    unsafe {
        let mut system_time = Msr::new(msr::KVM_SYSTEM_TIME);
        system_time.write(frame | 1);
        let mut time = None;
        for _ in 0..1000 {
            let version = at.read_volatile();
            fence(Ordering::Acquire);
            let read = Time {
                tsc: at.cast::<u64>().add(1).read_volatile(),
                system_ns: at.cast::<u64>().add(2).read_volatile(),
                mul: at.add(6).read_volatile(),
                shift: at.cast::<i8>().add(28).read_volatile(),
            };
            fence(Ordering::Acquire);
            if version != 0
                && version.is_multiple_of(2)
                && at.read_volatile() == version
                && read.mul != 0
            {
                time = Some(read);
                break;
            }
        }
        system_time.write(0);
        time
    }
}

/// Nanoseconds between 1970 and the zero of [`now_ns`](super::now_ns).
pub fn wall_zero_ns() -> Option<u64> {
    let time = time()?;
    let frame = memory_map::take_zeroed()?;
    let at = paging::linear(frame).cast::<u32>();
    // SAFETY: as in `time`; the hypervisor writes once, at the MSR write.
    let boot = unsafe {
        Msr::new(msr::KVM_WALL_CLOCK).write(frame);
        fence(Ordering::Acquire);
        u64::from(at.add(1).read_volatile()) * 1_000_000_000 + u64::from(at.add(2).read_volatile())
    };
    // The hypervisor's time when its TSC was `time.tsc`, against ours at the same tick.
    let (base, ns, scale, _) = line();
    let ours = ns + scaled(time.tsc.saturating_sub(base), scale);
    Some((boot + time.system_ns).saturating_sub(ours))
}
