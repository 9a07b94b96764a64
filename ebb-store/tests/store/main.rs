//! The store on a simulated disk: what it promises, whatever the disk does.

mod checkpoints;
mod faults;
mod model;
mod pieces;

use std::sync::Arc;

use ebb_block::sim::SimDisk;
use ebb_store::{OpenError, Report, Store};
use test_support::tasks::Tasks;

/// Tasks, and a disk that does a request whenever they all wait.
type World = Tasks<SimDisk>;

fn on(disk: &SimDisk) -> World {
    Tasks::of(disk.clone(), SimDisk::step)
}

/// What is opened on the disk.
trait Opens {
    /// Opens the disk's store, and spawns its writer.
    fn open(&mut self) -> Result<(Store, Report), OpenError>;
    /// The same with checkpoints after so many bytes.
    fn open_with(&mut self, checkpoint_after: u64) -> Result<(Store, Report), OpenError>;
}

impl Opens for World {
    fn open(&mut self) -> Result<(Store, Report), OpenError> {
        // Often, so that whatever happens happens to checkpoints too.
        self.open_with(60_000)
    }

    fn open_with(&mut self, checkpoint_after: u64) -> Result<(Store, Report), OpenError> {
        let device = Arc::new(self.world.clone());
        let (store, writer, report) = self.result(Store::open(device, [3; 16]))?;
        self.spawn(writer.checkpoint_after(checkpoint_after).run());
        Ok((store, report))
    }
}
