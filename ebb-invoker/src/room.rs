//! What a machine's memory lacks: how much idle instances and snapshots have to give back so that calls go on.
//!
//! Pages and the heap run short in different ways. Any free frame serves for a page. The heap grows by large pages, of which the memory keeps
//! a few for it; to wait until frames that were given back lie together in some again would end nearly all instances. But what ends gives
//! back blocks of the heap, too, so it is the heap's own free room that is looked at when few large pages are left.

/// A machine's memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Free for pages.
    pub free: u64,
    /// Free and only for the heap, and how much of that there should be.
    pub kept: u64,
    /// See `kept`.
    pub to_keep: u64,
    /// What the heap has taken.
    pub heap: u64,
    /// Of it, what is in use.
    pub heap_used: u64,
}

/// Bytes that stay free for pages whatever the books of instances say.
pub const KEPT_FREE: u64 = 48 << 20;
/// A heap that cannot grow has such a part of it free: no class of blocks can use what another one has.
const HEAP_PART: u64 = 16;

impl Memory {
    /// Bytes that should be given back; 0 when there is enough.
    pub fn missing(&self) -> u64 {
        KEPT_FREE
            .saturating_sub(self.free)
            .max(self.missing_of_heap())
    }

    fn missing_of_heap(&self) -> u64 {
        let cannot_grow_by = (self.to_keep / 4).saturating_sub(self.kept);
        if cannot_grow_by == 0 {
            return 0;
        }
        let free = self.heap.saturating_sub(self.heap_used);
        (self.heap / HEAP_PART + cannot_grow_by).saturating_sub(free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const ROOMY: Memory = Memory {
        free: 1000 * MIB,
        kept: 32 * MIB,
        to_keep: 32 * MIB,
        heap: 160 * MIB,
        heap_used: 159 * MIB,
    };

    #[test]
    fn pages_and_the_heap_each_have_their_room() {
        assert_eq!(ROOMY.missing(), 0);
        let few_pages = Memory {
            free: 40 * MIB,
            ..ROOMY
        };
        assert_eq!(few_pages.missing(), 8 * MIB);
        let half = Memory {
            kept: 8 * MIB,
            ..ROOMY
        };
        assert_eq!(half.missing(), 0, "it can grow");
    }

    #[test]
    fn a_heap_that_cannot_grow_is_enough_when_it_has_room_of_its_own() {
        let full = Memory {
            kept: 2 * MIB,
            ..ROOMY
        };
        assert_eq!(full.missing(), (10 + 6 - 1) * MIB);
        let relieved = Memory {
            heap_used: 144 * MIB,
            ..full
        };
        assert_eq!(relieved.missing(), 0, "though no large page is free again");
    }
}
