//! Access control lists: from the text in an archive (acl(5), "ACL text forms") to the extended attribute of the kernel
//! (include/uapi/linux/posix_acl_xattr.h).

/// Extended attribute of the list that counts for the file.
pub(super) const ACCESS: &str = "system.posix_acl_access";
/// And of the one that new files in a directory get.
pub(super) const DEFAULT: &str = "system.posix_acl_default";
const VERSION: u32 = 2;
const NOBODY: u32 = u32::MAX;
const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// The names in a list that have no number: as the image's own `/etc/passwd` and `/etc/group` say.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    pub(super) passwd: String,
    pub(super) group: String,
}

impl Accounts {
    fn id(&self, name: &str, is_group: bool) -> Option<u32> {
        let file = if is_group { &self.group } else { &self.passwd };
        file.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next()? == name).then(|| fields.nth(1)?.parse().ok()).flatten()
        })
    }
}

/// The extended attribute that `text` means.
///
/// # Errors
/// Says which entry cannot be understood.
pub(super) fn encode(text: &str, accounts: &Accounts) -> Result<Vec<u8>, String> {
    let mut entries = vec![];
    for entry in text.split([',', '\n']).map(|entry| entry.split('#').next().unwrap_or("").trim()) {
        if !entry.is_empty() {
            entries.push(parse(entry, accounts).ok_or_else(|| format!("has an access control list with {entry:?}"))?);
        }
    }
    entries.sort_unstable();
    let mut bytes = VERSION.to_le_bytes().to_vec();
    for (tag, id, permissions) in entries {
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&permissions.to_le_bytes());
        bytes.extend_from_slice(&id.to_le_bytes());
    }
    Ok(bytes)
}

/// One entry: tag, id, permissions.
fn parse(entry: &str, accounts: &Accounts) -> Option<(u16, u32, u16)> {
    let entry = entry.strip_prefix("default:").unwrap_or(entry);
    let mut fields = entry.split(':');
    let (tag, name, permissions, number) = (fields.next()?, fields.next()?, fields.next()?, fields.next());
    let (own, named, is_group) = match tag {
        "user" | "u" => (USER_OBJ, Some(USER), false),
        "group" | "g" => (GROUP_OBJ, Some(GROUP), true),
        "mask" | "m" => (MASK, None, false),
        "other" | "o" => (OTHER, None, false),
        _ => return None,
    };
    let (tag, id) = match name {
        "" => (own, NOBODY),
        name => {
            // star writes the number behind; GNU tar writes it for the name where told to.
            let number = number.or(Some(name)).and_then(|number| number.parse().ok());
            (named?, number.or_else(|| accounts.id(name, is_group))?)
        }
    };
    let mut bits = 0;
    for character in permissions.chars() {
        bits |= match character {
            'r' => 4,
            'w' => 2,
            'x' => 1,
            '-' => 0,
            _ => return None,
        };
    }
    Some((tag, id, bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_becomes_what_the_kernel_stores() {
        let accounts = Accounts {
            passwd: "root:x:0:0::/:\nlisa:x:1005:100::/home:\n".into(),
            group: "users:x:100:\nadm:x:4:\n".into(),
        };
        let text = "user::rw-\nuser:lisa:r--\ngroup::r--\ngroup:adm:r-x\nmask::r-x\nother::---\n";
        let bytes = encode(text, &accounts).unwrap();
        let entry = |tag: u8, permissions: u8, id: u32| [&[tag, 0, permissions, 0][..], &id.to_le_bytes()].concat();
        let expected = [
            vec![2, 0, 0, 0],
            entry(1, 6, NOBODY),
            entry(2, 4, 1005),
            entry(4, 4, NOBODY),
            entry(8, 5, 4),
            entry(16, 5, NOBODY),
            entry(32, 0, NOBODY),
        ];
        assert_eq!(bytes, expected.concat());
        let same = "u::rw-,u:nobodyknows:r--:1005,g::r--,g:4:r-x,m::r-x,o::---";
        assert_eq!(encode(same, &accounts).unwrap(), bytes);
        for bad in ["user:bart:r--", "user::rwz", "mask:5:r--", "what::r--", "user"] {
            assert!(encode(bad, &accounts).is_err(), "{bad}");
        }
    }
}
