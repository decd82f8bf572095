//! The architecture, held by a test: who may import what, what may stand where, and what may not stand anywhere.
//!
//! Reads the sources as text. A `use crate::` line is enough to see a layering mistake, and this sees it for the reviewer. Each
//! rule is tried on a planted violation below, so that none of them sleeps.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Longest file of code that ships, in lines.
const MAX_LINES: usize = 800;
/// `main` reads like a sentence.
const MAX_MAIN_LINES: usize = 80;

/// What a module of this crate may import of the others. Its own items are always allowed; the longest matching row counts.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("units", &[]),
    ("domain", &["units"]),
    ("calendar", &["domain", "units"]),
    ("solver", &[]),
    ("planner", &["domain", "units", "solver"]),
    ("verify", &["domain", "units"]),
    ("rollout", &["domain", "units"]),
    (
        "engine",
        &["units", "domain", "calendar", "planner", "verify", "rollout"],
    ),
    (
        "wire",
        &[
            "units",
            "domain",
            "engine::view",
            "engine::Refusal",
            "engine::ports::OutgoingCommand",
        ],
    ),
    ("ocpi", &["units", "domain"]),
    (
        "store",
        &[
            "units",
            "domain",
            "engine::ports",
            "access::register",
            "drivers::register",
            "register",
            "wire",
        ],
    ),
    ("register", &[]),
    ("access", &["units", "domain", "register"]),
    ("drivers", &["units", "domain", "register", "engine"]),
    ("tls", &["units", "domain", "engine::ports"]),
    (
        "api",
        &[
            "units", "domain", "engine", "register", "access", "drivers", "wire", "tls",
        ],
    ),
    ("dispatch", &["units", "domain", "engine", "access", "wire", "ocpi"]),
    ("metrics", &["units", "domain", "engine", "dispatch"]),
    (
        "simulate",
        &[
            "units",
            "domain",
            "calendar",
            "planner",
            "verify",
            "rollout",
            "engine::ports",
        ],
    ),
    // Plays a day through the service as it is.
    (
        "simulate::demo",
        &[
            "units", "domain", "calendar", "engine", "access", "wire", "store", "app", "config",
        ],
    ),
    ("config", &["domain", "tls::TrustDomain"]),
    ("telemetry", &["config"]),
    (
        "app",
        &[
            "units",
            "domain",
            "engine",
            "access",
            "drivers",
            "wire",
            "store",
            "tls",
            "api",
            "dispatch",
            "metrics",
            "config",
            "telemetry",
        ],
    ),
    (
        "cli",
        &[
            "units",
            "domain",
            "engine",
            "access",
            "wire",
            "ocpi",
            "store",
            "simulate",
            "config",
            "telemetry",
            "app",
        ],
    ),
    ("main", &["cli"]),
    ("lib", &[]),
];

/// The crates that a pure module may use. Modules without a row may use any.
const MAY_USE_CRATES: &[(&str, &[&str])] = &[
    ("units", &[]),
    ("domain", &["chrono_tz"]),
    ("calendar", &["chrono", "chrono_tz"]),
    ("solver", &[]),
    ("solver::phases", &["fearless_simd"]),
    ("planner", &[]),
    ("planner::relax::lp", &["good_lp"]),
    ("verify", &[]),
    ("rollout", &["thiserror"]),
    (
        "engine",
        &["async_trait", "thiserror", "tokio", "tokio_stream", "tracing", "uuid"],
    ),
    ("ocpi", &["chrono", "serde", "serde_json", "thiserror"]),
    ("config", &["toml", "tracing_subscriber"]),
];

/// Where numbers decide, they are integers.
const WITHOUT_FLOATS: &[&str] = &["units", "domain", "verify", "rollout", "calendar", "engine"];
/// Functions that may hand a float to a search, by file.
const FLOATS_FOR_SEARCHING: &[(&str, &str)] = &[("src/domain/conversion.rs", "fn as_f64")];

/// The clock, and stopwatches that decide nothing.
const MAY_READ_A_CLOCK: &[&str] = &[
    "src/app.rs",
    "src/engine/clock.rs",
    "src/engine/site_task.rs",
    "src/engine/stopwatch.rs",
    "src/simulate/demo/",
];
const CLOCKS: &[&str] = &["SystemTime", "Instant::now", "Utc::now", "Local::now", "time::Instant"];

/// Written in two halves, so that this file does not hold what it looks for.
const LEFTOVERS: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("X", "XX"),
    concat!("HA", "CK:"),
    concat!("MER", "GE:"),
    concat!("to", "do!("),
    concat!("unimple", "mented!("),
    concat!("db", "g!("),
];
const NEVER_IN_TESTS: &[&str] = &[concat!("#[ig", "nore"), concat!("#[should", "_panic"), SLEEP];
const SLEEP: &str = concat!("thread::", "sleep");
/// Other processes are killed there at random times, and say to nobody when they have let go of a file.
const MAY_SLEEP: &str = "tests/store_crash/";

/// A file of the project.
struct Source<'a> {
    /// From the project's root, with `/`.
    path: &'a str,
    text: &'a str,
}

impl Source<'_> {
    /// `planner::lp` for `src/planner/relax/lp.rs`; nothing outside `src`.
    fn module(&self) -> Option<Vec<&str>> {
        let inside = self.path.strip_prefix("src/")?.strip_suffix(".rs")?;
        let mut parts: Vec<&str> = inside.split('/').collect();
        parts.pop_if(|last| *last == "mod");
        Some(parts)
    }

    /// Files that only tests compile.
    fn is_test(&self) -> bool {
        self.path.starts_with("tests/")
            || self.path.ends_with("/tests.rs")
            || self.path.contains("/tests/")
            || self.path.ends_with("/samples.rs")
            || self.path.ends_with("/testing.rs")
            || self.path.ends_with("/conformance.rs")
    }

    /// The code that ships: without comments, without the contents of strings, without the tests at the end.
    fn shipped(&self) -> String {
        if self.is_test() {
            return String::new();
        }
        let code = code_only(self.text);
        let is_inline_module = |after: &str| {
            let line = after.lines().nth(1).unwrap_or("");
            line.contains("mod ") && line.ends_with('{')
        };
        let mut gates = code.match_indices("#[cfg(test)]\n");
        match gates.find(|(at, _)| is_inline_module(&code[*at..])) {
            Some((tests, _)) => code[..tests].to_owned(),
            None => code,
        }
    }
}

type Rule = fn(&Source<'_>) -> Vec<String>;

const RULES: &[Rule] = &[imports, crates, floats, clocks, panics, header, leftovers, length];

fn violations(source: &Source<'_>) -> Vec<String> {
    RULES
        .iter()
        .flat_map(|rule| rule(source))
        .map(|violation| format!("{}: {violation}", source.path))
        .collect()
}

/// The row for a module: the one with the longest name that the module's name begins with.
fn row<'a>(table: &'a [(&str, &'a [&'a str])], module: &[&str]) -> Option<&'a [&'a str]> {
    let begins = |name: &str| begins_with(module, name);
    let rows = table.iter().filter(|(name, _)| begins(name));
    rows.max_by_key(|(name, _)| name.len()).map(|(_, allowed)| *allowed)
}

fn begins_with(path: &[&str], name: &str) -> bool {
    let name: Vec<&str> = name.split("::").collect();
    path.len() >= name.len() && path[..name.len()] == name[..]
}

fn imports(source: &Source<'_>) -> Vec<String> {
    let Some(module) = source.module() else {
        return Vec::new();
    };
    let Some(allowed) = row(MAY_IMPORT, &module) else {
        return vec![format!(
            "the module {} has no row in the import table",
            module.join("::")
        )];
    };
    let mut found = Vec::new();
    for path in crate_paths(&source.shipped(), module.len()) {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let own = path.first() == module.first();
        let is_demo_from_outside =
            own && begins_with(&path, "simulate::demo") && !begins_with(&module, "simulate::demo");
        if is_demo_from_outside || !own && !allowed.iter().any(|name| begins_with(&path, name)) {
            found.push(format!("{} may not import {}", module.join("::"), path.join("::")));
        }
    }
    found
}

/// Every path into the crate that the code names, from its root: `crate::a::b`, groups spread out, and as many `super::` as lead
/// there from a module `depth` deep.
fn crate_paths(code: &str, depth: usize) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        if !continues_a_name(code, at) {
            spread(&code[at + "crate::".len()..], &mut Vec::new(), &mut paths);
        }
    }
    let to_the_root = "super::".repeat(depth);
    for (at, _) in code.match_indices(&to_the_root) {
        let after = &code[at + to_the_root.len()..];
        if !continues_a_name(code, at) && !code[..at].ends_with("super::") {
            spread(after, &mut Vec::new(), &mut paths);
        }
    }
    // What is not a module of the table is an item of the root, such as a macro.
    paths.retain(|path| {
        path.first()
            .is_some_and(|first| MAY_IMPORT.iter().any(|(name, _)| name == first))
    });
    paths
}

/// True where the text before `at` belongs to the same word: `$crate::` and `my_crate::` are not meant.
fn continues_a_name(code: &str, at: usize) -> bool {
    let before = code[..at].chars().next_back();
    before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$')
}

/// Reads one use-tree; returns what follows it.
fn spread<'a>(tree: &'a str, prefix: &mut Vec<String>, paths: &mut Vec<Vec<String>>) -> &'a str {
    let tree = tree.trim_start();
    if let Some(mut inside) = tree.strip_prefix('{') {
        loop {
            inside = spread(inside, prefix, paths).trim_start();
            match inside.strip_prefix(',') {
                Some(next) if !next.trim_start().starts_with('}') => inside = next,
                Some(end) => return end.trim_start().strip_prefix('}').unwrap_or(end),
                None => return inside.strip_prefix('}').unwrap_or(""),
            }
        }
    }
    let end = tree
        .find(|c: char| !(c.is_alphanumeric() || c == '_'))
        .unwrap_or(tree.len());
    let (name, after) = tree.split_at(end);
    if name.is_empty() {
        // A glob imports its prefix.
        paths.push(prefix.clone());
        return after.strip_prefix('*').unwrap_or(after);
    }
    prefix.push(name.to_owned());
    let rest = match after.strip_prefix("::") {
        Some(inner) => spread(inner, prefix, paths),
        None => {
            paths.push(prefix.clone());
            // `as` gives another name to the same thing.
            let renamed = after.trim_start().strip_prefix("as ");
            renamed.map_or(after, |name| {
                name.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_')
            })
        }
    };
    prefix.pop();
    rest
}

fn crates(source: &Source<'_>) -> Vec<String> {
    let Some(module) = source.module() else {
        return Vec::new();
    };
    let Some(allowed) = row(MAY_USE_CRATES, &module) else {
        return Vec::new();
    };
    let code = source.shipped();
    dependencies()
        .into_iter()
        .filter(|dependency| !allowed.contains(&dependency.as_str()) && names_crate(&code, dependency))
        .map(|dependency| format!("{} may not use the crate {dependency}", module.join("::")))
        .collect()
}

fn names_crate(code: &str, dependency: &str) -> bool {
    code.match_indices(dependency).any(|(at, _)| {
        let before = &code[..at];
        let is_path = code[at + dependency.len()..].starts_with("::");
        is_path && !continues_a_name(code, at) && (before.ends_with("use ::") || !before.ends_with("::"))
    })
}

/// The names of all dependencies, as code writes them.
fn dependencies() -> BTreeSet<String> {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let tables = ["dependencies", "dev-dependencies", "build-dependencies"];
    tables
        .iter()
        .flat_map(|table| manifest[*table].as_table().unwrap().keys())
        .map(|name| name.replace('-', "_"))
        .collect()
}

fn floats(source: &Source<'_>) -> Vec<String> {
    let Some(module) = source.module() else {
        return Vec::new();
    };
    if !WITHOUT_FLOATS.iter().any(|name| begins_with(&module, name)) {
        return Vec::new();
    }
    let mut code = source.shipped();
    for (path, function) in FLOATS_FOR_SEARCHING {
        if source.path == *path
            && let Some(begin) = code.find(function)
        {
            let end = code[begin..].find("\n    }").map_or(code.len(), |end| begin + end);
            code.replace_range(begin..end, "");
        }
    }
    code.lines()
        .filter(|line| words(line).any(|word| word == "f32" || word == "f64") || has_float_literal(line))
        .map(|line| format!("a float where integers decide: {}", line.trim()))
        .collect()
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .flat_map(|word| word.rsplit('_'))
}

/// `1.5`, but not the `0.1` of `pair.0.1` and not the range `1..5`.
fn has_float_literal(line: &str) -> bool {
    let bytes = line.as_bytes();
    (1..bytes.len().saturating_sub(1)).any(|dot| {
        if bytes[dot] != b'.' || !bytes[dot + 1].is_ascii_digit() {
            return false;
        }
        let number = line[..dot].trim_end_matches(|c: char| c.is_ascii_digit() || c == '_');
        number.len() < dot && !number.ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '.'))
    })
}

fn clocks(source: &Source<'_>) -> Vec<String> {
    if source.module().is_none() || MAY_READ_A_CLOCK.iter().any(|path| source.path.starts_with(path)) {
        return Vec::new();
    }
    let code = source.shipped();
    let found = CLOCKS.iter().filter(|clock| code.contains(*clock));
    found
        .map(|clock| format!("reads a clock of its own: {clock}"))
        .collect()
}

fn panics(source: &Source<'_>) -> Vec<String> {
    if source.module().is_none() {
        return Vec::new();
    }
    let code = source.shipped();
    let banned = [".unwrap()", "unsafe "].into_iter();
    banned
        .filter(|banned| code.contains(banned))
        .map(|banned| format!("{} is not for code that ships", banned.trim()))
        .collect()
}

fn header(source: &Source<'_>) -> Vec<String> {
    if source.text.starts_with("//! ") {
        return Vec::new();
    }
    vec!["does not open with what it decides (//!)".to_owned()]
}

fn leftovers(source: &Source<'_>) -> Vec<String> {
    let in_tests = if source.module().is_none() { NEVER_IN_TESTS } else { &[] };
    let in_tests = in_tests
        .iter()
        .filter(|banned| **banned != SLEEP || !source.path.starts_with(MAY_SLEEP));
    LEFTOVERS
        .iter()
        .chain(in_tests)
        .filter(|leftover| source.text.contains(*leftover))
        .map(|leftover| format!("a leftover: {leftover}"))
        .collect()
}

fn length(source: &Source<'_>) -> Vec<String> {
    let most = match source.path {
        "src/main.rs" => MAX_MAIN_LINES,
        _ if source.is_test() => return Vec::new(),
        _ => MAX_LINES,
    };
    let lines = source.text.lines().count();
    if lines <= most {
        return Vec::new();
    }
    vec![format!("{lines} lines, more than {most}: two subjects?")]
}

/// The text without comments, and with empty strings.
fn code_only(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if rest.starts_with("r\"") || rest.starts_with("r#") {
            raw_string_length(rest)
        } else if c == '"' {
            quoted_length(rest, '"')
        } else if c == '\'' && is_char_literal(rest) {
            quoted_length(rest, '\'')
        } else {
            0
        };
        let taken = if skipped == 0 { c.len_utf8() } else { skipped };
        code.push_str(if skipped == 0 { &rest[..taken] } else { " " });
        rest = &rest[taken..];
    }
    code
}

/// Length of `"…"` or `'…'` with its quotes.
fn quoted_length(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (index, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return index + 1,
            _ => {}
        }
    }
    text.len()
}

/// Length of `r#"…"#`, or 0 if it is a raw name such as `r#type`.
fn raw_string_length(text: &str) -> usize {
    let hashes = text[1..].bytes().take_while(|byte| *byte == b'#').count();
    if !text[1 + hashes..].starts_with('"') {
        return 0;
    }
    let close = format!("\"{}", "#".repeat(hashes));
    let begin = 2 + hashes;
    text[begin..]
        .find(&close)
        .map_or(text.len(), |end| begin + end + close.len())
}

/// Tells `'a'` and `'\n'` from the lifetime `'a`.
fn is_char_literal(text: &str) -> bool {
    let mut chars = text.chars().skip(1);
    matches!((chars.next(), chars.next()), (Some('\\'), _) | (Some(_), Some('\'')))
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn the_project_is_tidy() {
    let mut files = vec![root().join("build.rs")];
    for folder in ["src", "tests", "benches", "examples", "fuzz/fuzz_targets"] {
        rust_files(&root().join(folder), &mut files);
    }
    assert!(files.len() > 30, "the sources were found");
    files.sort();
    let found: Vec<String> = files
        .iter()
        .flat_map(|file| {
            let text = std::fs::read_to_string(file).unwrap();
            let path = file.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
            violations(&Source {
                path: &path,
                text: &text,
            })
        })
        .collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

/// What the rules say of a file that holds `body` below a proper header.
fn planted(path: &str, body: &str) -> Vec<String> {
    let text = format!("//! Decides nothing.\n\n{body}\n");
    violations(&Source { path, text: &text })
}

fn assert_caught(path: &str, body: &str, complaint: &str) {
    let found = planted(path, body);
    assert!(
        found.len() == 1 && found[0].contains(complaint),
        "{path} with {body:?} gives {found:?}, not {complaint:?}"
    );
}

fn assert_fine(path: &str, body: &str) {
    assert_eq!(planted(path, body), Vec::<String>::new(), "{path} with {body:?}");
}

#[test]
fn an_import_against_the_table_is_caught_in_every_notation() {
    for (path, body, complaint) in [
        (
            "src/planner/repair.rs",
            "use crate::verify::check;",
            "planner::repair may not import verify::check",
        ),
        (
            "src/verify.rs",
            "use crate::{units, planner};",
            "verify may not import planner",
        ),
        (
            "src/rollout/mod.rs",
            "fn f() { crate::planner::plan(); }",
            "rollout may not import planner::plan",
        ),
        (
            "src/api/site.rs",
            "use crate::{domain::{ids, rejection as r}, store::{self}};",
            "may not import store",
        ),
        (
            "src/dispatch/mod.rs",
            "use crate::api::*;",
            "dispatch may not import api",
        ),
        (
            "src/ocpi/check/mod.rs",
            "use super::super::wire::proto;",
            "may not import wire::proto",
        ),
        (
            "src/domain/site.rs",
            "use super::super::engine::view;",
            "domain::site may not import engine::view",
        ),
        ("src/verify.rs", "use super::planner;", "verify may not import planner"),
        (
            "src/store/mod.rs",
            "use crate::engine::ports::Store;\nuse crate::engine::Engine;",
            "store may not import engine::Engine",
        ),
        (
            "src/simulate/car.rs",
            "use crate::app::run;",
            "simulate::car may not import app::run",
        ),
        (
            "src/simulate/car.rs",
            "use crate::simulate::demo::run;",
            "simulate::car may not import simulate::demo::run",
        ),
        (
            "src/units.rs",
            "pub use crate::domain::ids;",
            "units may not import domain::ids",
        ),
        (
            "src/verify.rs",
            "#[cfg(test)]\nmod tests;\nuse crate::planner;",
            "verify may not import planner",
        ),
        ("src/new/mod.rs", "", "the module new has no row"),
    ] {
        assert_caught(path, body, complaint);
    }
}

#[test]
fn imports_by_the_table_are_fine() {
    assert_fine(
        "src/planner/mod.rs",
        "use crate::domain::{ids::SiteId, snapshot};\nuse crate::units::{Instant, Watts};",
    );
    assert_fine(
        "src/dispatch/push.rs",
        "use crate::{engine::ports::{Gateway, Store as _}, ocpi};",
    );
    assert_fine(
        "src/simulate/demo/mod.rs",
        "use crate::app;\nuse crate::simulate::car::Car;",
    );
    assert_fine(
        "src/planner/relax/lp.rs",
        "use super::problem::Problem; // not crate::verify\nfn f(x: &'static str) { g(\"crate::verify\", 'x'); }",
    );
    assert_fine("src/verify.rs", "#[cfg(test)]\nmod tests {\n    use crate::planner;\n}");
    assert_fine(
        "src/verify.rs",
        "#[cfg(test)]\npub(crate) mod tests {\n    use crate::planner;\n}",
    );
    assert_fine("src/planner/tests.rs", "use crate::verify;");
    assert_fine("src/units.rs", "macro_rules! m { () => { $crate::domain::x } }");
}

#[test]
fn a_crate_in_the_wrong_place_is_caught() {
    assert_caught(
        "src/planner/greedy.rs",
        "use good_lp::Expression;",
        "planner::greedy may not use the crate good_lp",
    );
    assert_caught(
        "src/domain/site.rs",
        "#[derive(serde::Serialize)] struct S;",
        "domain::site may not use the crate serde",
    );
    assert_caught(
        "src/rollout/mod.rs",
        "async fn f() { tokio::spawn(g()); }",
        "rollout may not use the crate tokio",
    );
    assert_caught(
        "src/engine/mod.rs",
        "use prost::Message;",
        "engine may not use the crate prost",
    );
    assert_caught(
        "src/verify.rs",
        "use ::tracing::info;",
        "verify may not use the crate tracing",
    );
    assert_fine("src/planner/relax/lp.rs", "use good_lp::Expression;");
    assert_fine("src/planner/mod.rs", "use crate::domain::serde::x;");
}

#[test]
fn a_float_where_integers_decide_is_caught() {
    assert_caught("src/verify.rs", "fn f(x: f64) {}", "a float");
    assert_caught("src/rollout/ledger.rs", "let x = 3 as f32;", "a float");
    assert_caught("src/units.rs", "let x = 1_000.5;", "a float");
    assert_caught("src/units.rs", "let x = 1_f64;", "a float");
    assert_caught(
        "src/domain/conversion.rs",
        "    pub fn as_f64(self) -> f64 {\n        1.0\n    }\n    fn g() { 2.0 }",
        "a float",
    );
    assert_fine(
        "src/domain/conversion.rs",
        "    pub fn as_f64(self) -> f64 {\n        self.n as f64 / 10.0\n    }",
    );
    assert_fine(
        "src/verify.rs",
        "let x = pair.0.1 + (1..5).len() + a[0].1; // 1.5\nlet version = \"1.5\";",
    );
    assert_fine("src/planner/relax/lp.rs", "let x: f64 = 1.5;");
}

#[test]
fn a_clock_outside_the_engine_is_caught() {
    assert_caught("src/planner/mod.rs", "let now = Instant::now();", "reads a clock");
    assert_caught(
        "src/store/mod.rs",
        "let now = std::time::SystemTime::UNIX_EPOCH;",
        "reads a clock",
    );
    assert_caught("src/calendar.rs", "let now = chrono::Utc::now();", "reads a clock");
    assert_fine("src/engine/stopwatch.rs", "let start = std::time::Instant::now();");
}

#[test]
fn what_must_not_ship_is_caught() {
    assert_caught("src/api/mod.rs", "let x = y.unwrap();", "unwrap");
    assert_caught("src/api/mod.rs", "fn f() { unsafe { g() } }", "unsafe");
    assert_fine(
        "src/api/mod.rs",
        "#[cfg(test)]\nmod tests {\n    fn f() { x.unwrap(); }\n}",
    );
    for leftover in LEFTOVERS {
        assert_caught("src/api/mod.rs", &format!("// {leftover}"), "a leftover");
    }
    for banned in NEVER_IN_TESTS {
        assert_caught("tests/grpc.rs", &format!("{banned}]"), "a leftover");
    }
}

#[test]
fn a_file_without_header_or_without_end_is_caught() {
    let source = |path, text| violations(&Source { path, text });
    assert!(source("src/api/mod.rs", "use std::fmt;\n")[0].contains("does not open with"));
    assert!(source("benches/plan.rs", "fn main() {}\n")[0].contains("does not open with"));
    let lines = |count: usize| "\n".repeat(count);
    assert_caught("src/main.rs", &lines(MAX_MAIN_LINES), "more than 80");
    assert_caught("src/api/mod.rs", &lines(MAX_LINES), "more than 800");
    assert_fine("src/api/mod.rs", &lines(MAX_LINES - 3));
}
