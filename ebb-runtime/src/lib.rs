#![no_std]
//! The Ebb model, events, timers and cross-core calls. Knows no platform.
//!
//! # Principles
//! 1. A core is a thread of its own making: what belongs to a core is touched by that core only,
//!    without locks and mostly without atomic operations. What crosses cores is explicit.
//! 2. An event runs to completion. Between two events of a core nothing of its state is in use.
//! 3. A dereference costs one load and one predicted branch; everything else about Ebbs is paid once.
//! 4. The platform is a set of components that the linker binds; nothing here names one.
//! 5. No queue that others fill makes them wait: pushes are wait-free, and bounded queues say so.
//!
//! # An event on every core
//! ```no_run
//! use core::time::Duration;
//! use ebb_runtime::{cores, spawn, spawn_on, time};
//!
//! async fn greet_from_everywhere() {
//!     let greetings: Vec<_> = cores().map(|core| spawn_on(core, async move || format!("hello from {core:?}"))).collect();
//!     for greeting in greetings {
//!         ebb_runtime::println!("{}", greeting.await.unwrap());
//!     }
//!     // A task of this core; its future need not be `Send`.
//!     let ticks = spawn(async {
//!         let mut ticks = time::interval(Duration::from_millis(10));
//!         for _ in 0..3 {
//!             ticks.tick().await;
//!         }
//!     });
//!     ticks.await.unwrap();
//! }
//! ```
//!
//! # Where things are
//! [`EbbRef`] is the centre; [`spawn`] and [`time`] are what a task uses; [`sync`] holds the
//! primitives; [`platform`] is the seam to whatever runs underneath.

extern crate alloc;
// The macros name everything through `::ebb`, here as in a user's crate.
extern crate self as ebb;

pub mod channel;
mod event;
mod machine;
mod model;
pub mod options;
mod per_core;
pub mod platform;
mod print;
mod program;
pub mod quiesce;
mod remote;
#[cfg(feature = "stepped")]
mod stepped;
pub mod sync;
mod testing;
pub mod time;
pub mod trace;

pub use ebb_macros::{component, ebb, provides};

#[cfg(feature = "stepped")]
pub use crate::{event::Next, stepped::Stepped};
pub use crate::{
    event::{
        CoreStats, IdleWork, JoinError, JoinHandle, Yield, core_stats, idle, running_site,
        set_hog_limit, spawn, yield_now,
    },
    machine::{Machine, core_main},
    model::{
        Definition, Destroyed, Ebb, EbbId, EbbRef, FromRoot, Global, Replaceable, RootObject,
        live_dynamic_ebbs,
    },
    per_core::{CoreId, core_count, cores, current_core, try_current_core},
    program::{
        PANIC_STATUS, Shutdown, Termination, args, exit, memory_bytes, shutdown, spare_memory_bytes,
    },
    remote::{Gather, RemoteHandle, spawn_on},
};

/// What the macros' output uses. Not for anybody else.
#[doc(hidden)]
pub mod __private {
    pub use alloc::{boxed::Box, sync::Arc};

    pub use ebb_macros::main;

    pub use crate::{
        model::{
            Definition, Dynamic, NoDefaultRoot, NotKnown, PerCore, RootProbe, SendProbe, Shared,
            SyncProbe, ViaDefault, WellKnown, assert_field_send, assert_field_sync, by_default,
            dereference, from_root, with_dynamic,
        },
        print::{inform, print},
        program::run_main,
        testing::{TestCase, TestFuture, test_image, test_outcome},
    };
}
