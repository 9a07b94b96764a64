//! Many seeds, or the one that has failed.

use std::{
    env,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    thread,
};

const SEED: &str = "EBB_SIM_SEED";
const COUNT: &str = "EBB_SIM_SEEDS";

fn setting(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    match text.parse() {
        Ok(number) => Some(number),
        Err(_) => panic!("{name} is `{text}`, and no number"),
    }
}

/// The environment names one seed.
pub fn is_one() -> bool {
    setting(SEED).is_some()
}

/// The command that runs the calling test with a seed.
pub fn command(seed: u64) -> String {
    let program = env::current_exe().unwrap_or_default();
    let stem = program.file_stem().unwrap_or_default().to_string_lossy();
    // Cargo's programs of tests are named TARGET-HASH.
    let target = stem.rsplit_once('-').map_or(&*stem, |(target, _)| target);
    let mut command = format!("{SEED}={seed} cargo test");
    if let Ok(package) = env::var("CARGO_PKG_NAME") {
        command += &match package.replace('-', "_") == target {
            true => format!(" -p {package} --lib"),
            false => format!(" -p {package} --test {target}"),
        };
    }
    match thread::current().name() {
        Some(test) if test != "main" => command + " -- --exact --nocapture " + test,
        _ => command,
    }
}

/// Runs `run` with `count` seeds, 0 and up. Whatever simulations it makes are told the seed, and nothing else is random. With
/// `EBB_SIM_SEEDS` in the environment it is that many, with `EBB_SIM_SEED` this one alone, which also shows what its nodes say.
///
/// The first seed is run twice. Gives how many there were.
///
/// # Panics
/// When a run does, with the command that repeats it. When the two runs of the first seed were not the same: something in the program follows
/// from other things than the seed.
pub fn seeds(count: u64, mut run: impl FnMut(u64), digests: impl Fn() -> Vec<u64>) -> u64 {
    let seeds = match setting(SEED) {
        Some(seed) => seed..seed + 1,
        None => 0..setting(COUNT).unwrap_or(count),
    };
    let (first, many) = (seeds.start, seeds.end - seeds.start);
    let mut one = |seed| {
        digests();
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| run(seed))) {
            eprintln!("\nseed {seed} fails; again: {}\n", command(seed));
            resume_unwind(payload);
        }
        digests()
    };
    for seed in seeds {
        let digest = one(seed);
        if seed == first && !is_one() {
            assert!(
                one(seed) == digest,
                "two runs of seed {seed} differ: something in them follows from other things than the seed (a clock, the order of a \
                 `HashMap`, an address, another thread)"
            );
        }
    }
    many
}
