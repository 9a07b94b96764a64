//! The runner behind `cargo run` and `cargo test`: boots an ebb image under QEMU, executes
//! anything else as it is.
//!
//! Top down: [`config`] reads the `EBB_*` variables, [`image`] tells an image from an ordinary
//! executable, [`qemu`] finds (or [`install`]s) a QEMU, [`accel`] picks KVM or TCG, [`net`]
//! checks the ports, [`pack`] builds the boot archive that an image asks for, [`machine`] makes QEMU's arguments, [`supervise`] runs it ([`backlog`] widens its ports) and [`outcome`]
//! turns the way it ended into an exit status and, where something went wrong, into advice. [`command`] does these in order.
//!
//! What the image reads in the end, for example:
//!
//! ```
//! use ebb_runner::cmdline;
//!
//! let options = ["cores=2".to_owned()];
//! let arguments = ["a b", "-v"];
//! assert_eq!(cmdline::join(&options, &arguments).unwrap(), "cores=2 -- a%20b -v");
//! ```
//!
//! What must hold: the runner never leaves a QEMU behind, whatever ends the runner; the terminal
//! is as it was; an exit status of 0 means that the image said `exit 0`.

pub mod accel;
pub mod backlog;
pub mod channel;
pub mod cmdline;
pub mod command;
pub mod config;
pub mod corefile;
pub mod environment;
pub mod failure;
pub mod image;
pub mod install;
pub mod machine;
pub mod messages;
pub mod monitor;
pub mod net;
pub mod outcome;
pub mod pack;
pub mod qemu;
pub mod report;
pub mod supervise;
mod symbols;
mod tell;
pub mod terminal;
mod vsock;
