//! Gives types to what the registry says of management controllers and disks.

use super::file::{Entry, FileSystem, Ipmi, Partition};
use super::hardware::{Controller, DiskFileSystem, DiskLayout, DiskPartition, Secret};
use super::reader::Reader;
use super::resolve::tags;
use super::scalar::Text;

pub(super) fn controller(reader: &mut Reader, ipmi: &Ipmi) -> Controller {
    Controller {
        username: reader.text("username", ipmi.username.as_ref()),
        password: reader.text("password", ipmi.password.as_ref()).map(Secret::new),
        ip: reader.parse("ipaddr", ipmi.ipaddr.as_ref()),
        prefix: reader.netmask("netmask", ipmi.netmask.as_ref()),
        gateway: reader.parse("gateway", ipmi.gateway.as_ref()),
        port: reader.parse("port", ipmi.port.as_ref()),
        interface: reader.text("interface", ipmi.interface.as_ref()),
        escapechar: reader.text("escapechar", ipmi.escapechar.as_ref()),
        write: reader.boolean("write", ipmi.write.as_ref()).unwrap_or(false),
        template: reader.text("template", ipmi.template.as_ref()),
        tags: tags(&ipmi.tags),
    }
}

pub(super) fn disks(reader: &mut Reader, entry: &Entry) -> std::collections::BTreeMap<String, DiskLayout> {
    let layout = |(device, disk): (&String, &super::file::Disk)| {
        let layout = reader.within(&format!("disks: {device}"), |reader| {
            check_device(reader, device);
            let wipe_table = reader.boolean("wipe_table", disk.wipe_table.as_ref()).unwrap_or(false);
            let partition = |(label, part): (&String, &Partition)| {
                (label.clone(), reader.within(&format!("partitions: {label}"), |reader| partition(reader, part)))
            };
            DiskLayout { wipe_table, partitions: disk.partitions.iter().map(partition).collect() }
        });
        (device.clone(), layout)
    };
    entry.disks.iter().map(layout).collect()
}

fn partition(reader: &mut Reader, part: &Partition) -> DiskPartition {
    DiskPartition {
        number: reader.parse("number", part.number.as_ref()),
        size_mib: reader.parse("size_mib", part.size_mib.as_ref()),
        start_mib: reader.parse("start_mib", part.start_mib.as_ref()),
        type_guid: reader.text("type_guid", part.type_guid.as_ref()),
        guid: reader.text("guid", part.guid.as_ref()),
        wipe_partition_entry: reader
            .boolean("wipe_partition_entry", part.wipe_partition_entry.as_ref())
            .unwrap_or(false),
        should_exist: reader.boolean("should_exist", part.should_exist.as_ref()).unwrap_or(true),
        resize: reader.boolean("resize", part.resize.as_ref()).unwrap_or(false),
    }
}

pub(super) fn filesystems(reader: &mut Reader, entry: &Entry) -> std::collections::BTreeMap<String, DiskFileSystem> {
    let file_system = |(device, fs): (&String, &FileSystem)| {
        let fs = reader.within(&format!("filesystems: {device}"), |reader| {
            check_device(reader, device);
            DiskFileSystem {
                format: reader.text("format", fs.format.as_ref()),
                path: path(reader, fs.path.as_ref()),
                wipe_filesystem: reader.boolean("wipe_filesystem", fs.wipe_filesystem.as_ref()).unwrap_or(false),
                label: reader.text("label", fs.label.as_ref()),
                uuid: reader.text("uuid", fs.uuid.as_ref()),
                options: reader.parse_list("options", &fs.options),
                mount_options: reader.parse_list("mount_options", &fs.mount_options),
            }
        });
        (device.clone(), fs)
    };
    entry.filesystems.iter().map(file_system).collect()
}

/// A device, a label or a UUID as mount(8) takes them.
fn check_device(reader: &mut Reader, device: &str) {
    let source = device.starts_with('/') || device.contains('=');
    if !source || device.contains(|c: char| c.is_control() || c.is_whitespace()) {
        reader.refuse("name", 0, format!("{device:?} is neither a device (/dev/sda) nor LABEL=, UUID=, PARTLABEL="));
    }
}

/// `swap` has none, and Warewulf writes that as `swap` or `none`.
fn path(reader: &mut Reader, text: Option<&Text>) -> Option<String> {
    let path = reader.text("path", text)?;
    if !path.starts_with('/') && path != "swap" && path != "none" {
        reader.refuse("path", text.map_or(0, Text::line), format!("{path:?} is not an absolute path"));
    }
    Some(path)
}
