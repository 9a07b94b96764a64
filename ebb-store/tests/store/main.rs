//! The store on a simulated disk: what it promises, whatever the disk does.

mod checkpoints;
mod faults;
mod model;
mod pieces;

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
};

use ebb_block::sim::SimDisk;
use ebb_store::{OpenError, Report, Store};
use test_support::tasks::Tasks;

/// Tasks, and a disk that does a request whenever they all wait.
struct World {
    tasks: Tasks,
    disk: SimDisk,
}

impl Deref for World {
    type Target = Tasks;

    fn deref(&self) -> &Tasks {
        &self.tasks
    }
}

impl DerefMut for World {
    fn deref_mut(&mut self) -> &mut Tasks {
        &mut self.tasks
    }
}

impl World {
    fn new(disk: &SimDisk) -> Self {
        let (disk, steps) = (disk.clone(), disk.clone());
        Self {
            tasks: Tasks::new(move || steps.step()),
            disk,
        }
    }

    /// Opens the disk's store, and spawns its writer.
    fn open(&mut self) -> Result<(Store, Report), OpenError> {
        // Often, so that whatever happens happens to checkpoints too.
        self.open_with(60_000)
    }

    /// The same with checkpoints after so many bytes.
    fn open_with(&mut self, checkpoint_after: u64) -> Result<(Store, Report), OpenError> {
        let device = Arc::new(self.disk.clone());
        let (store, writer, report) = self.result(Store::open(device, [3; 16]))?;
        self.spawn(writer.checkpoint_after(checkpoint_after).run());
        Ok((store, report))
    }
}
