//! Functions and filters of templates, equal in power to Warewulf's. They start no command, see no environment, and read only the
//! node's image and the directory for included files (`confined`).

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use minijinja::value::Object;
use minijinja::{Environment, Error, ErrorKind, State, Value};

use super::confined::Confined;
use super::ignition;
use super::output::Mark;

/// Places that templates may read.
#[derive(Clone, Debug, Default)]
pub struct Readable {
    /// Files for `include_file` and `include_block`.
    pub files: PathBuf,
    /// Holds `NAME/rootfs` of every image.
    pub images: PathBuf,
    /// Holds the head's own `passwd` and `group`; nothing is read where it is empty.
    pub accounts: PathBuf,
}

/// A map in which what is missing is an empty text: for tags, which a node may have or not.
#[derive(Debug)]
struct Optional(Value);

impl Object for Optional {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let value = self.0.get_item(key).ok().filter(|value| !value.is_undefined());
        Some(value.unwrap_or_else(|| Value::from("")))
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

/// Adds all of them.
pub(super) fn add(environment: &mut Environment<'static>, readable: &Arc<Readable>) {
    // What becomes of the output: see `output`.
    environment.add_function("file", |name: &str| Mark::File(name.to_owned()).value());
    environment.add_function("softlink", |target: &str| Mark::Link(target.to_owned()).value());
    environment.add_function("abort", || Mark::Abort.value());
    // Nothing is ever backed up: the image's own file stays in the layer below. Here so that templates need not be changed.
    environment.add_function("nobackup", || Value::from_safe_string(String::new()));
    add_readers(environment, readable);
    environment.add_function("optional", |map: Value| Value::from_object(Optional(map)));
    environment.add_function("ignition_json", |state: &State<'_, '_>| ignition::json(&node(state)?));
    environment.add_function("unique_field", unique_field);
    environment
        .add_filter("unique_field", |text: &str, separator: &str, index: usize| unique_field(separator, index, text));
    environment.add_function("inc", |number: i64| number.saturating_add(1));
    environment.add_function("dec", |number: i64| number.saturating_sub(1));
    environment.add_filter("inc", |number: i64| number.saturating_add(1));
    environment.add_filter("dec", |number: i64| number.saturating_sub(1));
    for (name, function) in [
        ("basename", basename as fn(&str) -> String),
        ("dirname", dirname),
        ("systemd_escape", systemd_escape),
        ("systemd_escape_path", systemd_escape_path),
        ("shell", shell),
    ] {
        environment.add_function(name, move |text: &str| function(text));
        environment.add_filter(name, move |text: &str| function(text));
    }
    environment.add_filter("netmask", netmask);
    environment.add_filter("network", network);
}

fn add_readers(environment: &mut Environment<'static>, readable: &Arc<Readable>) {
    let files = Arc::clone(readable);
    environment.add_function("include_file", move |path: &str| {
        Confined::open(&files.files).and_then(|dir| dir.text(path)).map(Value::from_safe_string)
    });
    let files = Arc::clone(readable);
    environment.add_function("include_optional", move |path: &str| match Confined::open(&files.files) {
        Ok(dir) if dir.has(path) => dir.text(path).map(Value::from_safe_string),
        _ => Ok(Value::from_safe_string(String::new())),
    });
    let files = Arc::clone(readable);
    environment.add_function("head_accounts", move |name: &str| match name {
        "passwd" | "group" if files.accounts.as_os_str().is_empty() => Ok(Value::from_safe_string(String::new())),
        "passwd" | "group" => Confined::open(&files.accounts)?.text(name).map(Value::from_safe_string),
        _ => Err(invalid("the head's accounts are \"passwd\" and \"group\"")),
    });
    let files = Arc::clone(readable);
    environment.add_function("include_block", move |path: &str, marker: &str| {
        let text = Confined::open(&files.files).and_then(|dir| dir.text(path))?;
        Ok::<_, Error>(Value::from_safe_string(block(&text, marker)))
    });
    let images = Arc::clone(readable);
    environment.add_function("include_from_image", move |state: &State<'_, '_>, path: &str, other: Option<&str>| {
        image(state, &images, other)?.text(path).map(Value::from_safe_string)
    });
    let images = Arc::clone(readable);
    environment
        .add_function("readlink", move |state: &State<'_, '_>, path: &str| image(state, &images, None)?.link(path));
    let images = Arc::clone(readable);
    environment.add_function("import_link", move |state: &State<'_, '_>, path: &str| {
        image(state, &images, None)?.link(path).map(|target| Mark::Link(target).value())
    });
}

fn node(state: &State<'_, '_>) -> Result<Value, Error> {
    state.lookup("node").ok_or_else(|| invalid("there is no node here"))
}

/// The root of an image: `other`, or that of the node.
fn image(state: &State<'_, '_>, readable: &Readable, other: Option<&str>) -> Result<Confined, Error> {
    let name = match other {
        Some(name) => name.to_owned(),
        None => {
            let image = node(state)?.get_attr("image")?;
            let text = image.as_str().ok_or_else(|| invalid("the node has no image"))?;
            text.split('@').next().unwrap_or_default().to_owned()
        }
    };
    let name: wulfpack_shared::id::ImageName = name.parse().map_err(|error| invalid(format!("{error}")))?;
    Confined::open(&readable.images.join(name.as_str()).join("rootfs"))
}

/// Lines of `text` before the first one that holds `marker`.
fn block(text: &str, marker: &str) -> String {
    let lines = text.lines().take_while(|line| !line.contains(marker));
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// Of lines whose field `index` is the same, the first one.
fn unique_field(separator: &str, index: usize, text: &str) -> Value {
    let mut seen = BTreeSet::new();
    let first = |line: &&str| line.split(separator).nth(index).is_none_or(|field| seen.insert(field.to_owned()));
    let lines: Vec<&str> = text.lines().filter(first).collect();
    let end = if text.ends_with('\n') { "\n" } else { "" };
    Value::from_safe_string(format!("{}{end}", lines.join("\n")))
}

fn basename(path: &str) -> String {
    path.trim_end_matches('/').rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("/").to_owned()
}

fn dirname(path: &str) -> String {
    match path.trim_end_matches('/').rsplit_once('/') {
        Some(("", _)) => "/".to_owned(),
        Some((dir, _)) => dir.to_owned(),
        None => ".".to_owned(),
    }
}

/// As systemd-escape(1) does it: a slash becomes a dash, what has no place in a unit's name `\xNN`.
fn systemd_escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'/' => escaped.push('-'),
            b'.' if index == 0 => escaped.push_str("\\x2e"),
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b':' | b'_' | b'.' => escaped.push(char::from(byte)),
            _ => _ = write!(escaped, "\\x{byte:02x}"),
        }
    }
    escaped
}

/// As `systemd-escape --path`: slashes at the ends and doubled ones do not count; the root is a dash.
fn systemd_escape_path(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.is_empty() { "-".to_owned() } else { systemd_escape(&parts.join("/")) }
}

/// One word of a POSIX shell.
fn shell(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// 24 becomes 255.255.255.0.
fn netmask(prefix: u8) -> Result<String, Error> {
    let bits = u32::MAX.checked_shl(32u32.saturating_sub(prefix.into())).unwrap_or(0);
    if prefix > 32 {
        Err(invalid("a prefix has at most 32 bits"))
    } else {
        Ok(std::net::Ipv4Addr::from(bits).to_string())
    }
}

/// The network of an address with so many bits of prefix.
fn network(address: &str, prefix: u8) -> Result<String, Error> {
    use std::net::IpAddr;
    let address: IpAddr = address.parse().map_err(|_| invalid(format!("{address:?} is no address")))?;
    match address {
        IpAddr::V4(ip) if prefix <= 32 => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            Ok(IpAddr::V4((u32::from(ip) & mask).into()).to_string())
        }
        IpAddr::V6(ip) if prefix <= 128 => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            Ok(IpAddr::V6((u128::from(ip) & mask).into()).to_string())
        }
        _ => Err(invalid("the prefix is too long")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What systemd-escape of systemd 252 printed.
    #[test]
    fn names_of_units_are_escaped_as_systemd_does() {
        assert_eq!(systemd_escape("a/b c-d.e"), r"a-b\x20c\x2dd.e");
        assert_eq!(systemd_escape(".hidden"), r"\x2ehidden");
        assert_eq!(systemd_escape_path("/dev//disk/by-label/x y/"), r"dev-disk-by\x2dlabel-x\x20y");
        assert_eq!(systemd_escape_path("/"), "-");
        assert_eq!(systemd_escape("ü"), r"\xc3\xbc");
    }

    #[test]
    fn paths_words_and_networks() {
        assert_eq!((basename("/a/b/").as_str(), basename("/").as_str(), basename("x").as_str()), ("b", "/", "x"));
        assert_eq!((dirname("/a/b"), dirname("/a"), dirname("a")), ("/a".into(), "/".into(), ".".into()));
        assert_eq!(shell("it's"), r"'it'\''s'");
        assert_eq!(netmask(20).unwrap(), "255.255.240.0");
        assert_eq!((netmask(0).unwrap(), netmask(32).unwrap()), ("0.0.0.0".into(), "255.255.255.255".into()));
        assert!(netmask(33).is_err() && network("10.0.0.1", 33).is_err());
        assert_eq!(network("10.1.2.3", 20).unwrap(), "10.1.0.0");
        assert_eq!(network("fd00::1:2", 64).unwrap(), "fd00::");
    }

    #[test]
    fn lines_with_a_known_field_are_left_out() {
        let text = "root:x:0\nbin:x:1\nroot:y:7\nshort\n";
        assert_eq!(unique_field(":", 0, text).as_str(), Some("root:x:0\nbin:x:1\nshort\n"));
        assert_eq!(block("a\nb\n# END\nc\n", "END"), "a\nb\n");
    }
}
