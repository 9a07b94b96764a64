//! The simulated network, as programs see it through `ebb_net`.

use std::{cell::RefCell, net::SocketAddr, rc::Rc, time::Duration};

use ebb::{
    net::{
        Error,
        tcp::{TcpListener, TcpStream},
    },
    time::{Instant, sleep, timeout},
};
use ebb_sim::{Crash, Faults, Simulation, address, below};

/// Nodes that answer with what they get, on port 7.
fn echoes(seed: u64, nodes: usize, faults: Faults) -> Simulation {
    let mut sim = Simulation::new(seed, nodes, faults, async |_| {
        let server = ebb::net::tcp::listen_on_all_cores(7, async |stream: TcpStream| {
            let mut buffer = [0; 3000];
            loop {
                let count = stream.read(&mut buffer).await?;
                if count == 0 {
                    return Ok::<(), Error>(());
                }
                stream.write_all(&buffer[..count]).await?;
            }
        });
        server
            .await
            .expect("the port is free")
            .failed()
            .await
            .expect("it listens")
    });
    sim.run_for(Duration::from_millis(1));
    sim
}

async fn connect(node: usize) -> Result<TcpStream, Error> {
    TcpStream::connect((address(node), 7)).await
}

#[test]
fn a_stream_brings_all_bytes_in_order_whatever_it_costs_and_waits_for_who_is_slow() {
    let slow = Faults {
        lost_in_thousand: 50,
        jitter_ns: 5_000_000,
        ..Faults::none()
    };
    let mut sim = echoes(1, 2, slow);
    let received = sim.on(0, async || {
        let stream = Rc::new(connect(1).await.expect("it listens"));
        let writer = Rc::clone(&stream);
        let most = Rc::new(RefCell::new(0));
        let sent = Rc::clone(&most);
        let writing = ebb::spawn(async move {
            for n in 0..400_u32 {
                let bytes: Vec<u8> = (0..5000).map(|k| (n * 7 + k) as u8).collect();
                writer.send(bytes).await.expect("it is read");
                *sent.borrow_mut() += 5000;
            }
        });
        // Nobody reads: what is on the way is bounded.
        sleep(Duration::from_secs(60)).await;
        let bounded = *most.borrow();
        assert!((100_000..1_100_000).contains(&bounded), "{bounded}");
        let mut received = Vec::new();
        while received.len() < 2_000_000 {
            let mut buffer = [0; 8192];
            let count = stream.read(&mut buffer).await.expect("it is there");
            assert!(count > 0, "the end after {}", received.len());
            received.extend_from_slice(&buffer[..count]);
        }
        writing.await.expect("it does not panic");
        received
    });
    let received = received.expect("node 0 is up");
    for (n, bytes) in received.chunks(5000).enumerate() {
        for (k, byte) in bytes.iter().enumerate() {
            assert_eq!(*byte, (n * 7 + k) as u8, "byte {k} of part {n}");
        }
    }
    // Both ends are closed.
    sim.run_for(Duration::from_secs(5));
    assert_eq!(sim.connections(), 0);
}

#[test]
fn where_nobody_listens_is_refused_and_where_nobody_is_takes_a_minute_to_say() {
    let mut sim = echoes(2, 3, Faults::none());
    let tries = |sim: &mut Simulation, address: SocketAddr| {
        let tried = sim.on(0, async move || TcpStream::connect(address).await.map(drop));
        tried.expect("node 0 is up")
    };
    let at = |node, port| (address(node), port).into();
    assert_eq!(tries(&mut sim, at(1, 7)), Ok(()));
    assert_eq!(tries(&mut sim, ([127, 0, 0, 1], 7).into()), Ok(()));
    assert_eq!(tries(&mut sim, at(1, 8)), Err(Error::ConnectionRefused));
    assert_eq!(tries(&mut sim, at(3, 7)), Err(Error::HostUnreachable));
    sim.crash(1, Crash::Process);
    assert_eq!(tries(&mut sim, at(1, 7)), Err(Error::ConnectionRefused));
    sim.crash(2, Crash::Machine);
    let before = sim.now();
    assert_eq!(tries(&mut sim, at(2, 7)), Err(Error::TimedOut));
    assert_eq!((sim.now() - before).as_secs(), 63);
}

/// Sends a byte and gets it back.
async fn says(stream: &TcpStream) -> Result<(), Error> {
    stream.write_all(b"x").await?;
    match stream.read(&mut [0; 10]).await? {
        0 => Err(Error::UnexpectedEof),
        _ => Ok(()),
    }
}

#[test]
fn a_machine_that_stops_is_silent_and_does_not_know_its_connections_afterwards() {
    let mut sim = echoes(3, 2, Faults::none());
    let task = sim.spawn_on(0, async || {
        let stream = connect(1).await.expect("it listens");
        assert_eq!(says(&stream).await, Ok(()));
        sleep(Duration::from_secs(1)).await;
        let silent = timeout(Duration::from_secs(10), says(&stream)).await;
        assert!(silent.is_err(), "it has stopped");
        // What was sent then is sent again.
        let read = stream.read(&mut [0; 10]).await;
        (read, Instant::now().as_nanos() / 1_000_000_000)
    });
    sim.run_for(Duration::from_millis(500));
    sim.crash(1, Crash::Machine);
    sim.run_for(Duration::from_secs(11));
    sim.restart(1);
    let said = sim.wait(task).expect("node 0 is up");
    assert_eq!(said, (Err(Error::ConnectionReset), 12));
    assert_eq!(sim.life(1), 2);
}

#[test]
fn who_connects_to_a_machine_that_is_down_is_answered_when_it_has_come_back() {
    let mut sim = echoes(6, 2, Faults::none());
    sim.crash(1, Crash::Machine);
    let connects = sim.spawn_on(0, async || {
        let before = Instant::now();
        let stream = connect(1).await.expect("it comes back");
        says(&stream).await.expect("it listens");
        before.elapsed()
    });
    sim.run_for(Duration::from_millis(2500));
    sim.restart(1);
    let took = sim.wait(connects).expect("node 0 is up");
    assert_eq!(took.as_secs(), 3);
}

#[test]
fn the_peers_of_a_killed_process_are_told_at_once() {
    for seed in 0..10 {
        let mut sim = echoes(seed, 2, Faults::none());
        let task = sim.spawn_on(0, async || {
            let stream = connect(1).await.expect("it listens");
            let read = stream.read(&mut [0; 10]).await;
            (read, Instant::now().as_nanos())
        });
        sim.run_for(Duration::from_millis(100));
        sim.crash(1, Crash::Process);
        let (read, at_ns) = sim.wait(task).expect("node 0 is up");
        assert!(
            matches!(read, Ok(0) | Err(Error::ConnectionReset)),
            "{read:?}"
        );
        assert!((101_000_000..102_000_000).contains(&at_ns), "{at_ns}");
    }
}

#[test]
fn what_a_partition_holds_back_comes_when_it_heals_and_a_paused_node_answers_later() {
    let mut sim = echoes(4, 3, Faults::none());
    let took = sim.spawn_on(0, async || {
        let stream = connect(1).await.expect("it listens");
        sleep(Duration::from_millis(100)).await;
        let before = Instant::now();
        says(&stream).await.expect("it comes");
        let parted = before.elapsed();
        sleep(Duration::from_secs(1)).await;
        let before = Instant::now();
        says(&stream).await.expect("it comes");
        (parted, before.elapsed())
    });
    sim.run_for(Duration::from_millis(50));
    sim.partition(1, 0);
    // Others are not concerned.
    let other = async || says(&connect(1).await.expect("it listens")).await;
    assert_eq!(sim.on(2, other).expect("node 2 is up"), Ok(()));
    sim.run_for(Duration::from_secs(3));
    sim.heal(0, 1);
    sim.run_for(Duration::from_millis(500));
    sim.pause(1, Duration::from_secs(7));
    let (parted, paused) = sim.wait(took).expect("node 0 is up");
    assert_eq!(
        (parted.as_millis() / 100, paused.as_millis() / 100),
        (29, 64)
    );
}

#[test]
fn each_core_listens_at_the_same_port_once_and_connections_are_of_all_of_them() {
    let seen = Rc::new(RefCell::new([0; 3]));
    let cores = Rc::clone(&seen);
    let mut sim = Simulation::new(5, 1, Faults::none(), async move |_| {
        let first = TcpListener::bind(7).expect("it is free");
        assert_eq!(TcpListener::bind(7).map(drop), Err(Error::AddressInUse));
        drop(first);
        let serve = async |stream: TcpStream| {
            let core = ebb::current_core().number();
            let _ = stream.write_all(&[core as u8]).await;
        };
        let _server = ebb::net::tcp::listen_on_all_cores(7, serve).await;
        for _ in 0..60 {
            let mut core = [0];
            let stream = connect(0).await.expect("it listens");
            stream.read(&mut core).await.expect("it says");
            cores.borrow_mut()[usize::from(core[0])] += 1;
            sleep(Duration::from_millis(below(3))).await;
        }
    });
    sim.cores(3);
    sim.run_for(Duration::from_secs(10));
    assert_eq!(sim.status(0), Some(0));
    assert!(seen.borrow().iter().all(|count| *count > 5), "{seen:?}");
}
