use std::fs;
use std::path::Path;
use std::sync::Arc;

use wulfpack_shared::identity::SecretKey;

use super::*;
use crate::config::Config;
use crate::registry::{Defaults, Registry, Snapshot};

/// Three nodes with shipped overlays and one of the site, which looks at its node, and two that look at all nodes and at a file.
fn snapshot(tag: &str, more: &str) -> Arc<Snapshot> {
    let text = format!(
        "nodeprofiles: {{default: {{system overlay: [hostname, resolv, ssh.host_keys, plain, reads], \
         runtime overlay: [hosts, ssh.authorized_keys, looks]}}}}\nnodes:\n  n1: {{profiles: [default], tags: {{a: '{tag}'}}}}\n  \
         n2: {{profiles: [default], tags: {{a: x}}}}\n{more}"
    );
    Registry::parse(&text, Defaults::default()).unwrap_or_else(|problems| panic!("{problems}")).resolve()
}

struct Site {
    dir: tempfile::TempDir,
    renderer: Renderer,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let readable =
            Readable { files: dir.path().join("files"), images: dir.path().join("images"), ..Readable::default() };
        let renderer = Renderer::new([dir.path().join("site")], readable);
        let site = Self { dir, renderer };
        site.write("site/plain/rootfs/etc/plain", "plain");
        site.write("site/looks/rootfs/etc/looks.j2", "{{ node.tags.a }}\n");
        site.write("site/reads/rootfs/etc/reads.j2", "{{ include_file('text') }}\n");
        site.write("files/text", "one");
        site
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).unwrap();
        fs::write(path, text).unwrap();
    }

    /// The digests of all nodes, which are what rendering makes.
    fn check(&self, snapshot: &Snapshot, keys: &str) -> Vec<Digest> {
        let facts = Facts::new(&Config::default(), snapshot, &[], keys, SecretKey::from_seed([1; 32]));
        let now = self.renderer.now();
        let of = |node: &Arc<crate::registry::Node>| {
            let (digest, bundles) = (now.digest(node, &facts).unwrap(), now.render(node, &facts).unwrap());
            assert_eq!(digest, Digest::of_bundles(&bundles), "{}", node.name);
            digest
        };
        snapshot.nodes().map(of).collect()
    }
}

#[test]
fn a_digest_is_always_what_rendering_makes_and_changes_only_where_something_did() {
    let site = Site::new();
    let first = site.check(&snapshot("x", ""), "key");
    assert_eq!(site.check(&snapshot("x", ""), "key"), first);
    // A value of one node.
    let tagged = site.check(&snapshot("y", ""), "key");
    assert_eq!((tagged[0].system, tagged[1]), (first[0].system, first[1]));
    assert_ne!(tagged[0].runtime, first[0].runtime);
    // Another node: everybody's hosts.
    let more = "  n3: {profiles: [default], tags: {a: z}, network devices: {default: {ipaddr: 10.0.0.3, netmask: 255.0.0.0}}}\n";
    let grown = site.check(&snapshot("y", more), "key");
    assert_eq!(grown.len(), 3);
    assert!(grown[1].system == tagged[1].system && grown[1].runtime != tagged[1].runtime);
    // The keys that may log in.
    assert_ne!(site.check(&snapshot("y", more), "other key")[1].runtime, grown[1].runtime);
    // A source that is a file, one that is a template, and what a template reads.
    for (path, text) in [
        ("site/plain/rootfs/etc/plain", "other"),
        ("site/looks/rootfs/etc/looks.j2", "{{ node.tags.a }}!\n"),
        ("files/text", "two"),
    ] {
        let before = site.check(&snapshot("y", more), "key");
        site.write(path, text);
        let after = site.check(&snapshot("y", more), "key");
        assert!(before.iter().zip(&after).all(|(before, after)| before != after), "{path}");
    }
    // A node that goes, and comes back.
    site.renderer.retain(|name| name.as_str() != "n2");
    site.check(&snapshot("y", more), "key");
}
