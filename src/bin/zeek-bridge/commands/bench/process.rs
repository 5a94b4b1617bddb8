//! CPU time and memory of a process, from Linux's /proc.

use std::fs;
use std::time::Duration;

use crate::output::Failure;

/// The units of CPU time in /proc per second. This is the same on all of Linux's architectures that Rust supports.
const TICKS: u64 = 100;

/// A running process.
#[derive(Clone, Debug)]
pub(super) struct Process {
    pub(super) pid: u32,
    /// The name of its program, which Linux truncates.
    pub(super) name: String,
}

/// The CPU time used so far by all threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cpu {
    pub(super) user: Duration,
    pub(super) system: Duration,
}

/// The resident memory in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) resident: u64,
    /// The maximum so far.
    pub(super) peak: u64,
}

impl Process {
    pub(super) fn of(pid: u32) -> Result<Self, Failure> {
        if cfg!(not(target_os = "linux")) {
            return Err(Failure::usage(
                "CPU times are read from /proc, which only Linux has; leave out --pid",
            ));
        }
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok();
        let Some((name, _)) = stat.as_deref().and_then(fields) else {
            return Err(Failure::usage(format!(
                "--pid {pid}: there is no such process, or it is not shown to this user; `pgrep -a zeek` lists what \
                 runs"
            )));
        };
        Ok(Process { pid, name: name.to_owned() })
    }

    /// Returns this process.
    pub(super) fn this() -> Option<Self> {
        Self::of(std::process::id()).ok()
    }

    /// Returns `None` if the process has ended.
    pub(super) fn cpu(&self) -> Option<Cpu> {
        cpu(&fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?)
    }

    /// Returns `None` if the process has ended.
    pub(super) fn memory(&self) -> Option<Memory> {
        memory(&fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?)
    }
}

impl Cpu {
    pub(super) fn since(self, before: Cpu) -> Cpu {
        Cpu { user: self.user.saturating_sub(before.user), system: self.system.saturating_sub(before.system) }
    }

    pub(super) fn total(self) -> Duration {
        self.user.saturating_add(self.system)
    }
}

/// Splits a line of `stat` into the name, which may contain any bytes, and the rest; see proc(5).
fn fields(stat: &str) -> Option<(&str, impl Iterator<Item = &str>)> {
    let (pid_and_name, rest) = stat.rsplit_once(") ")?;
    Some((pid_and_name.split_once('(')?.1, rest.split(' ')))
}

fn cpu(stat: &str) -> Option<Cpu> {
    let (_, fields) = fields(stat)?;
    // The rest begins with field 3, the state; utime and stime are fields 14 and 15.
    let mut times = fields.skip(11).map(|ticks| {
        let milliseconds = ticks.parse::<u64>().ok()?.checked_mul(1000)?.checked_div(TICKS)?;
        Some(Duration::from_millis(milliseconds))
    });
    Some(Cpu { user: times.next()??, system: times.next()?? })
}

fn memory(status: &str) -> Option<Memory> {
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
    };
    Some(Memory { resident: bytes("VmRSS:")?, peak: bytes("VmHWM:")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let stat = "7 (a) b (c) R 1 7 7 0 -1 4194304 100 0 0 0 250 42 0 0 20 0 1 0 55 1000 200";
        assert_eq!(fields(stat).unwrap().0, "a) b (c");
        let (user, system) = (Duration::from_millis(2500), Duration::from_millis(420));
        assert_eq!(cpu(stat), Some(Cpu { user, system }));
        assert_eq!(cpu("7 (a"), None);
    }

    #[test]
    fn memory_is_told_in_bytes() {
        let status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(memory(status), Some(Memory { resident: 1024 * 1024, peak: 2048 * 1024 }));
        assert_eq!(memory("Name:\tx\n"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_is_there() {
        let this = Process::this().unwrap();
        assert!(this.cpu().is_some());
        assert!(this.memory().unwrap().resident > 0);
    }
}
