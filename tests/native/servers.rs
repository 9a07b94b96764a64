//! The examples `webserver` and `memcached` as images, asked by the programs that people use.

use std::io::{BufRead, BufReader, Read, Write};

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
