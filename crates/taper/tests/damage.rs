//! Damage to what is cold is said, and none of it runs; what is not there raises an error.

mod many;
mod world;

use many::{copied, packed, run};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use world::World;

#[test]
fn damage_is_said_and_nothing_damaged_runs() {
    let all = "import torch
wrong = [n for n in range(2000) if torch.library.call(n, 7) != torch.value(n, 7)]
assert not wrong
print('all right')";
    let place = copied("damaged");
    let store = place.join("_taper/cold");
    let library = place.join("torch/lib/many.so");
    let (whole, tied) = (fs::read(&store).unwrap(), fs::read(&library).unwrap());
    let note = memchr::memmem::find(&tied, b"taper\0nt").unwrap();
    let length = tied[note..].len().min(160);
    let check = |what: &str| {
        let done = run(&place, all, &[]);
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(!done.status.success(), "{what}: it ran");
        assert!(said.contains("copy the package again"), "{what}: {said}");
        assert!(!String::from_utf8_lossy(&done.stdout).contains("all right"), "{what}");
    };
    let step = whole.len() / 23;
    let places = [0, 8, 12, 16, 40, 64, 70, 80, 100].into_iter().chain((1..23).map(|n| n * step));
    let mut refused = 0;
    for at in places {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x20;
        fs::write(&store, bytes).unwrap();
        if at < 100 {
            check(&format!("byte {at} of the store"));
            continue;
        }
        // The chunk may be one that nothing needs.
        let done = run(&place, all, &[]);
        let said = String::from_utf8_lossy(&done.stderr);
        if done.status.success() {
            assert!(String::from_utf8_lossy(&done.stdout).contains("all right"));
        } else {
            assert!(said.contains("copy the package again"), "byte {at}: {said}");
            refused += 1;
        }
    }
    assert!(refused > 10, "{refused}");
    for length in [0, 10, 63, 64, 200, whole.len() / 2, whole.len() - 1] {
        fs::write(&store, &whole[..length]).unwrap();
        check(&format!("{length} bytes of the store"));
    }
    fs::remove_file(&store).unwrap();
    check("no store");
    fs::write(&store, &whole).unwrap();
    for at in (0..length).step_by(5) {
        let mut bytes = tied.clone();
        bytes[note + at] ^= 0x04;
        fs::write(&library, bytes).unwrap();
        check(&format!("byte {at} of the note"));
    }
    fs::write(&library, &tied).unwrap();
    // Another package's store: the same library, packed with other chunks.
    let done = packed().world.taper(&[
        "pack",
        "--cold",
        "keep",
        "--level",
        "fast",
        "--no-verify",
        "--to",
        "other",
    ]);
    assert!(done.status.success());
    fs::copy(packed().world.path("other/_taper/cold"), &store).unwrap();
    check("another package's store");
    fs::write(&store, &whole).unwrap();
    let done = run(&place, all, &[]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    // Cut short, and gone, while the program runs.
    let cut = format!("import torch, os\nos.truncate({store:?}, 4096)\n{all}");
    let done = run(&place, &cut, &[]);
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(!done.status.success() && said.contains("cut short"), "{said}");
    fs::write(&store, &whole).unwrap();
    let gone = format!("import torch, shutil\nshutil.rmtree({place:?})\n{all}");
    assert!(run(&place, &gone, &[]).status.success());
}

/// A package of what `workload` runs and nothing else.
fn dropped(world: &World, workload: &str) -> PathBuf {
    let words = ["pack", "--cold", "drop", "--to", "dropped", "--", "python", "-c", workload];
    let done = world.taper(&words);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    world.path("dropped")
}

#[test]
fn what_was_dropped_raises_an_error_that_names_it() {
    // Larger than what is kept complete whatever ran.
    let world = many::world(1500);
    let workload = "import torch; torch.library.call(17, 1); torch.library.caught(17)";
    let package = dropped(&world, workload);
    let program = "
import torch, ctypes
torch.library.caught.restype = ctypes.c_char_p
assert torch.library.call(17, 1) != 0
print(torch.library.caught(17), torch.library.caught(1500), torch.library.caught(400), flush=True)
torch.library.call(1500, 1)";
    let done = run(&package, program, &[]);
    let (out, said) =
        (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    for n in [400, 1500] {
        let text = format!(
            "many::f{n} (many.so) is not in this package; trace a workload that uses it, or pack with --cold keep"
        );
        assert!(out.contains(&text), "{out} {said}");
    }
    assert!(out.starts_with("b'' "), "{out}");
    // Where nobody catches it, the process ends and says why.
    assert!(!done.status.success() && said.contains("many::f1500 (many.so) is not in"), "{said}");
}

#[test]
fn every_function_of_a_stripped_library_answers_or_raises() {
    // Nothing tells the functions apart but the unwind tables. Some are on pages of those that
    // ran, whole or in part.
    let world = many::world(1500);
    let library = world.packages().join("torch/lib/many.so");
    let done = Command::new("strip").arg("--strip-all").arg(&library).status().unwrap();
    assert!(done.success());
    let workload = "import torch; [torch.library.caught(n) for n in range(0, 1000, 60)]";
    let package = dropped(&world, workload);
    let program = "
import torch, ctypes
torch.library.caught.restype = ctypes.c_char_p
said = [torch.library.caught(n) for n in range(2000)]
refused = [text for text in said if b'(many.so) is not in this package' in text]
print(len(refused), said.count(b''), [text for text in said if text and text not in refused])
assert all(said[n] == b'' for n in range(0, 1000, 60))";
    let done = run(&package, program, &[]);
    let out = String::from_utf8_lossy(&done.stdout);
    assert!(
        done.status.success(),
        "{:?} {out} {}",
        done.status,
        String::from_utf8_lossy(&done.stderr)
    );
    let counts: Vec<usize> = out.split(' ').take(2).map(|word| word.parse().unwrap()).collect();
    assert!(counts[0] > 1500 && counts[1] >= 17 && counts[0] + counts[1] == 2000, "{out}");
}
