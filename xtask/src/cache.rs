//! Where build output and binaries are kept, outside the checkout.

use std::path::PathBuf;

use anyhow::{Context, Result};

/// `REHOME_CACHE`, else `rehome` in the user's cache directory. A cache that is missing is only slower.
pub fn directory() -> Result<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let home = || variable("HOME").map(|home| home.join(".cache"));
    variable("REHOME_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").or_else(home).map(|cache| cache.join("rehome")))
        .context("none of REHOME_CACHE, XDG_CACHE_HOME and HOME is set")
}

/// The checkout. At run time, not when this was built: checkouts may share a target directory.
pub fn checkout() -> Result<PathBuf> {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").context("run this as `cargo xtask`")?;
    PathBuf::from(package).parent().map(PathBuf::from).context("xtask is a folder of the checkout")
}
