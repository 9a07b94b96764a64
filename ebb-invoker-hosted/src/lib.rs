//! Instances as Linux processes: the machine's own `node` with the loader, for development and tests.
//!
//! A process is watched by a thread of its own, which takes what it writes and wakes the core. Programs link this crate by
//! naming it: `use ebb_invoker_hosted as _;`.

extern crate ebb_runtime as ebb;

mod process;

use std::{env, ffi::OsString, fs, io, path::PathBuf, process::Command, sync::OnceLock};

use ebb_openwhisk::instance::{Boxed, Deploy, NotStarted, Started, Wanted};
use ebb_runtime::provides;

use process::Process;

/// Linux, as the provider.
struct Linux;

/// The loader's files, as they are below `examples/invoker`.
const LOADER: &[(&str, &str)] = &[
    ("loader.js", include_str!("../../ebb-invoker/loader.js")),
    (
        "loader/archive.js",
        include_str!("../../ebb-invoker/loader/archive.js"),
    ),
    (
        "loader/channel.js",
        include_str!("../../ebb-invoker/loader/channel.js"),
    ),
    (
        "loader/http.js",
        include_str!("../../ebb-invoker/loader/http.js"),
    ),
    (
        "loader/load.js",
        include_str!("../../ebb-invoker/loader/load.js"),
    ),
    (
        "loader/rejection.js",
        include_str!("../../ebb-invoker/loader/rejection.js"),
    ),
    (
        "loader/runtime.js",
        include_str!("../../ebb-invoker/loader/runtime.js"),
    ),
    (
        "loader/world.js",
        include_str!("../../ebb-invoker/loader/world.js"),
    ),
];

fn node() -> OsString {
    env::var_os("EBB_NODE").unwrap_or_else(|| "node".into())
}

/// Where the loader is, written there at the first use.
fn loader() -> io::Result<&'static PathBuf> {
    static PLACE: OnceLock<PathBuf> = OnceLock::new();
    if let Some(place) = PLACE.get() {
        return Ok(place);
    }
    let folder = env::temp_dir().join(format!("ebb-loader-{}", std::process::id()));
    fs::create_dir_all(folder.join("loader"))?;
    for (name, text) in LOADER {
        // Two cores may come here together; both write the same.
        fs::write(folder.join(name), text)?;
    }
    Ok(PLACE.get_or_init(|| folder.join("loader.js")))
}

#[provides(Deploy, instance = &Linux)]
impl Deploy for Linux {
    fn start(&self, wanted: Wanted) -> Boxed<'static, Result<Started, NotStarted>> {
        Box::pin(async move {
            let place = loader().map_err(|error| {
                format!(
                    "the loader cannot be written to {:?}: {error}",
                    env::temp_dir()
                )
            })?;
            let process = Process::start(&node(), place, wanted).map_err(|error| {
                format!("{:?} cannot be started: {error}; install Node.js 20 or set EBB_NODE to its path", node())
            })?;
            Ok(Started {
                instance: Box::new(process),
                ahead: false,
            })
        })
    }

    fn description(&self) -> String {
        let version = Command::new(node()).arg("--version").output();
        let version = version.map_or_else(
            |error| format!("cannot be started ({error})"),
            |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        );
        format!("Linux processes, {} {version}", node().to_string_lossy())
    }

    fn actions(&self, folder: &str) -> Result<Vec<(String, Vec<u8>)>, String> {
        let failed =
            |error: io::Error| format!("the folder of actions {folder:?} cannot be read: {error}");
        let mut files = Vec::new();
        for entry in fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.is_file() {
                let name = path
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                let content = fs::read(&path)
                    .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
                files.push((name, content));
            }
        }
        files.sort();
        Ok(files)
    }
}
