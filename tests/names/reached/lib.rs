//! What the attributes make where ebb is reached through another package, which says where it is.
#![no_std]

use core::cell::Cell;

use names_renamed::{Horn, ebb};

/// Counts.
#[ebb::ebb(per_core, crate = names_renamed::ebb)]
#[derive(Default)]
pub struct Misses {
    n: Cell<u64>,
}

impl Misses {
    /// How many there were, with this one.
    pub fn miss(&self) -> u64 {
        self.n.set(self.n.get() + 1);
        self.n.get()
    }
}

struct Tin;

// The trait is of a package that calls ebb by another name.
#[ebb::provides(Horn, instance = &Tin, crate = names_renamed::ebb)]
impl Horn for Tin {
    fn blow(&self, loudness: u8) -> u8 {
        loudness / 2
    }
}

#[cfg(test)]
mod tests {
    use super::{Horn, Misses, ebb};
    use ebb::EbbRef;

    #[ebb::test(crate = names_renamed::ebb, cores = 2)]
    async fn ebbs_work_where_ebb_is_reached_through_another_package() {
        let all = EbbRef::<Misses>::new().gather(Misses::miss).await;
        assert_eq!(all.unwrap(), [1, 1]);
    }

    #[ebb::test(crate = names_renamed::ebb)]
    async fn a_component_of_that_package_is_replaced() {
        assert_eq!(EbbRef::<dyn Horn>::get().blow(4), 2);
    }
}
