use std::fs;
use std::path::{Path, PathBuf};

/// A text file of ours.
#[derive(Debug, Clone)]
pub struct SourceFile {
    /// Where it lies, from the root of the workspace.
    pub path: PathBuf,
    /// What it says.
    pub text: String,
}

/// What is looked into; data, locks and pictures are not.
const TEXT: [&str; 10] = [
    "css", "html", "js", "md", "proto", "py", "rs", "sh", "toml", "yaml",
];

/// What is built or fetched, and what belongs to other programs.
const NOT_OURS: [&str; 6] = [
    "target",
    "dist",
    "artifacts",
    "corpus",
    "node_modules",
    "vendor",
];

/// The root of the workspace.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors()
        .nth(2)
        .map_or_else(|| here.to_owned(), Path::to_owned)
}

/// All text files of ours, by path.
pub fn own_files() -> anyhow::Result<Vec<SourceFile>> {
    let mut files = Vec::new();
    let mut waiting = vec![root()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = entry.path();
            let kind = entry.file_type()?;
            if kind.is_dir() && name != ".git" && !NOT_OURS.contains(&name.as_str()) {
                waiting.push(path);
            } else if kind.is_file() && is_text(&path) {
                let text = fs::read_to_string(&path)?;
                let path = path.strip_prefix(root())?.to_owned();
                files.push(SourceFile { path, text });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn is_text(path: &Path) -> bool {
    let extension = path
        .extension()
        .map(|extension| extension.to_string_lossy().into_owned());
    extension.is_some_and(|extension| TEXT.contains(&extension.as_str()))
}
