//! Reads what a command is given in a file.
//!
//! Decides how large a file may be, and that a file which cannot be read is the caller's mistake.

use super::failure::Failure;
use crate::wire::json::from_json;
use prost::{Message, Name};
use std::io::Read;
use std::path::Path;

/// Largest file read whole, in bytes: a site of 10 000 EVSEs is about 5 MiB.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// The text of a file; `-` is standard input.
pub fn text(path: &Path) -> Result<String, Failure> {
    text_up_to(path, MAX_FILE_BYTES)
}

/// The same for a file of at most `most` bytes.
pub fn text_up_to(path: &Path, most: u64) -> Result<String, Failure> {
    let wrong = |why: &dyn std::fmt::Display| Failure::BadInput(format!("{}: {why}", path.display()));
    let mut bytes = Vec::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().lock().take(most + 1).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(most + 1).read_to_end(&mut bytes))
    };
    read.map_err(|error| wrong(&error))?;
    if bytes.len() as u64 > most {
        return Err(wrong(&format_args!("is larger than {most} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| wrong(&"is not UTF-8"))
}

/// A message in proto3 JSON.
pub fn message<M: Message + Name + Default>(path: &Path) -> Result<M, Failure> {
    from_json(&text(path)?).map_err(|error| Failure::BadInput(format!("{}: {error}", path.display())))
}
