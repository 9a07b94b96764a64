//! The driver of a virtio console device with several ports (VIRTIO 1.2, 5.3), above virtio-drivers' queue: its own `VirtIOConsole` has
//! one port, without a name, and waits for the device in a loop.
//!
//! Each port has a queue each way, and a pair for all of them carries messages of control: which ports there are, what they are
//! called, whether the host's side is open.
//!
//! What must hold: a buffer belongs to the driver until its chain has come back; nothing that a device says is used as a length or
//! an index without being checked; what is received and not read is in the buffers that the device was lent, so it is bounded.

use alloc::{boxed::Box, collections::VecDeque, string::String, vec::Vec};
use core::task::{Poll, Waker};

use ebb::channel::Gone;
use virtio_drivers::{Hal, transport::Transport};

use crate::{
    device::{self, Buffer, buffer},
    queue::{Broken, Guarded},
    registers::Fault,
};

/// Feature bits.
mod feature {
    pub const MULTIPORT: u64 = 1 << 1;
}

/// Messages of control (VIRTIO 1.2, 5.3.6.2).
mod event {
    pub const DEVICE_READY: u16 = 0;
    pub const DEVICE_ADD: u16 = 1;
    pub const DEVICE_REMOVE: u16 = 2;
    pub const PORT_READY: u16 = 3;
    pub const PORT_OPEN: u16 = 6;
    pub const PORT_NAME: u16 = 7;
}

/// Where the device says how many ports it may have.
const MAX_PORTS: usize = 4;
/// Ports that are used.
const PORTS: u32 = 16;
/// Descriptors of a queue.
pub const QUEUE: usize = 16;
/// Buffers that a queue is lent at once, and their size.
const BUFFERS: usize = 8;
const BUFFER: usize = 4096;
/// The longest name that is kept.
const NAME: usize = 128;
/// Messages of control that wait to be sent.
const MAX_SAID: usize = 64;

type Queue<H> = Guarded<H, Buffer, QUEUE>;

/// What has come from the host, in order.
enum Received {
    /// Bytes from `start` to `end` are not read yet.
    Data {
        buffer: Buffer,
        start: usize,
        end: usize,
    },
    /// The host has gone.
    End,
}

/// Who waits for what.
#[derive(Default)]
struct Waiting {
    connected: Option<Waker>,
    read: Option<Waker>,
    write: Option<Waker>,
}

struct PortState<H: Hal> {
    receive: Queue<H>,
    transmit: Queue<H>,
    name: String,
    /// The device has it.
    is_there: bool,
    /// The host's side is open.
    has_host: bool,
    /// Somebody holds it.
    is_taken: bool,
    received: VecDeque<Received>,
    /// Buffers to send with, and how many the device has.
    free: Vec<Buffer>,
    sending: usize,
    waiting: Waiting,
}

impl<H: Hal> PortState<H> {
    /// Between the end that the host has made and its being read nobody writes.
    fn is_connected(&self) -> bool {
        self.has_host && !self.received.iter().any(|r| matches!(r, Received::End))
    }

    fn end(&mut self) {
        // A host that comes and goes without a word is one visit: what is kept stays bounded.
        if self.has_host && !matches!(self.received.back(), Some(Received::End)) {
            self.received.push_back(Received::End);
        }
        self.has_host = false;
    }

    fn take_wakers(&mut self, wakers: &mut Vec<Waker>) {
        let Waiting {
            connected,
            read,
            write,
        } = core::mem::take(&mut self.waiting);
        wakers.extend([connected, read, write].into_iter().flatten());
    }
}

/// A console device.
pub struct Console<H: Hal, T> {
    transport: T,
    heard: Queue<H>,
    said: Queue<H>,
    /// Messages that the device has no room for yet.
    to_say: VecDeque<[u8; 8]>,
    ports: Vec<PortState<H>>,
    is_broken: bool,
}

/// A queue's numbers: of what is received and what is sent by a port.
fn queues(port: u16) -> (u16, u16) {
    match port {
        0 => (0, 1),
        n => (2 * n + 2, 2 * n + 3),
    }
}

impl<H: Hal, T: Transport> Console<H, T> {
    /// Sets a device up that was just reset; it does nothing yet.
    pub fn new(mut transport: T) -> Result<Self, Fault> {
        if device::agree(&mut transport, feature::MULTIPORT)? & feature::MULTIPORT == 0 {
            return Err("it has no ports with names");
        }
        let count: u32 = transport
            .read_config_space(MAX_PORTS)
            .map_err(|_| "its configuration is too short")?;
        let mut ports = Vec::new();
        for port in 0..count.min(PORTS) as u16 {
            let (receive, transmit) = queues(port);
            ports.push(PortState {
                receive: queue(&mut transport, receive)?,
                transmit: queue(&mut transport, transmit)?,
                name: String::new(),
                is_there: false,
                has_host: false,
                is_taken: false,
                received: VecDeque::new(),
                free: Vec::new(),
                sending: 0,
                waiting: Waiting::default(),
            });
        }
        Ok(Self {
            heard: queue(&mut transport, 2)?,
            said: queue(&mut transport, 3)?,
            transport,
            to_say: VecDeque::new(),
            ports,
            is_broken: false,
        })
    }

    /// Asks the transport something.
    pub fn transport(&self) -> &T {
        &self.transport
    }

    /// Lets the device go, which then tells of its ports.
    pub fn start(&mut self) {
        device::start(&mut self.transport);
        for _ in 0..BUFFERS {
            let _ = self.heard.lend(buffer(BUFFER));
        }
        self.heard.notify(&mut self.transport);
        self.say(0, event::DEVICE_READY, 1);
    }

    fn say(&mut self, port: u32, event: u16, value: u16) {
        let mut message = [0; 8];
        message[..4].copy_from_slice(&port.to_le_bytes());
        message[4..6].copy_from_slice(&event.to_le_bytes());
        message[6..].copy_from_slice(&value.to_le_bytes());
        if self.to_say.len() < MAX_SAID {
            self.to_say.push_back(message);
        }
        self.say_on();
    }

    fn say_on(&mut self) {
        let mut any = false;
        while self.said.has_room()
            && let Some(message) = self.to_say.pop_front()
        {
            any |= self.said.send(Box::new(message), message.len()).is_ok();
        }
        if any {
            self.said.notify(&mut self.transport);
        }
    }

    /// Takes back what the device has done. Gives those who are to be woken, and whether there is more already.
    pub fn service(&mut self, wakers: &mut Vec<Waker>) -> bool {
        if self.is_broken {
            return false;
        }
        self.each_queue(|queue| {
            queue.want_no_interrupt();
            false
        });
        if self.take_all(wakers).is_err() {
            self.give_up(wakers);
            return false;
        }
        self.each_queue(Guarded::want_interrupt)
    }

    fn each_queue(&mut self, mut f: impl FnMut(&mut Queue<H>) -> bool) -> bool {
        let mut any = f(&mut self.heard);
        any |= f(&mut self.said);
        for port in &mut self.ports {
            any |= f(&mut port.receive);
            any |= f(&mut port.transmit);
        }
        any
    }

    fn take_all(&mut self, wakers: &mut Vec<Waker>) -> Result<(), Broken> {
        while self.said.pop()?.is_some() {}
        self.say_on();
        // First what was sent, then that who sent it has gone.
        for port in &mut self.ports {
            let mut any = false;
            while let Some((buffer, length)) = port.receive.pop()? {
                let end = (length as usize).min(buffer.len());
                port.received.push_back(Received::Data {
                    buffer,
                    start: 0,
                    end,
                });
                any = true;
            }
            while let Some((buffer, _)) = port.transmit.pop()? {
                port.sending -= 1;
                port.free.push(buffer);
                any = true;
            }
            if any {
                port.take_wakers(wakers);
            }
        }
        for _ in 0..BUFFERS {
            let Some((buffer, length)) = self.heard.pop()? else {
                break;
            };
            let end = (length as usize).min(buffer.len());
            self.hear(&buffer[..end], wakers);
            let _ = self.heard.lend(buffer);
        }
        self.heard.notify(&mut self.transport);
        Ok(())
    }

    /// A message of the device.
    fn hear(&mut self, message: &[u8], wakers: &mut Vec<Waker>) {
        let Some((head, rest)) = message.split_first_chunk::<8>() else {
            return;
        };
        let [a, b, c, d, e, f, g, h] = *head;
        let number = u32::from_le_bytes([a, b, c, d]);
        let (event, value) = (u16::from_le_bytes([e, f]), u16::from_le_bytes([g, h]));
        let Some(port) = self.ports.get_mut(number as usize) else {
            return;
        };
        match event {
            event::DEVICE_ADD if !port.is_there => {
                port.is_there = true;
                if port.free.is_empty() && port.sending == 0 {
                    for _ in 0..BUFFERS {
                        let _ = port.receive.lend(buffer(BUFFER));
                        port.free.push(buffer(BUFFER));
                    }
                    port.receive.notify(&mut self.transport);
                }
                self.say(number, event::PORT_READY, 1);
                return;
            }
            event::DEVICE_REMOVE => {
                port.end();
                port.is_there = false;
                port.name.clear();
            }
            event::PORT_NAME => {
                let name = rest.split(|b| *b == 0).next().unwrap_or_default();
                let name = &name[..name.len().min(NAME)];
                port.name = String::from_utf8_lossy(name).into_owned();
            }
            event::PORT_OPEN if value == 0 => port.end(),
            event::PORT_OPEN => port.has_host = true,
            _ => {}
        }
        port.take_wakers(wakers);
    }

    /// The device breaks its protocol: what it was lent is neither freed nor touched again.
    fn give_up(&mut self, wakers: &mut Vec<Waker>) {
        self.is_broken = true;
        let is_reset = device::reset(&mut self.transport);
        self.each_queue(|queue| {
            queue.give_up(is_reset);
            false
        });
        for port in &mut self.ports {
            port.end();
            port.take_wakers(wakers);
        }
    }

    /// Whether the device was given up.
    pub fn is_broken(&self) -> bool {
        self.is_broken
    }

    // --- What the holder of a port does -----------------------------------------------------------

    /// Takes the port of a name, if nobody has it.
    pub fn take(&mut self, name: &str) -> Option<usize> {
        let is_usable = !self.is_broken;
        let is_it = |p: &PortState<H>| is_usable && p.is_there && !p.is_taken && p.name == name;
        let number = self.ports.iter().position(is_it)?;
        self.ports[number].is_taken = true;
        self.say(number as u32, event::PORT_OPEN, 1);
        Some(number)
    }

    /// Gives a port up.
    pub fn release(&mut self, number: usize) {
        self.ports[number].is_taken = false;
        self.say(number as u32, event::PORT_OPEN, 0);
    }

    /// Gives a received buffer back to the device.
    fn give_back(&mut self, number: usize, buffer: Buffer) {
        let port = &mut self.ports[number];
        let _ = port.receive.lend(buffer);
        port.receive.notify(&mut self.transport);
    }

    pub fn poll_connected(&mut self, number: usize, waker: &Waker) -> Poll<()> {
        while let Some(last) = self.ports[number]
            .received
            .iter()
            .rposition(|r| matches!(r, Received::End))
        {
            let old: Vec<_> = self.ports[number].received.drain(..=last).collect();
            for received in old {
                if let Received::Data { buffer, .. } = received {
                    self.give_back(number, buffer);
                }
            }
        }
        let port = &mut self.ports[number];
        if port.has_host {
            return Poll::Ready(());
        }
        port.waiting.connected = Some(waker.clone());
        Poll::Pending
    }

    pub fn poll_read(&mut self, number: usize, waker: &Waker, into: &mut [u8]) -> Poll<usize> {
        loop {
            let port = &mut self.ports[number];
            let Some(Received::Data { buffer, start, end }) = port.received.front_mut() else {
                break;
            };
            let n = into.len().min(*end - *start);
            into[..n].copy_from_slice(&buffer[*start..*start + n]);
            *start += n;
            if start == end
                && let Some(Received::Data { buffer, .. }) = port.received.pop_front()
            {
                self.give_back(number, buffer);
            }
            // An empty one is passed over.
            if n > 0 || into.is_empty() {
                return Poll::Ready(n);
            }
        }
        let port = &mut self.ports[number];
        if port.received.pop_front().is_some() || !port.has_host {
            return Poll::Ready(0);
        }
        port.waiting.read = Some(waker.clone());
        Poll::Pending
    }

    pub fn poll_write(
        &mut self,
        number: usize,
        waker: &Waker,
        bytes: &[u8],
    ) -> Poll<Result<usize, Gone>> {
        let port = &mut self.ports[number];
        if !port.is_connected() {
            return Poll::Ready(Err(Gone));
        }
        let n = bytes.len().min(BUFFER);
        if n == 0 {
            return Poll::Ready(Ok(0));
        }
        let Some(mut buffer) = port.free.pop() else {
            port.waiting.write = Some(waker.clone());
            return Poll::Pending;
        };
        buffer[..n].copy_from_slice(&bytes[..n]);
        match port.transmit.send(buffer, n) {
            Ok(()) => {
                port.sending += 1;
                port.transmit.notify(&mut self.transport);
                Poll::Ready(Ok(n))
            }
            Err(buffer) => {
                port.free.push(buffer);
                port.waiting.write = Some(waker.clone());
                Poll::Pending
            }
        }
    }

    pub fn poll_flush(&mut self, number: usize, waker: &Waker) -> Poll<Result<(), Gone>> {
        let port = &mut self.ports[number];
        if !port.is_connected() {
            return Poll::Ready(Err(Gone));
        }
        if port.sending == 0 {
            return Poll::Ready(Ok(()));
        }
        port.waiting.write = Some(waker.clone());
        Poll::Pending
    }
}

fn queue<H: Hal>(transport: &mut impl Transport, number: u16) -> Result<Queue<H>, Fault> {
    Guarded::new(transport, number)
        .map_err(|_| "a queue is missing or has fewer than 16 descriptors")
}

#[cfg(test)]
#[path = "console_tests.rs"]
mod tests;
