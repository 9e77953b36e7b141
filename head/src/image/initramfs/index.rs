//! What depmod found out about a kernel's modules: `modules.dep`, `.alias`, `.softdep`, `.builtin`, `.order` (depmod(8),
//! modules.dep(5)). Text in, answers out.

use std::collections::{BTreeMap, BTreeSet};

/// One loadable module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Module {
    /// Path below `/lib/modules/RELEASE`, with the suffix of its compression.
    pub(super) path: String,
    /// Names of the modules that must be loaded before, all of them.
    pub(super) depends: Vec<String>,
}

/// Modules that are loaded with another where they exist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Softdep {
    /// Before it.
    pub(super) pre: Vec<String>,
    /// After it.
    pub(super) post: Vec<String>,
}

/// The files as they are in the image.
#[derive(Clone, Debug, Default)]
pub(super) struct DepmodFiles {
    /// `modules.dep`
    pub(super) dep: String,
    /// `modules.alias`
    pub(super) alias: String,
    /// `modules.softdep`, and the `softdep` lines of modprobe.d after it.
    pub(super) softdep: String,
    /// `modules.builtin`
    pub(super) builtin: String,
    /// `modules.order`
    pub(super) order: String,
}

/// The modules of one kernel. Names have `_` wherever files have `-`.
#[derive(Clone, Debug, Default)]
pub(super) struct ModuleIndex {
    modules: BTreeMap<String, Module>,
    softdeps: BTreeMap<String, Softdep>,
    /// Alias without wildcard to modules.
    aliases: BTreeMap<String, Vec<String>>,
    builtin: BTreeSet<String>,
    /// Modules by the name and directory that the kernel's own build gave them, wherever the chosen file lies now.
    order: Vec<(String, String)>,
}

/// The module name of a path such as `kernel/net/virtio-net.ko.xz`; `None` if it is not a module's.
pub(super) fn module_name(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    let (stem, suffix) = file.split_once(".ko")?;
    (!stem.is_empty() && matches!(suffix, "" | ".gz" | ".xz" | ".zst")).then(|| normal(stem))
}

/// The path without the suffix of a compression.
pub(super) fn plain_path(path: &str) -> &str {
    [".gz", ".xz", ".zst"].iter().find_map(|suffix| path.strip_suffix(suffix)).unwrap_or(path)
}

/// The kernel takes `-` and `_` in module names for the same.
pub(super) fn normal(name: &str) -> String {
    name.replace('-', "_")
}

/// `modules.dep` may name modules from the root on.
fn relative<'a>(path: &'a str, release: &str) -> &'a str {
    path.split_once(&format!("/lib/modules/{release}/")).map_or(path, |(_, path)| path)
}

impl ModuleIndex {
    /// Reads the files of the kernel `release`.
    pub(super) fn parse(release: &str, files: &DepmodFiles) -> Self {
        let mut index = Self::default();
        for line in files.dep.lines() {
            let Some((path, depends)) = line.split_once(':') else { continue };
            let path = relative(path.trim(), release);
            let Some(name) = module_name(path) else { continue };
            let depends = depends.split_whitespace().filter_map(module_name).collect();
            index.modules.insert(name, Module { path: path.to_owned(), depends });
        }
        for line in files.alias.lines() {
            let mut words = line.split_whitespace();
            if let (Some("alias"), Some(alias), Some(module)) = (words.next(), words.next(), words.next()) {
                index.aliases.entry(normal(alias)).or_default().push(normal(module));
            }
        }
        for line in files.softdep.lines() {
            index.add_softdep(line);
        }
        index.builtin = files.builtin.lines().filter_map(|line| module_name(line.trim())).collect();
        // Older kernels write `.o` for `.ko` nowhere here, but newer ones name objects: both are read.
        let order = files.order.lines().map(str::trim).filter_map(|path| {
            let name = module_name(path).or_else(|| module_name(&format!("{}.ko", path.strip_suffix(".o")?)))?;
            Some((name, path.to_owned()))
        });
        index.order = order.collect();
        index
    }

    fn add_softdep(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        let (Some("softdep"), Some(name)) = (words.next(), words.next()) else { return };
        let softdep = self.softdeps.entry(normal(name)).or_default();
        let mut list = None;
        for word in words {
            match word {
                "pre:" => list = Some(&mut softdep.pre),
                "post:" => list = Some(&mut softdep.post),
                name => {
                    if let Some(list) = &mut list {
                        list.push(normal(name));
                    }
                }
            }
        }
    }

    /// All modules by name.
    pub(super) fn modules(&self) -> impl Iterator<Item = (&String, &Module)> {
        self.modules.iter()
    }

    /// The module with this name.
    pub(super) fn get(&self, name: &str) -> Option<&Module> {
        self.modules.get(name)
    }

    /// What is loaded softly with this module.
    pub(super) fn softdep(&self, name: &str) -> Option<&Softdep> {
        self.softdeps.get(name)
    }

    /// Whether the kernel has it built in.
    pub(super) fn is_builtin(&self, name: &str) -> bool {
        self.builtin.contains(name)
    }

    /// The modules that a name means: a module, else all that have it as an alias; none where it is built in or unknown.
    pub(super) fn resolve(&self, name: &str) -> Vec<&str> {
        let name = normal(name);
        match self.modules.get_key_value(&name) {
            Some((name, _)) => vec![name],
            None => self
                .aliases
                .get(&name)
                .into_iter()
                .flatten()
                .filter(|name| self.modules.contains_key(*name))
                .map(String::as_str)
                .collect(),
        }
    }

    /// Names of modules that lie below `directory` in the kernel's own build, or now. A driver that a vendor has replaced
    /// (`updates/`, `extra/`, `weak-updates/`) has left that directory, but `modules.order` still names it there.
    pub(super) fn below<'a>(&'a self, directory: &'a str) -> impl Iterator<Item = &'a str> {
        let moved =
            self.order.iter().filter(move |(_, path)| path.starts_with(directory)).map(|(name, _)| name.as_str());
        let here = self.modules.iter().filter(move |(_, module)| module.path.starts_with(directory));
        here.map(|(name, _)| name.as_str()).chain(moved.filter(|name| self.modules.contains_key(*name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depmods_files_are_read() {
        let files = DepmodFiles {
            dep: "kernel/net/virtio_net.ko.xz: kernel/net/net-failover.ko.xz kernel/net/failover.ko\n\
                  kernel/net/net-failover.ko.xz: kernel/net/failover.ko\nkernel/net/failover.ko:\n\
                  /lib/modules/6.1/updates/dkms/ice.ko:\nnot a module: x\n"
                .into(),
            alias: "# Aliases\nalias virtio:d00000001v* virtio_net\nalias crypto-crc32c net-failover\n".into(),
            softdep: "# Soft\nsoftdep virtio-net pre: failover post: ice xx\nsoftdep broken\n".into(),
            builtin: "kernel/fs/squashfs/squashfs.ko\n".into(),
            order: "kernel/drivers/net/ethernet/intel/ice/ice.ko\nkernel/drivers/net/ethernet/gone/gone.o\n".into(),
        };
        let index = ModuleIndex::parse("6.1", &files);
        assert_eq!(index.get("virtio_net").unwrap().depends, ["net_failover", "failover"]);
        assert_eq!(index.get("ice").unwrap().path, "updates/dkms/ice.ko");
        assert_eq!(index.modules().count(), 4);
        assert!(index.is_builtin("squashfs"));
        let expected = Softdep { pre: vec!["failover".into()], post: vec!["ice".into(), "xx".into()] };
        assert_eq!(index.softdep("virtio_net"), Some(&expected));
        assert_eq!(index.resolve("crypto-crc32c"), ["net_failover"]);
        assert_eq!(index.resolve("net-failover"), ["net_failover"]);
        assert!(index.resolve("unheard_of").is_empty());
        assert_eq!(index.below("kernel/drivers/net/ethernet/").collect::<Vec<_>>(), ["ice"]);
    }

    #[test]
    fn names_come_from_paths() {
        assert_eq!(module_name("a/b-c.ko.zst").as_deref(), Some("b_c"));
        assert_eq!(module_name("a/b.ko").as_deref(), Some("b"));
        for bad in ["a/b.o", "a/.ko", "a/b.ko.sig", ""] {
            assert_eq!(module_name(bad), None, "{bad}");
        }
        assert_eq!(plain_path("a/b.ko.xz"), "a/b.ko");
    }
}
