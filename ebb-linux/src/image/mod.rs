//! Programs as files: the boot archive that they come from, loading one into an address space, the vDSO.

pub mod archive;
pub mod elf;
pub mod exec;
pub mod note;
pub mod program;
pub mod vdso;
