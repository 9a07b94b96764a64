//! The loaders: what Node and Python run inside an instance, in every place where there are instances.
//!
//! `loader.js` is Node's program, `loader/` are its modules. They need Node 20 and nothing else, and speak the protocol of
//! OpenWhisk's action runtimes over HTTP or over one byte stream ([`instance`](crate::instance) has its frames).

/// The folder of `loader.js` on the machine that builds, for what packs the loader's files instead of carrying them.
pub const FOLDER: &str = env!("CARGO_MANIFEST_DIR");

/// The path of Python's loader among [`FILES`], and in [`FOLDER`].
pub const PYTHON: &str = "python/loader.py";

/// The loaders' files by their names, as they are found from `loader.js`.
pub const FILES: &[(&str, &str)] = &[
    (PYTHON, include_str!("../python/loader.py")),
    ("loader.js", include_str!("../loader.js")),
    ("loader/archive.js", include_str!("../loader/archive.js")),
    ("loader/channel.js", include_str!("../loader/channel.js")),
    (
        "loader/environment.js",
        include_str!("../loader/environment.js"),
    ),
    ("loader/http.js", include_str!("../loader/http.js")),
    ("loader/load.js", include_str!("../loader/load.js")),
    ("loader/parts.js", include_str!("../loader/parts.js")),
    (
        "loader/rejection.js",
        include_str!("../loader/rejection.js"),
    ),
    ("loader/runtime.js", include_str!("../loader/runtime.js")),
    ("loader/stack.js", include_str!("../loader/stack.js")),
    ("loader/world.js", include_str!("../loader/world.js")),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_file_of_the_loader_is_among_them() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("loader");
        let mut names = BTreeSet::from([std::string::String::from("loader.js")]);
        for entry in folder.read_dir().expect("the loader's folder") {
            let name = entry.expect("a file").file_name();
            names.insert(std::format!("loader/{}", name.display()));
        }
        names.insert(PYTHON.into());
        let listed: BTreeSet<_> = FILES.iter().map(|(name, _)| (*name).into()).collect();
        assert_eq!(names, listed);
    }
}
