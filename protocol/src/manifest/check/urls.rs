//! URLs, headers and the variables in them.

use std::collections::BTreeMap;

use crate::manifest::problem::{Findings, KeyPath};
use crate::manifest::template::{self, Part};

/// Whether the variables in a text can be filled in.
pub(super) fn check_variables(text: &str, at: &KeyPath, findings: &mut Findings) {
    if let Err(invalid) = template::variables(text) {
        findings.error(at, invalid.to_string());
    }
}

/// A whole URL that may hold variables.
pub(super) fn check_url(text: &str, at: &KeyPath, findings: &mut Findings) {
    match template::variables(text) {
        Ok(parts) => check_shape(&parts, at, findings),
        Err(invalid) => findings.error(at, invalid.to_string()),
    }
}

/// A whole URL that may hold arguments too; returns them.
pub(super) fn check_tool_url<'t>(text: &'t str, at: &KeyPath, findings: &mut Findings) -> Vec<&'t str> {
    match template::url(text) {
        Ok(parts) => {
            check_shape(&parts, at, findings);
            arguments(&parts)
        }
        Err(invalid) => {
            findings.error(at, invalid.to_string());
            Vec::new()
        }
    }
}

/// The path of a URL, from its '/'; returns its arguments.
pub(super) fn check_path<'t>(text: &'t str, at: &KeyPath, findings: &mut Findings) -> Vec<&'t str> {
    if !text.starts_with('/') {
        findings.error(at, format!("a path begins with '/'; write {:?}", format!("/{text}")));
    }
    match template::url(text) {
        Ok(parts) => {
            check_printable(&parts, at, findings);
            arguments(&parts)
        }
        Err(invalid) => {
            findings.error(at, invalid.to_string());
            Vec::new()
        }
    }
}

/// Headers of every request: they may hold variables, and should where they are secret.
pub(super) fn check_headers(headers: &BTreeMap<String, String>, at: &KeyPath, findings: &mut Findings) {
    for (name, value) in headers {
        let at = at.key(name);
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)) {
            findings.error(&at, format!("{name:?} cannot be a header's name"));
        }
        if value.chars().any(char::is_control) {
            findings.error(&at, "a header is one line");
        }
        check_variables(value, &at, findings);
        let secret = ["authorization", "key", "token", "secret", "cookie"];
        let name = name.to_ascii_lowercase();
        if secret.iter().any(|word| name.contains(word)) && !value.contains("${") {
            findings.warn(&at, "a definition is no place for secrets, everyone who runs it can read it; use ${VAR}");
        }
    }
}

/// The arguments among the parts of a text.
pub(super) fn arguments<'t>(parts: &[Part<'t>]) -> Vec<&'t str> {
    let argument = |part: &Part<'t>| match part {
        Part::Argument(name) => Some(*name),
        Part::Text(_) | Part::Variable { .. } => None,
    };
    parts.iter().filter_map(argument).collect()
}

/// What can be known before variables and arguments are: above all, that no argument chooses the host.
fn check_shape(parts: &[Part<'_>], at: &KeyPath, findings: &mut Findings) {
    check_printable(parts, at, findings);
    let behind_scheme = match parts.first() {
        Some(Part::Variable { .. }) => sample(parts),
        _ => {
            let text = sample(parts);
            match text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")) {
                Some(rest) => rest.to_owned(),
                None => return findings.error(at, "a URL begins with http:// or https://"),
            }
        }
    };
    let host = behind_scheme.split(['/', '?', '#']).next().unwrap_or_default();
    if host.is_empty() || host.starts_with(':') {
        findings.error(at, "the URL names no host");
    } else if host.contains('{') {
        findings.error(at, "an {argument} cannot choose the host: a model would; put it behind a '/'");
    } else if host.contains('@') {
        findings.error(at, "a URL is no place for credentials; use a header with ${VAR}");
    }
}

fn check_printable(parts: &[Part<'_>], at: &KeyPath, findings: &mut Findings) {
    if sample(parts).chars().any(|c| c.is_whitespace() || c.is_control()) {
        findings.error(at, "a URL holds no blanks; write %20");
    }
}

/// The text with something in place of what is not known yet.
fn sample(parts: &[Part<'_>]) -> String {
    let sample = |part: &Part<'_>| match part {
        Part::Text(text) => (*text).to_owned(),
        Part::Argument(_) => "{}".to_owned(),
        Part::Variable { .. } => "variable".to_owned(),
    };
    parts.iter().map(sample).collect()
}
