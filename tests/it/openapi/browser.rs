//! The page that shows the document, in a browser.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;
use tokio::process::Command;

use crate::support::{
    TestApp,
    document::{INTERNAL, PUBLIC},
    engine::Sqlite,
};

/// What a browser makes of a page: its elements once all has settled, what the console said, and what the page asked for.
struct Rendered {
    elements: String,
    console: Vec<String>,
    requested: BTreeSet<String>,
}

async fn render(origin: &str, path: &str) -> Rendered {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("net.json");
    let mut browser = Command::new("chromium");
    browser
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--enable-logging=stderr"])
        // The browser's own requests, which no page made, shall not leave this machine either.
        .arg("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
        .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
        .arg(format!("--log-net-log={}", log.display()))
        // In the page's time: it ends as soon as nothing is left to do.
        .args(["--virtual-time-budget=60000", "--dump-dom", &format!("{origin}{path}")]);
    let output = browser.kill_on_drop(true).output().await.expect("tests/install-browser installs chromium");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stderr);
    Rendered {
        elements: String::from_utf8(output.stdout).unwrap(),
        console: said.lines().filter(|line| line.contains(":CONSOLE")).map(str::to_owned).collect(),
        requested: requested(&log, origin),
    }
}

/// The addresses that a page of this origin asked for, and the page itself.
fn requested(log: &Path, origin: &str) -> BTreeSet<String> {
    let log: Value = serde_json::from_str(&fs::read_to_string(log).unwrap()).unwrap();
    let start = &log["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"];
    let events = log["events"].as_array().unwrap().iter().filter(|event| event["type"] == *start);
    let parameters = events.map(|event| &event["params"]);
    let of_page = parameters.filter(|request| {
        request["initiator"] == origin || request["url"].as_str().is_some_and(|url| url.starts_with(origin))
    });
    of_page.filter_map(|request| request["url"].as_str()).map(str::to_owned).collect()
}

#[tokio::test]
async fn the_page_shows_every_operation_without_an_error_and_asks_no_other_host() {
    let app = TestApp::<Sqlite>::start().await;
    for (address, document) in [(app.public_addr, &*PUBLIC), (app.internal_addr, &*INTERNAL)] {
        let origin = format!("http://{address}");
        let page = render(&origin, "/docs").await;
        assert_eq!(page.console, [""; 0]);
        let files = ["/docs", "/docs/redoc-2.5.4.js", "/openapi.json"];
        assert_eq!(page.requested, files.map(|file| format!("{origin}{file}")).into());
        for operation in document.operations() {
            let summary = operation.json["summary"].as_str().unwrap().replace('\'', "&#x27;");
            let shown =
                [&summary, &summary.replace("&#x27;", "'")].iter().any(|text| page.elements.contains(*text));
            assert!(shown, "{summary} is not on the page");
        }
    }
    app.stop().await;
}

#[tokio::test]
async fn the_page_may_run_nothing_but_its_script_and_load_nothing_from_elsewhere() {
    let app = TestApp::<Sqlite>::start().await;
    let page = app.public.get("/docs").await;
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
    assert!(!page.text.contains("<script>") && !page.text.contains("http"), "{}", page.text);
    let other = app.public.get("/healthz").await;
    assert_eq!(other.header("content-security-policy"), Some("default-src 'none'; frame-ancestors 'none'"));
    app.stop().await;
}
