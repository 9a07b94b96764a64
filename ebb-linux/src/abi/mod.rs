//! What Linux' system-call interface says in numbers and layouts, without behaviour.

/// How a set of bits is written down: as its number. Bits that have no name are kept.
macro_rules! stored_bits {
    ($type:ty) => {
        impl borsh::BorshSerialize for $type {
            fn serialize<W: borsh::io::Write>(&self, writer: &mut W) -> borsh::io::Result<()> {
                self.bits().serialize(writer)
            }
        }

        impl borsh::BorshDeserialize for $type {
            fn deserialize_reader<R: borsh::io::Read>(reader: &mut R) -> borsh::io::Result<Self> {
                Ok(Self::from_bits_retain(u32::deserialize_reader(reader)?))
            }
        }
    };
}
pub(crate) use stored_bits;

pub mod auxv;
pub mod clone;
pub mod errno;
pub mod exit;
pub mod flags;
pub mod limit;
pub mod signal;
