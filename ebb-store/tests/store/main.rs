//! The store on a simulated disk: what it promises, whatever the disk does.

mod checkpoints;
mod faults;
mod model;

use std::{cell::RefCell, future::Future, rc::Rc, sync::Arc};

use ebb_block::sim::SimDisk;
use ebb_store::{OpenError, Report, Store};
use futures_executor::LocalPool;
use futures_util::task::LocalSpawnExt;

/// Tasks, and a disk that does a request whenever they all wait.
struct World {
    pool: LocalPool,
    disk: SimDisk,
}

impl World {
    fn new(disk: &SimDisk) -> Self {
        Self {
            pool: LocalPool::new(),
            disk: disk.clone(),
        }
    }

    fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        self.pool.spawner().spawn_local(future).unwrap();
    }

    /// Runs the tasks; at most `steps` requests of the disk's end.
    fn run(&mut self, steps: usize) {
        self.pool.run_until_stalled();
        for _ in 0..steps {
            if !self.disk.step() {
                return;
            }
            self.pool.run_until_stalled();
        }
    }

    /// The result of a future.
    fn result<T: 'static>(&mut self, future: impl Future<Output = T> + 'static) -> T {
        let result = Rc::new(RefCell::new(None));
        let place = result.clone();
        self.spawn(async move { *place.borrow_mut() = Some(future.await) });
        self.run(usize::MAX);
        result
            .take()
            .expect("the future waits for something that never comes")
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
