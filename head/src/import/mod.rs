//! Taking over a Warewulf head: its configuration, nodes, images and overlays.
//!
//! * `server`: what of `warewulf.conf` means something here. `settings`: how that gets into `wulfpack.yaml`. `nodes`: `nodes.conf`, forms of older versions too.
//! * `overlays`: site overlays, their templates translated by `gotemplate`.
//! * `plan`: all that would be done, before anything is.

mod gotemplate;
mod nodes;
mod overlays;
mod plan;
mod server;
mod settings;

pub use gotemplate::{Translated, translate};
pub use nodes::upgrade_nodes;
pub use plan::{ImportError, ImportedFile, ImportedImage, ImportedOverlay, Plan, Remark};
pub use settings::Settings;
