//! CPU time and memory of a process, from Linux's /proc.

use std::time::Duration;

use serde::Serialize;

use crate::output::Failure;

/// A running process.
#[derive(Clone, Debug, Serialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Memory {
    #[serde(rename = "resident_bytes")]
    pub(super) resident: u64,
    /// The maximum resident memory so far, in bytes.
    #[serde(rename = "peak_resident_bytes")]
    pub(super) peak: u64,
}

impl Process {
    pub(super) fn of(pid: u32) -> Result<Self, Failure> {
        if cfg!(not(target_os = "linux")) {
            return Err(Failure::usage(
                "CPU times are read from /proc, which only Linux has; leave out --pid",
            ));
        }
        let Some(name) = proc::name(pid) else {
            return Err(Failure::usage(format!(
                "--pid {pid}: the process does not exist or is not visible to this user; `pgrep -a zeek` lists \
                 running processes"
            )));
        };
        Ok(Process { pid, name })
    }

    /// Returns this process.
    pub(super) fn this() -> Option<Self> {
        Self::of(std::process::id()).ok()
    }

    /// Returns `None` if the process has ended.
    pub(super) fn cpu(&self) -> Option<Cpu> {
        proc::cpu(self.pid)
    }

    /// Returns `None` if the process has ended.
    pub(super) fn memory(&self) -> Option<Memory> {
        proc::memory(self.pid)
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

#[cfg(target_os = "linux")]
mod proc {
    use std::time::Duration;

    use procfs::process::{Process, Stat};

    use super::{Cpu, Memory};

    fn process(pid: u32) -> Option<Process> {
        Process::new(pid.try_into().ok()?).ok()
    }

    fn stat(pid: u32) -> Option<Stat> {
        process(pid)?.stat().ok()
    }

    pub(super) fn name(pid: u32) -> Option<String> {
        Some(stat(pid)?.comm)
    }

    pub(super) fn cpu(pid: u32) -> Option<Cpu> {
        let stat = stat(pid)?;
        let time = |ticks: u64| {
            let milliseconds = ticks.checked_mul(1000)?.checked_div(procfs::ticks_per_second())?;
            Some(Duration::from_millis(milliseconds))
        };
        Some(Cpu { user: time(stat.utime)?, system: time(stat.stime)? })
    }

    pub(super) fn memory(pid: u32) -> Option<Memory> {
        let status = process(pid)?.status().ok()?;
        // In units of 1024 bytes.
        Some(Memory { resident: status.vmrss?.checked_mul(1024)?, peak: status.vmhwm?.checked_mul(1024)? })
    }
}

#[cfg(not(target_os = "linux"))]
mod proc {
    use super::{Cpu, Memory};

    pub(super) fn name(_: u32) -> Option<String> {
        None
    }

    pub(super) fn cpu(_: u32) -> Option<Cpu> {
        None
    }

    pub(super) fn memory(_: u32) -> Option<Memory> {
        None
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_found() {
        let this = Process::this().unwrap();
        assert!(!this.name.is_empty());
        // Uses some CPU time, which is counted in units of 10 ms.
        let start = std::time::Instant::now();
        while this.cpu().unwrap().total() == Duration::ZERO && start.elapsed() < Duration::from_secs(10) {}
        let cpu = this.cpu().unwrap();
        assert!(cpu.total() > Duration::ZERO && cpu.total() < Duration::from_secs(3600), "{cpu:?}");
        let Memory { resident, peak } = this.memory().unwrap();
        assert!(resident > 1 << 20 && peak >= resident, "{resident} {peak}");
    }

    #[test]
    fn a_process_that_does_not_exist_is_an_error() {
        assert!(Process::of(u32::MAX).is_err());
    }
}
