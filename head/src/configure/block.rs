//! A marked block in a file of somebody else: everything outside of it is left as it is.

/// Why a block cannot be put into a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// Its marks do not fit together.
    #[error(
        "the marks of our block do not fit together: remove the lines \"{BEGIN}\" and \"{END}\", and what is between them"
    )]
    Marks,
}

/// First line of the block.
pub(super) const BEGIN: &str = "# BEGIN wulfpack: written by `wulf configure`; changes between these lines are lost";
/// Last line.
pub(super) const END: &str = "# END wulfpack";

/// `text` with `content` between the marks: in place of the block that is there, else at the end. Without content the block goes.
pub(super) fn put(text: &str, content: &str) -> Result<String, BlockError> {
    let mut outside: Vec<&str> = vec![];
    let (mut place, mut inside) = (None, false);
    for line in text.lines() {
        match (line.starts_with("# BEGIN wulfpack"), line == END, inside) {
            (true, _, false) if place.is_none() => (place, inside) = (Some(outside.len()), true),
            (true, ..) | (_, true, false) => return Err(BlockError::Marks),
            (_, true, true) => inside = false,
            (_, _, true) => {}
            (_, _, false) => outside.push(line),
        }
    }
    if inside {
        return Err(BlockError::Marks);
    }
    if !content.trim().is_empty() {
        let block = [BEGIN].into_iter().chain(content.lines()).chain([END]);
        let at = place.unwrap_or(outside.len());
        outside.splice(at..at, block);
    }
    Ok(outside.into_iter().flat_map(|line| [line, "\n"]).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_block_is_replaced_where_it_stands_and_the_rest_stays() {
        let once = put("127.0.0.1 localhost\n", "10.0.0.1 n1\n").unwrap();
        assert_eq!(once, format!("127.0.0.1 localhost\n{BEGIN}\n10.0.0.1 n1\n{END}\n"));
        let below = format!("{once}# mine\n");
        let twice = put(&below, "10.0.0.2 n2").unwrap();
        assert_eq!(twice, format!("127.0.0.1 localhost\n{BEGIN}\n10.0.0.2 n2\n{END}\n# mine\n"));
        assert_eq!(put(&twice, "").unwrap(), "127.0.0.1 localhost\n# mine\n");
        assert_eq!(put("no end", "x").unwrap(), format!("no end\n{BEGIN}\nx\n{END}\n"));
        for broken in [format!("{BEGIN}\nx\n"), format!("{END}\n"), format!("{BEGIN}\n{BEGIN}\n{END}\n")] {
            assert_eq!(put(&broken, "x"), Err(BlockError::Marks), "{broken}");
        }
    }

    proptest! {
        #[test]
        fn putting_the_same_again_changes_nothing(text in "([a-z #]{0,9}\n){0,9}", content in "([a-z]{1,9}\n){0,5}") {
            let once = put(&text, &content).unwrap();
            prop_assert_eq!(&put(&once, &content).unwrap(), &once);
            prop_assert_eq!(put(&once, "").unwrap(), text);
        }
    }
}
