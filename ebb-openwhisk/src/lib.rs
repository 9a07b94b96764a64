#![no_std]
//! Apache OpenWhisk as logic without I/O: its REST API, its entities and activations, and the scheduling of instances.
//!
//! # Principles
//! 1. Nothing here waits, and nothing knows a platform. A request goes into [`Controller::handle`]; out comes a response, or
//!    a [`Plan`] of what has to be run and a [`Reply`] that turns its record into the response. [`perform()`] carries out
//!    plans with whatever makes the calls.
//! 2. JSON that is only passed on stays text ([`json::Json`]).
//! 3. Everything that callers fill is bounded: entities and records in bytes, calls in number and rate, queues in length.
//! 4. Whatever a caller sends, the answer is a response of the protocol, never a panic.
//!
//! # Where things are
//! | module | |
//! |---|---|
//! | [`api`] | requests: routing, one file per collection, web actions |
//! | [`project`], [`media`] | from the result of a web action to a response |
//! | [`alarm`] | when triggers fire by themselves |
//! | [`gateway`] | paths and methods of their own for web actions |
//! | [`entity`] | actions, packages, triggers, rules, APIs: documents and the store |
//! | [`namespaces`], [`throttle`] | tenants: keys, limits, how much each is using |
//! | [`plan`], [`perform`](mod@perform), [`call`] | what is run, and how: calls, sequences, compositions, the rules of a trigger |
//! | [`runtimes`] | the kinds of code, as data |
//! | [`code`] | large code, taken out of a document before that is parsed |
//! | [`activation`], [`activations`], [`logs`] | what came of it |
//! | [`pool`], [`fair`] | which instance serves which call, on which core |
//! | [`metrics`] | counters, histograms, and the line for each activation |

extern crate alloc;

pub mod activation;
pub mod activations;
pub mod alarm;
pub mod api;
pub mod budget;
pub mod call;
pub mod code;
pub mod entity;
pub mod failure;
pub mod fair;
pub mod gateway;
mod heap;
pub mod http;
pub mod json;
pub mod limits;
pub mod logs;
pub mod media;
pub mod metrics;
pub mod name;
pub mod namespaces;
pub mod parameters;
pub mod perform;
pub mod plan;
pub mod pool;
pub mod project;
pub mod query;
mod random;
pub mod runtimes;
mod scan;
pub mod system;
pub mod throttle;

pub use api::{Config, Controller, Desk};
pub use namespaces::Subject;
pub use perform::{Executor, perform};
pub use plan::{Plan, Reply, Step};
