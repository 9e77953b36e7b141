//! What flags do to an entry.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, IsTerminal as _, Read as _};

use super::count::{count_up, usage};
use super::flags::{SetFlags, UnsetFlags};
use super::table::{FIELDS, Field, ITEMS, Kind, Place};
use crate::cli::note;
use crate::config::yaml;
use crate::registry::{Disk, Entry, FileSystem, List, Map, NetDev, Partition, Text};

/// Longest password that is read.
const SECRET_MAX: u64 = 4096;

/// What the flags for parts of an entry are about.
struct About<'a>(&'a BTreeMap<String, String>);

impl About<'_> {
    fn net(&self) -> &str {
        self.0.get("netname").map_or("default", String::as_str)
    }

    fn named(&self, selector: &str, flag: &str) -> anyhow::Result<&str> {
        let name = self.0.get(selector);
        name.map(String::as_str).ok_or_else(|| usage(format!("--{flag}: say with --{selector} what it is about")))
    }

    /// The part that a field lies in, made where it is missing; hands what it finds to `set`.
    fn with(&self, entry: &mut Entry, field: &Field, set: Set<'_>) -> anyhow::Result<()> {
        match field.place {
            Place::Text(get) => set.text(get(entry)),
            Place::List(get) => set.list(get(entry), ','),
            Place::Words(get) => set.list(get(entry), ' '),
            Place::Ipmi(get) => set.text(get(&mut entry.ipmi)),
            Place::Net(get) => part::<NetDev>(&mut entry.network_devices, self.net(), |net| set.text(get(net))),
            Place::Disk(get) => {
                let name = self.named("diskname", field.flag)?;
                part::<Disk>(&mut entry.disks, name, |disk| set.text(get(disk)));
            }
            Place::Part(get) => {
                let (disk, name) = (self.named("diskname", field.flag)?, self.named("partname", field.flag)?);
                part::<Disk>(&mut entry.disks, disk, |disk| {
                    part::<Partition>(&mut disk.partitions, name, |part| set.text(get(part)));
                });
            }
            Place::Fs(get) => {
                let name = self.named("fsname", field.flag)?;
                part::<FileSystem>(&mut entry.filesystems, name, |fs| set.text(get(fs)));
            }
            Place::FsList(get) => {
                let name = self.named("fsname", field.flag)?;
                part::<FileSystem>(&mut entry.filesystems, name, |fs| set.list(get(fs), ','));
            }
        }
        Ok(())
    }
}

/// Changes one part; clearing what was never set makes none.
fn part<V: Clone + Default + PartialEq>(map: &mut Map<V>, name: &str, change: impl FnOnce(&mut V)) {
    let mut value = map.get(name).cloned().unwrap_or_default();
    change(&mut value);
    if map.contains_key(name) || value != V::default() {
        map.insert(name.to_owned(), value);
    }
}

/// A new value; `None` clears.
#[derive(Clone, Copy)]
struct Set<'a>(Option<&'a str>);

impl Set<'_> {
    fn text(self, field: &mut Option<Text>) {
        *field = self.0.map(Into::into);
    }
    fn list(self, list: &mut List, separator: char) {
        let items = self.0.into_iter().flat_map(|text| text.split(separator)).map(str::trim);
        *list = items.filter(|item| !item.is_empty()).collect();
    }
}

/// Warewulf's words for no value.
fn clears(value: &str) -> bool {
    matches!(value, "UNDEF" | "UNSET" | "")
}

impl SetFlags {
    /// Whether nothing is to be set.
    pub(in crate::cli) fn is_empty(&self) -> bool {
        self.values.is_empty() && self.items.values().all(Vec::is_empty)
    }

    /// Whether profiles are named.
    pub(in crate::cli) fn names_profiles(&self) -> bool {
        self.values.contains_key("profile")
    }

    /// Whether standard input gives a value: then it cannot give nodes too.
    pub(in crate::cli) fn reads_stdin(&self) -> bool {
        self.values.get("ipmipass").is_some_and(|value| value == "-")
    }

    /// Reads what does not stand on the command line itself.
    pub(in crate::cli) fn fetch_secrets(&mut self) -> anyhow::Result<()> {
        for field in FIELDS.iter().filter(|field| field.kind == Kind::Secret) {
            let Some(value) = self.values.get_mut(field.flag) else { continue };
            if value == "-" {
                *value = ask_secret(field.flag)?;
            } else if let Some(path) = value.strip_prefix('@') {
                let mut text = String::new();
                let file =
                    std::fs::File::open(path).map_err(|error| usage(format!("--{}: {path}: {error}", field.flag)))?;
                file.take(SECRET_MAX).read_to_string(&mut text)?;
                *value = text.trim_end_matches(['\r', '\n']).to_owned();
            } else if !clears(value) {
                let flag = field.flag;
                note(&format!("warning: --{flag} shows the secret to everybody who lists processes; use --{flag} -"));
            }
        }
        Ok(())
    }

    /// Sets the fields of the `index`-th of `count` entries.
    pub(in crate::cli) fn apply(&self, entry: &mut Entry, index: u32, count: usize) -> anyhow::Result<()> {
        let about = About(&self.values);
        for field in FIELDS {
            let Some(value) = self.values.get(field.flag) else { continue };
            if clears(value) {
                about.with(entry, field, Set(None))?;
                continue;
            }
            let value = match field.kind {
                Kind::Unique if count > 1 => {
                    let flag = field.flag;
                    return Err(usage(format!(
                        "--{flag}: one address cannot belong to several nodes; set it for each"
                    )));
                }
                Kind::Counting => count_up(field.flag, value, index)?,
                _ => value.clone(),
            };
            about.with(entry, field, Set(Some(&value)))?;
        }
        self.apply_items(entry, &about)
    }

    fn items(&self, flag: &str) -> &[String] {
        self.items.get(flag).map_or(&[], Vec::as_slice)
    }

    fn apply_items(&self, entry: &mut Entry, about: &About<'_>) -> anyhow::Result<()> {
        for (add, remove, get) in ITEMS {
            let list = get(entry);
            list.0.retain(|item| !self.items(remove).iter().any(|gone| gone == item.as_str()));
            for item in self.items(add) {
                if !list.contains(item) {
                    list.0.push(item.as_str().into());
                }
            }
        }
        tags(&mut entry.tags, self.items("tagadd"), self.items("tagdel"))?;
        tags(&mut entry.ipmi.tags, self.items("ipmitagadd"), self.items("ipmitagdel"))?;
        let (add, remove) = (self.items("nettagadd"), self.items("nettagdel"));
        let mut result = Ok(());
        part::<NetDev>(&mut entry.network_devices, about.net(), |net| result = tags(&mut net.tags, add, remove));
        result?;
        for resource in self.items("resourceadd") {
            let (name, text) = key_value("resourceadd", resource)?;
            let value: serde_json::Value =
                yaml::parse(text).map_err(|error| usage(format!("--resourceadd {name}: {error}")))?;
            entry.resources.insert(name.to_owned(), value);
        }
        let gone = |flag: &str| self.items(flag).to_vec();
        remove_parts(entry, about, &gone("netdel"), &gone("diskdel"), &gone("partdel"), &gone("fsdel"))?;
        remove_all("resourcedel", &mut entry.resources, self.items("resourcedel"))
    }
}

impl UnsetFlags {
    /// Whether nothing is to be cleared.
    pub(in crate::cli) fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.items.values().all(Vec::is_empty)
    }

    /// Clears the fields.
    pub(in crate::cli) fn apply(&self, entry: &mut Entry) -> anyhow::Result<()> {
        let about = About(&self.selectors);
        for field in FIELDS.iter().filter(|field| self.fields.iter().any(|flag| flag == field.flag)) {
            about.with(entry, field, Set(None))?;
        }
        let items = |flag: &str| self.items.get(flag).cloned().unwrap_or_default();
        tags(&mut entry.tags, &[], &items("tag"))?;
        tags(&mut entry.ipmi.tags, &[], &items("ipmitag"))?;
        let removed = items("nettag");
        part::<NetDev>(&mut entry.network_devices, about.net(), |net| {
            removed.iter().for_each(|key| drop(net.tags.shift_remove(key)));
        });
        remove_parts(entry, &about, &items("netdel"), &items("diskdel"), &items("partdel"), &items("fsdel"))?;
        remove_all("resource", &mut entry.resources, &items("resource"))
    }
}

fn remove_parts(
    entry: &mut Entry,
    about: &About<'_>,
    nets: &[String],
    disks: &[String],
    partitions: &[String],
    filesystems: &[String],
) -> anyhow::Result<()> {
    remove_all("netdel", &mut entry.network_devices, nets)?;
    if !partitions.is_empty() {
        let name = about.named("diskname", "partdel")?;
        let disk = entry.disks.get_mut(name).ok_or_else(|| usage(format!("--diskname {name}: there is none")))?;
        remove_all("partdel", &mut disk.partitions, partitions)?;
    }
    remove_all("diskdel", &mut entry.disks, disks)?;
    remove_all("fsdel", &mut entry.filesystems, filesystems)
}

fn remove_all<V>(flag: &str, map: &mut Map<V>, names: &[String]) -> anyhow::Result<()> {
    for name in names {
        if map.shift_remove(name).is_none() {
            return Err(usage(format!("--{flag} {name}: there is none of its own; what a profile says stays")));
        }
    }
    Ok(())
}

fn key_value<'a>(flag: &str, text: &'a str) -> anyhow::Result<(&'a str, &'a str)> {
    text.split_once('=').ok_or_else(|| usage(format!("--{flag} {text:?}: write KEY=VALUE")))
}

fn tags(tags: &mut Map<Text>, add: &[String], remove: &[String]) -> anyhow::Result<()> {
    for tag in add.iter().flat_map(|tag| split_tags(tag)) {
        let (key, value) = key_value("tagadd", tag)?;
        tags.insert(key.to_owned(), value.into());
    }
    remove.iter().for_each(|key| drop(tags.shift_remove(key)));
    Ok(())
}

/// `a=1,b=2` is two tags, `DNS=10.0.0.1,10.0.0.2` one: a comma separates where a `KEY=` follows it.
fn split_tags(text: &str) -> Vec<&str> {
    let (mut tags, mut start) = (vec![], 0);
    for (at, _) in text.match_indices(',') {
        let rest = text.get(at + 1..).unwrap_or_default();
        let next = rest.split(',').next().unwrap_or_default();
        if next.contains('=') {
            tags.extend(text.get(start..at));
            start = at + 1;
        }
    }
    tags.extend(text.get(start..));
    tags
}

/// A secret from the terminal, without showing it, else the first line of standard input.
fn ask_secret(flag: &str) -> anyhow::Result<String> {
    let input = io::stdin();
    let mut line = String::new();
    if !input.is_terminal() {
        input.lock().take(SECRET_MAX).read_line(&mut line)?;
    } else {
        note(&format!("--{flag}:"));
        let shown = rustix::termios::tcgetattr(&input)?;
        let mut hidden = shown.clone();
        hidden.local_modes.remove(rustix::termios::LocalModes::ECHO);
        rustix::termios::tcsetattr(&input, rustix::termios::OptionalActions::Flush, &hidden)?;
        let read = input.lock().take(SECRET_MAX).read_line(&mut line);
        rustix::termios::tcsetattr(&input, rustix::termios::OptionalActions::Flush, &shown)?;
        read?;
    }
    let secret = line.trim_end_matches(['\r', '\n']).to_owned();
    if secret.is_empty() { Err(usage(format!("--{flag} -: nothing was given"))) } else { Ok(secret) }
}
