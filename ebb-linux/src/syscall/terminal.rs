//! `ioctl` on terminals (ioctl_tty(2)).

use super::{Call, Outcome, Stop};
use crate::abi::errno::Errno;
use crate::abi::flags::OpenFlags;
use crate::object::description::DescId;
use crate::object::kind::device::pts_number;
use crate::object::kind::pty::Flush;
use crate::object::kind::pty::termios::{TERMIO_BYTES, TERMIOS_BYTES, TERMIOS2_BYTES, Termios};
use crate::object::ops::terminal::End;

const TCGETS: u32 = 0x5401;
const TCSETS: u32 = 0x5402;
const TCSETSF: u32 = 0x5404;
const TCGETA: u32 = 0x5405;
const TCSETA: u32 = 0x5406;
const TCSETAF: u32 = 0x5408;
const TCSBRK: u32 = 0x5409;
const TCXONC: u32 = 0x540a;
const TCFLSH: u32 = 0x540b;
const TIOCEXCL: u32 = 0x540c;
const TIOCNXCL: u32 = 0x540d;
const TIOCSCTTY: u32 = 0x540e;
const TIOCGPGRP: u32 = 0x540f;
const TIOCSPGRP: u32 = 0x5410;
const TIOCOUTQ: u32 = 0x5411;
const TIOCSTI: u32 = 0x5412;
const TIOCGWINSZ: u32 = 0x5413;
const TIOCSWINSZ: u32 = 0x5414;
const FIONREAD: u32 = 0x541b;
const TIOCPKT: u32 = 0x5420;
const TIOCNOTTY: u32 = 0x5422;
const TIOCSETD: u32 = 0x5423;
const TIOCGETD: u32 = 0x5424;
const TCSBRKP: u32 = 0x5425;
const TIOCSBRK: u32 = 0x5427;
const TIOCCBRK: u32 = 0x5428;
const TIOCGSID: u32 = 0x5429;
const TCGETS2: u32 = 0x802c_542a;
const TCSETS2: u32 = 0x402c_542b;
const TCSETSW2: u32 = 0x402c_542c;
const TCSETSF2: u32 = 0x402c_542d;
const TIOCGPTN: u32 = 0x8004_5430;
const TIOCSPTLCK: u32 = 0x4004_5431;
const TIOCGDEV: u32 = 0x8004_5432;
const TIOCSIG: u32 = 0x4004_5436;
const TIOCGPKT: u32 = 0x8004_5438;
const TIOCGPTLCK: u32 = 0x8004_5439;
const TIOCGEXCL: u32 = 0x8004_5440;
const TIOCGPTPEER: u32 = 0x5441;
/// Whether modem lines are ignored, which a pseudo-terminal has none of.
const TIOCGSOFTCAR: u32 = 0x5419;
const TIOCSSOFTCAR: u32 = 0x541a;
/// `CLOCAL`.
const CLOCAL: u32 = 0o4000;
/// The access mode of `open`, and that it takes no controlling terminal.
const ACCESS: u32 = 3;
const O_NOCTTY: u32 = 0o400;

/// What an `ioctl` of a terminal's end gives; `None` for one that has nothing to do with terminals.
pub fn ioctl(
    call: &Call<'_>,
    id: DescId,
    end: End,
    request: u32,
    argument: u64,
) -> Option<Outcome> {
    let hung_up = {
        let objects = call.objects();
        !end.is_master && objects.terminal(end).is_ok_and(|pty| pty.is_hung_up())
    };
    if hung_up {
        return Some(Err(match request {
            TIOCSPGRP => Errno::ENOTTY,
            _ => Errno::EIO,
        }
        .into()));
    }
    settings(call, end, request, argument)
        .or_else(|| queues(call, end, request, argument))
        .or_else(|| session(call, id, end, request, argument))
        .or_else(|| pseudo(call, end, request, argument))
}

/// Refuses what a process in the background may not do.
fn check_change(call: &Call<'_>, end: End) -> Result<(), Stop> {
    call.on_objects(|o, w| o.check_terminal_change(w, end))
}

/// Settings and size.
fn settings(call: &Call<'_>, end: End, request: u32, argument: u64) -> Option<Outcome> {
    let get = || Ok::<_, Stop>(*call.objects().terminal(end)?.settings());
    let set = |settings: Termios, flush| {
        check_change(call, end)?;
        call.objects().set_terminal(end, settings, flush)?;
        Ok(0)
    };
    Some((|| match request {
        TCGETS => {
            let bytes = get()?.to_bytes();
            call.space().write(argument, &bytes[..TERMIOS_BYTES])?;
            Ok(0)
        }
        TCGETS2 => {
            call.space().put(argument, get()?.to_bytes())?;
            Ok(0)
        }
        TIOCGSOFTCAR => {
            let ignores = get()?.control & CLOCAL != 0;
            call.space().put(argument, i32::from(ignores))?;
            Ok(0)
        }
        TIOCSSOFTCAR => {
            let ignores = call.space().get::<i32>(argument)? != 0;
            let mut settings = get()?;
            settings.control = settings.control & !CLOCAL | if ignores { CLOCAL } else { 0 };
            set(settings, false)
        }
        TCGETA => {
            call.space().put(argument, get()?.to_old())?;
            Ok(0)
        }
        TCSETS..=TCSETSF => {
            let bytes: [u8; TERMIOS_BYTES] = call.space().get(argument)?;
            set(Termios::from_bytes(&bytes), request == TCSETSF)
        }
        TCSETS2 | TCSETSW2 | TCSETSF2 => {
            let bytes: [u8; TERMIOS2_BYTES] = call.space().get(argument)?;
            set(Termios::from_bytes(&bytes), request == TCSETSF2)
        }
        TCSETA..=TCSETAF => {
            let bytes: [u8; TERMIO_BYTES] = call.space().get(argument)?;
            set(get()?.with_old(&bytes), request == TCSETAF)
        }
        TIOCGWINSZ => {
            let size = call.objects().terminal(end)?.size;
            call.space().put(argument, size)?;
            Ok(0)
        }
        TIOCSWINSZ => {
            let size: [u16; 4] = call.space().get(argument)?;
            call.objects().resize_terminal(end, size)?;
            Ok(0)
        }
        TIOCGETD => {
            call.space().put(argument, 0u32)?;
            Ok(0)
        }
        TIOCSETD => match call.space().get(argument)? {
            0u32 => Ok(0),
            _ => Err(Errno::EINVAL.into()),
        },
        _ => Err(Errno::ENOTTY.into()),
    })())
    .filter(|outcome: &Outcome| *outcome != Err(Errno::ENOTTY.into()))
}

/// What waits in either direction.
fn queues(call: &Call<'_>, end: End, request: u32, argument: u64) -> Option<Outcome> {
    let known = matches!(
        request,
        TCSBRK | TCSBRKP | TIOCSBRK | TIOCCBRK | TCXONC | TCFLSH | TIOCOUTQ | FIONREAD | TIOCSTI
    );
    known.then(|| match request {
        TIOCOUTQ => {
            // What is written is with the other side at once.
            call.space().put(argument, 0u32)?;
            Ok(0)
        }
        FIONREAD => {
            let count = call.objects().terminal(end)?.readable(end.is_master);
            call.space().put(argument, count as u32)?;
            Ok(0)
        }
        TIOCSTI => {
            call.on_objects(|o, w| o.check_typist(w, end))?;
            let byte: u8 = call.space().get(argument)?;
            call.on_objects(|o, w| o.type_byte(w, end, byte))?;
            Ok(0)
        }
        TCXONC => {
            check_change(call, end)?;
            let mut objects = call.objects();
            match argument {
                0 | 1 => objects.hold_terminal(end, argument == 0)?,
                2 | 3 => objects.send_terminal_flow(end, argument == 2)?,
                _ => return Err(Errno::EINVAL.into()),
            }
            drop(objects);
            call.uc.flush_console();
            Ok(0)
        }
        TCFLSH => {
            check_change(call, end)?;
            let what = match argument {
                0 => Flush::Input,
                1 => Flush::Output,
                2 => Flush::Both,
                _ => return Err(Errno::EINVAL.into()),
            };
            call.objects().flush_terminal(end, what)?;
            Ok(0)
        }
        // There is no wire to wait for, or to break.
        _ => {
            check_change(call, end)?;
            Ok(0)
        }
    })
}

/// The session that a terminal controls.
fn session(call: &Call<'_>, id: DescId, end: End, request: u32, argument: u64) -> Option<Outcome> {
    let known = matches!(
        request,
        TIOCSCTTY | TIOCNOTTY | TIOCGPGRP | TIOCSPGRP | TIOCGSID
    );
    // A master may ask for what it is not controlled by itself.
    let may_ask = || {
        let controls = call.objects().is_controlling(&call.world(), end);
        match end.is_master || controls {
            true => Ok(()),
            false => Err(Stop::Error(Errno::ENOTTY)),
        }
    };
    known.then(|| match request {
        TIOCSCTTY => {
            if end.is_master {
                // Nobody's terminal: whoever could have one is told that this cannot be it.
                let leads = call.on_objects(|o, w| Ok(o.may_take_any(w)))?;
                return Err(if leads { Errno::EIO } else { Errno::EPERM }.into());
            }
            let flags = call.objects().description(id)?.flags;
            call.on_objects(|o, w| o.take_terminal(w, end, flags, argument == 1))?;
            Ok(0)
        }
        TIOCNOTTY => {
            if end.is_master {
                return Err(Errno::ENOTTY.into());
            }
            call.on_objects(|o, w| o.give_up_terminal(w, end))?;
            Ok(0)
        }
        TIOCGPGRP => {
            may_ask()?;
            let group = call.objects().terminal(end)?.foreground;
            call.space().put(argument, group)?;
            Ok(0)
        }
        TIOCGSID => {
            may_ask()?;
            let session = match call.objects().terminal(end)?.session {
                0 => return Err(Errno::ENOTTY.into()),
                session => session,
            };
            call.space().put(argument, session)?;
            Ok(0)
        }
        _ => set_foreground(call, end, argument),
    })
}

/// `tcsetpgrp`.
fn set_foreground(call: &Call<'_>, end: End, argument: u64) -> Outcome {
    check_change(call, end).map_err(|stop| match stop {
        Stop::Error(Errno::EIO) => Errno::ENOTTY.into(),
        stop => stop,
    })?;
    let group: i32 = call.space().get(argument)?;
    let group = u32::try_from(group).map_err(|_| Errno::EINVAL)?;
    if !call.objects().is_controlling(&call.world(), end) {
        return Err(Errno::ENOTTY.into());
    }
    let own = call.process.state.borrow().session;
    let session = {
        let processes = call.uc.processes.borrow();
        let of = |p: &alloc::rc::Rc<crate::state::process::Process>| {
            let state = p.state.borrow();
            (state.group == group).then_some(state.session)
        };
        let gone = processes.zombies.iter().find(|z| z.group == group);
        let live = processes.live.iter().find_map(of);
        live.or(gone.map(|z| z.session)).ok_or(Errno::ESRCH)?
    };
    if session != own {
        return Err(Errno::EPERM.into());
    }
    call.objects().terminal_mut(end)?.foreground = group;
    Ok(0)
}

/// What only pseudo-terminals have.
fn pseudo(call: &Call<'_>, end: End, request: u32, argument: u64) -> Option<Outcome> {
    let of_master = matches!(
        request,
        TIOCGPTN | TIOCSPTLCK | TIOCGPTLCK | TIOCPKT | TIOCGPKT | TIOCSIG | TIOCGPTPEER
    );
    if of_master && !end.is_master {
        return Some(Err(match request {
            TIOCGPTPEER => Errno::EIO,
            _ => Errno::ENOTTY,
        }
        .into()));
    }
    let known = of_master || matches!(request, TIOCEXCL | TIOCNXCL | TIOCGEXCL | TIOCGDEV);
    known.then(|| {
        let mut objects = call.objects();
        let told = match request {
            TIOCGPTPEER => {
                drop(objects);
                let flags = OpenFlags::from_bits_retain(argument as u32);
                let known = OpenFlags::NONBLOCK | OpenFlags::CLOEXEC;
                if flags.bits() & !(known.bits() | ACCESS | O_NOCTTY) != 0 {
                    return Err(Errno::EINVAL.into());
                }
                let flags = flags & OpenFlags::KNOWN;
                return Ok(call.on_objects(|o, w| o.open_terminal_peer(w, end, flags))? as u64);
            }
            TIOCGPTN => objects.terminal(end)?.number,
            TIOCGPTLCK => objects.terminal(end)?.locked.into(),
            TIOCGPKT => objects.terminal(end)?.has_packets().into(),
            TIOCGEXCL => objects.terminal(end)?.exclusive.into(),
            TIOCGDEV => pts_number(objects.terminal(end)?.number) as u32,
            TIOCSPTLCK | TIOCPKT => {
                let on = call.space().get::<i32>(argument)? != 0;
                let pty = objects.terminal_mut(end)?;
                match request {
                    TIOCPKT => pty.set_packets(on),
                    _ => pty.locked = on,
                }
                return Ok(0);
            }
            TIOCSIG => {
                let signal = u8::try_from(argument).ok().filter(|s| (1..=64).contains(s));
                objects.signal_terminal(end, signal.ok_or(Errno::EINVAL)?)?;
                return Ok(0);
            }
            _ => {
                objects.terminal_mut(end)?.exclusive = request == TIOCEXCL;
                return Ok(0);
            }
        };
        drop(objects);
        call.space().put(argument, told)?;
        Ok(0)
    })
}
