//! The nodes that a command is about: nodesets with the registry's groups. And a question before many of them are changed.

use std::cell::OnceCell;
use std::io::{self, IsTerminal as _, Read};

use wulfpack_shared::id::NodeName;

use super::Context;
use super::change::{confirm, no_such};
use crate::exit::{Ended, Exit};
use crate::nodeset::{ErrorKind, GroupError, Groups, NodeSet, NodesetError, RegistryGroups, Resolver, TEXT_MAX};
use crate::registry::{Defaults, NodesFile, Registry};

/// Most characters of a folded set in a message.
const SHOWN: usize = 1000;

/// How nodes are written; the long help of every command that takes them.
pub(super) const NODESETS: &str = "\
Nodes are written as in ClusterShell; quote them:
  n1,n[2-4,7]  n[001-100/2]  r[1-4]n[1-32]
                names; padding is kept; a step; several numbers
  a,b a!b a&b a^b
                in a or b; in a and not in b; in both; in one of both;
                from left to right, none is stronger
  n* n?         nodes of the registry whose names match
  @* @gpu       all nodes; nodes in the group gpu, else with that profile
  @image:NAME @rack:r[1-2] @tag:KEY=VALUE @profile:NAME @cluster:NAME
  @group:NAME @overlay:NAME @kernel:VERSION @root:MODE @net:NAME
  @ipxe:NAME @discoverable:true
                nodes by attribute; * and ? match here too
  -             nodesets on standard input, between blanks or lines";

/// How many nodes a command may change.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(super) struct Guard {
    /// Ask only before changing more nodes than this; `max_nodes` of the configuration otherwise.
    #[arg(long, value_name = "N")]
    max_nodes: Option<usize>,
}

impl Guard {
    /// Asks if these are many. Where nobody is there to ask, `--max-nodes` or `--yes` has to say that it is meant so.
    pub(super) fn check<T: AsRef<str>>(self, context: &Context, nodes: &[T]) -> anyhow::Result<()> {
        self.check_with(context, nodes, io::stdin().is_terminal() && io::stdout().is_terminal())
    }

    fn check_with<T: AsRef<str>>(self, context: &Context, nodes: &[T], terminal: bool) -> anyhow::Result<()> {
        if context.yes {
            return Ok(());
        }
        let allowed = match self.max_nodes {
            Some(allowed) => allowed,
            None => usize::try_from(context.load_config()?.max_nodes)?,
        };
        if nodes.len() <= allowed {
            return Ok(());
        }
        let count = nodes.len();
        let many = format!("this is about {count} nodes, more than {allowed}: {}", folded(nodes));
        if terminal {
            return confirm(&format!("{many}\nGo on? [y/N]"));
        }
        Err(Ended::new(Exit::Usage, format!("{many}; if that is meant, say --max-nodes {count} or --yes")).into())
    }
}

/// These names as a person reads them, folded and not too long.
pub(super) fn folded<T: AsRef<str>>(names: &[T]) -> String {
    clipped(&names.iter().collect())
}

/// This set as a person reads it.
pub(super) fn clipped(set: &NodeSet) -> String {
    let text = set.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// The error for nodes that there are not.
pub(super) fn no_such_nodes<T: AsRef<str>>(kind: &str, missing: &[T]) -> anyhow::Error {
    no_such(kind, &[folded(missing)])
}

/// Groups of a registry that is read when the first of them is asked for: names and ranges do without.
pub(super) struct LazyGroups<F> {
    load: F,
    groups: OnceCell<Result<RegistryGroups, String>>,
}

impl<F: Fn() -> anyhow::Result<Registry>> LazyGroups<F> {
    fn new(load: F) -> Self {
        Self { load, groups: OnceCell::new() }
    }

    fn get(&self) -> Result<&RegistryGroups, GroupError> {
        let load =
            || (self.load)().map(|registry| RegistryGroups::new(&registry)).map_err(|error| format!("{error:#}"));
        self.groups.get_or_init(load).as_ref().map_err(|error| GroupError::Unreadable(error.clone()))
    }
}

impl<F: Fn() -> anyhow::Result<Registry>> Groups for LazyGroups<F> {
    fn all(&self) -> Result<NodeSet, GroupError> {
        self.get()?.all()
    }
    fn members(&self, source: Option<&str>, group: &str) -> Result<NodeSet, GroupError> {
        self.get()?.members(source, group)
    }
}

/// Groups of the registry as it stands in its file.
pub(super) fn groups(context: &Context) -> LazyGroups<impl Fn() -> anyhow::Result<Registry>> {
    LazyGroups::new(|| {
        let config = context.load_config()?;
        Ok(Registry::load_with(&config.paths.nodes_file(), Defaults::from(&config))?)
    })
}

/// Groups of a registry that is being changed.
pub(super) fn groups_of(file: &NodesFile) -> LazyGroups<impl Fn() -> anyhow::Result<Registry>> {
    LazyGroups::new(|| Ok(Registry::new(file.clone(), Defaults::default())))
}

/// The nodes that these nodesets name: at least one.
pub(super) fn chosen(names: &[String], groups: &dyn Groups) -> anyhow::Result<NodeSet> {
    let texts = texts(names)?;
    let set = Resolver::new(groups).resolve_all(&texts).map_err(ended)?;
    if set.is_empty() { Err(nothing(&texts)) } else { Ok(set) }
}

/// The nodes of these texts in the order in which they are named, for addresses that count up.
pub(super) fn in_order(texts: &[String], groups: &dyn Groups) -> anyhow::Result<Vec<String>> {
    let names = Resolver::new(groups).in_order(texts).map_err(ended)?;
    if names.is_empty() { Err(nothing(texts)) } else { Ok(names) }
}

/// The nodes that these nodesets name, as names that the running head takes.
pub(super) fn chosen_names(context: &Context, names: &[String]) -> anyhow::Result<Vec<NodeName>> {
    let set = chosen(names, &groups(context))?;
    let names = set.iter().map(|name| name.parse()).collect::<Result<_, _>>();
    names.map_err(|error| Ended::new(Exit::Usage, format!("{error}")).into())
}

fn nothing(texts: &[String]) -> anyhow::Error {
    let text: String = texts.join(" ").chars().take(SHOWN).collect();
    Ended::new(Exit::NothingMatched, format!("no node is in {text}")).into()
}

fn ended(error: NodesetError) -> anyhow::Error {
    let exit = match error.kind {
        ErrorKind::Group(GroupError::NoGroup(_)) => Exit::NothingMatched,
        ErrorKind::Group(GroupError::Unreadable(_)) => Exit::Failed,
        _ => Exit::Usage,
    };
    Ended::new(exit, error.to_string()).into()
}

/// Nodesets, those of standard input too: to be read before the registry is locked, because whoever writes there may want it.
/// `--all` goes without any.
pub(super) fn texts(names: &[String]) -> anyhow::Result<Vec<String>> {
    texts_with(names, io::stdin())
}

/// Names that follow each other become one text, because many are read at once faster than one by one.
fn texts_with(names: &[String], mut stdin: impl Read) -> anyhow::Result<Vec<String>> {
    let (mut texts, mut simple): (Vec<String>, _) = (vec![], false);
    let mut add = |text: &str| {
        let joins = !text.trim().is_empty() && !text.contains(['!', '&', '^']);
        match texts.last_mut() {
            Some(last) if simple && joins => {
                last.push(',');
                last.push_str(text);
            }
            _ => texts.push(text.to_owned()),
        }
        simple = joins;
    };
    for name in names {
        if name != "-" {
            add(name);
            continue;
        }
        let mut input = String::new();
        stdin.by_ref().take(TEXT_MAX as u64 + 1).read_to_string(&mut input)?;
        if input.len() > TEXT_MAX {
            let text = format!("standard input is longer than {TEXT_MAX} bytes; split it");
            return Err(Ended::new(Exit::Usage, text).into());
        }
        input.split_whitespace().for_each(&mut add);
    }
    if texts.is_empty() && !names.is_empty() {
        return Err(Ended::new(Exit::NothingMatched, "standard input names no node").into());
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::OutputFormat;

    #[test]
    fn standard_input_is_read_where_a_dash_stands() {
        let read = |names: &[&str], input: &str| {
            texts_with(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), input.as_bytes()).unwrap()
        };
        assert_eq!(read(&["n1", "-", "n9"], "n2 n3\n\nn4\n"), ["n1,n2,n3,n4,n9"]);
        assert_eq!(read(&["n1", "n[1-9]!n1", "n2", "a&b"], ""), ["n1", "n[1-9]!n1", "n2", "a&b"]);
        assert_eq!(read(&["n1", ""], ""), ["n1", ""], "an empty word is a mistake, not nothing");
        let error = texts_with(&["-".into()], " \n".as_bytes()).unwrap_err();
        assert_eq!(Ended::code_of(&error), Exit::NothingMatched);
        let error = texts_with(&["-".into()], "n ".repeat(TEXT_MAX).as_bytes()).unwrap_err();
        assert_eq!(Ended::code_of(&error), Exit::Usage);
    }

    #[test]
    fn where_nobody_is_there_to_ask_many_nodes_need_a_flag() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("wulfpack.yaml");
        std::fs::write(&config, "max_nodes: 2").unwrap();
        let context = |yes| Context { config: config.clone(), output: OutputFormat::Table, yes };
        let check = |max_nodes, yes, nodes: &[&str]| Guard { max_nodes }.check_with(&context(yes), nodes, false);
        let three = ["n1", "n2", "n3"];
        let error = check(None, false, &three).unwrap_err();
        let text = "this is about 3 nodes, more than 2: n[1-3]; if that is meant, say --max-nodes 3 or --yes";
        assert_eq!((error.to_string().as_str(), Ended::code_of(&error)), (text, Exit::Usage));
        check(None, false, &three[..2]).unwrap();
        check(None, true, &three).unwrap();
        check(Some(3), false, &three).unwrap();
        assert!(check(Some(1), false, &three[..2]).is_err());
    }

    #[test]
    fn a_message_does_not_grow_with_the_cluster() {
        let names: Vec<String> = (0..5000).map(|n| format!("n{}", 2 * n)).collect();
        assert_eq!(folded(&names).chars().count(), SHOWN + 1);
        assert_eq!(folded(&["n2", "n1", "n3"]), "n[1-3]");
    }
}
