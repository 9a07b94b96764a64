//! Groups that datagram sockets hear (multicast): `IP_ADD_MEMBERSHIP` and its kin.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::object::{
    Objects,
    env::Env,
    errno::{Errno, Result},
    interfaces::{self, LO},
    kind::socket::{
        SocketId, SocketKind,
        option::{IP, IPV6},
    },
};

/// Most groups of one socket (Linux' `igmp_max_memberships`).
const MAX_GROUPS: usize = 20;

const IP_MULTICAST_IF: u32 = 32;
const IP_ADD_MEMBERSHIP: u32 = 35;
const IP_DROP_MEMBERSHIP: u32 = 36;
const MCAST_JOIN_GROUP: u32 = 42;
const MCAST_LEAVE_GROUP: u32 = 45;
const IPV6_JOIN_GROUP: u32 = 20;
const IPV6_LEAVE_GROUP: u32 = 21;

/// Whether an option is one of those here.
pub(super) fn is_known(level: u32, name: u32) -> bool {
    match level {
        IP => {
            matches!(
                name,
                IP_MULTICAST_IF | IP_ADD_MEMBERSHIP | IP_DROP_MEMBERSHIP
            ) || matches!(name, MCAST_JOIN_GROUP | MCAST_LEAVE_GROUP)
        }
        IPV6 => matches!(
            name,
            IPV6_JOIN_GROUP | IPV6_LEAVE_GROUP | MCAST_JOIN_GROUP | MCAST_LEAVE_GROUP
        ),
        _ => false,
    }
}

fn word(bytes: &[u8], at: usize) -> Result<u32> {
    let word = bytes.get(at..at + 4).and_then(|w| w.try_into().ok());
    word.map(u32::from_le_bytes).ok_or(Errno::EINVAL)
}

fn v4(bytes: &[u8], at: usize) -> Result<IpAddr> {
    Ok(Ipv4Addr::from(word(bytes, at)?.to_le_bytes()).into())
}

fn v6(bytes: &[u8], at: usize) -> Result<IpAddr> {
    let octets = bytes.get(at..at + 16).and_then(|b| b.try_into().ok());
    let octets: [u8; 16] = octets.ok_or(Errno::EINVAL)?;
    Ok(Ipv6Addr::from(octets).into())
}

/// `struct ip_mreqn`, or a part of it, from the interface's address on: the interface's number.
fn interface_v4(env: &dyn Env, bytes: &[u8], at: usize) -> Result<u32> {
    match word(bytes, at + 4) {
        Ok(index) if index != 0 => Ok(index),
        _ => interfaces::index_of(env, v4(bytes, at)?).ok_or(Errno::ENODEV),
    }
}

/// `struct group_req`: the interface's number and the group.
fn group_req(bytes: &[u8]) -> Result<(IpAddr, u32)> {
    let family = word(bytes, 8)? as u16;
    let group = match family {
        2 => v4(bytes, 12)?,
        10 => v6(bytes, 16)?,
        _ => return Err(Errno::EADDRNOTAVAIL),
    };
    Ok((group, word(bytes, 0)?))
}

impl Objects {
    pub(super) fn set_group_option(
        &mut self,
        env: &dyn Env,
        id: SocketId,
        (level, name): (u32, u32),
        value: &[u8],
    ) -> Result<()> {
        if self.socket(id)?.kind != SocketKind::Datagram {
            // A stream may choose an interface, which nothing comes of.
            let harmless = (level, name) == (IP, IP_MULTICAST_IF);
            return if harmless { Ok(()) } else { Err(Errno::EPROTO) };
        }
        let known = |index: u32| match interfaces::all(env).iter().any(|i| i.index == index) {
            true => Ok(index),
            false if index == 0 => Ok(0),
            false => Err(Errno::ENODEV),
        };
        if (level, name) == (IP, IP_MULTICAST_IF) {
            let index = match value.len() {
                12.. => interface_v4(env, value, 4)?,
                8.. => interfaces::index_of(env, v4(value, 4)?).ok_or(Errno::EADDRNOTAVAIL)?,
                _ => interfaces::index_of(env, v4(value, 0)?).ok_or(Errno::EADDRNOTAVAIL)?,
            };
            let index = known(index)?;
            let values = &mut self.socket_mut(id)?.options.values;
            values.insert((level, name), index as i32);
            return Ok(());
        }
        let (group, index) = match (level, name) {
            (_, MCAST_JOIN_GROUP | MCAST_LEAVE_GROUP) => group_req(value)?,
            (IP, _) => (v4(value, 0)?, interface_v4(env, value, 4)?),
            _ => (v6(value, 0)?, word(value, 16)?),
        };
        if !group.is_multicast() {
            return Err(Errno::EINVAL);
        }
        let index = known(index)?;
        let enter = matches!(name, IP_ADD_MEMBERSHIP | IPV6_JOIN_GROUP | MCAST_JOIN_GROUP)
            && !(level == IPV6 && name == IP_ADD_MEMBERSHIP);
        match enter {
            true => self.enter_group(env, id, group, index),
            false => self.leave_group(env, id, group, index),
        }
    }

    fn enter_group(
        &mut self,
        env: &dyn Env,
        id: SocketId,
        group: IpAddr,
        index: u32,
    ) -> Result<()> {
        let socket = self.socket_mut(id)?;
        if socket.groups.contains(&(group, index)) {
            return Err(Errno::EADDRINUSE);
        }
        if socket.groups.len() >= MAX_GROUPS {
            return Err(Errno::ENOBUFS);
        }
        let already = socket.groups.iter().any(|(g, i)| *g == group && *i != LO);
        socket.groups.push((group, index));
        let net = socket.net;
        match (net, env.network()) {
            (Some(net), Some(network)) if index != LO && !already => {
                network.set_member(net, group, true).inspect_err(|_| {
                    if let Ok(socket) = self.socket_mut(id) {
                        socket.groups.pop();
                    }
                })
            }
            _ => Ok(()),
        }
    }

    fn leave_group(
        &mut self,
        env: &dyn Env,
        id: SocketId,
        group: IpAddr,
        index: u32,
    ) -> Result<()> {
        let socket = self.socket_mut(id)?;
        let which = |(g, i): &(IpAddr, u32)| *g == group && (index == 0 || *i == index);
        let known = socket.groups.iter().position(which);
        let (_, was) = socket.groups.remove(known.ok_or(Errno::EADDRNOTAVAIL)?);
        let stays = socket.groups.iter().any(|(g, i)| *g == group && *i != LO);
        let net = socket.net;
        match (net, env.network()) {
            (Some(net), Some(network)) if was != LO && !stays => {
                network.set_member(net, group, false)
            }
            _ => Ok(()),
        }
    }

    /// Who hears what is sent to a group by the loopback interface, which only its members there do.
    pub(super) fn members_within(
        &self,
        id: SocketId,
        group: IpAddr,
        port: u16,
    ) -> Option<alloc::vec::Vec<SocketId>> {
        let options = &self.socket(id).ok()?.options;
        let chosen = match group.is_ipv4() {
            true => options.get(IP, IP_MULTICAST_IF),
            false => options.get(IPV6, 17),
        };
        if chosen != Some(LO as i32) {
            return None;
        }
        let ids = self.sockets.ports.at(false, port).iter().copied();
        let hears = |id: &SocketId| {
            let socket = self.socket(*id);
            socket.is_ok_and(|s| s.groups.contains(&(group, LO)))
        };
        Some(ids.filter(hears).collect())
    }
}
