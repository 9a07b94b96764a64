//! What can tell how fast the TSC runs.

/// Where the frequency was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// CPUID leaf 0x40000010, of the hypervisor.
    Hypervisor,
    /// kvmclock.
    KvmClock,
    /// CPUID leaf 0x15.
    Crystal,
    /// Measured against the HPET.
    Hpet,
    /// Measured against the ACPI timer.
    AcpiTimer,
    /// Measured against the PIT.
    Pit,
}

impl Source {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hypervisor => "the hypervisor",
            Self::KvmClock => "kvmclock",
            Self::Crystal => "CPUID",
            Self::Hpet => "the HPET",
            Self::AcpiTimer => "the ACPI timer",
            Self::Pit => "the PIT",
        }
    }
}
