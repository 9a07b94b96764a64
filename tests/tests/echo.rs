//! The network of an image from outside: boots the example `echo` behind QEMU's user networking.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

const RUNNER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../ebb-runner/run");

struct Image {
    child: Child,
    address: SocketAddr,
}

impl Image {
    /// Boots it, and waits until it says that it listens.
    fn boot(cores: usize, options: &str) -> Self {
        let mut child = Command::new(RUNNER)
            .arg(env!("CARGO_BIN_EXE_image-echo"))
            .env("EBB_CORES", cores.to_string())
            .env("EBB_MEMORY", "256M")
            .env("EBB_TIMEOUT", "120")
            .env("EBB_FORWARD", "0:7")
            .env("EBB_OPTIONS", options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the runner starts");
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let (found, port) = std::sync::mpsc::channel();
        thread::spawn(move || {
            // "... TCP 127.0.0.1:PORT is port 7 of the image"
            for line in stderr.lines().map_while(Result::ok) {
                let rest = line.split_once("TCP 127.0.0.1:").map(|(_, rest)| rest);
                if let Some(port) = rest.and_then(|r| r.split(' ').next()?.parse::<u16>().ok()) {
                    let _ = found.send(port);
                }
            }
        });
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut told = String::new();
        let mut listens = false;
        let mut has_address = false;
        while !(listens && has_address) {
            let mut line = String::new();
            let n = stdout.read_line(&mut line).expect("the console is text");
            assert!(n > 0, "the image ended before it listened:\n{told}");
            told += &line;
            listens |= line.starts_with("echo on ");
            has_address |=
                line.starts_with("ebb: network address") && line.contains("10.0.2.15/24");
        }
        thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
        let port = port
            .recv_timeout(Duration::from_secs(10))
            .expect("the runner says which port it forwards");
        Self {
            child,
            address: ([127, 0, 0, 1], port).into(),
        }
    }

    /// Connects, and has one byte come back. One at a time: QEMU listens with a queue for one, and Linux resets some
    /// of those that it cannot queue.
    fn connect(&self) -> TcpStream {
        static ONE: Mutex<()> = Mutex::new(());
        let _one = ONE.lock();
        let mut stream = TcpStream::connect(self.address).expect("QEMU listens");
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .expect("a limit above zero");
        stream.write_all(b"!").expect("connected");
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("it comes back");
        assert_eq!(&byte, b"!");
        stream
    }

    /// Sends `size` bytes, ends the direction, and compares what comes back.
    fn echo(&self, seed: usize, size: usize) {
        let mut stream = self.connect();
        let data: Vec<u8> = (0..size)
            .map(|n| (((n + seed) * 31) ^ (n >> 7)) as u8)
            .collect();
        let mut writer = stream.try_clone().expect("a descriptor is free");
        let sent = data.clone();
        let sender = thread::spawn(move || {
            writer.write_all(&sent).expect("the image takes it");
            writer.shutdown(Shutdown::Write).expect("connected");
        });
        let mut received = Vec::new();
        stream.read_to_end(&mut received).expect("it comes back");
        sender.join().expect("all was sent");
        assert!(
            received == data,
            "{} of {size} bytes came back",
            received.len()
        );
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // Asked, so that the runner can end its QEMU.
        let _ = Command::new("kill")
            .arg(self.child.id().to_string())
            .status();
        let _ = self.child.wait();
    }
}

#[test]
fn an_image_of_one_two_and_four_cores_echoes_every_byte() {
    for cores in [1, 2, 4] {
        let image = Image::boot(cores, "");
        image.echo(1, 1);
        image.echo(2, 3_000_000);
        thread::scope(|scope| {
            for n in 0..8 {
                let image = &image;
                scope.spawn(move || (0..10).for_each(|m| image.echo(n * 10 + m, 10_000 + n)));
            }
        });
    }
}

#[test]
fn bad_peers_do_not_keep_others_from_being_served() {
    let image = Image::boot(2, "ip=10.0.2.15/24,10.0.2.2");
    // Some never read, some send a byte and wait, some go away in the middle.
    let mut silent: Vec<_> = (0..20).map(|_| image.connect()).collect();
    for (n, stream) in silent.iter_mut().enumerate() {
        if n % 2 == 0 {
            stream.set_nonblocking(true).expect("a socket");
            let bytes = [n as u8; 65_536];
            let start = Instant::now();
            while stream.write(&bytes).is_ok() && start.elapsed() < Duration::from_secs(2) {}
        } else {
            stream.write_all(b"x").expect("the image takes it");
        }
    }
    image.echo(3, 200_000);
    drop(silent);
    image.echo(4, 200_000);
}
