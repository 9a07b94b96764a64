//! What holds on simulated machines, and of the simulation itself. The book's example is a program of its own beside this one.

extern crate alloc;

mod calls;
mod leases;
mod network;
mod nodes;
mod repeats;
mod table;
