//! A network of an image and this program: a network namespace with a tap interface, which takes root.
//!
//! The namespace belongs to the thread that [`lan`] runs a test on, and to the threads and programs that it starts; it has no
//! name and ends with them. The image is either on the tap interface itself, or behind a [`Relay`] that sees every frame
//! and may lose, repeat, delay or spoil it.

use std::{
    fs::File,
    io::{self, Read, Write},
    net::{Ipv6Addr, SocketAddr, SocketAddrV6, TcpStream},
    os::{
        fd::{AsRawFd, FromRawFd},
        unix::net::UnixDatagram,
    },
    path::PathBuf,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{Image, Random, cargo, image::runner, tools};

/// The image's address, by option.
pub const V4: [u8; 4] = [10, 0, 2, 15];
/// Its address on the link, by its hardware address.
pub const V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0x5054, 0xff, 0xfe12, 0x3456);
/// Its hardware address.
pub const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

/// Runs a test in a network of its own. Without root it says so and does nothing.
///
/// # Panics
/// When the test does.
pub fn lan(test: impl FnOnce() + Send + 'static) {
    if tools::lacks(&["ip", "qemu-system-x86_64"]) {
        return;
    }
    // Cargo may have to download something, which the network of the test could not.
    cargo::program("image-network");
    let name = thread::current().name().map_or(String::new(), String::from);
    let run = thread::Builder::new().name(name).spawn(move || {
        // SAFETY: concerns this thread alone.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
            let error = io::Error::last_os_error();
            tools::skip_allowed(&format!("a network of its own takes root ({error})"));
            return;
        }
        ip(&["link", "set", "lo", "up"]);
        test();
    });
    if let Err(panic) = run.expect("a thread").join() {
        std::panic::resume_unwind(panic);
    }
}

fn ip(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status();
    assert!(
        status.is_ok_and(|s| s.success()),
        "`ip {}`",
        arguments.join(" ")
    );
}

fn configure_tap() {
    ip(&["addr", "add", "10.0.2.2/24", "dev", "tap0"]);
    ip(&["addr", "add", "fe80::2/64", "dev", "tap0", "nodad"]);
    ip(&["link", "set", "tap0", "up"]);
}

/// Takes tap interfaces away, for a next machine.
pub fn remove_taps(names: &[&str]) {
    for name in names {
        ip(&["link", "del", name]);
    }
    ip(&["addr", "del", "192.0.2.1/32", "dev", "lo"]);
}

/// A port of the image's link-local address on `tap0`.
pub fn v6(port: u16) -> SocketAddr {
    let name = c"tap0";
    // SAFETY: a string with its end.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    SocketAddrV6::new(V6, port, 0, index).into()
}

/// A port of the image.
pub fn v4(port: u16) -> SocketAddr {
    (V4, port).into()
}

/// The test image on the link.
pub struct Machine {
    // Ends before what it is behind.
    image: Image,
    relay: Option<Relay>,
}

impl Machine {
    /// Boots the test image on a tap interface with so many queues.
    pub fn on_tap(cores: usize, queues: usize) -> Self {
        Self::on_tap_with(cores, queues, &[])
    }

    /// The same with these settings of the runner.
    pub fn on_tap_with(cores: usize, queues: usize, settings: &[(&str, &str)]) -> Self {
        let mut tap = vec!["tuntap", "add", "dev", "tap0", "mode", "tap", "vnet_hdr"];
        if queues > 1 {
            tap.push("multi_queue");
        }
        ip(&tap);
        configure_tap();
        let queues = match queues {
            1 => String::new(),
            n => format!(",queues={n}"),
        };
        let net = format!("tap:tap0{queues},mac=52:54:00:12:34:56");
        let network = [("EBB_NET", &*net), ("EBB_OPTIONS", "ip=10.0.2.15/24")];
        let machine = Self {
            image: boot(cores, &[&network, settings].concat()),
            relay: None,
        };
        machine.is_up();
        machine
    }

    /// Boots the test image on two tap interfaces, the second with the network 10.0.3.0/24; the image listens on port 8 of its
    /// address there only.
    pub fn on_two_taps(cores: usize) -> Self {
        for tap in ["tap0", "tap1"] {
            ip(&["tuntap", "add", "dev", tap, "mode", "tap", "vnet_hdr"]);
        }
        configure_tap();
        ip(&["addr", "add", "10.0.3.2/24", "dev", "tap1"]);
        ip(&["link", "set", "tap1", "up"]);
        // Somebody further away, whom either router leads to.
        ip(&["addr", "add", "192.0.2.1/32", "dev", "lo"]);
        let settings = [
            ("EBB_NET", "tap:tap0;tap:tap1"),
            (
                "EBB_OPTIONS",
                "ip=10.0.2.15/24,10.0.2.2;10.0.3.15/24,10.0.3.2",
            ),
        ];
        let mut runner = runner(&cargo::program("image-network"), "512M", 180);
        runner
            .arg("10.0.3.15")
            .env("EBB_CORES", cores.to_string())
            .envs(settings);
        let machine = Self {
            image: Image::start(&mut runner),
            relay: None,
        };
        machine.is_up();
        machine
    }

    /// Boots the test image behind a relay.
    pub fn behind(relay: Relay, cores: usize, address: &str) -> Self {
        let device = format!(
            "-netdev dgram,id=net,local.type=unix,local.path={},remote.type=unix,remote.path={} \
             -device virtio-net-pci,netdev=net,disable-legacy=on,romfile=,mac=52:54:00:12:34:56",
            relay.image.display(),
            relay.host.display()
        );
        let options = format!("ip={address}");
        let settings = [
            ("EBB_NET", "none"),
            ("EBB_QEMU_ARGS", &*device),
            ("EBB_OPTIONS", &options),
        ];
        Self {
            image: boot(cores, &settings),
            relay: Some(relay),
        }
    }

    /// What it is behind.
    ///
    /// # Panics
    /// When it is on a tap interface.
    pub fn relay(&self) -> &Relay {
        self.relay.as_ref().expect("one behind a relay")
    }

    /// Waits until it has said something.
    ///
    /// # Panics
    /// When it does not.
    pub fn says(&self, what: &str) {
        self.image.says(what);
    }

    /// Waits until it serves.
    pub fn is_up(&self) {
        self.says("network address 10.0.2.15/24");
        self.says("serving");
    }

    /// Its `/state`.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn state(&self) -> State {
        let mut stream = connect(v4(80));
        stream
            .write_all(b"GET /state HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .expect("connected");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        State(answer)
    }
}

/// Boots the test image.
fn boot(cores: usize, settings: &[(&str, &str)]) -> Image {
    Image::start(
        runner(&cargo::program("image-network"), "512M", 180)
            .env("EBB_CORES", cores.to_string())
            .envs(settings.iter().copied()),
    )
}

/// What the image has counted.
pub struct State(String);

impl State {
    /// A counter of the machine.
    ///
    /// # Panics
    /// When there is none of that name.
    pub fn of(&self, name: &str) -> u64 {
        let value = self
            .0
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or_else(|| panic!("{name} is missing in {}", self.0))
    }

    /// Bytes of the heap in use, without the free device buffers, which are kept: at most 1,024 of 2 KiB on each core;
    /// and without the network's tables, which keep the size that they once needed.
    ///
    /// # Panics
    /// When there are more free buffers.
    pub fn heap(&self) -> u64 {
        let buffers = self.sum("free_buffers");
        assert!(buffers <= 2 * 1024);
        self.of("heap") - buffers * 2048 - self.sum("tables")
    }

    /// The sum over all cores.
    pub fn sum(&self, name: &str) -> u64 {
        (0..)
            .map_while(|core| {
                let name = format!("core{core}.{name} ");
                let line = self.0.lines().find_map(|l| l.strip_prefix(&name))?;
                line.parse::<u64>().ok()
            })
            .sum()
    }
}

/// Connects; no read or write waits for ever.
///
/// # Panics
/// When nothing answers.
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(60))
        .unwrap_or_else(|error| panic!("{address} does not answer: {error}"));
    let limit = Some(Duration::from_secs(90));
    stream.set_read_timeout(limit).expect("above zero");
    stream.set_write_timeout(limit).expect("above zero");
    stream.set_nodelay(true).expect("a TCP socket");
    stream
}

/// What a relay does to frames, in thousandths.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Lost.
    pub lose: u64,
    /// Carried twice.
    pub repeat: u64,
    /// Carried after the next one.
    pub reorder: u64,
    /// Carried with a bit that is wrong.
    pub corrupt: u64,
}

type Answer = Box<dyn FnMut(&[u8]) -> Vec<Vec<u8>> + Send>;

/// Carries frames between a tap interface and an image's network device.
pub struct Relay {
    image: PathBuf,
    host: PathBuf,
    shared: Arc<RelayState>,
    socket: Arc<UnixDatagram>,
    thread: Option<thread::JoinHandle<()>>,
}

#[derive(Default)]
struct RelayState {
    faults: Mutex<Faults>,
    stop: AtomicBool,
    carried: AtomicU64,
    /// Looks at the image's frames first, and may answer.
    peer: Mutex<Option<Answer>>,
}

impl Relay {
    /// Makes the tap interface and the device's other end.
    ///
    /// # Panics
    /// Outside of [`lan`].
    pub fn new(faults: Faults) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let place = |what: &str| {
            let name = format!(
                "ebb-lan-{}-{}-{what}",
                std::process::id(),
                COUNT.fetch_add(1, Relaxed)
            );
            std::env::temp_dir().join(name)
        };
        let (image, host) = (place("image"), place("host"));
        let socket = Arc::new(UnixDatagram::bind(&host).expect("a directory to write to"));
        let tap = open_tap();
        configure_tap();
        let shared = Arc::new(RelayState {
            faults: Mutex::new(faults),
            ..RelayState::default()
        });
        let thread = {
            let (socket, shared, image) = (Arc::clone(&socket), Arc::clone(&shared), image.clone());
            thread::spawn(move || carry(tap, &socket, &shared, &image))
        };
        Self {
            image,
            host,
            shared,
            socket,
            thread: Some(thread),
        }
    }

    /// Does this to frames from now on.
    pub fn set(&self, faults: Faults) {
        *self.shared.faults.lock().expect("no panic") = faults;
    }

    /// Frames carried so far.
    pub fn carried(&self) -> u64 {
        self.shared.carried.load(Relaxed)
    }

    /// Sends a frame to the image.
    pub fn inject(&self, frame: &[u8]) {
        while let Err(error) = self.socket.send_to(frame, &self.image) {
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}");
            thread::yield_now();
        }
    }

    /// Has `answer` look at what the image sends, and send frames back.
    pub fn answer(&self, answer: impl FnMut(&[u8]) -> Vec<Vec<u8>> + Send + 'static) {
        *self.shared.peer.lock().expect("no panic") = Some(Box::new(answer));
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = std::fs::remove_file(&self.image);
        let _ = std::fs::remove_file(&self.host);
    }
}

/// Makes `tap0`.
fn open_tap() -> File {
    let path = c"/dev/net/tun";
    // SAFETY: a path with its end.
    let descriptor = unsafe { libc::open(path.as_ptr(), libc::O_RDWR | libc::O_NONBLOCK) };
    assert!(
        descriptor >= 0,
        "/dev/net/tun: {}",
        io::Error::last_os_error()
    );
    // SAFETY: open, and nobody else's.
    let tap = unsafe { File::from_raw_fd(descriptor) };
    // SAFETY: all zeros is a request without name and flags.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"tap0") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: a request that outlives the call.
    let made = unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    assert_eq!(made, 0, "tap0: {}", io::Error::last_os_error());
    tap
}

/// A frame that is late.
struct Late {
    at: Instant,
    to_image: bool,
    frame: Vec<u8>,
}

fn carry(mut tap: File, socket: &UnixDatagram, shared: &RelayState, image: &PathBuf) {
    socket.set_nonblocking(true).expect("a socket");
    let mut random = Random::new(1);
    let mut late: Vec<Late> = Vec::new();
    let mut buffer = vec![0; 65_536];
    while !shared.stop.load(Relaxed) {
        let wait = |descriptor: i32| libc::pollfd {
            fd: descriptor,
            events: libc::POLLIN,
            revents: 0,
        };
        let mut waits = [wait(tap.as_raw_fd()), wait(socket.as_raw_fd())];
        let patience = if late.is_empty() { 50 } else { 1 };
        // SAFETY: an array of two.
        unsafe { libc::poll(waits.as_mut_ptr(), 2, patience) };
        let faults = *shared.faults.lock().expect("no panic");
        let mut due = Vec::new();
        for to_image in [true, false] {
            // Some at a time, so that neither side waits for the other.
            for _ in 0..64 {
                let read = if to_image {
                    tap.read(&mut buffer)
                } else {
                    socket.recv(&mut buffer)
                };
                let Ok(length) = read else { break };
                let frame = &mut buffer[..length];
                shared.carried.fetch_add(1, Relaxed);
                if !to_image && let Some(peer) = &mut *shared.peer.lock().expect("no panic") {
                    due.extend(peer(frame).into_iter().map(|frame| (true, frame)));
                }
                if random.chance(faults.lose) {
                    continue;
                }
                let copies = 1 + usize::from(random.chance(faults.repeat));
                for _ in 0..copies {
                    let mut frame = frame.to_vec();
                    if random.chance(faults.corrupt) {
                        let at = random.next() as usize % frame.len();
                        frame[at] ^= 1 << (random.next() % 8);
                    }
                    if random.chance(faults.reorder) {
                        let at = Instant::now() + Duration::from_micros(random.next() % 3000);
                        late.push(Late {
                            at,
                            to_image,
                            frame,
                        });
                    } else {
                        due.push((to_image, frame));
                    }
                }
            }
        }
        let now = Instant::now();
        while let Some(n) = late.iter().position(|l| l.at <= now) {
            let late = late.swap_remove(n);
            due.push((late.to_image, late.frame));
        }
        for (to_image, frame) in due {
            // A queue that stays full loses frames, as it does elsewhere.
            if to_image {
                let patience = Instant::now() + Duration::from_millis(20);
                while socket.send_to(&frame, image).is_err() && Instant::now() < patience {
                    thread::yield_now();
                }
            } else {
                let _ = tap.write(&frame);
            }
        }
    }
}
