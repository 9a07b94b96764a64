//! What is kept of an entity: a document of our own, which unlike those of the API says everything, and the code apart from it,
//! because equal code is kept once where it is long.
//!
//! What must hold: whatever [`read`] is given, it gives an entity or says what is wrong; what [`write()`] gives is read back as the same
//! entity, but for the rules of a trigger. A member that is not known is read past, so a document may get more of them; one that changes its meaning gets another
//! [`FORM`].

use super::{Action, Api, Code, Common, Entity, Exec, Package, Rule, Trigger, Version};
use crate::alarm::Alarm;
use crate::failure::Failure;
use crate::json::{Json, Members, Object};
use crate::limits::ActionLimits;
use crate::name::FullName;
use crate::parameters::Parameters;
use crate::runtimes::Runtimes;
use alloc::{collections::BTreeMap, format, string::String, sync::Arc, vec::Vec};

/// The form of the documents that are written.
pub const FORM: u64 = 1;

/// An entity as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The document.
    pub document: Json,
    /// The code of an action, a JSON string.
    pub code: Option<Json>,
}

/// What is kept of an entity.
pub fn write(entity: &Entity) -> Kept {
    let common = entity.common();
    let mut members = Members::new();
    members
        .number("form", FORM)
        .text("name", &format!("/{}", common.name))
        .text("version", &format!("{}", common.version))
        .bool("publish", common.publish)
        .raw("annotations", common.annotations.to_json().as_str())
        .raw("parameters", common.parameters.to_json().as_str())
        .number("updated", common.updated_ms);
    let mut code = None;
    match entity {
        Entity::Action(action) => {
            members
                .text("is", "action")
                .number("revision", action.revision)
                .raw("limits", action.limits.to_json().as_str());
            match &action.exec {
                Exec::Code(of) => {
                    members
                        .text("kind", &of.runtime.kind)
                        .bool("binary", of.binary);
                    if let Some(image) = &of.image {
                        members.text("image", image);
                    }
                    if let Some(main) = &of.main {
                        members.text("main", main);
                    }
                    code = Some(of.code.clone());
                }
                Exec::Sequence(components) => {
                    let names = components
                        .iter()
                        .map(|name| Json::text(&format!("/{name}")));
                    members.raw("components", Json::array(names).as_str());
                }
                // The platform brings it along.
                Exec::Feed(_) => {}
            }
        }
        Entity::Package(package) => {
            members.text("is", "package");
            if let Some(binding) = &package.binding {
                members.text("binding", &format!("/{binding}"));
            }
        }
        Entity::Trigger(trigger) => {
            // Its rules say that they are its.
            let Trigger {
                common: _,
                rules: _,
                alarm,
            } = &**trigger;
            members.text("is", "trigger");
            if let Some(alarm) = alarm {
                members.raw("alarm", alarm.to_kept().as_str());
            }
        }
        Entity::Rule(rule) => {
            members
                .text("is", "rule")
                .text("trigger", &format!("/{}", rule.trigger))
                .text("action", &format!("/{}", rule.action))
                .bool("active", rule.active);
        }
        Entity::Api(api) => {
            // What it routes to follows from the document.
            members
                .text("is", "api")
                .raw("document", api.document.as_str());
        }
    }
    Kept {
        document: members.finish(),
        code,
    }
}

/// A document that is being read.
struct Document(Object);

impl Document {
    fn get(&self, name: &str) -> Result<&Json, String> {
        let value = self.0.get(name);
        value.ok_or_else(|| format!("it has no `{name}`"))
    }

    fn text(&self, name: &str) -> Result<String, String> {
        let text = self.get(name)?.to_text();
        text.ok_or_else(|| format!("`{name}` is no string"))
    }

    fn truth(&self, name: &str) -> Result<bool, String> {
        let value = self.get(name)?.to_bool();
        value.ok_or_else(|| format!("`{name}` is neither true nor false"))
    }

    fn number(&self, name: &str) -> Result<u64, String> {
        let number = self.get(name)?.as_str().parse();
        number.map_err(|_| format!("`{name}` is no number"))
    }

    fn name(&self, name: &str) -> Result<FullName, String> {
        full_name(&self.text(name)?)
    }

    fn list(&self, name: &str) -> Result<Vec<Json>, String> {
        let list = self.get(name)?.to_array();
        list.ok_or_else(|| format!("`{name}` is no array"))
    }

    fn optional(&self, name: &str) -> Result<Option<String>, String> {
        match self.0.contains(name) {
            true => self.text(name).map(Some),
            false => Ok(None),
        }
    }
}

fn why(failure: Failure) -> String {
    failure.text
}

fn full_name(text: &str) -> Result<FullName, String> {
    FullName::parse(text, "").map_err(why)
}

/// The entity that was kept; a trigger without its rules, each of which names its trigger.
///
/// # Errors
/// What is wrong with it: another form, something missing, a kind that there is no longer.
pub fn read(kept: &Kept, runtimes: &Runtimes) -> Result<Entity, String> {
    let object = kept.document.to_object();
    let document = Document(object.ok_or("it is no object")?);
    let form = document.number("form")?;
    if form != FORM {
        return Err(format!("its form is {form}, and {FORM} is known"));
    }
    let parameters = |name: &str| Parameters::parse(document.get(name)?, name).map_err(why);
    let common = Common {
        name: document.name("name")?,
        version: Version::parse(&document.text("version")?).map_err(why)?,
        publish: document.truth("publish")?,
        annotations: parameters("annotations")?,
        parameters: parameters("parameters")?,
        updated_ms: document.number("updated")?,
    };
    Ok(match document.text("is")?.as_str() {
        "action" => Entity::Action(Arc::new(Action {
            exec: exec(&document, kept.code.as_ref(), runtimes)?,
            limits: ActionLimits::default()
                .merged(document.get("limits")?)
                .map_err(why)?,
            revision: document.number("revision")?,
            common,
        })),
        "package" => Entity::Package(Arc::new(Package {
            common,
            binding: match document.optional("binding")? {
                Some(name) => Some(full_name(&name)?),
                None => None,
            },
        })),
        "trigger" => Entity::Trigger(Arc::new(Trigger {
            alarm: match document.0.get("alarm") {
                Some(alarm) => Some(Arc::new(Alarm::read(alarm, &common.name)?)),
                None => None,
            },
            common,
            rules: BTreeMap::new(),
        })),
        "rule" => Entity::Rule(Arc::new(Rule {
            common,
            trigger: document.name("trigger")?,
            action: document.name("action")?,
            active: document.truth("active")?,
        })),
        "api" => Entity::Api(Arc::new(api(&document, common)?)),
        other => return Err(format!("there is nothing that is a `{other}`")),
    })
}

fn api(document: &Document, common: Common) -> Result<Api, String> {
    let described = document.get("document")?.clone();
    let api = Api::new(&common.name.namespace, described, None, 0).map_err(why)?;
    match api.common.name == common.name {
        true => Ok(Api { common, ..api }),
        false => Err(format!("its document is that of {}", api.common.name)),
    }
}

fn exec(document: &Document, code: Option<&Json>, runtimes: &Runtimes) -> Result<Exec, String> {
    if document.0.contains("components") {
        let names = document.list("components")?;
        let names = names.iter().map(|name| {
            let text = name.to_text();
            full_name(&text.ok_or("a component is no string")?)
        });
        return Ok(Exec::Sequence(names.collect::<Result<_, String>>()?));
    }
    let kind = document.text("kind")?;
    let runtime = runtimes.find(&kind);
    Ok(Exec::Code(Code {
        runtime: Arc::clone(runtime.ok_or_else(|| format!("there is no kind {kind} any more"))?),
        image: document.optional("image")?,
        code: code.ok_or("its code is missing")?.clone(),
        main: document.optional("main")?,
        binary: document.truth("binary")?,
    }))
}
