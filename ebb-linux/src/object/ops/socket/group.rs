//! Groups that datagram sockets hear (multicast): `IP_ADD_MEMBERSHIP` and its kin, and whom they hear there:
//! `IP_ADD_SOURCE_MEMBERSHIP` and its kin.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::object::{
    Objects,
    env::{Env, NetSocket},
    errno::{Errno, Result},
    interfaces::{self, LO},
    kind::socket::{
        Member, SocketId, SocketKind,
        option::{IP, IPV6},
    },
};

/// Most groups of one socket (Linux' `igmp_max_memberships`).
const MAX_GROUPS: usize = 20;

const IP_MULTICAST_IF: u32 = 32;
const IP_ADD_MEMBERSHIP: u32 = 35;
const IP_DROP_MEMBERSHIP: u32 = 36;
const IP_UNBLOCK_SOURCE: u32 = 37;
const IP_BLOCK_SOURCE: u32 = 38;
const IP_ADD_SOURCE_MEMBERSHIP: u32 = 39;
const IP_DROP_SOURCE_MEMBERSHIP: u32 = 40;
const MCAST_JOIN_GROUP: u32 = 42;
const MCAST_BLOCK_SOURCE: u32 = 43;
const MCAST_UNBLOCK_SOURCE: u32 = 44;
const MCAST_LEAVE_GROUP: u32 = 45;
const MCAST_JOIN_SOURCE_GROUP: u32 = 46;
const MCAST_LEAVE_SOURCE_GROUP: u32 = 47;
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
                || Change::of(level, name).is_some()
        }
        IPV6 => {
            matches!(name, IPV6_JOIN_GROUP | IPV6_LEAVE_GROUP)
                || matches!(name, MCAST_JOIN_GROUP | MCAST_LEAVE_GROUP)
                || Change::of(level, name).is_some()
        }
        _ => false,
    }
}

/// What becomes of the list of senders of a group.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    /// Hears one more; the socket becomes a member.
    Join,
    /// Hears one less; with the last it is no member any more.
    Leave,
    /// Hears all but one more.
    Block,
    /// Hears one again.
    Unblock,
}

impl Change {
    fn of(level: u32, name: u32) -> Option<Self> {
        Some(match (level, name) {
            (IP, IP_ADD_SOURCE_MEMBERSHIP) | (_, MCAST_JOIN_SOURCE_GROUP) => Self::Join,
            (IP, IP_DROP_SOURCE_MEMBERSHIP) | (_, MCAST_LEAVE_SOURCE_GROUP) => Self::Leave,
            (IP, IP_BLOCK_SOURCE) | (_, MCAST_BLOCK_SOURCE) => Self::Block,
            (IP, IP_UNBLOCK_SOURCE) | (_, MCAST_UNBLOCK_SOURCE) => Self::Unblock,
            _ => return None,
        })
    }

    /// Whether it concerns a list of those who are heard.
    const fn only(self) -> bool {
        matches!(self, Self::Join | Self::Leave)
    }
}

/// The most senders in a list (Linux' `igmp_max_msf` and `mld_max_msf`).
const fn max_senders(group: IpAddr) -> usize {
    if group.is_ipv4() { 10 } else { 64 }
}

/// Bytes of the structure that an option takes.
const fn shortest(level: u32, name: u32) -> usize {
    match (level, name) {
        (IP, IP_ADD_MEMBERSHIP | IP_DROP_MEMBERSHIP) => 8,
        (IP, IP_UNBLOCK_SOURCE..=IP_DROP_SOURCE_MEMBERSHIP) => 12,
        (IPV6, IPV6_JOIN_GROUP | IPV6_LEAVE_GROUP) => 20,
        (_, MCAST_JOIN_GROUP | MCAST_LEAVE_GROUP) => 136,
        (_, MCAST_BLOCK_SOURCE..=MCAST_LEAVE_SOURCE_GROUP) => 264,
        _ => 0,
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

/// The address in a `struct sockaddr_storage`.
fn storage(bytes: &[u8], at: usize) -> Result<IpAddr> {
    match word(bytes, at)? as u16 {
        2 => v4(bytes, at + 4),
        10 => v6(bytes, at + 8),
        _ => Err(Errno::EADDRNOTAVAIL),
    }
}

/// `struct group_req`: the interface's number and the group.
fn group_req(bytes: &[u8]) -> Result<(IpAddr, u32)> {
    Ok((storage(bytes, 8)?, word(bytes, 0)?))
}

/// `struct ip_mreq_source` or `struct group_source_req`: the group, the interface's number and the sender.
fn source_req(
    env: &dyn Env,
    (level, name): (u32, u32),
    bytes: &[u8],
) -> Result<(IpAddr, u32, IpAddr)> {
    if level == IP && name <= IP_DROP_SOURCE_MEMBERSHIP {
        let interface = interfaces::index_of(env, v4(bytes, 4)?).ok_or(Errno::ENODEV)?;
        return Ok((v4(bytes, 0)?, interface, v4(bytes, 8)?));
    }
    if bytes.len() < 264 {
        return Err(Errno::EINVAL);
    }
    let (group, sender) = (storage(bytes, 8)?, storage(bytes, 136)?);
    match group.is_ipv4() == sender.is_ipv4() {
        true => Ok((group, word(bytes, 0)?, sender)),
        false => Err(Errno::EADDRNOTAVAIL),
    }
}

/// Whether a group is heard on an interface beside loopback's.
fn is_outside(groups: &[Member], group: IpAddr) -> bool {
    let is = |m: &Member| m.group == group && m.interface != LO;
    groups.iter().any(is)
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
            let sources = level == IP && Change::of(level, name).is_some();
            let members = level == IP && matches!(name, IP_ADD_MEMBERSHIP | IP_DROP_MEMBERSHIP);
            return match value.len() < shortest(level, name) && !members {
                _ if harmless => Ok(()),
                _ if sources => Err(Errno::EINVAL),
                true => Err(Errno::EINVAL),
                false => Err(Errno::EPROTO),
            };
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
        if value.len() < shortest(level, name) {
            return Err(Errno::EINVAL);
        }
        if let Some(change) = Change::of(level, name) {
            let (group, index, sender) = source_req(env, (level, name), value)?;
            if !group.is_multicast() {
                return Err(Errno::EINVAL);
            }
            let index = known(index)?;
            return self.change_senders(env, id, (group, index), change, sender);
        }
        let (group, index) = match (level, name) {
            (IP, MCAST_JOIN_GROUP | MCAST_LEAVE_GROUP) if word(value, 8)? as u16 != 2 => {
                return Err(Errno::EINVAL);
            }
            (_, MCAST_JOIN_GROUP | MCAST_LEAVE_GROUP) => group_req(value)?,
            (IP, _) => (v4(value, 0)?, interface_v4(env, value, 4)?),
            _ => (v6(value, 0)?, word(value, 16)?),
        };
        let leaves = level == IP && matches!(name, IP_DROP_MEMBERSHIP | MCAST_LEAVE_GROUP);
        if !group.is_multicast() && !leaves {
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
        let is = |m: &Member| (m.group, m.interface) == (group, index);
        if socket.groups.iter().any(is) {
            return Err(Errno::EADDRINUSE);
        }
        if socket.groups.len() >= MAX_GROUPS {
            return Err(Errno::ENOBUFS);
        }
        let already = is_outside(&socket.groups, group);
        socket.groups.push(Member {
            group,
            interface: index,
            only: false,
            senders: None,
        });
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
        let which = |m: &Member| m.group == group && (index == 0 || m.interface == index);
        let known = socket.groups.iter().position(which);
        let was = socket.groups.remove(known.ok_or(Errno::EADDRNOTAVAIL)?);
        let stays = is_outside(&socket.groups, group);
        let net = socket.net;
        match (net, env.network()) {
            (Some(net), Some(network)) if was.interface != LO && !stays => {
                network.set_member(net, group, false)
            }
            _ => Ok(()),
        }
    }

    /// `ip_mc_source` of Linux: whom a member of a group hears there.
    fn change_senders(
        &mut self,
        env: &dyn Env,
        id: SocketId,
        (group, index): (IpAddr, u32),
        change: Change,
        sender: IpAddr,
    ) -> Result<()> {
        if change == Change::Join {
            match self.enter_group(env, id, group, index) {
                Ok(()) | Err(Errno::EADDRINUSE) => {}
                Err(errno) => return Err(errno),
            }
        }
        let groups = &mut self.socket_mut(id)?.groups;
        let is = |m: &&mut Member| (m.group, m.interface) == (group, index);
        let member = groups.iter_mut().find(is).ok_or(Errno::EINVAL)?;
        // What a list says is fixed with its first entry.
        if member.senders.is_some() && member.only != change.only() {
            return Err(Errno::EINVAL);
        }
        member.only = change.only();
        let at = member
            .senders
            .as_ref()
            .and_then(|s| s.iter().position(|s| *s == sender));
        let adds = matches!(change, Change::Join | Change::Block);
        if adds == at.is_some() {
            return Err(Errno::EADDRNOTAVAIL);
        }
        let senders = member.senders.get_or_insert_default();
        match at {
            None if senders.len() >= max_senders(group) => return Err(Errno::ENOBUFS),
            None => senders.push(sender),
            Some(_) if senders.len() == 1 && change == Change::Leave => {
                return self.leave_group(env, id, group, index);
            }
            Some(at) => drop(senders.remove(at)),
        }
        self.tell_senders(env, id, group)
    }

    /// Tells the stack below whom a socket hears in a group.
    pub(super) fn tell_senders(&self, env: &dyn Env, id: SocketId, group: IpAddr) -> Result<()> {
        let socket = self.socket(id)?;
        let mut outside = socket.groups.iter().filter(|m| m.interface != LO);
        match (
            socket.net,
            env.network(),
            outside.find(|m| m.group == group),
        ) {
            (Some(net), Some(network), Some(member)) => {
                let senders = member.senders.as_deref().unwrap_or_default();
                network.set_senders(net, group, member.only, senders)
            }
            _ => Ok(()),
        }
    }

    /// Enters the groups that a socket has entered before it was opened in the network.
    pub(super) fn enter_groups_outside(
        &self,
        env: &dyn Env,
        id: SocketId,
        net: NetSocket,
    ) -> Result<()> {
        let network = env.network().ok_or(Errno::ENETDOWN)?;
        let groups = &self.socket(id)?.groups;
        for (n, member) in groups.iter().enumerate() {
            let first = !is_outside(&groups[..n], member.group);
            if member.interface != LO && first {
                network.set_member(net, member.group, true)?;
                let senders = member.senders.as_deref().unwrap_or_default();
                network.set_senders(net, member.group, member.only, senders)?;
            }
        }
        Ok(())
    }

    /// Who hears what is sent to a group by the loopback interface, which only its members there do.
    pub(super) fn members_within(
        &self,
        id: SocketId,
        group: IpAddr,
        from: IpAddr,
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
            let hears = |m: &Member| (m.group, m.interface) == (group, LO) && m.hears(from);
            socket.is_ok_and(|s| s.groups.iter().any(hears))
        };
        Some(ids.filter(hears).collect())
    }
}
