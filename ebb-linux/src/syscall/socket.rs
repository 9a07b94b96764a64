//! Sockets: addresses, messages and options between guest memory and the objects.

use super::control::{self, Header};
use super::guest::timespec;
use super::guest::{give_pair, iovec, range};
use super::refused::broken_pipe;
use super::{Call, Outcome, Stop};
use crate::abi::errno::Errno;
use crate::abi::signal::{SI_KERNEL, SIGURG, SigInfo};
use crate::object::Objects;
use crate::object::credentials::cap;
use crate::object::description::DescId;
use crate::object::env::{NetSocket, Network};
use crate::object::fd::Fd;
use crate::object::socket::address::{Address, Domain, MAX_LEN, Purpose};
use crate::object::socket::message::{Ancillary, MAX_DESCRIPTORS, MessageFlags, Received};
use crate::object::wait::Events;
use crate::signal::ready;
use crate::uc::user_bytes::UserBytes;
use alloc::vec::Vec;

/// The longest option value.
const MAX_OPTION: u64 = 4096;

pub fn socket(call: &Call<'_>) -> Outcome {
    let [domain, kind, protocol, ..] = call.args;
    // AF_INET, AF_INET6, AF_NETLINK: the network is brought up if this is its first use.
    if matches!(domain, 2 | 10 | 16) {
        call.uc.start_network();
    }
    let made = call.on_objects(|o, w| {
        let fd = o.socket_create(domain as u32, kind as u32, protocol as u32)?;
        o.own_socket(w, fd).map(|()| fd)
    });
    Ok(made.map_err(|stop| raw_or(call, stop))? as u64)
}

/// Who has no right to raw sockets is told so rather than that there are none.
fn raw_or(call: &Call<'_>, stop: Stop) -> Stop {
    let [domain, kind, protocol, ..] = call.args;
    const SOCK_RAW: u64 = 3;
    let internet = [Domain::Inet, Domain::Inet6].map(Domain::number);
    let raw = internet.contains(&(domain as u16)) && kind & 0xf == SOCK_RAW && protocol as u32 != 0;
    match stop {
        Stop::Error(Errno::EPROTONOSUPPORT)
            if raw && !super::credentials::of(call).has(cap::NET_RAW) =>
        {
            Errno::EPERM.into()
        }
        stop => stop,
    }
}

pub fn socketpair(call: &Call<'_>) -> Outcome {
    let [domain, kind, protocol, out, ..] = call.args;
    Objects::check_type(kind as u32)?;
    // Where the numbers go is asked before what is wanted.
    let before: [Fd; 2] = call.space().get(out)?;
    call.space().put(out, before)?;
    let made = call.on_objects(|o, w| {
        let (a, b) = o.socketpair(domain as u32, kind as u32, protocol as u32)?;
        o.own_socket(w, a)?;
        o.own_socket(w, b).map(|()| (a, b))
    });
    let (a, b) = made.map_err(|stop| raw_or(call, stop))?;
    give_pair(call, out, a, b)
}

fn domain(call: &Call<'_>, id: DescId) -> Result<Domain, Stop> {
    Ok(call.objects().socket_domain(id)?)
}

/// The address at a guest's pointer, if the call takes notice of one.
fn address(
    call: &Call<'_>,
    id: DescId,
    purpose: Purpose,
    (at, len): (u64, u64),
) -> Result<Option<Address>, Stop> {
    let len = usize::try_from(len as i32).map_err(|_| Errno::EINVAL)?;
    call.objects().socket_of(id)?;
    if len > MAX_LEN {
        return Err(Errno::EINVAL.into());
    }
    let mut bytes = [0; MAX_LEN];
    call.space().read(at, &mut bytes[..len])?;
    if purpose == Purpose::Connect && len >= 2 && bytes[..2] != [0; 2] {
        call.objects().check_unconnected(id)?;
    }
    let address = call.objects().address_for(id, purpose, &bytes[..len])?;
    Ok(address)
}

/// Gives an address to the guest, cut to the room it has, with its full length.
fn give_address(
    call: &Call<'_>,
    domain: Domain,
    address: &Address,
    at: u64,
    len_at: u64,
) -> Result<(), Stop> {
    if at == 0 {
        return Ok(());
    }
    let room: i32 = call.space().get(len_at)?;
    let room = usize::try_from(room).map_err(|_| Errno::EINVAL)?;
    let bytes = address.to_bytes(domain);
    let mut space = call.space();
    space.write(at, &bytes[..bytes.len().min(room)])?;
    space.put(len_at, bytes.len() as u32)?;
    Ok(())
}

pub fn bind(call: &Call<'_>) -> Outcome {
    let id = call.objects().lookup_fd(call.fd(0))?;
    let address = address(call, id, Purpose::Name, (call.args[1], call.args[2]))?;
    let address = address.unwrap_or_default();
    if let Address::Inet(at) = &address {
        call.wait_for_network(Some(at.ip()))?;
    }
    call.on_objects(|o, w| o.bind(w, id, address))?;
    Ok(0)
}

pub fn listen(call: &Call<'_>) -> Outcome {
    let id = call.objects().lookup_fd(call.fd(0))?;
    call.on_objects(|o, w| o.listen(w, id, call.args[1] as i32))?;
    Ok(0)
}

pub fn connect(call: &Call<'_>) -> Outcome {
    let fd = call.fd(0);
    let id = call.held(fd)?;
    let result = if call.waited(|w| w.begun) == Some(true) {
        call.objects().connect_result(&call.world(), id)
    } else {
        let to = address(call, id, Purpose::Connect, (call.args[1], call.args[2]))?;
        let to = to.unwrap_or_default();
        if let Address::Inet(to) = &to {
            call.wait_for_network(Some(to.ip()))?;
        }
        call.objects().connect(&call.world(), id, to)
    };
    match result {
        Ok(()) => Ok(0),
        Err(errno @ (Errno::EINPROGRESS | Errno::EAGAIN)) if call.objects().may_block(id) => {
            let outcome = call.wait_for_transfer(fd, id, Events::FOR_WRITE);
            if errno == Errno::EINPROGRESS {
                call.waited(|w| w.begun = true);
                if outcome == Err(Stop::Error(Errno::EAGAIN)) {
                    return Err(errno.into());
                }
            }
            outcome
        }
        Err(errno) => Err(errno.into()),
    }
}

fn accept_with(call: &Call<'_>, flags: u64) -> Outcome {
    let fd = call.fd(0);
    let id = call.held(fd)?;
    let result = call.objects().accept(&call.world(), id, flags as u32);
    match result {
        Ok((new, peer)) => {
            let domain = domain(call, id)?;
            if let Err(stop) = give_address(call, domain, &peer, call.args[1], call.args[2]) {
                let _ = call.objects().close(new);
                return Err(stop);
            }
            Ok(new as u64)
        }
        Err(Errno::EAGAIN) if call.objects().may_block(id) => {
            call.wait_for_transfer(fd, id, Events::FOR_READ)
        }
        Err(errno) => Err(errno.into()),
    }
}

pub fn accept(call: &Call<'_>) -> Outcome {
    accept_with(call, 0)
}

pub fn accept4(call: &Call<'_>) -> Outcome {
    accept_with(call, call.args[3])
}

pub fn shutdown(call: &Call<'_>) -> Outcome {
    let id = call.objects().lookup_fd(call.fd(0))?;
    call.on_objects(|o, w| o.shutdown(w, id, call.args[1] as u32))?;
    Ok(0)
}

pub fn getsockname(call: &Call<'_>) -> Outcome {
    let id = call.objects().lookup_fd(call.fd(0))?;
    let (domain, address) = call.on_objects(|o, _| o.socket_name(id))?;
    give_address(call, domain, &address, call.args[1], call.args[2])?;
    Ok(0)
}

pub fn getpeername(call: &Call<'_>) -> Outcome {
    let id = call.objects().lookup_fd(call.fd(0))?;
    let (domain, address) = call.on_objects(|o, w| o.peer_name(w, id))?;
    give_address(call, domain, &address, call.args[1], call.args[2])?;
    Ok(0)
}

pub fn setsockopt(call: &Call<'_>) -> Outcome {
    let [_, level, name, at, len, _] = call.args;
    let id = call.objects().lookup_fd(call.fd(0))?;
    if len as i32 as i64 > MAX_OPTION as i64 || (len as i32) < 0 {
        return Err(Errno::EINVAL.into());
    }
    let mut value = alloc::vec![0; len as u32 as usize];
    call.space().read(at, &mut value)?;
    call.on_objects(|o, w| o.set_socket_option(w, id, (level as u32, name as u32), &value))?;
    Ok(0)
}

pub fn getsockopt(call: &Call<'_>) -> Outcome {
    let [_, level, name, at, len_at, _] = call.args;
    let id = call.objects().lookup_fd(call.fd(0))?;
    let room: i32 = call.space().get(len_at)?;
    let value =
        call.on_objects(|o, w| o.socket_option(w, id, (level as u32, name as u32), room))?;
    const SO_PEERGROUPS: u64 = 59;
    let room = usize::try_from(room).unwrap_or(usize::MAX);
    let mut space = call.space();
    if (level, name) == (1, SO_PEERGROUPS) && room < value.len() {
        space.put(len_at, value.len() as u32)?;
        return Err(Errno::ERANGE.into());
    }
    // An integer of IPv4's goes into a byte, if that is all the room there is and it is one.
    const IP: u64 = 0;
    const IP_OPTIONS: u64 = 4;
    const IP_MULTICAST_IF: u64 = 32;
    let byte = level == IP
        && !matches!(name, IP_OPTIONS | IP_MULTICAST_IF)
        && (1..4).contains(&room)
        && matches!(value[..], [_, 0, 0, 0]);
    let n = if byte { 1 } else { value.len().min(room) };
    space.write(at, &value[..n])?;
    space.put(len_at, n as u32)?;
    Ok(0)
}

/// Whether a transfer that cannot go on waits.
fn may_wait(call: &Call<'_>, id: DescId, flags: MessageFlags) -> bool {
    !call.last_try && !flags.contains(MessageFlags::DONTWAIT) && call.objects().may_block(id)
}

fn send_parts(
    call: &Call<'_>,
    parts: &[(u64, usize)],
    to: Option<Address>,
    fds: &[Fd],
    ancillary: Ancillary,
    flags: u64,
) -> Outcome {
    let fd = call.fd(0);
    let id = call.held(fd)?;
    if call.objects().asks_interfaces(id) {
        call.wait_for_network(None)?;
    } else if let Some(Address::Inet(to)) = &to {
        call.wait_for_network(Some(to.ip()))?;
    }
    let flags = MessageFlags::from_bits_retain(flags as u32);
    let total: usize = parts.iter().map(|p| p.1).sum();
    let mut done = call.waited(|w| w.progress).unwrap_or(0);
    loop {
        let mut source = UserBytes::new(call.memory, parts, done);
        // Descriptors go with the first bytes.
        let fds = if done == 0 { fds } else { &[] };
        let result = call.objects().send_with(
            &call.world(),
            id,
            &mut source,
            to.clone(),
            fds,
            flags,
            ancillary,
        );
        let may_wait = may_wait(call, id, flags);
        match result {
            Ok(n) => {
                done += n;
                if n == 0 || done >= total || !may_wait || !call.objects().writes_all(id) {
                    if flags.contains(MessageFlags::OOB) && done >= total {
                        let owner = call.objects().urgent_owner(id);
                        ready::send_to(call.uc, owner, &SigInfo::new(SIGURG, SI_KERNEL));
                    }
                    return Ok(done as u64);
                }
            }
            Err(Errno::EAGAIN) if may_wait => {
                let outcome = call.wait_for_transfer(fd, id, Events::FOR_WRITE);
                if outcome == Err(Stop::Error(Errno::EAGAIN)) && done > 0 {
                    return Ok(done as u64);
                }
                call.waited(|w| w.progress = done);
                return outcome;
            }
            Err(_) if done > 0 => return Ok(done as u64),
            Err(Errno::EPIPE) => {
                if !flags.contains(MessageFlags::NOSIGNAL) {
                    broken_pipe(call, id);
                }
                return Err(Errno::EPIPE.into());
            }
            Err(errno) => return Err(errno.into()),
        }
    }
}

pub fn sendto(call: &Call<'_>) -> Outcome {
    let [_, at, len, flags, to, to_len] = call.args;
    let (at, len) = range(at, len)?;
    let brief = MessageFlags::NOSIGNAL | MessageFlags::DONTWAIT;
    if to == 0 && call.first && brief.contains(MessageFlags::from_bits_retain(flags as u32)) {
        let mut source = UserBytes::one(call.memory, at, len);
        let mut objects = call.objects();
        let id = objects.lookup_fd(call.fd(0))?;
        if let Some(sent) = objects.send_plainly(id, &mut source) {
            return Ok(sent? as u64);
        }
    }
    let id = call.held(call.fd(0))?;
    let to = if to == 0 {
        None
    } else {
        address(call, id, Purpose::Send, (to, to_len))?
    };
    let none = Ancillary::default();
    send_parts(call, &[(at, len)], to, &[], none, flags)
}

fn header(call: &Call<'_>, at: u64) -> Result<Header, Stop> {
    let [name, name_len, vector_at, count, control, control_len, _]: [u64; 7] =
        call.space().get(at)?;
    let name_len = if name == 0 { 0 } else { name_len };
    if (name_len as i32) < 0 {
        return Err(Errno::EINVAL.into());
    }
    Ok(Header {
        name,
        name_len: name_len as u32,
        parts: iovec(call, vector_at, count).map_err(|stop| match stop {
            Stop::Error(Errno::EINVAL) if count > 1024 => Errno::EMSGSIZE.into(),
            stop => stop,
        })?,
        control,
        control_len,
    })
}

pub fn sendmsg(call: &Call<'_>) -> Outcome {
    let [_, at, flags, ..] = call.args;
    send_header(call, header(call, at)?, flags)
}

/// A connection to the outside was closed, whose end is to be waited for (`SO_LINGER`).
#[cold]
pub(super) fn begin_to_linger(call: &Call<'_>, net: NetSocket, seconds: u32) -> Outcome {
    // What has ended already cannot be ended.
    let _ = call.world().shutdown(net);
    let deadline = call.uc.now() + u64::from(seconds) * 1_000_000_000;
    let _ = call.wait(Some(deadline));
    call.waited(|w| {
        w.rare_mut().lingers = Some(net);
        // A handler ends the waiting, and `close` says that all is well.
        w.progress = 1;
    });
    linger(call)
}

/// Waits until the peer has all of a connection that was closed, as long as that may take.
#[cold]
pub(super) fn linger(call: &Call<'_>) -> Outcome {
    let Some(net) = call.waited(|w| w.rare().lingers).flatten() else {
        return Ok(0);
    };
    if !call.last_try && !call.is_late() && call.uc.is_unfinished(net, call.waker) {
        return Err(Stop::Wait);
    }
    call.waited(|w| w.rare_mut().lingers = None);
    call.objects().close_network(net);
    Ok(0)
}

fn send_header(call: &Call<'_>, h: Header, flags: u64) -> Outcome {
    let id = call.held(call.fd(0))?;
    let to = match h.name {
        0 => None,
        name => address(call, id, Purpose::Send, (name, h.name_len.into()))?,
    };
    let (fds, ancillary) = control::read(call, id, &h, to.as_ref())?;
    send_parts(call, &h.parts, to, &fds, ancillary, flags)
}

fn receive_parts(
    call: &Call<'_>,
    parts: &[(u64, usize)],
    max_fds: usize,
    flags: MessageFlags,
) -> Result<Received, Stop> {
    let done = call.waited(|w| w.progress).unwrap_or(0);
    receive_rest(call, parts, done, max_fds, flags)
}

/// Goes on with a call that reads a socket and has moved `done` bytes, until that is enough.
pub(super) fn receive_rest(
    call: &Call<'_>,
    parts: &[(u64, usize)],
    mut done: usize,
    max_fds: usize,
    flags: MessageFlags,
) -> Result<Received, Stop> {
    let fd = call.fd(0);
    let id = call.held(fd)?;
    let total: usize = parts.iter().map(|p| p.1).sum();
    let moved = |len| Received {
        len,
        ..Received::default()
    };
    loop {
        let mut sink = UserBytes::new(call.memory, parts, done);
        let result = call
            .objects()
            .receive(&call.world(), id, &mut sink, max_fds, flags);
        // The queue of answers never makes wait.
        let may_wait = may_wait(call, id, flags) && !flags.contains(MessageFlags::ERRQUEUE);
        // How much is enough: all of it, or what `SO_RCVLOWAT` says.
        let enough = match &result {
            Ok(received) if received.len + done < total && !flags.contains(MessageFlags::PEEK) => {
                let objects = call.objects();
                match flags.contains(MessageFlags::WAITALL) && objects.writes_all(id) {
                    true => total,
                    false => total.min(objects.more_wanted(id) + 1),
                }
            }
            _ => 1,
        };
        match result {
            Ok(mut received) if enough > 1 || done > 0 => {
                let ended = received.len == 0;
                done += received.len;
                received.len = done;
                if ended || done >= enough || !may_wait || !received.fds.is_empty() {
                    return Ok(received);
                }
                // The end may be there already, and would wake nobody any more.
            }
            Ok(received) => return Ok(received),
            Err(Errno::EAGAIN) if may_wait => {
                return match call.wait_for_transfer(fd, id, Events::FOR_READ) {
                    Err(Stop::Error(Errno::EAGAIN)) if done > 0 => Ok(moved(done)),
                    Ok(_) => Err(Stop::Error(Errno::EAGAIN)),
                    Err(stop) => {
                        call.waited(|w| w.progress = done);
                        Err(stop)
                    }
                };
            }
            // An error of a stream is told by the next call.
            Err(_) if done > 0 => return Ok(moved(done)),
            Err(errno) => return Err(errno.into()),
        }
    }
}

pub fn recvfrom(call: &Call<'_>) -> Outcome {
    let [_, at, len, flags, from, from_len] = call.args;
    let (at, len) = range(at, len)?;
    let flags = MessageFlags::from_bits_retain(flags as u32);
    if from == 0 && call.first && MessageFlags::DONTWAIT.contains(flags) {
        let mut sink = UserBytes::one(call.memory, at, len);
        let mut objects = call.objects();
        let id = objects.lookup_fd(call.fd(0))?;
        if let Some(received) = objects.receive_plainly(id, &mut sink) {
            return Ok(received? as u64);
        }
    }
    let received = receive_parts(call, &[(at, len)], 0, flags)?;
    if from != 0 {
        let id = call.held(call.fd(0))?;
        give_address(call, domain(call, id)?, &received.from, from, from_len)?;
    }
    Ok(received.len as u64)
}

pub fn recvmsg(call: &Call<'_>) -> Outcome {
    let [_, at, flags, ..] = call.args;
    receive_header(call, at, flags)
}

fn receive_header(call: &Call<'_>, at: u64, flags: u64) -> Outcome {
    let h = header(call, at)?;
    let flags = MessageFlags::from_bits_retain(flags as u32);
    let room = if h.control == 0 {
        0
    } else {
        h.control_len.saturating_sub(16) / 4
    };
    let max_fds = (room as usize).min(MAX_DESCRIPTORS);
    let mut received = receive_parts(call, &h.parts, max_fds, flags)?;
    let mut name_len = 0u32;
    if h.name != 0 {
        let id = call.held(call.fd(0))?;
        let bytes = received.from.to_bytes(domain(call, id)?);
        let bytes = if received.from == Address::Unnamed {
            Vec::new()
        } else {
            bytes
        };
        name_len = bytes.len() as u32;
        call.space()
            .write(h.name, &bytes[..bytes.len().min(h.name_len as usize)])?;
    }
    let id = call.held(call.fd(0))?;
    let control_len = control::write(call, &h, id, &mut received)?;
    let mut space = call.space();
    space.put(at + 8, name_len)?;
    space.put(at + 40, control_len)?;
    space.put(at + 48, received.flags.bits())?;
    Ok(received.len as u64)
}

/// The most messages that `sendmmsg` and `recvmmsg` move.
const MAX_MESSAGES: u64 = 1024;

/// `recvmmsg` waits for the first message only.
const MSG_WAITFORONE: u64 = 0x1_0000;

/// Moves one message after another, each of which may wait. `each` is given how many came before and where the header is; it
/// says how much it moved, and whether to go on.
fn many(call: &Call<'_>, mut each: impl FnMut(u64, u64) -> Result<(u64, bool), Stop>) -> Outcome {
    let [_, at, count, ..] = call.args;
    let mut n = call.waited(|w| w.messages).unwrap_or(0);
    if n == 0 {
        let id = call.held(call.fd(0))?;
        call.objects().socket_of(id)?;
    }
    while n < count.min(MAX_MESSAGES) {
        let header = at.checked_add(64 * n).ok_or(Errno::EFAULT)?;
        match each(n, header) {
            Ok((len, go_on)) => {
                call.space().put(header + 56, len as u32)?;
                n += 1;
                call.waited(|w| w.next_message(n));
                if !go_on {
                    break;
                }
            }
            Err(Stop::Wait) => {
                // Those before may not have waited.
                call.waited(|w| w.messages = n);
                return Err(Stop::Wait);
            }
            Err(stop) if n == 0 => return Err(stop),
            Err(_) => break,
        }
    }
    Ok(n)
}

pub fn sendmmsg(call: &Call<'_>) -> Outcome {
    many(call, |_, at| {
        let h = header(call, at)?;
        let total: usize = h.parts.iter().map(|p| p.1).sum();
        let len = send_header(call, h, call.args[3])?;
        // What was cut short is the last: the next would take the place of its rest.
        Ok((len, len >= total as u64))
    })
}

pub fn recvmmsg(call: &Call<'_>) -> Outcome {
    let [_, _, _, flags, limit_at, _] = call.args;
    let kept = || call.waited(|w| w.rare().until);
    let until = match (!call.first).then(kept).flatten() {
        Some(until) => until,
        None => timespec(call, limit_at)?.map(|limit| call.uc.now().saturating_add(limit)),
    };
    let outcome = many(call, |n, at| {
        let wait = if n > 0 && flags & MSG_WAITFORONE != 0 {
            u64::from(MessageFlags::DONTWAIT.bits())
        } else {
            0
        };
        let len = receive_header(call, at, flags & !MSG_WAITFORONE | wait)?;
        // As on Linux the limit ends no wait: it is looked at behind each message.
        Ok((len, until.is_none_or(|until| call.uc.now() < until)))
    });
    if outcome == Err(Stop::Wait) && until.is_some() {
        call.waited(|w| w.rare_mut().until = until);
    }
    if let (Ok(_), Some(until)) = (outcome, until) {
        let left_ns = until.saturating_sub(call.uc.now());
        let left = [left_ns / 1_000_000_000, left_ns % 1_000_000_000];
        call.space().put(limit_at, left)?;
    }
    outcome
}
