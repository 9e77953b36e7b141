//! `scripts/build-ipxe.sh`, against a source tree that has iPXE's form and builds in no time: its Makefile puts what it was told
//! into what it makes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

const MAKEFILE: &str = "\
.DEFAULT:\n\
\tmkdir -p $(dir $@)\n\
\t{ echo target=$@ cross=$(CROSS) trust=$(TRUST) debug=$(DEBUG); cat config/local/general.h config/local/console.h; } >$@\n\
\t[ -z \"$(EMBED)\" ] || cat $(EMBED) >>$@\n";

struct World {
    dir: TempDir,
    destination: PathBuf,
}

fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("ipxe/src");
    fs::create_dir_all(source.join("config")).unwrap();
    fs::write(source.join("Makefile"), MAKEFILE).unwrap();
    let destination = dir.path().join("out");
    fs::create_dir(&destination).unwrap();
    World { dir, destination }
}

impl World {
    fn run(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/build-ipxe.sh");
        let mut command = Command::new("sh");
        command.arg(script).args(arguments).current_dir(self.dir.path());
        for name in ["TARGETS", "IPXE_BRANCH", "IPXE_SHA256", "MAKEFLAGS"] {
            command.env_remove(name);
        }
        command.env("IPXE_SOURCE", "ipxe").env("DESTDIR", &self.destination).envs(variables.iter().copied());
        command.output().unwrap()
    }

    fn built(&self, name: &str) -> String {
        fs::read_to_string(self.destination.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const EFI: (&str, &str) = ("TARGETS", "bin-x86_64-efi/snponly.efi");

#[test]
fn targets_have_the_names_that_the_head_looks_for_and_a_manifest() {
    let world = world();
    let output =
        world.run(&[("TARGETS", "bin-x86_64-efi/snponly.efi bin-nosuch-efi/snponly.efi bin/undionly.kpxe")], &[]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("skipped: bin-nosuch-efi/snponly.efi: no compiler"), "{}", said(&output));
    let program = world.built("bin-x86_64-efi-snponly.efi");
    for line in ["#define IMAGE_GZIP", "#define VLAN_CMD", "#define IMAGE_TRUST_CMD", "#define CONSOLE_SERIAL"] {
        assert!(program.contains(line), "{program}");
    }
    // Our script, by default.
    assert!(program.contains("set user-class wulfpack") && program.contains("goto again"), "{program}");
    assert!(!world.destination.join("bin-nosuch-efi-snponly.efi").exists());
    let checked = Command::new("sha256sum").args(["-c", "ipxe-manifest.txt"]).current_dir(&world.destination).output();
    let checked = String::from_utf8(checked.unwrap().stdout).unwrap();
    assert_eq!(checked, "bin-x86_64-efi-snponly.efi: OK\nbin-undionly.kpxe: OK\n");
    assert!(world.built("ipxe-manifest.txt").contains("# skipped, no compiler: bin-nosuch-efi/snponly.efi"));
    let found = crate::boot::Programs::find(std::slice::from_ref(&world.destination), []);
    assert_eq!(found.names().collect::<Vec<_>>(), ["bin-undionly.kpxe", "bin-x86_64-efi-snponly.efi"]);
    // The source is as it was.
    assert_eq!(fs::read_dir(world.dir.path().join("ipxe/src")).unwrap().count(), 2);
}

/// The example of Warewulf's documentation.
#[test]
fn further_arguments_go_to_make_as_they_are() {
    let world = world();
    let vlan = world.dir.path().join("vlan.ipxe");
    fs::write(&vlan, "#!ipxe\nifopen net0\nvcreate --tag 1000 net0\nautoboot net0-1000\n").unwrap();
    let output = world.run(&[EFI], &[&format!("EMBED={}", vlan.display()), "DEBUG=dhcp"]);
    assert!(output.status.success(), "{}", said(&output));
    let program = world.built("bin-x86_64-efi-snponly.efi");
    assert!(program.contains("vcreate --tag 1000") && program.contains("debug=dhcp"), "{program}");
    assert!(!program.contains("wulfpack"), "{program}");
}

#[test]
fn options_choose_what_is_in_it() {
    let world = world();
    fs::write(world.dir.path().join("ca.pem"), "certificate").unwrap();
    let options = ["--console", "none", "--gzip", "no", "--vlan", "no", "--trust", "ca.pem", "--no-embed"];
    let output = world.run(&[EFI], &options);
    assert!(output.status.success(), "{}", said(&output));
    let program = world.built("bin-x86_64-efi-snponly.efi");
    for line in ["#undef IMAGE_GZIP", "#define IMAGE_ZLIB", "#undef VLAN_CMD", "ca.pem"] {
        assert!(program.contains(line), "{program}");
    }
    assert!(!program.contains("CONSOLE_") && !program.contains("wulfpack"), "{program}");
}

#[test]
fn a_compiler_for_another_architecture_is_found_by_its_name() {
    let world = world();
    let compiler = world.dir.path().join("aarch64-linux-gnu-gcc");
    fs::write(&compiler, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&compiler, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", world.dir.path().display(), std::env::var("PATH").unwrap());
    let output = world.run(&[("TARGETS", "bin-arm64-efi/snponly.efi"), ("PATH", &path)], &[]);
    assert!(output.status.success(), "{}", said(&output));
    let program = world.built("bin-arm64-efi-snponly.efi");
    assert!(program.contains("cross=aarch64-linux-gnu-") && !program.contains("CONSOLE_SERIAL"), "{program}");
}

#[test]
fn a_tarball_is_checked_and_what_is_wrong_is_said() {
    let world = world();
    let tar = Command::new("tar").args(["-cf", "ipxe.tar", "ipxe"]).current_dir(world.dir.path()).status().unwrap();
    assert!(tar.success());
    let source = ("IPXE_SOURCE", "ipxe.tar");
    assert!(world.run(&[EFI, source], &[]).status.success());
    assert!(world.built("ipxe-manifest.txt").contains("# revision: tarball sha256:"));
    for (variables, arguments, why) in [
        (vec![EFI, source, ("IPXE_SHA256", "00")], vec![], "has the checksum"),
        (vec![EFI, ("DESTDIR", "/nonexistent")], vec![], "is no directory"),
        (vec![EFI, ("IPXE_SOURCE", "/etc/hostname")], vec![], "tar"),
        (vec![("TARGETS", "bin-nosuch-efi/x.efi")], vec![], "no compiler for any"),
        (vec![EFI], vec!["--console", "teletype"], "no console teletype"),
        (vec![EFI], vec!["--colour"], "no option --colour"),
        (vec![EFI], vec!["--gzip", "maybe"], "yes or no"),
    ] {
        let output = world.run(&variables, &arguments);
        assert!(!output.status.success() && said(&output).contains(why), "{why}: {}", said(&output));
    }
}
