//! The route through Go: `go install` builds the published module.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use super::super::tool::Tool;
use super::super::version::PINNED;
use super::{Brought, RouteError};

const MODULE: &str = "github.com/nats-io/nats-server/v2";

/// The module's checksum as Go's checksum database has it, in the form that Go writes into what it builds.
const MODULE_SUM: &str = "h1:fK3AeYFIji1Smng60jB0hVoAPZezA/UzsaI3BqXFNEI=";

const BUILD_AT_MOST: Duration = Duration::from_secs(900);
const ASK_AT_MOST: Duration = Duration::from_secs(30);

pub(super) async fn bring(workplace: &Path) -> Result<Brought, RouteError> {
    let go = |args: &[&str]| {
        let args: Vec<&OsStr> = args.iter().map(OsStr::new).collect();
        Tool::new("go", &args).within(workplace)
    };
    let module = format!("{MODULE}@v{PINNED}");
    let build = go(&["install", "-trimpath", &module]).env("GOBIN", workplace).env("CGO_ENABLED", "0").env("GOWORK", "off");
    build.output(BUILD_AT_MOST).await?;

    // Nothing of the module has run so far: building a Go program executes none of its code.
    let executable = workplace.join("nats-server");
    let built_from = Tool::new("go", &[OsStr::new("version"), OsStr::new("-m"), executable.as_os_str()]);
    let got = module_sum(&built_from.within(workplace).output(ASK_AT_MOST).await?);
    if got != MODULE_SUM {
        return Err(RouteError::Checksum { what: "the module", got, pinned: MODULE_SUM });
    }
    let settings = go(&["env", "GOSUMDB", "GONOSUMDB"]).output(ASK_AT_MOST).await?;
    Ok(Brought { executable, verified: format!("the module has the pinned sum; {}", dependencies_checked_by(&settings)) })
}

/// The sum of the main module in the answer to `go version -m`.
fn module_sum(build_information: &str) -> String {
    let mut lines = build_information.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let pinned = format!("v{PINNED}");
    let sum = lines.find_map(|fields| match fields[..] {
        ["mod", MODULE, version, sum] if version == pinned => Some(sum.to_owned()),
        _ => None,
    });
    sum.unwrap_or_else(|| "(none)".to_owned())
}

/// What vouches for the other modules, from the answer to `go env GOSUMDB GONOSUMDB`: machines may have it switched off.
fn dependencies_checked_by(settings: &str) -> String {
    let mut lines = settings.lines().map(str::trim);
    match (lines.next().unwrap_or_default(), lines.next().unwrap_or_default()) {
        ("" | "off", _) => "its dependencies were not checked (GOSUMDB=off)".to_owned(),
        (database, "") => format!("its dependencies were checked against {database}"),
        (database, except) => format!("its dependencies were checked against {database} (not those of GONOSUMDB={except})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_that_of_the_pinned_module_and_no_other() {
        let answer = |version: &str| {
            format!(
                "nats-server: go1.26.8\n\tpath\t{MODULE}\n\tmod\t{MODULE}\t{version}\th1:abc=\n\tdep\tgolang.org/x/sys\tv2.15.1\th1:def=\n"
            )
        };
        assert_eq!(module_sum(&answer("v2.15.1")), "h1:abc=");
        assert_eq!(module_sum(&answer("v2.15.0")), "(none)");
        assert_eq!(module_sum("nats-server: go1.26.8\n\tmod\tgithub.com/nats-io/nats-server/v2\t(devel)\n"), "(none)");
    }

    #[test]
    fn says_what_vouches_for_the_dependencies() {
        assert!(dependencies_checked_by("sum.golang.org\n\n").ends_with("were checked against sum.golang.org"));
        assert!(dependencies_checked_by("off\n\n").contains("were not checked"));
        assert!(dependencies_checked_by("sum.golang.org\ngithub.com/*\n").contains("not those of GONOSUMDB=github.com/*"));
    }
}
