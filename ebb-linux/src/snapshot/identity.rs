//! For what machine a snapshot was written down ([`Snapshot::record`](super::Snapshot::record)): one that runs the same image
//! over the same boot archive on a CPU with the same features can read it.

use alloc::vec::Vec;
use core::arch::x86_64::__cpuid_count;

use ebb_guest::{GuestCpu, xsave};
use ebb_runtime::EbbRef;
use ebb_runtime::platform::Environment;
use once_cell::race::OnceBox;
use xxhash_rust::xxh3::xxh3_128;

use crate::image::archive;

/// What has to be the same on two machines for a snapshot of the one to be used on the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The image's code and constants.
    pub image: u128,
    /// The boot archive.
    pub archive: u128,
    /// The features of the CPU.
    pub cpu: u128,
}

impl Identity {
    /// That of this machine. `None` without an image, or where the boot archive has no name of its content.
    #[must_use]
    pub fn of_machine() -> Option<Self> {
        static IDENTITY: OnceBox<Option<Identity>> = OnceBox::new();
        *IDENTITY.get_or_init(|| alloc::boxed::Box::new(Self::compute()))
    }

    fn compute() -> Option<Self> {
        let image = EbbRef::<dyn GuestCpu>::get().image();
        let archive = archive::archive()?.content_name()?;
        let length = EbbRef::<dyn Environment>::get().archive().len();
        (!image.is_empty()).then(|| Self {
            image: xxh3_128(image),
            archive: u128::from(archive) | (length as u128) << 64,
            cpu: xxh3_128(&cpu()),
        })
    }

    /// What differs between the two, for people.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Option<&'static str> {
        if self.image != other.image {
            return Some("of another image");
        }
        if self.archive != other.archive {
            return Some("over another boot archive");
        }
        (self.cpu != other.cpu).then_some("of a CPU with other features")
    }
}

/// What programs can find out about the CPU with CPUID, and what is switched on.
fn cpu() -> Vec<u8> {
    // Vendor and model; features; cache and topology are left out; extended features; extended state; those of AMD.
    const LEAVES: [(u32, u32); 8] = [
        (0, 0),
        (1, 0),
        (7, 0),
        (7, 1),
        (0xd, 0),
        (0xd, 1),
        (0x8000_0001, 0),
        (0x8000_0008, 0),
    ];
    let mut bytes = Vec::new();
    for (leaf, sub) in LEAVES {
        let found = __cpuid_count(leaf, sub);
        // Leaf 1 has the number of the core that asks and how many there are; leaf 0x8000_0008 the latter too.
        let (ebx, ecx) = match leaf {
            1 => (found.ebx & 0xff00, found.ecx),
            0x8000_0008 => (found.ebx, 0),
            _ => (found.ebx, found.ecx),
        };
        for word in [found.eax, ebx, ecx, found.edx] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
    }
    bytes.extend_from_slice(&xsave::components().to_le_bytes());
    bytes
}
