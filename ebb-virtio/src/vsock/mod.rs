//! The provider of [`Vsock`] on a machine of its own: its virtio socket device.
//!
//! What must hold: the device is set up once, and its interrupt goes to the core that first used it; nothing is woken and no
//! program's function called while the driver is locked.

mod connection;
pub(crate) mod device;
mod packet;

use alloc::{boxed::Box, collections::VecDeque};
use core::{
    sync::atomic::{AtomicBool, Ordering},
    task::Waker,
    time::Duration,
};

use ebb::{
    EbbRef,
    platform::{Clock, Hardware},
    provides,
    time::sleep,
};
use ebb_net::{
    Error, Interest, Ready, Result, SocketId,
    vsock::{Address, Vsock},
};
use spin::{Once, mutex::SpinMutex as Mutex};
use virtio_drivers::transport::DeviceType;

use crate::{
    bus::{Place, find},
    registers::Fault,
    served::{self, Served},
    transport::{Machine, Queues},
};
use connection::WINDOW;
use device::Sockets;

/// virtio's number for socket devices.
const SOCKET_DEVICE: u16 = 19;
/// How often connections that wait for their peer are looked at.
const TICK: Duration = Duration::from_millis(500);
/// How long a device that was let go is sent nothing. QEMU gives a vhost-user device its queues without waiting for it, and
/// vhost-device-vsock 0.3.0 that is told of a packet, or of a connection, before it has them all passes nothing on ever.
const SETTLES: Duration = Duration::from_millis(50);

struct Device {
    sockets: Mutex<Sockets<Machine, Queues>>,
    /// Somebody looks at connections that wait.
    is_watched: AtomicBool,
}

fn device() -> Result<&'static Device> {
    static DEVICE: Once<Option<&'static Device>> = Once::new();
    let first = || {
        find(SOCKET_DEVICE).find_map(|at| match set_up(at) {
            Ok(device) => Some(device),
            Err(fault) => {
                ebb::inform!("ebb: the socket device at {at} is not used: {fault}");
                None
            }
        })
    };
    DEVICE.call_once(first).ok_or(Error::NoDevice)
}

fn now_ns() -> u64 {
    EbbRef::<dyn Clock>::get().now_ns()
}

fn set_up(at: Place) -> core::result::Result<&'static Device, Fault> {
    let (registers, waker) = served::open(at)?;
    // What peers may have it keep is at most a sixteenth of the memory.
    let memory = EbbRef::<dyn Hardware>::get().memory_bytes();
    let limit = (memory / 16 / u64::from(WINDOW)) as usize;
    let queues = Queues::new(registers, DeviceType::Socket);
    let mut sockets = Sockets::new(queues, limit, now_ns)?;
    if !sockets.transport().has_queues() {
        return Err("it does not take its queues");
    }
    sockets.hold();
    sockets.start();
    let device: &'static Device = Box::leak(Box::new(Device {
        sockets: Mutex::new(sockets),
        is_watched: AtomicBool::new(false),
    }));
    served::serve("socket", at, waker, || {
        device.with(|sockets| Served {
            more: sockets.service(),
            is_broken: sockets.is_broken(),
        })
    });
    ebb::spawn(async {
        sleep(SETTLES).await;
        device.with(Sockets::release);
    });
    Ok(device)
}

impl Device {
    /// Has `f` use the sockets, then wakes whom it concerns.
    fn with<R>(&self, f: impl FnOnce(&mut Sockets<Machine, Queues>) -> R) -> R {
        let (result, woken) = {
            let mut sockets = self.sockets.lock();
            let result = f(&mut sockets);
            (result, core::mem::take(&mut sockets.woken))
        };
        for mut wakers in woken {
            wakers.wake_all();
        }
        result
    }

    /// Looks at connections that wait for their peer, as long as there are any.
    fn watch(&'static self) {
        if self.is_watched.swap(true, Ordering::AcqRel) {
            return;
        }
        ebb::spawn(async move {
            loop {
                sleep(TICK).await;
                if !self.with(Sockets::tick) {
                    self.is_watched.store(false, Ordering::Release);
                    // One that came meanwhile has found a watchman.
                    if !self.with(Sockets::tick) || self.is_watched.swap(true, Ordering::AcqRel) {
                        return;
                    }
                }
            }
        });
    }
}

/// The provider.
struct Native;

#[provides(Vsock, instance = &Native)]
impl Vsock for Native {
    fn cid(&self) -> Result<u32> {
        device()?.with(|sockets| sockets.cid())
    }

    fn listen(&self, port: u32, backlog: usize) -> Result<SocketId> {
        let id = device()?.with(|sockets| sockets.listen(port, backlog))?;
        Ok(SocketId(id))
    }

    fn accept(&self, listener: SocketId) -> Result<(SocketId, Address)> {
        let (id, peer) = device()?.with(|sockets| sockets.accept(listener.0))?;
        Ok((SocketId(id), peer))
    }

    fn connect(&self, to: Address) -> Result<SocketId> {
        let device = device()?;
        let id = device.with(|sockets| sockets.connect(to))?;
        device.watch();
        Ok(SocketId(id))
    }

    fn connected(&self, socket: SocketId) -> Result<()> {
        device()?.with(|sockets| sockets.connected(socket.0))
    }

    fn receive(&self, socket: SocketId, f: &mut dyn FnMut(&[u8]) -> usize) -> Result<bool> {
        let device = device()?;
        let mut bytes: VecDeque<u8> = device.with(|sockets| sockets.take_received(socket.0))?;
        let (front, _) = bytes.as_slices();
        if front.is_empty() {
            return Ok(false);
        }
        let count = f(front).min(front.len());
        bytes.drain(..count);
        device.with(|sockets| sockets.put_back(socket.0, bytes, count));
        Ok(true)
    }

    fn send(&self, socket: SocketId, bytes: &[u8]) -> Result<usize> {
        device()?.with(|sockets| sockets.send(socket.0, bytes))
    }

    fn shutdown_write(&self, socket: SocketId) -> Result<()> {
        device()?.with(|sockets| sockets.shutdown_write(socket.0))
    }

    fn peer(&self, socket: SocketId) -> Result<Address> {
        device()?.with(|sockets| sockets.peer(socket.0))
    }

    fn readiness(&self, socket: SocketId) -> Ready {
        let ready = device().map(|device| device.with(|sockets| sockets.readiness(socket.0)));
        ready.unwrap_or_default()
    }

    fn register(&self, socket: SocketId, interest: Interest, waker: &Waker) {
        if let Ok(device) = device() {
            device.with(|sockets| sockets.register(socket.0, interest, waker));
        }
    }

    fn abort(&self, socket: SocketId) {
        if let Ok(device) = device() {
            device.with(|sockets| sockets.abort(socket.0));
        }
    }

    fn close(&self, socket: SocketId) {
        if let Ok(device) = device() {
            device.with(|sockets| sockets.close(socket.0));
            device.watch();
        }
    }
}
