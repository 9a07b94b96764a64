//! Parameters and annotations: lists of `{"key":str,"value":any,"init":bool?}`.

use crate::failure::{Failure, Result};
use crate::heap::{block_bytes, shared_bytes, text_bytes};
use crate::json::{Json, Kind, Members, Object};
use crate::limits;
use alloc::{borrow::Cow, format, string::String, sync::Arc, vec::Vec};
use hashbrown::{HashMap, HashSet};

/// Parameters among which it takes less to look than to hash.
const FEW: usize = 8;

/// One parameter or annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name; one that the platform gives is no block of its own.
    pub key: Cow<'static, str>,
    /// Its value.
    pub value: Json,
    /// Whether it goes to the environment of init, and not to the arguments.
    pub init: bool,
}

/// Parameters or annotations with unique keys, in the order given. Clones are the same list until one of them changes: every call
/// takes those of its action, and thousands of actions have equal ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters(Option<Arc<Vec<Parameter>>>);

impl Parameters {
    /// Reads the member `field` of a document.
    ///
    /// # Errors
    /// 400: another shape; 413: too large.
    pub fn parse(document: &Json, field: &str) -> Result<Self> {
        let bytes = document.as_str().len();
        if bytes > limits::PARAMETERS {
            let size = Self::size(document).filter(|size| *size > limits::PARAMETERS);
            return Err(Failure::too_large(
                field,
                size.unwrap_or(bytes),
                limits::PARAMETERS,
            ));
        }
        let malformed = || {
            Failure::malformed(format!(
                "{field} must be an array of objects with the members 'key', 'value' and, if need be, 'init' (true or false)"
            ))
        };
        let read = |element: &Json| {
            let object: Object = element.to_object().ok_or_else(malformed)?;
            let key = object
                .get("key")
                .and_then(Json::to_text)
                .ok_or_else(malformed)?
                .into();
            // One that has no value yet says so by null.
            let value = object.get("value").cloned().ok_or_else(malformed)?;
            let init = match object.get("init") {
                Some(init) => init.to_bool().ok_or_else(malformed)?,
                None => false,
            };
            Ok(Parameter { key, value, init })
        };
        let elements = document.to_array().ok_or_else(malformed)?;
        let parameters = elements.iter().map(read).collect::<Result<Vec<_>>>()?;
        Ok(Self::gathered(parameters.into_iter()))
    }

    /// Those of one key are the last, in the place of the first. However many there are, each is looked at once.
    fn gathered(parameters: impl Iterator<Item = Parameter>) -> Self {
        let mut list: Vec<Parameter> = Vec::new();
        let mut places: HashMap<Cow<'static, str>, usize> = HashMap::new();
        for parameter in parameters {
            let place = match list.len() {
                ..=FEW => list.iter().position(|p| p.key == parameter.key),
                _ => places.get(&parameter.key).copied(),
            };
            if let Some(old) = place.and_then(|at| list.get_mut(at)) {
                *old = parameter;
                continue;
            }
            list.push(parameter);
            if list.len() > FEW {
                let from = places.len();
                let new = list[from..].iter().zip(from..);
                places.extend(new.map(|(p, at)| (p.key.clone(), at)));
            }
        }
        if list.is_empty() {
            return Self::default();
        }
        list.shrink_to_fit();
        Self(Some(Arc::new(list)))
    }

    /// The size by which OpenWhisk limits them: bytes of all keys and of all values' texts. Source: `size` (`Parameter.scala`).
    fn size(document: &Json) -> Option<usize> {
        let elements = document.to_array()?;
        let of_one = |element: &Json| {
            let object = element.to_object()?;
            let key = object.get("key")?.to_text()?;
            Some(key.len() + object.get("value")?.compact().len())
        };
        elements.iter().map(of_one).sum()
    }

    /// Bytes of the heap that they take.
    pub(crate) fn heap_bytes(&self) -> usize {
        let Some(list) = &self.0 else {
            return 0;
        };
        let each = list.iter();
        let key_bytes = |key: &Cow<'static, str>| match key {
            Cow::Owned(key) => text_bytes(key),
            Cow::Borrowed(_) => 0,
        };
        let each = each.map(|p| key_bytes(&p.key) + p.value.heap_bytes());
        shared_bytes(size_of::<Vec<Parameter>>())
            + block_bytes(list.capacity() * size_of::<Parameter>())
            + each.sum::<usize>()
    }

    /// None so far, of so many that will be set.
    pub fn with_capacity(count: usize) -> Self {
        Self(Some(Arc::new(Vec::with_capacity(count))))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list().is_empty()
    }

    fn list(&self) -> &[Parameter] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }

    fn insert(&mut self, parameter: Parameter) {
        let list = Arc::make_mut(self.0.get_or_insert_default());
        match list.iter_mut().find(|p| p.key == parameter.key) {
            Some(old) => *old = parameter,
            None => {
                // Most lists stay as short as they are.
                if list.len() == list.capacity() {
                    list.reserve_exact(1);
                }
                list.push(parameter);
            }
        }
    }

    /// The same list as another one that is equal.
    pub fn share(&mut self, other: &Self) {
        if self == other {
            *self = other.clone();
        }
    }

    /// Sets a value.
    pub fn set(&mut self, key: impl Into<Cow<'static, str>>, value: Json) {
        self.insert(Parameter {
            key: key.into(),
            value,
            init: false,
        });
    }

    /// Removes a key.
    pub fn remove(&mut self, key: &str) {
        if self.get(key).is_some()
            && let Some(list) = &mut self.0
        {
            Arc::make_mut(list).retain(|p| p.key != key);
            if list.is_empty() {
                self.0 = None;
            }
        }
    }

    /// A value.
    pub fn get(&self, key: &str) -> Option<&Json> {
        self.list().iter().find(|p| p.key == key).map(|p| &p.value)
    }

    /// Whether a key has a value that JavaScript would call true.
    pub fn is_truthy(&self, key: &str) -> bool {
        self.get(key).is_some_and(Json::is_truthy)
    }

    /// Whether a key is exactly `true`.
    pub fn is_true(&self, key: &str) -> bool {
        self.get(key).and_then(Json::to_bool) == Some(true)
    }

    /// These, overridden by others.
    #[must_use]
    pub fn merged(&self, others: &Self) -> Self {
        if self.list().is_empty() {
            return others.clone();
        }
        if self.list().len() + others.list().len() > FEW {
            return match others.is_empty() {
                true => self.clone(),
                false => Self::gathered(self.iter().chain(others.iter()).cloned()),
            };
        }
        let mut merged = self.clone();
        for parameter in others.list() {
            merged.insert(parameter.clone());
        }
        merged
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Parameter> {
        self.list().iter()
    }

    /// The arguments of a call: these, overridden by the call's body, without those meant for init.
    pub fn arguments(&self, body: &Object) -> Object {
        let at_init = self.list().iter().filter(|p| p.init);
        let at_init: HashSet<&str> = at_init.map(|p| p.key.as_ref()).collect();
        let given = body.iter().filter(|(name, _)| !at_init.contains(name));
        let own = self.list().iter().filter(|p| !p.init);
        let own = own.map(|p| (p.key.as_ref(), &p.value));
        let all = own.chain(given);
        all.map(|(name, value)| (name.into(), value.clone()))
            .collect()
    }

    /// The keys that have a value, however many are looked for.
    pub fn valued(&self) -> HashSet<&str> {
        let valued = self.list().iter().filter(|p| p.value.kind() != Kind::Null);
        valued.map(|p| p.key.as_ref()).collect()
    }

    /// What init's environment gets: each value as text.
    pub fn environment(&self) -> impl Iterator<Item = (&str, String)> {
        self.list().iter().filter(|p| p.init).map(|p| {
            let text = match p.value.kind() {
                Kind::Text => p.value.to_text().unwrap_or_default(),
                Kind::Null => String::new(),
                _ => p.value.compact(),
            };
            (p.key.as_ref(), text)
        })
    }

    /// The document.
    pub fn to_json(&self) -> Json {
        Json::array(self.list().iter().map(|p| {
            let mut members = Members::new();
            members.text("key", &p.key).raw("value", p.value.as_str());
            if p.init {
                members.bool("init", true);
            }
            members.finish()
        }))
    }
}
