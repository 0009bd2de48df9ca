//! `baton health`: asks a program whether it is ready, from within its container, where there is neither a shell nor curl.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use axum::http::{StatusCode, Uri};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::args::HealthArgs;
use crate::output::{self, Output};

/// Whoever checks health has less patience than this.
const AT_MOST: Duration = Duration::from_secs(3);

/// Of an answer, its status is wanted, and the few words that go with it.
const READ_AT_MOST: u64 = 4096;

pub(crate) async fn command(args: HealthArgs, out: Output) -> anyhow::Result<ExitCode> {
    let said = check(&args.url, AT_MOST).await?;
    out.result(&serde_json::json!({ "url": args.url.to_string(), "says": said }), |_| output::printable(&said))?;
    Ok(ExitCode::SUCCESS)
}

/// What is said at `url`, unless it is that something is wrong.
pub(crate) async fn check(url: &Uri, at_most: Duration) -> anyhow::Result<String> {
    let answer = timeout(at_most, get(url)).await.with_context(|| format!("{url} does not answer within {at_most:?}"))?;
    let (status, said) = answer.with_context(|| format!("{url} cannot be asked"))?;
    ensure!(status.is_success(), "{url} says {status}: {}", output::printable(&said));
    Ok(said)
}

/// One request over HTTP/1.0: the answer ends when the connection does.
async fn get(url: &Uri) -> anyhow::Result<(StatusCode, String)> {
    let (Some("http"), Some(host)) = (url.scheme_str(), url.host()) else { bail!("not an http:// address") };
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let mut stream = TcpStream::connect(format!("{host}:{}", url.port_u16().unwrap_or(80))).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(READ_AT_MOST).read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.strip_prefix("HTTP/1.").and_then(|line| line.split(' ').nth(1)).context("the answer is not HTTP")?;
    let said = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body.trim());
    Ok((StatusCode::from_bytes(status.as_bytes())?, said.to_owned()))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio::sync::watch;

    use super::*;
    use crate::health;

    fn url(text: impl AsRef<str>) -> Uri {
        text.as_ref().parse().unwrap()
    }

    async fn refused(url: &Uri) -> String {
        format!("{:#}", check(url, AT_MOST).await.unwrap_err())
    }

    #[tokio::test]
    async fn it_succeeds_exactly_while_the_program_is_ready() {
        let (ready, is_ready) = watch::channel(false);
        let bound = health::serve("127.0.0.1:0".parse().unwrap(), is_ready).await.unwrap();
        let (readyz, livez) = (url(format!("http://{bound}/readyz")), url(format!("http://{bound}/livez")));
        assert_eq!(refused(&readyz).await, format!("http://{bound}/readyz says 503 Service Unavailable: not ready"));
        assert_eq!(check(&livez, AT_MOST).await.unwrap(), "alive");
        ready.send(true).unwrap();
        assert_eq!(check(&readyz, AT_MOST).await.unwrap(), "ready");
        assert!(refused(&url(format!("http://{bound}/elsewhere"))).await.contains("404"));
    }

    #[tokio::test]
    async fn whoever_does_not_answer_is_not_healthy() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = url(format!("http://{}", listener.local_addr().unwrap()));
        let said = check(&address, Duration::from_millis(50)).await.unwrap_err();
        assert_eq!(said.to_string(), format!("{address} does not answer within 50ms"));
        drop(listener);
        assert!(refused(&address).await.contains("cannot be asked"));
        assert!(refused(&url("https://127.0.0.1/readyz")).await.contains("not an http:// address"));
    }

    #[tokio::test]
    async fn what_is_not_http_is_said() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = url(format!("http://{}/", listener.local_addr().unwrap()));
        let serve = async { listener.accept().await.unwrap().0.write_all(b"-ERR 'Unknown Protocol Operation'\r\n").await.unwrap() };
        let (said, ()) = tokio::join!(refused(&address), serve);
        assert!(said.contains("the answer is not HTTP"), "{said}");
    }
}
