use std::fs;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::*;

const DEP: &str = "\
kernel/drivers/net/ethernet/intel/e1000e/e1000e.ko.xz: kernel/drivers/ptp/ptp.ko.xz kernel/drivers/pps/pps_core.ko.xz
kernel/drivers/ptp/ptp.ko.xz: kernel/drivers/pps/pps_core.ko.xz
kernel/drivers/pps/pps_core.ko.xz:
kernel/drivers/net/virtio_net.ko: kernel/drivers/net/net_failover.ko kernel/net/core/failover.ko
kernel/drivers/net/net_failover.ko: kernel/net/core/failover.ko
kernel/net/core/failover.ko:
kernel/drivers/virtio/virtio_pci.ko:
kernel/drivers/block/loop.ko:
kernel/fs/squashfs/squashfs.ko:
kernel/fs/overlayfs/overlay.ko: kernel/lib/libcrc32c.ko
kernel/lib/libcrc32c.ko:
kernel/crypto/crc32c_generic.ko:
extra/aaa-first.ko:
kernel/bbb.ko:
kernel/ccc.ko:
";

const ALIAS: &str = "\
# Aliases extracted from modules themselves.
alias pci:v00008086d000010D3sv*sd*bc*sc*i* e1000e
alias virtio:d00000001v* virtio_net
alias pci:v00001AF4d*sv*sd*bc*sc*i* virtio_pci
alias acpi*:TWO-IDS:* ccc
alias acpi*:TWO-IDS:* bbb
alias fs-overlay overlay
";

fn source() -> Source {
    Source {
        dep: DEP.into(),
        alias: ALIAS.into(),
        softdep: "softdep libcrc32c pre: crc32c_generic\nsoftdep bbb post: ccc\nsoftdep ccc pre: bbb\n".into(),
        builtin: "kernel/net/ipv4/tcp_cubic.ko\n".into(),
        order: "kernel/bbb.ko\nkernel/ccc.ko\n".into(),
        ..Source::default()
    }
}

fn names(plan: &Plan) -> Vec<&str> {
    plan.steps.iter().map(|step| step.name.as_str()).collect()
}

#[test]
fn a_modalias_becomes_its_module_after_all_it_needs() {
    let index = ModuleIndex::parse(&source());
    let plans = index.plan_for_modaliases(["pci:v00008086d000010D3sv00008086sd00000000bc02sc00i00", "usb:nobody"]);
    let [plan] = &plans[..] else { panic!("{plans:?}") };
    assert_eq!(names(plan), ["pps_core", "ptp", "e1000e"]);
    assert_eq!(plan.steps[2].path, "kernel/drivers/net/ethernet/intel/e1000e/e1000e.ko.xz");
}

#[test]
fn soft_dependencies_come_before_and_after_and_cycles_end() {
    let index = ModuleIndex::parse(&source());
    assert_eq!(names(&index.plan_for_name("fs-overlay").unwrap()), ["crc32c_generic", "libcrc32c", "overlay"]);
    assert_eq!(names(&index.plan_for_name("bbb").unwrap()), ["bbb", "ccc"]);
    assert_eq!(names(&index.plan_for_name("ccc").unwrap()), ["bbb", "ccc"]);
    assert!(index.plan_for_name("tcp_cubic").unwrap().steps.is_empty());
    assert!(index.plan_for_name("unheard_of").is_none());
}

#[test]
fn of_several_modules_for_one_device_the_kernels_order_decides() {
    let index = ModuleIndex::parse(&source());
    let plans = index.plan_for_modaliases(["acpi0000:TWO-IDS:x"]);
    assert_eq!(plans.iter().map(|plan| plan.module.as_str()).collect::<Vec<_>>(), ["bbb", "ccc"]);
}

#[test]
fn options_blacklist_and_aliases_of_the_administrator_count() {
    let index = ModuleIndex::parse(&Source {
        modprobe: vec![
            "options ptp a=1\noptions aaa-first x=2\nblacklist virtio-net\nalias virtio:d00000001v00000002 aaa-first\n"
                .into(),
        ],
        command_line: "ptp.b=2 modprobe.blacklist=virtio_pci".into(),
        ..source()
    });
    let plan = index.plan_for_name("e1000e").unwrap();
    assert_eq!(plan.steps[1].options, "a=1 b=2");
    for blacklisted in ["virtio:d00000001v00001AF4", "pci:v00001AF4d00001041sv0sd0bc0sc0i0"] {
        let plans = index.plan_for_modaliases([blacklisted]);
        assert!(plans[0].steps.is_empty() && plans[0].notes[0].contains("blacklisted"), "{plans:?}");
    }
    // A person who names the module gets it.
    assert_eq!(names(&index.plan_for_name("virtio_net").unwrap()), ["failover", "net_failover", "virtio_net"]);
    let own = index.plan_for_modaliases(["virtio:d00000001v00000002"]);
    assert_eq!((names(&own[0]), own[0].steps[0].options.as_str()), (vec!["aaa_first"], "x=2"));
}

#[test]
fn the_roots_modules_are_loaded_whatever_modprobe_d_says_and_it_is_told() {
    let index = ModuleIndex::parse(&Source {
        modprobe: vec!["install squashfs /bin/true\nblacklist loop\ninstall pps_core /bin/false\n".into()],
        ..source()
    });
    for (name, word) in [("squashfs", "install line"), ("loop", "blacklisted")] {
        let plan = index.plan_for_name(name).unwrap();
        assert_eq!(names(&plan), [name]);
        assert!(plan.notes[0].contains(word), "{:?}", plan.notes);
    }
    let other = index.plan_for_name("ptp").unwrap();
    assert_eq!(names(&other), ["ptp"]);
    assert!(other.notes[0].contains("not loaded"));
}

/// Records what it is given; a module named in `refuse` gets that error.
#[derive(Debug, Default)]
struct List {
    inserted: Vec<(PathBuf, String)>,
    refuse: Vec<(&'static str, Errno)>,
    /// A modalias that appears when a module is inserted.
    appear: Option<(&'static str, PathBuf, &'static str)>,
}

impl Insert for &mut List {
    fn insert(&mut self, file: &Path, options: &str) -> Result<(), Errno> {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        if let Some((_, error)) = self.refuse.iter().find(|(refused, _)| name.starts_with(refused)) {
            return Err(*error);
        }
        if let Some((_, dir, modalias)) = self.appear.take_if(|(module, ..)| name.starts_with(*module)) {
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("modalias"), modalias).unwrap();
        }
        self.inserted.push((file.to_owned(), options.to_owned()));
        Ok(())
    }
}

#[test]
fn hardware_is_asked_again_until_nothing_new_appears() {
    let sysfs = tempfile::tempdir().unwrap();
    let device = sysfs.path().join("devices/pci0000:00/0000:00:03.0");
    fs::create_dir_all(&device).unwrap();
    fs::write(device.join("modalias"), "pci:v00001AF4d00001041sv00001AF4sd00001100bc02sc00i00\n").unwrap();
    let mut kernel =
        List { appear: Some(("virtio_pci", device.join("virtio0"), "virtio:d00000001v00001AF4\n")), ..List::default() };
    let mut loader = Loader::with_kernel(ModuleIndex::parse(&source()), "/m".into(), &mut kernel);
    let report = loader.load_for_hardware(sysfs.path());
    assert_eq!(report.loaded, ["virtio_pci", "failover", "net_failover", "virtio_net"]);
    assert!(loader.load_for_hardware(sysfs.path()).loaded.is_empty());
}

#[test]
fn a_module_that_is_there_is_fine_and_a_refused_key_is_explained() {
    let mut kernel = List { refuse: vec![("loop", Errno::EXIST), ("squashfs", Errno::KEYREJECTED)], ..List::default() };
    let mut loader = Loader::with_kernel(ModuleIndex::parse(&source()), "/m".into(), &mut kernel);
    let report = loader.load_for_root();
    assert_eq!(report.loaded, ["crc32c_generic", "libcrc32c", "overlay"]);
    let [failure] = &report.failed[..] else { panic!("{report}") };
    assert_eq!(failure.module, "squashfs");
    assert!(report.to_string().contains("Key was rejected"), "{report}");
    assert!(loader.load_by_name(["nothing"]).to_string().contains("rebuild the image"));
}

#[test]
fn an_index_is_read_from_a_tree_and_decompressed_files_are_found() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("lib/modules/6.1.0-1");
    fs::create_dir_all(dir.join("kernel/drivers/pps")).unwrap();
    fs::create_dir_all(root.path().join("etc/modprobe.d")).unwrap();
    fs::create_dir_all(root.path().join("lib/modprobe.d")).unwrap();
    fs::write(dir.join("modules.dep"), DEP).unwrap();
    fs::write(dir.join("kernel/drivers/pps/pps_core.ko"), "").unwrap();
    fs::write(root.path().join("etc/modprobe.d/a.conf"), "options pps_core etc=1\n").unwrap();
    fs::write(root.path().join("lib/modprobe.d/a.conf"), "options pps_core hidden=1\n").unwrap();
    fs::write(root.path().join("lib/modprobe.d/b.conf"), "options pps_core lib=1\n").unwrap();
    fs::write(root.path().join("lib/modprobe.d/b.txt"), "options pps_core no=1\n").unwrap();
    let index = ModuleIndex::load(root.path(), "6.1.0-1").unwrap();
    let mut kernel = List::default();
    let report = Loader::with_kernel(index, dir.clone(), &mut kernel).load_by_name(["pps_core"]);
    assert_eq!(report.loaded, ["pps_core"]);
    assert_eq!(kernel.inserted, [(dir.join("kernel/drivers/pps/pps_core.ko"), "etc=1 lib=1".to_owned())]);

    let error = ModuleIndex::load(root.path(), "5.0").unwrap_err().to_string();
    assert!(error.contains("5.0") && error.contains("not from the same image version"), "{error}");
}
