//! A part of a disk as a disk of its own.

use alloc::{sync::Arc, vec::Vec};

use crate::{BLOCK, BlockDevice, Error, Pending, check, ready};

/// A run of blocks of a disk. Whoever makes parts sees to it that they do not overlap.
pub struct Part {
    device: Arc<dyn BlockDevice>,
    start: u64,
    size: u64,
}

impl Part {
    /// The blocks from `start` on, `size` bytes of them.
    ///
    /// # Errors
    /// [`Error::Misaligned`], [`Error::OutOfRange`].
    pub fn new(device: Arc<dyn BlockDevice>, start: u64, size: u64) -> Result<Self, Error> {
        let end = start.checked_add(size).ok_or(Error::OutOfRange)?;
        if !start.is_multiple_of(BLOCK as u64) || !size.is_multiple_of(BLOCK as u64) {
            return Err(Error::Misaligned);
        }
        if end > device.size() {
            return Err(Error::OutOfRange);
        }
        Ok(Self {
            device,
            start,
            size,
        })
    }
}

impl BlockDevice for Part {
    fn size(&self) -> u64 {
        self.size
    }

    fn is_read_only(&self) -> bool {
        self.device.is_read_only()
    }

    fn read(&self, offset: u64, length: usize) -> Pending<Vec<u8>> {
        match check(self.size, offset, length) {
            Ok(()) => self.device.read(self.start + offset, length),
            Err(error) => ready(Err(error)),
        }
    }

    fn write(&self, offset: u64, bytes: Vec<u8>) -> Pending<()> {
        match check(self.size, offset, bytes.len()) {
            Ok(()) => self.device.write(self.start + offset, bytes),
            Err(error) => ready(Err(error)),
        }
    }

    fn flush(&self) -> Pending<()> {
        self.device.flush()
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use core::{
        pin::Pin,
        task::{Context, Poll, Waker},
    };

    use super::*;
    use crate::sim::SimDisk;

    fn now<T>(mut pending: Pending<T>) -> Result<T, Error> {
        match Pin::new(&mut pending).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => result,
            Poll::Pending => panic!("the disk answers at once"),
        }
    }

    #[test]
    fn a_part_is_a_disk_of_its_own_within_its_bounds() {
        let block = BLOCK as u64;
        let disk = SimDisk::new(8 * block, 1).immediate();
        let device: Arc<dyn BlockDevice> = Arc::new(disk.clone());
        let part = |start, size| Part::new(Arc::clone(&device), start * block, size * block);
        let (first, second) = (part(0, 3).expect("it fits"), part(3, 5).expect("it fits"));
        assert_eq!(now(first.write(2 * block, vec![1; BLOCK])), Ok(()));
        assert_eq!(now(second.write(0, vec![2; BLOCK])), Ok(()));
        assert_eq!(now(first.read(2 * block, BLOCK)), Ok(vec![1; BLOCK]));
        assert_eq!(disk.contents()[3 * BLOCK], 2);
        assert_eq!(
            now(first.read(2 * block, 2 * BLOCK)),
            Err(Error::OutOfRange)
        );
        assert_eq!(
            now(second.write(5 * block, vec![0; BLOCK])),
            Err(Error::OutOfRange)
        );
        assert_eq!(part(4, 5).err(), Some(Error::OutOfRange));
        assert!(matches!(
            Part::new(device, 1, block),
            Err(Error::Misaligned)
        ));
        assert_eq!(now(second.flush()), Ok(()));
    }
}
