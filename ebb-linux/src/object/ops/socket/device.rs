//! `SO_BINDTODEVICE`: sockets that use one interface only. What stays within the UC goes over `lo`, everything
//! else over `eth0`.

use alloc::vec::Vec;

use core::net::SocketAddr;

use crate::object::{
    Objects,
    credentials::cap,
    env::Env,
    errno::{Errno, Result},
    interfaces::{self, LO},
    kind::socket::{Socket, SocketId, SocketKind},
};

impl Socket {
    /// Whether it uses an interface.
    pub(super) fn uses(&self, index: u32) -> bool {
        matches!(self.options.device, 0) || self.options.device == index
    }

    /// Whether it uses one that leads out.
    pub(super) fn leads_out(&self) -> bool {
        self.options.device != LO
    }
}

impl Objects {
    /// Keeps a socket to the interface of that name; an empty one means all.
    ///
    /// # Errors
    /// `ENODEV`; `EPERM` when it is kept to one already.
    pub(super) fn bind_to_device(
        &mut self,
        env: &dyn Env,
        id: SocketId,
        name: &[u8],
    ) -> Result<()> {
        let name = name.split(|b| *b == 0).next().unwrap_or_default();
        let all = interfaces::all(env);
        let index = match name {
            [] => 0,
            name => {
                let found = all.iter().find(|i| i.name.as_bytes() == name);
                found.map(|i| i.index).ok_or(Errno::ENODEV)?
            }
        };
        self.bind_to_index(env, id, index as i32)
    }

    /// The same by the interface's number (`SO_BINDTOIFINDEX`).
    ///
    /// # Errors
    /// `EINVAL` for a number below 0, else as [`bind_to_device`](Self::bind_to_device).
    pub(super) fn bind_to_index(&mut self, env: &dyn Env, id: SocketId, index: i32) -> Result<()> {
        let index = u32::try_from(index).map_err(|_| Errno::EINVAL)?;
        let socket = self.socket_mut(id)?;
        if socket.options.device != 0 && !env.process().credentials().has(cap::NET_RAW) {
            return Err(Errno::EPERM);
        }
        socket.options.device = index;
        // What hears datagrams from outside does so no longer, or again.
        if socket.kind == SocketKind::Datagram {
            match (index, socket.net) {
                (LO, Some(net)) => {
                    socket.net = None;
                    self.sockets.net.remove(&net);
                    self.sockets.net_closed.push(net);
                }
                (_, None) => self.bind_outside(env, id)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Where a connection of a socket that is kept to an interface comes from: the way is that of the address.
    pub(super) fn device_source(
        &self,
        env: &dyn Env,
        id: SocketId,
        to: SocketAddr,
    ) -> Option<SocketAddr> {
        let index = self.socket(id).ok()?.options.device;
        let all = interfaces::all(env);
        let kept = all.iter().find(|i| index != 0 && i.index == index)?;
        let is_v4 = to.ip().to_canonical().is_ipv4();
        let mut own = kept.addresses.iter().map(|(ip, _)| *ip);
        let ip = own.find(|ip| ip.is_ipv4() == is_v4)?;
        Some(SocketAddr::new(ip, 0))
    }

    /// The name of the interface that a socket is kept to; nothing for none.
    ///
    /// # Errors
    /// `EINVAL` when there is no room for any name.
    pub(super) fn device_of(&self, env: &dyn Env, id: SocketId, room: usize) -> Result<Vec<u8>> {
        const NAME_ROOM: usize = 16;
        let index = self.socket(id)?.options.device;
        if index == 0 {
            return Ok(Vec::new());
        }
        if room < NAME_ROOM {
            return Err(Errno::EINVAL);
        }
        let all = interfaces::all(env);
        let found = all.iter().find(|i| i.index == index);
        let name = found.ok_or(Errno::ENODEV)?.name;
        Ok([name.as_bytes(), &[0]].concat())
    }
}
