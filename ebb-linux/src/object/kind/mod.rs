//! The kinds of objects that a descriptor can stand for, one file each.

pub mod channel;
pub mod device;
pub mod epoll;
pub mod eventfd;
pub mod inotify;
pub mod pipe;
pub mod signalfd;
pub mod socket;
pub mod timerfd;
