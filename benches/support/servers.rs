//! A server of ours in an image beside the usual one in a Linux guest, on the same port.

use std::path::Path;

use crate::{
    goal,
    sides::{Counting, Side, count_instructions},
    turns::{Pair, Rounds},
};

/// The two servers, before they are started.
pub struct Servers<'a> {
    /// Of the figures.
    pub name: &'a str,
    /// Where both listen.
    pub port: u16,
    /// Our program, and its arguments.
    pub image: (&'a Path, &'a [&'a str]),
    /// What boots a Linux guest, if there is one, and what it is to run.
    pub linux: Option<(&'a Path, &'a [&'a str])>,
}

impl Servers<'_> {
    fn ours(&self, cores: usize, counting: Option<&Counting>) -> Side {
        let (image, arguments) = self.image;
        Side::image(image, cores, self.port, arguments, counting)
    }

    fn theirs(&self, cores: usize, counting: Option<&Counting>) -> Option<Side> {
        let (guest, app) = self.linux?;
        Some(Side::linux(guest, cores, self.port, app, counting))
    }

    /// Counts the instructions of a request on both sides; ours should be at most `bound` of theirs.
    pub fn count(&self, bound: f64) {
        let counted = count_instructions(
            self.name,
            |counting| self.ours(1, Some(counting)),
            self.linux
                .is_some()
                .then_some(|counting: &Counting| self.theirs(1, Some(counting)).expect("named")),
        );
        if let Some(ratio) = counted {
            goal(&format!("{}_instructions", self.name), ratio, bound);
        }
    }

    /// Both, up and warm, with that many vCPUs, and what they can take.
    pub fn press(&self, cores: usize, rounds: usize, seconds: f64) -> (Pair, Rounds) {
        println!("\n{cores} vCPU, {rounds} rounds of {seconds} s, taking turns");
        let mut pair = Pair {
            names: ["image", "Linux"],
            ours: self.ours(cores, None),
            theirs: self.theirs(cores, None),
            rounds,
            seconds,
        };
        pair.warm_up(seconds);
        let peak = pair.closed_loop();
        (pair, peak)
    }
}
