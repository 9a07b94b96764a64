//! Channels between an image and the host: bytes both ways, a host that goes and comes again, sides that read slowly. Boots
//! `images/channel.rs`.

use std::{
    fs,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use test_support::{Image, cargo, needs, runner};

const FLOOD: usize = 4 << 20;

struct Machine {
    image: Image,
    folder: PathBuf,
}

impl Machine {
    fn boot(board: &str) -> Self {
        // Names of sockets are short.
        let folder =
            std::env::temp_dir().join(format!("ebb-channel-{board}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder to write to");
        let at = |name: &str| format!("{name}=unix:{}/{name}", folder.display());
        let channels = ["echo", "flood", "sink"].map(at).join(";");
        let image = Image::start(
            runner(&cargo::program("image-channel"), "256M", 120)
                .env("EBB_NET", "none")
                .env("EBB_MACHINE", board)
                .env("EBB_CORES", "2")
                .env("EBB_CHANNEL", channels),
        );
        image.says("serving");
        Self { image, folder }
    }

    fn connect(&self, name: &str) -> UnixStream {
        let begun = Instant::now();
        loop {
            match UnixStream::connect(self.folder.join(name)) {
                Ok(stream) => {
                    let limit = Some(Duration::from_secs(30));
                    stream.set_read_timeout(limit).expect("above zero");
                    stream.set_write_timeout(limit).expect("above zero");
                    return stream;
                }
                Err(error) => assert!(begun.elapsed() < Duration::from_secs(20), "{error}"),
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|n| ((n * 31) ^ (n >> 7)) as u8).collect()
}

fn echo(stream: &UnixStream, length: usize) {
    let sent = pattern(length);
    thread::scope(|scope| {
        let (mut writer, sent) = (stream, &sent);
        scope.spawn(move || writer.write_all(sent).expect("the image takes it"));
        let mut received = vec![0; length];
        (&*stream).read_exact(&mut received).expect("it comes back");
        assert!(received == *sent, "other bytes came back");
    });
}

fn whole_life_of_channels(board: &str) {
    let machine = Machine::boot(board);
    // Bytes both ways, and a host that goes and comes again.
    for (visit, length) in [1, 5000, 300_000].into_iter().enumerate() {
        let stream = machine.connect("echo");
        machine.image.says(&format!("echo: visit {visit} begins"));
        echo(&stream, length);
        drop(stream);
        machine
            .image
            .says(&format!("echo: visit {visit} has ended"));
    }

    // A host that reads slowly gets every byte; meanwhile the others go on.
    let mut flood = machine.connect("flood");
    let mut received = vec![0; 200_000];
    flood.read_exact(&mut received).expect("the flood");
    thread::sleep(Duration::from_millis(300));
    let stream = machine.connect("echo");
    echo(&stream, 100_000);
    let begun = received.len();
    received.resize(FLOOD, 0);
    for part in received[begun..].chunks_mut(500_000) {
        flood.read_exact(part).expect("the flood");
        thread::sleep(Duration::from_millis(20));
    }
    assert!(received == pattern(FLOOD), "other bytes came");
    machine.image.says("flood: round 0 whole true");
    drop(flood);
    // One that goes in the middle is no end for the next.
    let mut flood = machine.connect("flood");
    flood.read_exact(&mut [0; 1000]).expect("the flood");
    drop(flood);
    machine.image.says("flood: round 1 whole false");
    let mut flood = machine.connect("flood");
    let mut received = vec![0; FLOOD];
    flood.read_exact(&mut received).expect("the flood");
    assert!(received == pattern(FLOOD), "other bytes came");

    // An image that reads slowly gets every byte. The host stays until it has: QEMU drops what it has not passed on by then.
    let sent = pattern(1 << 20);
    let mut sink = machine.connect("sink");
    sink.write_all(&sent).expect("the image takes it");
    let sum = sent
        .iter()
        .fold(0_u64, |sum, b| (sum * 31 + u64::from(*b)) % 1_000_007);
    machine
        .image
        .says(&format!("sink: {} bytes, {sum}", sent.len()));
    drop(sink);
    (&stream).write_all(b"quit").expect("the image takes it");
    machine.image.says("echo: quit");
}

#[test]
fn channels_carry_every_byte_to_and_from_a_host_that_comes_and_goes() {
    needs!("qemu-system-x86_64");
    for board in ["q35", "microvm"] {
        whole_life_of_channels(board);
    }
}
