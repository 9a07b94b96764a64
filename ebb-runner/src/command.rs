//! The command: `ebb-runner IMAGE [ARGUMENT...]`, and `cargo ebb runner`, which is the same. `--help` tells the rest.

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    io::{IsTerminal, Read, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::tell::tell;
use crate::{
    accel, cmdline,
    config::{self, Accel, Config, Console, places},
    environment,
    failure::{Failure, NOT_EXECUTABLE, NOT_FOUND, UNUSABLE},
    image::{self, Image, Kind},
    install, machine,
    net::{self, Forward, Protocol},
    outcome,
    pack::{self, Manifest, Plan, Surroundings},
    qemu::{self, Qemu},
    report::Report,
    supervise,
    symbols::Symbols,
    vsock::{Backend, Vsock},
};
use ebb_archive::Archive;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

/// Carries out the command with these arguments (without the program's name); gives its exit status.
pub fn main(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let (status, message) = match arguments.next() {
        None => (UNUSABLE, format!("ebb-runner: which image?\n{USAGE}")),
        Some(first) if first == "--help" || first == "-h" => return print(&help()),
        Some(first) if first == "--version" || first == "-V" => {
            return print(concat!("ebb-runner ", env!("CARGO_PKG_VERSION"), "\n"));
        }
        Some(first) if first.as_encoded_bytes().starts_with(b"-") => (
            UNUSABLE,
            format!("ebb-runner: unknown option {}\n{USAGE}", first.display()),
        ),
        Some(first) if let Some((_, usage, command)) = COMMANDS.iter().find(|c| first == c.0) => {
            let rest: Vec<OsString> = arguments.collect();
            let mut own = rest.iter().take_while(|word| *word != "--");
            if own.any(|word| word == "--help" || word == "-h") {
                return print(&format!("{usage}\n"));
            }
            match command(&rest) {
                Ok(()) => return ExitCode::SUCCESS,
                Err(failure) => (failure.status, format!("ebb-runner: {failure}")),
            }
        }
        Some(first) => match run(&PathBuf::from(first), arguments.collect()) {
            Ok(status) => return status.into(),
            Err((name, failure)) => (failure.status, format!("ebb-runner: {name}: {failure}")),
        },
    };
    tell!("{message}");
    status.into()
}

const USAGE: &str = "usage: ebb-runner IMAGE [--] [ARGUMENT...]   (ebb-runner --help tells more)";
const LIST_USAGE: &str = "usage: ebb-runner list ARCHIVE";
const INSTALL_USAGE: &str = "usage: ebb-runner install PROGRAM...";
const BAKE_USAGE: &str = "usage: ebb-runner bake IMAGE -o DISK [-- ARGUMENT...]";
const PACK_USAGE: &str = "usage: ebb-runner pack MANIFEST -o ARCHIVE [-- ARGUMENT...]";

/// Carries out a command with the words behind its name.
type Carry = fn(&[OsString]) -> Result<(), Failure>;

/// What is not the name of an image: the word, how it is used, and what it does.
const COMMANDS: [(&str, &str, Carry); 4] = [
    ("pack", PACK_USAGE, pack_command),
    ("bake", BAKE_USAGE, bake_command),
    ("list", LIST_USAGE, list_command),
    ("install", INSTALL_USAGE, install_command),
];

fn print(text: &str) -> ExitCode {
    // `ebb-runner --help | head` is no error.
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn help() -> String {
    let mut text = format!(
        "{USAGE}\n\n\
         Boots an ebb image under QEMU; the image's exit status becomes the runner's. Executes\n\
         anything else as it is. This is what `cargo run` and `cargo test` start (see `runner` in\n\
         .cargo/config.toml). The arguments go to the application.\n\n\
         ebb-runner pack MANIFEST -o ARCHIVE [-- ARGUMENT...]   makes a boot archive\n\
         ebb-runner bake IMAGE -o DISK [-- ARGUMENT...]         makes ahead what each start would make\n\
         ebb-runner list ARCHIVE                                shows one\n\
         ebb-runner install PROGRAM...                          installs what is missing of them\n\n\
         Environment:\n"
    );
    for variable in config::VARIABLES {
        let head = format!("  {}={}", variable.name, variable.value);
        text.push_str(&head);
        let mut column = head.len();
        for line in wrap(variable.help, 62) {
            if column > 33 {
                text.push('\n');
                column = 0;
            }
            text.push_str(&format!("{:1$}{line}", "", 34 - column));
            column = 99;
        }
        text.push('\n');
    }
    text.push_str(
        "\nExit status of the runner's own: 123 the image ended without one (triple fault, reset),\n\
         124 EBB_TIMEOUT, 125 it could not be run, 126 not bootable or executable, 127 not found,\n\
         130 Ctrl-C, 128+N signal N.\n",
    );
    text
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.into()),
        }
    }
    lines
}

/// Boots an image or executes another program; errors carry the name to report them under.
fn run(path: &Path, mut arguments: Vec<OsString>) -> Result<u8, (String, Failure)> {
    match image::inspect(path).map_err(|f| (path.display().to_string(), f))? {
        Kind::Image(image) => {
            // As with Cargo, what follows `--` is the image's.
            if arguments.first().is_some_and(|first| first == "--") {
                arguments.remove(0);
            }
            boot(&image, &arguments, None).map_err(|f| (image.name(), f))
        }
        Kind::Other => Err((path.display().to_string(), execute(path, &arguments))),
    }
}

/// Becomes this program; returns only if that fails.
fn execute(path: &Path, arguments: &[OsString]) -> Failure {
    // A name without a slash would be looked up in PATH.
    let program = if path.components().count() == 1 {
        Path::new(".").join(path)
    } else {
        path.into()
    };
    let error = Command::new(program).args(arguments).exec();
    Failure::new(
        NOT_EXECUTABLE,
        format!("neither an ebb image nor a program that can be executed: {error}"),
    )
}

/// Boots an image; with `bake`, so that it makes what each start would make, puts it on a disk that is this file, and ends.
fn boot(image: &Image, arguments: &[OsString], bake: Option<&Path>) -> Result<u8, Failure> {
    let name = image.name();
    let host_cores =
        thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(64));
    let mut config = config::parse(|name| variable(image, name), host_cores)
        .map_err(|errors| Failure::unusable(errors.join("\nebb-runner: ")))?;
    if let Some(file) = bake {
        config.disks = vec![ebb_disk::Spec::of(file)];
        config.forwards.clear();
        config.options.push("bake=1".into());
    }
    let wrong = places::unusable(&config, image.manifest.is_some(), |name| {
        variable(image, name)
    });
    if !wrong.is_empty() {
        return Err(Failure::unusable(wrong.join("\nebb-runner: ")));
    }
    let quiet = config.quiet;
    let inform = |line: String| {
        if !quiet {
            tell!("ebb-runner: {name}: {line}");
        }
    };
    let names: Vec<OsString> = env::vars_os().map(|(name, _)| name).collect();
    for warning in
        config::unknown_variables(names.iter().map(OsString::as_os_str), &image.variables)
    {
        inform(warning);
    }
    if image.manifest.is_none() && env::var_os("EBB_FILES").is_some_and(|v| !v.is_empty()) {
        inform("EBB_FILES is left out: this image takes no boot archive".into());
    }
    if let Some(path) = config.archive.as_deref().filter(|path| is_foreign(path)) {
        inform(format!(
            "EBB_ARCHIVE is `{}`: it does not begin as a boot archive does; an image that looks for files in one finds none",
            path.display()
        ));
    }

    let qemu = qemu::find(&config)?;
    let choice = accel::pick(config.accel)?;
    let mut report = open_report(&config)?;
    report.set_trace(create(config.trace.as_deref(), "EBB_TRACE")?);
    report.show = (!config.quiet).then(|| name.clone());
    // Held until QEMU has ended.
    let mut held = None;
    if let (None, Some(manifest)) = (&config.archive, &image.manifest) {
        let here = env::current_dir()
            .map_err(|e| Failure::unusable(format!("the current directory: {e}")))?;
        let around = Surroundings::new(here, config.no_install);
        let archive = pack::prepare(&image.path, manifest, arguments, &around, inform)?;
        config.archive = Some(held.insert(archive).path.clone());
    }
    let memory = check_archive(&config)?;
    let mut forwards = config.forwards.clone();
    for forward in &mut forwards {
        forward.reserve()?;
    }
    // Held until QEMU has ended.
    let _disks = open_disks(&config, &qemu, inform)?;
    if let Some(port) = config.gdb {
        net::check_tcp_port(port, "EBB_GDB")?;
    }
    // Ends with the machine.
    let vsock = match &config.vsock {
        Some(Vsock::Unix(path)) => Some(Backend::start(path, config.no_install)?),
        _ => None,
    };
    complete_options(&mut config, image, &forwards)?;
    let command_line = command_line(&mut config, image, arguments, inform)?;
    inform(machine_line(&config, memory, choice.accel, &choice.why));
    for forward in &forwards {
        report.note(&note_line(forward));
        inform(forward_line(forward));
    }
    if let Some(vsock) = &config.vsock {
        inform(vsock.line());
    }
    if let Some(port) = config.gdb {
        // Not even a quiet runner may wait without a word.
        tell!("ebb-runner: {name}: {}", gdb_line(image, port));
    }
    if config.console == Console::Raw && std::io::stdin().is_terminal() {
        inform("every key goes to the image; Ctrl-] ends it".into());
    }

    let (timeout, console) = (config.timeout, config.console);
    let core = config.core.as_deref().map(std::path::absolute).transpose();
    let core = core.map_err(|e| Failure::unusable(format!("EBB_CORE: {e}")))?;
    config.forwards = forwards;
    let symbols = Symbols::of(&image.path);
    let ended = supervise::run(supervise::Task {
        program: &qemu.program,
        arguments: &|inherited| {
            machine::arguments(
                &config,
                image,
                &qemu,
                choice.accel,
                memory,
                &command_line,
                inherited,
            )
        },
        vsock: vsock.as_ref(),
        symbols: symbols.as_ref().map(Symbols::fd),
        report,
        console,
        timeout,
        core: core.as_deref(),
    })?;
    outcome::judge(&ended, &image.path, timeout)
}

/// Adds to the image's options what its variables and the machine say.
fn complete_options(
    config: &mut Config,
    image: &Image,
    forwards: &[Forward],
) -> Result<(), Failure> {
    for variable in &image.variables {
        config.options.extend(image_option(variable)?);
    }
    config.options.extend(forward_option(forwards));
    config.options.extend(disk_option(&config.disks));
    config.options.extend(launched_option());
    config.options.extend(trace_options(config));
    if config.core.is_some() {
        config.options.push("core-file=on".into());
    }
    Ok(())
}

/// The firmware's command line: options and arguments, with as much of the environment as an image that asks for it can have.
fn command_line(
    config: &mut Config,
    image: &Image,
    arguments: &[OsString],
    inform: impl Fn(String),
) -> Result<String, Failure> {
    let limit = cmdline::LIMIT - machine::appended_bytes(config.machine);
    let line = cmdline::join_within(limit, &config.options, arguments)?;
    let asks = |argument: &String| arguments.iter().any(|given| given == argument.as_str());
    if !image.environment_for.as_ref().is_some_and(asks) {
        return Ok(line);
    }
    let room = limit.saturating_sub(line.len() + 1);
    let (option, left_out) = environment::option(env::vars_os(), Path::exists, room);
    config.options.extend(option);
    if !left_out.is_empty() {
        inform(format!(
            "the firmware's command line has {limit} bytes, so these variables do not reach the image: {}",
            left_out.join(", ")
        ));
    }
    cmdline::join_within(limit, &config.options, arguments)
}

/// What machine it is, for people.
fn machine_line(config: &Config, memory: u64, accel: Accel, why: &str) -> String {
    let cores = config.cores;
    let plural = if cores == 1 { "" } else { "s" };
    let accel = match accel {
        Accel::Kvm => "KVM",
        _ => "TCG",
    };
    format!("{cores} core{plural}, {}, {accel} ({why})", size(memory))
}

/// A forwarded port in the report.
fn note_line(f: &Forward) -> String {
    let protocol = match f.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    format!("forward {protocol} {}:{} {}", f.address, f.host, f.guest)
}

/// A forwarded port, for people.
fn forward_line(f: &Forward) -> String {
    format!(
        "{} {}:{} is port {} of the image",
        f.protocol, f.address, f.host, f.guest
    )
}

/// How a debugger is attached.
fn gdb_line(image: &Image, port: u16) -> String {
    let path = image.path.to_str();
    let quoted = path.and_then(|p| shlex::try_quote(p).ok());
    let quoted = quoted.unwrap_or_default();
    format!("waiting for gdb: gdb {quoted} -ex 'target remote 127.0.0.1:{port}'")
}

/// A variable of the environment, or what the image has for one that is not set.
fn variable(image: &Image, name: &str) -> Option<OsString> {
    let set = |name| env::var_os(name).filter(|v| !v.is_empty());
    // Ports are forwarded only where QEMU is the network.
    let forwards = || {
        set("EBB_NET").is_none_or(|net| net.to_string_lossy().split(';').any(|one| one == "user"))
    };
    set(name).or_else(|| {
        let (_, value) = image.defaults.iter().find(|(n, _)| n == name)?;
        (name != "EBB_FORWARD" || forwards()).then(|| value.into())
    })
}

/// A variable of the environment that the image takes as an option.
fn image_option(variable: &str) -> Result<Option<String>, Failure> {
    let Some(value) = env::var_os(variable).filter(|v| !v.is_empty()) else {
        return Ok(None);
    };
    let value = value
        .to_str()
        .filter(|v| v.bytes().all(|b| b.is_ascii_graphic()))
        .ok_or_else(|| {
            Failure::unusable(format!(
                "{variable} is `{}`; accepted: printable characters without blanks",
                value.display()
            ))
        })?;
    let name = variable.strip_prefix("EBB_").unwrap_or(variable);
    let name = name.to_ascii_lowercase().replace('_', "-");
    Ok(Some(format!("{name}={value}")))
}

/// Tells the image where the host reaches its ports, so that it can show addresses that work.
fn forward_option(forwards: &[net::Forward]) -> Option<String> {
    let each: Vec<String> = forwards
        .iter()
        .filter(|f| f.protocol == Protocol::Tcp)
        .map(|f| format!("{}:{}:{}", f.address, f.host, f.guest))
        .collect();
    (!each.is_empty()).then(|| format!("forward={}", each.join(",")))
}

/// Tells the image which files its disks are, for people; without those whose names the command line cannot take.
fn disk_option(disks: &[ebb_disk::Spec]) -> Option<String> {
    const LONGEST: usize = 1000;
    let name = |disk: &ebb_disk::Spec| {
        let name = disk.path.to_str().unwrap_or_default();
        let is_plain = name
            .bytes()
            .all(|b| b.is_ascii_graphic() && b != b';' && b != b',');
        String::from(if is_plain { name } else { "" })
    };
    let names = disks.iter().map(name).collect::<Vec<_>>().join(";");
    (!names.is_empty() && names.len() <= LONGEST).then(|| format!("disk={names}"))
}

/// Makes the image trace, and write it to the report. The user's size of the ring comes first.
fn trace_options(config: &Config) -> Vec<String> {
    const RECORDS: &str = "trace-ring=4096";
    if config.trace.is_none() {
        return Vec::new();
    }
    let is_said = |option: &String| option.starts_with("trace-ring=");
    let ring = (!config.options.iter().any(is_said)).then_some(RECORDS);
    ring.into_iter()
        .chain(["trace-report=on"])
        .map(String::from)
        .collect()
}

/// Tells the image the time more exactly than the machine's real-time clock, which knows whole seconds.
fn launched_option() -> Option<String> {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Some(format!("launched={}", time.as_millis()))
}

/// Whether a file can be read and is no boot archive of this version. What an image makes of such a one is up to it.
fn is_foreign(path: &Path) -> bool {
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(4096).read_to_end(&mut start));
    let is_whole = start.len() < 4096;
    match Archive::new(&start) {
        Err(ebb_archive::Error::Magic) => read.is_ok(),
        Err(ebb_archive::Error::Truncated) => read.is_ok() && is_whole,
        _ => false,
    }
}

/// Makes sure that the archive can be read and fits; gives the machine's memory in MiB.
fn check_archive(config: &Config) -> Result<u64, Failure> {
    let Some(path) = &config.archive else {
        return Ok(config.memory(0));
    };
    let wrong =
        |e: std::io::Error| Failure::unusable(format!("EBB_ARCHIVE is `{}`: {e}", path.display()));
    let meta = File::open(path).and_then(|f| f.metadata()).map_err(wrong)?;
    if !meta.is_file() {
        return Err(wrong(std::io::Error::other("not a file")));
    }
    let (memory, needed) = (config.memory(meta.len()), meta.len().div_ceil(1 << 20));
    if memory < needed + 32 {
        return Err(Failure::unusable(format!(
            "the boot archive takes {needed} MiB and EBB_MEMORY is {memory}M; use at least EBB_MEMORY={}M",
            (needed + 256).next_multiple_of(64)
        )));
    }
    Ok(memory)
}

/// Makes the disks that are missing, and locks all. QEMU inherits the locks: they last as long as it does.
fn open_disks(config: &Config, qemu: &Qemu, inform: impl Fn(String)) -> Result<Vec<File>, Failure> {
    let mut files = Vec::new();
    for (number, disk) in config.disks.iter().enumerate() {
        let make = |path: &Path, size| make_qcow2(qemu, path, size);
        let file = disk
            .open(&inform, make)
            .map_err(|fault| Failure::unusable(format!("EBB_DISK: {fault}.")))?;
        let path = disk.path.display();
        inform(format!(
            "disk {number} is {path}; `rm {path}` forgets what is on it"
        ));
        fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty()))
            .map_err(|e| Failure::unusable(format!("EBB_DISK: {e}")))?;
        files.push(file);
    }
    Ok(files)
}

/// Makes a disk in QEMU's format with the qemu-img that came with it.
fn make_qcow2(qemu: &Qemu, path: &Path, size: u64) -> Result<(), String> {
    const TOOL: &str = "qemu-img";
    let beside = fs::canonicalize(&qemu.program).map(|p| p.with_file_name(TOOL));
    let tool = beside.ok().filter(|p| p.exists()).unwrap_or(TOOL.into());
    let made = Command::new(&tool)
        .args(["create", "-q", "-f", "qcow2"])
        .arg(path)
        .arg(size.to_string())
        .output();
    match made {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Err(format!(
            "{TOOL}, which makes qcow2 files, cannot be executed: {error} (Debian has it in qemu-utils)"
        )),
    }
}

/// `pack MANIFEST -o ARCHIVE [-- ARGUMENT...]`
fn pack_command(words: &[OsString]) -> Result<(), Failure> {
    let (words, arguments) = match words.iter().position(|w| w == "--") {
        Some(at) => (&words[..at], &words[at + 1..]),
        None => (words, &[][..]),
    };
    let (manifest, archive) = match words {
        [manifest, option, archive] if option == "-o" => (Path::new(manifest), Path::new(archive)),
        [option, archive, manifest] if option == "-o" => (Path::new(manifest), Path::new(archive)),
        _ => return Err(Failure::unusable(PACK_USAGE)),
    };
    let text = fs::read_to_string(manifest).map_err(|e| {
        Failure::new(
            NOT_FOUND,
            format!("cannot read {}: {e}", manifest.display()),
        )
    })?;
    let base = manifest.parent().unwrap_or(Path::new(".")).to_path_buf();
    let around = Surroundings::new(base, no_install());
    let manifest = Manifest::parse(&text).map_err(Failure::unusable)?;
    pack::write(Plan::new(&manifest, arguments, &around)?, archive).map(drop)
}

/// `bake IMAGE -o DISK [-- ARGUMENT...]`: the disk is there when it is whole.
fn bake_command(words: &[OsString]) -> Result<(), Failure> {
    let (words, arguments) = match words.iter().position(|w| w == "--") {
        Some(at) => (&words[..at], &words[at + 1..]),
        None => (words, &[][..]),
    };
    let (image, disk) = match words {
        [image, option, disk] if option == "-o" => (Path::new(image), Path::new(disk)),
        [option, disk, image] if option == "-o" => (Path::new(image), Path::new(disk)),
        _ => return Err(Failure::unusable(BAKE_USAGE)),
    };
    let Kind::Image(image) = image::inspect(image)? else {
        return Err(Failure::unusable(format!(
            "{} is no image: there is nothing to bake",
            image.display()
        )));
    };
    if !image.bakes {
        return Err(Failure::unusable(format!(
            "{} has nothing to bake: it makes nothing at its start that it could take from a disk (the invoker's image does)",
            image.path.display()
        )));
    }
    places::can_be_written(disk)
        .map_err(|why| Failure::unusable(format!("cannot write {}: {why}", disk.display())))?;
    let mut draft = disk.as_os_str().to_os_string();
    draft.push(format!(".draft{}", std::process::id()));
    let draft = Path::new(&draft);
    let status = boot(&image, arguments, Some(draft));
    let done = match status {
        Ok(0) => fs::rename(draft, disk)
            .map_err(|e| Failure::unusable(format!("cannot write {}: {e}", disk.display()))),
        Ok(status) => Err(Failure::new(
            status,
            "the image made nothing; it says why above",
        )),
        Err(failure) => Err(failure),
    };
    if done.is_err() {
        let _ = fs::remove_file(draft);
    }
    done
}

/// `install PROGRAM...`
fn install_command(words: &[OsString]) -> Result<(), Failure> {
    if words.is_empty() {
        return Err(Failure::unusable(INSTALL_USAGE));
    }
    let names = words.iter().filter_map(|word| word.to_str());
    install::install_tools(names, no_install())
}

fn no_install() -> bool {
    env::var_os("EBB_NO_INSTALL").is_some_and(|v| !v.is_empty() && v != "0")
}

/// `list ARCHIVE`
fn list_command(words: &[OsString]) -> Result<(), Failure> {
    let [path] = words else {
        return Err(Failure::unusable(LIST_USAGE));
    };
    let told = |what: &dyn std::fmt::Display| {
        Failure::unusable(format!("{}: {what}", Path::new(path).display()))
    };
    let bytes = fs::read(path).map_err(|e| told(&e))?;
    let archive = Archive::new(&bytes).map_err(|e| told(&e))?;
    print(&pack::list(&archive));
    Ok(())
}

fn open_report(config: &Config) -> Result<Report, Failure> {
    Ok(Report::new(create(config.report.as_deref(), "EBB_REPORT")?))
}

/// The file that a variable names, empty.
fn create(path: Option<&Path>, variable: &str) -> Result<Option<File>, Failure> {
    let create = |path: &Path| {
        File::create(path)
            .map_err(|e| Failure::unusable(format!("{variable} is `{}`: {e}", path.display())))
    };
    path.map(create).transpose()
}

/// `512 MiB`, `2 GiB`.
fn size(mib: u64) -> String {
    if mib.is_multiple_of(1024) {
        format!("{} GiB", mib / 1024)
    } else {
        format!("{mib} MiB")
    }
}
