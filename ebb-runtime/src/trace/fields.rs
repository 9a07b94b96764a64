//! What a record says beyond its label and two numbers: names with values, as text of a bounded length.
//!
//! Text goes into the ring before the record that it belongs to, 24 bytes in each record of its own. What must hold: nothing is
//! allocated; whoever reads gets the whole text or none of it, though the ring may have lost its beginning and an interrupt may
//! have recorded in between.

use core::fmt::{self, Write};

use super::{
    Label,
    ring::{Phase, Record, Ring},
};

/// The most bytes that the fields of a record take, names included.
pub const FIELDS_BYTES: usize = 240;
/// Bytes of text in a record.
const PART_BYTES: usize = 24;
/// The byte that ends a field, of which no key and no value has one, nor one of [`Kind`].
const END: char = '\0';
/// What stands for the rest of a text.
const CUT: &str = "…";

/// What a field is; the number is the byte between key and value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Text = 1,
    /// What JSON writes without quotes.
    Number = 2,
    /// Names the record instead of its label.
    Title = 3,
}

/// Names with values, in at most [`FIELDS_BYTES`] bytes: a text that is too long is cut, a number that does not fit left out.
#[derive(Clone)]
pub struct Fields {
    bytes: [u8; FIELDS_BYTES],
    length: usize,
    /// So much may be used for now.
    limit: usize,
}

impl Fields {
    /// None.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            bytes: [0; FIELDS_BYTES],
            length: 0,
            limit: FIELDS_BYTES,
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Adds a text.
    pub fn text(&mut self, key: &str, value: fmt::Arguments<'_>) {
        self.add(key, Kind::Text, value);
    }

    /// Adds a text that is shown as the record's name.
    pub fn title(&mut self, value: fmt::Arguments<'_>) {
        self.add("", Kind::Title, value);
    }

    /// Adds an integer.
    pub fn integer(&mut self, key: &str, value: impl Into<i128>) {
        self.add(key, Kind::Number, format_args!("{}", value.into()));
    }

    /// Adds a number; one that is infinite or none is a text.
    pub fn float(&mut self, key: &str, value: f64) {
        let kind = if value.is_finite() {
            Kind::Number
        } else {
            Kind::Text
        };
        self.add(key, kind, format_args!("{value:?}"));
    }

    /// Adds true or false.
    pub fn flag(&mut self, key: &str, value: bool) {
        self.add(key, Kind::Number, format_args!("{value}"));
    }

    /// Adds those of another that fit.
    pub fn extend(&mut self, other: &Self) {
        let text = core::str::from_utf8(&other.bytes[..other.length]).unwrap_or_default();
        for part in parts(text) {
            self.add(part.key, part.kind, format_args!("{}", part.value));
        }
    }

    fn add(&mut self, key: &str, kind: Kind, value: fmt::Arguments<'_>) {
        let before = self.length;
        self.limit = FIELDS_BYTES.saturating_sub(CUT.len() + END.len_utf8());
        let fits = self.write_str(key).is_ok() && self.put(kind as u8 as char).is_ok();
        let is_whole = fits && self.write_fmt(value).is_ok();
        self.limit = FIELDS_BYTES;
        if !fits || (!is_whole && kind == Kind::Number) {
            self.length = before;
            return;
        }
        if !is_whole {
            let _ = self.write_str(CUT);
        }
        let _ = self.put(END);
    }

    fn put(&mut self, c: char) -> fmt::Result {
        let end = self.length + c.len_utf8();
        if end > self.limit {
            return Err(fmt::Error);
        }
        c.encode_utf8(&mut self.bytes[self.length..end]);
        self.length = end;
        Ok(())
    }

    /// Records them, for the record that follows.
    pub(super) fn push(&self, ring: &Ring, label: &'static Label) {
        for (number, part) in self.bytes[..self.length].chunks(PART_BYTES).enumerate() {
            let mut words = [0_u64; 3];
            for (word, bytes) in words.iter_mut().zip(part.chunks(8)) {
                let mut whole = [0; 8];
                whole[..bytes.len()].copy_from_slice(bytes);
                *word = u64::from_le_bytes(whole);
            }
            ring.push(&Record {
                ticks: words[0],
                label,
                site: None,
                phase: Phase::Fields,
                depth: (number as u64) << 8 | part.len() as u64,
                values: [words[1], words[2]],
                has_fields: false,
            });
        }
    }
}

/// Takes what a key or a value says. Fails when there is no more room, after as much as fits.
impl Write for Fields {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| match c {
            END..='\u{3}' => self.put(' '),
            c => self.put(c),
        })
    }
}

impl Default for Fields {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = core::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default();
        let each = parts(text).map(|part| (part.key, part.value));
        f.debug_map().entries(each).finish()
    }
}

/// A field that is read.
pub(super) struct Part<'a> {
    pub kind: Kind,
    pub key: &'a str,
    pub value: &'a str,
}

/// The fields of a text.
pub(super) fn parts(text: &str) -> impl Iterator<Item = Part<'_>> {
    text.split_terminator(END).filter_map(|field| {
        let at = field.find(['\u{1}', '\u{2}', '\u{3}'])?;
        let kind = match field.as_bytes()[at] {
            1 => Kind::Text,
            2 => Kind::Number,
            _ => Kind::Title,
        };
        Some(Part {
            kind,
            key: &field[..at],
            value: &field[at + 1..],
        })
    })
}

/// Puts the parts of a text together.
pub(super) struct Assembly {
    bytes: [u8; FIELDS_BYTES],
    length: usize,
    /// The number of the part that is next; none when one is missing.
    next: Option<u64>,
}

impl Assembly {
    pub fn new() -> Self {
        Self {
            bytes: [0; FIELDS_BYTES],
            length: 0,
            next: None,
        }
    }

    pub fn clear(&mut self) {
        (self.length, self.next) = (0, None);
    }

    pub fn add(&mut self, part: &Record) {
        let (number, length) = (part.depth >> 8, (part.depth & 0xff) as usize);
        if number == 0 {
            (self.length, self.next) = (0, Some(0));
        }
        let end = self.length + length;
        if self.next != Some(number) || length > PART_BYTES || end > FIELDS_BYTES {
            self.clear();
            return;
        }
        let [b, c] = part.values;
        let mut bytes = [0; PART_BYTES];
        for (place, word) in bytes.chunks_mut(8).zip([part.ticks, b, c]) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        self.bytes[self.length..end].copy_from_slice(&bytes[..length]);
        self.length = end;
        self.next = Some(number + 1);
    }

    /// The text; empty when a part is missing.
    pub fn text(&self) -> &str {
        match self.next {
            Some(_) => core::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default(),
            None => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::{boxed::Box, string::String, vec::Vec};

    use super::*;

    static LABEL: Label = Label::new("label", "test", ["", ""]);

    fn ring(records: usize) -> Ring {
        let ring = Ring::new(Box::leak(Box::default()));
        ring.make(records);
        ring
    }

    fn read(ring: &Ring) -> String {
        let mut assembly = Assembly::new();
        for record in ring.records().filter(|r| r.phase == Phase::Fields) {
            assembly.add(&record);
        }
        assembly.text().into()
    }

    fn said(fields: &Fields) -> Vec<(Kind, String, String)> {
        let ring = ring(16);
        fields.push(&ring, &LABEL);
        parts(&read(&ring))
            .map(|part| (part.kind, part.key.into(), part.value.into()))
            .collect()
    }

    #[test]
    fn fields_come_back_as_they_were_put() {
        let mut fields = Fields::new();
        fields.title(format_args!("a {} title", "long"));
        fields.integer("n", u64::MAX);
        fields.integer("m", -3_i64);
        fields.flag("is", true);
        fields.float("half", 0.5);
        fields.float("none", f64::NAN);
        fields.text("who", format_args!("ë\0\u{1}\n"));
        let of = |kind, key: &str, value: &str| (kind, key.into(), value.into());
        let expected = [
            of(Kind::Title, "", "a long title"),
            of(Kind::Number, "n", "18446744073709551615"),
            of(Kind::Number, "m", "-3"),
            of(Kind::Number, "is", "true"),
            of(Kind::Number, "half", "0.5"),
            of(Kind::Text, "none", "NaN"),
            of(Kind::Text, "who", "ë  \n"),
        ];
        assert_eq!(said(&fields), expected);
    }

    #[test]
    fn a_text_that_is_too_long_is_cut_and_a_number_left_out() {
        for length in 200..260 {
            let mut fields = Fields::new();
            fields.text("t", format_args!("{}", "ö".repeat(length / 2)));
            fields.integer("n", 1_234_567_890_u64);
            let said = said(&fields);
            let is_cut = said[0].2.ends_with(CUT);
            assert_eq!(is_cut, length / 2 > (FIELDS_BYTES - 6) / 2, "{length}");
            if let Some(number) = said.get(1) {
                assert_eq!(number.2, "1234567890");
            }
        }
    }

    #[test]
    fn a_text_whose_beginning_the_ring_has_lost_is_none() {
        let mut fields = Fields::new();
        fields.text("t", format_args!("{}", "x".repeat(200)));
        let small = ring(4);
        fields.push(&small, &LABEL);
        assert_eq!(read(&small), "");
    }
}
