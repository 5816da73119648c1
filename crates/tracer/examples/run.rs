//! Traces a command: `run ROOT pages|files CMD…`.
use std::os::unix::fs::PermissionsExt;
fn main() {
    let mut words = std::env::args().skip(1);
    let root = std::fs::canonicalize(words.next().unwrap()).unwrap();
    let pages = words.next().unwrap() == "pages";
    let program: std::path::PathBuf = words.next().unwrap().into();
    let _ = program.metadata().unwrap().permissions().mode();
    let workload = taper_tracer::Workload {
        program,
        args: words.map(Into::into).collect(),
        env: std::env::vars_os().collect(),
        cwd: std::env::current_dir().unwrap(),
        stdout: taper_tracer::Output::Inherit,
        stderr: taper_tracer::Output::Inherit,
    };
    let start = std::time::Instant::now();
    let seen = taper_tracer::run(workload, &taper_tracer::Options { roots: vec![root], pages, ..Default::default() }).unwrap();
    let total: u64 = seen.libraries.values().map(|p| p.len()).sum();
    println!("{:?} {:?} pages {total} libs {} opened {} probed {} listed {} mapped {} exec {:?} processes {} faults {} stops {}", start.elapsed(), seen.status, seen.libraries.len(), seen.opened.len(), seen.probed.len(), seen.listed.len(), seen.mapped.len(), seen.executed, seen.processes, seen.faults, seen.stops);
    let mut top: Vec<_> = seen.libraries.iter().map(|(p, s)| (s.len(), p)).collect();
    top.sort(); top.reverse();
    for (n, p) in top.iter().take(8) { println!("{n:>7} {}", p.display()); }
}
