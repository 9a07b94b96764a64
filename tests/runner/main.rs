//! The runner from outside: what it does with an image, with what is none, and with a QEMU that fails.

mod archives;
mod boot;
mod common;
mod compiler;
mod faults;
mod pack;
mod script;
mod startup;
mod terminal;
