#![no_std]
//! The invoker: a serverless platform that speaks Apache OpenWhisk's REST API. `examples/invoker.rs` is the program.
//!
//! What is said and decided is [`ebb_openwhisk`]'s, which does no I/O; here requests are received, calls find their instances,
//! and instances are made, captured and ended. What an instance is made of is behind the component
//! [`InstanceMaker`](instance::InstanceMaker): a program links `ebb-invoker-native` (contexts of an image) or
//! `ebb-invoker-hosted` (Linux processes), or a provider of its own.
//!
//! A provider says how instances are made; the rest has defaults:
//!
//! ```
//! use ebb::{EbbRef, provides};
//! use ebb_invoker::Container;
//! use ebb_invoker::instance::{
//!     Boxed, InstanceLimits, InstanceMaker, NewInstance, NotMade, SharedSnapshot,
//! };
//! use ebb_openwhisk::runtimes::{Launch, Loader};
//!
//! struct NoInstances;
//!
//! #[provides(InstanceMaker, instance = &NoInstances)]
//! impl InstanceMaker for NoInstances {
//!     fn make(&self, _: &Launch, _: InstanceLimits) -> Boxed<'static, Result<NewInstance, NotMade>> {
//!         Box::pin(async { Err(NotMade::from(String::from("there are none here"))) })
//!     }
//!     fn can_launch(&self, _: &Launch) -> bool {
//!         false
//!     }
//!     fn description(&self) -> String {
//!         String::from("no instances")
//!     }
//!     fn read_folder(&self, _: &str) -> Result<Vec<(String, Vec<u8>)>, String> {
//!         Ok(Vec::new())
//!     }
//!     fn serve_container(&self, _: Container) -> Boxed<'static, Result<(), String>> {
//!         Box::pin(async { Ok(()) })
//!     }
//! }
//!
//! # let config = ebb_hosted::Config { cores: 1, pin: false };
//! # ebb_hosted::run(&config, || async {
//! let made = EbbRef::<dyn InstanceMaker>::get()
//!     .make(&Launch::usual(Loader::Node), InstanceLimits::USUAL)
//!     .await;
//! assert!(made.is_err_and(|failure| !failure.out_of_memory));
//! # });
//! ```
//!
//! # Principles
//! 1. An instance belongs to a core and never leaves it. What cores share are the books ([`books`]), behind locks that are held
//!    for microseconds.
//! 2. A call's path is short: the books say core and instance, and what they have decided is accounted for at once.
//! 3. What can wait does: captures, evictions of stale instances and the making of room in advance happen when a core has
//!    nothing else to do.
//!
//! # Where things are
//! | module | |
//! |---|---|
//! | [`options`] | the command line |
//! | [`service`] | the start, the banner, the end |
//! | `alarms` | fires triggers by the clock |
//! | [`front`], `body` | HTTP: requests of the API, and from whom how much of a body is taken |
//! | `secret` | HTTPS: the certificate, and others in its place |
//! | `observe` | metrics and the live page |
//! | [`back_end`] | the seam to what makes the calls: this machine (`here`) or others |
//! | [`books`] | what all cores share |
//! | [`invoker`] | the Ebb of each core |
//! | `dispatch` | how a call gets an instance |
//! | `run` | a call on an instance |
//! | [`executable`] | functions that are programs: what both platforms share of them |
//! | [`parts`], [`relay`] | answers that come in parts |
//! | `uncaptured`, `capture`, `evict`, [`room`] | which instances become snapshots; what makes room, and when |
//! | [`keep`], [`state`] | what outlives the machine: on the disk, and in the platform |
//! | [`pieces`], [`near`] | snapshots that go to other machines, and that other machines have |
//! | [`instance`] | the seam to what instances are made of |
//! | [`loader`] | what Node runs inside an instance |

extern crate alloc;
// Providers of the seam see its types by the same paths as this crate.
extern crate self as ebb_invoker;
// Tests link the components' providers.
#[cfg(test)]
extern crate ebb_hosted as _;
#[cfg(test)]
extern crate std;

mod alarms;
pub mod back_end;
mod body;
pub mod books;
mod capture;
mod convert;
mod dispatch;
mod evict;
pub mod executable;
pub mod front;
mod here;
pub mod instance;
pub mod invoker;
pub mod keep;
mod kept;
mod key;
pub mod loader;
pub mod near;
mod observe;
mod once;
pub mod options;
pub mod parts;
pub mod pieces;
pub mod relay;
mod rest;
mod restless;
pub mod room;
mod run;
mod secret;
pub mod service;
pub mod state;
mod uncaptured;

pub use books::NAMESPACE;
pub use here::Here;
pub use observe::metrics_text;
pub use options::{Command, Container, HELP, Machines, ServiceOptions};
pub use service::{Service, bake, begin_instances, serve_container};
