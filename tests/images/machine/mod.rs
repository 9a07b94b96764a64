//! Tests of the machine itself: only in an image.

mod cores;
mod hardware;
mod memory_functions;
mod time;
