//! The examples `webserver` and `memcached` as images, asked by the programs that people use.

use std::io::{BufRead, BufReader, Read, Write};

use test_support::{
    Server, cargo,
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
