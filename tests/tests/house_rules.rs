//! The house's rules that a machine can hold: who may depend on whom, and who may call what.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Crates, and what they must not depend on directly, but for tests.
const FORBIDDEN: &[(&str, &[&str])] = &[
    (
        "baton-protocol",
        &[
            "tokio",
            "async-nats",
            "async-openai",
            "axum",
            "opentelemetry",
            "rand",
            "fastrand",
            "uuid",
            "reqwest",
            "baton-journal",
            "baton-telemetry",
        ],
    ),
    ("baton-telemetry", &["baton-protocol", "baton-journal", "baton-client", "async-nats", "async-openai"]),
    ("baton-journal", &["async-openai", "baton-client", "baton-agent-worker", "baton-coordinator", "baton-gateway", "baton"]),
    ("baton-client", &["async-openai", "async-nats", "baton-agent-worker", "baton-coordinator", "baton-gateway", "baton"]),
    ("baton-agent-worker", &["async-nats", "baton-client", "baton-coordinator", "baton-gateway", "baton"]),
    ("baton-coordinator", &["async-nats", "async-openai", "baton-client", "baton-agent-worker", "baton-gateway", "baton"]),
    ("baton-gateway", &["async-nats", "async-openai", "baton-agent-worker", "baton-coordinator", "baton"]),
    ("baton", &["async-nats", "async-openai"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Direct dependencies of each of the workspace's crates, those of its tests left out.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let direct = |package: &Value| {
        let dependencies = package["dependencies"].as_array().unwrap().iter().filter(|dependency| dependency["kind"] != "dev");
        dependencies.map(|dependency| dependency["name"].as_str().unwrap().to_owned()).collect()
    };
    packages.iter().map(|package| (package["name"].as_str().unwrap().to_owned(), direct(package))).collect()
}

/// Rust files of a crate, its tests left out.
fn sources(crate_folder: &str) -> Vec<(PathBuf, String)> {
    let mut folders = vec![root().join(crate_folder).join("src")];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            if name.ends_with("_tests") || name == "tests" {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                sources.push((path, text));
            }
        }
    }
    assert!(!sources.is_empty());
    sources
}

#[test]
fn nobody_depends_on_what_they_must_not_know() {
    let dependencies = dependencies();
    for (name, forbidden) in FORBIDDEN {
        let direct = dependencies.get(*name).unwrap_or_else(|| panic!("there is no crate {name}"));
        let broken: Vec<_> = forbidden.iter().filter(|forbidden| direct.contains(**forbidden)).collect();
        assert!(broken.is_empty(), "{name} must not depend on {broken:?}");
    }
    assert!(
        !dependencies.iter().any(|(name, direct)| name != "baton-tests" && direct.contains("baton-tests")),
        "nothing depends on the tests"
    );
}

#[test]
fn only_one_place_talks_to_openai() {
    for (path, text) in sources("agent-worker") {
        let is_home = path.to_string_lossy().contains("model/openai");
        assert!(is_home || !text.contains("async_openai"), "{} uses async-openai; only model/openai may", path.display());
    }
}

#[test]
fn the_pure_core_asks_no_clock_and_no_environment() {
    let pure = ["Instant::now", "SystemTime::now", "env::var", "tokio::", "fastrand::", "Uuid::new"];
    let turn = sources("agent-worker").into_iter().filter(|(path, _)| {
        let path = path.to_string_lossy();
        path.contains("/src/turn") || path.ends_with("/catalog.rs")
    });
    let watch = sources("coordinator").into_iter().filter(|(path, _)| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        ["clock.rs", "ledger.rs", "watch.rs"].contains(&name.as_str())
    });
    let checked: Vec<_> = sources("protocol").into_iter().chain(turn).chain(watch).collect();
    assert!(checked.len() > 15, "the pure files have moved: {}", checked.len());
    for (path, text) in checked {
        for call in pure {
            assert!(!text.contains(call), "{} is pure, but has {call}", path.display());
        }
    }
}

#[test]
fn there_is_one_fence_and_it_is_used_in_one_place() {
    for folder in ["client", "agent-worker", "coordinator", "gateway", "cli", "telemetry", "protocol"] {
        for (path, text) in sources(folder) {
            assert!(!text.contains("\"Nats-Expected-Last"), "{} fences by itself; Journal::append does", path.display());
        }
    }
    let fencing: Vec<_> =
        sources("journal").into_iter().filter(|(_, text)| text.contains("Nats-Expected-Last-Subject-Sequence-Subject\"")).collect();
    assert_eq!(fencing.len(), 1, "exactly one file sets the fence: {:?}", fencing.iter().map(|(path, _)| path).collect::<Vec<_>>());
}

#[test]
fn nothing_waits_by_sleeping_in_a_thread() {
    for folder in ["protocol", "journal", "client", "agent-worker", "coordinator", "gateway", "cli", "telemetry"] {
        for (path, text) in sources(folder) {
            assert!(!text.contains("thread::sleep"), "{} sleeps", path.display());
        }
    }
}

#[test]
fn the_first_program_fits_on_a_screen() {
    let program = std::fs::read_to_string(root().join("examples/support/main.rs")).unwrap();
    let lines = program.lines().count();
    assert!(lines <= 60, "examples/support/main.rs is what a newcomer reads first, and has {lines} lines");
}

#[test]
fn what_is_shipped_has_no_planted_bugs_and_is_no_next_version() {
    let manifests = ["protocol", "journal", "telemetry", "client", "agent-worker", "coordinator", "gateway", "cli", "tests"];
    let manifests = manifests.map(|folder| format!("{folder}/Cargo.toml"));
    for manifest in manifests.iter().map(String::as_str).chain(["Cargo.toml"]) {
        let text = std::fs::read_to_string(root().join(manifest)).unwrap();
        let is_named = |line: &&str| ["planted", "next"].iter().any(|feature| line.contains(feature)) && !line.starts_with('#');
        let named: Vec<_> = text.lines().filter(is_named).collect();
        let declared = ["planted = []", "planted = [\"journal/planted\"]", "next = []", "next = [\"protocol/next\"]"];
        assert!(named.iter().all(|line| declared.contains(line)), "{manifest} turns on what only the laboratory runs: {named:?}");
    }
}
