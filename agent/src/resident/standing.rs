//! Standing back on a machine that has other work to do: niceness and processors of this process.

use std::fs;
use std::io;

use rustix::process::{Pid, setpriority_process};
use rustix::thread::{CpuSet, sched_setaffinity};
use wulfpack_shared::manners::{CpuList, Manners};

/// Makes all threads of this process, and those that they start, as nice as they shall be. What cannot be done is said and left.
pub(super) fn stand_back(manners: &Manners) {
    let threads = match threads() {
        Ok(threads) => threads,
        Err(error) => return tracing::warn!(%error, "this process does not stand back: its threads are not known"),
    };
    let processors = (!manners.cpus.is_all()).then(|| set(&manners.cpus));
    for thread in threads {
        // Linux takes a thread for the process here (sched(7), "Nice value and thread priority").
        if let Err(error) = setpriority_process(Some(thread), i32::from(manners.nice.get())) {
            tracing::warn!(%error, nice = %manners.nice, "a thread keeps its niceness");
        }
        if let Some(Err(error)) = processors.as_ref().map(|set| sched_setaffinity(Some(thread), set)) {
            tracing::warn!(%error, cpus = %manners.cpus, "a thread keeps its processors: none of these exists here");
        }
    }
}

fn set(cpus: &CpuList) -> CpuSet {
    let mut set = CpuSet::new();
    cpus.iter().filter(|cpu| *cpu < CpuSet::MAX_CPU).for_each(|cpu| set.set(cpu));
    set
}

/// Those that this process has now; each starts others as nice as itself.
fn threads() -> io::Result<Vec<Pid>> {
    let mut threads = vec![];
    for entry in fs::read_dir("/proc/self/task")? {
        let name = entry?.file_name();
        threads.extend(name.to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw));
    }
    Ok(threads)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use rustix::process::getpriority_process;
    use rustix::thread::sched_getaffinity;

    use super::*;

    #[test]
    fn every_thread_of_the_process_stands_back_and_those_it_starts() {
        let (ask, asked) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        let before = std::thread::spawn(move || {
            asked.recv().unwrap();
            let after = std::thread::spawn(|| getpriority_process(None).unwrap());
            tell.send((getpriority_process(None).unwrap(), after.join().unwrap())).unwrap();
        });
        // The processor that this thread runs on exists.
        let first = (0..CpuSet::MAX_CPU).find(|cpu| sched_getaffinity(None).unwrap().is_set(*cpu)).unwrap();
        let manners = Manners { cpus: first.to_string().parse().unwrap(), ..Manners::default() };
        stand_back(&manners);
        ask.send(()).unwrap();
        assert_eq!(told.recv().unwrap(), (19, 19));
        before.join().unwrap();
        assert_eq!(sched_getaffinity(None).unwrap().count(), 1);
    }
}
