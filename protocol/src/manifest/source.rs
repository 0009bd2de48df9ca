//! A manifest as a text, with the files it names.

use std::sync::Arc;

use super::de;
use super::problem::{KeyPath, PROBLEMS_MAX, Place, Problem};
use super::yaml::{self, Entry, Kind, Node};
use super::{Checked, Manifest};
use crate::orchestration::ScriptLine;

/// Reads a manifest from `text`. `file_name` is what its problems are shown with; `read_file` returns the content of a file
/// that the manifest names, relative to the manifest, or says why it cannot.
///
/// # Errors
/// Everything that is wrong, up to 50 things, each with its place, in the order of the file: what is no YAML; else every key
/// and value of the wrong shape; else everything that [`Manifest::check`] refuses.
///
/// ```
/// let text = "\
/// apiVersion: baton/v1alpha1
/// kind: Orchestration
/// metadata: { name: hello }
/// spec:
///   start: greter
///   models: { default: { provider: openai, name: gpt-5-mini } }
///   agents:
///     greeter: { description: Greets., instructions: Greet. }
/// ";
/// let problems = protocol::manifest::parse(text, "hello.yaml", &mut |_| Err("no files here".into())).unwrap_err();
/// assert_eq!(
///     problems[0].to_string(),
///     r#"hello.yaml:5:10: spec.start: there is no agent "greter"; did you mean "greeter"?"#
/// );
/// ```
pub fn parse(text: &str, file_name: &str, read_file: &mut dyn FnMut(&str) -> Result<String, String>) -> Result<Checked, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut root = yaml::read(text, &Arc::from(file_name), &KeyPath::default(), &mut problems);
    inline_files(&mut root, read_file, &mut problems);
    let located = root.clone();
    let manifest: Option<Manifest> = de::read(&mut root, &mut problems);
    // What is wrong only because of what has been reported would be noise: the meaning is checked when the shape is right.
    let Some(manifest) = manifest.filter(|_| problems.is_empty()) else {
        return Err(in_order(problems));
    };
    let locate = |mut problem: Problem| {
        problem.place = Some(located.place_of(problem.path.steps()).clone());
        problem
    };
    let in_place = |problems: Vec<Problem>| in_order(problems.into_iter().map(locate).collect());
    match manifest.check() {
        Ok(checked) => Ok(Checked { warnings: in_place(checked.warnings), ..checked }),
        Err(problems) => Err(in_place(problems)),
    }
}

/// The lines of a script, as a `scriptFile` holds them. `file_name` is what places are shown with.
///
/// # Errors
/// Everything that is wrong with it, in the text's order.
pub fn parse_script(text: &str, file_name: &str) -> Result<Vec<ScriptLine>, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut root = yaml::read(text, &Arc::from(file_name), &KeyPath::default(), &mut problems);
    let lines = de::read(&mut root, &mut problems);
    lines.filter(|_| problems.is_empty()).ok_or_else(|| in_order(problems))
}

fn in_order(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort_by(|a, b| a.place.cmp(&b.place));
    problems.truncate(PROBLEMS_MAX);
    problems
}

/// Puts the content of the files that are named in place of their names, each node keeping the place it was read from.
fn inline_files(root: &mut Node, read_file: &mut dyn FnMut(&str) -> Result<String, String>, problems: &mut Vec<Problem>) {
    let Some(spec) = root.get_mut("spec") else { return };
    let named = [
        ("agents", None, "instructionsFile", "instructions"),
        ("models", None, "scriptFile", "script"),
        ("tools", Some("openapi"), "file", "document"),
    ];
    for (section, below, file_key, key) in named {
        let Some(section_node) = spec.get_mut(section) else { continue };
        for Entry { key: name, value: holder, .. } in section_node.entries_mut() {
            let mut path = KeyPath::of(["spec", section]).key(name);
            let mut holder = holder;
            if let Some(below) = below {
                let Some(inner) = holder.get_mut(below) else { continue };
                (holder, path) = (inner, path.key(below));
            }
            // Both at once is a contradiction, which the check reports.
            if holder.get_mut(key).is_some() {
                continue;
            }
            let Some(entry) = holder.entries_mut().iter_mut().find(|entry| entry.key == file_key) else { continue };
            let Kind::Scalar { text: file_name, .. } = &entry.value.kind else { continue };
            let content = within_folder(file_name).and_then(|()| read_file(file_name));
            entry.value = match content {
                Ok(text) if key != "instructions" => yaml::read(&text, &Arc::from(file_name.as_str()), &path.key(key), problems),
                Ok(text) => text_node(text, file_name, &entry.value.place, &path.key(file_key), problems),
                Err(reason) => {
                    let message = format!("cannot read {file_name:?}: {reason}");
                    hole(&entry.value.place, &path.key(file_key), message, problems)
                }
            };
            if entry.value.kind != Kind::Hole {
                key.clone_into(&mut entry.key);
            }
        }
    }
}

/// A manifest names files beside or below it: what it is made of can be copied as one folder, and it cannot be made to show
/// a file of the machine that reads it.
fn within_folder(file_name: &str) -> Result<(), String> {
    let leaves =
        file_name.starts_with(['/', '\\', '~']) || file_name.contains(':') || file_name.split(['/', '\\']).any(|part| part == "..");
    if file_name.is_empty() || leaves {
        return Err("name a file beside the manifest or in a folder below it".to_owned());
    }
    Ok(())
}

fn text_node(text: String, file_name: &str, place: &Place, path: &KeyPath, problems: &mut Vec<Problem>) -> Node {
    if text.len() > yaml::FILE_BYTES_MAX {
        let message = format!("{file_name:?} has {} bytes; {} is the most", text.len(), yaml::FILE_BYTES_MAX);
        return hole(place, path, message, problems);
    }
    Node { place: place.clone(), kind: Kind::Scalar { text, plain: false } }
}

fn hole(place: &Place, path: &KeyPath, message: String, problems: &mut Vec<Problem>) -> Node {
    problems.push(Problem { place: Some(place.clone()), path: path.clone(), message });
    Node { place: place.clone(), kind: Kind::Hole }
}
