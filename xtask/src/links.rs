//! A copy of a folder that takes no room: its files are hard links.

use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// Makes `to` a copy of the folder `from`. Files are hard links where the file system
/// allows it and copies where not; whoever changes the copy must replace files, not write
/// into them.
///
/// # Errors
/// What could not be read or made.
pub fn tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    let what = || format!("cannot read {}", from.display());
    for entry in fs::read_dir(from).with_context(what)? {
        let entry = entry.with_context(what)?;
        let (old, new) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().with_context(what)?;
        let made = if kind.is_dir() {
            tree(&old, &new)?;
            Ok(())
        } else if kind.is_symlink() {
            fs::read_link(&old).and_then(|target| std::os::unix::fs::symlink(target, &new))
        } else {
            // Another file system, or a file with as many links as it may have.
            fs::hard_link(&old, &new).or_else(|_| fs::copy(&old, &new).map(drop))
        };
        made.with_context(|| format!("cannot make {}", new.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::Fingerprint;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_copy_shares_files_and_leaves_the_original_alone() {
        let place = tempfile::tempdir().unwrap();
        let (old, new) = (place.path().join("old"), place.path().join("new"));
        fs::create_dir_all(old.join("pkg/empty")).unwrap();
        fs::write(old.join("pkg/a.py"), "a = 1\n").unwrap();
        std::os::unix::fs::symlink("a.py", old.join("pkg/b.py")).unwrap();
        let before = Fingerprint::of(&old).unwrap();
        tree(&old, &new).unwrap();
        assert!(new.join("pkg/empty").is_dir());
        assert_eq!(fs::read_link(new.join("pkg/b.py")).unwrap(), Path::new("a.py"));
        let inode = |path: &Path| path.metadata().unwrap().ino();
        assert_eq!(inode(&old.join("pkg/a.py")), inode(&new.join("pkg/a.py")));
        // Removing and replacing, as pip does.
        fs::remove_file(new.join("pkg/a.py")).unwrap();
        fs::write(new.join("pkg/a.py"), "a = 2\n").unwrap();
        before.check(&old).unwrap();
    }

    #[test]
    fn another_file_system_gets_copies() {
        let place = tempfile::tempdir().unwrap();
        let Ok(other) = tempfile::tempdir_in("/dev/shm") else { return };
        if place.path().metadata().unwrap().dev() == other.path().metadata().unwrap().dev() {
            return;
        }
        fs::write(place.path().join("a"), "text").unwrap();
        tree(place.path(), &other.path().join("copy")).unwrap();
        assert_eq!(fs::read(other.path().join("copy/a")).unwrap(), b"text");
    }
}
