//! A node reads the files of another one over real sockets, and nothing that it has not shared.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::{ffi::OsStrExt, fs::symlink, net::UnixListener},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use ebb::{EbbRef, time};
use ebb_distributed::{Config, Failure, Key, NodeId, RemoteRef, introduce, join};
use ebb_offload::{
    Error, FileError, Files, FilesAt, FrontEnd, FrontEndAt, Kind, LONGEST_PART, LookupError, PAGE,
    Share,
};
use ebb_offload_hosted as _;
use nix::{
    fcntl::{AT_FDCWD, RenameFlags, renameat2},
    sys::stat::Mode,
    unistd::mkfifo,
};
use test_support::{Random, scratch};

fn one_core() -> ebb_hosted::Config {
    ebb_hosted::Config {
        cores: 1,
        pin: false,
    }
}

/// A folder of this test, empty, and gone at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = scratch(&format!("offload-{name}"));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }

    fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, content).expect("written");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs something on a node beside a front end that shares this.
fn beside<T: Send + 'static>(
    share: Share,
    run: impl AsyncFnOnce(FilesAt, FrontEndAt) -> T + Send + 'static,
) -> T {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let at = listener.local_addr().expect("its address");
    drop(listener);
    let key = Key::new([5; 32]);
    let ends = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&ends);
    let front = thread::spawn(move || {
        ebb_hosted::run(&one_core(), async move || {
            share.serve().expect("the directory is there");
            let server = join(Config::new(NodeId(0), key, at)).await;
            let _server = server.expect("a free port");
            while !told.load(Ordering::Relaxed) {
                time::sleep(Duration::from_millis(2)).await;
            }
        });
    });
    while TcpStream::connect(at).is_err() {
        assert!(!front.is_finished(), "the front end has ended");
        thread::sleep(Duration::from_millis(1));
    }
    let result = ebb_hosted::run(&one_core(), async move || {
        let anywhere: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
        let _server = join(Config::new(NodeId(1), key, anywhere)).await;
        introduce(NodeId(0), at);
        let front = NodeId(0);
        run(
            EbbRef::<Files>::new().at(front),
            EbbRef::<FrontEnd>::new().at(front),
        )
        .await
    });
    ends.store(true, Ordering::Relaxed);
    front.join().expect("the front end ends well");
    result
}

fn sharing(folder: &Path) -> Share {
    Share::new().directory(folder.to_str().expect("a path in UTF-8"))
}

fn refused(error: FileError) -> Error {
    Error::File(error)
}

#[test]
fn files_of_any_length_are_read_whole_and_by_parts() {
    let folder = Folder::new("whole");
    let mut random = Random::new(7);
    let part = LONGEST_PART as usize;
    let lengths = [0, 1, part - 1, part, part + 1, 4 * part + 17];
    let files: Vec<(String, Vec<u8>)> = lengths
        .iter()
        .map(|length| {
            let content = (0..*length).map(|_| random.next() as u8).collect();
            (format!("some/where/{length}"), content)
        })
        .collect();
    for (path, content) in &files {
        folder.write(path, content);
    }
    beside(sharing(&folder.0), async move |at, _| {
        for (path, content) in files {
            let length = content.len() as u64;
            let metadata = at.metadata(path.clone()).await.unwrap().unwrap();
            assert_eq!((metadata.kind, metadata.size), (Kind::File, length));
            assert_eq!(at.read_all(&path, length).await.unwrap(), content);
            if length > 0 {
                let fewer = at.read_all(&path, length - 1).await;
                assert_eq!(fewer, Err(Error::TooLarge(length)));
            }
            let mut reader = at.open(&path).await.unwrap();
            let mut read = Vec::new();
            while let Some(bytes) = reader.next().await.unwrap() {
                read.extend_from_slice(&bytes);
            }
            assert_eq!(read, content);
            // More than a part is never given, and nothing behind the end.
            let most = at.read(path.clone(), 0, u32::MAX).await.unwrap().unwrap();
            assert_eq!(*most.bytes, content[..content.len().min(part)]);
            for offset in [length, u64::MAX] {
                let none = at.read(path.clone(), offset, 10).await.unwrap().unwrap();
                assert!(none.bytes.is_empty());
            }
        }
    });
}

#[test]
fn no_path_and_no_link_leads_out_of_the_directory() {
    let outside = Folder::new("outside");
    outside.write("secret", "secret");
    outside.write("root/file", "file");
    outside.write("root/deep/er/file", "deep");
    let root = outside.0.join("root");
    let link = |to: &Path, name: &str| symlink(to, root.join(name)).expect("a link");
    link(&outside.0.join("secret"), "absolute");
    link(Path::new("../secret"), "upwards");
    link(&outside.0, "folder");
    link(Path::new("deep/er/../../file"), "within");
    link(Path::new("deep/er"), "deeper");
    link(&root.join("file"), "absolute-to-within");
    link(Path::new("circle"), "circle");
    link(Path::new("/proc/self/root"), "magic");
    let absolute = outside.0.join("secret").to_str().unwrap().to_owned();
    beside(sharing(&root), async move |at, _| {
        for path in [
            "file",
            "./file",
            "deep/../file",
            "within",
            "deep/er/../../file",
        ] {
            let text = at.read_all(path, 100).await;
            assert_eq!(text.as_deref(), Ok(&b"file"[..]), "{path}");
        }
        assert_eq!(
            at.read_all("deeper/file", 9).await.as_deref(),
            Ok(&b"deep"[..])
        );
        let out = [
            "..",
            "../secret",
            "deep/../../secret",
            "../root/file",
            &absolute,
            "/",
            "absolute",
            "upwards",
            "folder/secret",
            "folder",
            "absolute-to-within",
            "magic/etc/passwd",
        ];
        for path in out {
            let outside = Err(refused(FileError::Outside));
            assert_eq!(at.read_all(path, 100).await, outside, "{path}");
            let known = at.metadata(path.into()).await.unwrap();
            assert_eq!(known, Err(FileError::Outside), "{path}");
            let listed = at.list(path.into(), String::new()).await.unwrap();
            assert_eq!(listed, Err(FileError::Outside), "{path}");
        }
        let long = "x".repeat(300);
        let longer = "x/".repeat(3000);
        for path in ["none", "", "circle", "file\0", &long, &longer] {
            let none = Err(refused(FileError::NotFound));
            assert_eq!(at.read_all(path, 100).await, none, "{path}");
        }
        for path in ["file/", "file/more"] {
            let none = Err(refused(FileError::NotADirectory));
            assert_eq!(at.read_all(path, 100).await, none, "{path}");
        }
    });
}

#[test]
fn a_directory_that_is_exchanged_for_a_link_all_the_time_does_not_lead_out() {
    let outside = Folder::new("exchanged");
    outside.write("place/file", "outside");
    outside.write("root/place/file", "inside");
    let root = outside.0.join("root");
    symlink("../place", root.join("link")).expect("a link");
    let ends = Arc::new(AtomicBool::new(false));
    let exchanges = Arc::new(AtomicU64::new(0));
    let exchanger = {
        let (ends, exchanges) = (Arc::clone(&ends), Arc::clone(&exchanges));
        let (place, link) = (root.join("place"), root.join("link"));
        thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                renameat2(
                    AT_FDCWD,
                    &place,
                    AT_FDCWD,
                    &link,
                    RenameFlags::RENAME_EXCHANGE,
                )
                .expect("exchanged");
                exchanges.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    let seen = beside(sharing(&root), async |at, _| {
        let (mut inside, mut refusals) = (0, 0);
        let begun = Instant::now();
        while (inside < 100 || refusals < 100) && begun.elapsed() < Duration::from_secs(30) {
            match at.read_all("place/file", 100).await {
                Ok(text) => {
                    assert_eq!(&*text, b"inside");
                    inside += 1;
                }
                Err(Error::File(FileError::Outside)) => refusals += 1,
                // So many exchanges that the kernel would not say.
                Err(Error::File(FileError::Busy)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        (inside, refusals)
    });
    ends.store(true, Ordering::Relaxed);
    exchanger.join().expect("it exchanges to the end");
    let exchanged = exchanges.load(Ordering::Relaxed);
    assert!(seen.0 >= 100 && seen.1 >= 100, "{seen:?} of {exchanged}");
}

#[test]
fn what_is_no_file_is_refused_at_once() {
    let folder = Folder::new("special");
    folder.write("file", "file");
    mkfifo(&folder.0.join("pipe"), Mode::S_IRWXU).expect("a pipe");
    let _socket = UnixListener::bind(folder.0.join("socket")).expect("a socket");
    beside(sharing(&folder.0), async |at, _| {
        // Nobody will ever write to the pipe.
        for path in ["pipe", "socket", "."] {
            let refusal = Err(refused(FileError::NotAFile));
            let read = time::timeout(Duration::from_secs(10), at.read_all(path, 100)).await;
            assert_eq!(read.expect("no waiting"), refusal, "{path}");
            let opened = at.open(path).await.map(|reader| reader.metadata());
            assert_eq!(opened, Err(refused(FileError::NotAFile)));
        }
        for path in ["file", "pipe"] {
            let listed = at.entries(path, 10).await;
            assert_eq!(listed, Err(refused(FileError::NotADirectory)), "{path}");
        }
        let kinds = at.entries(".", 10).await.unwrap();
        let kinds: Vec<_> = kinds.iter().map(|e| (e.name.as_str(), e.kind)).collect();
        assert_eq!(
            kinds,
            [
                ("file", Kind::File),
                ("pipe", Kind::Other),
                ("socket", Kind::Other)
            ]
        );
    });
}

#[test]
fn a_file_that_changes_while_it_is_read_is_not_given_as_one() {
    let folder = Folder::new("changes");
    let length = 2 * LONGEST_PART as usize;
    folder.write("file", vec![1; length]);
    let path = folder.0.join("file");
    beside(sharing(&folder.0), async move |at, _| {
        let changes: [&dyn Fn(); 3] = [
            &|| fs::write(&path, vec![2; length]).unwrap(),
            &|| {
                fs::write(path.with_extension("new"), vec![3; length]).unwrap();
                fs::rename(path.with_extension("new"), &path).unwrap();
            },
            &|| fs::write(&path, [4; 5]).unwrap(),
        ];
        for change in changes {
            let mut reader = at.open("file").await.unwrap();
            reader.next().await.unwrap().expect("the first part");
            // The clock of a file system has ticks of up to 10 ms.
            time::sleep(Duration::from_millis(30)).await;
            change();
            assert_eq!(reader.next().await, Err(Error::Changed));
        }
        fs::remove_file(&path).unwrap();
        let gone = at.read_all("file", 10).await;
        assert_eq!(gone, Err(refused(FileError::NotFound)));
    });
}

#[test]
fn a_large_directory_comes_in_pages_and_names_that_are_not_utf8_are_counted() {
    let folder = Folder::new("pages");
    let count = 2 * PAGE + 7;
    let mut names: Vec<String> = (0..count).map(|n| format!("{n}")).collect();
    names.extend(["ä".into(), "\u{10ffff}".into(), "with\nline".into()]);
    for name in &names {
        folder.write(name, "");
    }
    for odd in [&b"\xff"[..], b"odd\xc3"] {
        fs::write(folder.0.join(std::ffi::OsStr::from_bytes(odd)), "").expect("a file");
    }
    names.sort();
    beside(sharing(&folder.0), async move |at, _| {
        let entries = at.entries(".", names.len()).await.unwrap();
        let listed: Vec<String> = entries.into_iter().map(|entry| entry.name).collect();
        assert_eq!(listed, names);
        let fewer = at.entries(".", names.len() - 1).await;
        assert!(matches!(fewer, Err(Error::TooLarge(_))), "{fewer:?}");
        let page = at.list(".".into(), String::new()).await.unwrap().unwrap();
        assert_eq!(
            (page.entries.len(), page.more, page.unnamed),
            (PAGE, true, 2)
        );
        let last = at
            .list(".".into(), "\u{10fffe}".into())
            .await
            .unwrap()
            .unwrap();
        assert_eq!((last.entries.len(), last.more), (1, false));
    });
}

#[test]
fn only_what_is_shared_is_told() {
    // SAFETY: no thread of this process reads variables of these names meanwhile, and glibc's own lock guards the list.
    unsafe {
        std::env::set_var("OFFLOAD_TEST_SHARED", "here");
        std::env::set_var("OFFLOAD_TEST_OWN", "secret");
    }
    let share = Share::new()
        .variable("OFFLOAD_TEST_SHARED")
        .variable("OFFLOAD_TEST_UNSET");
    beside(share, async |files, front| {
        let variable = async |name: &str| front.variable(name.into()).await.unwrap();
        assert_eq!(
            variable("OFFLOAD_TEST_SHARED").await.as_deref(),
            Some("here")
        );
        for name in ["OFFLOAD_TEST_OWN", "OFFLOAD_TEST_UNSET", "PATH", "", "A=B"] {
            assert_eq!(variable(name).await, None, "{name}");
        }
        let names = front.lookup("localhost".into()).await.unwrap();
        assert_eq!(names, Err(LookupError::NotShared));
        let file = files.read_all("file", 10).await;
        assert_eq!(file, Err(Error::Call(Failure::Gone)));
        let told = Duration::from_micros(front.unix_time_us().await.unwrap());
        let here = std::time::UNIX_EPOCH.elapsed().unwrap();
        assert!(
            here.abs_diff(told) < Duration::from_secs(5),
            "{told:?} {here:?}"
        );
    });
    beside(Share::new().names(), async |_, front| {
        let found = front.lookup("localhost".into()).await.unwrap().unwrap();
        assert!(
            found.contains(&IpAddr::V4(Ipv4Addr::LOCALHOST)),
            "{found:?}"
        );
        for name in ["", "no\0name", "nobody.invalid", &"x".repeat(10_000)] {
            let none = front.lookup(name.into()).await.unwrap();
            assert_eq!(none, Err(LookupError::Failed), "{name}");
        }
    });
}

#[test]
fn what_cannot_be_shared_is_told_in_words() {
    let folder = Folder::new("unshared");
    folder.write("file", "");
    for (path, why) in [("none", "No such file"), ("file", "it is no directory")] {
        let path = folder.0.join(path);
        let told = ebb_hosted::run(&one_core(), async move || sharing(&path).serve());
        let told = told.expect_err("nothing to share");
        assert!(told.contains(why) && told.contains("unshared"), "{told}");
    }
}
