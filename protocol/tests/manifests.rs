//! The file form of an orchestration: what is refused and how it is said, what is accepted and what becomes of it.
//!
//! `UPDATE_GOLDEN=1 cargo test -p baton-protocol --test manifests` rewrites the expected problems of `bad-manifests` and
//! `examples/support/orchestration.schema.json`; read the difference before you commit it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use protocol::event::{Audience, Effect, HistoryOption, InDoubt};
use protocol::ids::{AgentName, Revision};
use protocol::manifest::{self, Checked, DEPTH_MAX, FILE_BYTES_MAX, Problem};
use protocol::orchestration::{Model, OnMessage, Orchestration, ScriptLine, Tool, ToolSource};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn is_updating() -> bool {
    std::env::vars().any(|(name, _)| name == "UPDATE_GOLDEN")
}

/// Reads a manifest whose files lie in `folder`.
fn parse_in(folder: &Path, text: &str) -> Result<Checked, Vec<Problem>> {
    manifest::parse(text, "manifest.yaml", &mut |name| {
        fs::read_to_string(folder.join(name)).map_err(|_| "there is no such file".to_owned())
    })
}

fn parse(text: &str) -> Result<Checked, Vec<Problem>> {
    manifest::parse(text, "manifest.yaml", &mut |_| Err("there are no files here".to_owned()))
}

fn good(text: &str) -> Checked {
    parse(text).unwrap_or_else(|problems| panic!("{}", shown(&problems).join("\n")))
}

fn shown(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

fn agent(name: &str) -> AgentName {
    name.parse().unwrap()
}

fn support() -> Checked {
    let folder = folder("../examples/support");
    let text = fs::read_to_string(folder.join("support.yaml")).unwrap();
    parse_in(&folder, &text).unwrap_or_else(|problems| panic!("{}", shown(&problems).join("\n")))
}

// ---------------------------------------------------------------------------------------------------- what is refused

const EXPECT: &str = "# expect: ";

/// The problems of a bad manifest, with `header` lines before it.
fn problems_of(folder: &Path, header: &[String], body: &str) -> Vec<String> {
    let text: String = header.iter().map(|line| format!("{EXPECT}{line}\n")).chain([body.to_owned()]).collect();
    let problems = parse_in(&folder.join("files"), &text).err().unwrap_or_default();
    assert!(problems.iter().all(|problem| problem.place.is_some()), "every problem has a place");
    shown(&problems).iter().map(|line| line.trim_start_matches("manifest.yaml:").to_owned()).collect()
}

#[test]
fn bad_manifests_are_refused_with_all_their_problems() {
    let folder = folder("tests/bad-manifests");
    let mut files: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect();
    files.sort();
    assert!(files.len() >= 60, "{} bad manifests", files.len());
    let mut wrong = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let (header, body): (Vec<&str>, Vec<&str>) = text.split_inclusive('\n').partition(|line| line.starts_with(EXPECT));
        let expected: Vec<String> = header.iter().map(|line| line.trim_end()[EXPECT.len()..].to_owned()).collect();
        let found = problems_of(&folder, &expected, &body.concat());
        if is_updating() {
            // The number of expected lines moves the lines below them.
            let moved = problems_of(&folder, &found, &body.concat());
            let header: String = moved.iter().map(|line| format!("{EXPECT}{line}\n")).collect();
            fs::write(&file, header + &body.concat()).unwrap();
        } else if found != expected || found.is_empty() {
            wrong.push(format!("{}\nexpected\n  {}\nfound\n  {}", file.display(), expected.join("\n  "), found.join("\n  ")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
