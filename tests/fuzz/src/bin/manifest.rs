//! Manifests as people write them, and worse. Each problem names its place; what is accepted has a canonical form that
//! means the same again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::manifest;
use protocol::orchestration::Orchestration;

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match manifest::parse(text, "manifest.yaml", &mut |name| Err(format!("there is no {name}"))) {
        Ok(checked) => {
            let canonical = checked.orchestration.canonical().expect("what was read can be written");
            let again = Orchestration::from_canonical(&canonical).expect("what was written can be read");
            assert_eq!(again.revision(), checked.orchestration.revision());
        }
        Err(problems) => {
            assert!(!problems.is_empty(), "refused for no reason");
            for problem in problems {
                let said = problem.to_string();
                assert!(said.starts_with("manifest.yaml:"), "no place: {said}");
            }
        }
    }
});
