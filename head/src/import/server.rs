//! What of `warewulf.conf` means something here, and what does not.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::plan::{ImportError, Plan, Remark, read};
use super::settings::Settings;
use crate::config::yaml;

/// Where a Warewulf head keeps its things.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub(super) etc: PathBuf,
    pub(super) images: PathBuf,
    pub(super) overlays: PathBuf,
    /// What its absolute paths are below.
    root: PathBuf,
}

impl Places {
    pub(super) fn find(dir: &Path) -> Result<Self, ImportError> {
        let (etc, root) = if dir.join("warewulf.conf").is_file() {
            let root = dir.ancestors().nth(2).filter(|_| dir.ends_with("etc/warewulf"));
            (dir.to_owned(), root.unwrap_or(Path::new("/")).to_owned())
        } else {
            (dir.join("etc/warewulf"), dir.to_owned())
        };
        if !etc.join("warewulf.conf").is_file() {
            return Err(ImportError::NotWarewulf(dir.into()));
        }
        let state = root.join("var/lib/warewulf");
        Ok(Self { etc, images: state.join("chroots"), overlays: state.join("overlays"), root })
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }
}

/// Takes over settings, and says of the others what takes their place.
pub(super) fn read_server(mut places: Places, plan: &mut Plan) -> Result<Places, ImportError> {
    let path = places.etc.join("warewulf.conf");
    let text = read(&path)?;
    let value: Value = yaml::parse(&text).map_err(|what| ImportError::Invalid { path: path.clone(), what })?;
    let line = |key: &str| {
        let key = key.rsplit(": ").next().unwrap_or(key);
        text.lines().position(|line| line.trim_start().starts_with(&format!("{key}:"))).map(|line| line + 1)
    };
    let (settings, odd) = Settings::read(&value);
    plan.settings = settings;
    for (key, what) in odd {
        plan.remarks.push(Remark { file: path.clone(), line: line(key), what: format!("{key}: {what}") });
    }
    let text_of = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let get =
        |keys: &[&str]| keys.iter().try_fold(&value, |value, key| value.get(key)).filter(|value| !value.is_null());
    if let Some(dir) = get(&["paths", "wwchrootdir"]).and_then(Value::as_str) {
        places.images = places.at(dir);
    }
    let overlays = get(&["paths", "wwoverlaydir"]).or_else(|| get(&["paths", "siteoverlaydir"]));
    if let Some(dir) = overlays.and_then(Value::as_str) {
        places.overlays = places.at(dir);
    }
    let mut say = |keys: &[&str], what: &dyn Fn(&str) -> String| {
        if let Some(value) = get(keys) {
            let key = keys.join(": ");
            let remark =
                Remark { file: path.clone(), line: line(&key), what: format!("{key}: {}", what(&text_of(value))) };
            plan.remarks.push(remark);
        }
    };
    say(&["dhcp", "template"], &|_| "DHCP is the head's own; there is no template".into());
    say(&["nfs", "export paths"], &|_| {
        "`wulf configure nfs` writes the exports; what nodes mount are `resources: fstab` of profiles".into()
    });
    say(&["ssh", "key types"], &|types| {
        format!("host keys of nodes are derived, each node its own; {types} does not apply")
    });
    say(&["warewulf", "port"], &|port| {
        format!("ports are those of `ports:`; {port} is free again once warewulfd is stopped")
    });
    say(&["warewulf", "update interval"], &|seconds| {
        format!(
            "nodes look for changes by a hash every `update_interval` seconds (300), and `wulf overlay push` tells them at once; {seconds} is not taken over"
        )
    });
    say(&["warewulf", "secure"], &|_| {
        "nodes show a one-time token and a certificate; source ports mean nothing".into()
    });
    for key in ["image mounts", "container mounts"] {
        say(&[key], &|_| "binds are options of `wulf image exec` and `shell`".into());
    }
    say(&["api"], &|_| "the head has no REST API; its socket is for root".into());
    Ok(places)
}
