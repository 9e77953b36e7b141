//! modprobe.d(5) and the module part of the kernel command line.

use std::collections::{BTreeMap, BTreeSet};

use super::pattern::normalize;

/// What the administrator says about modules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Config {
    /// Aliases in the order in which they stand: pattern, module.
    pub aliases: Vec<(String, String)>,
    /// Options by module, joined by blanks.
    pub options: BTreeMap<String, String>,
    /// Modules to load before and after a module.
    pub soft: BTreeMap<String, SoftDeps>,
    /// Modules that are not loaded because an alias names them.
    pub blacklist: BTreeSet<String>,
    /// Modules with an `install` command.
    pub install: BTreeMap<String, String>,
}

/// `softdep NAME pre: A B post: C`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SoftDeps {
    /// Loaded before.
    pub pre: Vec<String>,
    /// Loaded after.
    pub post: Vec<String>,
}

impl Config {
    /// Adds the lines of one modprobe.d file, of `modules.alias`, or of `modules.softdep`: they share a form.
    pub(super) fn add_lines(&mut self, text: &str) {
        // A backslash at the end of a line joins it with the next.
        for line in text.replace("\\\n", " ").lines() {
            let mut words = line.split_ascii_whitespace();
            let (Some(verb), Some(name)) = (words.next(), words.next()) else { continue };
            match verb {
                "alias" => {
                    if let Some(module) = words.next() {
                        self.aliases.push((normalize(name), normalize(module)));
                    }
                }
                "options" => self.add_options(&normalize(name), &words.collect::<Vec<_>>().join(" ")),
                "softdep" => self.add_soft(&normalize(name), words),
                "blacklist" => {
                    self.blacklist.insert(normalize(name));
                }
                "install" => {
                    self.install.insert(normalize(name), words.collect::<Vec<_>>().join(" "));
                }
                // Comments, `remove`, `config`: nothing to do at boot.
                _ => {}
            }
        }
    }

    fn add_soft<'a>(&mut self, name: &str, words: impl Iterator<Item = &'a str>) {
        let soft = self.soft.entry(name.to_owned()).or_default();
        let mut after = false;
        for word in words {
            match word {
                "pre:" => after = false,
                "post:" => after = true,
                module => {
                    let list = if after { &mut soft.post } else { &mut soft.pre };
                    let module = normalize(module);
                    if !list.contains(&module) {
                        list.push(module);
                    }
                }
            }
        }
    }

    fn add_options(&mut self, name: &str, options: &str) {
        if options.is_empty() {
            return;
        }
        let all = self.options.entry(name.to_owned()).or_default();
        if !all.is_empty() {
            all.push(' ');
        }
        all.push_str(options);
    }

    /// Adds `module.param=value`, `module.param` and `modprobe.blacklist=a,b` of the kernel command line
    /// (kernel-parameters: double quotes protect blanks). Arguments of built-in code look the same and do no harm.
    pub(super) fn add_command_line(&mut self, line: &str) {
        for argument in split_quoted(line) {
            let (key, value) = argument.split_once('=').map_or((argument, None), |(key, value)| (key, Some(value)));
            let Some((module, parameter)) = key.trim_start_matches('"').split_once('.') else { continue };
            let module = normalize(module);
            if module.is_empty() || parameter.is_empty() || module == "wulf" {
                continue;
            }
            if module == "modprobe" {
                if parameter == "blacklist" {
                    let names = value.unwrap_or_default().trim_matches('"').split(',').filter(|name| !name.is_empty());
                    self.blacklist.extend(names.map(normalize));
                }
                continue;
            }
            let option = match value {
                // A quote that opened before the key closes at the end: the kernel wants it around the value.
                Some(value) if key.starts_with('"') => format!("{parameter}=\"{}\"", value.trim_end_matches('"')),
                Some(value) => format!("{parameter}={value}"),
                None => parameter.to_owned(),
            };
            self.add_options(&module, &option);
        }
    }
}

/// Splits at blanks outside double quotes. Everything after `--` is init's.
fn split_quoted(line: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    line.split(move |c: char| {
        if c == '"' {
            quoted = !quoted;
        }
        c.is_ascii_whitespace() && !quoted
    })
    .filter(|word| !word.is_empty())
    .take_while(|word| *word != "--")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modprobe_lines_are_read() {
        let mut config = Config::default();
        config.add_lines(
            "# comment\n\
             alias eth-* e1000e\n\
             options mlx5-core prof_sel=2 \\\n debug=1\n\
             softdep nfs pre: lockd sunrpc post: nfs-layout\n\
             blacklist pcspkr\n\
             install cramfs /bin/false\n\
             nonsense\n\
             options\n",
        );
        assert_eq!(config.aliases, [("eth_*".to_owned(), "e1000e".to_owned())]);
        assert_eq!(config.options["mlx5_core"], "prof_sel=2 debug=1");
        assert_eq!(config.soft["nfs"].pre, ["lockd", "sunrpc"]);
        assert_eq!(config.soft["nfs"].post, ["nfs_layout"]);
        assert!(config.blacklist.contains("pcspkr"));
        assert_eq!(config.install["cramfs"], "/bin/false");
    }

    #[test]
    fn the_command_line_adds_options_and_blacklists() {
        let mut config = Config::default();
        config.add_command_line(
            "quiet loop.max_loop=8 wulf.node=n1 e1000e.debug \"x.text=a b\" y.text=\"c d\" modprobe.blacklist=nouveau,ast -- z.k=1",
        );
        assert_eq!(config.options["loop"], "max_loop=8");
        assert_eq!(config.options["e1000e"], "debug");
        assert_eq!(config.options["x"], "text=\"a b\"");
        assert_eq!(config.options["y"], "text=\"c d\"");
        assert!(config.blacklist.contains("nouveau") && config.blacklist.contains("ast"));
        assert!(!config.options.contains_key("wulf") && !config.options.contains_key("z"));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read(text in ".{0,300}") {
            let mut config = Config::default();
            config.add_lines(&text);
            config.add_command_line(&text);
        }
    }
}
