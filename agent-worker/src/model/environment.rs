//! `${VAR}` in the texts of a definition: secrets and addresses stay in the worker's environment.

/// Looks a variable of the worker's environment up.
pub type Environment<'a> = &'a (dyn Fn(&str) -> Option<String> + 'a);

/// A variable that a text needs and the environment does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the environment variable {name} is not set: set it, or write ${{{name}:-default}}")]
pub struct MissingVariable {
    /// Its name.
    pub name: String,
}

/// Replaces `${VAR}` and `${VAR:-default}`, once: what a variable holds is not looked at again. As in a shell, the default stands
/// for a variable that is empty, too. What is no such reference stays as it is.
///
/// ```
/// use agent_worker::model::environment::resolve;
///
/// let environment = |name: &str| (name == "HOST").then(|| "orders.internal".to_owned());
/// assert_eq!(resolve("http://${HOST}:${PORT:-80}/", &environment).unwrap(), "http://orders.internal:80/");
/// assert_eq!(resolve("${TOKEN}", &environment).unwrap_err().name, "TOKEN");
/// ```
///
/// # Errors
/// [`MissingVariable`] for the first variable that has neither a value nor a default.
pub fn resolve(text: &str, environment: Environment<'_>) -> Result<String, MissingVariable> {
    let mut resolved = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        resolved.push_str(before);
        let Some((name, default, behind)) = reference(after) else {
            resolved.push_str("${");
            rest = after;
            continue;
        };
        let value = environment(name).filter(|value| default.is_none() || !value.is_empty());
        match (value, default) {
            (Some(value), _) => resolved.push_str(&value),
            (None, Some(default)) => resolved.push_str(default),
            (None, None) => return Err(MissingVariable { name: name.to_owned() }),
        }
        rest = behind;
    }
    resolved.push_str(rest);
    Ok(resolved)
}

/// The name, the default and what follows, of a text that stood behind `${`.
fn reference(text: &str) -> Option<(&str, Option<&str>, &str)> {
    let (inside, behind) = text.split_once('}')?;
    let (name, default) = inside.split_once(":-").map_or((inside, None), |(name, default)| (name, Some(default)));
    let is_name =
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    is_name.then_some((name, default, behind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_replaced_and_all_else_stays() {
        let environment = |name: &str| match name {
            "A" => Some("1".to_owned()),
            "EMPTY" => Some(String::new()),
            "NESTED" => Some("${A}".to_owned()),
            _ => None,
        };
        for (text, expected) in [
            ("plain", Ok("plain")),
            ("${A}${A}", Ok("11")),
            ("<${EMPTY}>", Ok("<>")),
            ("<${EMPTY:-x}>", Ok("<x>")),
            ("${B:-http://h:1/v1}", Ok("http://h:1/v1")),
            ("${B:-}", Ok("")),
            ("${NESTED}", Ok("${A}")),
            ("$A {A} ${ A } ${1} ${A", Ok("$A {A} ${ A } ${1} ${A")),
            ("${} ${A}", Ok("${} 1")),
            ("x ${B} ${C}", Err("B")),
        ] {
            let resolved = resolve(text, &environment);
            assert_eq!(resolved.as_deref().map_err(|missing| missing.name.as_str()), expected, "{text}");
        }
        assert_eq!(
            resolve("${KEY}", &environment).unwrap_err().to_string(),
            "the environment variable KEY is not set: set it, or write ${KEY:-default}"
        );
    }
}
