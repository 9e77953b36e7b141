//! Does the image fit, and how large may each part become?

use std::fs;

use rustix::io::Errno;
use wulfpack_shared::wire::RootMode;

use super::error::RootError;

/// Memory kept for the kernel, the agent and the system's first processes. Bytes.
pub const RESERVE: u64 = 256 * MIB;
const MIB: u64 = 1024 * 1024;
/// A tmpfs counts whole pages for each file, directories and extended attributes aside: a sixteenth more than the
/// files' bytes holds every distribution measured.
const UNPACKED_SLACK: u64 = 16;

/// Memory of the machine, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// `MemTotal`.
    pub total: u64,
    /// `MemAvailable`.
    pub available: u64,
}

/// Reads /proc/meminfo (proc_meminfo(5)).
///
/// # Errors
/// The file cannot be read or lacks a figure.
pub fn memory() -> Result<Memory, RootError> {
    let text = fs::read_to_string("/proc/meminfo").map_err(RootError::io("read /proc/meminfo"))?;
    parse_meminfo(&text)
        .ok_or_else(|| RootError::during("find MemTotal and MemAvailable in /proc/meminfo")(Errno::NOMSG))
}

/// The two figures of a meminfo text, if both are there.
pub(super) fn parse_meminfo(text: &str) -> Option<Memory> {
    let field = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    Some(Memory { total: field("MemTotal")?, available: field("MemAvailable")? })
}

/// How large each part may become. Bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// What may be written to the running root: `root.size` percent of all memory.
    pub upper: u64,
    /// The tmpfs of the root: the upper layer alone, or the unpacked tree and what may be written.
    pub root: u64,
}

/// The node cannot hold this image in this mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "too little memory: {} MiB in all, but the image takes {} MiB, the root {} MiB and the system {} MiB; {}",
    total / MIB, image / MIB, root / MIB, reserve / MIB,
    if *unpacked { "use root mode overlay, a smaller `root.size` or a smaller image" }
    else { "use a smaller `root.size` or a smaller image" }
)]
pub struct TooLittleMemory {
    /// Bytes of memory there are.
    pub total: u64,
    /// Bytes of the compressed image.
    pub image: u64,
    /// Bytes of the root's tmpfs: what may be written, and in mode tmpfs the unpacked tree.
    pub root: u64,
    /// Bytes kept free.
    pub reserve: u64,
    /// Root mode tmpfs.
    pub unpacked: bool,
}

/// Compares what there is with what it takes, before the first chunk is fetched.
///
/// # Errors
/// [`TooLittleMemory`] with all figures.
pub fn check_memory(
    total: u64,
    image: u64,
    unpacked: u64,
    mode: RootMode,
    upper_percent: u8,
    reserve: u64,
) -> Result<MemoryPlan, TooLittleMemory> {
    let upper = (total / 100).saturating_mul(u64::from(upper_percent.min(100))).max(MIB);
    let root = match mode {
        RootMode::Overlay => upper,
        RootMode::Tmpfs => unpacked.saturating_add(unpacked / UNPACKED_SLACK).saturating_add(upper),
    };
    if image.checked_add(root).and_then(|sum| sum.checked_add(reserve)).is_none_or(|sum| sum > total) {
        return Err(TooLittleMemory { total, image, root, reserve, unpacked: mode == RootMode::Tmpfs });
    }
    Ok(MemoryPlan { upper, root })
}

/// The `mpol=` of a tmpfs whose pages shall lie on every NUMA node that has both CPUs and memory, from the kernel's
/// lists (`/sys/devices/system/node/has_cpu`, `has_memory`); `None` with fewer than two such nodes.
pub(super) fn interleave(has_cpu: &str, has_memory: &str) -> Option<String> {
    let memory = parse_list(has_memory)?;
    let nodes: Vec<String> =
        parse_list(has_cpu)?.into_iter().filter(|node| memory.contains(node)).map(|node| node.to_string()).collect();
    (nodes.len() > 1).then(|| format!("mpol=interleave:{}", nodes.join(",")))
}

/// A list such as `0-1,3`. The kernel knows at most 1024 nodes.
fn parse_list(text: &str) -> Option<Vec<u16>> {
    let mut nodes = vec![];
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<u16>().ok()?, last.parse::<u16>().ok()?);
        if last >= 1024 {
            return None;
        }
        nodes.extend(first..=last);
    }
    Some(nodes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_is_read() {
        let text = "MemTotal:        2014992 kB\nMemFree:         1 kB\nMemAvailable:    1505280 kB\n";
        assert_eq!(parse_meminfo(text), Some(Memory { total: 2_014_992 * 1024, available: 1_505_280 * 1024 }));
        assert_eq!(parse_meminfo("MemTotal: 1 kB\n"), None);
        assert_eq!(parse_meminfo("MemTotal: x kB\nMemAvailable: 99999999999999999999 kB\n"), None);
    }

    #[test]
    fn what_fits_is_sized_and_what_does_not_names_its_figures() {
        let (total, image, unpacked) = (2048 * MIB, 130 * MIB, 400 * MIB);
        let plan = check_memory(total, image, unpacked, RootMode::Overlay, 25, RESERVE).unwrap();
        assert!(plan.root == plan.upper && plan.upper <= total / 4 && plan.upper > total / 4 - MIB);
        let plan = check_memory(total, image, unpacked, RootMode::Tmpfs, 25, RESERVE).unwrap();
        assert_eq!(plan.root, plan.upper + unpacked + unpacked / 16);
        let error = check_memory(1024 * MIB, image, 500 * MIB, RootMode::Tmpfs, 25, RESERVE).unwrap_err();
        let text = error.to_string();
        for part in ["1024 MiB in all", "image takes 130 MiB", "root 78", "system 256 MiB", "root mode overlay"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(check_memory(u64::MAX, u64::MAX, u64::MAX, RootMode::Tmpfs, 255, u64::MAX).is_err());
    }

    #[test]
    fn pages_interleave_over_nodes_with_cpus_and_memory() {
        assert_eq!(interleave("0-1\n", "0-3\n").as_deref(), Some("mpol=interleave:0,1"));
        assert_eq!(interleave("0,2-3", "0-2").as_deref(), Some("mpol=interleave:0,2"));
        assert_eq!(interleave("0\n", "0-7\n"), None);
        assert_eq!(interleave("0-1", ""), None);
        assert_eq!(interleave("0-99999", "0-1"), None);
        assert_eq!(interleave("x", "0-1"), None);
    }
}
