//! JSON as it stands in the text: fields in their order, repeated names kept, numbers with their own digits.
//!
//! Decides nothing. serde_json judges the syntax and the nesting; its own value type would lose what a strict check needs.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// A JSON value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Json {
    Null,
    Bool(bool),
    /// The digits as written.
    Number(String),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Reads a whole document.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        let mut document: Self = serde_json::from_str(text)?;
        document.fill_numbers(&mut number_literals(text));
        Ok(document)
    }

    /// The first value of a field; `None` too where this is no object.
    pub fn field(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(fields) => fields.iter().find(|(field, _)| field == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// Values are read in the order of the text, and so are the literals.
    fn fill_numbers<'a>(&mut self, literals: &mut impl Iterator<Item = &'a str>) {
        match self {
            Self::Number(digits) => {
                *digits = literals
                    .next()
                    .expect("every number has its literal in the text")
                    .to_owned();
            }
            Self::List(items) => items.iter_mut().for_each(|item| item.fill_numbers(literals)),
            Self::Object(fields) => fields.iter_mut().for_each(|(_, value)| value.fill_numbers(literals)),
            Self::Null | Self::Bool(_) | Self::Text(_) => {}
        }
    }
}

impl fmt::Display for Json {
    /// For messages: short values as they are, long ones by their kind.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => value.fmt(f),
            Self::Number(digits) => f.write_str(digits),
            Self::Text(text) => write!(f, "the text {text}"),
            Self::List(items) => write!(f, "a list of {}", items.len()),
            Self::Object(_) => f.write_str("an object"),
        }
    }
}

/// The number literals of a valid JSON text, in order.
fn number_literals(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            let begin = rest.find(['"', '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9'])?;
            let found = &rest[begin..];
            if let Some(after_quote) = found.strip_prefix('"') {
                rest = after_string(after_quote);
            } else {
                let is_part = |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E');
                let (literal, after) = found.split_at(found.find(|c| !is_part(c)).unwrap_or(found.len()));
                rest = after;
                return Some(literal);
            }
        }
    })
}

/// What follows a string whose opening quote was just read.
fn after_string(text: &str) -> &str {
    let mut escaped = false;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return &text[index + 1..],
            _ => {}
        }
    }
    ""
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Json, E> {
        Ok(Json::Number(String::new()))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Json, E> {
        Ok(Json::Number(String::new()))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Json, E> {
        Ok(Json::Number(String::new()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Json::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Json, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = object.next_entry()? {
            fields.push(field);
        }
        Ok(Json::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn number(digits: &str) -> Json {
        Json::Number(digits.to_owned())
    }

    #[test]
    fn repeated_names_their_order_and_the_digits_of_numbers_are_kept() {
        let text = r#"{"b": 16.10, "a": [-0, 1E2, "3 \" 4 \\"], "5": true, "b": 16.100000000000001}"#;
        assert_eq!(
            Json::parse(text).unwrap(),
            Json::Object(vec![
                ("b".to_owned(), number("16.10")),
                (
                    "a".to_owned(),
                    Json::List(vec![number("-0"), number("1E2"), Json::Text("3 \" 4 \\".to_owned())])
                ),
                ("5".to_owned(), Json::Bool(true)),
                ("b".to_owned(), number("16.100000000000001")),
            ])
        );
    }

    #[test]
    fn deep_nesting_is_refused_and_not_followed() {
        assert!(Json::parse(&"[".repeat(100_000)).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in r#"[\[\]{}":,0-9eE+.\\a -]{0,40}"#) {
            let by_serde = serde_json::from_str::<serde_json::Value>(&text).is_ok();
            prop_assert_eq!(Json::parse(&text).is_ok(), by_serde);
        }
    }
}
