//! Kernel objects against the host's Linux: the same random sequences of operations run on both, and
//! every result must be the same. A sequence that differs is cut down to a small one and shown.
//!
//! `EBB_SEQUENCES=N` sets how many sequences each test runs (default 300), `EBB_SEED=N` where they start.

mod descriptors;
mod files;
mod host;
mod locks;
mod model;
mod random;
mod watches;

use std::fmt::Debug;

use random::Random;

/// What an operation gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A number.
    Value(i64),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Lines that stand for something structured.
    Text(Vec<String>),
    /// It failed.
    Errno(i32),
}

/// Runs sequences on both sides until they differ or `EBB_SEQUENCES` is reached.
pub fn compare<Op: Clone + Debug>(
    name: &str,
    length: usize,
    make: impl Fn(&mut Random) -> Op,
    model: impl Fn(&[Op]) -> Vec<Outcome>,
    host: impl Fn(&[Op]) -> Vec<Outcome>,
) {
    let number = |name: &str, default: u64| {
        std::env::var(name)
            .ok()
            .and_then(|v| v.parse().ok())
            .unwrap_or(default)
    };
    let (start, count) = (number("EBB_SEED", 1), number("EBB_SEQUENCES", 300));
    for seed in start..start + count {
        let mut random = Random::new(seed);
        let ops: Vec<Op> = (0..length).map(|_| make(&mut random)).collect();
        let differ = |ops: &[Op]| {
            let (m, h) = (model(ops), host(ops));
            (0..ops.len())
                .find(|&at| m[at] != h[at])
                .map(|at| (at, m[at].clone(), h[at].clone()))
        };
        let Some((at, ..)) = differ(&ops) else {
            continue;
        };
        let mut small = ops[..=at].to_vec();
        let mut cut = true;
        while std::mem::take(&mut cut) {
            for leave_out in (0..small.len()).rev() {
                let mut fewer = small.clone();
                fewer.remove(leave_out);
                if let Some((at, ..)) = differ(&fewer) {
                    fewer.truncate(at + 1);
                    small = fewer;
                    cut = true;
                    break;
                }
            }
        }
        let Some((at, m, h)) = differ(&small) else {
            panic!("{name}, seed {seed}: the difference does not repeat itself")
        };
        let mut text = String::new();
        for (i, op) in small.iter().enumerate() {
            text += &format!("{} {op:?}\n", if i == at { "->" } else { "  " });
        }
        panic!("{name}, seed {seed}: differs from Linux\n{text}objects: {m:?}\nLinux:   {h:?}");
    }
}
