//! What a package brings back is recorded, and is hot in the next one.

mod many;
mod world;

use many::{TRACED, dist, packed, run};
use std::fs;
use std::path::Path;

const FEW: &str = "
import os, torch, torch.later
assert all(torch.library.call(n, 7) == torch.value(n, 7) for n in (30, 400, 750, 1500))
child = os.fork()
if child == 0:
    os._exit(0 if torch.library.call(1234, 7) == torch.value(1234, 7) else 7)
assert os.waitpid(child, 0)[1] == 0
print(torch.later.__name__)";

/// How many pages of the library a run of [`FEW`] brings back, and modules.
fn brought(package: &Path) -> usize {
    let done = run(package, FEW, &[("TAPER_LOG", "1")]);
    let said = String::from_utf8(done.stderr).unwrap();
    assert!(done.status.success(), "{said}");
    said.lines().filter(|line| line.contains("pages of torch/lib/many.so")).count()
}

fn lines(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let texts = files.map(|path| fs::read_to_string(path).unwrap());
    texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[test]
fn what_was_brought_back_is_hot_in_the_next_package() {
    let world = &packed().world;
    assert!(brought(&dist()) > 0);
    // The variable may name a folder that is not there yet, from where the program starts.
    let records = world.path("records");
    let done = run(&dist(), FEW, &[("TAPER_PROFILE", records.to_str().unwrap())]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(fs::read_dir(&records).unwrap().count(), 2, "one file of each process");
    let lines = lines(&records);
    let pages = lines.iter().filter(|line| line.ends_with(" torch/lib/many.so")).count();
    // Five functions, and what catches exceptions.
    assert!((4..12).contains(&pages), "{lines:#?}");
    assert!(lines.iter().any(|line| line == "module torch/later.py"), "{lines:#?}");

    let pack = |to: &str, more: &[&str]| {
        let mut words = vec!["pack", "--no-verify", "--profile", "records", "--to", to];
        words.extend(more);
        world.taper(&words)
    };
    // Alone it is added to a trace; with a profile, to that.
    let done = pack("learned", &["--", "python", "-c", TRACED]);
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && said.contains("records: "), "{said}");
    assert_eq!(brought(&world.path("learned")), 0);
    let done = world.taper(&["trace", "-o", "one.profile", "--", "python", "-c", TRACED]);
    assert!(done.status.success());
    assert!(pack("both", &["--profile", "one.profile"]).status.success());
    assert_eq!(brought(&world.path("both")), 0);
    let (one, two) =
        (world.path("learned/torch/lib/many.so"), world.path("both/torch/lib/many.so"));
    assert_eq!(fs::read(one).unwrap(), fs::read(two).unwrap());

    // What does not fit is said by name.
    let file = fs::read_dir(&records).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read_to_string(&file).unwrap();
    let line = whole.lines().find(|line| line.ends_with(" torch/lib/many.so")).unwrap();
    let digits = line.split(' ').nth(1).unwrap().to_owned();
    fs::write(&file, whole.replace(&digits, "0123456789abcdef")).unwrap();
    let done = pack("wrong", &[]);
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(2), "{said}");
    assert!(said.contains("torch/lib/many.so changed since"), "{said}");
    fs::write(&file, "page\n").unwrap();
    let said = String::from_utf8(pack("wrong", &[]).stderr).unwrap();
    assert!(said.contains(".restored") && said.contains("line 1"), "{said}");
    assert!(!world.path("wrong").exists());
}

#[test]
fn a_folder_that_cannot_be_written_is_said_once_and_all_goes_on() {
    let done = run(&dist(), FEW, &[("TAPER_PROFILE", "/proc/nowhere")]);
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    // Once in each of the two processes.
    let lines = said.matches("taper: cannot record in /proc/nowhere/").count();
    assert!((1..=2).contains(&lines), "{said}");
}

#[test]
fn a_function_that_was_dropped_and_called_is_in_the_next_package() {
    let world = many::world(1500);
    let pack = |to: &str, more: &[&str]| {
        let mut words = vec!["pack", "--cold", "drop", "--no-verify", "--to", to];
        words.extend(more);
        let done = world.taper(&words);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        world.path(to)
    };
    let program = "
import torch, ctypes
torch.library.caught.restype = ctypes.c_char_p
print(torch.library.caught(1500))";
    let records = world.path("records");
    let said = |package: &Path| {
        let done = run(package, program, &[("TAPER_PROFILE", records.to_str().unwrap())]);
        String::from_utf8(done.stdout).unwrap()
    };
    let workload = ["--", "python", "-c", "import torch; torch.library.caught(17)"];
    let first = said(&pack("first", &workload));
    assert!(first.contains("many::f1500 (many.so) is not in this package"), "{first}");
    let mut words = vec!["--profile", "records"];
    words.extend(workload);
    assert_eq!(said(&pack("second", &words)), "b''\n");
}

#[test]
fn after_thousands_of_pages_whole_chunks_come_back() {
    // Each page that comes back alone may split a mapping, of which a process has 65,530.
    let world = many::world(20_000);
    let words = ["pack", "--no-verify", "--to", "dist", "--", "python", "-c", TRACED];
    let done = world.taper(&words);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let (package, records) = (world.path("dist"), world.path("records"));
    // The original says where the code is.
    let program = "
import ctypes, hashlib, os, random, struct, sys, torch
image = open(os.environ['ORIGINAL'], 'rb').read()
headers, = struct.unpack_from('<Q', image, 32)
size, count = struct.unpack_from('<HH', image, 54)
segments = [struct.unpack_from('<IIQQQQQ', image, headers + size * n) for n in range(count)]
place, length = next((s[3], s[6]) for s in segments if s[0] == 1 and s[1] & 1)
base = min(int(line.split('-')[0], 16) for line in open('/proc/self/maps') if 'many.so' in line)
code = list(range(base + place, base + place + length - 4096, 4096))
order = code[:]
random.Random(3).shuffle(order)
for page in order:
    ctypes.string_at(page, 1)
print(len(code), hashlib.sha256(ctypes.string_at(code[0], len(code) * 4096)).hexdigest())
print(sum(1 for _ in open('/proc/self/maps')), file=sys.stderr)
assert all(torch.library.call(n, 7) == torch.value(n, 7) for n in range(0, 2000, 9))";
    let original = world.packages().join("torch/lib/many.so");
    let original = ("ORIGINAL", original.to_str().unwrap());
    let variables = [original, ("TAPER_PROFILE", records.to_str().unwrap())];
    let recorded = run(&package, program, &variables);
    let said = String::from_utf8_lossy(&recorded.stderr);
    assert!(recorded.status.success(), "{said}");
    let mappings: usize = said.trim().parse().unwrap();
    assert!(mappings < 30_000, "{said}");
    let plain = run(&package, program, &[original]);
    assert_eq!(plain.stdout, recorded.stdout);
    let touched: usize =
        String::from_utf8_lossy(&plain.stdout).split(' ').next().unwrap().parse().unwrap();
    let mut pages = lines(&records);
    let written = pages.len();
    pages.sort_unstable();
    pages.dedup();
    // Nearly all were cold; those beyond the first thousands came with their chunks.
    assert!(touched > 9000 && pages.len() > touched - 200, "{touched} {}", pages.len());
    assert!(written < 2 * pages.len(), "{written}");
    // Nothing is cold in the next package that was brought back in this one.
    let words = ["pack", "--no-verify", "--profile", "records", "--to", "learned", "--", "python"];
    let done = world.taper(&[&words[..], &["-c", TRACED]].concat());
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let done = run(&world.path("learned"), program, &[original, ("TAPER_LOG", "1")]);
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && said.matches("pages of torch").count() < 5, "{said}");
}

/// While it is recorded, a page comes back alone: whichever threads and children touch it.
#[test]
fn threads_and_forks_are_recorded_and_see_all() {
    let world = &packed().world;
    let program = "
import os, random, threading, torch
assert torch.library.threads(16) == 0
wrong = []
def work(start):
    numbers = list(range(2000))
    random.Random(start % 4).shuffle(numbers)
    for n in numbers:
        if torch.library.call(n, n) != torch.value(n, n):
            wrong.append(n)
threads = [threading.Thread(target=work, args=(start,)) for start in range(12)]
for one in threads: one.start()
children = []
for number in range(8):
    child = os.fork()
    if child == 0:
        right = all(torch.library.call(n, 3) == torch.value(n, 3) for n in range(number, 2000, 9))
        os._exit(0 if right else 7)
    children.append(child)
assert all(os.waitpid(child, 0)[1] == 0 for child in children)
for one in threads: one.join()
assert not wrong";
    let records = world.path("of-threads");
    for _ in 0..3 {
        let done = run(&dist(), program, &[("TAPER_PROFILE", records.to_str().unwrap())]);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    let words = ["pack", "--no-verify", "--profile", "of-threads", "--to", "threaded", "--"];
    let done = world.taper(&[&words[..], &["python", "-c", TRACED]].concat());
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let done = run(&world.path("threaded"), program, &[("TAPER_LOG", "1")]);
    let said = String::from_utf8_lossy(&done.stderr);
    let brought = said.lines().filter(|line| line.contains("pages of torch/lib/many.so")).count();
    assert!(done.status.success() && brought == 0, "{said}");
}
