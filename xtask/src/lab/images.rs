//! The image of sandboxes: no image registry is asked for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::json;

use super::command::output;
use super::layout::state;

/// Its name.
pub const PAUSE: &str = "lab.local/pause:1";

/// Makes the archive that `ctr images import` takes.
pub fn pause() -> Result<PathBuf> {
    let layer = state("pause-layer.tar");
    let mut builder = tar::Builder::new(fs::File::create(&layer)?);
    builder.append_path_with_name("/bin/busybox", "busybox").context("busybox-static")?;
    builder.into_inner()?;
    let config = json!({
        "architecture": "amd64", "os": "linux",
        "config": {"Entrypoint": ["/busybox", "sleep", "2147483647"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", digest(&layer)?)]},
    });
    let config_file = state("pause-config.json");
    fs::write(&config_file, config.to_string())?;
    let config_name = format!("{}.json", digest(&config_file)?);
    let manifest = json!([{"Config": config_name, "RepoTags": [PAUSE], "Layers": ["layer.tar"]}]);
    let manifest_file = state("pause-manifest.json");
    fs::write(&manifest_file, manifest.to_string())?;
    let archive = state("pause.tar");
    let mut builder = tar::Builder::new(fs::File::create(&archive)?);
    builder.append_path_with_name(&layer, "layer.tar")?;
    builder.append_path_with_name(&config_file, &config_name)?;
    builder.append_path_with_name(&manifest_file, "manifest.json")?;
    builder.into_inner()?;
    Ok(archive)
}

fn digest(file: &Path) -> Result<String> {
    let line = output(Command::new("sha256sum").arg(file))?;
    line.split(' ').next().map(str::to_owned).context("sha256sum printed nothing")
}
