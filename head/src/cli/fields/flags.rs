//! The command line of all fields.

use std::collections::BTreeMap;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};

use super::table::{FIELDS, Field, ITEMS, Kind, PARTS, SELECTORS, TAGS};

/// Fields to set; what is not given stays as it is.
#[derive(Clone, Debug, Default)]
pub(in crate::cli) struct SetFlags {
    /// Values by flag.
    pub(super) values: BTreeMap<String, String>,
    /// Items by flag, for flags that may come several times.
    pub(super) items: BTreeMap<String, Vec<String>>,
}

/// Fields to clear.
#[derive(Clone, Debug, Default)]
pub(in crate::cli) struct UnsetFlags {
    /// Flags that were given.
    pub(super) fields: Vec<String>,
    /// What they are about.
    pub(super) selectors: BTreeMap<String, String>,
    /// Items by flag: tags, networks, disks, ….
    pub(super) items: BTreeMap<String, Vec<String>>,
}

const HEADING: &str = "Fields";

fn value(field: &Field) -> Arg {
    let arg = Arg::new(field.flag).long(field.flag).help(field.help).value_name(field.value).help_heading(HEADING);
    let arg = if field.kind == Kind::Bool { arg.num_args(0..=1).default_missing_value("true") } else { arg };
    // A kernel argument, or the word that takes one out of a list, may begin with a dash.
    let arg = arg.allow_hyphen_values(matches!(field.flag, "kernelargs" | "comment" | "ipmipass"));
    match field.short {
        Some(short) => arg.short(short),
        None => arg,
    }
}

fn several(flag: &'static str, help: String, value: &'static str) -> Arg {
    Arg::new(flag)
        .long(flag)
        .help(help)
        .value_name(value)
        .value_delimiter(',')
        .action(ArgAction::Append)
        .help_heading(HEADING)
}

fn selector((flag, default, name, help): (&'static str, Option<&str>, &'static str, &str)) -> Arg {
    let help = default.map_or_else(|| help.to_owned(), |default| format!("{help}; {default} where it is not given"));
    Arg::new(flag).long(flag).help(help).value_name(name).help_heading(HEADING)
}

impl Args for SetFlags {
    fn augment_args(cmd: Command) -> Command {
        let parts = PARTS.map(|(flag, what)| several(flag, format!("Remove {what}"), "NAME"));
        let tags = TAGS.map(|(add, remove, _, what)| {
            // A value may hold commas: each flag is one tag.
            let add = several(add, format!("Add or change {what}"), "KEY=VALUE").value_delimiter(None);
            [add, several(remove, format!("Remove {what}"), "KEY")]
        });
        let items = ITEMS.map(|(add, remove, _)| {
            let kind = add.trim_end_matches("add");
            [
                several(add, format!("Add a {kind} to those that stand"), "NAME"),
                several(remove, format!("Take a {kind} out of those that stand"), "NAME"),
            ]
        });
        let resources = [
            several("resourceadd", "Set a resource; the value is YAML".into(), "NAME=YAML").value_delimiter(None),
            several("resourcedel", "Remove a resource".into(), "NAME"),
        ];
        cmd.args(FIELDS.iter().map(value))
            .args(SELECTORS.map(selector))
            .args(items.into_iter().flatten())
            .args(tags.into_iter().flatten())
            .args(resources)
            .args(parts)
    }

    fn augment_args_for_update(cmd: Command) -> Command {
        Self::augment_args(cmd)
    }
}

impl FromArgMatches for SetFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut flags = Self::default();
        let singles = FIELDS.iter().map(|field| field.flag).chain(SELECTORS.iter().map(|(flag, ..)| *flag));
        for flag in singles {
            flags.values.extend(matches.get_one::<String>(flag).map(|value| (flag.to_owned(), value.clone())));
        }
        let tags = TAGS.iter().flat_map(|(add, remove, ..)| [*add, *remove]);
        let items = ITEMS.iter().flat_map(|(add, remove, _)| [*add, *remove]);
        let parts = PARTS.iter().map(|(flag, _)| *flag);
        for flag in tags.chain(items).chain(parts).chain(["resourceadd", "resourcedel"]) {
            flags.items.insert(flag.to_owned(), many(matches, flag));
        }
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn many(matches: &ArgMatches, flag: &str) -> Vec<String> {
    matches.get_many::<String>(flag).into_iter().flatten().cloned().collect()
}

impl Args for UnsetFlags {
    fn augment_args(cmd: Command) -> Command {
        let clear = |field: &Field| {
            let arg = Arg::new(field.flag).long(field.flag).help(field.help).help_heading(HEADING);
            let arg = arg.action(ArgAction::SetTrue);
            match field.short {
                Some(short) => arg.short(short),
                None => arg,
            }
        };
        let tags = TAGS.map(|(_, _, flag, what)| several(flag, format!("Remove {what}"), "KEY"));
        let parts = PARTS.map(|(flag, what)| several(flag, format!("Remove {what}"), "NAME"));
        cmd.args(FIELDS.iter().map(clear)).args(SELECTORS.map(selector)).args(tags).args(parts).arg(several(
            "resource",
            "Remove a resource".into(),
            "NAME",
        ))
    }

    fn augment_args_for_update(cmd: Command) -> Command {
        Self::augment_args(cmd)
    }
}

impl FromArgMatches for UnsetFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut flags = Self::default();
        flags.fields.extend(FIELDS.iter().map(|field| field.flag.to_owned()).filter(|flag| matches.get_flag(flag)));
        for (flag, ..) in SELECTORS {
            flags.selectors.extend(matches.get_one::<String>(flag).map(|value| (flag.to_owned(), value.clone())));
        }
        let names = TAGS.iter().map(|(_, _, flag, _)| *flag).chain(PARTS.iter().map(|(flag, _)| *flag));
        for flag in names.chain(["resource"]) {
            flags.items.insert(flag.to_owned(), many(matches, flag));
        }
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
