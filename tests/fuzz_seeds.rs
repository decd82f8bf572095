//! The fuzz targets without a fuzzer: every committed seed, every input that was once found to break something, and some thousand
//! inputs made of them.
//!
//! The seeds are made by our own encoders from our own examples (`fuzzing/seeds.rs`), and again by
//! `LADDPLAN_WRITE_SEEDS=1 cargo test --test fuzz_seeds`; those named `found-…` were found by the fuzzer, and stay.

mod fuzzing;
#[path = "fuzzing/mutation.rs"]
mod mutation;
#[path = "fuzzing/seeds.rs"]
mod seeds;

use fuzzing::{TARGETS, Target, Verdict, planted};
use mutation::{Dice, mutated};
use seeds::examples;
use std::path::PathBuf;

/// Inputs made of the seeds of one target, in a normal run.
const MUTATIONS: usize = 3_000;
/// A script of a gateway takes about as long as twenty other inputs.
const GATEWAY_MUTATIONS: usize = 300;
/// As `-max_len` in `.ci/fuzz`.
const MAX_SEED_BYTES: usize = 4_096;
const MAX_SEEDS: usize = 60;

fn folder(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/seeds")
        .join(target)
}

/// By name.
fn committed(target: &str) -> Vec<(String, Vec<u8>)> {
    let files = std::fs::read_dir(folder(target)).expect("each target has seeds");
    let mut seeds: Vec<(String, Vec<u8>)> = files
        .map(|file| {
            let path = file.expect("a folder can be read").path();
            let name = path
                .file_name()
                .expect("a file has a name")
                .to_string_lossy()
                .into_owned();
            (name, std::fs::read(path).expect("a seed can be read"))
        })
        .collect();
    seeds.sort();
    seeds
}

/// What became of an input, or how to find what it broke.
fn run(target: &Target, name: &str, input: &[u8]) -> Result<Verdict, String> {
    let result = std::panic::catch_unwind(|| (target.run)(input));
    result.map_err(|_| format!("{} breaks on {name}: {}", target.name, input.escape_ascii()))
}

#[test]
fn our_own_examples_are_accepted() {
    let names = TARGETS.iter().map(|target| target.name).chain(["planted"]);
    for name in names {
        let target = TARGETS.iter().find(|target| target.name == name);
        for example in examples(name) {
            if std::env::var_os("LADDPLAN_WRITE_SEEDS").is_some() {
                std::fs::create_dir_all(folder(name)).expect("a folder can be made");
                std::fs::write(folder(name).join(&example.name), &example.input).expect("a seed can be written");
            }
            if let Some(target) = target {
                let verdict = run(target, &example.name, &example.input).unwrap_or_else(|broken| panic!("{broken}"));
                assert!(
                    example.expected.is_none_or(|expected| expected == verdict),
                    "{name}/{}",
                    example.name
                );
            }
        }
    }
}

#[test]
fn no_committed_seed_breaks_its_target() {
    let mut broken = Vec::new();
    for target in TARGETS {
        let seeds = committed(target.name);
        assert!(
            (1..=MAX_SEEDS).contains(&seeds.len()),
            "{}: {} seeds",
            target.name,
            seeds.len()
        );
        let mut used = 0;
        for (name, input) in &seeds {
            assert!(
                input.len() <= MAX_SEED_BYTES,
                "{}/{name} is {} bytes",
                target.name,
                input.len()
            );
            match run(target, name, input) {
                Ok(verdict) => used += usize::from(verdict == Verdict::Used),
                Err(why) => broken.push(why),
            }
        }
        assert!(
            used * 3 >= seeds.len() || !broken.is_empty(),
            "{}: only {used} of {} are accepted",
            target.name,
            seeds.len()
        );
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn no_input_made_of_the_seeds_breaks_its_target() {
    for target in TARGETS {
        let seeds: Vec<Vec<u8>> = committed(target.name).into_iter().map(|(_, input)| input).collect();
        let mut dice = Dice::new(1);
        let count = if target.name == "gateway" {
            GATEWAY_MUTATIONS
        } else {
            MUTATIONS
        };
        let mut used = 0;
        for number in 0..count {
            let input = mutated(target.name, &seeds, &mut dice);
            let verdict = run(target, &format!("mutation {number}"), &input);
            used += usize::from(verdict.unwrap_or_else(|broken| panic!("{broken}")) == Verdict::Used);
        }
        println!("{}: {used} of {count} inputs were accepted", target.name);
        assert!(
            used * 50 >= count,
            "{}: only {used} of {count} inputs get anywhere",
            target.name
        );
    }
}

/// Else it would show nothing that the fuzzer finds it.
#[test]
fn the_planted_bug_is_not_found_without_guidance() {
    let seeds: Vec<Vec<u8>> = committed("planted").into_iter().map(|(_, input)| input).collect();
    let mut dice = Dice::new(1);
    let furthest = (0..20_000).map(|_| planted::steps(&mutated("planted", &seeds, &mut dice)));
    let furthest = furthest.max().flatten();
    println!("{furthest:?} of {} steps", planted::STEPS);
    assert!(furthest.is_some(), "some inputs are valid sessions");
    assert!(furthest < Some(planted::STEPS));
}
