//! What the attributes make where ebb is called `elastic`, and the hosted platform `threads`.
#![no_std]

extern crate alloc;

use core::cell::Cell;

// For packages that reach ebb through this one.
pub use elastic as ebb;

/// Counts.
#[elastic::ebb(per_core)]
#[derive(Default)]
pub struct Hits {
    n: Cell<u64>,
}

impl Hits {
    /// How many there were, with this one.
    pub fn hit(&self) -> u64 {
        self.n.set(self.n.get() + 1);
        self.n.get()
    }
}

/// Made at run time.
#[elastic::ebb(shared, dynamic)]
#[derive(Default)]
pub struct Name(pub alloc::string::String);

/// Makes itself heard. Who provides it is said by the package that links this one.
#[elastic::component(replaceable)]
pub trait Horn {
    /// Once.
    fn blow(&self, loudness: u8) -> u8;
}

struct Brass;

#[elastic::provides(Horn, default, instance = &Brass)]
impl Horn for Brass {
    fn blow(&self, loudness: u8) -> u8 {
        loudness
    }
}

#[cfg(test)]
mod tests {
    use super::{Hits, Horn, Name};
    use elastic::EbbRef;

    #[elastic::test(cores = 2)]
    async fn ebbs_work_whatever_ebb_is_called() {
        let all = EbbRef::<Hits>::new().gather(Hits::hit).await;
        assert_eq!(all.unwrap(), [1, 1]);
        let name = EbbRef::<Name>::create(());
        assert!(name.with(|name| name.0.is_empty()));
        name.destroy().await;
    }

    #[elastic::test]
    async fn a_component_is_provided_whatever_ebb_is_called() {
        assert_eq!(EbbRef::<dyn Horn>::get().blow(3), 3);
    }
}
