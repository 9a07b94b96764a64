//! For the runner's tests: images of a few instructions, QEMUs of a few shell lines, and the
//! runner in an environment without surprises.

use std::{
    fs,
    ops::Deref,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::Once,
    time::{Duration, Instant},
};

use test_support::RUNNER;

/// Where the code of an image is loaded.
pub const BASE: u32 = 0x10_0000;
/// The symbol that covers all of it.
pub const SYMBOL: &str = "_ZN4tiny4code17h0123456789abcdefE";

/// A directory of this test's own, which goes when the test has passed.
pub struct Directory(PathBuf);

/// Makes it; its path has no symbolic links.
pub fn directory(test: &str) -> Directory {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    Directory(dir.canonicalize().unwrap())
}

impl Deref for Directory {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// 32-bit code, as the PVH entry finds the machine: EBX holds the start info.
#[derive(Default)]
pub struct Code(Vec<u8>);

impl Code {
    /// These bytes.
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// `mov dx, port; mov al, byte; out dx, al` for each byte.
    fn out(mut self, port: u16, bytes: &[u8]) -> Self {
        for byte in bytes {
            let [low, high] = port.to_le_bytes();
            self = self.raw(&[0x66, 0xba, low, high, 0xb0, *byte, 0xee]);
        }
        self
    }

    /// Writes to COM1.
    pub fn print(self, text: &str) -> Self {
        self.out(0x3f8, text.as_bytes())
    }

    /// Writes a line of the report.
    pub fn report(self, line: &str) -> Self {
        self.out(0xe9, line.as_bytes()).out(0xe9, b"\n")
    }

    /// Uses the exit device.
    pub fn end(self) -> Self {
        self.out(0xf4, &[0])
    }

    /// Halts for ever.
    pub fn halt(self) -> Self {
        self.raw(&[0xfa, 0xf4, 0xeb, 0xfd]) // cli; hlt; jmp back
    }

    /// Prints the C string at ESI on COM1.
    pub fn print_string(self) -> Self {
        #[rustfmt::skip]
        let code = [
            0x66, 0xba, 0xf8, 0x03, // mov dx, 0x3f8
            0xac,                   // lodsb
            0x84, 0xc0,             // test al, al
            0x74, 0x03,             // jz out
            0xee,                   // out dx, al
            0xeb, 0xf8,             // jmp lodsb
        ];
        self.raw(&code)
    }

    /// A triple fault: an interrupt without a table.
    pub fn triple_fault(self) -> Self {
        let table = BASE + u32::try_from(self.0.len()).unwrap() + 9;
        let [a, b, c, d] = table.to_le_bytes();
        self.raw(&[0x0f, 0x01, 0x1d, a, b, c, d, 0x0f, 0x0b])
            .raw(&[0; 6]) // lidt [table]; ud2
    }

    /// An image of this code, at `path`.
    pub fn image(self, path: &Path) -> PathBuf {
        self.image_with(
            path,
            &[note(b"ebb\0", 1, &[1, 1]), note(b"Xen\0", 18, &[BASE])],
        )
    }

    /// The same with other notes.
    pub fn image_with(self, path: &Path, notes: &[Vec<u8>]) -> PathBuf {
        let code = self.0;
        let notes = notes.concat();
        let names = format!("\0{SYMBOL}\0.symtab\0.strtab\0.text\0");
        let name = |wanted: &str| u32::try_from(names.find(wanted).unwrap()).unwrap();
        let (code_at, code_len) = (0x1000_u64, code.len() as u64);
        let notes_at = code_at + code_len;
        let names_at = notes_at + notes.len() as u64;
        let symbols_at = (names_at + names.len() as u64).next_multiple_of(8);
        let sections_at = symbols_at + 48;

        let mut file = Bytes::default();
        file.put(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
        file.u16(&[2, 62])
            .u32(&[1])
            .u64(&[BASE.into(), 64, sections_at])
            .u32(&[0])
            .u16(&[64, 56, 2, 64, 4, 2]);
        file.u32(&[1, 7]).u64(&[
            code_at,
            BASE.into(),
            BASE.into(),
            code_len,
            code_len,
            0x1000,
        ]); // PT_LOAD
        file.u32(&[4, 4])
            .u64(&[notes_at, 0, 0, notes.len() as u64, notes.len() as u64, 4]); // PT_NOTE
        file.pad(code_at)
            .put(&code)
            .put(&notes)
            .put(names.as_bytes());
        file.pad(symbols_at).put(&[0; 24]);
        file.u32(&[name(SYMBOL)])
            .put(&[0x12, 0])
            .u16(&[3])
            .u64(&[BASE.into(), code_len]); // global function
        file.put(&[0; 64]);
        file.u32(&[name(".symtab"), 2])
            .u64(&[0, 0, symbols_at, 48])
            .u32(&[2, 1])
            .u64(&[8, 24]);
        file.u32(&[name(".strtab"), 3])
            .u64(&[0, 0, names_at, names.len() as u64])
            .u32(&[0, 0])
            .u64(&[1, 0]);
        file.u32(&[name(".text"), 1])
            .u64(&[6, BASE.into(), code_at, code_len])
            .u32(&[0, 0])
            .u64(&[1, 0]);
        write_program(path, &file.0)
    }
}

/// An ELF note; the name includes its final 0.
pub fn note(name: &[u8; 4], kind: u32, words: &[u32]) -> Vec<u8> {
    let mut bytes = Bytes::default();
    bytes
        .u32(&[4, 4 * u32::try_from(words.len()).unwrap(), kind])
        .put(name)
        .u32(words);
    bytes.0
}

#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn put(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn u16(&mut self, values: &[u16]) -> &mut Self {
        self.put(
            &values
                .iter()
                .flat_map(|v| v.to_le_bytes())
                .collect::<Vec<_>>(),
        )
    }

    fn u32(&mut self, values: &[u32]) -> &mut Self {
        self.put(
            &values
                .iter()
                .flat_map(|v| v.to_le_bytes())
                .collect::<Vec<_>>(),
        )
    }

    fn u64(&mut self, values: &[u64]) -> &mut Self {
        self.put(
            &values
                .iter()
                .flat_map(|v| v.to_le_bytes())
                .collect::<Vec<_>>(),
        )
    }

    fn pad(&mut self, to: u64) -> &mut Self {
        self.0.resize(to.try_into().unwrap(), 0);
        self
    }
}

/// An executable file.
pub fn write_program(path: &Path, bytes: &[u8]) -> PathBuf {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    path.into()
}

/// A program that answers as QEMU does and then executes these shell lines, with `$report` as the
/// debug console.
pub fn fake_qemu(path: &Path, lines: &str) -> PathBuf {
    let script = format!(
        "#!/bin/sh\n\
         case $1 in --version) echo 'QEMU emulator version 7.2.0'; exit;; -L) exit;; esac\n\
         for a; do case $a in file,id=report,path=*) report=${{a##*path=}};; esac; done\n{lines}\n"
    );
    write_program(path, script.as_bytes())
}

/// Builds the runner, as the script does when it is first used; a test may take PATH away from it.
fn build() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let output = Command::new(RUNNER).arg("--version").output().unwrap();
        assert!(output.status.success(), "{output:?}");
    });
}

/// The runner, about to run this image, with none of the caller's `EBB_*` variables.
pub fn runner(dir: &Path, image: &Path) -> Command {
    build();
    let mut command = Command::new(RUNNER);
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"EBB_") {
            command.env_remove(name);
        }
    }
    command.arg(image).env("XDG_CACHE_HOME", dir.join("cache"));
    command
        .env("EBB_TIMEOUT", "40")
        .env("EBB_CORES", "1")
        .env("EBB_MEMORY", "64M")
        .env("EBB_NO_INSTALL", "1");
    command.stdin(Stdio::null());
    command
}

/// Status, standard output and standard error.
pub fn finish(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code().unwrap_or(-1),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// Runs it to its end.
pub fn complete(command: &mut Command) -> (i32, String, String) {
    finish(command.output().unwrap())
}

/// Whether a process of this number runs (one that nobody has waited for yet does not).
pub fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Waits until it holds.
pub fn eventually(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "not within 20 s: {what}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The QEMU that this runner has started, once it runs.
pub fn qemu_of(runner: u32) -> i32 {
    let find = || {
        let children = fs::read_to_string(format!("/proc/{runner}/task/{runner}/children"))
            .unwrap_or_default();
        let mut children = children.split_whitespace();
        // The one that is asked for its version has no kernel.
        children
            .find(|pid| {
                fs::read(format!("/proc/{pid}/cmdline"))
                    .is_ok_and(|c| c.windows(7).any(|w| w == b"-kernel"))
            })?
            .parse()
            .ok()
    };
    eventually("QEMU runs", || find().is_some());
    find().unwrap()
}
