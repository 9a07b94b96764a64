//! `/whisk.system/utils`: a public package that clients and tutorials expect every platform to have.

use crate::entity::{Action, Code, Common, Entity, Exec, PROVIDE_API_KEY, Package, Store, Version};
use crate::json::Json;
use crate::limits::ActionLimits;
use crate::name::FullName;
use crate::parameters::Parameters;
use crate::runtimes::Runtimes;
use alloc::sync::Arc;

/// The namespace of what the platform brings along.
pub const NAMESPACE: &str = "whisk.system";

const UTILS: &[(&str, &str, &str)] = &[
    ("echo", "Returns the input", include_str!("echo.js")),
    ("sort", "Sorts an array of lines", include_str!("sort.js")),
    (
        "split",
        "Splits a string into an array of strings",
        include_str!("split.js"),
    ),
    ("date", "Current date and time", include_str!("date.js")),
];

fn common(name: FullName, description: &str, publish: bool) -> Common {
    let mut annotations = Parameters::default();
    annotations.set("description", Json::text(description));
    Common {
        name,
        version: Version::FIRST,
        publish,
        annotations,
        parameters: Parameters::default(),
        updated_ms: 0,
    }
}

/// Puts the package into a store, if the platform runs JavaScript.
pub fn install(store: &mut Store, runtimes: &Runtimes) {
    let Some(runtime) = runtimes.find("nodejs:default") else {
        return;
    };
    let package = Package {
        common: common(
            FullName::new(NAMESPACE, "utils"),
            "Building blocks that process data",
            true,
        ),
        binding: None,
    };
    let mut entities = alloc::vec![Entity::Package(Arc::new(package))];
    for (name, description, code) in UTILS {
        let mut common = common(
            FullName::packaged(NAMESPACE, "utils", name),
            description,
            false,
        );
        common.annotations.set(PROVIDE_API_KEY, Json::bool(false));
        common.annotations.set("exec", Json::text(&runtime.kind));
        entities.push(Entity::Action(Arc::new(Action {
            common,
            exec: Exec::Code(Code {
                runtime: Arc::clone(runtime),
                image: None,
                code: Json::text(code),
                main: None,
                binary: false,
            }),
            limits: ActionLimits::default(),
            revision: store.next_revision(),
        })));
    }
    for entity in entities {
        // A store too small for this has no room for anything: the first PUT says so.
        if store.insert(entity).is_err() {
            return;
        }
    }
}
