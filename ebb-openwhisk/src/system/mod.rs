//! `/whisk.system`: public packages that clients and tutorials expect every platform to have: `utils` and `alarms`.

use crate::alarm::Feed;
use crate::entity::{Action, Code, Common, Entity, Exec, PROVIDE_API_KEY, Package, Store, Version};
use crate::json::{Json, Members};
use crate::limits::ActionLimits;
use crate::name::FullName;
use crate::parameters::Parameters;
use crate::runtimes::Runtimes;
use alloc::{sync::Arc, vec::Vec};

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

/// Puts the packages into a store.
pub fn install(store: &mut Store, runtimes: &Runtimes) {
    let mut entities = alarms(store);
    entities.extend(utils(store, runtimes));
    for entity in entities {
        // A store too small for this has no room for anything: the first PUT says so.
        if store.insert(entity).is_err() {
            return;
        }
    }
}

fn package(name: &str, description: &str) -> Entity {
    Entity::Package(Arc::new(Package {
        common: common(FullName::new(NAMESPACE, name), description, true),
        binding: None,
    }))
}

fn action(store: &mut Store, package: &str, name: &str, description: &str, exec: Exec) -> Action {
    let name = FullName::packaged(NAMESPACE, package, name);
    let mut common = common(name, description, false);
    common.annotations.set(PROVIDE_API_KEY, Json::bool(false));
    common.annotations.set("exec", Json::text(exec.kind()));
    Action {
        common,
        exec,
        limits: ActionLimits::default(),
        revision: store.next_revision(),
    }
}

/// The feeds, which need no code.
fn alarms(store: &mut Store) -> Vec<Entity> {
    let mut entities = alloc::vec![package("alarms", "Alarms and periodic utility")];
    for feed in Feed::ALL {
        let exec = Exec::Feed(feed);
        let mut action = action(store, "alarms", feed.name(), feed.description(), exec);
        let parameters = feed.parameters().iter().enumerate().map(|(at, name)| {
            let mut members = Members::new();
            members
                .text("name", name)
                .bool("required", at == 0)
                .finish()
        });
        let annotations = &mut action.common.annotations;
        annotations.set("parameters", Json::array(parameters));
        annotations.set("feed", Json::bool(true));
        entities.push(Entity::Action(Arc::new(action)));
    }
    entities
}

/// What works on data, if the platform runs JavaScript.
fn utils(store: &mut Store, runtimes: &Runtimes) -> Vec<Entity> {
    let Some(runtime) = runtimes.find("nodejs:default") else {
        return Vec::new();
    };
    let mut entities = alloc::vec![package("utils", "Building blocks that process data")];
    for (name, description, code) in UTILS {
        let exec = Exec::Code(Code {
            runtime: Arc::clone(runtime),
            image: None,
            code: Json::text(code),
            main: None,
            binary: false,
        });
        let action = action(store, "utils", name, description, exec);
        entities.push(Entity::Action(Arc::new(action)));
    }
    entities
}
