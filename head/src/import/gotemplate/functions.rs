//! What functions of Go, Sprig and Warewulf are called here.

/// The expression for a call whose arguments are expressions already, each safe to stand before an operator.
pub(super) fn call(name: &str, args: &[String]) -> Result<String, String> {
    let arg = |index: usize| args.get(index).map(String::as_str).ok_or_else(|| format!("{name}: too few arguments"));
    let chain = |operator: &str| format!("({})", args.join(operator));
    let compare = |operator: &str| Ok(format!("({} {operator} {})", arg(0)?, arg(1)?));
    let filter = |filter: &str| Ok(format!("({} | {filter})", arg(args.len().saturating_sub(1))?));
    match name {
        "print" | "println" | "cat" => Ok(chain(if name == "cat" { " ~ \" \" ~ " } else { " ~ " })),
        "eq" if args.len() > 2 => {
            let first = arg(0)?;
            let others: Vec<String> = args.iter().skip(1).map(|other| format!("{first} == {other}")).collect();
            Ok(format!("({})", others.join(" or ")))
        }
        "eq" => compare("=="),
        "ne" => compare("!="),
        "lt" => compare("<"),
        "le" => compare("<="),
        "gt" => compare(">"),
        "ge" => compare(">="),
        "and" => Ok(chain(" and ")),
        "or" | "coalesce" => Ok(chain(" or ")),
        "not" | "empty" => Ok(format!("(not {})", arg(0)?)),
        "default" => Ok(format!("({} or {})", arg(1)?, arg(0)?)),
        "ternary" => Ok(format!("({} if {} else {})", arg(0)?, arg(2)?, arg(1)?)),
        "len" => filter("length"),
        "lower" | "upper" | "trim" | "title" | "sort" | "unique" | "first" | "last" | "int" | "string" | "reverse" => {
            filter(name)
        }
        "sortAlpha" => filter("sort"),
        "uniq" => filter("unique"),
        "atoi" => filter("int"),
        "toString" => filter("string"),
        "toJson" | "toRawJson" => filter("tojson"),
        "quote" => Ok(format!("(\"\\\"\" ~ {} ~ \"\\\"\")", arg(0)?)),
        "squote" => Ok(format!("(\"'\" ~ {} ~ \"'\")", arg(0)?)),
        "join" => Ok(format!("({} | join({}))", arg(1)?, arg(0)?)),
        "split" | "splitList" => Ok(format!("({} | split({}))", arg(1)?, arg(0)?)),
        "replace" => Ok(format!("({} | replace({}, {}))", arg(2)?, arg(0)?, arg(1)?)),
        "contains" => Ok(format!("({} in {})", arg(0)?, arg(1)?)),
        "has" => Ok(format!("({} in {})", arg(0)?, arg(1)?)),
        "hasKey" => Ok(format!("({} in {})", arg(1)?, arg(0)?)),
        "hasPrefix" => Ok(format!("({} is startingwith({}))", arg(1)?, arg(0)?)),
        "hasSuffix" => Ok(format!("({} is endingwith({}))", arg(1)?, arg(0)?)),
        "substr" => Ok(format!("{}[{}:{}]", arg(2)?, arg(0)?, arg(1)?)),
        "inc" | "add1" => Ok(format!("({} + 1)", arg(0)?)),
        "dec" => Ok(format!("({} - 1)", arg(0)?)),
        "add" => Ok(chain(" + ")),
        "sub" => compare("-"),
        "mul" => Ok(chain(" * ")),
        "div" => compare("//"),
        "mod" => compare("%"),
        "list" => Ok(format!("[{}]", args.join(", "))),
        "printf" => Err("printf with these verbs has no equivalent; join the parts with ~".into()),
        "env" | "expandenv" => Err(format!("{name}: templates here see no environment variables")),
        "file" | "softlink" | "ImportLink" | "readlink" | "Include" | "IncludeFrom" | "IncludeBlock" | "abort"
        | "UniqueField" | "SystemdEscape" | "SystemdEscapePath" | "IgnitionJson" => {
            Err(format!("{name} is Warewulf's; docs/overlays.md says what takes its place"))
        }
        _ => Err(format!("the function {name} has no equivalent")),
    }
}

/// `printf` as a concatenation, where only `%s`, `%v` and `%d` without widths stand in its text.
pub(super) fn printf(format: &str, args: &[String]) -> Option<String> {
    let (mut parts, mut text, mut args) = (vec![], String::new(), args.iter());
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        match chars.next()? {
            '%' => text.push('%'),
            's' | 'v' | 'd' => {
                if !text.is_empty() {
                    parts.push(literal(&std::mem::take(&mut text)));
                }
                parts.push(args.next()?.clone());
            }
            _ => return None,
        }
    }
    if !text.is_empty() || parts.is_empty() {
        parts.push(literal(&text));
    }
    args.next().is_none().then(|| format!("({})", parts.join(" ~ ")))
}

/// A text in a template of ours.
pub(super) fn literal(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
