//! The REST contract, section by section. What each part of the contract is held to:
//!
//! | contract | tests |
//! |---|---|
//! | 1 action runtime | `ebb-invoker/tests/loader/*.test.mjs`, in both transports; in the image `ebb-invoker-hosted/tests/e2e/container.test.mjs` |
//! | 2.1 what is sent, 2.2 arguments, 2.3 answers | `calls.rs` |
//! | 2.4 logs | `ebb_openwhisk::logs`, `ebb-invoker-hosted/tests/e2e/load.test.mjs` |
//! | 2.5 records, 3.6 activations | `activations.rs`, `calls.rs` |
//! | 3.1 general, 3.2 information, 3.3 namespaces and limits | `access.rs` |
//! | 3.4 actions | `actions.rs` |
//! | 3.5 calls | `calls.rs` |
//! | 3.7 packages, 4 system package | `packages.rs` |
//! | 3.8 sequences | `sequences.rs` |
//! | alarms (OpenWhisk's `openwhisk-package-alarms`) | `alarms.rs` |
//! | conductors (OpenWhisk's `docs/conductors.md`) | `compositions.rs` |
//! | what an update replaces and what it keeps | `updates.rs` |
//! | 3.9 triggers and rules | `triggers.rs` |
//! | which refusal comes first, and what it names (OpenWhisk's sources) | `refusals.rs` |
//! | 3.10 web actions | `web.rs`, `web_response.rs` |
//! | APIs (OpenWhisk's `core/routemgmt`, its API gateway) | `routes.rs`, `documents.rs`, `gateway.rs` |
//! | 4 clients | `ebb-invoker-hosted/tests/e2e/client.test.mjs`, with the npm package |
//! | 5 easy to get wrong | rows 1, 2, 5: `ebb-invoker/tests/loader/contract.test.mjs`; 3, 4: `calls.rs` |
//! | what a core answers by itself (not OpenWhisk's) | `desks.rs`, and all others, whose calls go over the desks of two cores |
//! | tenants (`/admin`, not OpenWhisk's) | `tenants.rs` |
#![allow(missing_docs)]

#[path = "../common/mod.rs"]
mod common;

mod access;
mod actions;
mod activations;
mod alarms;
mod calls;
mod compositions;
mod desks;
mod documents;
mod gateway;
mod packages;
mod refusals;
mod routes;
mod sequences;
mod tenants;
mod triggers;
mod updates;
mod web;
mod web_response;
