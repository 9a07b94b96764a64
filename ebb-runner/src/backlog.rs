//! Room for waiting connections on the ports that QEMU forwards.
//!
//! libslirp listens with a backlog of 1. When several clients connect at once, Linux lets them believe that they are
//! connected, drops what they send, and resets them a minute later; none of it reaches the image. To listen again on a
//! socket that listens only changes its backlog, and a parent may take a duplicate of its child's descriptor
//! (`pidfd_getfd`), so the runner does that. Where it is not allowed to, the backlog stays as it was.

use std::{
    fs,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
};

use nix::{
    libc,
    sys::socket::{Backlog, getsockopt, listen, sockopt::AcceptConn},
    unistd::Pid,
};

/// Linux cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Gives every listening socket of a child a long queue; how many there were.
pub fn widen(child: Pid) -> usize {
    // SAFETY: no memory is handed over; the result is checked.
    let Some(process) = (unsafe { owned(libc::syscall(libc::SYS_pidfd_open, child.as_raw(), 0)) })
    else {
        return 0;
    };
    let Ok(open) = fs::read_dir(format!("/proc/{child}/fd")) else {
        return 0;
    };
    let sockets = open.flatten().filter(|entry| {
        fs::read_link(entry.path())
            .is_ok_and(|to| to.as_os_str().as_encoded_bytes().starts_with(b"socket:"))
    });
    let numbers = sockets.filter_map(|entry| entry.file_name().to_str()?.parse::<RawFd>().ok());
    numbers
        .filter(|&number| {
            let process = process.as_raw_fd();
            // SAFETY: as above.
            let copy = unsafe { owned(libc::syscall(libc::SYS_pidfd_getfd, process, number, 0)) };
            copy.is_some_and(|socket| {
                getsockopt(&socket, AcceptConn) == Ok(true)
                    && Backlog::new(BACKLOG).is_ok_and(|backlog| listen(&socket, backlog).is_ok())
            })
        })
        .count()
}

/// A descriptor that a system call gave, if it did.
///
/// # Safety
/// If `result` is not negative it is a descriptor that nobody else owns.
unsafe fn owned(result: libc::c_long) -> Option<OwnedFd> {
    let fd = RawFd::try_from(result).ok().filter(|fd| *fd >= 0)?;
    // SAFETY: as promised by the caller.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}
