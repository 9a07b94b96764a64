//! Running guests: not here.

use ebb_guest::{Context, GuestCpu, Stale, Trap};
use ebb_runtime::provides;

use super::Linux;

/// User mode needs a machine of one's own: no guest can be started here.
#[provides(GuestCpu, instance = &Linux)]
impl GuestCpu for Linux {
    fn enter(&self, _: &mut Context, _: u64, _: &Stale) -> Trap {
        Trap::Exception {
            vector: 13,
            error: 0,
        }
    }

    fn interrupt_at(&self, _: u64) {}

    fn save(&self, _: &mut Context) {}

    fn evict(&self, _: &mut Context) {}

    fn extended_size(&self) -> usize {
        576
    }

    fn kernel_root(&self) -> u64 {
        0
    }

    fn clock_page(&self) -> u64 {
        0
    }

    fn image_address(&self, _: *const u8) -> u64 {
        0
    }

    fn image(&self) -> &'static [u8] {
        &[]
    }

    fn leave(&self, _: u64) {}
}
