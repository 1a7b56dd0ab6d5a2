//! The step of an srun. Only Slurm can signal its processes on all nodes. srun itself passes some signals on,
//! but kills the step on SIGTERM, and expects SIGINT twice.

use run_common::fsio::read::read_kernel;
use run_common::process::answer::answer;
use run_common::process::identity::Signal;
use run_common::process::signals::signal_name;
use std::env;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Time limit for each answer, because a program is being ended.
const PATIENCE: Duration = Duration::from_secs(2);

/// Signals all processes of the step that this process has started, if it is an srun; returns whether Slurm
/// accepted the request.
pub fn signal_step(pid: i32, signal: Signal) -> bool {
    is_srun(pid) && step_of(pid).is_some_and(|step| cancel(&step, signal))
}

fn is_srun(pid: i32) -> bool {
    read_kernel(Path::new(&format!("/proc/{pid}/comm"))).is_ok_and(|name| name.trim() == "srun")
}

/// Finds the step of an srun: in the job of this process, or else among the steps of all jobs.
fn step_of(srun: i32) -> Option<String> {
    let mut command = Command::new("scontrol");
    command.args(["--oneliner", "show", "step"]).args(env::var_os("SLURM_JOB_ID"));
    let text = answer(&mut command, PATIENCE)?;
    let host = read_kernel(Path::new("/proc/sys/kernel/hostname")).unwrap_or_default();
    find(&String::from_utf8_lossy(&text), host.trim(), srun)
}

/// Finds the step of an srun on a host in the output of scontrol.
fn find(text: &str, host: &str, srun: i32) -> Option<String> {
    let short = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
    text.lines().find_map(|line| {
        let field = |name: &str| line.split_whitespace().find_map(|word| word.strip_prefix(name));
        let (on, pid) = field("SrunHost:Pid=")?.rsplit_once(':')?;
        let is_it = pid.parse() == Ok(srun) && short(on) == short(host);
        field("StepId=").filter(|_| is_it).map(str::to_owned)
    })
}

fn cancel(step: &str, signal: Signal) -> bool {
    let name = format!("--signal={}", signal_name(signal.as_raw()));
    answer(Command::new("scancel").args(["--quiet", &name, step]), PATIENCE).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_found_by_its_srun() {
        let step = |id: &str, srun: &str| {
            format!("{id} UserId=0 State=RUNNING NodeList=n1 Name=a b Network=(null) SrunHost:Pid={srun}\n")
        };
        let text = step("StepId=7.batch", "(null):0")
            + &step("StepId=7.0", "n1:41")
            + &step("ArrayStepId=8_1.3 StepId=9.3", "n1.site:42")
            + &step("StepId=9.4", "n2:43");
        assert_eq!(find(&text, "n1", 41).as_deref(), Some("7.0"));
        assert_eq!(find(&text, "n1.site", 42).as_deref(), Some("9.3"));
        assert_eq!((find(&text, "n1", 43), find(&text, "n1", 0), find("", "n1", 41)), (None, None, None));
    }

    #[test]
    fn a_process_that_is_no_srun_is_signalled_itself() {
        let myself = i32::try_from(std::process::id()).unwrap();
        assert!(!signal_step(myself, Signal::TERM) && !signal_step(0, Signal::TERM));
    }
}
