//! Ignition's configuration of disks and file systems (specification 3.2.0), from the node's `disks` and `filesystems`.

use minijinja::{Error, Value};
use serde_json::{Map, Value as Json, json};

/// The JSON text; an empty one where the registry names no disk and no file system.
pub(super) fn json(node: &Value) -> Result<Value, Error> {
    let plain = |name: &str| serde_json::to_value(node.get_attr(name)?).map_err(invalid);
    let (disks, filesystems) = (plain("disks")?, plain("filesystems")?);
    let (disks, filesystems) = (map(&disks), map(&filesystems));
    if disks.is_empty() && filesystems.is_empty() {
        return Ok(Value::from_safe_string(String::new()));
    }
    let disks: Vec<Json> = disks.iter().map(|(device, layout)| disk(device, layout)).collect();
    let filesystems: Vec<Json> = filesystems.iter().map(|(device, system)| filesystem(device, system)).collect();
    let config = json!({
        "ignition": {"version": "3.2.0"},
        "storage": {"disks": disks, "filesystems": filesystems},
    });
    serde_json::to_string(&config).map(Value::from_safe_string).map_err(invalid)
}

fn invalid(error: serde_json::Error) -> Error {
    Error::new(minijinja::ErrorKind::BadSerialization, error.to_string())
}

fn map(value: &Json) -> Map<String, Json> {
    value.as_object().cloned().unwrap_or_default()
}

/// Copies fields that are set, under Ignition's names.
fn fields(from: &Json, names: &[(&str, &str)]) -> Map<String, Json> {
    let set = |value: &&Json| {
        !matches!(value, Json::Null | Json::Bool(false)) && value.as_array().is_none_or(|list| !list.is_empty())
    };
    let field = |(ours, theirs): &(&str, &str)| Some(((*theirs).to_owned(), from.get(*ours).filter(set)?.clone()));
    names.iter().filter_map(field).collect()
}

fn disk(device: &str, layout: &Json) -> Json {
    let mut disk = fields(layout, &[("wipe_table", "wipeTable")]);
    disk.insert("device".into(), device.into());
    let partition = |(label, of): (String, Json)| {
        let mut partition = fields(
            &of,
            &[
                ("number", "number"),
                ("size_mib", "sizeMiB"),
                ("start_mib", "startMiB"),
                ("type_guid", "typeGuid"),
                ("guid", "guid"),
                ("wipe_partition_entry", "wipePartitionEntry"),
                ("resize", "resize"),
            ],
        );
        partition.insert("label".into(), label.into());
        // Without it Ignition leaves the partition alone.
        partition.insert("shouldExist".into(), of.get("should_exist").cloned().unwrap_or(Json::Bool(true)));
        Json::Object(partition)
    };
    let partitions: Vec<Json> =
        map(layout.get("partitions").unwrap_or(&Json::Null)).into_iter().map(partition).collect();
    if !partitions.is_empty() {
        disk.insert("partitions".into(), partitions.into());
    }
    Json::Object(disk)
}

fn filesystem(device: &str, of: &Json) -> Json {
    let mut system = fields(
        of,
        &[
            ("format", "format"),
            ("path", "path"),
            ("wipe_filesystem", "wipeFilesystem"),
            ("label", "label"),
            ("uuid", "uuid"),
            ("options", "options"),
            ("mount_options", "mountOptions"),
        ],
    );
    system.insert("device".into(), device.into());
    Json::Object(system)
}
