//! Keys of the auxiliary vector, which a program finds behind its environment. Source: Linux, `include/uapi/linux/auxvec.h`.

/// The end.
pub const AT_NULL: u64 = 0;
/// Address of the program's headers.
pub const AT_PHDR: u64 = 3;
/// Bytes of each of them.
pub const AT_PHENT: u64 = 4;
/// Their number.
pub const AT_PHNUM: u64 = 5;
/// Bytes of a page.
pub const AT_PAGESZ: u64 = 6;
/// Where the interpreter is.
pub const AT_BASE: u64 = 7;
/// Flags, of which there are none.
pub const AT_FLAGS: u64 = 8;
/// The program's first instruction.
pub const AT_ENTRY: u64 = 9;
/// Real user.
pub const AT_UID: u64 = 11;
/// Effective user.
pub const AT_EUID: u64 = 12;
/// Real group.
pub const AT_GID: u64 = 13;
/// Effective group.
pub const AT_EGID: u64 = 14;
/// Address of the machine's name.
pub const AT_PLATFORM: u64 = 15;
/// What the processor can do.
pub const AT_HWCAP: u64 = 16;
/// Ticks of `times` in a second.
pub const AT_CLKTCK: u64 = 17;
/// Whether the program runs with rights that its starter has not.
pub const AT_SECURE: u64 = 23;
/// Address of 16 random bytes.
pub const AT_RANDOM: u64 = 25;
/// More of what the processor can do.
pub const AT_HWCAP2: u64 = 26;
/// Address of the path that the program was started by.
pub const AT_EXECFN: u64 = 31;
/// Where the vDSO is.
pub const AT_SYSINFO_EHDR: u64 = 33;
/// Bytes of the smallest stack for signals.
pub const AT_MINSIGSTKSZ: u64 = 51;
