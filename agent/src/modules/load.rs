//! Reading the index, walking sysfs, and inserting modules.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::index::{ModuleIndex, Plan, ROOT_MODULES, Source, Step};

/// Directories of modprobe.d, the one that counts most first (modprobe.d(5)).
const MODPROBE_DIRS: [&str; 4] = ["etc/modprobe.d", "run/modprobe.d", "usr/lib/modprobe.d", "lib/modprobe.d"];
/// finit_module(2): the file is compressed; kernels from 5.17 on can read it.
const MODULE_INIT_COMPRESSED_FILE: i32 = 4;
/// Rounds of "load, look again": a bus appears, then its devices. Real machines need two or three.
const ROUNDS_MAX: usize = 16;

/// Why the modules of this kernel cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ModulesError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The initramfs belongs to another kernel.
    #[error(
        "the initramfs has no modules for the running kernel {release} ({} is missing): kernel and initramfs are not from \
         the same image version; check the boot script of this node",
        path.display()
    )]
    NoModules {
        /// As `uname -r` prints it.
        release: String,
        /// `modules.dep`.
        path: PathBuf,
    },
}

fn read_optional(path: &Path) -> Result<String, ModulesError> {
    match fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(source) => Err(ModulesError::Read { path: path.to_owned(), source }),
    }
}

/// The `*.conf` files of modprobe.d by name, an earlier directory hiding a file of the same name in a later one.
fn modprobe_files(root: &Path) -> Result<Vec<String>, ModulesError> {
    let mut files: BTreeMap<_, PathBuf> = BTreeMap::new();
    for dir in MODPROBE_DIRS {
        let dir = root.join(dir);
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        for entry in entries.flatten() {
            if Path::new(&entry.file_name()).extension().is_some_and(|extension| extension == "conf") {
                files.entry(entry.file_name()).or_insert_with(|| entry.path());
            }
        }
    }
    files.values().map(|path| read_optional(path)).collect()
}

impl ModuleIndex {
    /// Reads the index of the kernel `release` below `root` (`/` in the initramfs), modprobe.d below it, and the
    /// running kernel's command line.
    ///
    /// # Errors
    /// [`ModulesError::NoModules`] if there is no `modules.dep`, otherwise files that exist and cannot be read.
    pub fn load(root: &Path, release: &str) -> Result<Self, ModulesError> {
        let dir = root.join("lib/modules").join(release);
        let dep = dir.join("modules.dep");
        if !dep.is_file() {
            return Err(ModulesError::NoModules { release: release.to_owned(), path: dep });
        }
        Ok(Self::parse(&Source {
            dep: read_optional(&dep)?,
            alias: read_optional(&dir.join("modules.alias"))?,
            softdep: read_optional(&dir.join("modules.softdep"))?,
            builtin: read_optional(&dir.join("modules.builtin"))?,
            order: read_optional(&dir.join("modules.order"))?,
            modprobe: modprobe_files(root)?,
            command_line: read_optional(Path::new("/proc/cmdline"))?,
        }))
    }
}

/// Puts a module into a kernel. A test puts a list in its place.
pub trait Insert {
    /// Inserts the module in `file` with these parameters.
    ///
    /// # Errors
    /// As finit_module(2).
    fn insert(&mut self, file: &Path, options: &str) -> Result<(), Errno>;
}

/// The running kernel.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemKernel;

impl Insert for SystemKernel {
    fn insert(&mut self, file: &Path, options: &str) -> Result<(), Errno> {
        let compressed = file.extension().is_some_and(|extension| extension != "ko");
        let opened = File::open(file).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        let options = CString::new(options).map_err(|_| Errno::INVAL)?;
        rustix::system::finit_module(&opened, &options, if compressed { MODULE_INIT_COMPRESSED_FILE } else { 0 })
    }
}

/// What finit_module(2) means by an error, for a person.
fn explain(error: Errno) -> String {
    let words = match error {
        Errno::NOKEY | Errno::KEYREJECTED | Errno::BADMSG => {
            "Key was rejected: Secure Boot is on and no key that the kernel trusts has signed this module; enrol the \
             vendor's key (mokutil), use the distribution's own module, or switch Secure Boot off"
        }
        Errno::PERM => "the kernel is locked down or loading modules is disabled (kernel.modules_disabled)",
        Errno::NOEXEC => "the module was built for another kernel",
        Errno::NOENT => "the file is missing, or a symbol that the module needs is unknown to this kernel",
        Errno::INVAL => "a parameter is wrong, or the module does not fit this kernel",
        Errno::NODEV => "the module found no hardware of its kind",
        Errno::NOMEM => "there is too little memory",
        Errno::OPNOTSUPP => "the kernel cannot decompress modules; the initramfs must hold them decompressed",
        _ => return error.to_string(),
    };
    format!("{words} ({error})")
}

/// A module that did not load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadFailure {
    /// Which.
    pub module: String,
    /// The modalias or name that asked for it.
    pub wanted_by: String,
    /// Why, for a person.
    pub reason: String,
}

/// What was loaded, for the console.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Modules inserted now, in order.
    pub loaded: Vec<String>,
    /// Modules that were refused.
    pub failed: Vec<LoadFailure>,
    /// Blacklists and install lines that were obeyed or ignored.
    pub notes: Vec<String>,
}

impl LoadReport {
    fn add(&mut self, other: Self) {
        self.loaded.extend(other.loaded);
        self.failed.extend(other.failed);
        self.notes.extend(other.notes);
    }
}

impl fmt::Display for LoadReport {
    /// One line for what was loaded, one for each note and failure.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} modules loaded", self.loaded.len())?;
        if !self.loaded.is_empty() {
            write!(f, ": {}", self.loaded.join(" "))?;
        }
        for note in &self.notes {
            write!(f, "\n{note}")?;
        }
        for LoadFailure { module, wanted_by, reason } in &self.failed {
            write!(f, "\nmodule {module} (for {wanted_by}) did not load: {reason}")?;
        }
        Ok(())
    }
}

/// Loads modules and remembers what it has tried, so that asking again is cheap.
#[derive(Debug)]
pub struct Loader<K = SystemKernel> {
    index: ModuleIndex,
    dir: PathBuf,
    kernel: K,
    /// Modules that were inserted, or refused for good.
    tried: BTreeSet<String>,
    /// Modaliases that were looked up.
    looked_up: BTreeSet<String>,
}

impl Loader {
    /// A loader for the modules of `release` below `root`.
    ///
    /// # Errors
    /// As [`ModuleIndex::load`].
    pub fn new(root: &Path, release: &str) -> Result<Self, ModulesError> {
        let index = ModuleIndex::load(root, release)?;
        Ok(Self::with_kernel(index, root.join("lib/modules").join(release), SystemKernel))
    }
}

impl<K: Insert> Loader<K> {
    /// A loader for files below `dir` into `kernel`.
    pub fn with_kernel(index: ModuleIndex, dir: PathBuf, kernel: K) -> Self {
        Self { index, dir, kernel, tried: BTreeSet::new(), looked_up: BTreeSet::new() }
    }

    /// Loads what the hardware asks for: reads every `modalias` below `sysfs/devices`, loads, and looks again until
    /// nothing new appears. Blocks; may be called again when hardware is expected to have appeared.
    pub fn load_for_hardware(&mut self, sysfs: &Path) -> LoadReport {
        let mut report = LoadReport::default();
        for _ in 0..ROUNDS_MAX {
            let mut found = vec![];
            modaliases(&sysfs.join("devices"), &mut found);
            found.retain(|modalias| !self.looked_up.contains(modalias));
            found.sort();
            found.dedup();
            let plans = self.index.plan_for_modaliases(found.iter().map(String::as_str));
            self.looked_up.extend(found);
            if plans.is_empty() {
                break;
            }
            for plan in plans {
                report.add(self.run(&plan));
            }
        }
        report
    }

    /// Loads modules by name, such as [`ROOT_MODULES`]. A module that this kernel has neither built in nor as a file
    /// is a failure in the report.
    pub fn load_by_name<'a>(&mut self, names: impl IntoIterator<Item = &'a str>) -> LoadReport {
        let mut report = LoadReport::default();
        for name in names {
            match self.index.plan_for_name(name) {
                Some(plan) => report.add(self.run(&plan)),
                None => report.failed.push(LoadFailure {
                    module: name.to_owned(),
                    wanted_by: name.to_owned(),
                    reason:
                        "the initramfs has no such module and the kernel's list of built-in ones does not name it; \
                             rebuild the image"
                            .into(),
                }),
            }
        }
        report
    }

    /// [`Self::load_by_name`] for loop, squashfs and overlay.
    pub fn load_for_root(&mut self) -> LoadReport {
        self.load_by_name(ROOT_MODULES)
    }

    fn run(&mut self, plan: &Plan) -> LoadReport {
        let mut report = LoadReport { notes: plan.notes.clone(), ..LoadReport::default() };
        for step in &plan.steps {
            if !self.tried.insert(step.name.clone()) {
                continue;
            }
            match self.kernel.insert(&self.file(step), &step.options) {
                Ok(()) => report.loaded.push(step.name.clone()),
                Err(Errno::EXIST) => {}
                Err(error) => report.failed.push(LoadFailure {
                    module: step.name.clone(),
                    wanted_by: plan.wanted_by.clone(),
                    reason: explain(error),
                }),
            }
        }
        report
    }

    /// The module's file; decompressed where `modules.dep` still has the name of the image's compressed one.
    fn file(&self, step: &Step) -> PathBuf {
        let named = self.dir.join(&step.path);
        let plain = named.with_extension("");
        let decompressed = plain.extension().is_some_and(|extension| extension == "ko");
        if decompressed && !named.exists() && plain.exists() { plain } else { named }
    }
}

/// All modaliases of devices below `dir`, without following links. What cannot be read has gone meanwhile.
fn modaliases(dir: &Path, found: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            modaliases(&entry.path(), found);
        } else if kind.is_file()
            && entry.file_name() == "modalias"
            && let Ok(text) = fs::read_to_string(entry.path())
            && !text.trim_ascii().is_empty()
        {
            found.push(text.trim_ascii().to_owned());
        }
    }
}
