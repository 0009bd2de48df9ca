//! What a definition in Rust is put together from: the keys of the file form, said shortly.

use std::fmt;
use std::ops::Deref;

use crate::manifest::{
    Api, CodeSpec, HandoffSpec, HttpSpec, McpSpec, ModelSpec, NatsSpec, OpenapiSpec, Problem, Provider, RemoteSpec, TemplateSpec,
    ToolsetSpec, parse_script,
};

/// A definition that makes no sense, with everything that is wrong with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Invalid(pub Vec<Problem>);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problems: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&problems.join("\n"))
    }
}

impl std::error::Error for Invalid {}

impl Deref for Invalid {
    type Target = [Problem];

    fn deref(&self) -> &[Problem] {
        &self.0
    }
}

impl ModelSpec {
    /// A script in a model's place, from YAML: see `scriptFile` of the file form.
    ///
    /// ```
    /// use protocol::manifest::ModelSpec;
    ///
    /// let rehearsal = ModelSpec::script("- { user: bye, complete: The customer left. }\n- say: How can I help?\n").unwrap();
    /// assert_eq!(rehearsal.script.len(), 2);
    /// let invalid = ModelSpec::script("- { says: Hello. }").unwrap_err();
    /// assert!(invalid.to_string().starts_with("script:1:5: "), "{invalid}");
    /// ```
    ///
    /// # Errors
    /// [`Invalid`], with places in the text.
    pub fn script(yaml: &str) -> Result<Self, Invalid> {
        Ok(Self::scripted(parse_script(yaml, "script").map_err(Invalid)?))
    }

    /// What the worker's environment says: `OPENAI_MODEL` (or gpt-5-mini), at `OPENAI_BASE_URL` (or OpenAI), with
    /// `OPENAI_API_KEY`.
    pub fn from_env() -> Self {
        Self::openai("${OPENAI_MODEL:-gpt-5-mini}").base_url("${OPENAI_BASE_URL:-}")
    }

    /// A model of anyone who speaks OpenAI's Chat Completions, at the root of that API.
    pub fn compatible(base_url: impl Into<String>, name: impl Into<String>) -> Self {
        Self { provider: Provider::Compatible, base_url: Some(base_url.into()), ..Self::openai(name) }
    }

    /// The same, at another address; `${VAR:-}` is resolved in the worker's environment.
    #[must_use]
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.base_url = Some(url.into());
        self
    }

    /// The same, asked by another of OpenAI's interfaces.
    #[must_use]
    pub const fn api(mut self, api: Api) -> Self {
        self.api = Some(api);
        self
    }

    /// The same; where the environment has neither a key nor a base URL for it, the model under `key` stands in, announced.
    #[must_use]
    pub fn or_else(mut self, key: impl Into<String>) -> Self {
        self.or_else = Some(key.into());
        self
    }
}

impl HandoffSpec {
    /// A handoff to an agent.
    pub fn to(target: impl Into<String>) -> Self {
        Self { to: target.into(), ..Self::default() }
    }

    /// The same, with when to use it.
    #[must_use]
    pub fn when(mut self, description: impl Into<String>) -> Self {
        self.when = Some(description.into());
        self
    }

    /// The same, only where a CEL expression over the conversation's `metadata` holds.
    #[must_use]
    pub fn only_if(mut self, condition: impl Into<String>) -> Self {
        self.condition = Some(condition.into());
        self
    }

    /// The same, with what the target sees of all before going through a function of its worker, registered there under `name`.
    #[must_use]
    pub fn filter(mut self, name: impl Into<String>) -> Self {
        self.filter = Some(name.into());
        self
    }
}

impl RemoteSpec {
    /// A service at an address.
    pub fn at(url: impl Into<String>) -> Self {
        Self { url: url.into(), ..Self::default() }
    }
}

macro_rules! toolset {
    ($($spec:ident => $key:ident),+) => {$(
        impl From<$spec> for ToolsetSpec {
            fn from(spec: $spec) -> Self {
                Self { $key: Some(spec), ..Self::default() }
            }
        }
    )+};
}

toolset!(CodeSpec => code, HttpSpec => http, McpSpec => mcp, NatsSpec => nats, OpenapiSpec => openapi, TemplateSpec => template);
