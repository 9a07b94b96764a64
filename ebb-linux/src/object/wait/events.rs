//! Readiness: what an object is ready for, and what a waiter wants to hear of.

use bitflags::bitflags;

bitflags! {
    /// Readiness, in the bits of Linux' `EPOLL*` and (the low half) `POLL*`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct Events: u32 {
        /// There is something to read.
        const IN = 0x1;
        /// There is something urgent.
        const PRI = 0x2;
        /// There is room to write.
        const OUT = 0x4;
        /// An error is pending, or a pipe has no reader.
        const ERR = 0x8;
        /// The other side is gone.
        const HUP = 0x10;
        /// Not a descriptor (poll only).
        const NVAL = 0x20;
        /// As `IN`.
        const RDNORM = 0x40;
        /// Out-of-band data.
        const RDBAND = 0x80;
        /// As `OUT`.
        const WRNORM = 0x100;
        /// Out-of-band room.
        const WRBAND = 0x200;
        /// Unused by Linux.
        const MSG = 0x400;
        /// The peer will send no more.
        const RDHUP = 0x2000;
        /// Wake one of several epoll sets.
        const EXCLUSIVE = 1 << 28;
        /// Keep the system awake (accepted; without meaning here).
        const WAKEUP = 1 << 29;
        /// Report once, then stay silent until modified.
        const ONESHOT = 1 << 30;
        /// Report changes, not states.
        const EDGE = 1 << 31;

        const _ = !0;
    }
}

crate::abi::stored_bits!(Events);

impl Events {
    /// Readable, in both spellings.
    pub const READ: Events = Events::IN.union(Events::RDNORM);
    /// Writable, in both spellings.
    pub const WRITE: Events = Events::OUT.union(Events::WRNORM);
    /// What is always reported, asked for or not.
    pub const ALWAYS: Events = Events::ERR.union(Events::HUP);
    /// What a blocked reader waits for.
    pub const FOR_READ: Events = Events::READ.union(Events::RDHUP).union(Events::ALWAYS);
    /// What a blocked writer waits for.
    pub const FOR_WRITE: Events = Events::WRITE.union(Events::ALWAYS);
    /// Bits that say how to report, not what.
    pub const MODES: Events = Events::EXCLUSIVE
        .union(Events::WAKEUP)
        .union(Events::ONESHOT)
        .union(Events::EDGE);
}
