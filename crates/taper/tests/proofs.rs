//! What one `pack` proved of an environment, the next takes from the user's cache folder, while
//! the environment is the same.

mod world;

use std::fs;
use world::World;

/// Says on the disk that it was imported.
const MODULE: &str = "with open(COUNT, 'a') as file:
    file.write('x')
from . import part
";

/// Packs, and gives how often torch was imported for that.
fn imports(world: &World, flags: &[&str]) -> usize {
    let count = world.path("count");
    let _ = (fs::remove_file(&count), fs::remove_dir_all(world.path("out")));
    let words = ["pack", "--to", "out", "--cpu", "native", "--no-verify"];
    let done = world.taper(&[&words[..], flags].concat());
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    fs::read(count).unwrap().len()
}

#[test]
fn what_was_proved_counts_while_nothing_changes() {
    let world = World::with_torch(&[
        ("torch/__init__.py", ""),
        ("torch/part.py", "X = 1\n"),
        ("torch/data.txt", "data\n"),
    ]);
    let count = world.path("count").display().to_string();
    world.install("torch/__init__.py", &MODULE.replace("COUNT", &format!("{count:?}")));
    world.compile();
    let (fresh, known) = (imports(&world, &[]), imports(&world, &[]));
    assert!(known == 1 && fresh > 1, "{fresh} {known}");
    assert_eq!(imports(&world, &["--no-cache"]), fresh);
    assert_eq!(imports(&world, &[]), known);
    // Any file of the environment may matter.
    world.install("torch/data.txt", "more\n");
    assert_eq!(imports(&world, &[]), fresh);
    assert_eq!(imports(&world, &[]), known);
    world.install("torch/fresh.py", "");
    assert_eq!(imports(&world, &[]), fresh);
    // What is damaged is proved again.
    for entry in fs::read_dir(world.path("home-cache/taper/proofs")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(path, bytes).unwrap();
    }
    assert_eq!(imports(&world, &[]), fresh);
    assert_eq!(imports(&world, &["--eager"]), 1);
}
