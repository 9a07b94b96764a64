//! The provider of [`NetStack`] on a machine of its own, and what it counts.

use alloc::collections::VecDeque;
use core::{
    net::{IpAddr, SocketAddr},
    task::Waker,
};

use bytes::Bytes;
use ebb::{EbbRef, provides};
use ebb_net::{
    BindAddress, Configuration, Datagram, Error, Interest, NetStack, Ready, Report, Result,
    SocketId, TcpInfo, TcpOption, UdpOption,
};

use crate::{
    engine::{CoreNet, now_ns},
    host::{Host, Stats},
    virtio::net::DeviceLink,
};

/// What a core's network has counted.
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

/// The first device, if there is one.
#[must_use]
pub fn device() -> Option<DeviceStats> {
    let device = core_net().host.link.first()?;
    Some(DeviceStats {
        pairs: device.pairs(),
        vectors: device.transport.vectors(),
        features: device.features(),
    })
}

/// The counters of this core.
#[must_use]
pub fn stats() -> CoreNetStats {
    let net = core_net();
    CoreNetStats {
        stack: net.host.stats(),
        interrupts: net.line.count.get(),
        doorbells: net.host.link.doorbells(),
    }
}

/// The provider of [`NetStack`] on a machine of its own.
struct Native;

#[inline(always)]
fn core_net() -> &'static CoreNet {
    EbbRef::<CoreNet>::get()
}

/// Runs an operation, and has the engine send what came of it. The time is that of the engine's last round.
#[inline(always)]
fn with<R>(f: impl FnOnce(&Host<DeviceLink>, u64) -> R) -> R {
    let net = core_net();
    let result = f(&net.host, net.round_at_ns.get());
    net.schedule();
    result
}

#[provides(NetStack, instance = &Native)]
impl NetStack for Native {
    fn tcp_listen(&self, at: BindAddress, backlog: usize) -> Result<SocketId> {
        core_net().host.tcp_listen(at, backlog)
    }

    #[inline]
    fn tcp_accept(&self, listener: SocketId) -> Result<(SocketId, SocketAddr)> {
        core_net().host.tcp_accept(listener)
    }

    fn tcp_connect(&self, local: Option<SocketAddr>, remote: SocketAddr) -> Result<SocketId> {
        with(|host, _| host.tcp_connect(local, remote, now_ns()))
    }

    fn tcp_connected(&self, socket: SocketId) -> Result<()> {
        core_net().host.tcp_connected(socket)
    }

    #[inline]
    fn tcp_receive(&self, socket: SocketId, f: &mut dyn FnMut(&[u8]) -> usize) -> Result<bool> {
        with(|host, now_ns| host.tcp_receive(socket, f, now_ns))
    }

    #[inline]
    fn tcp_send(&self, socket: SocketId, bytes: &[u8]) -> Result<usize> {
        with(|host, now_ns| host.tcp_send(socket, bytes, now_ns))
    }

    #[inline]
    fn tcp_send_buffers(&self, socket: SocketId, buffers: &mut VecDeque<Bytes>) -> Result<usize> {
        with(|host, now_ns| host.tcp_send_buffers(socket, buffers, now_ns))
    }

    fn tcp_shutdown_write(&self, socket: SocketId) -> Result<()> {
        with(|host, now_ns| host.tcp_shutdown_write(socket, now_ns))
    }

    fn tcp_set(&self, socket: SocketId, option: TcpOption) -> Result<()> {
        let result = with(|host, _| host.tcp_set(socket, option, now_ns()));
        // A new timer may be earlier than the engine's.
        core_net().wake_engine();
        result
    }

    fn tcp_info(&self, socket: SocketId) -> Result<TcpInfo> {
        core_net().host.tcp_info(socket, now_ns())
    }

    fn queued(&self, socket: SocketId) -> Result<(usize, usize)> {
        core_net().host.queued(socket)
    }

    fn tcp_abort(&self, socket: SocketId) {
        with(|host, _| host.tcp_abort(socket, now_ns()));
        core_net().wake_engine();
    }

    fn udp_bind(&self, at: BindAddress, shared: bool) -> Result<SocketId> {
        core_net().host.udp_bind(at, shared)
    }

    fn udp_connect(&self, socket: SocketId, peer: Option<SocketAddr>) -> Result<()> {
        core_net().host.udp_connect(socket, peer)
    }

    fn udp_send(
        &self,
        socket: SocketId,
        bytes: &[u8],
        to: SocketAddr,
        from: Option<IpAddr>,
    ) -> Result<()> {
        let net = core_net();
        let result = net.host.udp_send(socket, bytes, to, from, now_ns());
        // Also for the doorbell, and for a hardware address to be asked for.
        if !net.scheduled.get() {
            net.wake_engine();
        }
        result
    }

    fn udp_receive(
        &self,
        socket: SocketId,
        peek: bool,
        f: &mut dyn FnMut(&Datagram<'_>),
    ) -> Result<()> {
        core_net().host.udp_receive(socket, peek, f)
    }

    fn udp_set(&self, socket: SocketId, option: UdpOption) -> Result<()> {
        core_net().host.udp_set(socket, option)
    }

    fn udp_take_report(&self, socket: SocketId) -> Option<Report> {
        core_net().host.udp_take_report(socket)
    }

    fn local_address(&self, socket: SocketId) -> Result<SocketAddr> {
        core_net().host.local_address(socket)
    }

    fn peer_address(&self, socket: SocketId) -> Result<SocketAddr> {
        core_net().host.peer_address(socket)
    }

    fn readiness(&self, socket: SocketId) -> Ready {
        core_net().host.readiness(socket)
    }

    #[inline]
    fn register(&self, socket: SocketId, interest: Interest, waker: &Waker) {
        core_net().host.register(socket, interest, waker);
    }

    fn take_error(&self, socket: SocketId) -> Option<Error> {
        core_net().host.take_error(socket)
    }

    fn close(&self, socket: SocketId) {
        with(|host, _| host.close(socket, now_ns()));
        // Also for the timers of what lingers, and for a reset's doorbell.
        core_net().wake_engine();
    }

    fn path_mtu(&self, to: IpAddr) -> usize {
        core_net().host.path_mtu(to, now_ns())
    }

    fn configuration(&self) -> Configuration {
        core_net().shared.configuration.lock().clone()
    }

    fn register_configuration(&self, waker: &Waker) {
        core_net().configured.borrow_mut().add(waker);
    }
}
