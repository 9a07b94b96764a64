//! The namespaces that a platform has: which key opens each, and what each may do.
//!
//! What must hold:
//! 1. Of a key there is its SHA-256, and nothing that is kept holds more. (Keys that the platform draws are 256 bits of
//!    entropy, so a fast hash tells nothing about them.) What was shown last stays in memory, so that a key is hashed once.
//! 2. What is compared with a secret takes the same time wherever the difference is.
//! 3. A namespace that is removed and added again is another one: it sees no record of the former.

use crate::failure::{Failure, Result};
use crate::json::{Json, Members, Object};
use crate::limits::NamespaceLimits;
use crate::name;
use alloc::{collections::BTreeMap, format, string::String, sync::Arc, vec::Vec};
use hashbrown::HashMap;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The form of the documents that [`Namespace::to_kept`] writes.
const FORM: u64 = 1;

/// Where entropy comes from: it fills what it is given.
pub type Entropy = fn(&mut [u8]);

/// Who may use the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The namespace that is its own.
    pub namespace: Arc<str>,
    /// `uuid:key`.
    pub key: Arc<str>,
}

/// A SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hash([u8; 32]);

impl Hash {
    pub fn of(key: &[u8]) -> Self {
        Self(Sha256::digest(key).into())
    }

    pub fn is_of(&self, key: &[u8]) -> bool {
        Self::of(key).0.ct_eq(&self.0).into()
    }

    fn to_hex(self) -> String {
        hex(&self.0)
    }

    fn parse(text: &str) -> Option<Self> {
        let digit = |at: usize| {
            text.get(at..at + 1)
                .filter(|d| d.is_ascii())
                .map(|d| u8::from_str_radix(d, 16))
        };
        let mut hash = [0; 32];
        for (at, byte) in hash.iter_mut().enumerate() {
            *byte = digit(2 * at)?.ok()? << 4 | digit(2 * at + 1)?.ok()?;
        }
        (text.len() == 64).then_some(Self(hash))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether two secrets are the same; by the time taken it tells their lengths only.
pub(crate) fn same(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

/// Draws a key, `uuid:key`.
pub fn draw_key(entropy: Entropy) -> String {
    let mut bytes = [0; 48];
    entropy(&mut bytes);
    let text = hex(&bytes);
    let parts = [
        &text[..8],
        &text[8..12],
        &text[12..16],
        &text[16..20],
        &text[20..32],
    ];
    format!("{}:{}", parts.join("-"), &text[32..])
}

/// A namespace.
#[derive(Debug)]
pub struct Namespace {
    name: Arc<str>,
    /// The part of its key that is no secret.
    uuid: String,
    hash: Hash,
    /// Its key, when that has been shown.
    shown: Option<Arc<str>>,
    /// A key that its actions are given where no caller has shown one. It is drawn at each start and with each new key.
    lent: Arc<str>,
    /// What it may do.
    pub limits: NamespaceLimits,
    /// When it came to be, in epoch milliseconds.
    pub since_ms: u64,
}

impl Namespace {
    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The part of its key that is no secret.
    pub fn uuid(&self) -> &str {
        &self.uuid
    }

    /// The key that its actions are given where no caller has shown one.
    pub(crate) fn lent(&self) -> &Arc<str> {
        &self.lent
    }

    /// What is kept of it, without its name: a document of our own.
    pub fn to_kept(&self) -> Json {
        Members::new()
            .number("form", FORM)
            .text("uuid", &self.uuid)
            .text("sha256", &self.hash.to_hex())
            .raw("limits", self.limits.to_json().as_str())
            .number("since", self.since_ms)
            .finish()
    }
}

/// The namespaces of a platform.
#[derive(Debug)]
pub struct Namespaces {
    of_names: BTreeMap<Arc<str>, Namespace>,
    of_uuids: HashMap<String, Arc<str>>,
    /// What each may do unless something else is said, and what namespaces without a key may do.
    defaults: NamespaceLimits,
    entropy: Entropy,
    generation: u64,
    /// The names of those that came, changed or went since that was asked last.
    changed: Vec<Arc<str>>,
}

impl Namespaces {
    /// None yet.
    pub fn new(defaults: NamespaceLimits, entropy: Entropy) -> Self {
        Self {
            of_names: BTreeMap::new(),
            of_uuids: HashMap::new(),
            defaults,
            entropy,
            generation: 0,
            changed: Vec::new(),
        }
    }

    /// Grows with each change of a key, of a limit, or of which there are.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// What a namespace may do unless something else is said.
    pub fn defaults(&self) -> &NamespaceLimits {
        &self.defaults
    }

    /// What a namespace may do.
    pub fn limits(&self, name: &str) -> &NamespaceLimits {
        self.get(name)
            .map_or(&self.defaults, |namespace| &namespace.limits)
    }

    /// The namespace of that name.
    pub fn get(&self, name: &str) -> Option<&Namespace> {
        self.of_names.get(name)
    }

    /// The namespace that the URLs of APIs name so: by its name, or as OpenWhisk's gateway has them by the part of its key that is no
    /// secret.
    pub fn of_tenant(&self, tenant: &str) -> Option<&Namespace> {
        self.get(tenant).or_else(|| self.of_uuid(tenant))
    }

    /// The namespace with a key of that first part.
    pub fn of_uuid(&self, uuid: &str) -> Option<&Namespace> {
        self.get(self.of_uuids.get(uuid)?)
    }

    /// Whether that key opens that namespace.
    pub fn opens(&mut self, name: &str, key: &str) -> bool {
        let subject = self.authenticate(key.as_bytes());
        subject.is_some_and(|subject| &*subject.namespace == name)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Namespace> {
        self.of_names.values()
    }

    /// The turns that each gets in a round when functions wait for instances.
    pub fn weights(&self) -> impl Iterator<Item = (&str, u32)> {
        self.iter()
            .map(|namespace| (&**namespace.name(), namespace.limits.weight))
    }

    /// The names of those that came, changed or went since this was asked the last time.
    pub fn take_changed(&mut self) -> Vec<Arc<str>> {
        core::mem::take(&mut self.changed)
    }

    /// Who has that key.
    pub fn authenticate(&mut self, given: &[u8]) -> Option<Subject> {
        let text = core::str::from_utf8(given).ok()?;
        let (uuid, _) = text.split_once(':')?;
        let namespace = self.of_names.get_mut(self.of_uuids.get(uuid)?)?;
        let shown = namespace.shown.as_ref();
        let key = match shown.filter(|key| same(key.as_bytes(), given)) {
            Some(key) => key.clone(),
            None if same(namespace.lent.as_bytes(), given) => namespace.lent.clone(),
            None if namespace.hash.is_of(given) => namespace.shown.insert(Arc::from(text)).clone(),
            None => return None,
        };
        Some(Subject {
            namespace: namespace.name.clone(),
            key,
        })
    }

    /// Adds a namespace that is opened by this key, or by one that is drawn. Gives the key, which is not to be had again.
    ///
    /// # Errors
    /// 400: no name, no key; 409: the name or the key's first part is in use.
    pub fn add(
        &mut self,
        name: &str,
        key: Option<&str>,
        limits: NamespaceLimits,
        now_ms: u64,
    ) -> Result<String> {
        name::check(name)?;
        // The books of instances put a blank after the caller's name.
        if name.contains(' ') || name == "_" || name.starts_with("whisk.") {
            return Err(Failure::bad(format!(
                "'{name}' cannot be the name of a namespace."
            )));
        }
        if self.of_names.contains_key(name) {
            return Err(Failure::new(
                409,
                format!("The namespace '{name}' exists already."),
            ));
        }
        let key = self.checked_key(name, key)?;
        self.insert(name, &key, limits, now_ms);
        self.changed.push(Arc::from(name));
        Ok(key)
    }

    /// Gives a namespace another key; the former one opens nothing any more, nor does what actions were given.
    ///
    /// # Errors
    /// 400: no key; 404: no such namespace; 409: the key's first part is in use.
    pub fn rotate(&mut self, name: &str, key: Option<&str>) -> Result<String> {
        let old = self.get(name).ok_or_else(Failure::no_entity)?;
        let (limits, since_ms) = (old.limits.clone(), old.since_ms);
        let key = self.checked_key(name, key)?;
        self.insert(name, &key, limits, since_ms);
        self.changed.push(Arc::from(name));
        Ok(key)
    }

    /// Says what a namespace may do.
    ///
    /// # Errors
    /// 404: no such namespace.
    pub fn set_limits(&mut self, name: &str, limits: NamespaceLimits) -> Result<()> {
        let namespace = self.of_names.get_mut(name).ok_or_else(Failure::no_entity)?;
        namespace.limits = limits;
        self.generation += 1;
        self.changed.push(namespace.name.clone());
        Ok(())
    }

    /// Takes a namespace out: its key opens nothing any more.
    pub fn remove(&mut self, name: &str) -> Option<Namespace> {
        let namespace = self.take_out(name)?;
        self.changed.push(namespace.name.clone());
        Some(namespace)
    }

    /// Makes a namespace what was kept of it, which counts as no change; `None` is that there was none.
    pub fn take_back(&mut self, name: &str, kept: Option<&Json>) {
        if kept.is_none_or(|kept| self.restore(name, kept).is_err()) {
            self.take_out(name);
        }
    }

    fn take_out(&mut self, name: &str) -> Option<Namespace> {
        let namespace = self.of_names.remove(name)?;
        self.generation += 1;
        self.of_uuids.remove(&namespace.uuid);
        Some(namespace)
    }

    /// Puts a namespace in place as it was kept, in the place of any of its name.
    ///
    /// # Errors
    /// What is wrong with the document.
    pub fn restore(&mut self, name: &str, kept: &Json) -> core::result::Result<(), String> {
        let object = kept.to_object().ok_or("it is no object")?;
        let form = number(&object, "form")?;
        if form != FORM {
            return Err(format!("its form is {form}, and {FORM} is known"));
        }
        let limits = object.get("limits").ok_or("it has no `limits`")?;
        let limits = self.defaults.merged(limits, &self.defaults);
        let hash = Hash::parse(&text(&object, "sha256")?).ok_or("`sha256` is none")?;
        let uuid = text(&object, "uuid")?;
        if self.of_uuids.get(&uuid).is_some_and(|of| &**of != name) {
            return Err(String::from("its key is another's as well"));
        }
        self.put(Namespace {
            name: Arc::from(name),
            lent: self.lend(&uuid),
            uuid,
            hash,
            shown: None,
            limits: limits.map_err(|failure| failure.text)?,
            since_ms: number(&object, "since")?,
        });
        Ok(())
    }

    fn checked_key(&self, name: &str, key: Option<&str>) -> Result<String> {
        let key = key.map_or_else(|| draw_key(self.entropy), String::from);
        let uuid = match key.split_once(':') {
            Some((uuid, secret)) if !uuid.is_empty() && !secret.is_empty() => uuid,
            _ => return Err(Failure::bad("A key is of the form uuid:key.")),
        };
        match self.of_uuids.get(uuid) {
            Some(other) if &**other != name => {
                Err(Failure::new(409, "A key with this uuid is in use already."))
            }
            _ => Ok(key),
        }
    }

    /// Puts a namespace in the place of any of its name, which counts as no change; the key is of the right form.
    pub(crate) fn insert(&mut self, name: &str, key: &str, limits: NamespaceLimits, since_ms: u64) {
        let uuid = key.split_once(':').map_or(key, |(uuid, _)| uuid);
        self.put(Namespace {
            name: Arc::from(name),
            uuid: uuid.into(),
            hash: Hash::of(key.as_bytes()),
            shown: None,
            lent: self.lend(uuid),
            limits,
            since_ms,
        });
    }

    fn put(&mut self, namespace: Namespace) {
        self.generation += 1;
        if let Some(old) = self.of_names.get(&namespace.name) {
            self.of_uuids.remove(&old.uuid);
        }
        self.of_uuids
            .insert(namespace.uuid.clone(), namespace.name.clone());
        self.of_names.insert(namespace.name.clone(), namespace);
    }

    fn lend(&self, uuid: &str) -> Arc<str> {
        let mut secret = [0; 32];
        (self.entropy)(&mut secret);
        Arc::from(format!("{uuid}:{}", hex(&secret)))
    }
}

fn text(object: &Object, name: &str) -> core::result::Result<String, String> {
    let text = object.get(name).and_then(Json::to_text);
    text.ok_or_else(|| format!("it has no text `{name}`"))
}

fn number(object: &Object, name: &str) -> core::result::Result<u64, String> {
    let number = object.get(name).and_then(|n| n.as_str().parse().ok());
    number.ok_or_else(|| format!("it has no number `{name}`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Kinds;
    use core::sync::atomic::{AtomicU8, Ordering};

    fn entropy(bytes: &mut [u8]) {
        static NEXT: AtomicU8 = AtomicU8::new(0);
        bytes.fill_with(|| NEXT.fetch_add(1, Ordering::Relaxed));
    }

    fn namespaces() -> Namespaces {
        Namespaces::new(NamespaceLimits::default(), entropy)
    }

    fn opens(namespaces: &mut Namespaces, key: &str) -> Option<String> {
        let subject = namespaces.authenticate(key.as_bytes())?;
        Some(String::from(&*subject.namespace))
    }

    #[test]
    fn what_is_kept_opens_with_the_key_and_does_not_say_it() {
        let mut all = namespaces();
        let limits = NamespaceLimits {
            calls_per_minute: 7,
            kinds: Kinds::parse(&Json::parse("[\"nodejs:20\"]").unwrap()).unwrap(),
            ..NamespaceLimits::default()
        };
        let key = all.add("ours", None, limits.clone(), 5).unwrap();
        assert_eq!(opens(&mut all, &key).as_deref(), Some("ours"));
        let kept = all.get("ours").unwrap().to_kept();
        let secret = key.split_once(':').unwrap().1;
        assert!(secret.len() == 64 && !kept.as_str().contains(secret));
        let mut again = namespaces();
        again.restore("ours", &kept).unwrap();
        let restored = again.get("ours").unwrap();
        assert_eq!((&restored.limits, restored.since_ms), (&limits, 5));
        assert_eq!(restored.to_kept(), kept);
        for _ in 0..2 {
            assert_eq!(opens(&mut again, &key).as_deref(), Some("ours"));
            assert_eq!(opens(&mut again, &format!("{key}0")), None);
            assert_eq!(opens(&mut again, &key[..key.len() - 1]), None);
        }
    }

    #[test]
    fn a_rotated_key_opens_nothing_any_more_nor_does_what_was_lent() {
        let mut all = namespaces();
        let old = all
            .add("ours", Some("u:old"), NamespaceLimits::default(), 0)
            .unwrap();
        let lent = all.get("ours").unwrap().lent().clone();
        assert_eq!(opens(&mut all, &old).as_deref(), Some("ours"));
        assert_eq!(opens(&mut all, &lent).as_deref(), Some("ours"));
        let new = all.rotate("ours", Some("u:new")).unwrap();
        assert_eq!(opens(&mut all, &new).as_deref(), Some("ours"));
        assert_eq!(
            (opens(&mut all, &old), opens(&mut all, &lent)),
            (None, None)
        );
        all.rotate("ours", Some("v:new")).unwrap();
        assert_eq!(opens(&mut all, &new), None);
        all.remove("ours").unwrap();
        assert_eq!(opens(&mut all, "v:new"), None);
        assert!(all.take_changed().iter().all(|name| &**name == "ours"));
    }

    #[test]
    fn names_and_keys_are_one_namespaces_alone() {
        let mut all = namespaces();
        all.add("a", Some("u:1"), NamespaceLimits::default(), 0)
            .unwrap();
        let mut status = |name: &str, key: Option<&str>| {
            all.add(name, key, NamespaceLimits::default(), 0)
                .map_err(|f| f.status)
        };
        assert_eq!(status("a", None), Err(409));
        assert_eq!(status("b", Some("u:2")), Err(409));
        for (name, key) in [
            ("b", ":"),
            ("b", "x"),
            ("b", "u:"),
            ("_", "v:1"),
            ("b c", "v:1"),
            ("whisk.system", "v:1"),
        ] {
            assert_eq!(status(name, Some(key)), Err(400), "{name} {key}");
        }
        assert_eq!(
            all.rotate("a", Some("u:2")).map_err(|f| f.status),
            Ok("u:2".into())
        );
    }

    #[test]
    fn a_damaged_document_is_no_namespace() {
        let mut all = namespaces();
        all.add("a", Some("u:1"), NamespaceLimits::default(), 0)
            .unwrap();
        let whole = all.get("a").unwrap().to_kept();
        for (from, to) in [
            ("\"form\":1", "\"form\":2"),
            ("sha256\":\"", "sha256\":\"zz"),
            ("\"uuid\"", "\"uuit\""),
            ("\"since\":0", "\"since\":-1"),
        ] {
            let text = whole.as_str().replacen(from, to, 1);
            assert_ne!(text, whole.as_str());
            assert!(
                namespaces()
                    .restore("a", &Json::parse(&text).unwrap())
                    .is_err(),
                "{text}"
            );
        }
        assert!(all.restore("b", &whole).is_err(), "its key is a's");
    }
}
