//! The stack on a machine of its own: a host per core, virtio-net, and the task that drives both.
//!
//! The first use of the network, on whatever core, finds the device and starts every core's part. Each core then has
//! one *engine* task. Once round, it sends what sockets have, takes at most `BUDGET` frames from its queue, does what is
//! due, and goes to the end of the run queue: so the tasks that the frames have woken run before the next
//! round sends their answers, together and with one doorbell. When a round found nothing it asks for an
//! interrupt and sleeps; while frames keep coming there are none (the idea of NAPI).
//!
//! What must hold: nothing in an engine's round waits, and its work is bounded.

use alloc::{boxed::Box, collections::VecDeque, sync::Arc, vec::Vec};
use core::{
    cell::{Cell, RefCell},
    future::poll_fn,
    net::SocketAddr,
    pin::Pin,
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use ebb::{
    EbbRef, FromRoot, core_count, cores, current_core, ebb,
    platform::{Clock, Entropy, Environment, Hardware},
    provides, spawn, spawn_on,
    sync::queue::{self, Receiver as MailReceiver},
    time::{Instant, Sleep, sleep_until},
};
use spin::Mutex;

use crate::{
    control::{Address, Control},
    host::{CONTROL, Host, Limits, Stats},
    shared::{Message, Secret, Shared},
    virtio::{
        net::{Device, DevicePort, Receiver},
        pci::{Transport, find},
        queue::Dma,
    },
};
use ebb_net::{
    Configuration, Error, Interest, NetStack, Ready, Result, SocketId, TcpOption, WakerSet,
};

/// Frames taken from a queue in one round.
const BUDGET: usize = 64;
/// Messages that wait for a core.
const MAILBOX: usize = 1024;
/// Messages taken in one event.
const MAIL_BUDGET: usize = 64;
/// When a full device is tried again, in nanoseconds.
const TRY_AGAIN: u64 = 50_000;
/// When it is looked whether a device has sent what it was given, in nanoseconds.
const SETTLE: u64 = 10_000_000;
/// How often a device that cannot interrupt is looked at, in nanoseconds.
const LOOK: u64 = 1_000_000;
/// virtio's number for network devices.
const NETWORK: u16 = 1;
/// The most memory a machine may have in its linear map, in bytes.
const REACH: usize = 1 << 46;

ebb::option!("ip", Address::TAKES, |value| Address::parse(value).is_ok());

fn now() -> u64 {
    EbbRef::<dyn Clock>::get().now()
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    EbbRef::<dyn Entropy>::get().fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

/// What all cores' parts are made from.
struct Root {
    shared: Arc<Shared>,
    device: Option<Arc<Device>>,
    mail: Mutex<Vec<Option<MailReceiver<Message>>>>,
    address: Address,
    started: AtomicBool,
}

impl Default for Root {
    fn default() -> Self {
        let cores = core_count();
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..cores)
            .map(|_| queue::queue(MAILBOX))
            .map(|(sender, receiver)| (sender, Some(receiver)))
            .unzip();
        let option = EbbRef::<dyn Environment>::get().option("ip");
        // The platform has refused what does not parse.
        let address = Address::parse(option.unwrap_or("dhcp")).unwrap_or_default();
        Self {
            shared: Arc::new(Shared::new(Secret(random(), random()), senders)),
            device: find_device(cores),
            mail: Mutex::new(receivers),
            address,
            started: AtomicBool::new(false),
        }
    }
}

/// The first network device that works.
fn find_device(cores: usize) -> Option<Arc<Device>> {
    let dma = Dma {
        linear: EbbRef::<dyn Hardware>::get().virtual_address(0).addr(),
        reach: REACH,
    };
    for at in find(NETWORK) {
        let made = Transport::new(at).and_then(|transport| Device::new(transport, dma, cores));
        match made {
            Ok(device) => {
                device.start();
                return Some(Arc::new(device));
            }
            Err(fault) => ebb::println!(
                "ebb: the network device at PCI {:02x}:{:02x}.{} is not used: {fault}",
                at.bus,
                at.device,
                at.function
            ),
        }
    }
    None
}

/// What an interrupt wakes. Touched only by its core, outside of events or within them, never both.
#[derive(Default)]
struct Line {
    waker: RefCell<Option<Waker>>,
    count: Cell<u64>,
    /// The device has it.
    bound: Cell<bool>,
}

fn interrupt(argument: usize) {
    // SAFETY: `argument` is a `Line` that `Part::bind` leaked; this runs on its core, outside of any event.
    let line: &Line = unsafe { &*core::ptr::with_exposed_provenance(argument) };
    line.count.set(line.count.get() + 1);
    if let Ok(waker) = line.waker.try_borrow()
        && let Some(waker) = &*waker
    {
        waker.wake_by_ref();
    }
}

/// One core's part of the network.
#[ebb(per_core, root = Root)]
struct Part {
    host: Host<DevicePort>,
    shared: Arc<Shared>,
    receiver: RefCell<Option<Receiver>>,
    control: RefCell<Option<Control>>,
    control_at: Cell<u64>,
    line: &'static Line,
    engine: RefCell<Option<Waker>>,
    /// The engine will run.
    scheduled: Cell<bool>,
    /// When the engine last ran: near enough for what does not set a timer, and cheaper than the clock.
    round_at: Cell<u64>,
    sleep: RefCell<Option<(u64, Pin<Box<Sleep>>)>>,
    configured: RefCell<WakerSet>,
}

impl FromRoot<Root> for Part {
    fn from_root(root: Arc<Root>, _: EbbRef<Self>) -> Self {
        let core = current_core().number();
        let device = root.device.clone();
        let pairs = device.as_ref().map_or(0, |d| d.pairs());
        let pair = if core < pairs { core } else { 0 };
        let receiver = device.as_ref().and_then(|d| d.take_receiver_of(core));
        let port = DevicePort {
            device: device.clone(),
            pair,
        };
        let host = Host::new(
            Arc::clone(&root.shared),
            core,
            port,
            Limits::of(EbbRef::<dyn Hardware>::get().memory(), core_count()),
            random(),
        );
        let line: &'static Line = Box::leak(Box::default());
        if let (Some(device), Some(_)) = (&device, &receiver) {
            line.bound.set(bind(device, core, line));
        }
        let control = (core == CONTROL).then(|| {
            let address = match &device {
                Some(_) => root.address.clone(),
                None => Address::default(),
            };
            device.as_ref().map(|device| {
                let capabilities = device.capabilities;
                Control::new(capabilities.mac, capabilities.mtu, address, random(), now())
            })
        });
        if let Some(mail) = root.mail.lock().get_mut(core).and_then(Option::take) {
            spawn(read_mail(mail));
        }
        spawn(poll_fn(|cx| EbbRef::<Part>::get().round(cx)));
        if !root.started.swap(true, Ordering::AcqRel) {
            spawn(start_all(device));
        }
        Self {
            host,
            shared: Arc::clone(&root.shared),
            receiver: RefCell::new(receiver),
            control: RefCell::new(control.flatten()),
            control_at: Cell::new(0),
            line,
            engine: RefCell::default(),
            scheduled: Cell::new(true),
            round_at: Cell::new(now()),
            sleep: RefCell::default(),
            configured: RefCell::default(),
        }
    }
}

/// Gives a queue's interrupt to this core. False when there is none.
fn bind(device: &Device, core: usize, line: &'static Line) -> bool {
    let vector = core as u16;
    let argument = core::ptr::from_ref(line).expose_provenance();
    match EbbRef::<dyn Hardware>::get().bind_interrupt(current_core(), interrupt, argument) {
        Some(message) if vector < device.transport.vectors() => {
            device.transport.set_vector(vector, message);
            true
        }
        _ => {
            ebb::println!(
                "ebb: the network device has no interrupt for core {core}; it is looked at every millisecond"
            );
            false
        }
    }
}

/// Starts every core's part, and then has the device spread flows over them.
async fn start_all(device: Option<Arc<Device>>) {
    for core in cores() {
        let _ = spawn_on(core, async || _ = EbbRef::<Part>::get()).await;
    }
    if let Some(device) = device
        && !device.use_all_pairs()
    {
        ebb::println!("ebb: the network device refuses to use all of its queues");
    }
}

/// Takes what other cores send here.
async fn read_mail(mut mail: MailReceiver<Message>) {
    while let Some(message) = mail.recv().await {
        let part = EbbRef::<Part>::get();
        let now = now();
        part.take_message(message, now);
        for _ in 0..MAIL_BUDGET {
            match mail.try_recv() {
                Ok(message) => part.take_message(message, now),
                Err(_) => break,
            }
        }
        part.wake_engine();
    }
}

impl Part {
    fn take_message(&self, message: Message, now: u64) {
        if matches!(message, Message::Changed) {
            self.control_at.set(0);
            self.configured.borrow_mut().wake();
        }
        self.host.message(message, now);
    }

    /// Has the engine run if there is something to send.
    #[inline]
    fn schedule(&self) {
        if !self.scheduled.get() && self.host.has_output() {
            self.wake_engine();
        }
    }

    fn wake_engine(&self) {
        self.scheduled.set(true);
        if let Some(waker) = &*self.engine.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Once round. Never ready.
    fn round(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.engine.borrow().is_none() {
            *self.engine.borrow_mut() = Some(cx.waker().clone());
            *self.line.waker.borrow_mut() = Some(cx.waker().clone());
            if let Some(receiver) = &mut *self.receiver.borrow_mut() {
                receiver.refill(|| self.host.take_buffer());
            }
        }
        let now = now();
        self.round_at.set(now);
        self.scheduled.set(false);
        let room = self.host.flush(now);
        let mut busy = self.receive(now);
        if self.host.next_deadline().is_some_and(|at| at <= now) {
            self.host.timers(now);
        }
        busy |= self.slow_path(now);
        if busy || room && self.host.has_output() {
            self.scheduled.set(true);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(receiver) = &mut *self.receiver.borrow_mut()
            && receiver.want_interrupt()
        {
            self.scheduled.set(true);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.sleep(room, now, cx);
        Poll::Pending
    }

    /// Takes frames from this core's queue. True when there were some.
    #[inline]
    fn receive(&self, now: u64) -> bool {
        let mut slot = self.receiver.borrow_mut();
        let Some(receiver) = &mut *slot else {
            return false;
        };
        let mut count = 0;
        while count < BUDGET {
            match receiver.receive() {
                Ok(Some(frame)) => self.host.input(frame, now),
                Ok(None) => break,
                Err(_) => {
                    ebb::println!(
                        "ebb: the network device gave back a buffer that it did not have; it is not used any more"
                    );
                    // Its buffers are forgotten, not freed: it may still write to them.
                    core::mem::forget(slot.take());
                    return true;
                }
            }
            count += 1;
        }
        if count > 0 {
            receiver.refill(|| self.host.take_buffer());
        }
        count > 0
    }

    /// What smoltcp does, on its core. True when frames were taken.
    fn slow_path(&self, now: u64) -> bool {
        let mut control = self.control.borrow_mut();
        let Some(control) = &mut *control else {
            return false;
        };
        let frames = self.host.take_slow();
        let busy = !frames.is_empty();
        if !busy && self.control_at.get() > now {
            return false;
        }
        for frame in frames {
            control.input(&frame.flatten(), &self.shared, now);
        }
        let (out, reassembled) = control.poll(&self.shared, now);
        for frame in out {
            self.host.transmit_raw(frame);
        }
        for frame in reassembled {
            self.host.input(frame, now);
        }
        for notice in control.take_notices() {
            ebb::println!("ebb: {notice}");
        }
        self.host.kick();
        self.control_at.set(control.next_deadline(now));
        busy
    }

    /// Sets the timer of the engine.
    fn sleep(&self, room: bool, now: u64, cx: &mut Context<'_>) {
        let mut next = self.host.next_deadline().unwrap_or(u64::MAX);
        // No interrupt tells that frames were sent: what they refer to must not stay until the ring comes round.
        if !self.host.port.settle() {
            next = next.min(now + SETTLE);
        }
        if self.control.borrow().is_some() {
            next = next.min(self.control_at.get());
        }
        if !room {
            next = next.min(now + TRY_AGAIN);
        }
        if !self.line.bound.get() && self.receiver.borrow().is_some() {
            next = next.min(now + LOOK);
        }
        let mut slot = self.sleep.borrow_mut();
        if next == u64::MAX {
            *slot = None;
            return;
        }
        // An earlier timer that is still to come serves as well: the round it causes sets the next.
        if let Some((at, _)) = &*slot
            && *at <= next
            && *at > now
        {
            return;
        }
        let at = Instant::now() + core::time::Duration::from_nanos(next.saturating_sub(now));
        let mut sleep = Box::pin(sleep_until(at));
        if sleep.as_mut().poll(cx).is_ready() {
            self.scheduled.set(true);
            cx.waker().wake_by_ref();
        }
        *slot = Some((next, sleep));
    }
}

/// What a core's part of the network has counted.
#[derive(Clone, Copy, Debug)]
pub struct CoreNetStats {
    /// Of the stack.
    pub stack: Stats,
    /// Interrupts of the device.
    pub interrupts: u64,
    /// How often the device was told of frames to send, by this core's pair of queues.
    pub doorbells: u64,
}

/// What is known of the device.
#[derive(Clone, Copy, Debug)]
pub struct DeviceStats {
    /// Pairs of queues in use.
    pub pairs: usize,
    /// Interrupts that can be told apart.
    pub vectors: u16,
    /// Feature bits, as VIRTIO 1.2 numbers them.
    pub features: u64,
}

/// The device, if there is one.
#[must_use]
pub fn device() -> Option<DeviceStats> {
    let device = part().host.port.device.as_ref()?;
    Some(DeviceStats {
        pairs: device.pairs(),
        vectors: device.transport.vectors(),
        features: device.features(),
    })
}

/// The counters of this core.
#[must_use]
pub fn stats() -> CoreNetStats {
    let part = part();
    CoreNetStats {
        stack: part.host.stats(),
        interrupts: part.line.count.get(),
        doorbells: part.host.port.doorbells(),
    }
}

/// The provider of [`NetStack`] on a machine of its own.
struct Native;

#[inline(always)]
fn part() -> &'static Part {
    EbbRef::<Part>::get()
}

/// Runs an operation, and has the engine send what came of it. The time is that of the engine's last round.
#[inline(always)]
fn with<R>(f: impl FnOnce(&Host<DevicePort>, u64) -> R) -> R {
    let part = part();
    let result = f(&part.host, part.round_at.get());
    part.schedule();
    result
}

#[provides(NetStack, instance = &Native)]
impl NetStack for Native {
    fn tcp_listen(&self, address: SocketAddr, backlog: usize) -> Result<SocketId> {
        part().host.tcp_listen(address, backlog)
    }

    #[inline]
    fn tcp_accept(&self, listener: SocketId) -> Result<(SocketId, SocketAddr)> {
        part().host.tcp_accept(listener)
    }

    fn tcp_connect(&self, local: Option<SocketAddr>, remote: SocketAddr) -> Result<SocketId> {
        with(|host, _| host.tcp_connect(local, remote, now()))
    }

    fn tcp_connected(&self, socket: SocketId) -> Result<()> {
        part().host.tcp_connected(socket)
    }

    #[inline]
    fn tcp_receive(&self, socket: SocketId, f: &mut dyn FnMut(&[u8]) -> usize) -> Result<bool> {
        with(|host, now| host.tcp_receive(socket, f, now))
    }

    #[inline]
    fn tcp_send(&self, socket: SocketId, bytes: &[u8]) -> Result<usize> {
        with(|host, now| host.tcp_send(socket, bytes, now))
    }

    #[inline]
    fn tcp_send_buffers(&self, socket: SocketId, buffers: &mut VecDeque<Bytes>) -> Result<usize> {
        with(|host, now| host.tcp_send_buffers(socket, buffers, now))
    }

    fn tcp_shutdown_write(&self, socket: SocketId) -> Result<()> {
        with(|host, now| host.tcp_shutdown_write(socket, now))
    }

    fn tcp_set(&self, socket: SocketId, option: TcpOption) -> Result<()> {
        let result = with(|host, _| host.tcp_set(socket, option, now()));
        // A new timer may be earlier than the engine's.
        part().wake_engine();
        result
    }

    fn tcp_queued(&self, socket: SocketId) -> Result<(usize, usize)> {
        part().host.tcp_queued(socket)
    }

    fn tcp_abort(&self, socket: SocketId) {
        with(|host, _| host.tcp_abort(socket, now()));
        part().wake_engine();
    }

    fn udp_bind(&self, address: SocketAddr) -> Result<SocketId> {
        part().host.udp_bind(address)
    }

    fn udp_send(&self, socket: SocketId, bytes: &[u8], to: SocketAddr) -> Result<()> {
        let part = part();
        let result = part.host.udp_send(socket, bytes, to, now());
        // Also for the doorbell, and for a hardware address to be asked for.
        if !part.scheduled.get() {
            part.wake_engine();
        }
        result
    }

    fn udp_receive(&self, socket: SocketId, f: &mut dyn FnMut(&[u8], SocketAddr)) -> Result<()> {
        part().host.udp_receive(socket, f)
    }

    fn local_address(&self, socket: SocketId) -> Result<SocketAddr> {
        part().host.local_address(socket)
    }

    fn peer_address(&self, socket: SocketId) -> Result<SocketAddr> {
        part().host.peer_address(socket)
    }

    fn readiness(&self, socket: SocketId) -> Ready {
        part().host.readiness(socket)
    }

    #[inline]
    fn register(&self, socket: SocketId, interest: Interest, waker: &Waker) {
        part().host.register(socket, interest, waker);
    }

    fn take_error(&self, socket: SocketId) -> Option<Error> {
        part().host.take_error(socket)
    }

    fn close(&self, socket: SocketId) {
        with(|host, _| host.close(socket, now()));
        // Also for the timers of what lingers, and for a reset's doorbell.
        part().wake_engine();
    }

    fn configuration(&self) -> Configuration {
        part().shared.configuration.lock().clone()
    }

    fn register_configuration(&self, waker: &Waker) {
        part().configured.borrow_mut().add(waker);
    }
}
