//! Sockets between an image and its host by the runner's `EBB_VSOCK`, with vhost-device-vsock as the device: every byte both ways, many
//! streams, sides that do not read, ends and resets. Boots `images/vsock.rs`.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use test_support::{Image, Random, boot_small, cargo, needs, runner, tools};

const FLOOD: usize = 8 << 20;
const DEVICE: &str = "vhost-device-vsock@0.3.0";
const LIMIT: Option<Duration> = Some(Duration::from_secs(20));

struct Machine {
    image: Image,
    folder: Folder,
}

/// Lets a device come to itself that was just let go: it loses all connections, for good, when one comes before it has its queues.
fn settle() {
    thread::sleep(Duration::from_millis(100));
}

/// A folder for sockets, whose names are short.
struct Folder(PathBuf);

impl Folder {
    fn new(path: PathBuf) -> Self {
        fs::create_dir_all(&path).expect("a folder to write to");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Gives the image of a runner a socket device, and the runner the program for it.
fn with_vsock<'a>(runner: &'a mut Command, device: &Path, folder: &Folder) -> &'a mut Command {
    let path = std::env::var("PATH").unwrap_or_default();
    runner
        .env("PATH", format!("{}:{path}", device.display()))
        .env("EBB_VSOCK", format!("unix:{}/v", folder.0.display()))
}

impl Machine {
    fn boot(board: &str, device: &Path) -> Self {
        let name = format!("ebb-vsock-{board}-{}", std::process::id());
        let folder = Folder::new(std::env::temp_dir().join(name));
        let mut command = runner(&cargo::program("image-vsock"), "256M", 170);
        command
            .env("EBB_NET", "none")
            .env("EBB_MACHINE", board)
            .env("EBB_CORES", "2");
        let image = Image::start(with_vsock(&mut command, device, &folder));
        image.says("context 3");
        image.says("serving");
        settle();
        Self { image, folder }
    }

    /// Connects to a port of the image; `None` when it refuses.
    fn connect(&self, port: u32) -> Option<UnixStream> {
        let mut stream = UnixStream::connect(self.folder.0.join("v")).expect("the device listens");
        stream.set_read_timeout(LIMIT).expect("above zero");
        stream.set_write_timeout(LIMIT).expect("above zero");
        // In one piece: the device takes what it reads at once for the whole line.
        let line = format!("CONNECT {port}\n");
        stream.write_all(line.as_bytes()).expect("it listens");
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            let mut byte = [0];
            if stream.read(&mut byte).expect("an answer") == 0 {
                return None;
            }
            line.push(byte[0]);
        }
        assert!(line.starts_with(b"OK "), "{line:?}");
        Some(stream)
    }

    fn to(&self, port: u32) -> UnixStream {
        self.connect(port).expect("the image listens there")
    }

    /// Has the image connect to a port of this host, and send so many bytes there and back.
    fn call(&self, port: u32, length: usize) -> String {
        let mut commands = self.to(7);
        writeln!(commands, "{port} {length}").expect("it reads");
        let mut answer = [0; 32];
        let n = commands.read(&mut answer).expect("an answer");
        String::from_utf8_lossy(&answer[..n]).trim().to_owned()
    }
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|n| ((n * 31) ^ (n >> 7)) as u8).collect()
}

fn sum(bytes: &[u8]) -> u64 {
    let each = bytes.iter();
    each.fold(0, |sum, b| (sum * 31 + u64::from(*b)) % 1_000_007)
}

fn echo(stream: &UnixStream, sent: &[u8]) {
    thread::scope(|scope| {
        let mut writer = stream;
        scope.spawn(move || writer.write_all(sent).expect("the image takes it"));
        let mut received = vec![0; sent.len()];
        (&*stream).read_exact(&mut received).expect("it comes back");
        assert!(received == sent, "other bytes came back");
    });
}

/// Large transfers, each way, to a side that stops for a while.
fn every_byte_arrives(machine: &Machine) {
    let expected = pattern(FLOOD);
    let mut flood = machine.to(2);
    let mut received = vec![0; FLOOD];
    for part in received.chunks_mut(3_000_000) {
        flood.read_exact(part).expect("the flood");
        thread::sleep(Duration::from_millis(100));
    }
    assert!(received == expected, "other bytes came");
    assert_eq!(flood.read(&mut [0]).expect("its end"), 0);
    machine.image.says("flood 0: Ok(())");
    let mut sink = machine.to(3);
    sink.write_all(&expected).expect("the image takes it");
    drop(sink);
    let said = format!("sink 0: {FLOOD} bytes, {}", sum(&expected));
    machine.image.says(&said);
}

/// More connections than the image has room for at once, and many at once.
fn many_streams(machine: &Machine) {
    for n in 0..400_u32 {
        echo(&machine.to(1), &n.to_le_bytes());
    }
    thread::scope(|scope| {
        for n in 0..40 {
            scope.spawn(move || {
                let mut random = Random::new(n);
                let bytes: Vec<u8> = (0..100_000).map(|_| random.next() as u8).collect();
                echo(&machine.to(1), &bytes);
            });
        }
    });
}

/// Some of eight streams speak at once, again and again: no packet may wait for the next one's sake.
fn streams_that_speak_together(machine: &Machine) {
    let streams: Vec<UnixStream> = (0..8).map(|_| machine.to(1)).collect();
    let mut random = Random::new(1);
    for round in 0..3000_u32 {
        let now: Vec<&UnixStream> = streams.iter().filter(|_| random.chance(500)).collect();
        for stream in &now {
            (&**stream)
                .write_all(&round.to_le_bytes())
                .expect("it reads");
        }
        for mut stream in now {
            let mut answer = [0; 4];
            stream.read_exact(&mut answer).expect("it comes back");
            assert_eq!(u32::from_le_bytes(answer), round);
        }
    }
}

/// An image that does not read stops its host, and nothing else; neither side turns in circles meanwhile.
fn one_that_does_not_read(machine: &Machine) {
    let mut deaf = machine.to(4);
    machine.image.says("deaf: does not read");
    deaf.set_write_timeout(Some(Duration::from_secs(1)))
        .expect("above zero");
    let (begun, mut taken) = (Instant::now(), 0);
    let stopped = loop {
        match deaf.write(&[1; 1000]) {
            Ok(n) => taken += n,
            Err(error) => break error,
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{taken}");
    };
    assert_eq!(stopped.kind(), ErrorKind::WouldBlock);
    // The image's 64 KiB, and what the kernel keeps of a Unix socket.
    assert!((64 << 10..2 << 20).contains(&taken), "{taken}");
    let busy = machine.image.busy_processors(Duration::from_secs(1));
    assert!(busy < 0.3, "{busy}");
    echo(&machine.to(1), b"others go on");
}

fn ends(machine: &Machine) {
    assert!(machine.connect(99).is_none(), "nobody listens there");
    // A reset is the end for a Unix socket.
    let mut reset = machine.to(5);
    reset.write_all(b"x").expect("it reads one");
    machine.image.says("reset: done");
    assert_eq!(reset.read(&mut [0]).expect("the end"), 0);
    // The image has ended its direction, and hears all the same.
    let mut half = machine.to(6);
    let mut said = [0; 22];
    half.read_exact(&mut said).expect("what it has to say");
    assert_eq!(&said, b"all that I have to say");
    half.write_all(&pattern(200_000)).expect("it reads");
    drop(half);
    let said = format!("sink 0: 200000 bytes, {}", sum(&pattern(200_000)));
    machine.image.says(&said);
}

fn the_image_connects(machine: &Machine) {
    let listener = UnixListener::bind(machine.folder.0.join("v_7001")).expect("a free path");
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().expect("the device connects");
                let mut bytes = vec![0; 10_000];
                while let Ok(n @ 1..) = stream.read(&mut bytes) {
                    stream.write_all(&bytes[..n]).expect("the image reads");
                }
            }
        });
        for length in [1, 1 << 20] {
            assert_eq!(machine.call(7001, length), "done");
            machine
                .image
                .says(&format!("call 7001: {length} bytes there and back"));
        }
    });
    // HTTP to a server of this host, as a program of its own would be.
    let server = UnixListener::bind(machine.folder.0.join("v_7003")).expect("a free path");
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = server.accept().expect("the device connects");
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).expect("a request");
                asked.push(byte[0]);
            }
            let asked = String::from_utf8_lossy(&asked);
            assert!(
                asked.starts_with("GET /to-host HTTP/1.1\r\nhost: host\r\n"),
                "{asked}"
            );
            let answer = b"HTTP/1.1 203 Fine\r\ncontent-length: 5\r\n\r\nhello";
            stream.write_all(answer).expect("the image reads");
        });
        assert_eq!(machine.call(7003, 0), "203 hello");
    });
    // The device does not answer for a port that nobody listens at.
    assert_eq!(machine.call(7002, 1), "TimedOut");
}

#[test]
fn an_image_and_its_host_connect_to_one_another_and_every_byte_arrives() {
    needs!("qemu-system-x86_64");
    let Some(device) = tools::of_cargo(DEVICE) else {
        return;
    };
    for board in ["q35", "microvm"] {
        let mut machine = Machine::boot(board, &device);
        every_byte_arrives(&machine);
        many_streams(&machine);
        streams_that_speak_together(&machine);
        one_that_does_not_read(&machine);
        ends(&machine);
        the_image_connects(&machine);
        writeln!(machine.to(7), "quit").expect("it reads");
        assert_eq!(machine.image.wait().code(), Some(0));
        assert!(!machine.folder.0.join("v").exists(), "its socket is left");
    }
}

/// What the webserver answers to a request on this stream.
fn page(mut stream: impl Read + Write) -> String {
    let request = b"GET /nowhere HTTP/1.1\r\nhost: image\r\nconnection: close\r\n\r\n";
    stream.write_all(request).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

/// Asks over TLS through a stream that Python connects in the device's way; it trusts only the certificate of this public key.
const ASK_BY_TLS: &str = r#"
import base64, hashlib, socket, ssl, subprocess, sys
path, port, pin = sys.argv[1:]
stream = socket.socket(socket.AF_UNIX)
stream.settimeout(20)
stream.connect(path)
stream.sendall(f"CONNECT {port}\n".encode())
while stream.recv(1) != b"\n": pass
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
context.set_alpn_protocols(["http/1.1"])
secret = context.wrap_socket(stream, server_hostname="localhost")
pem = ssl.DER_cert_to_PEM_cert(secret.getpeercert(True)).encode()
key = subprocess.run(["openssl", "x509", "-pubkey", "-noout"], input=pem, capture_output=True, check=True).stdout
key = base64.b64decode(b"".join(key.splitlines()[1:-1]))
assert pin == base64.b64encode(hashlib.sha256(key).digest()).decode(), pin
print(secret.version(), secret.selected_alpn_protocol())
secret.sendall(b"GET /nowhere HTTP/1.1\r\nhost: image\r\nconnection: close\r\n\r\n")
while part := secret.recv(4096): sys.stdout.write(part.decode())
"#;

#[test]
fn the_webserver_serves_its_host_without_a_network_in_the_clear_and_by_tls() {
    needs!("qemu-system-x86_64", "python3", "openssl");
    let Some(device) = tools::of_cargo(DEVICE) else {
        return;
    };
    for (board, secret) in [("q35", false), ("microvm", true)] {
        let name = format!("ebb-vsock-web-{board}-{}", std::process::id());
        let folder = Folder::new(std::env::temp_dir().join(name));
        let mut command = runner(&cargo::example("webserver"), "256M", 60);
        command
            .env("EBB_NET", "none")
            .env("EBB_MACHINE", board)
            .env("EBB_CORES", "2")
            .args(secret.then_some("--tls"))
            .args(["--vsock", "81"]);
        let image = Image::start(with_vsock(&mut command, &device, &folder));
        let machine = Machine { image, folder };
        let pin = secret.then(|| machine.image.says("--pinnedpubkey sha256//"));
        machine.image.says("serving the host on vsock:3:81");
        settle();
        let Some(line) = pin else {
            for _ in 0..20 {
                let answer = page(machine.to(81));
                assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
                assert!(answer.contains("there is no /nowhere here"), "{answer}");
            }
            // What is no request is told so, there as elsewhere.
            let mut stream = machine.to(81);
            stream.write_all(b"nonsense\r\n\r\n").expect("it reads");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("an answer");
            assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
            continue;
        };
        let pin = line
            .split("sha256//")
            .nth(1)
            .and_then(|s| s.split(' ').next());
        // A client that speaks no TLS, and one that goes in the middle of a handshake, harm nobody.
        let mut plain = machine.to(81);
        plain
            .write_all(b"GET / HTTP/1.1\r\n\r\n")
            .expect("it reads");
        let mut alert = Vec::new();
        plain.read_to_end(&mut alert).expect("an alert");
        assert_eq!(alert.first(), Some(&21), "{alert:?}");
        machine.to(81).write_all(&[22, 3, 1]).expect("it reads");
        for _ in 0..3 {
            let asked = Command::new("timeout")
                .args(["60", "python3", "-c", ASK_BY_TLS])
                .arg(machine.folder.0.join("v"))
                .args(["81", pin.expect("a pin")])
                .output()
                .expect("it is executed");
            let said = String::from_utf8_lossy(&asked.stdout);
            let told = String::from_utf8_lossy(&asked.stderr);
            assert!(
                said.starts_with("TLSv1.3 http/1.1\nHTTP/1.1 404 "),
                "{said}{told}"
            );
        }
    }
}

#[test]
fn the_webserver_says_what_gives_it_a_socket_device() {
    needs!("qemu-system-x86_64");
    let output = boot_small(&cargo::example("webserver"), &["--vsock"], &[]);
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let told = "listening on port 80 of vsock: ";
    assert!(
        said.contains(told) && said.contains("EBB_VSOCK=unix:PATH"),
        "{said}"
    );
}

/// The example's two ways.
#[test]
fn the_example_echoes_and_says_hello_to_a_port_of_the_host() {
    needs!("qemu-system-x86_64");
    let Some(device) = tools::of_cargo(DEVICE) else {
        return;
    };
    let example = |arguments: &[&str], folder: PathBuf| {
        let folder = Folder::new(folder);
        let mut command = runner(&cargo::example("vsock"), "128M", 60);
        command.args(arguments).env("EBB_NET", "none");
        let listener = UnixListener::bind(folder.0.join("v_9")).expect("a free path");
        let image = Image::start(with_vsock(&mut command, &device, &folder));
        (Machine { image, folder }, listener)
    };
    let place = |name: &str| std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
    let (machine, _) = example(&[], place("ebb-vsock-echo"));
    machine.image.says("echo on vsock:3:7");
    settle();
    echo(&machine.to(7), b"what you like");
    drop(machine);
    let (mut machine, listener) = example(&["9"], place("ebb-vsock-hello"));
    let (mut host, _) = listener.accept().expect("the device connects");
    let mut hello = [0; 21];
    host.read_exact(&mut hello).expect("a line");
    assert_eq!(&hello, b"hello from context 3\n");
    host.write_all(b"and to you\n").expect("it reads");
    machine.image.says("and to you");
    drop(host);
    assert_eq!(machine.image.wait().code(), Some(0));
}

#[test]
fn an_image_without_a_socket_device_is_told_so() {
    needs!("qemu-system-x86_64");
    for board in ["q35", "microvm"] {
        let settings = [("EBB_MACHINE", board)];
        let output = boot_small(&cargo::program("image-vsock"), &[], &settings);
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(
            (output.status.code(), &*said),
            (Some(0), "no vsock: NoDevice\n")
        );
    }
}
