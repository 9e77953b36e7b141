//! Reading overlays from directories, or from what is built in.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use nix::fcntl::OFlag;
use wulfpack_shared::id::OverlayName;
use wulfpack_shared::limits::OVERLAYS_MAX;
use wulfpack_shared::overlay::is_clean;

use super::attributes::Book;
use super::rules::{self, Rules};
use super::shipped;

/// Most paths of one overlay.
const PATHS_MAX: usize = 10_000;
/// Stands for the name of an interface's network in the name of a template.
pub(super) const EACH: &str = "@net@";
/// The suffix of templates.
pub(super) const TEMPLATE: &str = ".j2";

/// One overlay as it was found, sorted by path.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Overlay {
    pub(super) rules: Rules,
    pub(super) items: Vec<Item>,
}

/// One path of an overlay.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Item {
    /// Below `rootfs`, with the suffix of templates.
    pub(super) path: String,
    pub(super) kind: ItemKind,
    /// Permission bits.
    pub(super) mode: u32,
    /// Owner on the node.
    pub(super) uid: u32,
    /// Group on the node.
    pub(super) gid: u32,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum ItemKind {
    File(Bytes),
    Template(String),
    Directory { empty: bool },
    Symlink(String),
}

/// Why an overlay cannot be read: the file, and what is wrong with it.
#[derive(Debug)]
pub(super) struct SourceError {
    pub(super) file: String,
    pub(super) message: String,
}

fn failed(file: impl AsRef<Path>, message: impl ToString) -> SourceError {
    SourceError { file: file.as_ref().display().to_string(), message: message.to_string() }
}

/// Looks in `dirs` in order, then among those built in; `None` if nobody has it.
pub(super) fn find(dirs: &[PathBuf], name: &OverlayName) -> Result<Option<Overlay>, SourceError> {
    for dir in dirs {
        let overlay = dir.join(name.as_str());
        match fs::metadata(&overlay) {
            Ok(data) if data.is_dir() => return read(&overlay).map(Some),
            Ok(_) => return Err(failed(overlay, "it is not a directory")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(overlay, error)),
        }
    }
    shipped::find(name.as_str()).map(built_in).transpose()
}

fn built_in(overlay: &shipped::Shipped) -> Result<Overlay, SourceError> {
    let rules = rules::parse(overlay.rules).map_err(|message| failed("overlay.yaml", message))?;
    let mut items = vec![];
    // A directory needs an entry of its own only where a rule says something of it.
    for path in rules.paths.keys() {
        let below = format!("{path}/");
        if overlay.files.iter().any(|(file, ..)| file.starts_with(&below)) {
            items.push(Item {
                path: path.clone(),
                kind: ItemKind::Directory { empty: false },
                mode: 0o755,
                uid: 0,
                gid: 0,
            });
        }
    }
    for (path, content, mode) in overlay.files {
        let kind = match content {
            shipped::Content::Text(text) if path.ends_with(TEMPLATE) => ItemKind::Template((*text).to_owned()),
            shipped::Content::Text(text) => ItemKind::File(Bytes::from_static(text.as_bytes())),
            shipped::Content::Link(target) => ItemKind::Symlink((*target).to_owned()),
        };
        items.push(Item { path: (*path).to_owned(), kind, mode: *mode, uid: 0, gid: 0 });
    }
    items.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Overlay { rules, items })
}

/// Reads a file of settings; the default where there is none.
pub(super) fn settings<T: Default>(file: &Path, parse: impl Fn(&str) -> Result<T, String>) -> Result<T, SourceError> {
    match read_bounded(file, OVERLAYS_MAX) {
        Ok(bytes) => {
            let text = String::from_utf8(bytes).map_err(|error| failed(file, error))?;
            parse(&text).map_err(|message| failed(file, message))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(T::default()),
        Err(error) => Err(failed(file, error)),
    }
}

/// Who owns what is root's on nodes: root itself, and whom the directory of the overlays belongs to. That is the group of the head's
/// own user, which reads them, or whoever keeps overlays without being root.
#[derive(Clone, Copy, Debug)]
struct Roots {
    uid: u32,
    gid: u32,
}

impl Roots {
    fn of(overlay: &Path) -> io::Result<Self> {
        let data = fs::metadata(overlay.parent().unwrap_or(overlay))?;
        Ok(Self { uid: data.uid(), gid: data.gid() })
    }

    fn on_node(self, uid: u32, gid: u32) -> (u32, u32) {
        let own = |id, roots| if id == roots { 0 } else { id };
        (own(uid, self.uid), own(gid, self.gid))
    }
}

fn read(dir: &Path) -> Result<Overlay, SourceError> {
    let rules = settings(&dir.join("overlay.yaml"), rules::parse)?;
    let book = Book::read(dir)?;
    let roots = Roots::of(dir).map_err(|error| failed(dir, error))?;
    let (root, mut items, mut budget) = (dir.join("rootfs"), vec![], OVERLAYS_MAX);
    for entry in walkdir::WalkDir::new(&root).min_depth(1).sort_by_file_name() {
        let entry = entry.map_err(|error| failed(error.path().unwrap_or(&root), &error))?;
        if items.len() >= PATHS_MAX {
            return Err(failed(&root, format!("it has more than {PATHS_MAX} paths")));
        }
        let mut item = item(&root, &entry, roots, &mut budget)?;
        if let Some(written) = book.get(&item.path) {
            item.mode = written.mode().unwrap_or(item.mode);
            item.uid = written.uid.unwrap_or(item.uid);
            item.gid = written.gid.unwrap_or(item.gid);
        }
        items.push(item);
    }
    items.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Overlay { rules, items })
}

fn item(root: &Path, entry: &walkdir::DirEntry, roots: Roots, budget: &mut usize) -> Result<Item, SourceError> {
    let path = entry.path();
    let relative = path.strip_prefix(root).ok().and_then(Path::to_str).filter(|path| is_clean(path));
    let relative = relative.ok_or_else(|| failed(path, "its name is not UTF-8"))?.to_owned();
    let data = entry.metadata().map_err(|error| failed(path, error))?;
    let kind = if data.is_dir() {
        let mut inside = fs::read_dir(path).map_err(|error| failed(path, error))?;
        ItemKind::Directory { empty: inside.next().is_none() }
    } else if data.is_symlink() {
        // Taken as it is; it is followed on the node only.
        let target = fs::read_link(path).map_err(|error| failed(path, error))?;
        ItemKind::Symlink(target.into_os_string().into_string().map_err(|_| failed(path, "its target is not UTF-8"))?)
    } else if data.is_file() {
        let bytes = read_bounded(path, *budget).map_err(|error| unreadable(path, &data, error))?;
        *budget -= bytes.len();
        if relative.ends_with(TEMPLATE) {
            ItemKind::Template(String::from_utf8(bytes).map_err(|error| failed(path, error))?)
        } else {
            ItemKind::File(bytes.into())
        }
    } else {
        return Err(failed(path, "only files, directories and links may stand in an overlay"));
    };
    let (uid, gid) = roots.on_node(data.uid(), data.gid());
    // Directories of overlays hand the head's group on to what is made in them: on nodes that bit is there only if it is written down.
    let mode = data.mode() & if data.is_dir() { 0o5777 } else { 0o7777 };
    Ok(Item { path: relative, kind, mode, uid, gid })
}

/// A head that gave up root cannot read what is root's alone.
fn unreadable(path: &Path, data: &fs::Metadata, error: io::Error) -> SourceError {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return failed(path, error);
    }
    let mode = data.mode() & 0o7777;
    failed(
        path,
        format!(
            "the head's own user cannot read it ({error}); \"wulf overlay chmod OVERLAY PATH {mode:o}\" lets it, and nodes get it with \
             mode {mode:04o} all the same"
        ),
    )
}

/// Reads a file that must not be a link and not be larger than `limit` bytes.
fn read_bounded(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let mut bytes = vec![];
    file.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > limit {
        return Err(io::Error::other(format!("overlays of a node may have {OVERLAYS_MAX} bytes together")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_reads_overlays_for_the_head_is_root_on_nodes_and_everybody_else_is_himself() {
        let head = Roots { uid: 0, gid: 990 };
        assert_eq!([head.on_node(0, 990), head.on_node(0, 0), head.on_node(1000, 42)], [(0, 0), (0, 0), (1000, 42)]);
        let person = Roots { uid: 1000, gid: 1000 };
        assert_eq!(
            [person.on_node(1000, 1000), person.on_node(0, 0), person.on_node(33, 1000)],
            [(0, 0), (0, 0), (33, 0)]
        );
    }
}
