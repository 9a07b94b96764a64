//! The runner on a terminal of the test's own.

use std::{
    fs::File,
    io::{Read, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Stdio},
};

use test_support::needs;

use crate::common::{Code, directory, eventually, fake_qemu, is_alive, qemu_of, runner};
use nix::{
    libc,
    pty::openpty,
    sys::{
        signal::{Signal, kill},
        termios::{LocalFlags, Termios, tcgetattr},
    },
    unistd::{Pid, setsid},
};

/// A runner that leads a session on a new terminal, the other side of it, and its state before.
struct Session {
    child: Child,
    keyboard: File,
    terminal: OwnedFd,
    before: Termios,
}

impl Session {
    fn start(dir: &Path, image: &Path, variables: &[(&str, &str)]) -> Self {
        let pty = openpty(None, None).unwrap();
        let before = tcgetattr(&pty.slave).unwrap();
        let mut command = runner(dir, image);
        command
            .envs(variables.iter().copied())
            .stdin(pty.slave.try_clone().unwrap());
        command
            .stdout(pty.slave.try_clone().unwrap())
            .stderr(Stdio::piped());
        let slave = pty.slave.as_raw_fd();
        // SAFETY: system calls only, on a descriptor that the parent keeps open.
        unsafe {
            command.pre_exec(move || {
                setsid()?;
                match libc::ioctl(slave, libc::TIOCSCTTY, 0) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            });
        }
        let child = command.spawn().unwrap();
        Self {
            child,
            keyboard: pty.master.into(),
            terminal: pty.slave,
            before,
        }
    }

    fn is_raw(&self) -> bool {
        let flags = tcgetattr(&self.terminal).unwrap().local_flags;
        !flags.intersects(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG)
    }

    /// Waits until the screen shows this.
    fn read_until(&mut self, wanted: &str) {
        let mut screen = String::new();
        while !screen.contains(wanted) {
            let mut byte = [0];
            self.keyboard.read_exact(&mut byte).unwrap();
            screen.push(char::from(byte[0]));
        }
    }

    fn press(&mut self, keys: &[u8]) {
        self.keyboard.write_all(keys).unwrap();
    }

    /// Gives the window rows, columns, width and height.
    fn resize(&self, [rows, columns, width, height]: [u16; 4]) {
        let size = libc::winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: width,
            ws_ypixel: height,
        };
        // SAFETY: reads one `winsize`, which `size` is.
        let status = unsafe { libc::ioctl(self.terminal.as_raw_fd(), libc::TIOCSWINSZ, &size) };
        assert_eq!(status, 0);
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    /// Its status; the terminal must be as before.
    fn end(mut self) -> Option<i32> {
        let status = self.child.wait().unwrap();
        assert_eq!(
            tcgetattr(&self.terminal).unwrap(),
            self.before,
            "the terminal is as it was"
        );
        status.code()
    }
}

/// An image that says `up` and does nothing more.
fn halting(dir: &Path) -> PathBuf {
    let code = Code::default().print("up\n").halt();
    code.image(&dir.join("image"))
}

#[test]
fn a_terminal_stays_in_line_mode_and_ctrl_c_ends_the_image() {
    needs!("qemu-system-x86_64");
    let dir = directory("ctrl-c");
    let image = halting(&dir);
    let mut session = Session::start(&dir, &image, &[]);
    session.read_until("up");
    let qemu = qemu_of(session.child.id());
    assert!(!session.is_raw());
    session.press(b"\x03");
    assert_eq!(session.end(), Some(130));
    assert!(!is_alive(qemu));
}

#[test]
fn a_raw_terminal_is_restored_when_the_image_ends() {
    needs!("qemu-system-x86_64");
    let dir = directory("raw-end");
    // Waits for a key: again: mov dx, 0x3fd; in al, dx; test al, 1; jz again
    let wait = [0x66, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xf7];
    let image = Code::default()
        .print("up\n")
        .raw(&wait)
        .report("exit 6")
        .end()
        .image(&dir.join("image"));
    let mut session = Session::start(&dir, &image, &[("EBB_CONSOLE", "raw")]);
    session.read_until("up");
    assert!(session.is_raw());
    // In raw mode a Ctrl-C is a key like any other.
    session.press(b"\x03");
    assert_eq!(session.end(), Some(6));
}

#[test]
fn a_raw_terminal_is_restored_when_a_signal_ends_the_runner() {
    needs!("qemu-system-x86_64");
    let dir = directory("raw-signal");
    let image = halting(&dir);
    for (sent, status) in [(Signal::SIGTERM, 143), (Signal::SIGHUP, 129)] {
        let mut session = Session::start(&dir, &image, &[("EBB_CONSOLE", "raw")]);
        session.read_until("up");
        assert!(session.is_raw());
        session.signal(sent);
        assert_eq!(session.end(), Some(status));
    }
}

#[test]
fn the_escape_key_ends_an_image_in_raw_mode() {
    needs!("qemu-system-x86_64");
    let dir = directory("escape");
    let image = halting(&dir);
    let mut session = Session::start(&dir, &image, &[("EBB_CONSOLE", "raw")]);
    session.read_until("up");
    session.press(b"ab\x1d");
    assert_eq!(session.end(), Some(130));
}

#[test]
fn an_image_can_ask_for_the_mode() {
    needs!("qemu-system-x86_64");
    let dir = directory("mode");
    let image = Code::default()
        .report("console raw")
        .print("up\n")
        .halt()
        .image(&dir.join("image"));
    let mut session = Session::start(&dir, &image, &[]);
    session.read_until("up");
    eventually("the terminal is raw", || session.is_raw());
    session.press(b"\x1d");
    assert_eq!(session.end(), Some(130));
}

#[test]
fn an_image_that_asks_hears_how_large_the_window_is_and_becomes() {
    needs!("qemu-system-x86_64");
    let dir = directory("sizes");
    let lines = "echo console raw >$report; echo console sizes >$report; echo up\n\
                 head -c 16 | tr '\\033' E; head -c 21 | tr '\\033' E; echo exit 0 >$report";
    let qemu = fake_qemu(&dir.join("qemu"), lines);
    let image = Code::default().end().image(&dir.join("image"));
    let mut session = Session::start(&dir, &image, &[("EBB_QEMU", qemu.to_str().unwrap())]);
    session.read_until("up");
    eventually("the terminal is raw", || session.is_raw());
    session.resize([50, 132, 0, 0]);
    session.read_until("E[48;50;132;0;0t");
    session.press(b"ab");
    session.resize([24, 80, 640, 384]);
    session.read_until("E[48;24;80;384;640t");
    assert_eq!(session.end(), Some(0));
}

#[test]
fn a_line_is_passed_on_and_ctrl_d_is_a_byte_4() {
    needs!("qemu-system-x86_64");
    let dir = directory("line");
    // Prints the number of the bytes that come within half a second of each line.
    let lines = "echo up; read line; echo got $line; head -c 1 | od -An -tu1; echo exit 0 >$report";
    let qemu = fake_qemu(&dir.join("qemu"), lines);
    let image = Code::default().end().image(&dir.join("image"));
    let mut session = Session::start(&dir, &image, &[("EBB_QEMU", qemu.to_str().unwrap())]);
    session.read_until("up");
    session.press(b"some words\n");
    session.read_until("got some words");
    session.press(b"\x04");
    session.read_until(" 4");
    assert_eq!(session.end(), Some(0));
}

#[test]
fn ctrl_z_stops_qemu_too_and_both_go_on() {
    needs!("qemu-system-x86_64");
    let dir = directory("ctrl-z");
    let image = halting(&dir);
    let mut session = Session::start(&dir, &image, &[]);
    session.read_until("up");
    let (runner, qemu) = (
        session.child.id().cast_signed(),
        qemu_of(session.child.id()),
    );
    let state = |pid: i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ")
            .and_then(|(_, rest)| rest.chars().next())
    };
    session.press(b"\x1a");
    eventually("both are stopped", || {
        state(runner) == Some('T') && state(qemu) == Some('T')
    });
    session.signal(Signal::SIGCONT);
    eventually("both go on", || {
        state(runner) == Some('S') && state(qemu) != Some('T')
    });
    session.press(b"\x03");
    assert_eq!(session.end(), Some(130));
}
