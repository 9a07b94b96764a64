//! Tasks of a simulation: they run until all of them wait, and then something that they wait for happens.

use std::{cell::RefCell, future::Future, rc::Rc};

use futures_executor::LocalPool;
use futures_util::task::LocalSpawnExt;

/// Tasks, and what they wait for: whenever they all wait, something happens there.
pub struct Tasks<W> {
    pool: LocalPool,
    /// What they wait for.
    pub world: W,
    step: fn(&W) -> bool,
}

impl<W> Tasks<W> {
    /// None yet; `step` lets one thing happen, or says by `false` that nothing is left to.
    #[must_use]
    pub fn of(world: W, step: fn(&W) -> bool) -> Self {
        Self {
            pool: LocalPool::new(),
            world,
            step,
        }
    }

    /// Adds a task.
    ///
    /// # Panics
    /// Never: the pool is there.
    pub fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        let spawned = self.pool.spawner().spawn_local(future);
        spawned.expect("the pool is there");
    }

    /// Runs the tasks; at most `steps` things happen.
    pub fn run(&mut self, steps: usize) {
        self.pool.run_until_stalled();
        for _ in 0..steps {
            if !(self.step)(&self.world) {
                return;
            }
            self.pool.run_until_stalled();
        }
    }

    /// The result of a future.
    ///
    /// # Panics
    /// When the future waits for something that never comes.
    pub fn result<T: 'static>(&mut self, future: impl Future<Output = T> + 'static) -> T {
        let result = Rc::new(RefCell::new(None));
        let place = Rc::clone(&result);
        self.spawn(async move { *place.borrow_mut() = Some(future.await) });
        self.run(usize::MAX);
        result
            .take()
            .expect("the future waits for something that never comes")
    }
}
