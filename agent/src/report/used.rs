//! What this process has used of its machine.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Processor time and memory of this process since it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// Time on a processor, of all threads.
    pub cpu: Duration,
    /// The most memory that was resident at a time, in bytes; 0 where the kernel does not say.
    pub memory_peak: u64,
}

/// Reads both. The image lies in a file that is written, not mapped: it is no part of the memory.
pub fn used() -> Used {
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(cpu.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(cpu.tv_nsec).unwrap_or(0);
    let memory_peak = std::fs::read_to_string("/proc/self/status").ok().and_then(|text| peak(&text)).unwrap_or(0);
    Used { cpu: Duration::new(seconds, nanos), memory_peak }
}

/// `VmHWM` of proc_pid_status(5), in bytes. Not `ru_maxrss`: that counts what the parent had before it called exec.
fn peak(status: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_what_it_used() {
        let before = used();
        let filled = std::hint::black_box(vec![1u8; 8 << 20]);
        let after = used();
        assert!(after.memory_peak >= before.memory_peak.max(filled.len() as u64), "{before:?} {after:?}");
        assert!(after.cpu > before.cpu);
    }

    #[test]
    fn a_status_without_the_figure_or_with_another_unit_is_no_figure() {
        assert_eq!(peak("Name:\tx\nVmHWM:\t    9096 kB\n"), Some(9096 * 1024));
        assert_eq!(peak("Name:\tx\n"), None);
        assert_eq!(peak("VmHWM:\t 9 pages\n"), None);
    }
}
