//! Scheduler mode against a real etcd, and the whole program with a scheduler that is played over tonic.
//!
//!     cargo test -p ebb-openwhisk-cluster --features played-scheduler --test scheduler

use ebb_invoker_hosted as _;
use ebb_launch as _;

#[path = "../real/broker.rs"]
mod broker;
#[path = "../real/couch.rs"]
#[allow(dead_code, reason = "the database's faults are tested elsewhere")]
mod couch;
mod etcd;
#[path = "../real/messages.rs"]
#[allow(dead_code, reason = "as above")]
mod messages;
#[path = "../real/running.rs"]
mod running;
mod scheduler;
