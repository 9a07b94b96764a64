//! JSON that is mostly passed on: a value is its text, and only objects are taken apart, one level deep.
//!
//! What a caller sends and what an action answers can be large, and all that is done with it is to put members in or take
//! them out. So a [`Json`] is checked once and then shared, members keep their order, and numbers keep their digits.

use crate::heap::shared_bytes;
use crate::scan::{self, Scanner};
use alloc::{format, string::String, sync::Arc, vec::Vec};
use core::fmt;

/// The text of one valid JSON value.
#[derive(Clone, PartialEq, Eq)]
pub struct Json(Arc<str>);

/// What a JSON value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool,
    /// A number.
    Number,
    /// A string.
    Text,
    /// An array.
    Array,
    /// An object.
    Object,
}

impl Json {
    /// Bytes of the heap that its text takes.
    pub(crate) fn heap_bytes(&self) -> usize {
        shared_bytes(self.0.len())
    }

    /// Whether both share one text, not only an equal one.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether nobody else shares its text.
    pub fn is_last(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// Checks a text.
    ///
    /// # Errors
    /// Says what is wrong and where.
    pub fn parse(text: &str) -> Result<Self, String> {
        scan::check(text).map(|value| Self(Arc::from(value)))
    }

    /// Checks a text in bytes.
    ///
    /// # Errors
    /// As [`Json::parse`]; the bytes may also be no UTF-8.
    pub fn parse_bytes(bytes: &[u8]) -> Result<Self, String> {
        Self::parse(core::str::from_utf8(bytes).map_err(|error| format!("{error}"))?)
    }

    /// A text that was checked elsewhere.
    pub(crate) fn known(text: &str) -> Self {
        Self(Arc::from(text))
    }

    /// `null`.
    pub fn null() -> Self {
        Self(Arc::from("null"))
    }

    /// A string.
    pub fn text(text: &str) -> Self {
        let mut out = String::with_capacity(text.len() + 2);
        quote(&mut out, text);
        Self(Arc::from(out))
    }

    /// A whole number.
    pub fn number(number: i64) -> Self {
        Self(Arc::from(itoa::Buffer::new().format(number)))
    }

    /// A truth value.
    pub fn bool(value: bool) -> Self {
        Self(Arc::from(if value { "true" } else { "false" }))
    }

    /// An array.
    pub fn array<I>(values: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let mut out = String::from("[");
        for value in values {
            if out.len() > 1 {
                out.push(',');
            }
            out.push_str(value.as_ref());
        }
        out.push(']');
        Self(Arc::from(out))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        match self.0.as_bytes().first() {
            Some(b'n') | None => Kind::Null,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'"') => Kind::Text,
            Some(b'[') => Kind::Array,
            Some(b'{') => Kind::Object,
            Some(_) => Kind::Number,
        }
    }

    /// A string's content.
    pub fn to_text(&self) -> Option<String> {
        (self.kind() == Kind::Text).then(|| scan::unquote(&self.0))
    }

    /// A whole number, however it is written: `200`, `200.0`, `2e2`.
    pub fn to_integer(&self) -> Option<i64> {
        self.0.parse().ok().or_else(|| {
            // Beyond these not every whole number is a float.
            const EXACT: f64 = (1_i64 << 53) as f64;
            let number: f64 = self.0.parse().ok()?;
            let whole = number as i64;
            (number.abs() <= EXACT && whole as f64 == number).then_some(whole)
        })
    }

    /// A truth value.
    pub fn to_bool(&self) -> Option<bool> {
        match self.as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// The elements of an array.
    pub fn to_array(&self) -> Option<Vec<Json>> {
        let mut scanner = Scanner::new(&self.0);
        let mut values = Vec::new();
        if !scanner.take(b'[') {
            return None;
        }
        if scanner.take(b']') {
            return Some(values);
        }
        loop {
            values.push(Self(Arc::from(scanner.value().ok()?)));
            if !scanner.take(b',') {
                return Some(values);
            }
        }
    }

    /// The members of an object.
    pub fn to_object(&self) -> Option<Object> {
        Object::scan(&mut Scanner::new(&self.0))
    }

    /// The member of that name of an object, of several the last one.
    pub fn member(&self, name: &str) -> Option<Json> {
        let mut scanner = Scanner::new(&self.0);
        let mut found = None;
        if !scanner.take(b'{') || scanner.take(b'}') {
            return None;
        }
        loop {
            let key = scanner.key().ok()?;
            let value = scanner.value().ok()?;
            if says(key, name) {
                found = Some(value);
            }
            if !scanner.take(b',') {
                break;
            }
        }
        found.map(|value| Self(Arc::from(value)))
    }

    /// How many arrays and objects are in one another at most.
    pub fn depth(&self) -> usize {
        let (mut open, mut deepest) = (0_usize, 0);
        let (mut inside, mut escaped) = (false, false);
        for byte in self.0.bytes() {
            match byte {
                _ if inside => {
                    inside = escaped || byte != b'"';
                    escaped = !escaped && byte == b'\\';
                }
                b'"' => inside = true,
                b'[' | b'{' => {
                    open += 1;
                    deepest = deepest.max(open);
                }
                b']' | b'}' => open -= 1,
                _ => {}
            }
        }
        deepest
    }

    /// Whether JavaScript would call it true.
    pub fn is_truthy(&self) -> bool {
        match self.kind() {
            Kind::Null => false,
            Kind::Bool => self.as_str() == "true",
            Kind::Text => self.as_str() != "\"\"",
            Kind::Number => self.as_str().parse::<f64>() != Ok(0.0),
            Kind::Array | Kind::Object => true,
        }
    }

    /// The same without blanks between the tokens.
    pub fn compact(&self) -> String {
        let mut out = String::with_capacity(self.0.len());
        let (mut inside, mut escaped) = (false, false);
        for c in self.0.chars() {
            if inside {
                inside = escaped || c != '"';
                escaped = !escaped && c == '\\';
            } else if c.is_ascii_whitespace() {
                continue;
            } else {
                inside = c == '"';
            }
            out.push(c);
        }
        out
    }

    /// For people, in the form in which OpenWhisk shows it to them: a line for each member of an object, indented by two blanks a level; the
    /// elements of an array beside one another. A value that is nested so deeply that this would be mostly blanks stays as it is.
    pub fn pretty(&self) -> String {
        let most = self.0.len() * 4 + 4096;
        let mut out = String::with_capacity(self.0.len() * 2);
        // Of the brackets that are open, which are objects', and how many are.
        let mut open: Vec<bool> = Vec::new();
        let mut objects = 0;
        let (mut inside, mut escaped) = (false, false);
        let line = |out: &mut String, objects: usize| {
            out.push('\n');
            out.extend(core::iter::repeat_n("  ", objects));
        };
        for c in self.0.chars() {
            if out.len() > most {
                return self.0.as_ref().into();
            }
            if inside {
                inside = escaped || c != '"';
                escaped = !escaped && c == '\\';
                out.push(c);
                continue;
            }
            match c {
                '{' => {
                    open.push(true);
                    objects += 1;
                    out.push(c);
                    line(&mut out, objects);
                }
                '}' => {
                    open.pop();
                    objects -= 1;
                    line(&mut out, objects);
                    out.push(c);
                }
                '[' => {
                    open.push(false);
                    out.push(c);
                }
                ']' => {
                    open.pop();
                    out.push(c);
                }
                ',' => {
                    out.push(c);
                    match open.last() {
                        Some(true) => line(&mut out, objects),
                        _ => out.push(' '),
                    }
                }
                ':' => out.push_str(": "),
                c if c.is_ascii_whitespace() => {}
                c => {
                    inside = c == '"';
                    out.push(c);
                }
            }
        }
        out
    }
}

impl AsRef<str> for Json {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The members of an object in their order; of members of one name the last counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Object(Vec<(String, Json)>);

impl Object {
    /// An object without members.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads an object's text, in one pass; nothing, if it is something else. [`Json::parse_bytes`] knows why.
    pub fn parse_bytes(bytes: &[u8]) -> Option<Self> {
        let mut scanner = Scanner::new(core::str::from_utf8(bytes).ok()?);
        let object = Self::scan(&mut scanner)?;
        scanner.end().ok()?;
        Some(object)
    }

    fn scan(scanner: &mut Scanner<'_>) -> Option<Self> {
        let mut members = Unique::default();
        if !scanner.take(b'{') {
            return None;
        }
        if !scanner.take(b'}') {
            loop {
                let name = scan::unquote(scanner.key().ok()?);
                members.set(name, Json(Arc::from(scanner.value().ok()?)));
                if !scanner.take(b',') {
                    break;
                }
            }
            if !scanner.take(b'}') {
                return None;
            }
        }
        Some(Self(members.members))
    }

    /// The member of that name.
    pub fn get(&self, name: &str) -> Option<&Json> {
        self.0.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v)
    }

    /// Whether there is a member of that name.
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Sets a member; one that is there keeps its place.
    pub fn set(&mut self, name: &str, value: Json) {
        match self.0.iter_mut().rev().find(|(n, _)| n == name) {
            Some(member) => member.1 = value,
            None => self.0.push((name.into(), value)),
        }
    }

    /// Takes a member out.
    pub fn remove(&mut self, name: &str) -> Option<Json> {
        let value = self.get(name).cloned();
        self.0.retain(|(n, _)| n != name);
        value
    }

    /// Sets all members of another object.
    pub fn extend(&mut self, other: Object) {
        *self = core::mem::take(self).0.into_iter().chain(other.0).collect();
    }

    /// The members.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Json)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Bytes of names and values, about.
    pub fn bytes(&self) -> usize {
        self.iter()
            .map(|(name, value)| name.len() + value.as_str().len())
            .sum()
    }

    /// The object's text.
    pub fn to_json(&self) -> Json {
        let mut members = Members::new();
        for (name, value) in self.iter() {
            members.raw(name, value.as_str());
        }
        members.finish()
    }
}

/// However many there are, each is looked at once.
impl FromIterator<(String, Json)> for Object {
    fn from_iter<T: IntoIterator<Item = (String, Json)>>(given: T) -> Self {
        let mut members = Unique::default();
        for (name, value) in given {
            members.set(name, value);
        }
        Self(members.members)
    }
}

/// Whether a well-formed string in quotes says that text. Where something in it is escaped it is longer.
fn says(quoted: &str, text: &str) -> bool {
    let inner = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or("");
    inner == text || inner.len() > text.len() && scan::unquote(quoted) == text
}

/// Collects members; a name that comes again replaces the value.
#[derive(Default)]
struct Unique {
    members: Vec<(String, Json)>,
    /// Where they are, once there are more than a few.
    places: hashbrown::HashMap<String, usize>,
}

/// Members among which it takes less to look than to hash.
const FEW: usize = 8;

impl Unique {
    fn place(&self, name: &str) -> Option<usize> {
        if self.members.len() > FEW {
            return self.places.get(name).copied();
        }
        self.members.iter().position(|(known, _)| known == name)
    }

    fn set(&mut self, name: String, value: Json) {
        let place = self.place(&name);
        if let Some(member) = place.and_then(|at| self.members.get_mut(at)) {
            member.1 = value;
            return;
        }
        self.members.push((name, value));
        if self.members.len() > FEW {
            let from = self.places.len();
            let new = self.members[from..].iter().zip(from..);
            self.places
                .extend(new.map(|((name, _), at)| (name.clone(), at)));
        }
    }
}

/// Writes an object member by member.
#[derive(Debug)]
pub struct Members(String);

impl Default for Members {
    fn default() -> Self {
        Self::new()
    }
}

impl Members {
    /// Begins an object.
    pub fn new() -> Self {
        /// Most are shorter.
        const USUAL: usize = 240;
        Self::with_capacity(USUAL)
    }

    /// Begins an object of about so many bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        let mut text = String::with_capacity(bytes);
        text.push('{');
        Self(text)
    }

    /// A member whose value is JSON already.
    pub fn raw(&mut self, name: &str, json: &str) -> &mut Self {
        // With a comma, quotes and a colon, and a bracket at the end.
        self.0.reserve(name.len() + json.len() + 5);
        if self.0.len() > 1 {
            self.0.push(',');
        }
        quote(&mut self.0, name);
        self.0.push(':');
        self.0.push_str(json);
        self
    }

    /// A string member.
    pub fn text(&mut self, name: &str, text: &str) -> &mut Self {
        self.raw(name, "");
        quote(&mut self.0, text);
        self
    }

    /// A number member.
    pub fn number(&mut self, name: &str, number: impl Into<i128>) -> &mut Self {
        let number = number.into();
        match u64::try_from(number) {
            // Nearly all are, and half as many bits take much less than half of it.
            Ok(number) => self.raw(name, itoa::Buffer::new().format(number)),
            Err(_) => self.raw(name, itoa::Buffer::new().format(number)),
        }
    }

    /// A truth value member.
    pub fn bool(&mut self, name: &str, value: bool) -> &mut Self {
        self.raw(name, if value { "true" } else { "false" })
    }

    /// Ends the object.
    pub fn finish(&mut self) -> Json {
        self.0.push('}');
        Json(Arc::from(core::mem::take(&mut self.0)))
    }
}

/// Appends a string as JSON.
pub fn quote(out: &mut String, text: &str) {
    out.reserve(text.len() + 2);
    out.push('"');
    let mut rest = text;
    loop {
        let (plain, special) = rest.split_at(scan::plain_bytes(rest.as_bytes()));
        out.push_str(plain);
        let Some(&byte) = special.as_bytes().first() else {
            break;
        };
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            _ => out.push_str(&format!("\\u{byte:04x}")),
        }
        // It is ASCII.
        rest = &special[1..];
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_is_one_however_it_is_written() {
        for (text, number) in [
            ("200", Some(200)),
            ("-0", Some(0)),
            ("200.0", Some(200)),
            ("2e2", Some(200)),
            ("-1.5E1", Some(-15)),
            ("200.5", None),
            ("1e300", None),
            ("\"200\"", None),
            ("9007199254740993", Some(9_007_199_254_740_993)),
            ("9223372036854775808", None),
        ] {
            let json = Json::parse(text).expect(text);
            assert_eq!(json.to_integer(), number, "{text}");
        }
    }

    #[test]
    fn a_member_is_found_however_its_name_is_written_and_the_last_one_counts() {
        let is = |text: &str, value: Option<&str>| {
            let json = Json::parse(text).expect(text);
            assert_eq!(json.member("error").as_ref().map(Json::as_str), value);
            let object = json.to_object();
            let got = object.as_ref().and_then(|object| object.get("error"));
            assert_eq!(got.map(Json::as_str), value, "{text}");
        };
        is("{}", None);
        is("[\"error\"]", None);
        is("\"error\"", None);
        is("{\"errors\":1,\"erro\":2,\"a\":{\"error\":3}}", None);
        is(" { \"a\" : 1 , \"error\" : [ 2 ] } ", Some("[ 2 ]"));
        is("{\"error\":1,\"b\":2,\"err\\u006fr\":3}", Some("3"));
        is("{\"err\\u006fr\":1,\"error\":null}", Some("null"));
    }

    #[test]
    fn an_object_in_one_pass_is_the_one_in_two() {
        for text in [
            "{}",
            " { \"a\" : [ 1 , {\"b\":2} ] , \"c\" : \"d\" } ",
            "{\"a\":1,\"a\":2}",
            "{\"a\":1",
            "{\"a\":1]",
            "{\"a\":1,}",
            "{\"a\" 1}",
            "{} {}",
            "{\"a\":\"\n\"}",
            "[1]",
            "1",
            "",
        ] {
            let object = Json::parse(text).ok().and_then(|json| json.to_object());
            assert_eq!(Object::parse_bytes(text.as_bytes()), object, "{text}");
        }
        assert_eq!(Object::parse_bytes(b"{\"a\":\"\xff\"}"), None);
    }

    #[test]
    fn members_keep_their_places_and_of_one_name_the_last_counts_among_few_and_many() {
        for count in 0..2 * FEW + 3 {
            let names = (0..count).flat_map(|n| [n, n / 2]).chain(0..count);
            let members = names
                .enumerate()
                .map(|(value, n)| format!("\"m{n}\":{value}"));
            let members: Vec<String> = members.collect();
            let text = format!("{{{}}}", members.join(","));
            let mut expected = Object::new();
            for member in &members {
                let (name, value) = member.split_once(':').expect("as written");
                expected.set(name.trim_matches('"'), Json::known(value));
            }
            let object = Json::known(&text).to_object().expect("an object");
            assert_eq!(object, expected, "{text}");
        }
    }

    #[test]
    fn brackets_in_strings_are_no_nesting() {
        for (text, depth) in [
            ("1", 0),
            ("\"[{\"", 0),
            ("[]", 1),
            (r#"{"a[":["\"[",{"b":"\\"}],"c":[1]}"#, 3),
        ] {
            assert_eq!(Json::parse(text).expect(text).depth(), depth, "{text}");
        }
    }

    #[test]
    fn what_is_shown_to_people_is_the_same_value_in_lines() {
        let text = r#"{"a":[1,{"b":"x, {y}: \" z"},[]],"c":{"d":null},"e":{}}"#;
        let shown = "{\n  \"a\": [1, {\n    \"b\": \"x, {y}: \\\" z\"\n  }, []],\n  \"c\": {\n    \"d\": null\n  },\n  \"e\": {\n    \n  }\n}";
        let json = Json::parse(text).expect("JSON");
        assert_eq!(json.pretty(), shown);
        let again = Json::parse(&json.pretty()).expect("JSON");
        assert_eq!(again.compact(), json.compact());
        assert_eq!(again.pretty(), shown);
    }

    #[test]
    fn what_is_nested_deeply_is_shown_in_time_and_room_for_its_length() {
        let deep = 100_000;
        let objects = format!("{}1{}", r#"{"":"#.repeat(deep), "}".repeat(deep));
        let members = format!(r#"{{{}"":1}}"#, r#""":1,"#.repeat(deep));
        let arrays = format!("{}{members}{}", "[".repeat(deep), "]".repeat(deep));
        for text in [&objects, &arrays] {
            let shown = Json::parse(text).expect("JSON").pretty();
            assert!(shown.len() <= text.len() * 4 + 4096, "{}", shown.len());
            let again = Json::parse(&shown).expect("JSON");
            assert_eq!(again.compact(), *text);
        }
    }

    #[test]
    fn a_string_is_quoted_wherever_in_it_something_has_to_be_escaped() {
        let escape = |c: char| match c {
            '"' => String::from("\\\""),
            '\\' => String::from("\\\\"),
            '\n' => String::from("\\n"),
            '\r' => String::from("\\r"),
            '\t' => String::from("\\t"),
            '\0'..='\x1f' => format!("\\u{:04x}", u32::from(c)),
            c => c.into(),
        };
        let odd = ('\0'..='\u{81}').chain(['\u{a2}', '\u{dc}', '\u{22dc}', '\u{1f9a2}']);
        for c in odd {
            for before in 0..10 {
                for after in [0, 1, 7, 8, 20] {
                    let text = format!("{}{c}{}{c}", "!".repeat(before), "~".repeat(after));
                    let expected: String = text.chars().map(escape).collect();
                    let mut quoted = String::new();
                    quote(&mut quoted, &text);
                    assert_eq!(quoted, format!("\"{expected}\""));
                }
            }
        }
    }
}
