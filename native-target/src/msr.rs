//! Numbers of model-specific registers. Sources: Intel SDM volume 4; for KVM's, Linux
//! `Documentation/virt/kvm/x86/msr.rst`.

/// Where the local APIC is, and whether it is on.
pub const APIC_BASE: u32 = 0x1b;
/// What the TSC is compared with by the local APIC's timer.
pub const TSC_DEADLINE: u32 = 0x6e0;
/// The x2APIC's registers: this plus a sixteenth of their offset in the xAPIC's page.
pub const X2APIC_FIRST: u32 = 0x800;
/// The x2APIC's interrupt command register.
pub const X2APIC_COMMAND: u32 = 0x830;
/// Extended features; bit 0 switches SYSCALL on.
pub const EFER: u32 = 0xc000_0080;
/// The selectors that SYSCALL and SYSRET load.
pub const STAR: u32 = 0xc000_0081;
/// Where SYSCALL goes.
pub const LSTAR: u32 = 0xc000_0082;
/// The flags that SYSCALL clears.
pub const SYSCALL_MASK: u32 = 0xc000_0084;
/// Base of FS.
pub const FS_BASE: u32 = 0xc000_0100;
/// Base of GS.
pub const GS_BASE: u32 = 0xc000_0101;
/// The bank of GS that `swapgs` brings in.
pub const KERNEL_GS_BASE: u32 = 0xc000_0102;
/// KVM: where the wall clock at boot is to be written.
pub const KVM_WALL_CLOCK: u32 = 0x4b56_4d00;
/// KVM: where the line from the TSC to time is to be kept.
pub const KVM_SYSTEM_TIME: u32 = 0x4b56_4d01;
