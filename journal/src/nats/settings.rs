//! Where the broker is and how to log in: what the `nats` command line reads, read alike.
//!
//! What is said explicitly wins over `NATS_*` variables, these win over the context that `NATS_CONTEXT` names, and
//! without any of them there is a server on this machine. The context that `nats context select` chose is *not*
//! followed: a hidden file must not decide which broker a program writes to.

use std::fmt;
use std::path::{Path, PathBuf};

use protocol::ids::ProcessId;
use serde::Deserialize;

/// Where a nats-server listens if nobody says otherwise.
pub const DEFAULT_URL: &str = "nats://127.0.0.1:4222";

/// How to reach the broker, and as whom.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// Addresses, separated by commas.
    pub url: String,
    /// This process: it names the connection, and its inboxes begin with `_INBOX_<process>` and nobody else's, so that
    /// no permission needs to cover the answers to others.
    pub process: ProcessId,
    /// How it proves who it is.
    pub login: Login,
    /// How the connection is encrypted.
    pub tls: Tls,
    /// Whether to wait for a broker that is not there yet, instead of failing at once.
    pub waits_for_broker: bool,
    /// Whether somebody who knows the server's configuration vouches for `sync_interval: always`: ordinary clients cannot
    /// see it (`BATON_NATS_SYNCED=true`).
    pub is_synced: bool,
}

/// Credentials; those that are there are used.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Login {
    /// A user's name.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<String>,
    /// A token.
    pub token: Option<String>,
    /// A credentials file (JWT and key).
    pub creds: Option<PathBuf>,
    /// A file with the seed of an nkey.
    pub nkey: Option<PathBuf>,
}

/// Certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Whom to trust.
    pub ca: Option<PathBuf>,
    /// The client's certificate.
    pub cert: Option<PathBuf>,
    /// The client's key.
    pub key: Option<PathBuf>,
    /// Whether TLS begins before the server has said anything.
    pub is_first: bool,
}

/// Why the environment gives no settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The context's file cannot be read.
    #[error("the NATS context {name} cannot be read from {path}: {why}", path = .path.display())]
    Context {
        /// Its name.
        name: String,
        /// Where it was looked for.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// The context asks for what Baton cannot do.
    #[error("the NATS context {name} sets {key}, which Baton does not support")]
    Unsupported {
        /// The context.
        name: String,
        /// The key.
        key: &'static str,
    },
}

impl Settings {
    /// A server that asks for no credentials.
    pub fn new(url: impl Into<String>, process: ProcessId) -> Self {
        Self { url: url.into(), process, login: Login::default(), tls: Tls::default(), waits_for_broker: false, is_synced: false }
    }

    /// The settings in an environment. `url`, where given, wins over everything the environment says of the address.
    ///
    /// # Errors
    /// [`SettingsError`] when the environment names a context that cannot be used.
    pub fn from_env(url: Option<&str>, process: ProcessId, lookup: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let get = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let path = |name: &str| get(name).map(PathBuf::from);
        let context = match get("NATS_CONTEXT") {
            Some(name) => Context::read(&name, &contexts(&get))?,
            None => Context::default(),
        };
        let url = url.map(str::to_owned).or_else(|| get("NATS_URL")).or(context.url).unwrap_or_else(|| DEFAULT_URL.to_owned());
        Ok(Self {
            login: Login {
                user: get("NATS_USER").or(context.user),
                password: get("NATS_PASSWORD").or(context.password),
                token: get("NATS_TOKEN").or(context.token),
                creds: path("NATS_CREDS").or(context.creds),
                nkey: path("NATS_NKEY").or(context.nkey),
            },
            tls: Tls {
                ca: path("NATS_CA").or(context.ca),
                cert: path("NATS_CERT").or(context.cert),
                key: path("NATS_KEY").or(context.key),
                is_first: context.tls_first,
            },
            is_synced: get("BATON_NATS_SYNCED").is_some_and(|value| matches!(value.as_str(), "1" | "true" | "yes")),
            ..Self::new(url, process)
        })
    }

    /// The addresses as they may be shown: without user, password and token.
    pub fn shown_url(&self) -> String {
        let shown = self.url.split(',').map(|url| {
            let url = url.trim();
            let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (scheme, rest));
            let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
            if scheme.is_empty() { host.to_owned() } else { format!("{scheme}://{host}") }
        });
        shown.collect::<Vec<_>>().join(",")
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("url", &self.shown_url())
            .field("process", &self.process)
            .field("login", &self.login)
            .field("tls", &self.tls)
            .field("waits_for_broker", &self.waits_for_broker)
            .field("is_synced", &self.is_synced)
            .finish()
    }
}

/// Secrets are not shown, only that there are some.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("user", &self.user)
            .field("password", &self.password.as_ref().map(|_| ".."))
            .field("token", &self.token.as_ref().map(|_| ".."))
            .field("creds", &self.creds)
            .field("nkey", &self.nkey)
            .finish()
    }
}

/// The directory of the contexts.
fn contexts(get: &impl Fn(&str) -> Option<String>) -> PathBuf {
    let config = get("XDG_CONFIG_HOME").map(PathBuf::from);
    let home = || PathBuf::from(get("HOME").unwrap_or_default()).join(".config");
    config.unwrap_or_else(home).join("nats").join("context")
}

/// A context as the `nats` command line writes it. It writes every key; an empty one is none.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Context {
    #[serde(deserialize_with = "filled")]
    url: Option<String>,
    #[serde(deserialize_with = "filled")]
    user: Option<String>,
    #[serde(deserialize_with = "filled")]
    password: Option<String>,
    #[serde(deserialize_with = "filled")]
    token: Option<String>,
    #[serde(deserialize_with = "filled")]
    creds: Option<PathBuf>,
    #[serde(deserialize_with = "filled")]
    nkey: Option<PathBuf>,
    #[serde(deserialize_with = "filled")]
    ca: Option<PathBuf>,
    #[serde(deserialize_with = "filled")]
    cert: Option<PathBuf>,
    #[serde(deserialize_with = "filled")]
    key: Option<PathBuf>,
    tls_first: bool,
    #[serde(deserialize_with = "filled")]
    nsc: Option<String>,
    #[serde(deserialize_with = "filled")]
    socks_proxy: Option<String>,
    #[serde(deserialize_with = "filled")]
    jetstream_domain: Option<String>,
}

fn filled<'de, D: serde::Deserializer<'de>, T: From<String>>(deserializer: D) -> Result<Option<T>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.filter(|text| !text.is_empty()).map(T::from))
}

impl Context {
    fn read(name: &str, directory: &Path) -> Result<Self, SettingsError> {
        let path = directory.join(format!("{name}.json"));
        let read = std::fs::read(&path).map_err(|error| error.to_string());
        let parsed = read.and_then(|bytes| serde_json::from_slice::<Self>(&bytes).map_err(|error| error.to_string()));
        let context = parsed.map_err(|why| SettingsError::Context { name: name.to_owned(), path, why })?;
        let Self { nsc, socks_proxy, jetstream_domain, .. } = &context;
        for (key, value) in [("nsc", nsc), ("socks_proxy", socks_proxy), ("jetstream_domain", jetstream_domain)] {
            if value.is_some() {
                return Err(SettingsError::Unsupported { name: name.to_owned(), key });
            }
        }
        Ok(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process() -> ProcessId {
        "worker-1".parse().unwrap()
    }

    fn from_env(url: Option<&str>, env: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        let lookup = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Settings::from_env(url, process(), lookup)
    }

    #[test]
    fn an_explicit_address_wins_over_the_environment_over_the_default() {
        let env = [("NATS_URL", "nats://b:4222")];
        assert_eq!(from_env(Some("nats://a:4222"), &env).unwrap().url, "nats://a:4222");
        assert_eq!(from_env(None, &env).unwrap().url, "nats://b:4222");
        assert_eq!(from_env(None, &[("NATS_URL", "")]).unwrap().url, DEFAULT_URL);
    }

    #[test]
    fn a_context_gives_what_the_variables_do_not() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("nats/context");
        std::fs::create_dir_all(&directory).unwrap();
        let written = r#"{"description":"","url":"tls://prod:4222","user":"ann","password":"secret","creds":"","ca":"/ca.pem","nsc":"","color_scheme":"x"}"#;
        std::fs::write(directory.join("prod.json"), written).unwrap();
        let home = home.path().to_str().unwrap();
        let settings = from_env(None, &[("XDG_CONFIG_HOME", home), ("NATS_CONTEXT", "prod"), ("NATS_USER", "bob")]).unwrap();
        assert_eq!(settings.url, "tls://prod:4222");
        let login = Login { user: Some("bob".into()), password: Some("secret".into()), ..Login::default() };
        assert_eq!(settings.login, login);
        assert_eq!(settings.tls, Tls { ca: Some("/ca.pem".into()), ..Tls::default() });

        std::fs::write(directory.join("odd.json"), r#"{"nsc":"nsc://a/b/c"}"#).unwrap();
        let odd = from_env(None, &[("XDG_CONFIG_HOME", home), ("NATS_CONTEXT", "odd")]);
        assert_eq!(odd, Err(SettingsError::Unsupported { name: "odd".into(), key: "nsc" }));
        let missing = from_env(None, &[("XDG_CONFIG_HOME", home), ("NATS_CONTEXT", "none")]).unwrap_err();
        assert!(missing.to_string().contains("none.json"), "{missing}");
    }

    #[test]
    fn secrets_are_never_shown() {
        let env = [("NATS_URL", "nats://ann:hunter2@a:4222, tls://s3cret@b"), ("NATS_PASSWORD", "hunter2"), ("NATS_TOKEN", "s3cret")];
        let settings = from_env(None, &env).unwrap();
        assert_eq!(settings.shown_url(), "nats://a:4222,tls://b");
        let shown = format!("{settings:?}");
        assert!(!shown.contains("hunter2") && !shown.contains("s3cret"), "{shown}");
    }
}
