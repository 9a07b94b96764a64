//! The Ebb model: what an Ebb is, how a reference finds this core's representative, and what
//! happens the first time.
//!
//! | file | |
//! |---|---|
//! | `reference.rs` | [`EbbRef`] and the traits that `#[ebb]` implements |
//! | `miss.rs` | the first dereference on a core: construction, shared representatives, errors |
//! | `cell.rs` | a value that is built once, whoever races for it |
//! | `component.rs` | what the providers of components are made of |
//! | `slots.rs` | the slots of cores that take turns on one thread |
//! | `dynamic.rs` | Ebbs made at run time: ids, per-core tables, destruction |

mod cell;
mod component;
mod dynamic;
mod miss;
mod reference;
mod slot;
#[cfg(feature = "stepped")]
mod slots;

pub use dynamic::{Destroyed, Dynamic, live_dynamic_ebbs, with_dynamic};
pub(crate) use dynamic::{DynamicEbbs, DynamicIds};
pub(crate) use miss::{Constructions, SharedReps};
pub use miss::{PerCore, Shared, dereference};
pub use reference::{
    Definition, Ebb, EbbId, EbbRef, FromRoot, Global, NoDefaultRoot, NotKnown, Replaceable,
    Representation, RootObject, RootProbe, SendProbe, SyncProbe, ViaDefault, WellKnown,
    assert_field_send, assert_field_sync, by_default, from_root,
};
