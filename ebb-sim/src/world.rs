//! The simulation of the calling thread, as the platform's components find it.

use std::{
    cell::{Cell, RefCell},
    task::Waker,
};

use crate::{network::Network, state::State};

pub struct World {
    pub state: State,
    pub network: Network,
}

/// The most cores of a node.
pub const CORES: usize = 64;

/// What the runtime calls a core of a node.
pub fn token(node: usize, core: usize) -> usize {
    node * CORES + core
}

std::thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
    static CURRENT: Cell<Option<(usize, usize)>> = const { Cell::new(None) };
}

/// Makes it the thread's, which has none.
pub fn enter(world: World) {
    WORLD.with_borrow_mut(|place| {
        assert!(
            place.is_none(),
            "there is a simulation on this thread already; drop it first"
        );
        *place = Some(world);
    });
}

/// Ends it.
pub fn leave() -> Option<World> {
    WORLD.with_borrow_mut(Option::take)
}

/// Does something with the thread's simulation, if it has one. Nothing of the program's runs in `f`.
pub fn try_with<R>(f: impl FnOnce(&mut World) -> R) -> Option<R> {
    let (result, woken) = WORLD.with_borrow_mut(|world| {
        let world = world.as_mut()?;
        let result = f(world);
        Some((result, std::mem::take(&mut world.state.woken)))
    })?;
    woken.into_iter().for_each(Waker::wake);
    Some(result)
}

/// As [`try_with`].
#[track_caller]
pub fn with<R>(f: impl FnOnce(&mut World) -> R) -> R {
    match try_with(f) {
        Some(result) => result,
        None => panic!("there is no simulation on this thread; make a `Simulation` first"),
    }
}

/// The node that runs.
pub fn current() -> Option<usize> {
    CURRENT.get().map(|(node, _)| node)
}

/// Which of its cores does.
pub fn current_core() -> Option<usize> {
    CURRENT.get().map(|(_, core)| core)
}

/// Runs `f` as a core of that node.
pub fn as_core<R>(node: usize, core: usize, f: impl FnOnce() -> R) -> R {
    struct Back(Option<(usize, usize)>);
    impl Drop for Back {
        fn drop(&mut self) {
            CURRENT.set(self.0);
        }
    }
    let _back = Back(CURRENT.replace(Some((node, core))));
    f()
}

/// As [`with`], for what only a node does.
#[track_caller]
pub fn with_node<R>(f: impl FnOnce(&mut World, usize) -> R) -> R {
    match current() {
        Some(node) => with(|world| f(world, node)),
        None => panic!("only a node's program does this, and none runs"),
    }
}
