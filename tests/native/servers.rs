//! The examples `webserver` and `memcached` as images, asked by the programs that people use.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use test_support::{
    Server, boot_small, cargo,
    client::{connect, memccapable, program, wrk},
    needs,
};

#[test]
fn the_webserver_answers_curl_and_wrk() {
    needs!("qemu-system-x86_64");
    let image = Server::webserver(&[]);
    let at = |path: &str| format!("http://{}{path}", image.address);
    let curl = |arguments: &[&str]| program("curl", &[&["-sS", "-m", "20"], arguments].concat());
    let Some(page) = curl(&["-f", &at("/")]) else {
        return;
    };
    assert_eq!(page, include_str!("../../examples/webserver/index.html"));

    // HEAD says what GET would send, and sends nothing.
    let head = curl(&["-I", &at("/")])
        .expect("curl is there")
        .to_lowercase();
    assert!(head.starts_with("http/1.1 200 ok\r\n"), "{head}");
    let length = format!("\r\ncontent-length: {}\r\n", page.len());
    assert!(
        head.contains(&length) && head.ends_with("\r\n\r\n"),
        "{head}"
    );

    let status = ["-o", "/dev/null", "-w", "%{http_code} %header{allow}"];
    let status = |arguments: &[&str]| curl(&[&status[..], arguments].concat());
    assert_eq!(status(&[&at("/nothing")]).as_deref(), Some("404 "));
    assert_eq!(
        status(&["-d", "x", &at("/")]).as_deref(),
        Some("405 GET, HEAD")
    );

    let core = "-f -w %{content_type}".split(' ').collect::<Vec<_>>();
    let core = curl(&[&core[..], &[&at("/api/core")]].concat()).expect("curl is there");
    assert!(core.starts_with("{\"core\":"), "{core}");
    assert!(core.ends_with("}\napplication/json"), "{core}");

    // Two requests, one connection.
    let twice = [
        "-f",
        "-o",
        "/dev/null",
        "-o",
        "/dev/null",
        "-w",
        "%{num_connects} ",
    ];
    let twice = curl(&[&twice[..], &[&at("/"), &at("/")]].concat());
    assert_eq!(twice.as_deref(), Some("1 0 "));

    // Eight requests with this one, one of them for nothing.
    let metrics = curl(&["-f", &at("/metrics")]).expect("curl is there");
    let sum = |name: &str| -> u64 {
        let lines = metrics.lines().filter(|l| l.starts_with(name));
        let values = lines.map(|l| l.rsplit(' ').next().and_then(|v| v.parse::<u64>().ok()));
        values.map(|v| v.expect("a number")).sum()
    };
    assert_eq!(sum("http_requests_total{"), 8, "{metrics}");
    assert_eq!(sum("http_not_found_total{"), 1, "{metrics}");
    assert!(sum("core_events_total{core=\"1\"}") > 0, "{metrics}");

    wrk(&at("/"));
    assert_eq!(curl(&["-f", &at("/")]).as_deref(), Some(&*page));
}

#[test]
fn the_memcached_example_takes_its_options_and_passes_memccapable() {
    needs!("qemu-system-x86_64");
    let settings = [("EBB_CORES", "2")];
    let options = ["-p", "11300", "-m", "8", "--share", "100"];
    let image = Server::boot(
        &cargo::example("memcached"),
        &options,
        11_300,
        "serving memcached on ",
        &settings,
    );
    let mut stream = connect(image.address);
    // More than it may keep: what was stored last is there, and it says what its limit is.
    let value = "v".repeat(100_000);
    for key in 0..200 {
        let set = format!("set {key} 0 0 {}\r\n{value}\r\n", value.len());
        stream.write_all(set.as_bytes()).expect("connected");
        let mut answer = [0; 8];
        stream.read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer, b"STORED\r\n");
    }
    stream
        .write_all(b"get 199\r\nstats\r\n")
        .expect("connected");
    let mut answer = BufReader::new(stream).lines().map_while(Result::ok);
    let mut line = || answer.next().expect("an answer");
    assert_eq!(line(), "VALUE 199 0 100000");
    assert_eq!((line() == value, &*line()), (true, "END"));
    let mut stats = Vec::new();
    while let Some(stat) = line().strip_prefix("STAT ") {
        let (name, value) = stat.split_once(' ').expect("a name and a value");
        stats.push((name.to_owned(), value.to_owned()));
    }
    let stat = |name: &str| {
        let found = stats.iter().find(|(n, _)| n == name);
        found
            .and_then(|(_, v)| v.parse::<u64>().ok())
            .unwrap_or_else(|| panic!("{name}: {stats:?}"))
    };
    assert_eq!(stat("limit_maxbytes"), 8 << 20);
    assert!(
        stat("bytes") <= 8 << 20 && stat("evictions") >= 110,
        "{stats:?}"
    );
    memccapable("127.0.0.1", image.address.port());
}

#[test]
fn a_command_line_that_makes_no_sense_is_told_in_one_line_and_help_and_version_are_no_mistakes() {
    needs!("qemu-system-x86_64");
    for (name, arguments, status, told) in [
        (
            "memcached",
            "-x",
            2,
            "memcached: -x is not known; --help lists what is",
        ),
        ("memcached", "-p 1 -p 2", 2, "memcached: -p is given twice"),
        (
            "memcached",
            "-m 512",
            2,
            "memcached: -m 512: items can have ",
        ),
        ("memcached", "-m 8 --version", 0, "memcached of ebb "),
        (
            "webserver",
            "--tls --tls",
            2,
            "webserver: what is `--tls`? usage: ",
        ),
        (
            "webserver",
            "80 70000",
            2,
            "webserver: what is `70000`? usage: ",
        ),
        ("webserver", "--version", 0, "webserver of ebb "),
        ("echo", "1 x", 2, "echo: what is `x`? usage: "),
        ("echo", "--help", 0, "usage: echo "),
        // Before it says that there is no disk.
        ("store", "put a", 2, "usage: store "),
        ("store", "--help", 0, "usage: store "),
    ] {
        let words: Vec<&str> = arguments.split(' ').collect();
        let output = boot_small(&cargo::example(name), &words, &[]);
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(
            output.status.code(),
            Some(status),
            "{name} {arguments}: {said}"
        );
        assert!(said.starts_with(told), "{name} {arguments}: {said}");
        assert_eq!(said.lines().count(), 1, "{name} {arguments}: {said}");
    }
}

#[test]
fn a_port_that_nothing_leads_to_is_told() {
    needs!("qemu-system-x86_64");
    let settings = [
        ("EBB_NET", "user"),
        ("EBB_FORWARD", "0:80"),
        ("EBB_TIMEOUT", "15"),
    ];
    let said = |port| {
        let output = boot_small(&cargo::example("webserver"), &[port], &settings);
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let hint = "webserver: no port of the host leads to port ";
    let any = said("0");
    assert!(
        any.contains("serving HTTP on ") && any.contains(hint),
        "{any}"
    );
    let forwarded = said("80");
    assert!(
        forwarded.contains("serving HTTP on ") && !forwarded.contains(hint),
        "{forwarded}"
    );
}

#[test]
fn a_table_as_large_as_the_machine_allows_is_filled_with_items_of_many_lengths() {
    needs!("qemu-system-x86_64");
    let memcached = cargo::example("memcached");
    let output = boot_small(&memcached, &["-m", "1000"], &[]);
    let said = String::from_utf8_lossy(&output.stdout);
    let room = said.split("items can have ").nth(1);
    let room = room.and_then(|rest| rest.split(' ').next());
    let room = room.unwrap_or_else(|| panic!("no room is named: {said}"));
    let settings = [("EBB_CORES", "2"), ("EBB_MEMORY", "128M")];
    let image = Server::boot(
        &memcached,
        &["-m", room],
        11_211,
        "serving memcached on ",
        &settings,
    );
    let mut stream = connect(image.address);
    // Twice the machine's memory.
    let (mut written, mut number) = (0, 0);
    while written < 256 << 20 {
        let length = 100 + number * 7919 % 120_000;
        let mut set = format!("set key{number} 0 0 {length}\r\n").into_bytes();
        set.resize(set.len() + length, b'v');
        set.extend_from_slice(b"\r\n");
        stream.write_all(&set).expect("connected");
        let mut answer = [0; 8];
        stream.read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer, b"STORED\r\n", "item {number} of {length} bytes");
        (written, number) = (written + length, number + 1);
    }
}

/// Stores so many values of `length` bytes, some at a time; how many of them found memory.
fn store_many(stream: &mut BufReader<TcpStream>, name: &str, count: usize, length: usize) -> usize {
    const AT_ONCE: usize = 50;
    let value = "v".repeat(length);
    let mut stored = 0;
    for first in (0..count).step_by(AT_ONCE) {
        let numbers = first..count.min(first + AT_ONCE);
        let sets = numbers
            .clone()
            .map(|n| format!("set {name}{n} 0 0 {length}\r\n{value}\r\n"));
        let sets: String = sets.collect();
        let mut to = stream.get_ref();
        to.write_all(sets.as_bytes()).expect("connected");
        for _ in numbers {
            stored += usize::from(answer(stream) == "STORED");
        }
    }
    stored
}

/// What a connection is answered to a write.
fn answer(stream: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    stream.read_line(&mut line).expect("an answer");
    let line = line.trim_end();
    assert!(
        line == "STORED" || line == "SERVER_ERROR out of memory storing object",
        "{line:?}"
    );
    line.to_owned()
}

/// Stores of one length after another, from several connections at once.
fn store_from_all(clients: &mut [BufReader<TcpStream>], length: usize, each: usize) -> usize {
    std::thread::scope(|scope| {
        let stores: Vec<_> = (clients.iter_mut().zip(0..))
            .map(|(client, number)| {
                let name = format!("{length}of{number}n");
                scope.spawn(move || store_many(client, &name, each, length))
            })
            .collect();
        stores
            .into_iter()
            .map(|s| s.join().expect("answered"))
            .sum()
    })
}

/// Connections that have each sent the beginning of a long value, as far as the image takes them and it.
fn with_half_a_value(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    let mut half = b"set half 0 0 1000000\r\n".to_vec();
    half.resize(400_000, b'v');
    let open = |_| {
        let mut stream = connect(address);
        let _ = stream.write_all(&half);
        stream
    };
    (0..count).map(open).collect()
}

/// The first of these connections that has been told that there is no memory for its value.
fn refused(connections: &[TcpStream]) -> BufReader<TcpStream> {
    for _ in 0..100 {
        for mut connection in connections {
            let mut said = [0; 64];
            connection.set_nonblocking(true).expect("a socket");
            let length = connection.read(&mut said).unwrap_or(0);
            connection.set_nonblocking(false).expect("a socket");
            if said[..length] == *b"SERVER_ERROR out of memory storing object\r\n" {
                return BufReader::new(connection.try_clone().expect("a socket"));
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    panic!("all {} values found memory", connections.len());
}

#[test]
fn no_mix_of_lengths_and_no_half_value_ends_the_machine() {
    needs!("qemu-system-x86_64");
    let image = Server::boot(
        &cargo::example("memcached"),
        &["-m", "47"],
        11_211,
        "serving memcached on ",
        &[("EBB_CORES", "2"), ("EBB_MEMORY", "128M")],
    );
    let client = |_| BufReader::new(connect(image.address));
    let mut clients: Vec<_> = (0..4).map(client).collect();
    for (length, each) in [(200, 50_000), (40_000, 150), (500_000, 60), (3_000, 2_000)] {
        let stored = store_from_all(&mut clients, length, each);
        // What is in the way goes.
        assert!(stored >= 4 * each * 9 / 10, "{stored} of {length} bytes");
    }
    // More than there is, and none of it an item.
    let half = with_half_a_value(image.address, 300);
    for client in &mut clients {
        store_many(client, "while", 10, 500_000);
        client.get_ref().write_all(b"version\r\n").expect("sent");
        let mut line = String::new();
        client.read_line(&mut line).expect("an answer");
        assert!(line.starts_with("VERSION "), "{line:?}");
    }
    // One whose value was refused has the rest of it skipped, and goes on.
    let mut refused = refused(&half);
    let rest = 1_000_000 + "set half 0 0 1000000\r\n".len() - 400_000;
    let rest = ["v".repeat(rest).as_bytes(), b"\r\n"].concat();
    refused.get_ref().write_all(&rest).expect("it is skipped");
    store_many(&mut refused, "after", 1, 10);
    drop((half, refused));
    // The memory of those that went comes back.
    let stored = (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        store_many(&mut clients[0], "again", 1, 500_000) == 1
    });
    assert!(stored, "still no memory");
    assert_eq!(store_from_all(&mut clients, 1_000, 100), 400);
}
