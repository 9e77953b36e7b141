//! What a path of a TFTP request means. There is no directory behind it: what is not one of these names is not there.

use wulfpack_shared::id::{Mac, VersionId};

use crate::boot::{InitramfsFormat, Loader, SignedLoader};
use crate::http::VersionFile;

/// Something that a machine asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The script that leads a loader to its own.
    Autoexec(Loader),
    /// A boot script.
    Script(Loader, Mac),
    /// A join token.
    Token(Mac),
    /// A file of an image version: kernel release, file.
    File(VersionId, String, VersionFile),
    /// The agent.
    Agent(InitramfsFormat),
    /// shim or GRUB.
    Signed(Mac, SignedLoader),
    /// A network boot program, or nothing.
    Program(String),
}

impl Wanted {
    /// Reads a path as firmware writes it: with leading slashes or backslashes, or none.
    pub fn parse(path: &str) -> Self {
        let path = path.trim().replace('\\', "/");
        let path = path.trim_start_matches('/');
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        Self::known(&parts).unwrap_or_else(|| Self::Program(path.to_owned()))
    }

    fn known(parts: &[&str]) -> Option<Self> {
        Some(match *parts {
            // Beside the boot program, wherever that was.
            [.., name] if name.eq_ignore_ascii_case("autoexec.ipxe") => Self::Autoexec(Loader::Ipxe),
            ["grub", "grub.cfg"] => Self::Autoexec(Loader::Grub),
            ["grub", mac, file] => {
                let mac = mac.parse().ok()?;
                match SignedLoader::named(file) {
                    Some(loader) => Self::Signed(mac, loader),
                    // Fedora's GRUB first tries names with an address behind.
                    None if file == "grub.cfg" || file.starts_with("grub.cfg-") => Self::Script(Loader::Grub, mac),
                    None => return None,
                }
            }
            ["boot", mac, "token"] => Self::Token(mac.parse().ok()?),
            ["boot", mac, "script.ipxe"] => Self::Script(Loader::Ipxe, mac.parse().ok()?),
            ["files", version, release, file] => {
                Self::File(version.parse().ok()?, release.to_owned(), VersionFile::named(file)?)
            }
            ["agent", format] => Self::Agent(format.parse().ok()?),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_mean_what_loaders_mean_by_them() {
        let mac = Mac([0x52, 0x54, 0, 0, 0, 1]);
        let version = VersionId([0x1d; 32]);
        for (path, wanted) in [
            ("snponly.efi", Wanted::Program("snponly.efi".into())),
            ("\\boot\\x.efi", Wanted::Program("boot/x.efi".into())),
            ("/arm64-efi/autoexec.ipxe", Wanted::Autoexec(Loader::Ipxe)),
            ("/grub/grub.cfg", Wanted::Autoexec(Loader::Grub)),
            ("/grub/52:54:00:00:00:01/grub.cfg", Wanted::Script(Loader::Grub, mac)),
            ("grub/52-54-00-00-00-01/grub.cfg-01-52-54-00-00-00-01", Wanted::Script(Loader::Grub, mac)),
            ("grub/52-54-00-00-00-01/GRUBX64.EFI", Wanted::Signed(mac, SignedLoader::Grub)),
            ("//boot/52-54-00-00-00-01/token", Wanted::Token(mac)),
            (&format!("/files/{version}/6.1.0/kernel"), Wanted::File(version, "6.1.0".into(), VersionFile::Kernel)),
            ("/agent/zstd", Wanted::Agent(InitramfsFormat::Zstd)),
            ("/etc/passwd", Wanted::Program("etc/passwd".into())),
            ("/grub/x86_64-efi/command.lst", Wanted::Program("grub/x86_64-efi/command.lst".into())),
            ("", Wanted::Program(String::new())),
        ] {
            assert_eq!(Wanted::parse(path), wanted, "{path}");
        }
    }
}
