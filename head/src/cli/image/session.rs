//! `wulf image exec` and `wulf image shell`.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use clap::Args;
use wulfpack_shared::id::{ImageName, NodeName};

use super::build::{BuildFlags, build, nodes};
use super::manage::sync;
use crate::cli::change::no_such;
use crate::cli::{Context, note};
use crate::config::{Config, KeyRole, load_key};
use crate::image::{Bind, ImageError, Library, SessionSettings, inside};
use crate::overlay::{Facts, Renderer, read_authorized_keys};
use crate::serve::head_addresses;

/// Passed on into the image beside variables whose names begin with `LC_`.
const KEPT: [&str; 12] = [
    "TERM",
    "COLORTERM",
    "LANG",
    "LANGUAGE",
    "TZ",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "DEBIAN_FRONTEND",
];

/// What a session is like.
#[derive(Args, Debug)]
pub struct SessionArgs {
    /// The image.
    name: ImageName,
    /// Show a file or directory of the head inside; `copy` puts it into the image for the time, if the image has none.
    #[arg(long, short, value_name = "SOURCE[:TARGET[:ro|copy]]")]
    bind: Vec<Bind>,
    /// Look at the image as this node has it, with its overlays; nothing can be changed.
    #[arg(long, short, value_name = "NODE")]
    node: Option<NodeName>,
    /// Make users and groups equal to the head's afterwards; see `wulf image syncuser`.
    #[arg(long)]
    syncuser: bool,
    /// Build the image afterwards if it was changed.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    build: bool,
}

/// Arguments of `wulf image exec`.
#[derive(Args, Debug)]
pub struct ExecArgs {
    #[command(flatten)]
    session: SessionArgs,
    /// The program and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

impl ExecArgs {
    /// Runs it.
    pub(super) fn run(self, context: &Context, config: &Config, library: &Library) -> anyhow::Result<ExitCode> {
        self.session.run(context, config, library, self.command)
    }
}

impl SessionArgs {
    /// Runs a command, or a shell where there is none; the code is that of the command.
    pub(super) fn run(
        self,
        context: &Context,
        config: &Config,
        library: &Library,
        command: Vec<String>,
    ) -> anyhow::Result<ExitCode> {
        let Self { name, bind, node, syncuser, build: then_build } = self;
        if let Some(node) = &node
            && nodes(config)?.node(node).is_none()
        {
            return Err(no_such("node", &[node.to_string()]));
        }
        let shell = command.is_empty();
        let settings = SessionSettings {
            binds: bind,
            view: false,
            node,
            command,
            environment: environment(&name),
            prompt: own_or_warewulfs("PS1").unwrap_or_else(|| format!("[wulf:{name}] \\w\\$ ")),
            inside: own_command(context)?,
        };
        let end = library.session(&name, &settings)?;
        if syncuser && !end.view {
            sync(library, &name)?;
        }
        for complaint in &end.complaints {
            note(&format!("warning: {complaint}"));
        }
        let code = ExitCode::from(end.code);
        if end.view {
            return Ok(code);
        }
        if !then_build {
            note(&format!("build it with `wulf image build {name}`"));
        } else if !end.complaints.is_empty() || !shell && end.code != 0 {
            note(&format!(
                "{name} was not built, because of what went wrong; `wulf image build {name}` does it all the same"
            ));
        } else {
            build(context, config, library, &[name], BuildFlags::default())?;
        }
        Ok(code)
    }
}

/// This program, as it has to be started to be the inside.
fn own_command(context: &Context) -> anyhow::Result<Vec<String>> {
    let text = |path: &Path| path.to_str().map(str::to_owned).ok_or_else(|| anyhow!("{path:?} is not text"));
    let program = std::env::current_exe().context("cannot find this program")?;
    let config = std::path::absolute(&context.config)?;
    Ok(vec![text(&program)?, "--config".into(), text(&config)?, "image".into(), "inside".into()])
}

fn own_or_warewulfs(name: &str) -> Option<String> {
    [format!("WULFPACK_{name}"), format!("WW_{name}")].iter().find_map(|name| std::env::var(name).ok())
}

fn environment(image: &ImageName) -> Vec<(String, String)> {
    let fixed = [
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()),
        ("HOME", "/root".into()),
        ("USER", "root".into()),
        ("LOGNAME", "root".into()),
        ("SHELL", "/bin/sh".into()),
        // What is typed is no part of the image, unless somebody wants it to be.
        ("HISTFILE", own_or_warewulfs("HISTFILE").unwrap_or_else(|| "/dev/null".into())),
        ("WULFPACK_IMAGE", image.to_string()),
    ];
    let kept = std::env::vars().filter(|(name, _)| KEPT.contains(&name.as_str()) || name.starts_with("LC_"));
    fixed.into_iter().map(|(name, value)| (name.to_owned(), value)).chain(kept).collect()
}

/// The inside of a session. Only this program itself calls it.
pub(super) fn run_inside(context: &Context, spec: &Path) -> Result<(), ImageError> {
    inside(spec, &|node, root| {
        let config = context.load_config()?;
        let snapshot = nodes(&config)?;
        let node = snapshot.node(node).ok_or_else(|| anyhow!("there is no node {node}"))?;
        let keys = read_authorized_keys(&config.paths)?;
        let ssh = load_key(&config.paths.ssh_key(), KeyRole::Ssh)?;
        let facts = Facts::new(&config, &snapshot, &head_addresses(&config), &keys, ssh);
        for bundle in Renderer::of(&config.paths).render(node, &facts)? {
            wulfpack_agent::overlay::apply(root, &bundle)?;
        }
        Ok(())
    })
}
