//! Scheduler mode against a real etcd, and the whole program with a scheduler that is played over tonic.
//!
//!     cargo test -p ebb-openwhisk-cluster --features played-scheduler --test scheduler

use ebb_invoker_hosted as _;
use ebb_launch as _;

mod etcd;
mod eyes;
#[path = "../real/kcat.rs"]
mod kcat;
mod life;
#[path = "../real/messages.rs"]
#[allow(dead_code, reason = "what the real test uses of it")]
mod messages;
#[path = "../real/running.rs"]
mod running;
mod scheduler;
