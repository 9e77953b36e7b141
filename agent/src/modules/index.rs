//! Which modules a modalias or a name stands for, and in which order they are loaded.

use std::collections::{BTreeMap, BTreeSet};

use super::config::{Config, SoftDeps};
use super::pattern::{matches, module_of_path, normalize};

/// Modules that the root file system needs: `install` and `blacklist` lines never keep the agent from loading them.
pub const ROOT_MODULES: [&str; 3] = ["loop", "squashfs", "overlay"];

/// The text of depmod's and the administrator's files. A missing file is empty text.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// `modules.dep`.
    pub dep: String,
    /// `modules.alias`.
    pub alias: String,
    /// `modules.softdep`.
    pub softdep: String,
    /// `modules.builtin`.
    pub builtin: String,
    /// `modules.order`.
    pub order: String,
    /// Every file of modprobe.d, in the order in which it counts.
    pub modprobe: Vec<String>,
    /// The kernel command line.
    pub command_line: String,
}

/// One module to insert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// Its file, relative to `/lib/modules/RELEASE`.
    pub path: String,
    /// Its parameters.
    pub options: String,
}

/// What it takes to load one module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The module.
    pub module: String,
    /// The modalias or name that asked for it.
    pub wanted_by: String,
    /// Modules to insert, in this order. Empty if it is built in or must not be loaded.
    pub steps: Vec<Step>,
    /// What the person at the console should know.
    pub notes: Vec<String>,
}

#[derive(Clone, Debug)]
struct Module {
    path: String,
    /// As in `modules.dep`: the last is loaded first.
    deps: Vec<String>,
    order: usize,
}

/// All modules of one kernel.
#[derive(Clone, Debug)]
pub struct ModuleIndex {
    modules: BTreeMap<String, Module>,
    builtin: BTreeSet<String>,
    /// Pattern and module, as in `modules.alias`.
    aliases: Vec<(String, String)>,
    /// Softdeps that the modules themselves declare.
    soft: BTreeMap<String, SoftDeps>,
    config: Config,
}

impl ModuleIndex {
    /// Reads the files.
    pub fn parse(source: &Source) -> Self {
        let order: BTreeMap<String, usize> =
            source.order.lines().enumerate().map(|(place, path)| (module_of_path(path), place)).collect();
        let mut modules = BTreeMap::new();
        for line in source.dep.lines() {
            let Some((path, deps)) = line.split_once(':') else { continue };
            let name = module_of_path(path);
            let deps = deps.split_ascii_whitespace().map(module_of_path).collect();
            // Out-of-tree modules stand in no order file; depmod already let them win over the kernel's own.
            let order = order.get(&name).copied().unwrap_or(0);
            modules.insert(name, Module { path: path.to_owned(), deps, order });
        }
        let mut declared = Config::default();
        declared.add_lines(&source.alias);
        declared.add_lines(&source.softdep);
        let mut config = Config::default();
        for text in &source.modprobe {
            config.add_lines(text);
        }
        config.add_command_line(&source.command_line);
        Self {
            modules,
            builtin: source.builtin.lines().map(module_of_path).collect(),
            aliases: declared.aliases,
            soft: declared.soft,
            config,
        }
    }

    /// Number of loadable modules.
    pub fn len(&self) -> usize {
        self.modules.len()
    }

    /// Whether there is no loadable module.
    pub fn is_empty(&self) -> bool {
        self.modules.is_empty()
    }

    /// Whether the module is part of the kernel.
    pub fn is_builtin(&self, name: &str) -> bool {
        self.builtin.contains(&normalize(name))
    }

    /// Plans for what these modaliases ask for, each module once, in the order in which they came (of several modules
    /// for one modalias: modules.order). The blacklist counts here, because an alias asks and not a person.
    pub fn plan_for_modaliases<'a>(&self, modaliases: impl IntoIterator<Item = &'a str>) -> Vec<Plan> {
        let mut seen = BTreeSet::new();
        let mut plans = vec![];
        for modalias in modaliases {
            for module in self.resolve(modalias) {
                if seen.insert(module.clone()) {
                    plans.push(self.plan(&module, modalias, true));
                }
            }
        }
        plans
    }

    /// The plan for one module by its name or alias; `None` if no module has it.
    pub fn plan_for_name(&self, name: &str) -> Option<Plan> {
        let wanted = normalize(name);
        let known = self.modules.contains_key(&wanted) || self.builtin.contains(&wanted);
        let module = if known { Some(wanted) } else { self.resolve(name).into_iter().next() };
        module.map(|module| self.plan(&module, name, false))
    }

    /// Modules with an alias that matches: the administrator's aliases first, and alone if there are any.
    fn resolve(&self, alias: &str) -> Vec<String> {
        let alias = normalize(alias);
        for aliases in [&self.config.aliases, &self.aliases] {
            let mut found: Vec<&String> = vec![];
            for (pattern, module) in aliases {
                if !found.contains(&module) && matches(pattern, &alias) {
                    found.push(module);
                }
            }
            found.retain(|module| self.modules.contains_key(*module) || self.builtin.contains(*module));
            found.sort_by_key(|module| self.modules.get(*module).map_or(0, |known| known.order));
            if !found.is_empty() {
                return found.into_iter().cloned().collect();
            }
        }
        vec![]
    }

    fn plan(&self, module: &str, wanted_by: &str, by_alias: bool) -> Plan {
        let mut plan =
            Plan { module: module.to_owned(), wanted_by: wanted_by.to_owned(), steps: vec![], notes: vec![] };
        let needed_for_root = ROOT_MODULES.contains(&module);
        if self.config.blacklist.contains(module) {
            if needed_for_root {
                plan.notes.push(format!("{module} is blacklisted; loaded anyway, the root file system needs it"));
            } else if by_alias {
                plan.notes.push(format!("{module} is blacklisted; not loaded"));
                return plan;
            }
        }
        self.visit(module, &mut BTreeSet::new(), &mut plan);
        plan
    }

    /// Depth first: soft and hard dependencies, the module, what it wants afterwards. A cycle ends at the module
    /// that is already being visited.
    fn visit(&self, name: &str, visited: &mut BTreeSet<String>, plan: &mut Plan) {
        if !visited.insert(name.to_owned()) || self.builtin.contains(name) {
            return;
        }
        let Some(module) = self.modules.get(name) else { return };
        if let Some(command) = self.config.install.get(name) {
            if ROOT_MODULES.contains(&name) {
                plan.notes.push(format!("{name} has the install line \"{command}\"; ignored, the root needs it"));
            } else {
                plan.notes.push(format!(
                    "{name} has the install line \"{command}\", which cannot run before the root is there; not loaded"
                ));
                return;
            }
        }
        let soft: Vec<&SoftDeps> = [&self.config.soft, &self.soft].iter().filter_map(|soft| soft.get(name)).collect();
        for before in soft.iter().flat_map(|soft| &soft.pre) {
            self.visit(before, visited, plan);
        }
        for dependency in module.deps.iter().rev() {
            self.visit(dependency, visited, plan);
        }
        plan.steps.push(Step {
            name: name.to_owned(),
            path: module.path.clone(),
            options: self.config.options.get(name).cloned().unwrap_or_default(),
        });
        for after in soft.iter().flat_map(|soft| &soft.post) {
            self.visit(after, visited, plan);
        }
    }
}
