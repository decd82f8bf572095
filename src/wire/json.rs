//! Messages as proto3 JSON, with the field names of the protos.
//!
//! Decides how a message is printed and read for people and files: 64-bit integers are plain numbers, fields that are not set are
//! left out, an `optional` field that is set to zero is not. Knows no message by name: descriptors do.

use super::DESCRIPTORS;
use prost::{Message, Name};
use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor, SerializeOptions};
use std::sync::LazyLock;

static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(DESCRIPTORS).expect("the build made the descriptors"));

/// How JSON is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// On one line.
    Line,
    /// Indented.
    Pretty,
}

/// Why a message could not be read from JSON, or not be written as JSON.
#[derive(Debug, thiserror::Error)]
#[error("{message} in JSON: {why}")]
pub struct JsonError {
    message: String,
    /// With line and column where a text was read.
    why: serde_json::Error,
}

impl JsonError {
    fn of<M: Name>(why: serde_json::Error) -> Self {
        Self {
            message: M::full_name(),
            why,
        }
    }
}

/// Fails only where a message holds what JSON cannot say: a time outside the years 1 to 9999.
pub fn to_json<M: Message + Name>(message: &M, layout: Layout) -> Result<String, JsonError> {
    let mut dynamic = DynamicMessage::new(descriptor::<M>());
    dynamic
        .transcode_from(message)
        .expect("a message has the fields of its descriptor");
    let options = SerializeOptions::new()
        .stringify_64_bit_integers(false)
        .use_proto_field_name(true);
    let mut bytes = Vec::new();
    let written = match layout {
        Layout::Line => dynamic.serialize_with_options(&mut serde_json::Serializer::new(&mut bytes), &options),
        Layout::Pretty => dynamic.serialize_with_options(&mut serde_json::Serializer::pretty(&mut bytes), &options),
    };
    written.map_err(JsonError::of::<M>)?;
    Ok(String::from_utf8(bytes).expect("JSON is UTF-8"))
}

/// Reads one message; an unknown field is an error.
pub fn from_json<M: Message + Name + Default>(text: &str) -> Result<M, JsonError> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let options = DeserializeOptions::new();
    let dynamic = DynamicMessage::deserialize_with_options(descriptor::<M>(), &mut deserializer, &options)
        .map_err(JsonError::of::<M>)?;
    deserializer.end().map_err(JsonError::of::<M>)?;
    let message = dynamic.transcode_to();
    Ok(message.expect("a message has the fields of its descriptor"))
}

fn descriptor<M: Name>() -> MessageDescriptor {
    POOL.get_message_by_name(&M::full_name())
        .expect("the descriptors hold every message")
}
