//! In which functions of an image its instructions are spent: counted by block by a QEMU plugin (`guests/blocks.c`), and added by the
//! symbols that they belong to. What a function calls is not part of it, what the compiler has put into it is.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    process::Command,
};

use crate::sides::{Counting, words_in};

/// How often each block has run, by its address and its instructions.
pub type Blocks = HashMap<(u64, u64), u64>;

impl Counting {
    /// One that counts blocks, for one vCPU; [`instructions`](Self::instructions) has no meaning then.
    ///
    /// # Panics
    /// As `new`.
    pub fn of_blocks(name: &str) -> Option<Self> {
        Self::with_plugin(name, "blocks.c", "", None)
    }

    /// What has run since the start.
    ///
    /// # Panics
    /// When it does not count blocks, or no QEMU has been started.
    pub fn blocks(&self) -> Blocks {
        let words = words_in(self.file());
        let (blocks, _) = words.as_chunks::<3>();
        let known = blocks.iter().filter(|[address, ..]| *address != 0);
        known
            .map(|&[address, n, runs]| ((address, n), runs))
            .collect()
    }
}

/// The functions of an image, by address.
pub struct Functions(BTreeMap<u64, String>);

impl Functions {
    /// Of an ELF file with symbols, by `nm` of the binutils.
    ///
    /// # Panics
    /// Without that.
    pub fn of(image: &Path) -> Self {
        let listed = Command::new("nm").arg("-C").arg(image).output();
        let listed = listed.expect("nm, of the binutils").stdout;
        let symbols = String::from_utf8_lossy(&listed);
        let functions = symbols.lines().filter_map(|line| {
            let mut words = line.splitn(3, ' ');
            let (address, kind, name) = (words.next()?, words.next()?, words.next()?);
            let address = u64::from_str_radix(address, 16).ok()?;
            "tTwW".contains(kind).then(|| (address, name.to_owned()))
        });
        Self(functions.collect())
    }

    /// Instructions in each function between two counts.
    pub fn spent(&self, before: &Blocks, after: &Blocks) -> HashMap<&str, u64> {
        let mut spent = HashMap::new();
        for (&(address, n), &runs) in after {
            let more = runs - before.get(&(address, n)).copied().unwrap_or(0);
            let name = self.0.range(..=address).next_back();
            *spent.entry(name.map_or("", |(_, name)| name)).or_default() += n * more;
        }
        spent
    }
}
