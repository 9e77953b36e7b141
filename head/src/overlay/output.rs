//! What a template's text becomes. `file`, `softlink` and `abort` leave marks in the text, with a character that no value can
//! print; here the text is taken apart along them.

use bytes::Bytes;
use minijinja::Value;
use wulfpack_shared::overlay::EntryKind;

/// Begins and ends a mark. The environment's formatter refuses control characters in values.
const MARK: char = '\0';

/// What a function asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// What follows goes into this file.
    File(String),
    /// The file is a link to there.
    Link(String),
    /// The template makes nothing.
    Abort,
}

impl Mark {
    pub(super) fn value(self) -> Value {
        let (kind, text) = match self {
            Self::File(name) => ('f', name),
            Self::Link(target) => ('l', target),
            Self::Abort => ('a', String::new()),
        };
        let text: String = text.chars().filter(|c| *c != MARK).collect();
        Value::from_safe_string(format!("{MARK}{kind}{text}{MARK}"))
    }
}

/// One thing that a template made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Made {
    pub(super) path: String,
    pub(super) kind: EntryKind,
}

/// Takes the text of the template for `path` apart. Text of nothing but blanks makes no file, except where `file` asked for it.
pub(super) fn take_apart(path: &str, text: String) -> Result<Vec<Made>, String> {
    if !text.contains(MARK) {
        let made = Made { path: path.to_owned(), kind: EntryKind::File(Bytes::from(text)) };
        return Ok(if is_blank(&made) { vec![] } else { vec![made] });
    }
    let mut made: Vec<Made> = vec![];
    let mut current: (String, String, Option<String>, bool) = (path.to_owned(), String::new(), None, false);
    let mut parts = text.split(MARK);
    current.1.push_str(parts.next().unwrap_or_default());
    // Marks and texts take turns.
    while let (Some(mark), Some(text)) = (parts.next(), parts.next()) {
        let (kind, value) = mark.split_at_checked(1).ok_or("a mark of a template is damaged")?;
        match kind {
            "f" => {
                made.extend(finish(std::mem::take(&mut current)));
                // A name is beside the template's own file; one that begins with a slash is below the root.
                let name = match value.strip_prefix('/') {
                    Some(absolute) => absolute.to_owned(),
                    None => path.rsplit_once('/').map_or_else(|| value.to_owned(), |(dir, _)| format!("{dir}/{value}")),
                };
                current = (name, text.strip_prefix('\n').unwrap_or(text).to_owned(), None, true);
            }
            "l" => {
                current.2 = Some(value.to_owned());
                current.1.push_str(text);
            }
            _ => return Ok(vec![]),
        }
    }
    made.extend(finish(current));
    Ok(made)
}

fn is_blank(made: &Made) -> bool {
    matches!(&made.kind, EntryKind::File(bytes) if bytes.trim_ascii().is_empty())
}

fn finish((path, text, link, named): (String, String, Option<String>, bool)) -> Option<Made> {
    let kind = link.map_or_else(|| EntryKind::File(Bytes::from(text)), EntryKind::Symlink);
    let made = Made { path, kind };
    (named || !is_blank(&made)).then_some(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(mark: Mark) -> String {
        mark.value().as_str().unwrap().to_owned()
    }

    fn file(path: &str, text: &'static str) -> Made {
        Made { path: path.into(), kind: EntryKind::File(text.into()) }
    }

    #[test]
    fn one_template_makes_many_files_and_links() {
        let text = format!(
            "own\n{}\na\n{}b{}rest\n",
            mark(Mark::File("a.conf".into())),
            mark(Mark::File("/opt/b".into())),
            mark(Mark::Link("/dev/null".into())),
        );
        let made = take_apart("etc/d/t.conf", text).unwrap();
        let link = Made { path: "opt/b".into(), kind: EntryKind::Symlink("/dev/null".into()) };
        assert_eq!(made, [file("etc/d/t.conf", "own\n"), file("etc/d/a.conf", "a\n"), link]);
    }

    #[test]
    fn blank_text_makes_no_file_unless_it_was_asked_for_and_abort_makes_none_at_all() {
        assert_eq!(take_apart("x", " \n".into()).unwrap(), []);
        assert_eq!(take_apart("x", format!("\n{}", mark(Mark::File("y".into())))).unwrap(), [file("y", "")]);
        assert_eq!(take_apart("x", format!("text{}more", mark(Mark::Abort))).unwrap(), []);
        // A name with the mark's own character in it cannot end the mark.
        assert_eq!(take_apart("x", mark(Mark::File("a\0b".into()))).unwrap(), [file("ab", "")]);
    }
}
