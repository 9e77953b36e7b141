use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use wulfpack_shared::id::OverlayName;

use super::*;

#[test]
fn a_shipped_overlay_is_copied_before_it_is_changed_and_comes_back_when_the_copy_goes() {
    let dir = tempfile::tempdir().unwrap();
    let site = Site::new(dir.path().join("site"), dir.path().join("none"));
    let name: OverlayName = "wwinit".parse().unwrap();
    assert_eq!(site.list().unwrap()["wwinit"], Origin::Shipped);
    assert!(matches!(site.delete(&name), Err(SiteError::Shipped(_))));
    let before = site.files(&name).unwrap();
    site.write(&name, "etc/new", b"x", Some(0o600)).unwrap();
    assert_eq!(site.list().unwrap()["wwinit"], Origin::Site);
    let after = site.files(&name).unwrap();
    let files = |files: &[SiteFile]| files.iter().filter(|file| file.text.is_some()).cloned().collect::<Vec<_>>();
    let new = |mode, text: &str| SiteFile { path: "etc/new".into(), mode, uid: 0, gid: 0, text: Some(text.into()) };
    let mut wanted = files(&before);
    wanted.push(new(0o600, "x"));
    wanted.sort_by(|a, b| a.path.cmp(&b.path));
    assert_eq!(files(&after), wanted, "everything else is as it was, with its mode");
    site.chmod(&name, "/etc/new", 0o640).unwrap();
    site.write(&name, "etc/new", b"y", None).unwrap();
    assert!(site.files(&name).unwrap().contains(&new(0o640, "y")));
    site.delete_path(&name, "etc/new", true).unwrap();
    assert!(!dir.path().join("site/wwinit/rootfs/etc").exists());
    site.delete(&name).unwrap();
    assert_eq!(site.files(&name).unwrap(), before);
}

#[test]
fn what_nodes_get_is_written_down_where_the_heads_group_could_not_read_it() {
    let dir = tempfile::tempdir().unwrap();
    let (site, name) = (Site::new(dir.path().join("site"), dir.path().join("none")), "mine".parse().unwrap());
    site.create(&name).unwrap();
    let here = |path: &str| {
        let data = fs::symlink_metadata(dir.path().join("site/mine/rootfs").join(path)).unwrap();
        data.permissions().mode() & 0o777
    };
    let on_node = |path: &str| {
        let file = site.files(&name).unwrap().into_iter().find(|file| file.path == path).unwrap();
        (file.mode, file.uid, file.gid)
    };
    site.write(&name, "etc/key", b"x", Some(0o600)).unwrap();
    assert_eq!((here("etc/key"), on_node("etc/key")), (0o640, (0o600, 0, 0)));
    site.chown(&name, "/etc/key", 0, Some(42)).unwrap();
    site.chown(&name, "etc/key", 7, None).unwrap();
    assert_eq!(on_node("etc/key"), (0o600, 7, 42));
    site.write(&name, "etc/key", b"y", None).unwrap();
    assert_eq!(on_node("etc/key"), (0o600, 7, 42), "another content changes no owner");
    site.chmod(&name, "etc/key", 0o644).unwrap();
    assert_eq!((here("etc/key"), on_node("etc/key")), (0o644, (0o644, 7, 42)));
    site.mkdir(&name, "srv/shared", 0o2770).unwrap();
    assert_eq!((here("srv/shared"), on_node("srv/shared").0), (0o770, 0o2770));
    site.write(&name, "usr/bin/tool", b"", Some(0o4755)).unwrap();
    assert_eq!((here("usr/bin/tool"), on_node("usr/bin/tool").0), (0o755, 0o4755));
    site.delete_path(&name, "etc", false).unwrap();
    site.write(&name, "etc/key", b"", None).unwrap();
    assert_eq!(on_node("etc/key"), (0o644, 0, 0), "what is gone leaves nothing behind");
}

#[test]
fn no_path_leads_out_of_an_overlay() {
    let dir = tempfile::tempdir().unwrap();
    let site = Site::new(dir.path().join("site"), dir.path().join("none"));
    let name: OverlayName = "mine".parse().unwrap();
    assert!(matches!(site.write(&name, "a", b"", None), Err(SiteError::None(_))));
    site.create(&name).unwrap();
    assert!(matches!(site.create(&name), Err(SiteError::Exists(_))));
    symlink("/", dir.path().join("site/mine/rootfs/out")).unwrap();
    for path in ["../x", "a/../../x", "", "out/tmp/x"] {
        assert!(matches!(site.write(&name, path, b"", None), Err(SiteError::Path(_))), "{path}");
    }
}

#[test]
fn comments_explain_variables() {
    let text = "{# All of it. #}\n{# node.tags.ntp: Time servers,\n   by commas. #}x";
    let expected = [("", "All of it."), ("node.tags.ntp", "Time servers, by commas.")];
    assert_eq!(comments(text), expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
}
