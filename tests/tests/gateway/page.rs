//! The chat for browsers, as `baton dev` serves it.

use std::collections::BTreeSet;

use tests::dev::Dev;
use tests::http::Http;
use tests::sample::manifest;

/// What a page or a module refers to on its own origin.
fn references(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for before in ["src=\"", "href=\"", "from '", "import('", "import '", "url("] {
        let close = before.chars().last().map(|c| if c == '(' { ')' } else { c }).unwrap();
        for rest in text.split(before).skip(1) {
            let reference = rest.split(close).next().unwrap().trim_matches(['"', '\'']);
            let is_relative = !reference.contains(':') && !reference.starts_with("//") && !reference.starts_with('#');
            if is_relative && reference.contains('.') && !reference.contains(char::is_whitespace) {
                found.insert(reference.trim_start_matches("./").trim_start_matches('/').to_owned());
            }
        }
    }
    found
}

#[tokio::test]
async fn baton_dev_serves_a_page_and_all_that_it_refers_to() {
    let data = tempfile::tempdir().unwrap();
    let mut dev = Dev::start(&manifest(), data.path()).await;
    assert!(dev.pids.contains_key("gateway"), "{:?}", dev.pids);
    let line = dev.process.line("chat in a browser: http://").await;
    let address = line.split_once("http://").unwrap().1.trim_end_matches('/');
    let http = Http::at(address.parse().unwrap());

    let page = http.get("/").await.expect(200);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let (mut seen, mut waiting) = (BTreeSet::new(), references(&page.text));
    assert!(waiting.len() >= 2, "a style and a script: {waiting:?}");
    while let Some(file) = waiting.pop_first() {
        if !seen.insert(file.clone()) {
            continue;
        }
        let answer = http.get(&format!("/{file}")).await;
        assert_eq!(answer.status, 200, "{file} is not served");
        let kind = if file.ends_with(".css") { "text/css; charset=utf-8" } else { "text/javascript; charset=utf-8" };
        assert_eq!(answer.header("content-type"), Some(kind), "{file}");
        waiting.extend(references(&answer.text));
    }
    assert!(seen.iter().any(|file| file.ends_with(".js")) && seen.iter().any(|file| file.ends_with(".css")), "{seen:?}");

    // Nothing but what is served here runs on it; nothing is inline, which the policy would refuse.
    let policy = page.header("content-security-policy").unwrap();
    for rule in ["default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"] {
        assert!(policy.split("; ").any(|part| part.trim() == rule), "{rule} is not in {policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    for inline in ["<style", " style=\"", " onclick=", " onload=", "javascript:"] {
        assert!(!page.text.contains(inline), "{inline}");
    }
    assert!(page.text.split("<script").skip(1).all(|script| script.split('>').next().unwrap().contains("src=")));
    http.get("/readyz").await.expect(200);
    assert_eq!(http.get("/v1/orchestrations").await.expect(200).body["orchestrations"][0]["name"], "support");
}
