//! The result as text: tables, largest rows first, each with its total.

use crate::inspection::{Division, Inspection, Share};
use environment::Kind;
use std::fmt::Write;

/// Rows of a table that are shown; the rest is one row, so that a table fits a screen.
const ROWS: usize = 20;

/// Libraries whose components get a table of their own: the largest that have symbols
/// for at least half of what is code or data in them.
const LIBRARIES: usize = 3;

/// A row: its name, its bytes, and a count of what the table counts.
type Row = (String, u64, Option<u64>);

/// Renders `all` for a terminal. Sizes are in MB, 10^6 bytes.
pub fn render(all: &Inspection) -> String {
    let mut out = String::new();
    let total = all.total;
    line(
        &mut out,
        &format!(
            "{} MB in {} files; {} MB of them in a package's scope (all but the installers)",
            mb(total.bytes),
            thousands(total.files),
            mb(all.in_scope.bytes)
        ),
    );
    let distributions = all.distributions.iter().filter(|row| row.share.files > 0).map(|row| {
        let name = match &row.name {
            Some(name) => format!("{name} {}", row.version),
            None => "owned by no distribution".to_owned(),
        };
        share(name, row.share)
    });
    table(&mut out, "By distribution", "files", distributions.collect());
    let kinds = all.kinds.iter().map(|(kind, bytes)| share(kind_name(*kind).to_owned(), *bytes));
    table(&mut out, "By kind of file", "files", kinds.collect());
    let plain = |(name, bytes): (&String, &u64)| (name.clone(), *bytes, None);
    let title = format!("By section of {} ELF files", all.elf.files);
    table(&mut out, &title, "", all.sections.iter().map(plain).collect());
    let mut architectures: Vec<Row> = all
        .gpu
        .architectures
        .iter()
        .map(|(label, row)| (label.clone(), row.bytes, Some(row.entries)))
        .collect();
    let own = ("headers and padding of containers".to_owned(), all.gpu.headers + all.gpu.padding);
    architectures.push((own.0, own.1, None));
    table(&mut out, "GPU code by architecture", "entries", architectures);
    if all.gpu.bytes > 0 {
        let (containers, malformed) = (thousands(all.gpu.containers), all.gpu.malformed);
        let bare = match all.gpu.frames {
            0 => String::new(),
            count => format!(", and {} frames in none", thousands(count)),
        };
        line(&mut out, &format!("  in {containers} containers{bare}; malformed: {malformed}"));
    }
    table(&mut out, "GPU code by section", "", all.gpu.sections.iter().map(plain).collect());
    let components = all.components.iter().map(|(name, bytes)| ((*name).to_owned(), *bytes, None));
    table(&mut out, "All ELF files by component", "", components.collect());
    libraries(&mut out, all);
    for problem in &all.unreadable {
        line(&mut out, &format!("not counted: {problem}"));
    }
    out
}

/// The component tables of the largest libraries that tell, and what was not understood.
fn libraries(out: &mut String, all: &Inspection) {
    let rows = all.libraries.iter().map(|library| (library.path.clone(), library.bytes, None));
    table(out, "The largest ELF files", "", rows.collect());
    let mut telling: Vec<_> = all.libraries.iter().filter(|library| library.tells()).collect();
    telling.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.path.cmp(&b.path)));
    for library in telling.into_iter().take(LIBRARIES) {
        let rows =
            library.components.iter().map(|(name, bytes)| ((*name).to_owned(), *bytes, None));
        table(out, &format!("{} by component", library.path), "", rows.collect());
    }
    for library in &all.libraries {
        let what = match library.division {
            Division::Sections => continue,
            Division::Segments => "has no section headers; its bytes are under its segments",
            Division::NotUnderstood => "is not understood; its bytes are in one row",
        };
        line(out, &format!("{} {what}", library.path));
    }
}

fn share(name: String, share: Share) -> Row {
    (name, share.bytes, Some(share.files))
}

fn table(out: &mut String, title: &str, counted: &str, mut rows: Vec<Row>) {
    rows.retain(|(_, bytes, count)| *bytes > 0 || count.is_some_and(|count| count > 0));
    if rows.is_empty() {
        return;
    }
    rows.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let sum = |rows: &[Row]| {
        let counts: Vec<u64> = rows.iter().filter_map(|row| row.2).collect();
        (rows.iter().map(|row| row.1).sum(), (!counts.is_empty()).then(|| counts.iter().sum()))
    };
    let (bytes, count) = sum(&rows);
    // A row for "1 other" would save nothing.
    if rows.len() > ROWS + 1 {
        let (rest, rest_count) = sum(&rows[ROWS..]);
        let name = format!("{} others", rows.len() - ROWS);
        rows.truncate(ROWS);
        rows.push((name, rest, rest_count));
    }
    rows.push(("total".to_owned(), bytes, count));
    let width = rows.iter().map(|row| row.0.chars().count()).max().unwrap_or(0).max(20);
    line(out, "");
    let heading = if counted.is_empty() { String::new() } else { format!("{counted:>12}") };
    line(out, &format!("{title:<0$}{1:>12}{heading}", width + 2, "MB"));
    for (name, bytes, count) in &rows {
        let count = count.map(|count| format!("{:>12}", thousands(count))).unwrap_or_default();
        line(out, &format!("  {name:<width$}{:>12}{count}", mb(*bytes)));
    }
}

fn line(out: &mut String, text: &str) {
    // Writing to a String does not fail.
    let _ = writeln!(out, "{text}");
}

/// Bytes in MB with one decimal, rounded half up.
fn mb(bytes: u64) -> String {
    let tenths = bytes.saturating_add(50_000) / 100_000;
    format!("{}.{}", thousands(tenths / 10), tenths % 10)
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::SharedLibrary => "shared libraries",
        Kind::Program => "programs",
        Kind::PythonSource => "Python source",
        Kind::Bytecode => "Python bytecode",
        Kind::TypeStub => "type stubs",
        Kind::Header => "headers",
        Kind::StaticLibrary => "static libraries",
        Kind::GpuCode => "GPU code in files of its own",
        Kind::Licence => "licences",
        Kind::Metadata => "metadata of distributions",
        Kind::Data => "data",
    }
}

#[cfg(test)]
mod tests {
    use super::{mb, table, thousands};

    #[test]
    fn numbers_are_rounded_and_grouped() {
        assert_eq!(mb(0), "0.0");
        assert_eq!(mb(49_999), "0.0");
        assert_eq!(mb(50_000), "0.1");
        assert_eq!(mb(5_656_960_000), "5,657.0");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(thousands(123), "123");
    }

    #[test]
    fn small_rows_are_summed_and_nothing_is_lost() {
        let rows = (1..=30).map(|number| (format!("row {number}"), number * 1_000_000, Some(1)));
        let mut out = String::new();
        table(&mut out, "Rows", "files", rows.collect());
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines.len(), 2 + 20 + 2);
        assert_eq!(lines[2].split_whitespace().collect::<Vec<_>>(), ["row", "30", "30.0", "1"]);
        assert_eq!(
            lines[22].split_whitespace().collect::<Vec<_>>(),
            ["10", "others", "55.0", "10"]
        );
        assert_eq!(lines[23].split_whitespace().collect::<Vec<_>>(), ["total", "465.0", "30"]);
    }
}
