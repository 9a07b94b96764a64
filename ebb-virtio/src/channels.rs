//! The provider of [`Channels`] on a machine of its own: the ports of its virtio console devices.
//!
//! What must hold: a device is set up once, and its interrupt goes to the core that first opened a channel.

use alloc::{boxed::Box, string::String, sync::Arc, vec::Vec};
use core::{
    task::{Context, Poll, Waker},
    time::Duration,
};

use ebb::{
    channel::{Channels, Gone, Missing, Opening, Port},
    provides,
    time::sleep,
};
use spin::{Once, mutex::SpinMutex as Mutex};
use virtio_drivers::transport::DeviceType;

use crate::{
    bus::{Place, find},
    console::Console,
    registers::Fault,
    served::{self, Served},
    transport::{Machine, Queues},
};

/// virtio's number for console devices.
const CONSOLE: u16 = 3;
/// How long a device may take to tell of its ports, and how often it is looked at.
const PATIENCE: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(2);

type Device = Mutex<Console<Machine, Queues>>;

fn devices() -> &'static [Arc<Device>] {
    static DEVICES: Once<Vec<Arc<Device>>> = Once::new();
    DEVICES.call_once(|| {
        let set_up = |at| match set_up(at) {
            Ok(device) => Some(device),
            Err(fault) => {
                ebb::inform!("ebb: the console device at {at} is not used: {fault}");
                None
            }
        };
        find(CONSOLE).filter_map(set_up).collect()
    })
}

fn set_up(at: Place) -> Result<Arc<Device>, Fault> {
    let (registers, waker) = served::open(at)?;
    let mut console = Console::new(Queues::new(registers, DeviceType::Console))?;
    if !console.transport().has_queues() {
        return Err("it does not take its queues");
    }
    console.start();
    let device = Arc::new(Mutex::new(console));
    let serviced = device.clone();
    served::serve("console", at, waker, move || {
        let mut wakers = Vec::new();
        let served = {
            let mut console = serviced.lock();
            Served {
                more: console.service(&mut wakers),
                is_broken: console.is_broken(),
            }
        };
        wakers.into_iter().for_each(Waker::wake);
        served
    });
    Ok(device)
}

/// A port that somebody holds.
struct Held {
    device: Arc<Device>,
    number: usize,
}

impl Port for Held {
    fn poll_connected(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut console = self.device.lock();
        console.poll_connected(self.number, context.waker())
    }

    fn poll_read(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<usize> {
        let mut console = self.device.lock();
        console.poll_read(self.number, context.waker(), buffer)
    }

    fn poll_write(&self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, Gone>> {
        let mut console = self.device.lock();
        console.poll_write(self.number, context.waker(), bytes)
    }

    fn poll_flush(&self, context: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        let mut console = self.device.lock();
        console.poll_flush(self.number, context.waker())
    }

    fn release(&self) {
        self.device.lock().release(self.number);
    }
}

async fn open(name: String) -> Result<Arc<dyn Port>, Missing> {
    let devices = devices();
    let tries = if devices.is_empty() {
        1
    } else {
        PATIENCE.as_millis() / LOOK.as_millis()
    };
    for _ in 0..tries {
        for device in devices {
            let taken = device.lock().take(&name);
            if let Some(number) = taken {
                let device = device.clone();
                return Ok(Arc::new(Held { device, number }));
            }
        }
        sleep(LOOK).await;
    }
    Err(Missing)
}

/// The provider.
struct Native;

#[provides(Channels, instance = &Native)]
impl Channels for Native {
    fn open(&self, name: &str) -> Opening {
        Box::pin(open(name.into()))
    }
}
