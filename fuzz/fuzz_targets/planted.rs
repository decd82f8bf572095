//! A bug that the fuzzer must find: see `tests/fuzzing/planted.rs`. Every other input is changed as the message that it is.
#![no_main]

#[path = "../../tests/fuzzing/mod.rs"]
mod fuzzing;
#[path = "../../tests/fuzzing/mutation.rs"]
mod mutation;

libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    if seed.is_multiple_of(2) {
        mutation::change_in_place("planted", data, size, seed)
    } else {
        libfuzzer_sys::fuzzer_mutate(data, size, max_size)
    }
});

// Only valid sessions are kept: the search is for what comes after that.
libfuzzer_sys::fuzz_target!(|data: &[u8]| -> libfuzzer_sys::Corpus {
    match fuzzing::planted::run(data) {
        fuzzing::Verdict::Used => libfuzzer_sys::Corpus::Keep,
        fuzzing::Verdict::Refused => libfuzzer_sys::Corpus::Reject,
    }
});
