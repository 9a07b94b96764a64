//! Disks: files that `EBB_DISK` names, read and written by threads of their own.
//!
//! What must hold: a core hands a request to the threads and goes on; it never calls what may wait for a file.

use std::{
    fs::File,
    io::{self, Seek, SeekFrom},
    os::unix::fs::FileExt,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        mpsc::{self, Receiver, Sender},
    },
    thread,
};

use ebb_block::{BLOCK, BlockDevice, Disks, Error, Pending, check, ready};
use ebb_disk::{Cache, Spec, Why};
use ebb_runtime::{
    EbbRef,
    platform::{Console, Environment},
    provides,
    sync::oneshot,
};

use super::Linux;

/// Threads of a disk: so many requests are under way at once.
const THREADS: usize = 4;

enum Request {
    Read(u64, usize, oneshot::Sender<Result<Vec<u8>, Error>>),
    Write(u64, Vec<u8>, oneshot::Sender<Result<(), Error>>),
    Flush(oneshot::Sender<Result<(), Error>>),
}

/// A file as a disk.
struct FileDisk {
    size: u64,
    read_only: bool,
    requests: Mutex<Sender<Request>>,
}

/// What a thread works on.
struct Work {
    file: File,
    cache: Cache,
    requests: Mutex<Receiver<Request>>,
}

impl FileDisk {
    fn open(spec: &Spec) -> Result<Self, Error> {
        let say = |line: String| EbbRef::<dyn Console>::get().inform(&format!("ebb: {line}"));
        let only_qemu = |_: &std::path::Path, _| {
            Err("QEMU's formats are for images; a process takes format=raw".to_owned())
        };
        let opened = if spec.format == ebb_disk::Format::Raw {
            spec.open(say, only_qemu)
        } else {
            Err(ebb_disk::Fault {
                path: spec.path.clone(),
                why: Why::Failed(only_qemu(&spec.path, 0).unwrap_err()),
            })
        };
        let file = opened.map_err(|fault| {
            EbbRef::<dyn Console>::get().note(&format!("ebb: {fault}"));
            match fault.why {
                Why::InUse => Error::InUse,
                Why::TooSmall(_) | Why::Failed(_) => Error::Missing,
            }
        })?;
        let size = (&file).seek(SeekFrom::End(0)).map_err(error)?;
        let (sender, receiver) = mpsc::channel();
        let work = Arc::new(Work {
            file,
            cache: spec.cache,
            requests: Mutex::new(receiver),
        });
        for _ in 0..THREADS {
            let work = work.clone();
            thread::Builder::new()
                .name("ebb disk".to_owned())
                .spawn(move || work.run())
                .map_err(error)?;
        }
        Ok(Self {
            size: size / BLOCK as u64 * BLOCK as u64,
            read_only: spec.read_only,
            requests: Mutex::new(sender),
        })
    }

    fn begin<T: Send + 'static>(
        &self,
        make: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Request,
    ) -> Pending<T> {
        let (sender, receiver) = oneshot::channel();
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        if requests.send(make(sender)).is_err() {
            return ready(Err(Error::Broken));
        }
        Box::pin(async move { receiver.await.unwrap_or(Err(Error::Broken)) })
    }
}

fn error(error: io::Error) -> Error {
    match error.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG) => Error::NoSpace,
        Some(libc::EROFS | libc::EBADF | libc::EPERM) => Error::ReadOnly,
        _ => Error::Io,
    }
}

impl Work {
    fn run(&self) {
        loop {
            let next = self
                .requests
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .recv();
            match next {
                Ok(Request::Read(offset, length, done)) => {
                    let mut bytes = vec![0; length];
                    let read = self.file.read_exact_at(&mut bytes, offset);
                    let _ = done.send(read.map(|()| bytes).map_err(error));
                }
                Ok(Request::Write(offset, bytes, done)) => {
                    let mut written = self.file.write_all_at(&bytes, offset);
                    if matches!(self.cache, Cache::WriteThrough | Cache::DirectSync) {
                        written = written.and_then(|()| self.file.sync_data());
                    }
                    let _ = done.send(written.map_err(error));
                }
                Ok(Request::Flush(done)) => {
                    let flushed = match self.cache {
                        Cache::Unsafe => Ok(()),
                        _ => self.file.sync_data(),
                    };
                    let _ = done.send(flushed.map_err(error));
                }
                Err(_) => return,
            }
        }
    }
}

impl BlockDevice for FileDisk {
    fn size(&self) -> u64 {
        self.size
    }

    fn is_read_only(&self) -> bool {
        self.read_only
    }

    fn read(&self, offset: u64, length: usize) -> Pending<Vec<u8>> {
        match check(self.size, offset, length) {
            Ok(()) => self.begin(|done| Request::Read(offset, length, done)),
            Err(error) => ready(Err(error)),
        }
    }

    fn write(&self, offset: u64, bytes: Vec<u8>) -> Pending<()> {
        if self.read_only {
            return ready(Err(Error::ReadOnly));
        }
        match check(self.size, offset, bytes.len()) {
            Ok(()) => self.begin(|done| Request::Write(offset, bytes, done)),
            Err(error) => ready(Err(error)),
        }
    }

    fn flush(&self) -> Pending<()> {
        if self.read_only {
            return ready(Ok(()));
        }
        self.begin(Request::Flush)
    }
}

/// A disk that was asked for, and what came of it.
struct Slot {
    spec: Spec,
    opened: OnceLock<Result<Arc<dyn BlockDevice>, Error>>,
}

static SLOTS: OnceLock<Vec<Slot>> = OnceLock::new();

fn parse(text: &str) -> Result<Vec<Slot>, String> {
    let slot = |spec| Slot {
        spec,
        opened: OnceLock::new(),
    };
    let specs = Spec::parse_list(text);
    specs.map(|specs| specs.into_iter().map(slot).collect())
}

fn slots() -> &'static [Slot] {
    SLOTS.get_or_init(|| {
        let Some(text) = EbbRef::<dyn Environment>::get().option("disk") else {
            return Vec::new();
        };
        parse(text).unwrap_or_else(|takes| {
            let line = format!("ebb: EBB_DISK is `{text}`; accepted: {takes}");
            EbbRef::<dyn Console>::get().note(&line);
            Vec::new()
        })
    })
}

/// Names the disks of this process as `EBB_DISK` would, which then counts no more. Only before the first use of a disk; later
/// calls change nothing.
///
/// # Errors
/// What is accepted, where `text` is not that.
pub fn set_disks(text: &str) -> Result<(), String> {
    let slots = parse(text)?;
    let _ = SLOTS.set(slots);
    Ok(())
}

#[provides(Disks, instance = &Linux)]
impl Disks for Linux {
    fn count(&self) -> usize {
        slots().len()
    }

    fn open(&self, number: usize) -> Result<Arc<dyn BlockDevice>, Error> {
        let slot = slots().get(number).ok_or(Error::Missing)?;
        let open = || FileDisk::open(&slot.spec).map(|disk| Arc::new(disk) as Arc<dyn BlockDevice>);
        slot.opened.get_or_init(open).clone()
    }
}
