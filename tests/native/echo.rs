//! The network of an image from outside: boots the example `echo` behind QEMU's user networking.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use test_support::{Server, cargo, needs};

/// Boots the example.
fn boot(cores: usize, options: &str) -> Server {
    let cores = cores.to_string();
    let settings = [("EBB_CORES", &*cores), ("EBB_OPTIONS", options)];
    Server::boot(&cargo::example("echo"), &[], 7, "echo on ", &settings)
}

/// Connects, and has one byte come back. One at a time: QEMU listens with a queue for one, and Linux resets some
/// of those that it cannot queue.
fn connect(image: &Server) -> TcpStream {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock();
    let mut stream = TcpStream::connect(image.address).expect("QEMU listens");
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
fn echo(image: &Server, seed: usize, size: usize) {
    let mut stream = connect(image);
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

#[test]
fn an_image_of_one_two_and_four_cores_echoes_every_byte() {
    needs!("qemu-system-x86_64");
    for cores in [1, 2, 4] {
        let image = boot(cores, "");
        echo(&image, 1, 1);
        echo(&image, 2, 3_000_000);
        thread::scope(|scope| {
            for n in 0..8 {
                let image = &image;
                scope.spawn(move || (0..10).for_each(|m| echo(image, n * 10 + m, 10_000 + n)));
            }
        });
    }
}

#[test]
fn bad_peers_do_not_keep_others_from_being_served() {
    needs!("qemu-system-x86_64");
    let image = boot(2, "ip=10.0.2.15/24,10.0.2.2");
    // Some never read, some send a byte and wait, some go away in the middle.
    let mut silent: Vec<_> = (0..20).map(|_| connect(&image)).collect();
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
    echo(&image, 3, 200_000);
    drop(silent);
    echo(&image, 4, 200_000);
}
