//! What system calls do with objects: everything that needs several of them.

pub mod channel;
mod compare;
pub mod create;
pub mod descriptors;
pub mod epoll;
pub mod fcntl;
pub mod files;
pub mod flock;
pub mod inotify;
mod lifetime;
pub mod mqueue;
pub mod pipe;
pub mod poll;
mod readiness;
pub mod ready;
pub mod record;
pub(super) mod setup;
pub mod socket;
pub mod splice;
pub mod terminal;
pub mod timerfd;
pub mod transfer;
