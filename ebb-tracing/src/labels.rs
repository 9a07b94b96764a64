//! The label of each place in the source that traces.
//!
//! What must hold: a place has one label, which lasts as long as the program; as many are made as there are places. Any core may
//! ask at any time, without a lock: chains only grow, at their ends.

use alloc::boxed::Box;
use core::ptr;

use ebb_runtime::trace::Label;
use once_cell::race::OnceBox;
use tracing_core::Metadata;

const CHAINS: usize = 256;

/// The rest of a chain.
struct Rest(OnceBox<Link>);

struct Link {
    metadata: &'static Metadata<'static>,
    label: Label,
    rest: Rest,
}

static CHAIN: [Rest; CHAINS] = [const { Rest(OnceBox::new()) }; CHAINS];

/// The label of a place: its name, its target as category. Its first value is the line.
pub fn of(metadata: &'static Metadata<'static>) -> &'static Label {
    // Metadata are statics of about 100 bytes, side by side.
    let mut rest = &CHAIN[(ptr::from_ref(metadata).addr() >> 5) % CHAINS];
    loop {
        let link = rest.0.get_or_init(|| {
            Box::new(Link {
                metadata,
                label: Label::new(metadata.name(), metadata.target(), ["line", ""]),
                rest: Rest(OnceBox::new()),
            })
        });
        if ptr::eq(link.metadata, metadata) {
            return &link.label;
        }
        rest = &link.rest;
    }
}

/// The values of a record of this place.
pub fn values(metadata: &'static Metadata<'static>) -> [u64; 2] {
    [metadata.line().unwrap_or(0).into(), 0]
}
