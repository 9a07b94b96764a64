//! What devices that tests play have in common: the parts of a transport that no driver here depends on, and looks into rings.

/// The methods of [`Transport`](virtio_drivers::transport::Transport) that say nothing: a modern device without interrupts, that no
/// queue is in use of at the start, and whose configuration does not change.
macro_rules! says_nothing {
    () => {
        fn set_guest_page_size(&mut self, _: u32) {}
        fn requires_legacy_layout(&self) -> bool {
            false
        }
        fn queue_unset(&mut self, _: u16) {}
        fn queue_used(&mut self, _: u16) -> bool {
            false
        }
        fn ack_interrupt(&mut self) -> virtio_drivers::transport::InterruptStatus {
            virtio_drivers::transport::InterruptStatus::empty()
        }
        fn read_config_generation(&self) -> u32 {
            0
        }
        fn write_config_space<T: zerocopy::IntoBytes + zerocopy::Immutable>(
            &mut self,
            _: usize,
            _: T,
        ) -> virtio_drivers::Result<()> {
            unreachable!("no driver here writes to the configuration")
        }
    };
}

pub(crate) use says_nothing;

/// A word of a ring, which the driver's side exposed.
pub fn word(address: u64) -> *mut u16 {
    core::ptr::with_exposed_provenance_mut(address as usize)
}
