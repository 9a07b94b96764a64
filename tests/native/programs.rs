//! Programs that nobody built for this: Debian's busybox, sqlite3, redis and python3, and an ordinary Rust program, each in
//! the image as it is.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    ops::Deref,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use test_support::{GUESTS, RUNNER, cargo, needs};

/// An archive that goes with its test: the next run packs it anew.
struct Packed(PathBuf);

impl Deref for Packed {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Packed {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// An archive of these programs and files.
fn pack(name: &str, manifest: &str) -> Packed {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (from, to) = (
        out.join(format!("{name}.manifest")),
        out.join(format!("{name}.ebb")),
    );
    std::fs::write(&from, manifest).expect("the manifest is written");
    let packed = Command::new(RUNNER)
        .args(["pack".as_ref(), from.as_os_str(), "-o".as_ref()])
        .arg(&to)
        .output()
        .expect("the runner starts");
    assert!(
        packed.status.success(),
        "{name} cannot be packed\n{}",
        String::from_utf8_lossy(&packed.stderr)
    );
    Packed(to)
}

fn image(archive: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(RUNNER);
    command
        .arg(cargo::program("image-guests"))
        .args(arguments)
        .env("EBB_ARCHIVE", archive)
        .env("EBB_OPTIONS", "memory=400000000")
        .env("EBB_CORES", "1")
        .env("EBB_MEMORY", "1G")
        .env("EBB_TIMEOUT", "120");
    command
}

#[track_caller]
fn runs(archive: &Path, arguments: &[&str], says: &str) {
    let output = image(archive, arguments)
        .env("EBB_NET", "none")
        .output()
        .expect("the runner starts");
    let console = String::from_utf8_lossy(&output.stdout);
    assert!(
        console.contains(says) && console.contains("uc0 ended with status 0"),
        "{arguments:?}: {}\n{console}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

/// What a program says, as it comes.
fn heard(mut output: std::process::ChildStdout) -> std::sync::mpsc::Receiver<String> {
    let (send, says) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(n @ 1..) = std::io::Read::read(&mut output, &mut bytes) {
            let _ = send.send(String::from_utf8_lossy(&bytes[..n]).into_owned());
        }
    });
    says
}

#[test]
fn a_busybox_shell_runs_pipelines_jobs_and_applets() {
    needs!("qemu-system-x86_64", "busybox");
    let archive = pack(
        "busybox",
        &format!(
            "program /bin/busybox\nargs sh /shell.sh\ndirectory /\nfile /shell.sh {GUESTS}/shell.sh\n"
        ),
    );
    runs(&archive, &[], "all of the shell is well");
}

#[test]
fn monitors_see_processes_memory_sockets_and_open_files() {
    needs!("qemu-system-x86_64", "busybox", "ps", "ip", "lsof");
    let archive = pack(
        "monitors",
        &format!(
            "program /bin/busybox\nargs sh /monitors.sh\ndirectory /\nfile /monitors.sh {GUESTS}/monitors.sh\n\
             file /usr/bin/ps\nfile /usr/bin/free\nfile /usr/bin/vmstat\nfile /usr/bin/uptime\n\
             file /usr/bin/ss\nfile /usr/bin/lsof\nfile /etc/passwd\n"
        ),
    );
    runs(&archive, &[], "all monitors are well");
}

#[test]
fn sqlite_keeps_a_database_with_a_write_ahead_log() {
    needs!("qemu-system-x86_64", "sqlite3");
    let archive = pack("sqlite", "program /usr/bin/sqlite3\ndirectory /tmp\n");
    let sql = "pragma journal_mode=wal; create table t(a, b); \
        with recursive c(x) as (select 1 union all select x + 1 from c where x < 5000) \
        insert into t select x, hex(x * x) from c; create index i on t(b); \
        select 'sum ' || sum(a) || ' ' || (select a from t where b = hex(49)) from t; pragma integrity_check;";
    runs(&archive, &["/tmp/x.db", sql], "sum 12502500 7\nok");
}

#[test]
fn two_processes_with_one_sqlite_database_exclude_each_other() {
    needs!("qemu-system-x86_64", "sqlite3", "busybox");
    let manifest = format!(
        "program /usr/bin/sqlite3\nargs :memory: '.shell sh /locks.sh'\ndirectory /tmp\nfile /locks.sh {GUESTS}/locks.sh\n\
         file /bin/busybox\nsymlink /usr/bin/sh busybox\n"
    );
    runs(&pack("locks", &manifest), &[], "all locks are well");
}

/// Where Debian's python has its library, whichever version it is.
fn python_library() -> String {
    let library = Command::new("/usr/bin/python3")
        .args([
            "-c",
            "import sysconfig; print(sysconfig.get_path('stdlib'))",
        ])
        .output()
        .expect("python3 starts");
    String::from_utf8_lossy(&library.stdout).trim().to_owned()
}

#[test]
fn python_runs_threads_sockets_children_and_shared_memory() {
    needs!("qemu-system-x86_64", "/usr/bin/python3", "busybox");
    let library = python_library();
    let archive = pack(
        "python",
        &format!(
            "program /usr/bin/python3\nargs /script.py\ndirectory /\nfile /script.py {GUESTS}/script.py\n\
             file {library}\nfile /bin/busybox\nsymlink /usr/bin/sh busybox\n"
        ),
    );
    runs(&archive, &[], "all of python is well");
}

#[test]
fn script_tmux_pythons_pty_and_the_jobs_of_a_shell_have_terminals() {
    needs!("qemu-system-x86_64", "/usr/bin/python3", "script", "tmux");
    let library = python_library();
    let coreutils = ["cat", "sleep", "stty", "tty", "rm", "mkdir", "test"];
    let coreutils: String = coreutils
        .iter()
        .map(|name| format!("file /usr/bin/{name}\n"))
        .collect();
    let archive = pack(
        "terminals",
        &format!(
            "program /usr/bin/bash\nargs /terminals.sh\ndirectory /tmp\nfile /terminals.sh {GUESTS}/terminals.sh\n\
             file /usr/bin/python3\nfile {library}\nfile /usr/bin/script\nfile /usr/bin/tmux\n{coreutils}\
             file /usr/share/terminfo /lib/terminfo\nfile /usr/lib/locale/C.utf8\nsymlink /bin usr/bin\nsymlink /usr/bin/sh bash\n"
        ),
    );
    runs(&archive, &[], "all terminals are well");
}

/// Waits until a program has said this behind what was waited for before.
#[track_caller]
fn until(says: &std::sync::mpsc::Receiver<String>, said: &mut String, what: &str) {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(at) = said.find(what) {
            said.drain(..at + what.len());
            return;
        }
        let left = end.saturating_duration_since(Instant::now());
        match says.recv_timeout(left) {
            Ok(more) => said.push_str(&more),
            Err(_) => panic!("no {what:?} in {said:?}"),
        }
    }
}

#[test]
fn a_shell_on_the_machines_console_edits_lines_and_stops_and_ends_its_jobs() {
    needs!("qemu-system-x86_64");
    let archive = pack(
        "console",
        "program /usr/bin/bash\ndirectory /tmp\nfile /usr/bin/sleep\nfile /usr/bin/stty\nfile /usr/bin/tty\n",
    );
    let mut child = Command::new(RUNNER)
        .arg(cargo::example("linux"))
        .args(["--norc", "--noprofile", "-i"])
        .env("EBB_ARCHIVE", &*archive)
        .env("EBB_OPTIONS", "terminal=1")
        .env("EBB_CORES", "1")
        .env("EBB_NET", "none")
        .env("EBB_QUIET", "1")
        .env("EBB_TIMEOUT", "120")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the runner starts");
    let mut keys = child.stdin.take().expect("it is a pipe");
    let says = heard(child.stdout.take().expect("it is a pipe"));
    let mut said = String::new();
    let mut round = |typed: &[&str], shown: &[&str]| {
        for keys_typed in typed {
            keys.write_all(keys_typed.as_bytes()).expect("it listens");
            sleep(Duration::from_secs(1));
        }
        for what in shown {
            until(&says, &mut said, what);
        }
    };
    round(&[], &["# "]);
    round(
        &["export PATH=/usr/bin; stty size; tty\r"],
        &["\n24 80", "/dev/pts/0", "# "],
    );
    round(&["sleep 100\r", "\x1a"], &["^Z", "Stopped", "# "]);
    round(&["fg\r", "\x03"], &["sleep 100", "^C", "# "]);
    round(&["echo st$?\r"], &["st130", "# "]);
    round(&["echo ac\x1b[Db\r"], &["\nabc", "# "]);
    // The window is made larger, as the runner says it, and then as bash hears of it while a job has the terminal.
    let size = "\x1b[48;50;132;0;0t";
    round(&[size, "stty size\r"], &["\n50 132", "# "]);
    round(
        &[
            "bash -c 'trap \"stty size; exit\" WINCH; while :; do sleep 1; done'\r",
            "\x1b[48;40;100;0;0t",
        ],
        &["\n40 100", "# "],
    );
    round(&["exit 3\r"], &[]);
    drop(keys);
    assert_eq!(child.wait().expect("it ends").code(), Some(3));
}

#[test]
fn a_rust_program_runs_threads_sockets_and_children() {
    needs!("qemu-system-x86_64", "busybox");
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("threads");
    let built = Command::new("rustc")
        .args(["-O", "--edition", "2021", "-o"])
        .arg(&program)
        .arg(format!("{GUESTS}/threads.rs"))
        .status();
    assert!(built.is_ok_and(|s| s.success()), "threads.rs is built");
    let manifest = format!(
        "program {}\ndirectory /\nfile /bin/busybox\n",
        program.display()
    );
    runs(&pack("rust", &manifest), &[], "320 lines, well");
}

/// The folder of a version of Debian's PostgreSQL.
fn postgres() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is there");
    let bin = |version: std::io::Result<std::fs::DirEntry>| version.ok().map(|v| v.path());
    let found = versions.filter_map(bin).find(|v| v.join("bin").is_dir());
    found.expect("a version of it is")
}

#[test]
fn postgres_refuses_root_and_keeps_a_database_as_its_own_user() {
    needs!("qemu-system-x86_64", "busybox", "/usr/lib/postgresql");
    let folder = postgres();
    let (folder, version) = (
        folder.display(),
        folder.file_name().expect("a version").display(),
    );
    let mut manifest = format!(
        "program /bin/busybox\nargs sh /postgres.sh {folder}/bin\ndirectory /tmp\ndirectory /var/run\n\
         file /postgres.sh {GUESTS}/postgres.sh\nsymlink /usr/bin/sh busybox\nfile /usr/bin/setpriv\n\
         tree {folder}/lib\ntree /usr/share/postgresql/{version}\n\
         file /etc/passwd\nfile /etc/group\nfile /etc/nsswitch.conf\n"
    );
    for program in ["initdb", "postgres", "pg_ctl", "psql"] {
        manifest.push_str(&format!("file {folder}/bin/{program}\n"));
    }
    let archive = pack("postgres", &manifest);
    runs(&archive, &[], "all of postgres is well");
}

#[test]
fn haproxy_hands_its_listeners_to_a_new_worker() {
    needs!("qemu-system-x86_64", "busybox", "/usr/sbin/haproxy");
    let archive = pack(
        "haproxy",
        &format!(
            "program /bin/busybox\nargs sh /haproxy.sh\ndirectory /tmp 1777\nfile /haproxy.sh {GUESTS}/haproxy.sh\n\
             text /srv/page from behind\nfile /usr/sbin/haproxy\nfile /etc/passwd\nfile /etc/group\n"
        ),
    );
    runs(&archive, &[], "all of haproxy is well");
}

#[test]
fn mosquitto_passes_messages_of_each_quality_and_keeps_what_it_is_to_keep() {
    needs!(
        "qemu-system-x86_64",
        "busybox",
        "/usr/sbin/mosquitto",
        "mosquitto_sub"
    );
    let archive = pack(
        "mosquitto",
        &format!(
            "program /bin/busybox\nargs sh /mosquitto.sh\ndirectory /tmp 1777\nfile /mosquitto.sh {GUESTS}/mosquitto.sh\n\
             file /usr/sbin/mosquitto\nfile /usr/bin/mosquitto_sub\nfile /usr/bin/mosquitto_pub\nfile /etc/passwd\nfile /etc/group\n"
        ),
    );
    runs(&archive, &[], "all of mosquitto is well");
}

#[test]
fn nginx_serves_with_two_workers_that_are_not_root() {
    needs!("qemu-system-x86_64", "nginx", "curl");
    let archive = pack(
        "nginx",
        &format!(
            "program /usr/sbin/nginx\nargs -c /nginx.conf\nfile /nginx.conf {GUESTS}/nginx.conf\n\
             text /srv/index.html hello from two workers\ndirectory /srv/closed 700\n\
             text /srv/closed/index.html of root alone\ndirectory /tmp 1777\ndirectory /var/log/nginx\n\
             directory /var/lib/nginx\nfile /etc/passwd\nfile /etc/group\nfile /etc/nsswitch.conf\n"
        ),
    );
    let [port, shared] = [(); 2].map(|()| {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr());
        free.expect("there is a free port").port()
    });
    let child = image(&archive, &[])
        .env("EBB_FORWARD", format!("{port}:8080,{shared}:8081"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let _ended = Ended(child.expect("the runner starts"));
    let get = |port: u16, path: &str| {
        let url = format!("http://127.0.0.1:{port}/{path}");
        let output = Command::new("curl")
            .args(["-s", "-m", "10", &url])
            .output()
            .expect("curl starts");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let ask = |path| get(port, path);
    let begun = Instant::now();
    while !ask("").contains("hello from two workers") {
        assert!(begun.elapsed() < Duration::from_secs(90), "nginx is not up");
        sleep(Duration::from_millis(300));
    }
    for _ in 0..20 {
        assert!(ask("").contains("hello from two workers"));
    }
    // Heads and bodies beyond nginx' first buffer, of 1 KiB, for which it asks how much there is to read.
    let url = format!("http://127.0.0.1:{port}/");
    for (cookie, body) in [(1000, 0), (3000, 0), (0, 1000), (1000, 300_000)] {
        let (cookie, body) = ("c".repeat(cookie), "b".repeat(body));
        let output = curl_with(&url, &cookie, &body);
        assert_eq!(output, "200", "{} {}", cookie.len(), body.len());
    }
    // What only root may read is not served by a worker.
    assert!(ask("closed/").contains("403 Forbidden"));
    // Each has some of the connections to a port that they share.
    let mut served: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..40 {
        *served.entry(get(shared, "")).or_default() += 1;
    }
    let workers = served.keys().all(|said| said.starts_with("worker "));
    assert!(
        workers && served.len() == 2 && served.values().all(|n| *n > 5),
        "{served:?}"
    );
}

/// The status of a `GET` with such a cookie and body.
fn curl_with(url: &str, cookie: &str, body: &str) -> String {
    let mut curl = Command::new("curl")
        .args(["-s", "-m", "20", "-o", "/dev/null", "-w", "%{http_code}"])
        .args([
            "-H",
            "Expect:",
            "-X",
            "GET",
            "-H",
            &format!("Cookie: {cookie}"),
        ])
        .args(["--data-binary", "@-", url])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl starts");
    let mut input = curl.stdin.take().expect("it is piped");
    input.write_all(body.as_bytes()).expect("curl reads it");
    drop(input);
    let output = curl.wait_with_output().expect("curl ends");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What sshd is told: keys only, and nothing of what a whole Debian would have.
const SSHD: &str = "Port 22\nHostKey /etc/ssh/host\nPidFile none\nAuthorizedKeysFile /etc/ssh/authorized\nStrictModes no\n\
                    UsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\nUseDNS no\nPrintLastLog no\n";

#[test]
fn a_shell_by_ssh_has_a_terminal_as_large_as_the_clients() {
    needs!(
        "qemu-system-x86_64",
        "/usr/sbin/sshd",
        "ssh",
        "ssh-keygen",
        "script"
    );
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ssh");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir(&folder).expect("it is made");
    let at = |name: &str| folder.join(name).display().to_string();
    for key in ["host", "user"] {
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f", &at(key)])
            .status();
        assert!(made.is_ok_and(|s| s.success()), "a key is made");
    }
    let users = "root:x:0:0::/root:/usr/bin/bash\nsshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n";
    for (name, text) in [("config", SSHD), ("passwd", users)] {
        std::fs::write(folder.join(name), text).expect("it is written");
    }
    let archive = pack(
        "ssh",
        &format!(
            "program /usr/sbin/sshd\nargs -D -e -f /etc/ssh/config\ndirectory /tmp\ndirectory /root\n\
             directory /run/sshd\nfile /etc/ssh/config {}\nfile /etc/ssh/host {}\nfile /etc/ssh/authorized {}\n\
             file /etc/passwd {}\nfile /usr/bin/bash\nfile /usr/bin/stty\nfile /usr/bin/sleep\nsymlink /bin usr/bin\n",
            at("config"),
            at("host"),
            at("user.pub"),
            at("passwd")
        ),
    );
    let port = TcpListener::bind("127.0.0.1:0")
        .and_then(|l| l.local_addr())
        .expect("there is a free port")
        .port();
    let child = image(&archive, &[])
        .env("EBB_FORWARD", format!("{port}:22"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let _ended = Ended(child.expect("the runner starts"));
    let begun = Instant::now();
    let greets = || {
        let mut first = [0; 4];
        let stream = TcpStream::connect(("127.0.0.1", port));
        stream.is_ok_and(|mut s| {
            let _ = s.set_read_timeout(Some(Duration::from_secs(5)));
            std::io::Read::read_exact(&mut s, &mut first).is_ok() && first == *b"SSH-"
        })
    };
    while !greets() {
        assert!(begun.elapsed() < Duration::from_secs(90), "sshd is not up");
        sleep(Duration::from_millis(300));
    }
    // `script` gives the client a terminal of its own.
    let client = format!(
        "stty rows 50 cols 132; exec ssh -t -p {port} -i {} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
         -o LogLevel=ERROR root@127.0.0.1",
        at("user")
    );
    let mut session = Command::new("script")
        .args(["-qec", &client, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script starts");
    let mut keys = session.stdin.take().expect("it is a pipe");
    let says = heard(session.stdout.take().expect("it is a pipe"));
    let mut said = String::new();
    for (typed, shown) in [
        ("", "# "),
        ("stty size\r", "\n50 132"),
        ("sleep 100\r", "sleep 100"),
        ("\x03", "^C"),
        ("echo st$?\r", "\nst130"),
        ("exit 5\r", "exit 5"),
    ] {
        keys.write_all(typed.as_bytes()).expect("it listens");
        until(&says, &mut said, shown);
        // Until the job that is to be ended runs.
        sleep(Duration::from_secs(1));
    }
    let mut session = Ended(session);
    assert_eq!(session.0.wait().expect("it ends").code(), Some(5));
}

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ask(stream: &mut BufReader<TcpStream>, command: &str) -> String {
    stream
        .get_mut()
        .write_all(format!("{command}\r\n").as_bytes())
        .expect("redis reads");
    let mut answer = String::new();
    stream.read_line(&mut answer).expect("redis answers");
    if answer.starts_with('$') {
        answer.clear();
        stream.read_line(&mut answer).expect("redis answers");
    }
    String::from(answer.trim_end())
}

#[test]
fn redis_answers_clients_outside_and_saves_in_a_child() {
    needs!("qemu-system-x86_64", "redis-server", "redis-benchmark");
    let archive = pack("redis", "program /usr/bin/redis-server\ndirectory /tmp\n");
    let port = TcpListener::bind("127.0.0.1:0")
        .and_then(|l| l.local_addr())
        .expect("there is a free port")
        .port();
    let options = ["--bind", "0.0.0.0", "--protected-mode", "no", "--save", ""];
    let child = image(&archive, &options)
        .env("EBB_FORWARD", format!("{port}:6379"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let _ended = Ended(child.expect("the runner starts"));
    let begun = Instant::now();
    // QEMU accepts before the image does.
    let mut stream = loop {
        assert!(begun.elapsed() < Duration::from_secs(60), "redis is not up");
        sleep(Duration::from_millis(200));
        let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) else {
            continue;
        };
        let timeout = Some(Duration::from_secs(20));
        stream.set_read_timeout(timeout).expect("it can be set");
        let mut stream = BufReader::new(stream);
        let mut answer = String::new();
        if stream.get_mut().write_all(b"PING\r\n").is_ok()
            && stream.read_line(&mut answer).is_ok()
            && answer == "+PONG\r\n"
        {
            break stream;
        }
    };
    for n in 0..300 {
        assert_eq!(ask(&mut stream, &format!("SET key{n} value{n}")), "+OK");
    }
    for n in 0..300 {
        assert_eq!(
            ask(&mut stream, &format!("GET key{n}")),
            format!("value{n}")
        );
    }
    assert_eq!(ask(&mut stream, "DBSIZE"), ":300");
    assert!(ask(&mut stream, "BGSAVE").starts_with("+Background"));
    let saved = (0..50).any(|_| {
        sleep(Duration::from_millis(100));
        stream.get_mut().write_all(b"INFO persistence\r\n").is_ok() && {
            let mut ok = false;
            let mut line = String::new();
            while stream.read_line(&mut line).is_ok_and(|n| n > 0) {
                ok |= line.starts_with("rdb_saves:1");
                if line.starts_with("module_fork_last_cow_size") {
                    break;
                }
                line.clear();
            }
            line.clear();
            let _ = stream.read_line(&mut line);
            ok
        }
    });
    assert!(saved, "the child has saved");
    // Debian's own load generator.
    let load = Command::new("redis-benchmark")
        .args(["-q", "-n", "2000", "-c", "20", "-t", "set,get", "-p"])
        .arg(port.to_string())
        .output()
        .expect("redis-benchmark starts");
    let said = String::from_utf8_lossy(&load.stdout);
    assert!(load.status.success(), "{said}");
    assert_eq!(said.matches("requests per second").count(), 2, "{said}");
}
