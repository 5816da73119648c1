//! The programs that a build from source needs.

use anyhow::Result;
use report::bad_input;
use source::choose::Product;
use std::path::Path;
use std::process::{Command, Stdio};

/// What was found.
pub struct Tools {
    /// The first line that each program says about its version, by name.
    pub versions: Vec<(&'static str, String)>,
    /// Names of variables that this CMake itself knows, as `cmake --help-variable-list` gives
    /// them: parts in angle brackets stand for anything.
    own: Vec<String>,
}

/// A program, how it is asked, and the Debian package that has it.
const PROGRAMS: [(&str, &str); 4] =
    [("cmake", "cmake"), ("ninja", "ninja-build"), ("strip", "binutils"), ("c++", "g++")];

/// Looks for everything that a build needs, and says all that is missing at once.
///
/// # Errors
/// What is missing or too old, with what to install.
pub fn find(product: Product, python: &Path, minimum: Option<&str>) -> Result<Tools> {
    let mut versions = Vec::new();
    let mut missing = Vec::new();
    let mut packages = Vec::new();
    for (program, package) in PROGRAMS {
        let chosen = (program == "c++").then(|| std::env::var("CXX").ok()).flatten();
        let name = chosen.as_deref().unwrap_or(program);
        if let Some(line) = first_line(Command::new(name).arg("--version")) {
            versions.push((program, line));
        } else {
            missing.push(name.to_owned());
            packages.push(package);
        }
    }
    if let Some((_, line)) = versions.iter().find(|(program, _)| *program == "cmake")
        && let Some(minimum) = minimum
        && numbers(line) < numbers(minimum)
    {
        missing.push(format!("CMake {minimum} or newer (this is {})", line.trim()));
        packages.push("cmake");
    }
    let mut modules = vec!["yaml", "typing_extensions"];
    if product == Product::Python {
        modules.extend(["setuptools", "wheel"]);
    }
    let program = format!(
        "import importlib.util as u\nprint(*[m for m in {modules:?} if u.find_spec(m) is None])"
    );
    match first_line(Command::new(python).args(["-c", &program])) {
        None => missing.push(format!("a Python at {}", python.display())),
        Some(absent) if absent.trim().is_empty() => {}
        Some(absent) => missing.push(format!(
            "the modules {} of {} (pip install {})",
            absent.trim().replace(' ', ", "),
            python.display(),
            absent.trim().replace("yaml", "pyyaml"),
        )),
    }
    if product == Product::Python && !has_headers(python) {
        missing.push(format!("Python.h of {}", python.display()));
        packages.push("python3-dev");
    }
    if !missing.is_empty() {
        let advice = if packages.is_empty() {
            String::new()
        } else {
            format!("; on Debian: apt-get install {}", packages.join(" "))
        };
        return Err(bad_input(format!("a build needs {}{advice}", missing.join(", "))));
    }
    if let Some(line) = first_line(Command::new("ccache").arg("--version")) {
        versions.push(("ccache", line));
    }
    Ok(Tools { versions, own: own_variables() })
}

/// The names that CMake knows by itself; none where there is no CMake.
fn own_variables() -> Vec<String> {
    let listed = Command::new("cmake").arg("--help-variable-list").stdin(Stdio::null()).output();
    match listed {
        Ok(done) if done.status.success() => {
            String::from_utf8_lossy(&done.stdout).lines().map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}

impl Tools {
    /// Without a check, for a dry run: what CMake says about itself, if it is there.
    pub fn unchecked() -> Self {
        Self { versions: Vec::new(), own: own_variables() }
    }

    /// Whether `name` is a variable of CMake's own. Where there is no CMake to ask, every name
    /// that begins as CMake's do.
    pub fn is_own(&self, name: &str) -> bool {
        if self.own.is_empty() {
            return name.starts_with("CMAKE_");
        }
        name == "Python_EXECUTABLE" || self.own.iter().any(|pattern| fits(pattern, name))
    }
}

/// Whether a name fits a pattern such as `CMAKE_<LANG>_FLAGS_<CONFIG>`, where what stands in
/// brackets is at least one letter.
fn fits(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('<') else { return pattern == name };
    let mut pieces: Vec<&str> =
        rest.split('<').map(|piece| piece.split_once('>').map_or("", |(_, rest)| rest)).collect();
    let last = pieces.pop().unwrap_or_default();
    // `<PackageName>_ROOT` would fit too much; the tree says which packages there are.
    let Some(mut rest) = name.strip_prefix(start).filter(|_| !start.is_empty()) else {
        return false;
    };
    for piece in pieces {
        let found = rest.get(1..).and_then(|rest| rest.find(piece));
        let Some(at) = found else { return false };
        rest = &rest[1 + at + piece.len()..];
    }
    rest.len() > last.len() && rest.ends_with(last)
}

fn first_line(command: &mut Command) -> Option<String> {
    let done = command.stdin(Stdio::null()).output().ok()?;
    if !done.status.success() {
        return None;
    }
    let text = String::from_utf8_lossy(&done.stdout);
    Some(text.lines().next().unwrap_or_default().to_owned())
}

fn has_headers(python: &Path) -> bool {
    let program = "import sysconfig; print(sysconfig.get_paths()['include'])";
    first_line(Command::new(python).args(["-c", program]))
        .is_some_and(|folder| Path::new(&folder).join("Python.h").exists())
}

/// The numbers of the first version in a line, as `cmake version 3.25.1`.
fn numbers(line: &str) -> Vec<u64> {
    let word = line.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    word.unwrap_or_default()
        .split('.')
        .map_while(|part| part.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_cmakes_own_names_fit() {
        assert!(fits("CMAKE_BUILD_TYPE", "CMAKE_BUILD_TYPE"));
        assert!(fits("CMAKE_<LANG>_FLAGS", "CMAKE_CXX_FLAGS"));
        assert!(fits("CMAKE_<LANG>_FLAGS_<CONFIG>", "CMAKE_CXX_FLAGS_RELEASE"));
        assert!(!fits("CMAKE_<LANG>_FLAGS", "CMAKE_CXX_FLAG"));
        assert!(!fits("CMAKE_BUILD_TYPE", "CMAKE_BUILD_TYP"));
        assert!(!fits("<PackageName>_ROOT", "TORCH_CPU_ROOT"));
    }

    #[test]
    fn versions_compare_as_numbers() {
        assert!(numbers("cmake version 3.9.1") < numbers("3.18"));
        assert!(numbers("cmake version 3.25.1-rc1") > numbers("3.18.0"));
        assert_eq!(numbers("none"), Vec::<u64>::new());
    }
}
