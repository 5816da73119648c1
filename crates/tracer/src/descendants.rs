//! The processes that this one started, and theirs.

use crate::process;
use std::collections::HashSet;
use std::fs;

/// Rounds of looking for processes that were started while others were killed.
const ROUNDS: u32 = 20;

/// Makes sure that [`kill_descendants`] finds processes whose own parents end, too.
pub fn adopt_orphans() {
    process::adopt_orphans();
}

/// Kills every process that this one started, directly or not. For the end of this process: who waits for one of them is told of its end.
pub fn kill_descendants() {
    for _ in 0..ROUNDS {
        let found = descendants(std::process::id());
        if found.is_empty() {
            return;
        }
        for child in found {
            process::kill(child as i32);
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// The numbers of the living descendants of `ancestor`.
fn descendants(ancestor: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pairs: Vec<(u32, u32)> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|number| Some((number, living_parent(number)?)))
        .collect();
    let mut all = HashSet::from([ancestor]);
    let mut list = Vec::new();
    loop {
        let fresh: Vec<u32> = pairs
            .iter()
            .filter(|(number, parent)| all.contains(parent) && !all.contains(number))
            .map(|(number, _)| *number)
            .collect();
        if fresh.is_empty() {
            return list;
        }
        all.extend(&fresh);
        list.extend(fresh);
    }
}

/// The parent of a process that has not ended: the third and fourth field of its `stat`
/// (proc(5)), after a name that may hold anything.
fn living_parent(number: u32) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    (state != "Z").then(|| fields.next()?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn children_of_children_are_found() {
        let mut shell = Command::new("sh")
            .args(["-c", "sleep 600 & echo; wait"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = [0];
        std::io::Read::read_exact(shell.stdout.as_mut().unwrap(), &mut line).unwrap();
        let below = descendants(shell.id());
        assert_eq!(below.len(), 1);
        assert!(descendants(std::process::id()).contains(&below[0]));
        // Only these: other tests have processes of their own.
        process::kill(below[0] as i32);
        process::kill(shell.id() as i32);
        shell.wait().unwrap();
        assert_eq!(living_parent(shell.id()), None);
    }
}
