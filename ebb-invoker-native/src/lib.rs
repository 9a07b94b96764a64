#![no_std]
//! Instances in the image: each is a UC in which an unmodified Node runs the loader.
//!
//! A program links this crate as the provider of [`InstanceMaker`] by naming it: `#[ebb::main(native = ebb_invoker_native)]`.
//!
//! The loader is spoken to over a channel that is the guest's descriptor 3 (`--fd 3`, frames as in
//! [`ebb_invoker::instance`]); descriptors 1 and 2 are channels as well, whose bytes become the activation's logs. All
//! three are emptied whenever this side looks, so a guest that writes much never waits for long.
//!
//! | module | |
//! |---|---|
//! | `guest` | one instance, and a snapshot of one |
//! | `base` | the snapshot that new instances are copies of |
//! | `kept`, `functions` | bases and functions' snapshots on a disk |
//! | `near` | the same on their way to other machines |
//! | `executable` | one instance of a function that is a program |
//! | `stock` | copies of it that are made ahead |
//! | `container` | the image as one action container |

extern crate alloc;

mod base;
mod container;
mod executable;
mod functions;
mod guest;
mod kept;
mod near;
mod stock;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::sync::atomic::{AtomicBool, Ordering};

use ebb::platform::Environment;
use ebb::{EbbRef, println, provides};
use ebb_invoker::Container;
use ebb_invoker::instance::{
    Boxed, InstanceLimits, InstanceMaker, NewInstance, NotMade, SharedSnapshot,
};
use ebb_invoker::loader::FOLDER;
use ebb_invoker::pieces::{Fetched, Snapshot};
use ebb_invoker::room::Memory;
use ebb_linux::Program;
use ebb_openwhisk::runtimes::{Launch, Loader};

use base::BaseStore;
use executable::Executable;
use functions::KeptFunctions;
use guest::{Guest, PYTHON_PROGRAM, not_made};
use near::SharedBases;
use stock::Stock;

// One core for each program, so V8's pool of helpers brings nothing. Its memory reducer would wake every idle instance seconds
// after a collection, to collect again; and of each instance of WebAssembly that is compiled when it is called, as the one by which `fetch` reads
// HTTP, V8 looks four times within two minutes how long that took (`InstantiateToInstanceObject`).
// Python's packages are those of OpenWhisk's own image (apache/openwhisk-runtime-python, core/python311Action/requirements.txt, without
// virtualenv), and what they need by the versions of that time: Scrapy 2.11 does not import with w3lib 2.2. Where pip cannot bring them, what
// Debian has of them.
ebb_archive::manifest!(
    "program node\nargs --v8-pool-size=0 --no-memory-reducer --no-wasm-lazy-compilation --expose-gc\nworkdir /tmp\n\
     env NODE_ENV=production HOME=/tmp TMPDIR=/tmp\n\
     file /loader.js \"",
    FOLDER,
    "/loader.js\"\ntree /loader \"",
    FOLDER,
    "/loader\"\nfile /python/loader.py \"",
    FOLDER,
    "/python/loader.py\"\nargument /actions --actions\nruntimes /runtimes.json --runtimes\n\
     file /bin/sh\nfile /usr/bin/env\ntime-zones\n\
     python beautifulsoup4==4.11.2 httplib2==0.21.0 kafka-python==2.0.2 lxml==4.9.2 python-dateutil==2.8.2 requests==2.31.0 \
     scrapy==2.11.2 simplejson==3.18.3 twisted==24.7.0 w3lib==2.1.2 parsel==1.9.1 pyopenssl==24.1.0 cryptography==42.0.8 \
     service-identity==24.1.0 pyparsing==3.1.4 urllib3==2.2.3 zope-interface==7.0.1 \
     requests urllib3 idna certifi chardet charset_normalizer simplejson dateutil six.py httplib2 pyparsing \
     bs4 soupsieve lxml kafka netifaces\n\
     npm /node_modules openwhisk@3.21.9 express@4.21.2 serialize-error@3.0.0 redis@3.1.2 uuid@9.0.1\n"
);
// Who draws random numbers has to be seen: what has been drawn is not copied.
ebb_archive::variables!(
    "EBB_AUTH EBB_ADMIN EBB_RDRAND=0 EBB_FORWARD=3233:3233 EBB_MEMORY=2G EBB_DISK=invoker.disk;invoker.snapshots environment:--runtime bakes"
);

/// Bytes that are not for instances: connections, bodies of requests, entities, records.
const RESERVE: u64 = 512 << 20;
ebb::option!("budget", "a number of bytes", |v| v.parse::<u64>().is_ok());

/// What the runner has packed.
fn archive() -> Result<ebb_archive::Archive<'static>, String> {
    ebb_archive::Archive::new(EbbRef::<dyn Environment>::get().archive())
        .map_err(|error| format!("the boot archive cannot be read: {error}"))
}

/// Whether the boot archive has that program.
fn is_packed(program: &str) -> bool {
    Program::named(&[program]).is_ok_and(|named| named.has(program))
}

/// Says once, on a machine that the runner has not started, what functions may share there.
fn tell_of_unseen_draws() {
    static TOLD: AtomicBool = AtomicBool::new(false);
    if ebb_linux::draws_may_be_unseen() && !TOLD.swap(true, Ordering::Relaxed) {
        println!(
            "invoker: this CPU has RDRAND or RDSEED. A function that draws by them at its start is not seen to draw, and its instances share what it drew. \
             Start QEMU with -cpu MODEL,rdrand=off,rdseed=off, or give such an action the annotation \"snapshot\": false"
        );
    }
}

/// The image, as the provider.
struct Image;

#[provides(InstanceMaker, instance = &Image)]
impl InstanceMaker for Image {
    fn make(
        &self,
        launch: &Launch,
        limits: InstanceLimits,
    ) -> Boxed<'static, Result<NewInstance, NotMade>> {
        let launch = launch.clone();
        Box::pin(async move {
            if launch.loader == Loader::Executable {
                // It becomes a UC when it is given a program.
                return Ok(NewInstance {
                    instance: Box::new(Executable::new(&launch, limits)),
                    made_ahead: false,
                });
            }
            let Some(origin) = EbbRef::<BaseStore>::get().origin(&launch).await else {
                let guest = Guest::boot(&launch, limits)
                    .map_err(|errno| not_made(errno, "an instance cannot be started"))?;
                return Ok(NewInstance {
                    instance: Box::new(guest),
                    made_ahead: false,
                });
            };
            let mut taken = None;
            if origin.stays {
                let stock = EbbRef::<Stock>::get();
                stock.keep_filled(&launch, &origin.frozen);
                taken = stock.take(&launch, limits);
            }
            let made_ahead = taken.is_some();
            let guest = match taken {
                Some(guest) => guest,
                None => origin.frozen.copy_guest(limits)?,
            };
            Ok(NewInstance {
                instance: Box::new(guest),
                made_ahead,
            })
        })
    }

    fn can_launch(&self, launch: &Launch) -> bool {
        match (launch.loader, launch.program.as_deref()) {
            (Loader::Executable, _) => true,
            (Loader::Node, None) => Program::archived(&[]).is_ok(),
            (Loader::Python, None) => is_packed(PYTHON_PROGRAM),
            (_, Some(program)) => is_packed(program),
        }
    }

    fn missing_bytes(&self) -> u64 {
        const FRAME: u64 = ebb_mem::FRAME_SIZE as u64;
        let frames = ebb_mem::frame::stats();
        let heap = ebb_mem::heap_stats();
        Memory {
            free: frames.free_for_pages() * FRAME,
            kept: frames.kept * FRAME,
            to_keep: frames.to_keep * FRAME,
            heap: heap.chunks.unsigned_abs() * (FRAME << ebb_mem::frame::LARGE_PAGE_ORDER),
            heap_used: heap.bytes.unsigned_abs(),
        }
        .missing()
    }

    fn free_bytes(&self) -> u64 {
        ebb_mem::frame::stats().free_for_pages() * 4096
    }

    fn is_warm(&self) -> bool {
        EbbRef::<BaseStore>::get().is_settled()
    }

    fn made_ahead(&self) -> usize {
        EbbRef::<Stock>::get().len()
    }

    fn budget_bytes(&self) -> u64 {
        if let Some(budget) = EbbRef::<dyn Environment>::get().option("budget") {
            return budget.parse().unwrap_or(0);
        }
        let free = self.free_bytes();
        free.saturating_sub(RESERVE).max(free / 2)
    }

    fn new_instance_bytes(&self) -> u64 {
        4 << 20
    }

    fn uses_own_time(&self) -> bool {
        true
    }

    fn prepare(&self, launch: &Launch) -> Boxed<'static, ()> {
        let launch = launch.clone();
        tell_of_unseen_draws();
        Box::pin(async move {
            if launch.loader != Loader::Executable {
                drop(EbbRef::<BaseStore>::get().origin(&launch).await);
            }
        })
    }

    fn keeps(&self) -> bool {
        EbbRef::<KeptFunctions>::get().is_open()
    }

    fn kept(&self, launch: &Launch, name: u128) -> Boxed<'static, Option<(SharedSnapshot, u64)>> {
        let launch = launch.clone();
        Box::pin(async move {
            let functions = EbbRef::<KeptFunctions>::get();
            let (frozen, cost_us) = functions.read(&launch, name).await?;
            let snapshot: SharedSnapshot = Arc::new(frozen);
            Some((snapshot, cost_us))
        })
    }

    fn shared_base(&self, launch: &Launch) -> Option<u128> {
        EbbRef::<SharedBases>::get().content(launch)
    }

    fn give_base(&self, launch: &Launch) -> Option<Snapshot> {
        EbbRef::<SharedBases>::get().give(launch)
    }

    fn take_base(&self, launch: &Launch, pieces: Snapshot) -> Boxed<'static, Fetched<()>> {
        let launch = launch.clone();
        Box::pin(async move {
            let Some((base, content)) = near::take_base(&launch, pieces).await? else {
                return Ok(None);
            };
            EbbRef::<BaseStore>::get().settle(&launch, Arc::new(base), Some(content));
            Ok(Some(()))
        })
    }

    fn take_function(
        &self,
        launch: &Launch,
        pieces: Snapshot,
    ) -> Boxed<'static, Fetched<SharedSnapshot>> {
        let launch = launch.clone();
        Box::pin(async move {
            let taken = near::take_function(&launch, pieces).await?;
            Ok(taken.map(|frozen| -> SharedSnapshot { Arc::new(frozen) }))
        })
    }

    fn bake(&self, launch: &Launch) -> Boxed<'static, Result<(), String>> {
        let launch = launch.clone();
        Box::pin(async move {
            if launch.loader == Loader::Executable {
                return Ok(());
            }
            base::bake(&launch).await
        })
    }

    /// Loopback is each UC's own.
    fn machine_address(&self) -> Option<IpAddr> {
        let addresses = ebb::net::configuration().addresses;
        addresses.iter().map(|(ip, _)| *ip).find(IpAddr::is_ipv4)
    }

    /// What QEMU's own network calls its host.
    fn host_address(&self) -> IpAddr {
        IpAddr::from([10, 0, 2, 2])
    }

    fn description(&self) -> String {
        String::from(
            "unikernel contexts, each a copy of an unmodified Node.js or Python, or a program",
        )
    }

    /// The runner packs what `--actions` names as `/actions`.
    fn read_folder(&self, folder: &str) -> Result<Vec<(String, Vec<u8>)>, String> {
        let archive = archive()?;
        let directory = archive.root().child(b"actions").ok_or_else(|| {
            format!("the boot archive has no folder {folder}; start the image with the runner")
        })?;
        Ok(directory
            .children()
            .filter_map(|file| Some((core::str::from_utf8(file.name()).ok()?, file)))
            .map(|(name, file)| (String::from(name), file.data().to_vec()))
            .collect())
    }

    /// The runner packs what `--runtimes` names as `/runtimes.json`.
    fn read_runtimes(&self, file: &str) -> Result<Vec<u8>, String> {
        let archive = archive()?;
        let packed = archive.root().child(b"runtimes.json");
        let packed = packed.ok_or_else(|| {
            format!("the boot archive has no file {file}; start the image with the runner")
        })?;
        Ok(packed.data().to_vec())
    }

    fn serve_container(&self, container: Container) -> Boxed<'static, Result<(), String>> {
        Box::pin(container::serve(container))
    }
}
