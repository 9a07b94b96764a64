//! The packer: from a [`manifest`] to a boot archive (docs/src/archive.md), with a program's
//! loader and libraries found as the loader itself would find them.
//!
//! Files keep their paths, and symbolic links on the way stay links, so a program sees in the image
//! what it would see on the host. Finished archives are kept beside the image under a hash of
//! everything that went in (paths, sizes, times), so only a change packs again. Whoever uses one holds a shared lock on it;
//! an archive without one may go at any time.

mod cached;
pub mod elf;
mod libraries;
pub mod manifest;
mod node;
mod npm;
mod plan;
mod python;

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fs::{self, File, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process,
    time::{Duration, SystemTime},
};

use ebb_archive::{Archive, write::CONTENT_NAME};
use xxhash_rust::xxh3::Xxh3;

use crate::{config::places::further_files, failure::Failure};
pub use manifest::Manifest;
pub use plan::{Plan, Source};

/// Archives that are kept for one image.
const KEPT: usize = 8;
/// Bytes of all archives in one folder of target/ that are kept beside those in use: some four of the largest images.
const KEPT_BYTES: u64 = 1 << 30;
/// An archive that was not used for so long is not kept.
const UNUSED: Duration = Duration::from_secs(14 * 24 * 3600);
/// A draft that was not written to for so long is nobody's.
const ABANDONED: Duration = Duration::from_secs(3600);

/// An archive that stays as long as this lives.
#[derive(Debug)]
pub struct Held {
    /// Where it is.
    pub path: PathBuf,
    /// With a shared lock.
    _lock: File,
}

impl Held {
    /// The archive of this name, if there is one.
    fn open(path: &Path) -> Option<Self> {
        let lock = File::options().append(true).open(path).ok()?;
        hold(&lock);
        // It may have been removed before it was locked.
        let (locked, named) = (lock.metadata().ok()?, fs::metadata(path).ok()?);
        if (locked.dev(), locked.ino()) != (named.dev(), named.ino()) {
            return None;
        }
        // The least recently used ones go first.
        let _ = lock.set_modified(SystemTime::now());
        Some(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }
}

/// What the packer takes from its surroundings.
pub struct Surroundings {
    /// Relative sources start here.
    pub base: PathBuf,
    /// The program that a manifest's `node` means, if the user says (`EBB_NODE`).
    pub node: Option<PathBuf>,
    /// Further files and directories (`EBB_FILES`).
    pub files: Vec<PathBuf>,
    /// Never install anything.
    pub no_install: bool,
}

impl Surroundings {
    /// From the environment, with relative sources below `base`.
    pub fn new(base: PathBuf, no_install: bool) -> Self {
        let set = |name| env::var_os(name).filter(|v| !v.is_empty());
        let files = further_files(set("EBB_FILES").as_deref());
        Self {
            base,
            node: set("EBB_NODE").map(PathBuf::from),
            files,
            no_install,
        }
    }
}

/// The archive that an image with this manifest is to be started with; packed if there is none yet.
/// `say` is called with a line before the work begins.
///
/// # Errors
/// When something is missing or cannot be packed.
pub fn prepare(
    image: &Path,
    text: &str,
    arguments: &[OsString],
    around: &Surroundings,
    say: impl Fn(String),
) -> Result<Held, Failure> {
    let manifest = Manifest::parse(text).map_err(Failure::unusable)?;
    let plan = Plan::new(&manifest, arguments, around)?;
    let (directory, stem) = (
        image.parent().unwrap_or(Path::new(".")),
        image.file_name().unwrap_or_default().to_string_lossy(),
    );
    let path = directory.join(format!("{stem}.{:016x}.archive", plan.key()));
    if let Some(held) = Held::open(&path) {
        return Ok(held);
    }
    say(format!(
        "packing {} files, {} MiB",
        plan.sources().len(),
        plan.bytes() >> 20
    ));
    let _lock = write(plan, &path)?;
    prune(directory, &path);
    Ok(Held { path, _lock })
}

/// Writes an archive; a file that is there is replaced at once or not at all. Gives it with a shared lock, taken before others see it.
///
/// # Errors
/// When a source changed meanwhile or the file cannot be written.
pub fn write(plan: Plan, path: &Path) -> Result<File, Failure> {
    let draft = path.with_extension(format!("draft{}", process::id()));
    let unwritable =
        |e: io::Error| Failure::unusable(format!("cannot write {}: {e}", path.display()));
    let result = write_to(plan, &draft).and_then(|()| {
        let file = File::open(&draft).map_err(unwritable)?;
        hold(&file);
        fs::rename(&draft, path).map_err(unwritable)?;
        Ok(file)
    });
    if result.is_err() {
        let _ = fs::remove_file(&draft);
    }
    result
}

fn write_to(plan: Plan, draft: &Path) -> Result<(), Failure> {
    let unwritable =
        |e: io::Error| Failure::unusable(format!("cannot write {}: {e}", draft.display()));
    let (layout, sources) = plan.finish()?;
    let mut out = File::create(draft).map_err(unwritable)?;
    out.write_all(&layout.table).map_err(unwritable)?;
    for placed in &layout.files {
        out.seek(SeekFrom::Start(placed.offset))
            .map_err(unwritable)?;
        let source = usize::try_from(placed.content)
            .ok()
            .and_then(|i| sources.get(i));
        let copied = match source {
            Some(Source::Text(text)) => out.write_all(text.as_bytes()).map(|()| text.len() as u64),
            Some(Source::File(path)) => {
                let file = File::open(path).map_err(|e| {
                    Failure::unusable(format!("cannot read {}: {e}", path.display()))
                })?;
                io::copy(&mut file.take(placed.size), &mut out)
            }
            None => Ok(0),
        };
        if copied.map_err(unwritable)? != placed.size {
            return Err(Failure::unusable(format!(
                "{source:?} changed while it was packed; try again"
            )));
        }
    }
    out.set_len(layout.len).map_err(unwritable)?;
    drop(out);
    name_content(draft).map_err(unwritable)
}

/// Writes into an archive's header what names its content.
fn name_content(path: &Path) -> io::Result<()> {
    let mut file = File::options().read(true).write(true).open(path)?;
    let (mut hash, mut chunk) = (Xxh3::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut chunk)? {
            0 => break,
            n => hash.update(&chunk[..n]),
        }
    }
    file.seek(SeekFrom::Start(CONTENT_NAME))?;
    // 0 stands for none.
    file.write_all(&hash.digest().max(1).to_le_bytes())
}

/// The content of an archive, one line an entry, like `ls -l`.
pub fn list(archive: &Archive<'_>) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut out = String::new();
    for (what, strings) in [
        ("argument", archive.arguments()),
        ("environment", archive.environment()),
    ] {
        strings.for_each(|s| out.push_str(&format!("{what} {}\n", text(s))));
    }
    out.push_str(&format!("directory {}\n", text(archive.directory())));
    let mut pending = vec![(archive.root(), String::new())];
    while let Some((node, path)) = pending.pop() {
        let link = node
            .target()
            .map(|t| format!(" -> {}", text(t)))
            .unwrap_or_default();
        let shown = if path.is_empty() { "/" } else { &path };
        out.push_str(&format!(
            "{:06o} {:>10} {shown}{link}\n",
            node.mode(),
            node.size()
        ));
        pending.extend(
            node.children()
                .rev()
                .map(|child| (child, format!("{path}/{}", text(child.name())))),
        );
    }
    out
}

/// Removes what nothing will use any more: of each image all but the archives used last, those that have not been used
/// for long, whose image is gone, or that make all of them together too large, and drafts of runners that did not finish.
/// `latest` stays, and so does what a runner holds.
fn prune(directory: &Path, latest: &Path) {
    let mut archives = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(meta) = entry.metadata() else { continue };
        let Ok(used) = meta.modified() else { continue };
        let age = used.elapsed().unwrap_or_default();
        match stem(&entry.file_name().to_string_lossy()) {
            Some((stem, true)) if path != latest => {
                archives.push((age, stem.to_owned(), meta.len(), path));
            }
            Some((_, false)) if age > ABANDONED => {
                let _ = fs::remove_file(path);
            }
            _ => {}
        }
    }
    archives.sort();
    let size = |path: &Path| fs::metadata(path).map_or(0, |meta| meta.len());
    let mut bytes = size(latest);
    let mut of_image: BTreeMap<String, usize> = BTreeMap::new();
    if let Some((stem, _)) = latest.file_name().and_then(|n| stem(n.to_str()?)) {
        of_image.insert(stem.to_owned(), 1);
    }
    for (age, stem, len, path) in archives {
        let kept = of_image.entry(stem.clone()).or_default();
        bytes += len;
        if *kept < KEPT && age < UNUSED && bytes <= KEPT_BYTES && directory.join(&stem).exists() {
            *kept += 1;
        } else if remove(&path) {
            bytes -= len;
        }
    }
}

/// Locks an archive against removal. On a file system without locks nothing is safe from it but by being used last.
fn hold(file: &File) {
    let _ = file.lock_shared();
}

/// Removes an archive unless a runner holds it; whether it is gone.
fn remove(path: &Path) -> bool {
    let Ok(file) = File::open(path) else {
        return true;
    };
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => false,
        Ok(()) | Err(TryLockError::Error(_)) => fs::remove_file(path).is_ok(),
    }
}

/// The image's name in that of an archive, and whether it is a finished one; `None` for other files.
fn stem(name: &str) -> Option<(&str, bool)> {
    let (rest, ending) = name.rsplit_once('.')?;
    let (stem, hash) = rest.rsplit_once('.')?;
    let is_hash = hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit());
    let finished = ending == "archive";
    let draft = ending
        .strip_prefix("draft")
        .is_some_and(|n| n.parse::<u32>().is_ok());
    (is_hash && (finished || draft)).then_some((stem, finished))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_named_by_its_content_whatever_it_was_named_before() {
        let path = env::temp_dir().join(format!("ebb-content-name-{}", process::id()));
        let name_of = |byte: u8| {
            let mut bytes = vec![1; 5000];
            bytes[CONTENT_NAME as usize..][..8].fill(0);
            bytes[4999] = byte;
            fs::write(&path, &bytes).expect("it can be written");
            name_content(&path).expect("it can be named");
            let named = fs::read(&path).expect("it can be read");
            let (before, after) = (&named[..56], &named[64..]);
            assert!(before == &bytes[..56] && after == &bytes[64..]);
            u64::from_le_bytes(*named[56..].first_chunk().expect("8 bytes"))
        };
        let (one, two, again) = (name_of(1), name_of(2), name_of(1));
        fs::remove_file(&path).expect("it was written");
        assert!(one != 0 && one != two && one == again);
    }
}
