//! What peers may send that nobody should, at each of the two layers that read it: records of the protected channel, and frames within.

mod channel;
mod rogue;
