//! What a node boots once, instead of what the registry says.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::templates::is_template_name;
use crate::registry::{ImageRef, Node};

/// Templates that are shipped: these words mean them, and no image of that name.
const SHIPPED: [&str; 4] = ["default", "localdisk", "discover", "shell"];

/// A choice for one boot: a boot script template, or an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Once {
    /// The template with this name.
    Template(String),
    /// This image, or this version of it.
    Image(ImageRef),
}

impl Once {
    /// The template that takes the place of the node's.
    pub fn template(&self) -> Option<&str> {
        if let Self::Template(name) = self { Some(name) } else { None }
    }

    /// The image that takes the place of the node's.
    pub fn image(&self) -> Option<ImageRef> {
        if let Self::Image(image) = self { Some(image.clone()) } else { None }
    }
}

impl Once {
    /// The node as it boots with this choice. `boots_image` says whether a template does: one that does not is of no use to an image.
    pub fn apply(&self, node: &Node, boots_image: impl Fn(&str) -> bool) -> Node {
        match self {
            Self::Template(name) => Node { ipxe: Some(name.clone()), ..node.clone() },
            Self::Image(image) => {
                let ipxe = node.ipxe.clone().filter(|template| boots_image(template));
                Node { image: Some(image.clone()), ipxe, ..node.clone() }
            }
        }
    }
}

impl FromStr for Once {
    type Err = String;

    /// `localdisk`, `shell`, …; `NAME` or `NAME@ID` of an image; `template:NAME` and `image:NAME` say which is meant.
    fn from_str(text: &str) -> Result<Self, String> {
        let template = text.strip_prefix("template:").or_else(|| SHIPPED.contains(&text).then_some(text));
        if let Some(name) = template {
            let named = is_template_name(name).then(|| Self::Template(name.to_owned()));
            return named.ok_or_else(|| format!("{name:?} is no name of a boot script template"));
        }
        let image = text.strip_prefix("image:").unwrap_or(text);
        image.parse().map(Self::Image).map_err(|error| error.to_string())
    }
}

impl fmt::Display for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Template(name) if SHIPPED.contains(&name.as_str()) => f.write_str(name),
            Self::Template(name) => write!(f, "template:{name}"),
            Self::Image(image) if SHIPPED.contains(&image.to_string().as_str()) => write!(f, "image:{image}"),
            Self::Image(image) => image.fmt(f),
        }
    }
}

impl Serialize for Once {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_reads_back_as_it_was_written() {
        let id = "11".repeat(32);
        for text in ["localdisk", "template:site", "debian", &format!("debian@{id}"), "image:shell"] {
            let once: Once = text.parse().unwrap();
            assert_eq!(once.to_string(), text);
            assert_eq!(once.image().is_some(), !(text == "localdisk" || text.starts_with("template:")), "{text}");
            let json = serde_json::to_string(&once).unwrap();
            assert_eq!(serde_json::from_str::<Once>(&json).unwrap(), once);
        }
        for wrong in ["", "template:../x", "a b", "debian@xyz"] {
            assert!(wrong.parse::<Once>().is_err(), "{wrong}");
        }
    }
}
