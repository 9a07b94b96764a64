//! CPython's own tests of 30 modules that stand close to the operating system.

use crate::{
    fetch::{Place, Source},
    suite::{Known, Suite, Test},
    suites::shell_and_tools,
};

const MODULES: &[&str] = &[
    "test_asyncio.test_sock_lowlevel",
    "test_asyncio.test_subprocess",
    "test_asyncio.test_unix_events",
    "test_eintr",
    "test_epoll",
    "test_fcntl",
    "test_fork1",
    "test_ioctl",
    "test_memoryview",
    "test_mmap",
    "test_multiprocessing_fork",
    "test_openpty",
    "test_os",
    "test_pathlib",
    "test_poll",
    "test_posix",
    "test_pty",
    "test_resource",
    "test_select",
    "test_selectors",
    "test_shutil",
    "test_signal",
    "test_socket",
    "test_socketserver",
    "test_ssl",
    "test_subprocess",
    "test_tempfile",
    "test_threading",
    "test_time",
    "test_wait4",
];

/// Classes that are not run: a connection over VSOCK waits for ever where the machine has no hypervisor below.
const WITHOUT: &[(&str, &str)] = &[("test_socket", "-ThreadedVSOCKSocketStreamTest")];

/// Says a line for each test.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python.py");

pub const SUITE: Suite = Suite {
    name: "python",
    title: "CPython 3, its tests of 30 modules",
    needs: &["/usr/bin/python3", "qemu-system-x86_64"],
    // Debian's `libpython3.N-testsuite` has all of `test` but what the library's own package has, and depends on the version of
    // the installed Python. So a Python of the suite's own is made of both: children that ignore the environment find it too.
    source: Source::DebianFiles(
        "libpython3.$(/usr/bin/python3 -c 'import sys; print(sys.version_info.minor)')-testsuite",
    ),
    build: "library=$(/usr/bin/python3 -c 'import sysconfig; print(sysconfig.get_path(\"stdlib\"))')
        mkdir -p ../prefix/bin ../prefix/lib; cp -L /usr/bin/python3 ../prefix/bin/; cp -r $library ../prefix/lib/
        cp -r .$library/. ../prefix/lib/$(basename $library)/",
    tests: |place| {
        let program = python(place);
        let test = |module: &&str| {
            let mut words = vec![program.as_str(), SCRIPT, module];
            let without = WITHOUT.iter().filter(|(of, _)| of == module);
            words.extend(without.map(|(_, class)| class));
            Test {
                environment: vec!["PYTHONDONTWRITEBYTECODE=1".into()],
                ..Test::new(module, &words)
            }
        };
        Ok(MODULES.iter().map(test).collect())
    },
    files,
    results: |test, ran| ran.by_lines(test),
    // Results are `MODULE.CLASS.METHOD`, and the script takes the last two.
    part: |test, names| {
        let of = |name: &&str| Some(name.strip_prefix(&test.name)?.strip_prefix('.')?.to_owned());
        let methods: Vec<String> = names.iter().filter_map(of).collect();
        let mut part = test.clone();
        // A module that did not end as it should is run as a whole.
        if methods.len() == names.len() {
            part.words.extend(methods);
        }
        part
    },
    sample: 4,
    long: &[
        "test_eintr",
        "test_multiprocessing_fork",
        "test_pathlib",
        "test_signal",
        "test_socket",
        "test_ssl",
        "test_subprocess",
        "test_threading",
        "test_asyncio.test_subprocess",
        "test_asyncio.test_unix_events",
        "test_selectors",
        "test_poll",
    ],
    limit_s: 600,
    as_another_user: false,
    // A fork counts its parent's memory once more, and one test has a hundred children.
    memory: 8192,
    known: KNOWN,
};

const KNOWN: &[Known] = &[
    known(
        "test_fcntl.TestFcntl.test_fcntl_64_bit",
        "F_NOTIFY is refused (table of system calls); inotify is there",
    ),
    known("test_socket.BasicVSOCKTest.*", "there are no VSOCK sockets"),
    known(
        "test_socket.*UDPLITE*",
        "there is no UDP-Lite, which Linux warns of the end of and no longer has in 7.1",
    ),
    known(
        "test_socket.GeneralModuleTests.test_sethostname",
        "sethostname is refused (EPERM): the name is the machine's",
    ),
    known(
        "test_time.TimeTestCase.test_monotonic_settime",
        "clock_settime is refused (EPERM): the clock is the machine's",
    ),
];

const fn known(what: &'static str, why: &'static str) -> Known {
    Known { what, why }
}

fn python(place: &Place) -> String {
    place
        .folder
        .join("prefix/bin/python3")
        .display()
        .to_string()
}

fn files(place: &Place) -> Vec<String> {
    let mut lines = shell_and_tools();
    lines.extend([
        // What a Python finds that does not know where it lies.
        "python".to_owned(),
        format!("file {SCRIPT}"),
        format!("file {}", python(place)),
        format!("tree {}", place.folder.join("prefix/lib").display()),
        "file /etc/services".to_owned(),
        "file /etc/protocols".to_owned(),
        "tree /usr/share/zoneinfo".to_owned(),
    ]);
    lines
}
