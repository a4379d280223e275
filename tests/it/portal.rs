//! The pages of the portal and the console as they are built and committed: that they are what their sources make, and how
//! each looks.

use std::{collections::BTreeMap, fs, net::TcpListener, path::Path};

use crate::support::{
    engine::{Engine as _, Sqlite},
    node::{self, browse},
    process::Process,
};

/// The files below a folder, by their paths.
fn files(root: &Path, folder: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(root, &path, found);
        } else {
            found.insert(path.strip_prefix(root).unwrap().display().to_string(), fs::read(&path).unwrap());
        }
    }
}

/// Whether a built file is there for browsers that take this form.
fn is_compressed(name: &str) -> bool {
    matches!(name.rsplit_once('.'), Some((_, "br" | "gz")))
}

#[tokio::test]
async fn the_built_portal_is_what_its_sources_make() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().display().to_string();
    let built = node::run("npm", &["run", "build", "--", "--outDir", &out, "--emptyOutDir"], &[]).await;
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stdout));
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("portal/dist");
    let (mut made, mut kept) = (BTreeMap::new(), BTreeMap::new());
    files(folder.path(), folder.path(), &mut made);
    files(&committed, &committed, &mut kept);
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&made), names(&kept), "run `npm run build` in portal/ and commit portal/dist");
    for (name, bytes) in &made {
        // Node's libraries compress each in their own way; what comes out is compared as a browser reads it.
        if !is_compressed(name) {
            assert!(kept[name] == *bytes, "{name} is not what its sources make");
        }
    }
    let read = "const { brotliDecompressSync: br, gunzipSync: gz } = require('node:zlib'); \
                const { readFileSync: read } = require('node:fs'); \
                for (const name of process.argv.slice(1)) { const plain = read(name); \
                if (!br(read(name + '.br')).equals(plain) || !gz(read(name + '.gz')).equals(plain)) throw name; }";
    let plain = kept.keys().filter(|name| !is_compressed(name));
    let plain: Vec<String> = plain.map(|name| committed.join(name).display().to_string()).collect();
    let arguments: Vec<&str> = ["-e", read].into_iter().chain(plain.iter().map(String::as_str)).collect();
    let compared = node::run("node", &arguments, &[]).await;
    assert!(compared.status.success(), "{}", String::from_utf8_lossy(&compared.stderr));
}

/// Has a script look at every page on the test clock, and leave at least so many pictures in a folder below `target`.
async fn look_at_pages(script: &str, folder: &str, at_least: usize) {
    let database = Sqlite::database().await;
    let mut command = database.serve();
    command
        .env("K_WEBHOOKS__TEST_CLOCK__ENABLED", "true")
        .env("K_WEBHOOKS__LIMITS__REQUESTS_PER_SECOND", "1000");
    let process = Process::start(command).await;
    let pictures = Path::new(env!("CARGO_MANIFEST_DIR")).join("target").join(folder);
    let variables = [("K_WEBHOOKS_PICTURES", pictures.to_str().unwrap())];
    let told = browse(script, &process, &variables).await;
    assert!(told.ends_with("every page is well\n"), "{told}");
    let pictures = fs::read_dir(pictures).unwrap().count();
    assert!(pictures >= at_least, "{pictures} pictures");
    process.kill().await;
}

#[tokio::test]
async fn every_page_is_accessible_small_and_fits_a_phone() {
    look_at_pages("pages.mjs", "portal-pictures", 35).await;
}

#[tokio::test]
async fn every_page_of_the_console_is_accessible_small_and_fits_a_phone() {
    look_at_pages("console-pages.mjs", "console-pictures", 30).await;
}

#[tokio::test]
async fn in_a_frame_the_portal_opens_for_a_site_that_may_and_for_no_other() {
    // Not a port that the system gives to whoever asks for any: another test could be given it before the site takes it.
    let free = |port: &u16| TcpListener::bind(("localhost", *port)).is_ok();
    let site = format!("http://localhost:{}", (3900..4000).find(free).expect("a free port"));
    let database = Sqlite::database().await;
    let mut command = database.serve();
    command.env("K_WEBHOOKS__PORTAL__ORIGINS", format!("[{site:?}]"));
    let process = Process::start(command).await;
    let told = browse("frame.mjs", &process, &[("K_WEBHOOKS_SITE", &site)]).await;
    assert!(told.ends_with("the frame is as it should be\n"), "{told}");
    process.kill().await;
}
