//! docs/versions.md, from what `cargo xtask matrix` knows.

use crate::matrix_cell::{Cell, Figures};
use std::fmt::Write;

const HEAD: &str = "# Versions of PyTorch and Python

Written by `cargo xtask matrix`, which makes one environment after the other from what
`pip install torch torchvision numpy pillow` gives, and in each: traces and packs `classify` and
`train`, with cold code kept and dropped, and runs them in both packages; packs a bare
`import torch`, starts it in turn with the original, runs the first samples of every operator of
PyTorch's own database in both, and the programs of xtask/checks/observers, which look at all that
PyTorch registers. Python 3.14 and 3.15 are Debian's, in a root with its newer C library, as an
ordinary user. What a version does not have is in no table: a program that fails in the original
says nothing.

Megabytes are of 10^6 bytes. *Start* is the time of `import torch` in the package as a part of the
original's, then with `TAPER_EAGER=1`, which defers and remembers nothing: medians of ten in turn.
*Operators* are the calls whose result is the original's, of all; *chunk* is the median time in
which a chunk of cold code comes back; *watchers* are the programs that see the same.

";

/// The page.
pub fn page(cells: &[(Cell, Option<Figures>)]) -> String {
    let mut page = HEAD.to_owned();
    page += "| PyTorch | Python | C library | installed | classify keep, drop | train keep, drop | \
             import torch | start | operators | chunk | watchers | on |\n|";
    page += &"---|".repeat(12);
    page += "\n";
    for (cell, figures) in cells {
        page += &row(cell, figures.as_ref());
    }
    page += "\n## What is deferred\n\n";
    let known = || cells.iter().filter_map(|(cell, figures)| Some((cell, figures.as_ref()?)));
    for (cell, figures) in known() {
        for (root, against) in &figures.deferred {
            let name = cell.name();
            let _ = match &against[..] {
                [] => writeln!(page, "- {name}: `{root}` and what it alone imports."),
                all => writeln!(page, "- {name}: not `{root}`, for {}.", all.join("; ")),
            };
        }
    }
    page += "\n## What does not hold\n\n";
    let mut nothing = true;
    for (cell, figures) in known() {
        for (step, why) in &figures.failures {
            nothing = false;
            let why: Vec<&str> = why.lines().map(str::trim).collect();
            let _ = writeln!(page, "- {}, {step}: {}", cell.name(), why.join(" "));
        }
    }
    if nothing {
        page += "Nothing is known.\n";
    }
    let mut told = |what: &str, of: fn(&Figures) -> &[String]| {
        let named: Vec<String> = known()
            .filter(|(_, figures)| !of(figures).is_empty())
            .map(|(cell, figures)| format!("{} ({})", cell.name(), of(figures).join(", ")))
            .collect();
        if !named.is_empty() {
            let _ = writeln!(page, "\nPrograms that {what}: {}.", named.join("; "));
        }
    };
    told("fail in the original, and are not compared", |figures| &figures.unable);
    told(
        "differ from run to run in the original, with which a run of the package agrees",
        |figures| &figures.observers_varying,
    );
    page
}

fn row(cell: &Cell, figures: Option<&Figures>) -> String {
    let Some(figures) = figures else {
        return format!("| {} | 3.{} |{}\n", cell.torch, cell.minor, " |".repeat(10));
    };
    let size = |bytes: u64| {
        if bytes == 0 { String::new() } else { format!("{:.1}", bytes as f64 / 1e6) }
    };
    let sizes = |name: &str| {
        figures
            .sizes
            .get(name)
            .map_or(String::new(), |sizes| format!("{}, {}", size(sizes.keep), size(sizes.drop)))
    };
    let start = figures.start.map_or(String::new(), |(packed, eager)| {
        format!("× {:.2}, × {:.2}", packed.median, eager.median)
    });
    let operators = match figures.operators {
        (_, 0) => String::new(),
        (same, all) if figures.varying > 0 => {
            format!("{same} of {all}; {} vary in the original", figures.varying)
        }
        (same, all) => format!("{same} of {all}"),
    };
    let chunk = figures.chunks.map_or(String::new(), |(_, time)| format!("{:.0} µs", time.median));
    let all = figures.observers.len() + different(figures);
    let watchers =
        if all == 0 { String::new() } else { format!("{} of {all}", figures.observers.len()) };
    format!(
        "| {} | {} | {} | {} | {} | {} | {} | {start} | {operators} | {chunk} | {watchers} | {} |\n",
        cell.torch,
        if figures.python.is_empty() {
            format!("3.{}", cell.minor)
        } else {
            figures.python.clone()
        },
        figures.libc,
        figures.original / 1_000_000,
        sizes("classify"),
        sizes("train"),
        size(figures.import),
        figures.date,
    )
}

/// Programs that see something else.
fn different(figures: &Figures) -> usize {
    figures.failures.get("observers").map_or(0, |why| why.matches("; ").count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix_cell::Sizes;

    #[test]
    fn a_page_says_what_holds_and_what_does_not() {
        let cell = Cell { torch: "2.6.0", minor: 13 };
        let mut figures = Figures { original: 5_600_000_000, ..Figures::default() };
        figures.sizes.insert("train".into(), Sizes { keep: 200_000_000, drop: 80_500_000 });
        figures.deferred.insert("torch.one".into(), Vec::new());
        figures.deferred.insert("torch.two".into(), vec!["it prints".into()]);
        figures.failures.insert("start".into(), "it\n fails".into());
        let page = page(&[(cell, Some(figures)), (Cell { torch: "2.15.0", minor: 15 }, None)]);
        for part in [
            "| 2.6.0 | 3.13 |  | 5600 |  | 200.0, 80.5 |",
            "| 2.15.0 | 3.15 | |",
            "- 2.6.0/3.13: `torch.one` and",
            "- 2.6.0/3.13: not `torch.two`, for it prints.",
            "- 2.6.0/3.13, start: it fails",
        ] {
            assert!(page.contains(part), "{part}\n{page}");
        }
        assert!(
            page.lines()
                .filter(|line| line.starts_with("| 2."))
                .all(|line| line.matches('|').count() == 13)
        );
    }
}
