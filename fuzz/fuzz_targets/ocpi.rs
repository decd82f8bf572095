//! OCPI objects in JSON: see `tests/fuzzing/ocpi.rs`.
#![no_main]

#[path = "../../tests/fuzzing/mod.rs"]
mod fuzzing;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    fuzzing::ocpi::run(data);
});
