//! Images from a registry of containers: Debian's docker-registry, on the loopback of a network namespace of the test's own.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use nix::sched::{CloneFlags, unshare};
use rustix::fs::{CWD, FileType, Mode, XattrFlags, makedev, mknodat, setxattr};
use serde_json::{Value, json};
use wulfpack_tests::harness::{OciRegistry, REGISTRY_PASSWORD, REGISTRY_USER, make_image, noise, run, tiny_root};

use super::{Head, MIB};

const PORT: u16 = 5000;

/// A head and a registry with users, on one disk.
struct Lab {
    head: Head,
    registry: OciRegistry,
    layout: PathBuf,
}

impl Lab {
    fn run(work: impl FnOnce(Self) -> Result<()> + Send) -> Result<()> {
        Head::on_disk("400m", |mut head| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            run(Command::new("ip").args(["link", "set", "lo", "up"]))?;
            let scratch = head.paths.state.join("lab");
            fs::create_dir_all(&scratch)?;
            let registry = OciRegistry::start(&scratch, PORT, true)?;
            // A home of their own, where nobody has logged in; and a skopeo that tells how it was called.
            let bin = scratch.join("bin");
            fs::create_dir_all(&bin)?;
            let real = std::env::var("PATH").unwrap_or_default();
            let wrapper =
                format!("#!/bin/sh\necho \"$@\" >>{0}/calls\nPATH={real} exec skopeo \"$@\"\n", scratch.display());
            fs::write(bin.join("skopeo"), wrapper)?;
            fs::set_permissions(bin.join("skopeo"), fs::Permissions::from_mode(0o755))?;
            let path = format!("{}:{real}", bin.display());
            head.environment = vec![
                ("HOME", scratch.join("home").display().to_string()),
                ("XDG_RUNTIME_DIR", scratch.join("xdg").display().to_string()),
                ("PATH", path),
                ("WULFPACK_OCI_NOHTTPS", "1".into()),
            ];
            let layout = scratch.join("layout");
            work(Self { head, registry, layout })
        })
    }

    fn scratch(&self) -> PathBuf {
        self.head.paths.state.join("lab")
    }

    /// An image of three layers with everything that a file can be.
    fn image(&self) -> Result<()> {
        make_image(&self.layout, "9", &[&first, &second, &third])?;
        self.registry.push(&format!("oci:{}:9", self.layout.display()), "site/rocky:9", false)
    }

    fn import(&self, more: &[&str]) -> Vec<String> {
        let reference = self.registry.reference("site/rocky:9");
        ["image", "import", &reference].iter().chain(more).map(|text| (*text).to_owned()).collect()
    }

    fn password(&self) -> Result<String> {
        let path = self.scratch().join("password");
        fs::write(&path, format!("{REGISTRY_PASSWORD}\n"))?;
        Ok(path.display().to_string())
    }

    fn calls(&self) -> String {
        fs::read_to_string(self.scratch().join("calls")).unwrap_or_default()
    }
}

fn words(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

fn first(root: &Path) -> Result<()> {
    tiny_root(root, 3 * MIB, 0)?;
    fs::create_dir_all(root.join("srv/old"))?;
    fs::write(root.join("srv/old/one"), "1")?;
    fs::write(root.join("etc/gone"), "1")?;
    fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n")?;
    fs::hard_link(root.join("etc/content"), root.join("srv/content"))?;
    let ping = root.join("usr/ping");
    fs::write(&ping, "ping")?;
    chown(&ping, Some(7), Some(1005))?;
    fs::set_permissions(&ping, fs::Permissions::from_mode(0o4755))?;
    // capabilities(7): version 2, effective, CAP_NET_RAW permitted.
    let capability = [1u8, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    setxattr(&ping, "security.capability", &capability, XattrFlags::empty())?;
    let null = root.join("usr/null");
    mknodat(CWD, &null, FileType::CharacterDevice, Mode::from_raw_mode(0o666), makedev(1, 3))?;
    Ok(())
}

fn second(root: &Path) -> Result<()> {
    fs::remove_file(root.join("etc/gone"))?;
    fs::remove_dir_all(root.join("srv/old"))?;
    fs::create_dir(root.join("srv/old"))?;
    fs::write(root.join("srv/old/two"), "2")?;
    fs::write(root.join("lib/through-a-link"), noise(MIB, 7))?;
    Ok(())
}

fn third(root: &Path) -> Result<()> {
    fs::remove_file(root.join("srv/old/two"))?;
    fs::remove_dir(root.join("srv/old"))?;
    symlink("../etc", root.join("srv/old"))?;
    fs::write(root.join("etc/motd"), "third")?;
    Ok(())
}

/// Everything of a tree that tar can say, in one archive: two that are equal have the same inodes.
fn packed(root: &Path) -> Result<PathBuf> {
    let tar = root.with_extension("compare.tar");
    let mut command = Command::new("tar");
    command.args(["--sort=name", "--numeric-owner", "--xattrs", "--xattrs-include=*", "--format=pax"]);
    command.args(["--pax-option=delete=atime,delete=ctime", "-C"]).arg(root).arg("-cf").arg(&tar).arg(".");
    run(&mut command)?;
    Ok(tar)
}

fn listing(tar: &Path) -> Result<String> {
    run(Command::new("tar").args(["--full-time", "--numeric-owner", "-tvf"]).arg(tar))
}

#[test]
fn an_image_from_a_registry_is_what_umoci_makes_of_it_and_its_digest_is_kept() -> Result<()> {
    Lab::run(|lab| {
        lab.image()?;
        let password = lab.password()?;
        let login = ["--username", REGISTRY_USER, "--password-file", &password];
        let text = lab.head.run(&words(&lab.import(&login)))?;
        assert!(text.status.success(), "{}", String::from_utf8_lossy(&text.stderr));
        // The name is taken from the reference.
        let rootfs = lab.head.paths.images().join("rocky-9/rootfs");
        let bundle = lab.scratch().join("bundle");
        let image = format!("{}:9", lab.layout.display());
        run(Command::new("umoci").args(["unpack", "--image", &image]).arg(&bundle))?;
        let (ours, theirs) = (packed(&rootfs)?, packed(&bundle.join("rootfs"))?);
        assert_eq!(listing(&ours)?, listing(&theirs)?);
        assert!(fs::read(&ours)? == fs::read(&theirs)?, "attributes differ");
        fs::remove_file(&ours)?;
        assert!(fs::read_link(rootfs.join("srv/old")).is_ok());

        let index: Value = serde_json::from_slice(&fs::read(lab.layout.join("index.json"))?)?;
        let digest = index["manifests"][0]["digest"].as_str().context("a digest")?;
        let shown: Value = serde_json::from_str(&lab.head.ok(&["image", "show", "rocky-9", "--output", "json"])?)?;
        assert_eq!(shown["origin"]["digest"], digest);
        assert_eq!(shown["origin"]["source"], lab.registry.reference("site/rocky:9"));
        assert!(lab.head.ok(&["image", "show", "rocky-9"])?.contains(digest));
        // Nothing secret stood on a command line.
        assert!(lab.calls().contains("copy") && !lab.calls().contains(REGISTRY_PASSWORD), "{}", lab.calls());

        // The same again is noticed; a new image under the tag is taken, without the layers that are here.
        let update = [&login[..], &["--update"]].concat();
        let said = lab.head.run(&words(&lab.import(&update)))?;
        assert!(String::from_utf8_lossy(&said.stderr).contains("came from exactly this content"));
        let copies = lab.calls().matches("copy").count();
        let repack = |root: &Path| Ok(fs::write(root.join("etc/motd"), "fourth")?);
        make_image_over(&lab, &repack)?;
        lab.head.ok(&words(&lab.import(&update)))?;
        assert_eq!(fs::read_to_string(rootfs.join("etc/motd"))?, "fourth");
        assert_eq!(lab.calls().matches("copy").count(), copies + 1);
        // With all layers here, only the manifest is asked for.
        lab.head.ok(&words(&lab.import(&[&login[..], &["--force"]].concat())))?;
        assert_eq!(lab.calls().matches("copy").count(), copies + 1);
        Ok(())
    })
}

/// One more layer on the image, under the same tag.
fn make_image_over(lab: &Lab, step: &dyn Fn(&Path) -> Result<()>) -> Result<()> {
    let (bundle, image) = (lab.scratch().join("over"), format!("{}:9", lab.layout.display()));
    run(Command::new("umoci").args(["unpack", "--image", &image]).arg(&bundle))?;
    step(&bundle.join("rootfs"))?;
    run(Command::new("umoci").args(["repack", "--image", &image]).arg(&bundle))?;
    fs::remove_dir_all(&bundle)?;
    lab.registry.push(&format!("oci:{image}"), "site/rocky:9", false)
}

#[test]
fn a_registry_that_refuses_us_or_sends_damaged_layers_changes_nothing() -> Result<()> {
    Lab::run(|mut lab| {
        lab.image()?;
        let nothing = |lab: &Lab, said: &str| {
            assert!(!lab.head.paths.images().join("rocky-9").exists(), "{said}");
        };
        // Nobody, the wrong password, and no such image.
        let said = lab.head.fails(&words(&lab.import(&[])))?;
        assert!(said.contains("--username and --password-file"), "{said}");
        nothing(&lab, &said);
        let wrong = lab.scratch().join("wrong");
        fs::write(&wrong, "guessed")?;
        let wrong = wrong.display().to_string();
        let said = lab.head.fails(&words(&lab.import(&["--username", REGISTRY_USER, "--password-file", &wrong])))?;
        assert!(said.contains("unauthorized") || said.contains("authentication"), "{said}");
        nothing(&lab, &said);

        // What docker's own configuration says is taken without a flag.
        let docker = lab.scratch().join("home/.docker");
        fs::create_dir_all(&docker)?;
        let auth = data_encoding::BASE64.encode(format!("{REGISTRY_USER}:{REGISTRY_PASSWORD}").as_bytes());
        let config = json!({"auths": {format!("127.0.0.1:{PORT}"): {"auth": auth}}});
        fs::write(docker.join("config.json"), config.to_string())?;
        let missing = lab.registry.reference("site/none:1");
        let said = lab.head.fails(&["image", "import", &missing, "none"])?;
        assert!(said.contains("site/none"), "{said}");

        // Plain HTTP is spoken on wish only.
        let environment = lab.head.environment.clone();
        lab.head.environment.retain(|(name, _)| *name != "WULFPACK_OCI_NOHTTPS");
        let said = lab.head.fails(&words(&lab.import(&[])))?;
        assert!(said.contains("--nohttps"), "{said}");
        lab.head.environment = environment;

        let index: Value = serde_json::from_slice(&fs::read(lab.layout.join("index.json"))?)?;
        let blob = |digest: &str| lab.layout.join("blobs/sha256").join(digest.trim_start_matches("sha256:"));
        let digest = index["manifests"][0]["digest"].as_str().context("a digest")?;
        let manifest: Value = serde_json::from_slice(&fs::read(blob(digest))?)?;
        let layer =
            manifest["layers"][0]["digest"].as_str().context("a layer")?.trim_start_matches("sha256:").to_owned();
        let stored = lab.registry.blob(&layer)?;
        let whole = fs::read(&stored)?;
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 1;
        for damaged in [&flipped[..], &whole[..whole.len() / 2]] {
            fs::write(&stored, damaged)?;
            let said = lab.head.fails(&words(&lab.import(&[])))?;
            assert!(said.contains("cannot import docker://127.0.0.1:5000/site/rocky"), "{said}");
            nothing(&lab, &said);
            assert!(!lab.head.paths.layers().join("blobs/sha256").join(&layer).exists(), "it is in the cache");
        }
        fs::write(&stored, &whole)?;
        lab.head.ok(&words(&lab.import(&[])))?;

        // A cache that went bad is noticed, named, and mended by the next import.
        let cached = lab.head.paths.layers().join("blobs/sha256").join(&layer);
        fs::write(&cached, &flipped)?;
        let said = lab.head.fails(&words(&lab.import(&["--force"])))?;
        assert!(said.contains(&layer) && said.contains("repeat the import"), "{said}");
        lab.head.ok(&words(&lab.import(&["--force"])))?;
        assert!(fs::read(&cached)? == whole);
        Ok(())
    })
}

#[test]
fn archives_and_indexes_of_containers_come_in_and_the_platform_is_chosen() -> Result<()> {
    Lab::run(|lab| {
        lab.image()?;
        let from = format!("oci:{}:9", lab.layout.display());
        let rootfs = |name: &str| lab.head.paths.images().join(name).join("rootfs");
        let file = |name: &str| lab.scratch().join(name).display().to_string();
        let mut reference = None;
        let same = |name: &str, reference: &mut Option<String>| -> Result<()> {
            let tar = packed(&rootfs(name))?;
            let list = listing(&tar)?;
            fs::remove_file(&tar)?;
            assert_eq!(*reference.get_or_insert_with(|| list.clone()), list, "{name}");
            Ok(())
        };
        lab.head.ok(&["image", "import", &from, "layout"])?;
        same("layout", &mut reference)?;
        for (scheme, to) in [("oci-archive", "oci.tar"), ("docker-archive", "docker.tar")] {
            run(Command::new("skopeo").args(["copy", "-q", &from, &format!("{scheme}:{}:site/rocky:9", file(to))]))?;
            lab.head.ok(&["image", "import", &format!("{scheme}:{}", file(to)), scheme])?;
            same(scheme, &mut reference)?;
            // Taken for what it is, as Warewulf does with a path.
            lab.head.ok(&["image", "import", &file(to), scheme, "--force"])?;
            same(scheme, &mut reference)?;
        }

        // An index with two machines: this one's image is the whole one, the other's its lowest layer.
        make_image(&lab.layout, "arm", &[&first])?;
        run(Command::new("umoci")
            .args(["config", "--architecture", "arm64", "--image"])
            .arg(format!("{}:arm", lab.layout.display())))?;
        let mut index: Value = serde_json::from_slice(&fs::read(lab.layout.join("index.json"))?)?;
        let mut manifests = index["manifests"].as_array().context("a list")?.clone();
        for (entry, architecture) in manifests.iter_mut().zip(["amd64", "arm64"]) {
            entry["platform"] = json!({"os": "linux", "architecture": architecture});
            entry.as_object_mut().context("an object")?.remove("annotations");
        }
        let both =
            json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests});
        let both = both.to_string();
        let digest = wulfpack_head::image::Digest::of(both.as_bytes());
        fs::write(digest.path(&lab.layout.join("blobs")), &both)?;
        index["manifests"] = json!([{"mediaType": "application/vnd.oci.image.index.v1+json", "digest": digest, "size": both.len(),
            "annotations": {"org.opencontainers.image.ref.name": "both"}}]);
        fs::write(lab.layout.join("index.json"), index.to_string())?;
        lab.registry.push(&format!("oci:{}:both", lab.layout.display()), "site/both:1", true)?;
        let (source, password) = (lab.registry.reference("site/both:1"), lab.password()?);
        let login = ["--username", REGISTRY_USER, "--password-file", &password];
        lab.head.ok(&[&["image", "import", &source, "here", "--platform", "linux/amd64"], &login[..]].concat())?;
        same("here", &mut reference)?;
        lab.head.ok(&[&["image", "import", &source, "there", "--platform", "arm64"], &login[..]].concat())?;
        assert!(rootfs("there").join("srv/old/one").exists() && !rootfs("there").join("etc/motd").exists());
        let shown: Value = serde_json::from_str(&lab.head.ok(&["image", "show", "there", "--output", "json"])?)?;
        assert_eq!(
            (&shown["origin"]["platform"]["architecture"], &shown["origin"]["index"]),
            (&json!("arm64"), &json!(digest))
        );
        let said = lab
            .head
            .fails(&[&["image", "import", &source, "s390", "--platform", "linux/s390x"], &login[..]].concat())?;
        assert!(said.contains("nothing for linux/s390x; it has linux/amd64, linux/arm64"), "{said}");
        Ok(())
    })
}
