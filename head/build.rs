//! Writes the table of built-in overlays from `assets/overlays`: what is shipped and what is built in cannot differ.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let dir = manifest.join("assets/overlays");
    println!("cargo::rerun-if-changed={}", dir.display());
    let mut table = String::from("&[\n");
    for overlay in sorted(&dir)? {
        let rules = overlay.join("overlay.yaml");
        let name = overlay.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let rules = if rules.exists() { format!("include_str!({:?})", rules) } else { "\"\"".to_owned() };
        let mut files = vec![];
        collect(&overlay.join("rootfs"), &overlay.join("rootfs"), &mut files)?;
        _ = writeln!(table, "Shipped {{ name: {name:?}, rules: {rules}, files: &[");
        table.extend(files);
        table.push_str("] },\n");
    }
    table.push(']');
    fs::write(out.join("shipped.rs"), table)
}

fn sorted(dir: &Path) -> io::Result<Vec<PathBuf>> {
    println!("cargo::rerun-if-changed={}", dir.display());
    let mut paths = fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

fn collect(root: &Path, dir: &Path, files: &mut Vec<String>) -> io::Result<()> {
    for path in sorted(dir)? {
        let data = fs::symlink_metadata(&path)?;
        let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        if data.is_dir() {
            collect(root, &path, files)?;
        } else if data.is_symlink() {
            let target = fs::read_link(&path)?;
            files.push(format!("({name:?}, Content::Link({:?}), 0o777),\n", target.to_string_lossy()));
        } else {
            // The group's write permission depends on who checked the sources out.
            let mode = if data.permissions().mode() & 0o100 == 0 { "0o644" } else { "0o755" };
            files.push(format!("({name:?}, Content::Text(include_str!({path:?})), {mode}),\n"));
        }
    }
    Ok(())
}
