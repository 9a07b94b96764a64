//! Settings that name files: whether they can be used, asked before anything is built, packed or booted.
//!
//! What must hold: nothing is made, opened for writing or connected to here. What is asked may change before it is used, and
//! whoever uses it then says so again.

use std::{
    env,
    ffi::OsStr,
    fs, io,
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
};

use nix::{
    net::if_::if_nametoindex,
    unistd::{AccessFlags, access},
};

use super::Config;
use crate::{
    install,
    net::Net,
    vsock::{KERNEL, Vsock},
};

/// What is wrong with the places that the settings name; one message each. Those of a boot archive matter only where one is
/// packed.
pub fn unusable(
    config: &Config,
    packs: bool,
    get: impl Fn(&str) -> Option<std::ffi::OsString>,
) -> Vec<String> {
    let mut errors = Vec::new();
    let mut check = |name: &str, value: &OsStr, checked: Result<(), String>| {
        let told = |why| format!("{name} is `{}`: {why}", value.display());
        errors.extend(checked.map_err(told).err());
    };
    for (name, path) in [
        ("EBB_REPORT", &config.report),
        ("EBB_TRACE", &config.trace),
        ("EBB_CORE", &config.core),
    ] {
        if let Some(path) = path {
            check(name, path.as_os_str(), can_be_written(path));
        }
    }
    if let Some(path) = &config.archive {
        check("EBB_ARCHIVE", path.as_os_str(), is_file(path));
    }
    for disk in &config.disks {
        check(
            "EBB_DISK",
            disk.path.as_os_str(),
            is_disk(&disk.path, disk.read_only),
        );
    }
    for channel in &config.channels {
        check(
            "EBB_CHANNEL",
            channel.path.as_os_str(),
            can_be_listened_on(&channel.path),
        );
    }
    match &config.vsock {
        Some(Vsock::Unix(path)) => {
            check("EBB_VSOCK", path.as_os_str(), can_be_listened_on(path));
        }
        Some(Vsock::Kernel(cid)) => {
            check("EBB_VSOCK", cid.to_string().as_ref(), kernel_has_vsock());
        }
        None => {}
    }
    for net in &config.nets {
        if let Net::Tap(tap) = net {
            check(
                "EBB_NET",
                OsStr::new(&tap.interface),
                is_interface(&tap.interface),
            );
        }
    }
    if packs && config.archive.is_none() {
        let set = |name| get(name).filter(|value| !value.is_empty());
        for path in further_files(set("EBB_FILES").as_deref()) {
            check("EBB_FILES", path.as_os_str(), is_there(&path));
        }
        for name in ["EBB_NODE", "EBB_PYTHON"] {
            if let Some(value) = set(name) {
                check(name, &value, is_program(Path::new(&value)));
            }
        }
    }
    errors
}

/// What a value of `EBB_FILES` names. An empty element would be the working directory, with all that is in it.
pub fn further_files(value: Option<&OsStr>) -> Vec<PathBuf> {
    let paths = env::split_paths(value.unwrap_or_default());
    paths.filter(|path| !path.as_os_str().is_empty()).collect()
}

fn said(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".into(),
        _ => error.to_string(),
    }
}

fn is_there(path: &Path) -> Result<(), String> {
    fs::metadata(path).map(drop).map_err(|e| said(&e))
}

fn is_file(path: &Path) -> Result<(), String> {
    let meta = fs::metadata(path).map_err(|e| said(&e))?;
    if !meta.is_file() {
        return Err("it is not a file".into());
    }
    may(path, AccessFlags::R_OK)
}

fn is_program(path: &Path) -> Result<(), String> {
    let found = match path.components().count() {
        1 => install::in_path(path).is_some() || install::is_program(path),
        _ => install::is_program(path),
    };
    if found {
        return Ok(());
    }
    Err("it is not a program that can be executed; leave it out for the usual one".into())
}

/// Whether a file can be written from its beginning, or made.
///
/// # Errors
/// Why not.
pub fn can_be_written(path: &Path) -> Result<(), String> {
    match fs::metadata(path) {
        Ok(meta) if meta.is_dir() => Err("it is a folder; name a file".into()),
        Ok(_) => may(path, AccessFlags::W_OK),
        Err(_) => can_be_made(path),
    }
}

fn is_disk(path: &Path, read_only: bool) -> Result<(), String> {
    match fs::metadata(path) {
        Ok(meta) if meta.is_dir() => Err("it is a folder; name a file".into()),
        Ok(_) if read_only => may(path, AccessFlags::R_OK),
        Ok(_) => may(path, AccessFlags::R_OK | AccessFlags::W_OK),
        Err(_) if read_only => {
            Err("there is no such file, and with `readonly` none is made".into())
        }
        Err(_) => can_be_made(path),
    }
}

/// QEMU takes away what is there, whatever it is: a file with all that is in it, the socket of a machine that runs.
fn can_be_listened_on(path: &Path) -> Result<(), String> {
    match fs::symlink_metadata(path) {
        Ok(meta) if !meta.file_type().is_socket() => {
            Err("it is there and no socket; name a path that is free".into())
        }
        Ok(_) if has_listener(path) => {
            Err("another machine or program listens there; name a path that is free".into())
        }
        _ => can_be_made(path),
    }
}

/// Whether the kernel knows of a listener at this path (unix(7): flags, and the path last). To connect would disturb it.
fn has_listener(path: &Path) -> bool {
    const LISTENS: &str = "00010000";
    let sockets = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let path = std::path::absolute(path).unwrap_or_else(|_| path.into());
    sockets.lines().any(|line| {
        let flags = line.split_ascii_whitespace().nth(3);
        let place = line.find(" /").map(|at| Path::new(&line[at + 1..]));
        flags == Some(LISTENS) && place == Some(&*path)
    })
}

/// Whether a file that is not there can be made.
///
/// # Errors
/// Why not.
pub fn can_be_made(path: &Path) -> Result<(), String> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let shown = folder.display();
    match fs::metadata(folder) {
        Ok(meta) if !meta.is_dir() => Err(format!("{shown} is not a folder")),
        Ok(_) => may(folder, AccessFlags::W_OK | AccessFlags::X_OK)
            .map_err(|why| format!("nothing can be made in the folder {shown}: {why}")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(format!(
            "there is no folder {shown}; `mkdir -p {shown}` makes it"
        )),
        Err(error) => Err(format!("the folder {shown}: {error}")),
    }
}

fn may(path: &Path, how: AccessFlags) -> Result<(), String> {
    access(path, how).map_err(|errno| io::Error::from(errno).to_string())
}

fn kernel_has_vsock() -> Result<(), String> {
    let advice = "or EBB_VSOCK=unix:PATH, which needs nothing of the kernel";
    let device = Path::new(KERNEL);
    if !device.exists() {
        return Err(format!(
            "there is no {KERNEL}; `sudo modprobe vhost_vsock` makes it where the kernel has it, {advice}"
        ));
    }
    may(device, AccessFlags::R_OK | AccessFlags::W_OK)
        .map_err(|why| format!("{KERNEL}: {why}; who may use it is in the group kvm, {advice}"))
}

/// QEMU would make one, as root, that nothing is connected to.
fn is_interface(name: &str) -> Result<(), String> {
    if_nametoindex(name).map(drop).map_err(|_| {
        format!(
            "there is no such interface; `ip tuntap add {name} mode tap` and `ip link set {name} up` make one"
        )
    })
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsString, os::unix::net::UnixListener};

    use super::*;
    use crate::config;

    fn told(packs: bool, pairs: &[(&str, &str)]) -> Vec<String> {
        let get = |name: &str| {
            let found = pairs.iter().find(|(n, _)| *n == name);
            found.map(|(_, value)| OsString::from(value))
        };
        unusable(&config::parse(get, 2).unwrap(), packs, get)
    }

    fn folder(name: &str) -> PathBuf {
        let path = env::temp_dir().join(format!("ebb-places-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn every_place_that_is_not_there_is_named_with_its_variable_and_what_to_do() {
        for (name, value, why) in [
            (
                "EBB_REPORT",
                "/nowhere/r",
                "there is no folder /nowhere; `mkdir -p /nowhere`",
            ),
            ("EBB_TRACE", "/nowhere/t", "there is no folder /nowhere"),
            ("EBB_CORE", "/nowhere/c", "there is no folder /nowhere"),
            ("EBB_CORE", "/etc", "it is a folder; name a file"),
            ("EBB_CORE", "/etc/passwd/c", "/etc/passwd is not a folder"),
            ("EBB_ARCHIVE", "/nowhere/a", "there is no such file"),
            ("EBB_ARCHIVE", "/etc", "it is not a file"),
            ("EBB_DISK", "/nowhere/d", "there is no folder /nowhere"),
            (
                "EBB_DISK",
                "/etc/no-disk,readonly",
                "with `readonly` none is made",
            ),
            (
                "EBB_CHANNEL",
                "a=unix:/nowhere/s",
                "there is no folder /nowhere",
            ),
            (
                "EBB_CHANNEL",
                "a=unix:/etc/passwd",
                "it is there and no socket",
            ),
            (
                "EBB_VSOCK",
                "unix:/nowhere/s",
                "there is no folder /nowhere",
            ),
            (
                "EBB_NET",
                "tap:ebb-nowhere",
                "`ip tuntap add ebb-nowhere mode tap`",
            ),
            ("EBB_FILES", "/etc:/nowhere/f", "there is no such file"),
            ("EBB_NODE", "/etc/passwd", "it is not a program"),
            ("EBB_PYTHON", "no-such-python", "it is not a program"),
        ] {
            let errors = told(true, &[(name, value)]);
            assert_eq!(errors.len(), 1, "{name}={value}: {errors:?}");
            let begins = errors[0].starts_with(&format!("{name} is `"));
            assert!(begins && errors[0].contains(why), "{}", errors[0]);
        }
        let both = [("EBB_CORE", "/nowhere/c"), ("EBB_TRACE", "/nowhere/t")];
        assert_eq!(told(true, &both).len(), 2);
    }

    #[test]
    fn what_is_there_or_can_be_made_is_accepted_and_nothing_is_made() {
        let folder = folder("fine");
        let place = |name: &str| folder.join(name).display().to_string();
        drop(UnixListener::bind(folder.join("old.socket")).unwrap());
        let channel = format!("a=unix:{};b=unix:{}", place("s"), place("old.socket"));
        let pairs = [
            ("EBB_REPORT", "/dev/null"),
            ("EBB_TRACE", &place("t")),
            ("EBB_CORE", "relative.core"),
            ("EBB_DISK", &place("d")),
            ("EBB_CHANNEL", &channel),
            ("EBB_NET", "tap:lo"),
            ("EBB_FILES", "/etc::/bin"),
            ("EBB_NODE", "sh"),
            ("EBB_PYTHON", "/bin/sh"),
        ];
        assert_eq!(told(true, &pairs), Vec::<String>::new());
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_socket_that_somebody_listens_at_is_left_to_them() {
        let folder = folder("listener");
        let _listener = UnixListener::bind(folder.join("s")).unwrap();
        let errors = told(
            true,
            &[("EBB_CHANNEL", &format!("a=unix:{}/s", folder.display()))],
        );
        assert!(
            errors[0].contains("another machine or program listens there"),
            "{errors:?}"
        );
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_would_be_packed_is_asked_for_only_where_something_is() {
        let wrong = [("EBB_FILES", "/nowhere"), ("EBB_NODE", "/nowhere")];
        assert_eq!(told(true, &wrong).len(), 2);
        assert!(told(false, &wrong).is_empty());
        let given = [("EBB_ARCHIVE", "/etc/passwd"), wrong[0]];
        assert!(told(true, &given).is_empty());
    }
}
