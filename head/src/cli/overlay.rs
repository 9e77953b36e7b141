//! `wulf overlay`: the files that make an image a certain node.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Serialize;
use wulfpack_shared::id::{NodeName, OverlayName};
use wulfpack_shared::wire::OrderKind;

use super::nodes::{Guard, NODESETS, chosen_names};
use super::orders::{self, PaceFlags};
use super::overlay_change::{ChangeCommand, site};
use super::render::Style;
use super::running::ask;
use super::{Cell, Context, Table, note, print, write_out};
use crate::admin::{NodeOverlays, RenderedFile, ReportRequest};
use crate::exit::{Ended, Exit};
use crate::overlay::{Origin, SiteFile, comments};

/// Commands about overlays.
#[derive(Subcommand, Debug)]
pub enum OverlayCommand {
    /// List overlays and where they come from.
    #[command(visible_alias = "ls")]
    List {
        /// Overlays; all if none are named.
        names: Vec<OverlayName>,
        /// Their files, too.
        #[arg(long, short)]
        all: bool,
        /// Files with the permissions and owners that they have on nodes.
        #[arg(long, short)]
        long: bool,
    },
    /// Print a file of an overlay; for a node, what it becomes.
    #[command(visible_alias = "cat")]
    Show {
        /// Overlay.
        overlay: OverlayName,
        /// Path below its rootfs.
        path: String,
        /// What it becomes for this node.
        #[arg(long, short, value_name = "NODE")]
        render: Option<NodeName>,
    },
    /// Show every file that a node would get now; contents with PATH or --contents. Secrets only with --secrets.
    Render {
        /// Node.
        node: NodeName,
        /// Only files whose path begins like this.
        path: Option<String>,
        /// Print contents.
        #[arg(long, short)]
        contents: bool,
        /// Print contents that are secret.
        #[arg(long)]
        secrets: bool,
    },
    /// Explain the variables of an overlay's templates, from their comments.
    Info {
        /// Overlay.
        overlay: OverlayName,
        /// One template; all without.
        path: Option<String>,
    },
    /// Render everything for nodes and report what goes wrong. Nothing has to be built for nodes to get it.
    #[command(after_long_help = NODESETS)]
    Build {
        /// Nodes; all if none are named.
        #[arg(value_name = "NODESET")]
        names: Vec<String>,
    },
    /// Make running nodes fetch their runtime overlays and apply what has changed.
    #[command(after_long_help = NODESETS)]
    Push(PushArgs),
    /// What changes them.
    #[command(flatten)]
    Change(ChangeCommand),
}

/// Arguments of `wulf overlay push`.
#[derive(Args, Debug)]
pub struct PushArgs {
    /// Nodes.
    #[arg(required = true, value_name = "NODESET")]
    names: Vec<String>,
    /// Replace files that were edited on the node, too.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    pace: PaceFlags,
    #[command(flatten)]
    guard: Guard,
}

impl OverlayCommand {
    /// Runs it.
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        match self {
            Self::List { names, all, long } => list(context, &names, all || long, long)?,
            Self::Show { overlay, path, render: None } => {
                let path = path.trim_matches('/');
                let files = site(context)?.files(&overlay)?;
                let text = files.into_iter().find(|file| file.path == path).and_then(|file| file.text);
                let missing = || Ended::new(Exit::NothingMatched, format!("overlay {overlay} has no text file {path}"));
                write_out(&text.ok_or_else(missing)?)?;
            }
            Self::Show { overlay, path, render: Some(node) } => {
                let path = path.trim_matches('/').trim_end_matches(".j2").to_owned();
                let files = rendered(context, &node)?;
                let file = files.into_iter().find(|file| file.overlay == overlay && file.path == path);
                let missing =
                    format!("overlay {overlay} makes no /{path} for node {node}, or the node does not have it");
                write_out(&file.ok_or_else(|| Ended::new(Exit::NothingMatched, missing))?.text)?;
            }
            Self::Render { node, path, contents, secrets } => {
                render(context, &node, path.as_deref(), contents, secrets)?;
            }
            Self::Info { overlay, path } => info(context, &overlay, path.as_deref())?,
            Self::Build { names } => return build(context, &names),
            Self::Push(args) => return args.run(context),
            Self::Change(command) => return command.run(context),
        }
        Ok(Exit::Ok.into())
    }
}

impl PushArgs {
    fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let nodes = chosen_names(context, &self.names)?;
        self.guard.check(context, &nodes)?;
        orders::give(context, nodes, OrderKind::Overlay { force: self.force }, self.pace)
    }
}

#[derive(Serialize)]
struct Listed {
    overlay: String,
    origin: Origin,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    files: Vec<ListedFile>,
}

/// As nodes get it, unless `overlay.yaml` says otherwise.
#[derive(Serialize)]
struct ListedFile {
    path: String,
    mode: String,
    uid: u32,
    gid: u32,
}

fn list(context: &Context, names: &[OverlayName], files: bool, long: bool) -> anyhow::Result<()> {
    let site = site(context)?;
    let mut listed = vec![];
    for (name, origin) in site.list()? {
        let Ok(overlay) = name.parse::<OverlayName>() else { continue };
        if !names.is_empty() && !names.contains(&overlay) {
            continue;
        }
        let of = if files { site.files(&overlay)? } else { vec![] };
        let file = |SiteFile { path, mode, uid, gid, .. }| ListedFile { path, mode: format!("{mode:04o}"), uid, gid };
        let files = of.into_iter().map(file).collect();
        listed.push(Listed { overlay: name, origin, files });
    }
    if listed.is_empty() {
        return Err(Ended::new(Exit::NothingMatched, "there is no such overlay").into());
    }
    print(context, &listed, || {
        let mut table = Table::new(["overlay", "from", "mode", "owner", "path"]);
        for Listed { overlay, origin, files } in &listed {
            let from = if *origin == Origin::Site { "site" } else { "shipped" };
            let mut row = |mode, owner, path| {
                table.row([Cell::new(overlay), Cell::new(from), Cell::new(mode), Cell::new(owner), Cell::new(path)]);
            };
            if files.is_empty() {
                row("", String::new(), "");
            }
            for file in files {
                let owner = if long { format!("{}:{}", file.uid, file.gid) } else { String::new() };
                row(if long { file.mode.as_str() } else { "" }, owner, &file.path);
            }
        }
        table
    })
}

fn rendered(context: &Context, node: &NodeName) -> anyhow::Result<Vec<RenderedFile>> {
    ask(context, async |client| Ok(client.get(&format!("/v1/overlays/{node}")).await?))
}

fn render(context: &Context, node: &NodeName, path: Option<&str>, contents: bool, secrets: bool) -> anyhow::Result<()> {
    let mut files = rendered(context, node)?;
    if let Some(path) = path {
        files.retain(|file| file.path.starts_with(path.trim_matches('/')));
    }
    for file in files.iter_mut().filter(|file| file.secret && !secrets) {
        file.text = "(secret)\n".into();
    }
    if contents || path.is_some() {
        for file in &files {
            let head =
                format!("# /{} {} {}:{} {} {}", file.path, file.mode, file.uid, file.gid, file.kind, file.overlay);
            write_out(&format!("{head}\n{}", file.text))?;
        }
        return Ok(());
    }
    print(context, &files, || {
        let mut table = Table::new(["path", "overlay", "context", "kind", "mode", "owner", "bytes"]);
        for file in &files {
            let owner = format!("{}:{}", file.uid, file.gid);
            let when = format!("{:?}", file.context).to_lowercase();
            table.row([
                Cell::new(format!("/{}", file.path)),
                Cell::new(file.overlay.as_str()),
                Cell::new(when),
                Cell::new(&file.kind),
                Cell::new(&file.mode),
                Cell::new(owner),
                Cell::new(file.text.len().to_string()),
            ]);
        }
        table
    })
}

fn info(context: &Context, overlay: &OverlayName, path: Option<&str>) -> anyhow::Result<()> {
    let mut said: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for SiteFile { path: file, text, .. } in site(context)?.files(overlay)? {
        let wanted =
            path.is_none_or(|path| file.trim_end_matches(".j2") == path.trim_matches('/').trim_end_matches(".j2"));
        if let Some(text) = text.filter(|_| wanted && file.ends_with(".j2")) {
            said.insert(file, comments(&text));
        }
    }
    print(context, &said, || {
        let mut table = Table::new(["template", "variable", "what it is"]);
        for (file, comments) in &said {
            for (variable, text) in comments {
                table.row([Cell::new(file), Cell::new(variable), Cell::new(text)]);
            }
        }
        table
    })
}

fn build(context: &Context, names: &[String]) -> anyhow::Result<ExitCode> {
    let nodes = if names.is_empty() { None } else { Some(chosen_names(context, names)?) };
    let request = ReportRequest { nodes, boots: 1 };
    let all: Vec<NodeOverlays> = ask(context, async |client| Ok(client.post("/v1/overlays", &request).await?))?;
    print(context, &all, || {
        let mut table = Table::new(["node", "system", "runtime", "bytes", ""]);
        for node in &all {
            let short = |hash: Option<wulfpack_shared::id::Hash>| Cell::or_dash(hash.map(|hash| format!("{hash:.12}")));
            let error = Cell::new(node.error.as_deref().unwrap_or_default()).style(Style::Bad);
            table.row([
                Cell::new(node.node.as_str()),
                short(node.system),
                short(node.runtime),
                Cell::new(node.bytes.to_string()),
                error,
            ]);
        }
        table
    })?;
    let bad = all.iter().filter(|node| node.error.is_some()).count();
    if bad > 0 {
        note(&format!("the overlays of {bad} of {} nodes cannot be rendered", all.len()));
    }
    Ok(if bad > 0 { Exit::Failed } else { Exit::Ok }.into())
}
