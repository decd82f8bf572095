//! A bug that the fuzzer must find: see `tests/fuzzing/planted.rs`.
#![no_main]

#[path = "../../tests/fuzzing/mod.rs"]
mod fuzzing;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    fuzzing::planted::run(data);
});
