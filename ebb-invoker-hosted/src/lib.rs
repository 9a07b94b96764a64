//! Instances as Linux processes: the machine's own `node` with the loader, for development and tests.
//!
//! A process is watched by a thread of its own, which takes what it writes and wakes the core. A program links this crate as
//! the provider of [`InstanceMaker`] by naming it: `#[ebb::main(hosted = ebb_invoker_hosted)]`.

mod process;

use std::{env, ffi::OsString, fs, io, path::PathBuf, process::Command, sync::OnceLock};

use ebb::provides;
use ebb_invoker::Container;
use ebb_invoker::instance::{Boxed, InstanceLimits, InstanceMaker, NewInstance, NotMade};
use ebb_invoker::loader;

use process::Process;

/// Linux, as the provider.
struct Linux;

fn node() -> OsString {
    env::var_os("EBB_NODE").unwrap_or_else(|| "node".into())
}

/// Where the loader is, written there at the first use.
fn written_loader() -> io::Result<&'static PathBuf> {
    static PLACE: OnceLock<PathBuf> = OnceLock::new();
    if let Some(place) = PLACE.get() {
        return Ok(place);
    }
    let folder = env::temp_dir().join(format!("ebb-loader-{}", std::process::id()));
    fs::create_dir_all(folder.join("loader"))?;
    for (name, text) in loader::FILES {
        // Two cores may come here together; both write the same.
        fs::write(folder.join(name), text)?;
    }
    Ok(PLACE.get_or_init(|| folder.join("loader.js")))
}

#[provides(InstanceMaker, instance = &Linux)]
impl InstanceMaker for Linux {
    fn make(&self, limits: InstanceLimits) -> Boxed<'static, Result<NewInstance, NotMade>> {
        Box::pin(async move {
            let place = written_loader().map_err(|error| {
                format!(
                    "the loader cannot be written to {:?}: {error}",
                    env::temp_dir()
                )
            })?;
            let process = Process::start(&node(), place, limits).map_err(|error| {
                format!("{:?} cannot be started: {error}; install Node.js 20 or set EBB_NODE to its path", node())
            })?;
            Ok(NewInstance {
                instance: Box::new(process),
                made_ahead: false,
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

    fn read_folder(&self, folder: &str) -> Result<Vec<(String, Vec<u8>)>, String> {
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

    /// There is nothing to add to Node itself.
    fn serve_container(&self, container: Container) -> Boxed<'static, Result<(), String>> {
        let place = format!("{}/loader.js", loader::FOLDER);
        let concurrent = if container.concurrent {
            " --concurrent"
        } else {
            ""
        };
        let why = format!(
            "--runtime is the image's; on Linux: node --expose-gc {place} --port {}{concurrent}",
            container.port
        );
        Box::pin(async move { Err(why) })
    }
}
