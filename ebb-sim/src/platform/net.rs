//! Sockets: TCP by the simulated network. There is no UDP.

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    task::Waker,
};

use bytes::Bytes;
use ebb_net::{
    BindAddress, Configuration, Datagram, Error, Interest, NetStack, Ready, Report, Result,
    SocketId, TcpInfo, TcpOption, UdpOption,
};
use ebb_runtime::provides;

use super::Simulated;
use crate::{
    state::address,
    world::{current_core, with_node},
};

/// Bytes of a packet, as on an Ethernet.
const MTU: usize = 1500;

#[provides(NetStack, instance = &Simulated)]
impl NetStack for Simulated {
    fn tcp_listen(&self, at: BindAddress, backlog: usize) -> Result<SocketId> {
        let core = current_core().unwrap_or(0);
        with_node(|world, node| {
            world
                .network
                .listen(&world.state, (node, core), at, backlog)
        })
    }

    fn tcp_accept(&self, listener: SocketId) -> Result<(SocketId, SocketAddr)> {
        with_node(|world, node| world.network.accept(node, listener))
    }

    fn tcp_connect(&self, _local: Option<SocketAddr>, remote: SocketAddr) -> Result<SocketId> {
        with_node(|world, node| world.network.connect(&mut world.state, node, remote))
    }

    fn tcp_connected(&self, socket: SocketId) -> Result<()> {
        with_node(|world, node| world.network.connected(node, socket))
    }

    fn tcp_receive(&self, socket: SocketId, f: &mut dyn FnMut(&[u8]) -> usize) -> Result<bool> {
        let received = with_node(|world, node| world.network.received(node, socket))?;
        let Some(bytes) = received else {
            return Ok(false);
        };
        let taken = f(&bytes);
        // Else the node's own count would keep it from going on in place.
        drop(bytes);
        with_node(|world, node| {
            world.network.consume(&mut world.state, node, socket, taken);
        });
        Ok(true)
    }

    fn tcp_send(&self, socket: SocketId, bytes: &[u8]) -> Result<usize> {
        let bytes = Bytes::copy_from_slice(bytes);
        with_node(|world, node| world.network.write(&mut world.state, node, socket, bytes))
    }

    fn tcp_send_buffers(&self, socket: SocketId, buffers: &mut VecDeque<Bytes>) -> Result<usize> {
        let mut sent = 0;
        while let Some(front) = buffers.front_mut() {
            if front.is_empty() {
                buffers.pop_front();
                continue;
            }
            let bytes = front.clone();
            let written =
                with_node(|world, node| world.network.write(&mut world.state, node, socket, bytes));
            match written {
                Ok(count) => {
                    drop(front.split_to(count));
                    sent += count;
                }
                Err(_) if sent > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(sent)
    }

    fn tcp_shutdown_write(&self, socket: SocketId) -> Result<()> {
        with_node(|world, node| world.network.shutdown_write(&mut world.state, node, socket))
    }

    /// Nothing of what can be set would be seen.
    fn tcp_set(&self, _: SocketId, _: TcpOption) -> Result<()> {
        Ok(())
    }

    fn tcp_info(&self, _: SocketId) -> Result<TcpInfo> {
        Ok(TcpInfo::default())
    }

    fn queued(&self, socket: SocketId) -> Result<(usize, usize)> {
        with_node(|world, node| world.network.queued(node, socket))
    }

    fn tcp_abort(&self, socket: SocketId) {
        with_node(|world, node| world.network.close(&mut world.state, node, socket, true));
    }

    fn udp_bind(&self, _: BindAddress, _: bool) -> Result<SocketId> {
        Err(Error::Unsupported)
    }

    fn udp_connect(&self, _: SocketId, _: Option<SocketAddr>) -> Result<()> {
        Err(Error::Unsupported)
    }

    fn udp_send(&self, _: SocketId, _: &[u8], _: SocketAddr, _: Option<IpAddr>) -> Result<()> {
        Err(Error::Unsupported)
    }

    fn udp_receive(&self, _: SocketId, _: bool, _: &mut dyn FnMut(&Datagram<'_>)) -> Result<()> {
        Err(Error::Unsupported)
    }

    fn udp_set(&self, _: SocketId, _: UdpOption) -> Result<()> {
        Err(Error::Unsupported)
    }

    fn udp_take_report(&self, _: SocketId) -> Option<Report> {
        None
    }

    fn local_address(&self, socket: SocketId) -> Result<SocketAddr> {
        with_node(|world, node| world.network.address(node, socket, false))
    }

    fn peer_address(&self, socket: SocketId) -> Result<SocketAddr> {
        with_node(|world, node| world.network.address(node, socket, true))
    }

    fn readiness(&self, socket: SocketId) -> Ready {
        with_node(|world, node| world.network.readiness(node, socket))
    }

    fn register(&self, socket: SocketId, interest: Interest, waker: &Waker) {
        with_node(|world, node| {
            if let Some(waiting) = world.network.waiting(node, socket) {
                waiting.add(interest, waker);
            }
        });
    }

    fn take_error(&self, socket: SocketId) -> Option<Error> {
        with_node(|world, node| world.network.take_error(node, socket))
    }

    /// A socket that has left its node ends with the node.
    fn close(&self, socket: SocketId) {
        if current_core().is_none() {
            return;
        }
        with_node(|world, node| world.network.close(&mut world.state, node, socket, false));
    }

    fn path_mtu(&self, _: IpAddr) -> usize {
        MTU
    }

    fn configuration(&self) -> Configuration {
        with_node(|_, node| Configuration {
            addresses: vec![(address(node).into(), 16)],
            mtu: MTU,
            settled_v4: true,
            settled_v6: true,
            ..Configuration::default()
        })
    }

    /// It does not change.
    fn register_configuration(&self, _: &Waker) {}
}
