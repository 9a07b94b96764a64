//! The stack on a machine of its own: a host per core, virtio-net, and the task that drives both.
//!
//! The first use of the network, on whatever core, finds the devices and starts every core's `CoreNet`. Each core then has
//! one *engine* task. Once round, it sends what sockets have, takes at most `BUDGET` frames from its queue of each card, does what is
//! due, and goes to the end of the run queue: so the tasks that the frames have woken run before the next
//! round sends their answers, together and with one doorbell. When a round found nothing it asks for an
//! interrupt and sleeps; while frames keep coming there are none (the idea of NAPI).
//!
//! What must hold: nothing in an engine's round waits, and its work is bounded.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::{
    cell::{Cell, RefCell},
    future::poll_fn,
    pin::Pin,
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll, Waker},
};

use ebb::{
    EbbRef, FromRoot, core_count, cores, current_core, ebb,
    platform::{Clock, Console, Entropy, Environment, Hardware},
    spawn, spawn_on,
    sync::queue::{self, Receiver as MailReceiver},
    time::{Instant, Sleep, sleep_until},
};
use spin::Mutex;

use crate::{
    address::Address,
    control::Control,
    host::{CONTROL, Host, Limits},
    shared::{Message, Secret, Shared},
    virtio::net::{Device, DeviceLink, Receiver},
};
use ebb_net::{Configuration, WakerSet};
use ebb_virtio::{
    Dma,
    bus::{Transport, find},
};

/// Frames taken from a queue in one round.
const BUDGET: usize = 64;
/// Messages that wait for a core.
const MAILBOX: usize = 1024;
/// Messages taken in one event.
const MAIL_BUDGET: usize = 64;
/// When a full device is tried again.
const TRY_AGAIN_NS: u64 = 50_000;
/// How often to check whether the device has sent what it was given.
const RECLAIM_NS: u64 = 10_000_000;
/// How often a device that cannot interrupt is polled.
const POLL_NS: u64 = 1_000_000;
/// Cards that are used.
const MAX_CARDS: usize = 8;
/// virtio's number for network devices.
const NETWORK: u16 = 1;

ebb::option!("ip", Address::TAKES, |value| Address::parse_list(value)
    .is_ok());
ebb::option!("router", "the number of a network card, from 0", |value| {
    value.parse::<u8>().is_ok()
});

pub(crate) fn now_ns() -> u64 {
    EbbRef::<dyn Clock>::get().now_ns()
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    EbbRef::<dyn Entropy>::get().fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

/// What each core's `CoreNet` is made from.
pub(crate) struct Root {
    shared: Arc<Shared>,
    devices: Vec<Arc<Device>>,
    mail: Mutex<Vec<Option<MailReceiver<Message>>>>,
    addresses: Vec<Address>,
    started: AtomicBool,
}

impl Default for Root {
    fn default() -> Self {
        let cores = core_count();
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..cores)
            .map(|_| queue::queue(MAILBOX))
            .map(|(sender, receiver)| (sender, Some(receiver)))
            .unzip();
        let option = |name| EbbRef::<dyn Environment>::get().option(name);
        // The platform has refused what does not parse.
        let addresses = Address::parse_list(option("ip").unwrap_or("dhcp")).unwrap_or_default();
        let default = option("router").and_then(|card| card.parse().ok());
        let shared = Arc::new(Shared::new(Secret(random(), random()), senders));
        let devices = find_devices(cores);
        shared.set_cards(devices.len(), default.unwrap_or(0));
        if devices.is_empty() {
            // There is nothing to wait for.
            let settled = Configuration {
                settled_v4: true,
                settled_v6: true,
                ..Configuration::default()
            };
            shared.configure(0, settled);
        }
        Self {
            shared,
            devices,
            mail: Mutex::new(receivers),
            addresses,
            started: AtomicBool::new(false),
        }
    }
}

/// A machine without a card that can be used has a network all the same, of its own addresses only; so it is said.
fn tell_of_no_device() {
    /// The base class of network controllers (PCI Code and ID Assignment Specification).
    const NETWORK_CLASS: u32 = 0x02;
    let functions = EbbRef::<dyn Hardware>::get().pci_functions().iter();
    let mut others = functions
        .filter(|f| f.class >> 24 == NETWORK_CLASS)
        .peekable();
    if others.peek().is_none() {
        return ebb::inform!(
            "ebb: there is no network card, so the network ends at this machine; virtio-net is what can be used"
        );
    }
    for f in others {
        EbbRef::<dyn Console>::get().note(&alloc::format!(
            "ebb: the network card {:04x}:{:04x} at PCI {:02x}:{:02x}.{} cannot be used, so the network ends at this machine; \
             virtio-net (-device virtio-net-pci) can",
            f.vendor, f.device, f.address.bus, f.address.device, f.address.function
        ));
    }
}

/// The network devices that work, at most [`MAX_CARDS`]; those beyond are named.
fn find_devices(cores: usize) -> Vec<Arc<Device>> {
    let dma = Dma::of_machine();
    let mut devices = Vec::new();
    let mut others = Vec::new();
    for at in find(NETWORK) {
        if devices.len() >= MAX_CARDS {
            others.push(alloc::format!("{at}"));
            continue;
        }
        match Transport::new(at).and_then(|transport| Device::new(transport, dma, cores)) {
            Ok(device) => {
                device.start();
                devices.push(Arc::new(device));
            }
            Err(fault) => ebb::inform!("ebb: the network device at {at} is not used: {fault}"),
        }
    }
    if devices.is_empty() {
        tell_of_no_device();
    }
    if !others.is_empty() {
        ebb::inform!(
            "ebb: {MAX_CARDS} network cards are used; not used: {}",
            others.join(", ")
        );
    }
    devices
}

/// What an interrupt wakes. Touched only by its core, outside of events or within them, never both.
#[derive(Default)]
pub(crate) struct InterruptLine {
    waker: RefCell<Option<Waker>>,
    pub(crate) count: Cell<u64>,
    /// All cards that this core receives from have it.
    bound: Cell<bool>,
}

fn interrupt(argument: usize) {
    // SAFETY: `argument` is a `InterruptLine` that `CoreNet::bind` leaked; this runs on its core, outside of any event.
    let line: &InterruptLine = unsafe { &*core::ptr::with_exposed_provenance(argument) };
    line.count.set(line.count.get() + 1);
    if let Ok(waker) = line.waker.try_borrow()
        && let Some(waker) = &*waker
    {
        waker.wake_by_ref();
    }
}

/// One core's network: its stack, and what drives it.
#[ebb(per_core, root = Root)]
pub(crate) struct CoreNet {
    pub(crate) host: Host<DeviceLink>,
    pub(crate) shared: Arc<Shared>,
    /// By card; none where another core receives, or the device is broken.
    receivers: RefCell<Vec<Option<Receiver>>>,
    /// By card, on the core of the slow path.
    controls: RefCell<Vec<Control>>,
    control_at_ns: Cell<u64>,
    pub(crate) line: &'static InterruptLine,
    engine: RefCell<Option<Waker>>,
    /// The engine will run.
    pub(crate) scheduled: Cell<bool>,
    /// The engine has taken frames, and the tasks that they woke run next.
    took: Cell<bool>,
    /// When the engine last ran: near enough for what does not set a timer, and cheaper than the clock.
    pub(crate) round_at_ns: Cell<u64>,
    sleep: RefCell<Option<(u64, Pin<Box<Sleep>>)>>,
    pub(crate) configured: RefCell<WakerSet>,
}

impl FromRoot<Root> for CoreNet {
    fn from_root(root: Arc<Root>, _: EbbRef<Self>) -> Self {
        let core = current_core().number();
        let pair = |device: &Device| if core < device.pairs() { core } else { 0 };
        let devices = root.devices.iter();
        let link = DeviceLink::new(devices.map(|device| (Arc::clone(device), pair(device))));
        let host = Host::new(
            Arc::clone(&root.shared),
            core,
            link,
            Limits::of(EbbRef::<dyn Hardware>::get().memory_bytes(), core_count()),
            random(),
        );
        let line: &'static InterruptLine = Box::leak(Box::default());
        line.bound.set(true);
        let receiver = |device: &Arc<Device>| {
            let receiver = device.take_receiver_of(core)?;
            let is_bound = bind(device, core, line);
            line.bound.set(line.bound.get() && is_bound);
            Some(receiver)
        };
        let receivers = root.devices.iter().map(receiver).collect();
        let controls = if core == CONTROL {
            controls(&root)
        } else {
            Vec::new()
        };
        if let Some(mail) = root.mail.lock().get_mut(core).and_then(Option::take) {
            spawn(read_mail(mail));
        }
        spawn(poll_fn(|cx| EbbRef::<CoreNet>::get().poll_once(cx)));
        if !root.started.swap(true, Ordering::AcqRel) {
            spawn(start_all(root.devices.clone()));
        }
        Self {
            host,
            shared: Arc::clone(&root.shared),
            receivers: RefCell::new(receivers),
            controls: RefCell::new(controls),
            control_at_ns: Cell::new(0),
            line,
            engine: RefCell::default(),
            scheduled: Cell::new(true),
            took: Cell::new(false),
            round_at_ns: Cell::new(now_ns()),
            sleep: RefCell::default(),
            configured: RefCell::default(),
        }
    }
}

/// What configures each card.
fn controls(root: &Root) -> Vec<Control> {
    let each = (0_u8..).zip(&root.devices).map(|(card, device)| {
        let capabilities = device.capabilities;
        let address = Address::of_card(&root.addresses, card.into());
        let link = (capabilities.mac, capabilities.mtu);
        Control::new(card, link, address, random(), now_ns())
    });
    each.collect()
}

/// Gives a queue's interrupt to this core. False when there is none.
fn bind(device: &Device, core: usize, line: &'static InterruptLine) -> bool {
    let argument = core::ptr::from_ref(line).expose_provenance();
    let is_bound = device.transport.bind(core as u16, interrupt, argument);
    if !is_bound {
        ebb::inform!(
            "ebb: the network device has no interrupt for core {core}; it is polled every millisecond"
        );
    }
    is_bound
}

/// Starts every core's `CoreNet`, and then has the devices spread flows over them.
async fn start_all(devices: Vec<Arc<Device>>) {
    for core in cores() {
        let _ = spawn_on(core, async || _ = EbbRef::<CoreNet>::get()).await;
    }
    for device in devices {
        if !device.use_all_pairs() {
            ebb::inform!("ebb: the network device refuses to use all of its queues");
        }
    }
}

/// Takes what other cores send here.
async fn read_mail(mut mail: MailReceiver<Message>) {
    while let Some(message) = mail.recv().await {
        let net = EbbRef::<CoreNet>::get();
        let now_ns = now_ns();
        net.take_message(message, now_ns);
        for _ in 0..MAIL_BUDGET {
            match mail.try_recv() {
                Ok(message) => net.take_message(message, now_ns),
                Err(_) => break,
            }
        }
        net.wake_engine();
    }
}

impl CoreNet {
    fn take_message(&self, message: Message, now_ns: u64) {
        if matches!(message, Message::Reconfigured) {
            self.control_at_ns.set(0);
            self.configured.borrow_mut().wake();
        }
        self.host.message(message, now_ns);
    }

    /// Has the engine run if there is something to send.
    #[inline]
    pub(crate) fn schedule(&self) {
        if !self.scheduled.get() && self.host.has_output() {
            self.wake_engine();
        }
    }

    pub(crate) fn wake_engine(&self) {
        self.scheduled.set(true);
        if let Some(waker) = &*self.engine.borrow() {
            waker.wake_by_ref();
        }
    }

    /// One turn of the engine; always `Pending`.
    fn poll_once(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.engine.borrow().is_none() {
            *self.engine.borrow_mut() = Some(cx.waker().clone());
            *self.line.waker.borrow_mut() = Some(cx.waker().clone());
            for receiver in self.receivers.borrow_mut().iter_mut().flatten() {
                receiver.refill(|| self.host.take_buffer());
            }
        }
        if self.took.take() && !self.host.has_output() {
            // Who answers may be a task that a woken one has woken: it, too, comes before the round that would be for nothing.
            self.scheduled.set(true);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let now_ns = now_ns();
        self.round_at_ns.set(now_ns);
        self.scheduled.set(false);
        let room = self.host.flush(now_ns);
        // What was sent just now may be answered already: to measure how long that took, the time is read again.
        let mut busy = self.receive(self::now_ns());
        self.took.set(busy);
        if self.host.next_deadline_ns().is_some_and(|at| at <= now_ns) {
            self.host.timers(now_ns);
        }
        busy |= self.slow_path(now_ns);
        if busy || room && self.host.has_output() {
            self.scheduled.set(true);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut receivers = self.receivers.borrow_mut();
        let came = |any: bool, receiver: &mut Receiver| receiver.want_interrupt() || any;
        if receivers.iter_mut().flatten().fold(false, came) {
            self.scheduled.set(true);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        drop(receivers);
        self.sleep(room, now_ns, cx);
        Poll::Pending
    }

    /// Takes frames from this core's queues. True when there were some.
    #[inline]
    fn receive(&self, now_ns: u64) -> bool {
        let mut receivers = self.receivers.borrow_mut();
        let mut any = false;
        for (card, slot) in (0_u8..).zip(receivers.iter_mut()) {
            any |= self.receive_from(card, slot, now_ns);
        }
        any
    }

    #[inline]
    fn receive_from(&self, card: u8, slot: &mut Option<Receiver>, now_ns: u64) -> bool {
        let Some(receiver) = slot else {
            return false;
        };
        let mut count = 0;
        while count < BUDGET {
            match receiver.receive() {
                Ok(Some(mut frame)) => {
                    frame.card = card;
                    self.host.input(frame, now_ns);
                }
                Ok(None) => break,
                Err(_) => {
                    ebb::inform!(
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
    fn slow_path(&self, now_ns: u64) -> bool {
        let mut controls = self.controls.borrow_mut();
        if controls.is_empty() {
            return false;
        }
        let frames = self.host.take_slow();
        let busy = !frames.is_empty();
        if !busy && self.control_at_ns.get() > now_ns {
            return false;
        }
        for frame in frames {
            if let Some(control) = controls.get_mut(usize::from(frame.card)) {
                control.input(&frame.flatten(), &self.shared, now_ns);
            }
        }
        let is_one = controls.len() == 1;
        let mut next_ns = u64::MAX;
        for (card, control) in (0_u8..).zip(controls.iter_mut()) {
            let (out, reassembled) = control.poll(&self.shared, now_ns);
            for frame in out {
                self.host.transmit_raw(card, frame);
            }
            for frame in reassembled {
                self.host.input(frame, now_ns);
            }
            for notice in control.take_notices() {
                if is_one {
                    ebb::inform!("ebb: {notice}");
                } else {
                    ebb::inform!("ebb: card {card}: {notice}");
                }
            }
            next_ns = next_ns.min(control.next_deadline_ns(now_ns));
        }
        self.host.kick();
        self.control_at_ns.set(next_ns);
        busy
    }

    /// Sets the timer of the engine.
    fn sleep(&self, room: bool, now_ns: u64, cx: &mut Context<'_>) {
        let mut next = self.host.next_deadline_ns().unwrap_or(u64::MAX);
        // No interrupt tells that frames were sent: what they refer to must not stay until the ring comes round.
        if !self.host.link.reclaim() {
            next = next.min(now_ns + RECLAIM_NS);
        }
        if !self.controls.borrow().is_empty() {
            next = next.min(self.control_at_ns.get());
        }
        if !room {
            next = next.min(now_ns + TRY_AGAIN_NS);
        }
        if !self.line.bound.get() && self.receivers.borrow().iter().any(Option::is_some) {
            next = next.min(now_ns + POLL_NS);
        }
        let mut slot = self.sleep.borrow_mut();
        if next == u64::MAX {
            *slot = None;
            return;
        }
        // An earlier timer that is still to come serves as well: the round it causes sets the next.
        if let Some((at, _)) = &*slot
            && *at <= next
            && *at > now_ns
        {
            return;
        }
        let at = Instant::now() + core::time::Duration::from_nanos(next.saturating_sub(now_ns));
        let mut sleep = Box::pin(sleep_until(at));
        if sleep.as_mut().poll(cx).is_ready() {
            self.scheduled.set(true);
            cx.waker().wake_by_ref();
        }
        *slot = Some((next, sleep));
    }
}
