//! For tests: trees with the layouts of real distributions, and a look into archives.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::symlink;
use std::path::Path;

use wulfpack_shared::id::ImageName;
use wulfpack_shared::identity::SecretKey;

use super::{ArchiveCompression, BuildSettings, Library, Silent};

/// What `sign-file` of the kernel appends, as far as anybody looks at it.
pub(super) const SIGNATURE: &[u8] = b"\x30\x82 a signature ~Module signature appended~\n";

/// A relocatable ELF file with a `.modinfo` section and undefined symbols, signed.
pub(super) fn module(modinfo: &[&str], symbols: &[&str]) -> Vec<u8> {
    let info: Vec<u8> = modinfo.iter().flat_map(|field| [field.as_bytes(), b"\0"].concat()).collect();
    let (mut strings, mut table) = (vec![0], vec![0; 24]);
    for symbol in symbols {
        let mut entry = u32::try_from(strings.len()).unwrap().to_le_bytes().to_vec();
        entry.extend_from_slice(&[0x10, 0]); // global, no type
        entry.resize(24, 0); // undefined
        table.extend(entry);
        strings.extend([symbol.as_bytes(), b"\0"].concat());
    }
    let names = b"\0.modinfo\0.symtab\0.strtab\0.shstrtab\0".to_vec();
    let mut bytes = vec![0; 64];
    let mut sections = vec![vec![0; 64]];
    // Name, type, link, entry size (elf(5), Elf64_Shdr).
    for (content, name, kind, link, size) in
        [(info, 1, 1, 0, 0), (table, 10, 2, 3, 24), (strings, 18, 3, 0, 0), (names, 26, 3, 0, 0)]
    {
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        let mut section = vec![];
        for word in [name, kind] {
            section.extend(u32::to_le_bytes(word));
        }
        for word in [0, 0, bytes.len() as u64, content.len() as u64] {
            section.extend(word.to_le_bytes());
        }
        section.extend(u32::to_le_bytes(link));
        section.extend(1u32.to_le_bytes());
        section.extend(8u64.to_le_bytes());
        section.extend(u64::to_le_bytes(size));
        sections.push(section);
        bytes.extend(content);
    }
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    let offset = bytes.len() as u64;
    bytes[..20].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x01\0\x3e\0");
    bytes[20] = 1;
    bytes[40..48].copy_from_slice(&offset.to_le_bytes());
    bytes[52..64].copy_from_slice(&[64, 0, 0, 0, 0, 0, 64, 0, 5, 0, 4, 0]);
    bytes.extend(sections.concat());
    bytes.extend(SIGNATURE);
    bytes
}

/// How one distribution lays its kernels out.
pub(super) struct Layout {
    pub(super) name: &'static str,
    pub(super) release: &'static str,
    /// `/boot/vmlinuz-RELEASE` and `/boot/config-RELEASE` instead of files below `/lib/modules`.
    pub(super) boot: bool,
    /// Suffix of modules.
    pub(super) modules: &'static str,
    /// Suffix of firmware.
    pub(super) firmware: &'static str,
    pub(super) config: &'static str,
    /// Where a vendor's driver lies, and where its file is if that is a link.
    pub(super) vendor: (&'static str, Option<&'static str>),
}

const COMMON: &str = "CONFIG_BLK_DEV_LOOP=m\nCONFIG_SQUASHFS=m\nCONFIG_SQUASHFS_XATTR=y\nCONFIG_OVERLAY_FS=m\n\
                      CONFIG_SQUASHFS_ZLIB=y\nCONFIG_RD_GZIP=y\nCONFIG_RD_XZ=y\n";

pub(super) const LAYOUTS: [Layout; 5] = [
    Layout {
        name: "el8",
        release: "4.18.0-553.el8_10.x86_64",
        boot: false,
        modules: ".xz",
        firmware: ".xz",
        config: "CONFIG_SQUASHFS_XZ=y\n",
        vendor: ("weak-updates/ice/ice.ko", Some("/lib/modules/4.18.0-513.el8_9.x86_64/extra/ice/ice.ko")),
    },
    Layout {
        name: "el9",
        release: "5.14.0-427.13.1.el9_4.x86_64",
        boot: false,
        modules: ".xz",
        firmware: ".xz",
        config: "CONFIG_SQUASHFS_ZSTD=y\nCONFIG_RD_ZSTD=y\nCONFIG_FW_LOADER_COMPRESS=y\n",
        vendor: ("extra/ice/ice.ko", None),
    },
    Layout {
        name: "el10",
        release: "6.12.0-55.9.1.el10_0.x86_64",
        boot: false,
        modules: ".xz",
        firmware: ".xz",
        config: "CONFIG_SQUASHFS_ZSTD=y\nCONFIG_RD_ZSTD=y\nCONFIG_FW_LOADER_COMPRESS=y\nCONFIG_FW_LOADER_COMPRESS_XZ=y\n\
                 CONFIG_FW_LOADER_COMPRESS_ZSTD=y\n",
        vendor: ("extra/ice/ice.ko", None),
    },
    Layout {
        name: "sles15",
        release: "6.4.0-150600.21-default",
        boot: true,
        modules: ".zst",
        firmware: ".xz",
        config: "CONFIG_SQUASHFS_ZSTD=y\nCONFIG_RD_ZSTD=y\n",
        vendor: ("weak-updates/updates/ice.ko", Some("../../../6.4.0-150600.10-default/updates/ice.ko")),
    },
    Layout {
        name: "ubuntu24",
        release: "6.8.0-31-generic",
        boot: true,
        modules: ".zst",
        firmware: ".zst",
        config: "CONFIG_SQUASHFS_ZSTD=y\nCONFIG_RD_ZSTD=y\nCONFIG_FW_LOADER_COMPRESS=y\nCONFIG_FW_LOADER_COMPRESS_ZSTD=y\n",
        vendor: ("updates/dkms/ice.ko", None),
    },
];

/// Module, its `.modinfo`, and those it depends on. `ice` is the vendor's; `nfpx` only a vendor has.
pub(super) const MODULES: [(&str, &[&str], &[&str]); 15] = [
    ("kernel/drivers/block/loop.ko", &[], &[]),
    ("kernel/fs/squashfs/squashfs.ko", &[], &[]),
    ("kernel/fs/overlayfs/overlay.ko", &[], &[]),
    ("kernel/net/core/failover.ko", &[], &[]),
    ("kernel/drivers/net/net_failover.ko", &[], &["kernel/net/core/failover.ko"]),
    ("kernel/drivers/net/virtio_net.ko", &[], &["kernel/drivers/net/net_failover.ko", "kernel/net/core/failover.ko"]),
    ("kernel/drivers/net/ethernet/intel/e1000e/e1000e.ko", &[], &[]),
    ("kernel/drivers/net/ethernet/broadcom/bnx2x/bnx2x.ko", &["firmware=bnx2x/e2.fw"], &["kernel/lib/libcrc32c.ko"]),
    ("kernel/drivers/net/ethernet/broadcom/tg3.ko", &["firmware=tigon/tg3.bin"], &[]),
    ("kernel/lib/libcrc32c.ko", &[], &[]),
    ("kernel/sound/core/snd.ko", &[], &[]),
    ("kernel/drivers/infiniband/core/ib_core.ko", &[], &[]),
    ("kernel/drivers/infiniband/ulp/ipoib/ib_ipoib.ko", &[], &["kernel/drivers/infiniband/core/ib_core.ko"]),
    ("kernel/drivers/infiniband/hw/mlx5/mlx5_ib.ko", &[], &["kernel/drivers/infiniband/core/ib_core.ko"]),
    (
        "kernel/drivers/infiniband/hw/hfi1/hfi1.ko",
        &["firmware=hfi1_dc8051.fw"],
        &["kernel/drivers/infiniband/core/ib_core.ko"],
    ),
];

fn pack(bytes: &[u8], suffix: &str) -> Vec<u8> {
    let compression = match suffix {
        ".xz" => ArchiveCompression::Xz,
        ".zst" => ArchiveCompression::Zstd,
        _ => ArchiveCompression::None,
    };
    compression.compress(vec![], |sink| sink.write_all(bytes)).unwrap()
}

/// Writes a file with its directories.
pub(super) fn put(root: &Path, path: &str, bytes: impl AsRef<[u8]>) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

impl Layout {
    /// The plain bytes of a module of every fixture.
    pub(super) fn module_bytes(path: &str) -> Vec<u8> {
        let modinfo = MODULES.iter().find(|module| module.0 == path).map_or(&[][..], |module| module.1);
        module(&[&[path][..], modinfo].concat(), &[])
    }

    /// The vendor's `ice`: it names firmware of its own.
    pub(super) fn vendor_bytes() -> Vec<u8> {
        module(&["vendor=yes", "firmware=intel/ice/ddp/ice.pkg"], &["alloc_etherdev_mqs"])
    }

    /// A driver that only its vendor has: nothing but the module itself says what it drives.
    pub(super) fn foreign_bytes() -> Vec<u8> {
        module(&["alias=pci:v00001234d*"], &["alloc_etherdev_mqs"])
    }

    /// Makes the tree.
    pub(super) fn create(&self, root: &Path) {
        for directory in ["etc/modprobe.d", "usr/bin", "usr/lib/modprobe.d", "boot", "proc", "sys", "dev", "run", "tmp"]
        {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        symlink("usr/lib", root.join("lib")).unwrap();
        symlink("usr/bin", root.join("bin")).unwrap();
        put(root, "etc/passwd", "root:x:0:0::/root:/bin/sh\nlisa:x:1005:100::/home:/bin/sh\n");
        put(root, "etc/modprobe.d/site.conf", "options e1000e EEE=0\n");
        put(root, "usr/lib/modprobe.d/soft.conf", "softdep virtio_net pre: snd\n");
        put(root, "proc/leftover", "of the running system");
        let base = format!("usr/lib/modules/{}", self.release);
        let (kernel, config) = if self.boot {
            (format!("boot/vmlinuz-{}", self.release), format!("boot/config-{}", self.release))
        } else {
            (format!("{base}/vmlinuz"), format!("{base}/config"))
        };
        put(root, &kernel, format!("kernel {}", self.name));
        put(root, &config, [COMMON, self.config].concat());
        let mut dep = String::new();
        for (path, _, depends) in MODULES {
            put(root, &format!("{base}/{path}{}", self.modules), pack(&Self::module_bytes(path), self.modules));
            let depends: String = depends.iter().map(|path| format!(" {path}{}", self.modules)).collect();
            dep += &format!("{path}{}:{depends}\n", self.modules);
        }
        // Vendors do not compress.
        let (vendor, target) = self.vendor;
        match target {
            None => put(root, &format!("{base}/{vendor}"), Self::vendor_bytes()),
            Some(target) => {
                let file = target.rsplit("modules/").next().unwrap().trim_start_matches("../");
                put(root, &format!("usr/lib/modules/{file}"), Self::vendor_bytes());
                fs::create_dir_all(root.join(&base).join(vendor).parent().unwrap()).unwrap();
                symlink(target, root.join(&base).join(vendor)).unwrap();
            }
        }
        put(root, &format!("{base}/extra/nfpx.ko"), Self::foreign_bytes());
        dep += &format!("{vendor}:\nextra/nfpx.ko:\n");
        put(root, &format!("{base}/modules.dep"), dep);
        put(
            root,
            &format!("{base}/modules.alias"),
            "alias pci:v00008086d* e1000e\nalias snd-card snd\nalias crypto-crc32c libcrc32c\n",
        );
        put(root, &format!("{base}/modules.softdep"), "softdep e1000e pre: crypto-crc32c\n");
        put(root, &format!("{base}/modules.builtin"), "kernel/net/packet/af_packet.ko\n");
        let order: String = MODULES.iter().map(|module| format!("{}\n", module.0)).collect();
        put(root, &format!("{base}/modules.order"), format!("{order}kernel/drivers/net/ethernet/intel/ice/ice.ko\n"));
        // The firmware of bnx2x is a link, that of ice as it is, that of tg3 is not there.
        let file = format!("usr/lib/firmware/bnx2x/e2-7.13.fw{}", self.firmware);
        put(root, &file, pack(b"firmware of bnx2x", self.firmware));
        symlink(
            format!("e2-7.13.fw{}", self.firmware),
            root.join(format!("usr/lib/firmware/bnx2x/e2.fw{}", self.firmware)),
        )
        .unwrap();
        put(root, "usr/lib/firmware/intel/ice/ddp/ice.pkg", "firmware of ice");
        put(root, "usr/lib/firmware/hfi1_dc8051.fw", "firmware of hfi1");
    }
}

/// The files of an initramfs archive: name, then mode and content.
pub(super) fn files_of(archive: &[u8]) -> BTreeMap<String, (u32, Vec<u8>)> {
    let mut plain = vec![];
    let compression = ArchiveCompression::detect(archive);
    // Only the padding may follow what the decoder takes; it may complain of that.
    let mut reader = compression.reader(archive).unwrap();
    reader.read_to_end(&mut plain).unwrap_or_default();
    let (mut rest, mut files) = (&plain[..], BTreeMap::new());
    loop {
        let mut reader = cpio::NewcReader::new(rest).unwrap();
        if reader.entry().is_trailer() {
            return files;
        }
        let (name, mode) = (reader.entry().name().to_owned(), reader.entry().mode());
        let mut content = vec![];
        reader.read_to_end(&mut content).unwrap();
        files.insert(name, (mode, content));
        rest = reader.finish().unwrap();
    }
}

/// Mounts a tmpfs of this size on `dir`, in a mount namespace of this thread only: it goes with the thread.
pub(super) fn small_disk(dir: &Path, size: &str) {
    use nix::mount::{MsFlags, mount};
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
    let nothing = None::<&str>;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing).unwrap();
    mount(Some("tmpfs"), dir, Some("tmpfs"), MsFlags::empty(), Some(format!("size={size}").as_str())).unwrap();
}

/// Adds whatever a file can be beside its content. Needs root.
pub(super) fn add_special_files(root: &Path) {
    use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
    use std::os::unix::fs::{FileExt as _, PermissionsExt as _, lchown};
    put(root, "usr/bin/ping", "ping");
    // vfs_cap_data, revision 2: cap_net_raw, permitted and effective.
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    xattr::set(root.join("usr/bin/ping"), "security.capability", &capability).unwrap();
    xattr::set(root.join("usr/bin/ping"), "user.note", b"with\0zero").unwrap();
    put(root, "usr/bin/sudo", "sudo");
    fs::set_permissions(root.join("usr/bin/sudo"), fs::Permissions::from_mode(0o4711)).unwrap();
    fs::hard_link(root.join("usr/bin/sudo"), root.join("usr/bin/sudoedit")).unwrap();
    put(root, "home/lisa/file with spaces, \u{fc}n\u{ef}c\u{f6}de", "x");
    lchown(root.join("home/lisa"), Some(1005), Some(100)).unwrap();
    symlink("/nowhere", root.join("home/lisa/dangling")).unwrap();
    lchown(root.join("home/lisa/dangling"), Some(1005), Some(100)).unwrap();
    let acl = |entries: &[(u8, u8, u32)]| {
        let mut bytes = vec![2, 0, 0, 0];
        for (tag, permissions, id) in entries {
            bytes.extend([*tag, 0, *permissions, 0]);
            bytes.extend(id.to_le_bytes());
        }
        bytes
    };
    let nobody = u32::MAX;
    let list = acl(&[(1, 7, nobody), (2, 5, 1005), (4, 5, nobody), (16, 5, nobody), (32, 0, nobody)]);
    fs::create_dir_all(root.join("var/log/journal")).unwrap();
    for attribute in ["system.posix_acl_access", "system.posix_acl_default"] {
        xattr::set(root.join("var/log/journal"), attribute, &list).unwrap();
    }
    put(root, "var/log/lastlog", "");
    let lastlog = fs::File::options().write(true).open(root.join("var/log/lastlog")).unwrap();
    lastlog.set_len(64 << 20).unwrap();
    lastlog.write_all_at(b"data", 40 << 20).unwrap();
    fs::create_dir_all(root.join("var/lib/nodes")).unwrap();
    let node = |name: &str, kind, device| {
        mknodat(CWD, root.join("var/lib/nodes").join(name), kind, Mode::from_raw_mode(0o640), device).unwrap();
    };
    node("null", FileType::CharacterDevice, makedev(1, 3));
    node("disk", FileType::BlockDevice, makedev(259, 300));
    node("pipe", FileType::Fifo, 0);
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
}

/// Everything that can be known of every file of a tree.
pub(super) fn inodes(root: &Path) -> BTreeMap<String, String> {
    use std::os::unix::fs::MetadataExt as _;
    let mut first = BTreeMap::new();
    let mut found = BTreeMap::new();
    for entry in walkdir::WalkDir::new(root).sort_by_file_name() {
        let entry = entry.unwrap();
        let (path, meta) = (entry.path(), fs::symlink_metadata(entry.path()).unwrap());
        let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        let mut attributes = BTreeMap::new();
        for attribute in xattr::list(path).unwrap() {
            attributes.insert(attribute.clone(), xattr::get(path, attribute).unwrap());
        }
        let content = if meta.is_file() {
            assert!(meta.len() < 1 << 20 || meta.blocks() * 512 < meta.len() / 2, "{name} has lost its holes");
            blake3::hash(&fs::read(path).unwrap()).to_string()
        } else if meta.is_symlink() {
            fs::read_link(path).unwrap().to_str().unwrap().to_owned()
        } else {
            String::new()
        };
        let links =
            if meta.is_dir() { String::new() } else { first.entry(meta.ino()).or_insert_with(|| name.clone()).clone() };
        let facts = (meta.mode(), meta.uid(), meta.gid(), meta.rdev(), meta.mtime(), attributes, content, links);
        found.insert(name, format!("{facts:?}"));
    }
    found
}

/// A library with this image, built from the last layout.
pub(crate) fn built(images: &Path, name: &ImageName) -> Library {
    let library = Library::open(images).unwrap();
    fs::create_dir_all(library.rootfs(name)).unwrap();
    LAYOUTS[LAYOUTS.len() - 1].create(&library.rootfs(name));
    library.build(name, &BuildSettings::default(), &SecretKey::from_seed([1; 32]), &Silent).unwrap();
    library
}
