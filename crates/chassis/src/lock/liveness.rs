//! Whether a process that was written down still is that process.

use std::fs;

use rustix::{
    io::Errno,
    process::{Pid, test_kill_process},
};

/// When a process started, in ticks since the machine did: tells it from a later one of the same number.
pub(super) fn start_ticks(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may hold anything, parentheses too.
    let (_, fields) = text.rsplit_once(')')?;
    // The 22nd field, of which the name is the second.
    fields.split_whitespace().nth(19)?.parse().ok()
}

/// Says whether the process lives; where other users' processes are hidden, its number has to do.
pub(super) fn is_alive(pid: u32, started_ticks: Option<u64>) -> bool {
    let Some(number) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return false;
    };
    if !matches!(test_kill_process(number), Ok(()) | Err(Errno::PERM)) {
        return false;
    }
    match (started_ticks, start_ticks(pid)) {
        (Some(expected), Some(found)) => expected == found,
        (None, _) | (_, None) => true,
    }
}

#[cfg(test)]
mod tests {
    use std::process;

    use super::*;

    #[test]
    fn this_process_lives_and_one_that_had_its_number_does_not() {
        let pid = process::id();
        let ticks = start_ticks(pid).unwrap();
        assert!(is_alive(pid, Some(ticks)));
        assert!(is_alive(pid, None));
        assert!(!is_alive(pid, Some(ticks + 1)));
    }

    #[test]
    fn a_process_of_another_user_lives_and_a_number_of_none_does_not() {
        assert!(is_alive(1, start_ticks(1)));
        // The kernel counts to 2^22 at most.
        for nobody in [0, 0x7fff_ffff, u32::MAX] {
            assert!(!is_alive(nobody, None), "{nobody}");
        }
    }
}
