//! The migrations and the built portal are compiled in; a new one must be noticed, and of the portal's files a table is made.

use std::{
    env,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=migrations");
    println!("cargo:rerun-if-changed=portal/dist");
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?).join("portal/dist");
    let mut table = String::from(
        "/// The built files, by their paths below `portal/dist`.\nconst FILES: &[(&str, &[u8])] = &[\n",
    );
    list(&root, &root, &mut table)?;
    table.push_str("];\n");
    let out = PathBuf::from(env::var("OUT_DIR").map_err(io::Error::other)?);
    fs::write(out.join("portal.rs"), table)
}

fn list(root: &Path, folder: &Path, table: &mut String) -> io::Result<()> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            list(root, &path, table)?;
        } else if let Ok(name) = path.strip_prefix(root) {
            let (name, path) = (name.display().to_string(), path.display().to_string());
            writeln!(table, "    ({name:?}, include_bytes!({path:?})),").map_err(io::Error::other)?;
        }
    }
    Ok(())
}
