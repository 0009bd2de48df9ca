//! From a definition's models to models that can be asked.

use std::sync::Arc;

use protocol::orchestration::{Model as Definition, Orchestration, Player};

use super::Model;
pub use super::connection::http_client;
use super::desk::Desk;
use super::environment::{Environment, MissingVariable};
use super::openai::OpenAi;
use super::remote::RemoteAgent;
use super::scripted::Scripted;
use crate::tools::Functions;

/// Why a model of a definition cannot be asked by this worker.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// This version cannot play it.
    #[error("this version cannot play {0}")]
    Unsupported(&'static str),
    /// The definition names a model that it does not have.
    #[error("the definition has no model `{0}`")]
    UnknownModel(String),
    /// Models stand in for each other, and none of them can be asked.
    #[error("the model `{0}` stands in for itself by `orElse`")]
    Circle(String),
    /// The provider would refuse every request, for want of a key.
    #[error("the model `{model}` has neither a key nor a base URL of its own: {way_out}, or name a model that stands in as `orElse`")]
    NoKey {
        /// The model's name at its provider.
        model: String,
        /// The variables that were looked at.
        variables: Vec<String>,
        /// What to set.
        way_out: String,
    },
    /// A text needs a variable.
    #[error("the model `{model}`, {place}: {missing}")]
    Variable {
        /// The model's name at its provider.
        model: String,
        /// Which text.
        place: String,
        /// The variable.
        missing: MissingVariable,
    },
    /// The service that plays an agent cannot be asked.
    #[error("the remote agent's {place}: {problem}")]
    Remote {
        /// Which text.
        place: String,
        /// What is wrong with it, and the way out.
        problem: String,
    },
    /// The program has no such agent.
    #[error("this program has no agent `{name}` of its own{}: add it with `Functions::add_agent`, or run it in a worker that has it", only(.has))]
    NoCode {
        /// The name it is wanted under.
        name: String,
        /// Those that there are.
        has: Vec<String>,
    },
    /// Something that cannot be used as what it is.
    #[error("the model `{model}`, {place}: {problem}")]
    Invalid {
        /// The model's name at its provider.
        model: String,
        /// Which text.
        place: String,
        /// What is wrong with it, and the way out.
        problem: String,
    },
}

fn only(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!(", only {}", names.join(", ")) }
}

/// Who plays an agent: the model that the definition has for it, and an announcement for people when another one stands in for it because this
/// worker has neither a key nor a base URL.
///
/// # Errors
/// [`ConfigError`], which says what to set or to change.
pub fn build(
    player: &Player,
    orchestration: &Orchestration,
    functions: &Functions,
    environment: Environment<'_>,
    http: &reqwest::Client,
) -> Result<(Arc<dyn Model>, Option<String>), ConfigError> {
    match player {
        Player::Model(key) => choose(key, |key| orchestration.model(key), environment, http),
        Player::Desk { name, .. } => Ok((Arc::new(Desk(name.clone())), None)),
        Player::Remote(remote) => Ok((Arc::new(RemoteAgent::new(remote, environment, http.clone())?), None)),
        Player::Code(name) => match functions.agents.get(name) {
            Some(agent) => Ok((agent.clone(), None)),
            None => Err(ConfigError::NoCode { name: name.clone(), has: functions.agents.keys().cloned().collect() }),
        },
    }
}

fn choose<'a>(
    key: &str,
    find: impl Fn(&str) -> Option<&'a Definition>,
    environment: Environment<'_>,
    http: &reqwest::Client,
) -> Result<(Arc<dyn Model>, Option<String>), ConfigError> {
    let (mut tried, mut wanted) = (vec![key], None);
    loop {
        let chosen = tried.last().copied().unwrap_or(key);
        let definition = find(chosen).ok_or_else(|| ConfigError::UnknownModel(chosen.to_owned()))?;
        let announce = |kind: &str| wanted.as_ref().map(|wanted| announcement(key, chosen, kind, wanted));
        let endpoint = match definition {
            Definition::Scripted(lines) => return Ok((Arc::new(Scripted::new(lines.clone())), announce("scripted "))),
            Definition::Endpoint(endpoint) => endpoint,
        };
        match (OpenAi::new(endpoint, environment, http.clone()), &endpoint.or_else) {
            (Ok(model), _) => return Ok((Arc::new(model), announce(""))),
            (Err(ConfigError::NoKey { .. }), Some(next)) if tried.contains(&next.as_str()) => {
                return Err(ConfigError::Circle(next.clone()));
            }
            (Err(ConfigError::NoKey { variables, way_out, .. }), Some(next)) => {
                wanted.get_or_insert((variables, way_out));
                tried.push(next);
            }
            (Err(error), _) => return Err(error),
        }
    }
}

fn announcement(key: &str, chosen: &str, kind: &str, (variables, way_out): &(Vec<String>, String)) -> String {
    let missing = if variables.is_empty() { "a key".to_owned() } else { variables.join(" and no ") };
    format!("no {missing}: agents of the model `{key}` are played by the {kind}model `{chosen}`; {way_out} for the real one")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use protocol::orchestration::Endpoint;

    use super::*;
    use crate::model::test_support::{endpoint, http};

    fn models(edit: impl FnOnce(&mut Endpoint)) -> BTreeMap<&'static str, Definition> {
        let mut real = Endpoint { or_else: Some("rehearsal".into()), ..endpoint(None) };
        edit(&mut real);
        BTreeMap::from([("default", Definition::Endpoint(real)), ("rehearsal", Definition::Scripted(Vec::new()))])
    }

    /// Provider, model and announcement; or the error.
    fn chosen(models: &BTreeMap<&'static str, Definition>, variables: &[(&str, &str)]) -> Result<(String, Option<String>), String> {
        let environment = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let built = choose("default", |key| models.get(key), &environment, &http());
        built.map(|(model, announcement)| (model.provider().to_owned(), announcement)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_model_without_a_key_is_played_by_its_stand_in_and_people_are_told() {
        let (provider, announcement) = chosen(&models(|_| {}), &[]).unwrap();
        assert_eq!(provider, "scripted");
        assert_eq!(
            announcement.unwrap(),
            "no OPENAI_API_KEY: agents of the model `default` are played by the scripted model `rehearsal`; \
             set OPENAI_API_KEY for the real one"
        );
        let with_base = models(|e| e.base_url = Some("${OPENAI_BASE_URL}".into()));
        let expected = "no OPENAI_API_KEY and no OPENAI_BASE_URL: agents of the model `default` are played by the scripted model \
                        `rehearsal`; set OPENAI_API_KEY or OPENAI_BASE_URL for the real one";
        for empty in [&[][..], &[("OPENAI_API_KEY", " "), ("OPENAI_BASE_URL", "")]] {
            assert_eq!(chosen(&with_base, empty).unwrap().1.unwrap(), expected);
        }
    }

    #[test]
    fn a_key_or_a_base_url_is_enough_for_the_real_one() {
        let with_base = models(|e| e.base_url = Some("${OPENAI_BASE_URL:-}".into()));
        for variables in [("OPENAI_API_KEY", "sk-1"), ("OPENAI_BASE_URL", "http://localhost:8000/v1")] {
            assert_eq!(chosen(&with_base, &[variables]).unwrap(), ("openai".to_owned(), None));
        }
        // OpenAI's own address is no reason to hope that it takes requests without a key.
        let (provider, _) = chosen(&with_base, &[("OPENAI_BASE_URL", "https://api.openai.com/v1/")]).unwrap();
        assert_eq!(provider, "scripted");
    }

    #[test]
    fn without_a_stand_in_the_error_says_what_to_set() {
        assert_eq!(
            chosen(&models(|e| e.or_else = None), &[]).unwrap_err(),
            "the model `gpt-5-mini` has neither a key nor a base URL of its own: set OPENAI_API_KEY, \
             or name a model that stands in as `orElse`"
        );
        assert_eq!(
            chosen(&models(|e| (e.or_else, e.api_key_env) = (None, None)), &[]).unwrap_err(),
            "the model `gpt-5-mini` has neither a key nor a base URL of its own: give it an `apiKeyEnv` or a `baseUrl`, \
             or name a model that stands in as `orElse`"
        );
    }

    #[test]
    fn only_a_missing_key_is_a_reason_to_stand_in() {
        let broken = models(|e| e.base_url = Some("no url".into()));
        assert!(chosen(&broken, &[]).unwrap_err().contains("http(s) base URL"));
    }

    #[test]
    fn stand_ins_of_stand_ins_are_followed_but_not_in_circles() {
        let mut three = models(|e| e.or_else = Some("cheap".into()));
        three.insert("cheap", Definition::Endpoint(Endpoint { or_else: Some("rehearsal".into()), ..endpoint(None) }));
        assert!(chosen(&three, &[]).unwrap().1.unwrap().contains("the scripted model `rehearsal`"));
        three.insert("cheap", Definition::Endpoint(Endpoint { or_else: Some("default".into()), ..endpoint(None) }));
        assert_eq!(chosen(&three, &[]).unwrap_err(), "the model `default` stands in for itself by `orElse`");
        three.insert("cheap", Definition::Endpoint(Endpoint { or_else: Some("nobody".into()), ..endpoint(None) }));
        assert_eq!(chosen(&three, &[]).unwrap_err(), "the definition has no model `nobody`");
    }
}
