//! vsock between the image and the host: `EBB_VSOCK`.
//!
//! With a context identifier the host's kernel does it (`/dev/vhost-vsock`), and the host's programs use `AF_VSOCK`. With a Unix socket
//! `vhost-device-vsock` does, a program of the rust-vmm project that the runner starts beside QEMU and that needs nothing of the kernel.
//!
//! What must hold: the program is connected to before QEMU starts, so that nothing is left of the socket between the two; it ends with
//! the machine, or by the kernel when the runner dies.

use std::{
    cell::{Cell, RefCell},
    env,
    ffi::OsString,
    fs::{self, DirBuilder, File},
    io::{Read, Seek, SeekFrom},
    os::{
        fd::{AsRawFd, RawFd},
        unix::{
            fs::DirBuilderExt,
            net::UnixStream,
            process::{CommandExt, ExitStatusExt},
        },
    },
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    fcntl::{FcntlArg, FdFlag, fcntl},
    sys::{
        memfd::{MFdFlags, memfd_create},
        prctl,
        signal::{Signal, killpg},
    },
    unistd::{Pid, getpid, getppid},
};

use crate::{
    failure::{Failure, NOT_FOUND},
    install,
    tell::tell,
};

/// The image's context identifier where nobody else sees it.
pub const CID: u32 = 3;
/// What the host's kernel does it with.
pub const KERNEL: &str = "/dev/vhost-vsock";
/// The program that does it without.
const PROGRAM: &str = "vhost-device-vsock";
/// Bytes of the longest path of a socket (unix(7)), and of what a port adds to it.
const PATH: usize = 107;
const PORT: usize = "_4294967295".len();
/// How long the program may take to be there.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the image's socket device is connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vsock {
    /// Unix sockets: this one leads to the image's ports, PATH_PORT to those of the host.
    Unix(PathBuf),
    /// The host's kernel, which knows the image by this context identifier.
    Kernel(u32),
}

impl Vsock {
    /// Parses a value of `EBB_VSOCK`.
    ///
    /// # Errors
    /// What is accepted.
    pub fn parse(text: &str) -> Result<Self, String> {
        let path = text.strip_prefix("unix:");
        let path = path.filter(|path| (1..=PATH - PORT).contains(&path.len()));
        let cid = text
            .parse()
            .ok()
            .filter(|cid| (CID..u32::MAX).contains(cid));
        match (path, cid) {
            (Some(path), _) => Ok(Self::Unix(path.into())),
            (_, Some(cid)) => Ok(Self::Kernel(cid)),
            _ => Err(format!(
                "unix:PATH, of at most {} bytes, or the image's context identifier in the host's kernel, from {CID} on",
                PATH - PORT
            )),
        }
    }

    /// How the two sides reach one another, for people.
    pub fn line(&self) -> String {
        match self {
            Self::Unix(path) => {
                let path = path.display();
                format!(
                    "vsock: connect to {path} and write `CONNECT PORT` for a port of the image; port N of the host is {path}_N"
                )
            }
            Self::Kernel(cid) => format!("vsock: the image is context {cid}, the host is 2"),
        }
    }
}

/// The program, while it runs.
pub struct Backend {
    child: RefCell<Child>,
    path: PathBuf,
    stream: UnixStream,
    errors: RefCell<File>,
    /// That it has ended was told.
    is_told: Cell<bool>,
}

impl Backend {
    /// Starts it, with the image's ports at this path.
    ///
    /// # Errors
    /// When it is missing and cannot be installed, or does not start.
    pub fn start(path: &Path, no_install: bool) -> Result<Self, Failure> {
        let program = program(no_install)?;
        let failed =
            |what: String| Failure::unusable(format!("EBB_VSOCK: {}: {what}", program.display()));
        let folder = env::temp_dir().join(format!("ebb-vsock-{}", process::id()));
        let made = DirBuilder::new().mode(0o700).create(&folder);
        made.map_err(|e| failed(format!("the folder {}: {e}", folder.display())))?;
        let socket = folder.join("vhost");
        let started = spawn(&program, &socket, path)
            .map_err(|e| failed(e.to_string()))
            .and_then(|(child, errors)| {
                let mut starting = Starting(Some((child, errors)));
                let stream = starting.connect(&socket).map_err(failed)?;
                let (child, errors) = starting.0.take().expect("it is there until now");
                Ok(Self {
                    child: child.into(),
                    path: path.into(),
                    stream,
                    errors: errors.into(),
                    is_told: Cell::new(false),
                })
            });
        let _ = fs::remove_dir_all(&folder);
        let backend = started?;
        fcntl(&backend.stream, FcntlArg::F_SETFD(FdFlag::empty()))
            .map_err(|e| failed(e.to_string()))?;
        Ok(backend)
    }

    /// QEMU's end of the connection to it.
    pub fn fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }

    /// Tells, once, if it has ended while the image runs, which QEMU has no way to tell the image. Whether it has.
    pub fn tell_if_ended(&self) -> bool {
        let Ok(Some(status)) = self.child.borrow_mut().try_wait() else {
            return false;
        };
        if !self.is_told.replace(true) {
            let why = match status.signal() {
                Some(signal) => format!("signal {signal}"),
                None => format!("status {}", status.code().unwrap_or_default()),
            };
            tell!(
                "ebb-runner: {PROGRAM} has ended before the image ({why}), which has no vsock from now on and is not told{}",
                said(&mut self.errors.borrow_mut())
            );
        }
        true
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        if !self.tell_if_ended() {
            end(self.child.get_mut());
        }
        let _ = fs::remove_file(&self.path);
    }
}

/// One that does not listen yet.
struct Starting(Option<(Child, File)>);

impl Starting {
    fn connect(&mut self, socket: &Path) -> Result<UnixStream, String> {
        let until = Instant::now() + PATIENCE;
        loop {
            let error = match UnixStream::connect(socket) {
                Ok(stream) => return Ok(stream),
                Err(error) => error,
            };
            let Some((child, errors)) = &mut self.0 else {
                return Err(error.to_string());
            };
            if let Ok(Some(_)) = child.try_wait() {
                return Err(format!("it ended at once{}", said(errors)));
            }
            if Instant::now() > until {
                return Err(format!("it does not listen: {error}{}", said(errors)));
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.0 {
            end(child);
        }
    }
}

fn end(child: &mut Child) {
    let _ = killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL);
    let _ = child.wait();
}

/// What it has said of errors.
fn said(errors: &mut File) -> String {
    let mut text = Vec::new();
    let read = errors
        .seek(SeekFrom::Start(0))
        .and_then(|_| errors.take(4096).read_to_end(&mut text));
    match read {
        Ok(1..) => format!(": {}", String::from_utf8_lossy(&text).trim()),
        _ => String::new(),
    }
}

fn spawn(program: &Path, socket: &Path, path: &Path) -> std::io::Result<(Child, File)> {
    let errors = File::from(memfd_create(c"vsock", MFdFlags::MFD_CLOEXEC)?);
    let runner = getpid();
    let mut command = Command::new(program);
    command
        .arg(format!("--guest-cid={CID}"))
        .arg(option("--socket=", socket))
        .arg(option("--uds-path=", path))
        // A terminal's Ctrl-C is the runner's: the image may still have something to say.
        .process_group(0)
        .env("RUST_LOG", "error")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(errors.try_clone()?);
    let prepare = move || {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        if getppid() != runner {
            return Err(std::io::ErrorKind::NotConnected.into());
        }
        Ok(())
    };
    // SAFETY: the closure makes system calls only; it neither allocates nor takes a lock.
    unsafe { command.pre_exec(prepare) };
    Ok((command.spawn()?, errors))
}

fn option(name: &str, path: &Path) -> OsString {
    let mut option = OsString::from(name);
    option.push(path);
    option
}

/// The program in PATH or where Cargo installs; else has Cargo install it.
fn program(no_install: bool) -> Result<PathBuf, Failure> {
    let home = || {
        let cargo = env::var_os("CARGO_HOME").map(PathBuf::from);
        cargo.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")))
    };
    let find = || {
        install::in_path(Path::new(PROGRAM)).or_else(|| {
            let installed = home()?.join("bin").join(PROGRAM);
            install::is_program(&installed).then_some(installed)
        })
    };
    if let Some(program) = find() {
        return Ok(program);
    }
    let missing = |why: &str| {
        let text = format!(
            "EBB_VSOCK: {PROGRAM} was not found{why}. Install it: cargo install --locked {PROGRAM}\n\
             or name a context identifier instead of a Unix socket: EBB_VSOCK={CID}, which needs {KERNEL} (sudo modprobe vhost_vsock)."
        );
        Failure::new(NOT_FOUND, text)
    };
    if no_install {
        return Err(missing(", and EBB_NO_INSTALL forbids to install it"));
    }
    if install::in_path(Path::new("cargo")).is_none() {
        return Err(missing(", and there is no Cargo to install it with"));
    }
    tell!(
        "ebb-runner: {PROGRAM} is missing; installing it with Cargo, which takes some minutes (EBB_NO_INSTALL=1 refuses)"
    );
    match install::cargo_install(PROGRAM) {
        true => find().ok_or_else(|| missing(" after its installation")),
        false => Err(missing(", and installing it failed (see above)")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vsock_is_a_unix_socket_or_an_identifier_in_the_kernel() {
        assert_eq!(
            Vsock::parse("unix:/tmp/a"),
            Ok(Vsock::Unix("/tmp/a".into()))
        );
        assert_eq!(Vsock::parse("3"), Ok(Vsock::Kernel(3)));
        assert_eq!(Vsock::parse("4294967294"), Ok(Vsock::Kernel(u32::MAX - 1)));
        // A port's path has to fit, too.
        let longest = format!("unix:{}", "x".repeat(96));
        assert!(Vsock::parse(&longest).is_ok());
        let long = longest + "x";
        for text in ["", "unix:", "2", "-1", "4294967295", "1e3", "/tmp/a", &long] {
            assert!(Vsock::parse(text).is_err(), "{text}");
        }
    }
}
