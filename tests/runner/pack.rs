//! The packer: programs with all they need, and what it says when something is missing.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use test_support::needs;

use crate::common::{Code, complete, directory, note, runner, write_program};
use ebb_archive::{Archive, Kind, Node};

/// `ebb-runner pack` of a manifest of this text.
fn pack(dir: &Path, manifest: &str, arguments: &[&str]) -> (i32, String) {
    fs::write(dir.join("manifest"), manifest).unwrap();
    let mut command = runner(dir, "pack".as_ref());
    command
        .arg(dir.join("manifest"))
        .arg("-o")
        .arg(dir.join("out"))
        .arg("--")
        .args(arguments);
    let (code, _, err) = complete(command.current_dir(dir));
    (code, err)
}

/// The bytes of a pack that must succeed.
fn packed(dir: &Path, manifest: &str, arguments: &[&str]) -> Vec<u8> {
    let (code, err) = pack(dir, manifest, arguments);
    assert_eq!((code, err.as_str()), (0, ""));
    fs::read(dir.join("out")).unwrap()
}

/// Compiles a C program or library.
fn compile(out: &Path, source: &str, options: &[&str]) -> PathBuf {
    fs::create_dir_all(out.parent().unwrap()).unwrap();
    let file = out.with_extension("c");
    fs::write(&file, source).unwrap();
    let mut command = Command::new("cc");
    let status = command
        .arg("-o")
        .arg(out)
        .arg(&file)
        .args(options)
        .current_dir(out.parent().unwrap())
        .status();
    assert!(status.unwrap().success());
    out.into()
}

fn unpack(node: Node<'_>, to: &Path) {
    match node.kind() {
        Kind::File => fs::write(to, node.data()).unwrap(),
        Kind::Symlink => symlink(std::str::from_utf8(node.target().unwrap()).unwrap(), to).unwrap(),
        Kind::Directory => {
            fs::create_dir_all(to).unwrap();
            for child in node.children() {
                unpack(child, &to.join(std::str::from_utf8(child.name()).unwrap()));
            }
        }
    }
    if node.kind() != Kind::Symlink {
        fs::set_permissions(
            to,
            fs::Permissions::from_mode(node.metadata().permissions | 0o700),
        )
        .unwrap();
    }
}

/// Runs a packed program with nothing else around; `None` where that is not allowed.
fn run_alone(dir: &Path, bytes: &[u8], command: &[&str]) -> Option<String> {
    let root = dir.join("root");
    let _ = fs::remove_dir_all(&root);
    unpack(Archive::new(bytes).unwrap().root(), &root);
    // Without /proc, the loader takes $ORIGIN from the environment.
    let origin = Path::new(command[0]).parent().unwrap();
    let run = |words: &[&str]| {
        let mut process = Command::new(words[0]);
        process
            .args(&words[1..])
            .arg(&root)
            .args(command)
            .env_clear()
            .env("PATH", env!("PATH"));
        process.env("LD_ORIGIN_PATH", origin).output().ok()
    };
    let output = run(&["chroot"]).filter(|o| o.status.success());
    let output = output.or_else(|| run(&["unshare", "--user", "--map-root-user", "chroot"]))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let denied = String::from_utf8_lossy(&output.stderr).contains("not permitted");
    (!denied).then(|| format!("{text}{}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn a_packed_program_runs_with_nothing_else_around() {
    let dir = directory("alone");
    let bytes = packed(&dir, "program sh\nargs -c", &[]);
    let archive = Archive::new(&bytes).unwrap();
    let program = String::from_utf8(archive.arguments().next().unwrap().to_vec()).unwrap();
    assert!(archive.resolve(program.as_bytes()).is_some());
    if let Some(said) = run_alone(&dir, &bytes, &[&program, "-c", "echo alone"]) {
        assert_eq!(said, "alone\n");
    }
}

#[test]
fn node_runs_with_nothing_else_around() {
    let dir = directory("node");
    let known = Command::new("node")
        .arg("--version")
        .output()
        .is_ok_and(|o| o.status.success());
    if !known {
        return;
    }
    let bytes = packed(
        &dir,
        "program node\nargs --v8-pool-size=0\nenv HOME=/root A=b\nworkdir /app",
        &[],
    );
    let archive = Archive::new(&bytes).unwrap();
    let arguments: Vec<_> = archive
        .arguments()
        .map(|a| String::from_utf8(a.to_vec()).unwrap())
        .collect();
    assert!(arguments[0].ends_with("/node") && arguments[1] == "--v8-pool-size=0");
    assert_eq!(
        archive.environment().collect::<Vec<_>>(),
        [&b"HOME=/root"[..], b"A=b"]
    );
    assert!(archive.directory() == b"/app" && archive.lookup(b"/app").is_some());
    if let Some(said) = run_alone(
        &dir,
        &bytes,
        &[
            &arguments[0],
            "-p",
            "require('zlib').gzipSync('x').length > 0",
        ],
    ) {
        assert_eq!(said, "true\n");
    }
}

#[test]
fn libraries_are_found_as_the_loader_finds_them() {
    let dir = directory("libraries");
    compile(
        &dir.join("deep/libdeep.so"),
        "int deep(void) { return 40; }",
        &["-shared", "-fPIC"],
    );
    let inner = [
        "-shared",
        "-fPIC",
        "-L../deep",
        "-ldeep",
        "-Wl,-rpath,$ORIGIN/../deep",
    ];
    compile(
        &dir.join("lib/libinner.so"),
        "int deep(void); int inner(void) { return deep() + 2; }",
        &inner,
    );
    let main =
        "#include <stdio.h>\nint inner(void); int main(void) { printf(\"%d\\n\", inner()); }";
    let options = [
        "-Llib",
        "-linner",
        "-Wl,-rpath-link,deep",
        "-Wl,-rpath,$ORIGIN/lib",
    ];
    let program = compile(&dir.join("program"), main, &options);
    let bytes = packed(&dir, "program ./program", &[]);
    let archive = Archive::new(&bytes).unwrap();
    for path in ["program", "lib/libinner.so", "deep/libdeep.so"] {
        assert!(
            archive
                .lookup(dir.join(path).to_str().unwrap().as_bytes())
                .is_some(),
            "{path}"
        );
    }
    if let Some(said) = run_alone(&dir, &bytes, &[program.to_str().unwrap()]) {
        assert_eq!(said, "42\n");
    }
    fs::remove_file(dir.join("deep/libdeep.so")).unwrap();
    let (code, err) = pack(&dir, "program ./program", &[]);
    assert!(
        code == 127 && err.contains("lib/libinner.so needs libdeep.so"),
        "{code} {err}"
    );
}

#[test]
fn what_a_program_may_load_brings_its_libraries_too() {
    let dir = directory("plugins");
    compile(
        &dir.join("deep/libdeep.so"),
        "int deep(void) { return 42; }",
        &["-shared", "-fPIC"],
    );
    let plugin = [
        "-shared",
        "-fPIC",
        "-L../deep",
        "-ldeep",
        "-Wl,--disable-new-dtags,-rpath,$ORIGIN/../deep",
    ];
    compile(
        &dir.join("plugins/plugin.so"),
        "int deep(void); int plugin(void) { return deep(); }",
        &plugin,
    );
    let lame = ["-shared", "-fPIC", "-L../deep", "-ldeep"];
    compile(
        &dir.join("plugins/lame.so"),
        "int deep(void); int lame(void) { return deep(); }",
        &lame,
    );
    fs::write(dir.join("plugins/script.so"), "INPUT(-lx)").unwrap();
    let main = "#include <dlfcn.h>\n#include <stdio.h>\nint main(int n, char **v) {\n\
                void *p = dlopen(v[1], RTLD_NOW); if (!p) { puts(dlerror()); return 0; }\n\
                int (*f)(void) = dlsym(p, \"plugin\"); printf(\"%d\\n\", f()); }";
    let program = compile(&dir.join("program"), main, &["-ldl"]);
    let bytes = packed(&dir, "program ./program\ntree plugins", &[]);
    let archive = Archive::new(&bytes).unwrap();
    assert!(
        archive
            .lookup(dir.join("deep/libdeep.so").to_str().unwrap().as_bytes())
            .is_some()
    );
    let plugin = dir.join("plugins/plugin.so");
    if let Some(said) = run_alone(
        &dir,
        &bytes,
        &[program.to_str().unwrap(), plugin.to_str().unwrap()],
    ) {
        assert_eq!(said, "42\n");
    }
}

#[test]
fn a_static_program_needs_no_loader() {
    let dir = directory("static");
    let program = compile(
        &dir.join("program"),
        "#include <stdio.h>\nint main(void) { puts(\"static\"); }",
        &["-static"],
    );
    let bytes = packed(&dir, "program $1", &["./program", "argument"]);
    let archive = Archive::new(&bytes).unwrap();
    assert_eq!(archive.arguments().count(), 0, "the command line has them");
    assert!(archive.lookup(b"/etc/ld.so.cache").is_none() && archive.lookup(b"/usr").is_none());
    if let Some(said) = run_alone(&dir, &bytes, &[program.to_str().unwrap()]) {
        assert_eq!(said, "static\n");
    }
    assert!(
        pack(&dir, "program $1", &[])
            .1
            .contains("give one after `--`")
    );
}

#[test]
fn files_keep_their_place_links_stay_links_and_the_manifest_has_the_last_word() {
    let dir = directory("files");
    fs::create_dir_all(dir.join("real/sub/.git")).unwrap();
    fs::write(dir.join("real/sub/file"), "data").unwrap();
    fs::write(dir.join("real/sub/.git/big"), "no").unwrap();
    fs::hard_link(dir.join("real/sub/file"), dir.join("real/hard")).unwrap();
    fs::set_permissions(dir.join("real/sub"), fs::Permissions::from_mode(0o750)).unwrap();
    for (link, target) in [
        ("link", "real"),
        ("real/up", "../link/sub/file"),
        ("loop", "loop"),
    ] {
        let _ = symlink(target, dir.join(link));
    }
    let manifest = "tree /there real\nfile /renamed link/sub/file\nfile link/sub/file\ntext /etc/hosts 1.2.3.4 me\n\
                    directory /tmp 700\nsymlink /short there/sub\nworkdir /short\n";
    let bytes = packed(&dir, manifest, &[]);
    let archive = Archive::new(&bytes).unwrap();
    let here = |path: &str| archive.lookup(dir.join(path).to_str().unwrap().as_bytes());
    assert_eq!(here("link").unwrap().target(), Some(&b"real"[..]));
    assert_eq!(here("real/sub/file").unwrap().data(), b"data");
    assert!(here("real/hard").is_none());
    assert_eq!(
        archive
            .lookup(b"/there/sub")
            .unwrap()
            .metadata()
            .permissions,
        0o750
    );
    assert_eq!(
        archive.lookup(b"/there/up").unwrap().target(),
        Some(&b"../link/sub/file"[..])
    );
    assert!(archive.lookup(b"/there/sub/.git").is_none());
    assert_eq!(
        archive.lookup(b"/there/hard").unwrap().pages(),
        archive.lookup(b"/renamed").unwrap().pages()
    );
    assert_eq!(
        archive.lookup(b"/etc/hosts").unwrap().data(),
        b"1.2.3.4 me\n"
    );
    assert_eq!(
        archive.lookup(b"/tmp").unwrap().metadata().permissions,
        0o700
    );
    assert_eq!(archive.resolve(b"/short/file").unwrap().data(), b"data");
    assert!(archive.lookup(b"/dev").is_some() && archive.lookup(b"/etc/passwd").is_some());
    for (manifest, word) in [
        ("file missing", "No such file"),
        ("file loop", "too many symbolic links"),
        ("file /a/../b real/hard", "not a path"),
        ("text /x a\nsymlink /x b", "`/x` is there already"),
        ("tree /", "root directory"),
        ("nonsense", "line 1"),
    ] {
        let (code, err) = pack(&dir, manifest, &[]);
        assert!(code != 0 && err.contains(word), "{manifest}: {err}");
    }
}

#[test]
fn a_script_of_a_package_brings_the_package_and_a_lone_one_itself() {
    let dir = directory("scripts");
    fs::create_dir_all(dir.join("package/node_modules/m")).unwrap();
    for file in [
        "package/package.json",
        "package/main.js",
        "package/node_modules/m/index.js",
        "lone.js",
        "other.js",
    ] {
        fs::write(dir.join(file), file).unwrap();
    }
    let bytes = packed(
        &dir,
        "files-of-arguments",
        &["package/main.js", "lone.js", "--flag", "nothing", "."],
    );
    let archive = Archive::new(&bytes).unwrap();
    let there = |path: &str| {
        archive
            .lookup(dir.join(path).to_str().unwrap().as_bytes())
            .is_some()
    };
    assert!(there("package/node_modules/m/index.js") && there("lone.js") && !there("other.js"));
    assert_eq!(
        archive.directory(),
        dir.to_str().unwrap().as_bytes(),
        "relative arguments mean the same files"
    );
}

#[test]
fn a_program_that_cannot_be_packed_is_explained() {
    let dir = directory("unpackable");
    write_program(&dir.join("script"), b"#!/bin/sh\n");
    fs::write(dir.join("text"), "text").unwrap();
    fs::create_dir_all(dir.join("folder")).unwrap();
    let mut elf = fs::read("/bin/sh").unwrap();
    elf.truncate(100);
    fs::write(dir.join("cut"), &elf).unwrap();
    elf[18] = 183;
    fs::write(dir.join("arm"), &elf).unwrap();
    elf[4] = 1;
    fs::write(dir.join("small"), &elf).unwrap();
    for (program, word) in [
        ("./script", "is a script"),
        ("./text", "not an ELF program"),
        ("./cut", "broken ELF file"),
        ("./arm", "another processor"),
        ("./small", "not a 64-bit"),
        ("./missing", "is not there"),
        ("./folder", "is a folder"),
        (
            "no-such-program",
            "is in no folder of PATH; a file of this folder is ./no-such-program",
        ),
    ] {
        let (code, err) = pack(&dir, &format!("program {program}"), &[]);
        assert!(code != 0 && err.contains(word), "{program}: {code} {err}");
    }
    // Whoever asks the image for help is told whose arguments these are.
    let (code, err) = pack(&dir, "program $1", &["--help"]);
    assert!(
        code == 125 && err.contains("options of the image are given by EBB_OPTIONS"),
        "{err}"
    );
}

#[test]
fn a_python_brings_its_library_without_what_only_compilers_of_c_read() {
    let dir = directory("python");
    // One that says where its parts are, as the real one does.
    let library = dir.join("lib");
    for folder in ["config", "json", "test"] {
        fs::create_dir_all(library.join(folder)).unwrap();
    }
    for file in ["os.py", "json/tool.py", "config/libpython.a", "test/x.py"] {
        fs::write(library.join(file), "").unwrap();
    }
    let answer = format!("/bin/sh\n{0}\n{0}\n/site\n3\n", library.display());
    let python = format!("#!/bin/sh\nprintf '%s' '{answer}'");
    let python = write_program(&dir.join("python"), python.as_bytes());
    fs::write(dir.join("manifest"), "python").unwrap();
    let mut command = runner(&dir, "pack".as_ref());
    command
        .args([dir.join("manifest").as_os_str(), "-o".as_ref()])
        .arg(dir.join("out"));
    let (code, _, err) = complete(command.current_dir(&*dir).env("EBB_PYTHON", python));
    assert_eq!((code, err.as_str()), (0, ""));
    let bytes = fs::read(dir.join("out")).unwrap();
    let archive = Archive::new(&bytes).unwrap();
    let has = |file: &str| {
        let path = library.join(file);
        archive.lookup(path.to_str().unwrap().as_bytes()).is_some()
    };
    assert!(has("os.py") && has("json/tool.py") && has("config"));
    assert!(!has("config/libpython.a") && !has("test"));
}

#[test]
fn the_users_node_is_packed_and_must_be_of_a_known_version() {
    let dir = directory("versions");
    let node = |version: &str| {
        let source = format!("#include <stdio.h>\nint main(void) {{ puts(\"{version}\"); }}");
        compile(&dir.join("node"), &source, &[])
    };
    let try_pack = || {
        fs::write(dir.join("manifest"), "program node").unwrap();
        let mut command = runner(&dir, "pack".as_ref());
        command
            .env("EBB_NODE", dir.join("node"))
            .arg(dir.join("manifest"))
            .arg("-o")
            .arg(dir.join("out"));
        complete(&mut command)
    };
    node("v22.1.0");
    assert_eq!(try_pack().0, 0);
    let bytes = fs::read(dir.join("out")).unwrap();
    assert_eq!(
        Archive::new(&bytes).unwrap().arguments().next(),
        dir.join("node").to_str().map(str::as_bytes)
    );
    for (version, word) in [
        ("v16.2.0", "is Node 16; 18 to 26"),
        ("hello", "does not answer"),
        ("v27.0.0", "is Node 27"),
    ] {
        node(version);
        let (code, _, err) = try_pack();
        assert!(code == 125 && err.contains(word), "{code} {err}");
    }
    fs::remove_file(dir.join("node")).unwrap();
    let (code, _, err) = try_pack();
    assert!(code == 127 && err.contains("EBB_NODE"), "{code} {err}");
    let mut command = runner(&dir, "pack".as_ref());
    let (code, _, err) = complete(
        command
            .arg(dir.join("manifest"))
            .arg("-o")
            .arg(dir.join("out"))
            .env("PATH", &*dir),
    );
    assert!(
        code == 127 && err.contains("node was not found in PATH"),
        "{code} {err}"
    );
}

/// An image with a manifest, which prints the beginning of its boot module.
pub fn image(dir: &Path, manifest: &str) -> PathBuf {
    // mov esi, [ebx+16]; mov esi, [esi]
    let code = Code::default()
        .raw(&[0x8b, 0x73, 16, 0x8b, 0x36])
        .print_string()
        .report("exit 0")
        .end();
    let mut text = note(b"ebb\0", 2, &[]);
    text[4..8].copy_from_slice(&u32::try_from(manifest.len()).unwrap().to_le_bytes());
    text.extend_from_slice(manifest.as_bytes());
    text.resize(text.len().next_multiple_of(4), 0);
    code.image_with(
        &dir.join("image"),
        &[
            note(b"ebb\0", 1, &[1, 1]),
            text,
            note(b"Xen\0", 18, &[crate::common::BASE]),
        ],
    )
}

const OWN: &str = "program $1\n# odd length\n";
ebb_archive::manifest!(OWN);

#[test]
fn the_macro_puts_a_manifest_into_the_program() {
    use object::{LittleEndian as LE, read::elf::*};
    let bytes = fs::read(std::env::current_exe().unwrap()).unwrap();
    let header = object::elf::FileHeader64::<LE>::parse(&*bytes).unwrap();
    let mut found = Vec::new();
    for segment in header.program_headers(LE, &*bytes).unwrap() {
        let Ok(Some(mut notes)) = segment.notes(LE, &*bytes) else {
            continue;
        };
        while let Ok(Some(note)) = notes.next() {
            found.push((
                note.name().to_vec(),
                note.n_type(LE).0,
                note.desc().to_vec(),
            ));
        }
    }
    assert!(
        found.contains(&(b"ebb".to_vec(), 2, OWN.as_bytes().to_vec())),
        "{found:?}"
    );
}

pub fn archives(dir: &Path) -> usize {
    fs::read_dir(dir)
        .unwrap()
        .filter(|e| {
            e.as_ref()
                .unwrap()
                .path()
                .extension()
                .is_some_and(|x| x == "archive")
        })
        .count()
}

#[test]
fn an_image_with_a_manifest_gets_its_archive_which_is_packed_only_after_a_change() {
    needs!("qemu-system-x86_64");
    let dir = directory("image");
    fs::write(dir.join("data"), "1").unwrap();
    let image = image(&dir, "file /data data\nfiles-of-arguments");
    let boot = |arguments: &[&str]| {
        let (code, out, err) = complete(runner(&dir, &image).current_dir(&*dir).args(arguments));
        assert!(
            code == 0 && out.starts_with("EBBARCH\u{1}"),
            "{code} {out} {err}"
        );
        err.contains("packing")
    };
    assert!(boot(&[]) && !boot(&[]) && !boot(&["--flag"]));
    fs::write(dir.join("data"), "22").unwrap();
    assert!(boot(&[]) && !boot(&[]));
    fs::write(dir.join("script"), "").unwrap();
    assert!(boot(&["script"]) && !boot(&[]) && !boot(&["script"]));
    assert_eq!(archives(&dir), 3);
    fs::write(dir.join("mine"), "MINE\0").unwrap();
    let (_, out, _) = complete(runner(&dir, &image).env("EBB_ARCHIVE", dir.join("mine")));
    assert_eq!(out, "MINE");
}

#[test]
fn further_files_come_along_under_their_own_paths() {
    let dir = directory("further");
    fs::create_dir_all(dir.join("d")).unwrap();
    for file in ["one", "d/two", "three", "manifest"] {
        fs::write(dir.join(file), "").unwrap();
    }
    let mut command = runner(&dir, "pack".as_ref());
    command
        .arg(dir.join("manifest"))
        .arg("-o")
        .arg(dir.join("out"));
    let files = format!("{}:{}", dir.join("one").display(), dir.join("d").display());
    let (code, _, err) = complete(command.env("EBB_FILES", files));
    assert_eq!(code, 0, "{err}");
    let bytes = fs::read(dir.join("out")).unwrap();
    let archive = Archive::new(&bytes).unwrap();
    let there = |path: &str| {
        archive
            .lookup(dir.join(path).to_str().unwrap().as_bytes())
            .is_some()
    };
    assert!(there("one") && there("d/two") && !there("three"));
    let (code, _, err) = complete(command.env("EBB_FILES", "/no/such/file"));
    assert!(code == 127 && err.contains("/no/such/file"), "{code} {err}");
}

#[test]
fn an_empty_element_of_the_further_files_packs_nothing() {
    let dir = directory("empty-element");
    for file in ["one", "not-named", "manifest"] {
        fs::write(dir.join(file), "").unwrap();
    }
    let mut command = runner(&dir, "pack".as_ref());
    command.current_dir(&*dir).args(["manifest", "-o", "out"]);
    let files = format!(":{}::", dir.join("one").display());
    let (code, _, err) = complete(command.env("EBB_FILES", files));
    assert_eq!(code, 0, "{err}");
    let bytes = fs::read(dir.join("out")).unwrap();
    let archive = Archive::new(&bytes).unwrap();
    let there = |name: &str| {
        let path = dir.join(name);
        archive.lookup(path.to_str().unwrap().as_bytes()).is_some()
    };
    assert!(there("one") && !there("not-named"));
}

#[test]
fn programs_among_the_further_files_bring_their_loader_and_libraries() {
    let dir = directory("further-programs");
    fs::write(dir.join("manifest"), "").unwrap();
    let mut command = runner(&dir, "pack".as_ref());
    command.current_dir(&*dir).args(["manifest", "-o", "out"]);
    let (code, _, err) = complete(command.env("EBB_FILES", "/bin/sh"));
    assert_eq!(code, 0, "{err}");
    let bytes = fs::read(dir.join("out")).unwrap();
    let archive = Archive::new(&bytes).unwrap();
    for path in [
        "/bin/sh",
        "/lib64/ld-linux-x86-64.so.2",
        "/lib/x86_64-linux-gnu/libc.so.6",
    ] {
        // The archive has the links on the way, too; what they lead to is asked for here.
        let real = fs::canonicalize(path).unwrap();
        let found = archive.lookup(real.to_str().unwrap().as_bytes());
        assert!(found.is_some(), "{path}");
    }
}

#[test]
fn an_archive_that_does_not_fit_into_memory_is_refused() {
    needs!("qemu-system-x86_64");
    let dir = directory("memory");
    let archive = dir.join("archive");
    fs::File::create(&archive)
        .unwrap()
        .set_len(100 << 20)
        .unwrap();
    let image = image(&dir, "");
    let (code, _, err) = complete(runner(&dir, &image).env("EBB_ARCHIVE", &archive));
    assert!(
        code == 125
            && err.contains("takes 100 MiB and EBB_MEMORY is 64M; use at least EBB_MEMORY=384M"),
        "{code} {err}"
    );
}

#[test]
fn a_listing_shows_what_is_in_an_archive() {
    let dir = directory("list");
    packed(
        &dir,
        "args a\nenv B=c\nworkdir /w\ntext /w/f x\nsymlink /w/l f",
        &[],
    );
    let (code, out, _) = complete(runner(&dir, "list".as_ref()).arg(dir.join("out")));
    for line in [
        "argument a",
        "environment B=c",
        "directory /w",
        "100644          2 /w/f",
        "120777          1 /w/l -> f",
    ] {
        assert!(
            code == 0 && out.lines().any(|l| l == line),
            "{line} in {out}"
        );
    }
    fs::write(dir.join("out"), "rubbish").unwrap();
    let (code, _, err) = complete(runner(&dir, "list".as_ref()).arg(dir.join("out")));
    assert!(
        code == 125 && err.contains("boot archive: it is cut off"),
        "{err}"
    );
}
