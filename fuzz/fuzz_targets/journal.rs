//! Records of the store: see `tests/fuzzing/journal.rs`. Every other input is changed as the message that it is.
#![no_main]

#[path = "../../tests/fuzzing/mod.rs"]
mod fuzzing;
#[path = "../../tests/fuzzing/mutation.rs"]
mod mutation;

libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    if seed.is_multiple_of(2) {
        mutation::change_in_place("journal", data, size, seed)
    } else {
        libfuzzer_sys::fuzzer_mutate(data, size, max_size)
    }
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    fuzzing::journal::run(data);
});
