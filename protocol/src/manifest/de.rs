//! From the tree to the types: a serde deserializer whose errors know their place and path, and a reader that goes on after
//! an error to find the others.

use std::fmt::{self, Display};

use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{self, DeserializeSeed, Deserializer, Expected, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};

use super::names::hint;
use super::problem::{KeyPath, PROBLEMS_MAX, Place, Problem, Step};
use super::yaml::{Entry, Kind, Node};

/// Reads a value from a tree. Each error becomes a problem and a hole, and reading begins anew: one pass per problem finds
/// them all, and none is the consequence of another.
pub(crate) fn read<T: for<'de> Deserialize<'de>>(root: &mut Node, problems: &mut Vec<Problem>) -> Option<T> {
    loop {
        let error = match T::deserialize(&*root) {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        let path: KeyPath = error.steps.into_iter().rev().collect();
        let place = error.place.unwrap_or_else(|| root.place_of(path.steps()).clone());
        if !root.dig(path.steps()) || problems.len() >= PROBLEMS_MAX {
            return None;
        }
        if let Some(message) = error.message {
            problems.push(Problem { place: Some(place), path, message });
        }
    }
}

/// A refusal on its way out of the tree.
#[derive(Debug)]
pub(crate) struct Error {
    /// Where a key is wrong; a value stands where its path leads.
    place: Option<Place>,
    /// From the inside out.
    steps: Vec<Step>,
    /// What is wrong; nothing, where it has been said.
    message: Option<String>,
    missing: Option<&'static str>,
}

impl Error {
    fn new(message: String) -> Self {
        Self { place: None, steps: Vec::new(), message: Some(message), missing: None }
    }

    fn within(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message.as_deref().unwrap_or_default())
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: Display>(message: T) -> Self {
        Self::new(message.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = match found {
            Unexpected::Str(text) => format!("the text {:?}", text.chars().take(40).collect::<String>()),
            Unexpected::Unit | Unexpected::Option => "nothing".to_owned(),
            Unexpected::Bool(value) => value.to_string(),
            Unexpected::Signed(number) => number.to_string(),
            Unexpected::Unsigned(number) => number.to_string(),
            Unexpected::Float(number) => number.to_string(),
            Unexpected::Seq => "a list".to_owned(),
            Unexpected::Map => "a mapping".to_owned(),
            other => other.to_string(),
        };
        Self::new(format!("expected {}, found {found}", in_words(expected)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!(
            "{:?} cannot stand here{}",
            variant.chars().take(40).collect::<String>(),
            hint(variant, expected.iter().copied())
        ))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!("there is no key {:?} here{}", field.chars().take(40).collect::<String>(), hint(field, expected.iter().copied())))
    }

    fn missing_field(field: &'static str) -> Self {
        Self { missing: Some(field), ..Self::new(format!("the key {field:?} is missing")) }
    }
}

/// What serde's own visitors expect, in a manifest's words.
fn in_words(expected: &dyn Expected) -> String {
    let text = expected.to_string();
    match text.as_str() {
        "u32" | "u64" => "a whole number, 0 or more".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a map" => "a mapping".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a string" => "a text".to_owned(),
        _ => text,
    }
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.kind {
            Kind::Scalar { text, plain } => scalar(text, *plain, visitor),
            Kind::List(items) => visitor.visit_seq(Items(items.iter().enumerate())),
            Kind::Map(entries) => {
                visitor.visit_map(Entries { entries: entries.iter(), value: None }).map_err(|error| excuse(error, entries))
            }
            // Holes are passed over by what holds them; only the root can get here.
            Kind::Hole => Err(Error { message: None, ..Error::new(String::new()) }),
        }
    }

    /// A text is a text: `name: 42` needs no quotes.
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.kind {
            Kind::Scalar { text, plain } if !(*plain && is_null(text)) => visitor.visit_borrowed_str(text),
            Kind::Scalar { .. } | Kind::List(_) | Kind::Map(_) | Kind::Hole => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.kind {
            Kind::Scalar { text, plain: true } if is_null(text) => visitor.visit_none(),
            Kind::Scalar { .. } | Kind::List(_) | Kind::Map(_) | Kind::Hole => visitor.visit_some(self),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(self, _: &'static str, words: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        match &self.kind {
            Kind::Scalar { text, .. } => visitor.visit_enum(IntoDeserializer::<Error>::into_deserializer(text.as_str())),
            Kind::Map(entries) if matches!(&entries[..], [Entry { key, .. }] if words.contains(&key.as_str())) => {
                visitor.visit_enum(MapAccessDeserializer::new(Entries { entries: entries.iter(), value: None }))
            }
            Kind::List(_) | Kind::Map(_) | Kind::Hole => Err(Error::new(format!("expected one word of {}", words.join(", ")))),
        }
    }

    /// A list of a struct's values, which serde would take, is not a manifest's way.
    fn deserialize_struct<V: Visitor<'de>>(self, _: &'static str, _: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        match &self.kind {
            Kind::List(_) => Err(de::Error::invalid_type(Unexpected::Seq, &visitor)),
            Kind::Scalar { .. } | Kind::Map(_) | Kind::Hole => self.deserialize_any(visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct seq tuple tuple_struct
        map identifier ignored_any
    }
}

/// Says nothing of a missing field that is a hole.
fn excuse(mut error: Error, entries: &[Entry]) -> Error {
    let reported = |field| entries.iter().any(|entry| entry.key == field && entry.value.kind == Kind::Hole);
    if error.steps.is_empty() && error.missing.take().is_some_and(reported) {
        error.message = None;
    }
    error
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// A scalar by YAML's core schema.
fn scalar<'de, V: Visitor<'de>>(text: &'de str, plain: bool, visitor: V) -> Result<V::Value, Error> {
    if !plain {
        return visitor.visit_borrowed_str(text);
    }
    match text {
        _ if is_null(text) => return visitor.visit_unit(),
        "true" | "True" | "TRUE" => return visitor.visit_bool(true),
        "false" | "False" | "FALSE" => return visitor.visit_bool(false),
        _ => {}
    }
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    let is_number = unsigned.strip_prefix('-').unwrap_or(unsigned).starts_with(|c: char| c.is_ascii_digit() || c == '.');
    let radix = |prefix, radix| text.strip_prefix(prefix).and_then(|digits| u64::from_str_radix(digits, radix).ok());
    if let Some(number) = radix("0x", 16).or_else(|| radix("0o", 8)) {
        return visitor.visit_u64(number);
    }
    if is_number && let Ok(number) = unsigned.parse::<u64>() {
        return visitor.visit_u64(number);
    }
    if is_number && let Ok(number) = unsigned.parse::<i64>() {
        return visitor.visit_i64(number);
    }
    match unsigned.parse::<f64>() {
        Ok(number) if is_number && number.is_finite() => visitor.visit_f64(number),
        _ => visitor.visit_borrowed_str(text),
    }
}

struct Items<'de>(std::iter::Enumerate<std::slice::Iter<'de, Node>>);

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        match self.0.by_ref().find(|(_, item)| item.kind != Kind::Hole) {
            Some((index, item)) => seed.deserialize(item).map(Some).map_err(|error| error.within(Step::Index(index))),
            None => Ok(None),
        }
    }
}

struct Entries<'de> {
    entries: std::slice::Iter<'de, Entry>,
    value: Option<&'de Entry>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        self.value = self.entries.by_ref().find(|entry| entry.value.kind != Kind::Hole);
        let Some(entry) = self.value else { return Ok(None) };
        let key: StrDeserializer<'_, Error> = entry.key.as_str().into_deserializer();
        seed.deserialize(key)
            .map(Some)
            .map_err(|error| Error { place: Some(entry.place.clone()), ..error }.within(Step::Key(entry.key.clone())))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let entry = self.value.take().ok_or_else(|| Error::new("a value without a key".to_owned()))?;
        seed.deserialize(&entry.value).map_err(|error| error.within(Step::Key(entry.key.clone())))
    }
}
