//! A template as Go reads it.

/// Part of a template.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    /// Text.
    Text(String),
    /// `{{ pipeline }}`, `{{ $x := pipeline }}`, `{{ $x = pipeline }}`.
    Action(Trim, Statement),
    /// A comment.
    Comment(Trim, String),
    /// `{{ if }}`, `{{ range }}`, `{{ with }}` up to `{{ end }}`.
    Block(Box<Block>),
    /// `{{ break }}`, `{{ continue }}`.
    Jump(Trim, &'static str),
}

/// Where white space beside an action goes away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Trim {
    pub(super) left: bool,
    pub(super) right: bool,
}

/// What opens a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    If,
    Range,
    With,
}

/// A block.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Block {
    pub(super) kind: Kind,
    pub(super) open: Trim,
    pub(super) head: Statement,
    pub(super) body: Vec<Node>,
    /// `{{ else }}`, and what follows it; an `else if` is a block in it whose end is not written.
    pub(super) other: Option<(Trim, Vec<Node>)>,
    pub(super) end: Trim,
}

/// A pipeline, and what becomes of its value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Statement {
    pub(super) line: usize,
    /// Variables that it declares or sets, without `$`.
    pub(super) vars: Vec<String>,
    /// `:=` rather than `=`.
    pub(super) declares: bool,
    pub(super) value: Expr,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expr {
    /// `"text"`, as the text.
    Text(String),
    /// A number, `true`, `false` or `nil`.
    Plain(String),
    /// `.`, `.A.B`, `$`, `$x.A`: `None` is the dot, `Some("")` is `$`.
    Path(Option<String>, Vec<String>),
    /// A field of a value in parentheses.
    Of(Box<Self>, Vec<String>),
    /// A function and its arguments, the piped one last.
    Call(String, Vec<Self>),
}
