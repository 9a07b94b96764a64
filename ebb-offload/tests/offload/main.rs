//! Files of one node, read by another: between processes, and from an image.
#![allow(missing_docs)]

extern crate alloc;

mod image;
mod sharing;

use ebb_distributed::NodeId;

/// As in the example.
const FRONT_END: NodeId = NodeId(0);
