//! Where the requests of a model go, and with which credentials.

use std::fmt;

use async_openai::config::Config;
use protocol::manifest::Api;
use protocol::orchestration::Endpoint;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};

use crate::model::build::ConfigError;
use crate::model::environment::{Environment, MissingVariable, resolve};
use crate::model::fault::Peer;

const OPENAI_HOST: &str = "api.openai.com";
const AZURE: &str = "azure";

/// An endpoint, resolved. async-openai has configurations of its own, which read the process's environment and always send a key.
#[derive(Clone)]
pub(super) struct Target {
    /// The model's name at the provider, resolved.
    pub(super) model: String,
    /// The base URL, as people may see it.
    pub(super) peer: Peer,
    key_variable: Option<String>,
    key: Option<SecretString>,
    /// What async-openai asks for; never used.
    no_key: SecretString,
    prefix: String,
    query: Vec<(String, String)>,
    headers: HeaderMap,
}

impl Target {
    pub(super) fn new(endpoint: &Endpoint, environment: Environment<'_>) -> Result<Self, ConfigError> {
        let texts = Texts { endpoint, environment };
        let key = texts.key();
        let base = texts.base(key.is_some())?;
        let model = texts.resolve("name", &endpoint.name)?;
        let is_azure = endpoint.provider == AZURE;
        let mut query: Vec<(String, String)> = base.query_pairs().into_owned().collect();
        let mut prefix = base.clone();
        prefix.set_query(None);
        let mut prefix = prefix.as_str().trim_end_matches('/').to_owned();
        if let Some(version) = &endpoint.api_version {
            query.push(("api-version".to_owned(), texts.resolve("apiVersion", version)?));
        }
        // Azure's newer API, under /openai/v1, names deployments in the body and needs no version.
        if is_azure && !prefix.ends_with("/openai/v1") {
            prefix += match (endpoint.api, &endpoint.api_version) {
                (Api::Chat, Some(_)) => format!("/openai/deployments/{model}"),
                (Api::Chat, None) => {
                    return Err(texts.invalid("apiVersion", "Azure's deployments need one, such as 2024-10-21".to_owned()));
                }
                // Responses never were below a deployment.
                (Api::Responses, Some(_)) => "/openai".to_owned(),
                (Api::Responses, None) => "/openai/v1".to_owned(),
            }
            .as_str();
        }
        Ok(Self {
            model,
            peer: Peer::new(base, key.clone()),
            headers: texts.headers(key.as_ref(), is_azure)?,
            key_variable: endpoint.api_key_env.clone(),
            key,
            no_key: SecretString::default(),
            prefix,
            query,
        })
    }

    /// What people can do about a refusal with this status.
    pub(super) fn way_out(&self, status: StatusCode) -> Option<String> {
        let (model, url) = (&self.model, &self.peer.shown);
        match status.as_u16() {
            401 | 403 => Some(self.key_origin()),
            404 => Some(format!("is there a model `{model}` at {url}? Check its `name` and `baseUrl`")),
            300..=399 => Some(format!("{url} redirects, which is not followed: give the address it redirects to as `baseUrl`")),
            _ => None,
        }
    }

    /// Where the key comes from.
    fn key_origin(&self) -> String {
        match (&self.key_variable, &self.key) {
            (Some(variable), Some(_)) => format!("the key is the value of {variable}"),
            (Some(variable), None) => format!("no key was sent: {variable} is not set"),
            (None, _) => "no key was sent: the definition names no `apiKeyEnv`".to_owned(),
        }
    }
}

impl Config for Target {
    fn headers(&self) -> HeaderMap {
        self.headers.clone()
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    fn query(&self) -> Vec<(&str, &str)> {
        self.query.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    fn api_base(&self) -> &str {
        &self.prefix
    }

    fn api_key(&self) -> &SecretString {
        self.key.as_ref().unwrap_or(&self.no_key)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("model", &self.model).field("base_url", &self.peer.shown).finish_non_exhaustive()
    }
}

/// An endpoint's texts, about to be resolved.
struct Texts<'a> {
    endpoint: &'a Endpoint,
    environment: Environment<'a>,
}

impl Texts<'_> {
    fn key(&self) -> Option<SecretString> {
        let value = (self.environment)(self.endpoint.api_key_env.as_deref()?)?;
        Some(value.trim()).filter(|key| !key.is_empty()).map(SecretString::from)
    }

    /// The API's root.
    fn base(&self, has_key: bool) -> Result<Url, ConfigError> {
        let provider = self.endpoint.provider.as_str();
        let text = match (self.given_base()?, provider) {
            (Some(text), _) => text,
            (None, "openai") => format!("https://{OPENAI_HOST}/v1"),
            (None, "ollama") => "http://localhost:11434/v1".to_owned(),
            (None, _) if !has_key => return Err(self.no_key()),
            (None, _) => {
                let unset = self.base_variable().map(|name| format!(" ({name} is not set)")).unwrap_or_default();
                return Err(self.invalid("baseUrl", format!("none is known for the provider `{provider}`: give one{unset}")));
            }
        };
        let url = Url::parse(text.trim()).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let url =
            url.ok_or_else(|| self.invalid("baseUrl", "this is no http(s) base URL, such as https://api.openai.com/v1".to_owned()))?;
        if !has_key && url.host_str() == Some(OPENAI_HOST) {
            return Err(self.no_key());
        }
        Ok(url)
    }

    /// The base URL that the definition or the environment gives. `${VAR}` alone may be unset, which is as if nothing were given; a
    /// part of a URL may not, lest requests go where nobody wanted them to.
    fn given_base(&self) -> Result<Option<String>, ConfigError> {
        let Some(text) = &self.endpoint.base_url else { return Ok(None) };
        match resolve(text, self.environment) {
            Ok(base) => Ok(Some(base).filter(|base| !base.trim().is_empty())),
            Err(missing) if text.trim() == format!("${{{}}}", missing.name) => Ok(None),
            Err(_) => self.resolve("baseUrl", text).map(Some),
        }
    }

    /// The variable that could give the base URL.
    fn base_variable(&self) -> Option<String> {
        let (_, after) = self.endpoint.base_url.as_ref()?.split_once("${")?;
        let name: String = after.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        Some(name).filter(|name| !name.is_empty())
    }

    fn headers(&self, key: Option<&SecretString>, is_azure: bool) -> Result<HeaderMap, ConfigError> {
        let mut headers = HeaderMap::new();
        if let Some(key) = key {
            let (name, value) = match is_azure {
                true => (HeaderName::from_static("api-key"), key.expose_secret().to_owned()),
                false => (AUTHORIZATION, format!("Bearer {}", key.expose_secret())),
            };
            headers.insert(name, self.secret_value("apiKeyEnv", &value)?);
        }
        for (name, value) in &self.endpoint.headers {
            let place = format!("header `{name}`");
            let value = self.secret_value(&place, &self.resolve(&place, value)?)?;
            let name = HeaderName::try_from(name).map_err(|error| self.invalid(&place, error.to_string()))?;
            headers.insert(name, value);
        }
        Ok(headers)
    }

    fn secret_value(&self, place: &str, value: &str) -> Result<HeaderValue, ConfigError> {
        // The value may be a secret, and an error is printed.
        let unfit = |_| self.invalid(place, "its value holds characters that no HTTP header may have".to_owned());
        let mut value = HeaderValue::from_str(value).map_err(unfit)?;
        value.set_sensitive(true);
        Ok(value)
    }

    fn resolve(&self, place: &str, text: &str) -> Result<String, ConfigError> {
        resolve(text, self.environment).map_err(|missing: MissingVariable| ConfigError::Variable {
            model: self.endpoint.name.clone(),
            place: place.to_owned(),
            missing,
        })
    }

    fn invalid(&self, place: &str, problem: String) -> ConfigError {
        ConfigError::Invalid { model: self.endpoint.name.clone(), place: place.to_owned(), problem }
    }

    fn no_key(&self) -> ConfigError {
        let variables: Vec<String> = self.endpoint.api_key_env.iter().cloned().chain(self.base_variable()).collect();
        let way_out = match variables.is_empty() {
            true => "give it an `apiKeyEnv` or a `baseUrl`".to_owned(),
            false => format!("set {}", variables.join(" or ")),
        };
        ConfigError::NoKey { model: self.endpoint.name.clone(), variables, way_out }
    }
}
