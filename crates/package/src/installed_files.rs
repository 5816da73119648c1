//! `RECORD`, the list of a distribution's files (PyPA, "Recording installed projects").

use crate::Written;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The `RECORD` at `path` for the `files` that a package holds of a distribution.
/// Bytecode is listed without a hash, as installers do.
pub fn record<'a>(path: &str, files: impl IntoIterator<Item = &'a Written>) -> Vec<u8> {
    let mut rows: Vec<[String; 3]> = files
        .into_iter()
        .filter(|file| file.path != path)
        .map(|file| {
            let derived = std::path::Path::new(&file.path).extension() == Some("pyc".as_ref());
            if derived {
                return [file.path.clone(), String::new(), String::new()];
            }
            let hash = format!("sha256={}", URL_SAFE_NO_PAD.encode(file.sha256));
            [file.path.clone(), hash, file.size.to_string()]
        })
        .collect();
    rows.push([path.to_owned(), String::new(), String::new()]);
    rows.sort();
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        // Writing rows of equal length to memory does not fail.
        let _ = writer.write_record(row);
    }
    writer.into_inner().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_and_quoted() {
        let file = |path: &str| Written { path: path.into(), size: 3, sha256: [0; 32] };
        let text = record("x/RECORD", &[file("x/b,c.py"), file("x/a.pyc"), file("x/RECORD")]);
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "x/RECORD,,\nx/a.pyc,,\n\"x/b,c.py\",\
             sha256=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA,3\n"
        );
    }
}
