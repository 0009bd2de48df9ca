//! A manifest that is looked at again and again, with every file that it names.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::ensure;
use protocol::ids::OrchestrationName;
use protocol::manifest::Checked;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::{Files, read_noting, valid};

/// Between two looks. They compare what is in the files: a ConfigMap is swapped by a symbolic link, an editor replaces what it
/// writes, and a network drive tells nobody.
const LOOK: Duration = Duration::from_secs(1);

/// A manifest, and the files that it was last read from.
#[derive(Clone, Debug)]
pub(crate) struct Followed {
    path: PathBuf,
    name: OrchestrationName,
    files: Files,
    /// The files as they were at the last look, if they had changed: whoever writes them may not be done.
    changing: Option<Files>,
}

impl Followed {
    /// A manifest as it is now. What comes over standard input never changes.
    ///
    /// # Errors
    /// As [`load`](super::load).
    pub(crate) fn open(path: &Path) -> anyhow::Result<(Checked, Self)> {
        let mut files = Files::new();
        let checked = valid(path, read_noting(path, &mut files)?)?;
        let name = checked.orchestration.name().clone();
        Ok((checked, Self { path: path.to_owned(), name, files, changing: None }))
    }

    /// Waits for a change that holds still for a moment.
    ///
    /// # Errors
    /// Everything that is wrong with what it has become, once.
    pub(crate) async fn changed(&mut self) -> anyhow::Result<Checked> {
        loop {
            sleep(LOOK).await;
            let mut looking = self.clone();
            // A network drive may take its time.
            let (looked, found) = spawn_blocking(move || {
                let found = looking.look();
                (looking, found)
            })
            .await?;
            *self = looked;
            if let Some(found) = found {
                return found;
            }
        }
    }

    /// The manifest, if another one is there than at the last look but one.
    fn look(&mut self) -> Option<anyhow::Result<Checked>> {
        let now: Files = self.files.keys().map(|path| (path.clone(), read(path))).collect();
        if now == self.files {
            self.changing = None;
            return None;
        }
        if self.changing.as_ref() != Some(&now) {
            self.changing = Some(now);
            return None;
        }
        self.changing = None;
        self.files.clear();
        Some(self.read())
    }

    fn read(&mut self) -> anyhow::Result<Checked> {
        let checked = valid(&self.path, read_noting(&self.path, &mut self.files)?)?;
        let (before, now) = (&self.name, checked.orchestration.name());
        ensure!(now == before, "{} is {now} now, and was {before}: another orchestration needs a start of its own", self.path.display());
        Ok(checked)
    }
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(instructions: &str) -> String {
        let agents = format!("{{ a: {{ {instructions} }} }}");
        let head = "apiVersion: baton/v1alpha1\nkind: Orchestration\nmetadata: { name: desk }\n";
        format!("{head}spec: {{ start: a, models: {{ default: {{ provider: openai, name: m }} }}, agents: {agents} }}\n")
    }

    struct Files {
        directory: tempfile::TempDir,
        followed: Followed,
    }

    impl Files {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            std::fs::write(directory.path().join("a.md"), "Write.").unwrap();
            let path = directory.path().join("desk.yaml");
            std::fs::write(&path, manifest("instructionsFile: a.md")).unwrap();
            Self { directory, followed: Followed::open(&path).unwrap().1 }
        }

        fn write(&self, name: &str, text: &str) {
            std::fs::write(self.directory.path().join(name), text).unwrap();
        }

        /// What the next look finds: an agent's instructions, or what is wrong.
        fn look(&mut self) -> Option<Result<String, String>> {
            let found = self.followed.look()?.map_err(|error| format!("{error:#}"));
            Some(found.map(|checked| checked.orchestration.agents().next().unwrap().instructions.to_string()))
        }
    }

    fn instructions(text: &str) -> Option<Result<String, String>> {
        Some(Ok(text.to_owned()))
    }

    #[test]
    fn a_change_is_found_once_when_it_holds_still() {
        let mut files = Files::new();
        assert_eq!(files.look(), None);
        files.write("a.md", "Wri");
        assert_eq!(files.look(), None);
        files.write("a.md", "Write well.");
        assert_eq!(files.look(), None, "it has changed again");
        assert_eq!(files.look(), instructions("Write well."));
        assert_eq!(files.look(), None);
        files.write("desk.yaml", &manifest("instructions: Rest."));
        assert_eq!((files.look(), files.look()), (None, instructions("Rest.")));
        files.write("a.md", "Nobody reads this any more.");
        assert_eq!((files.look(), files.look()), (None, None));
    }

    #[test]
    fn what_was_taken_back_has_not_changed() {
        let mut files = Files::new();
        files.write("a.md", "Write badly.");
        assert_eq!(files.look(), None);
        files.write("a.md", "Write.");
        assert_eq!((files.look(), files.look()), (None, None));
    }

    #[test]
    fn what_is_wrong_is_said_once_until_it_is_right() {
        let mut files = Files::new();
        files.write("desk.yaml", &manifest("instructionsFile: a.md, handoffs: [{ to: nobody }]"));
        assert_eq!(files.look(), None);
        let problem = files.look().unwrap().unwrap_err();
        assert!(problem.contains("is not a valid orchestration") && problem.contains("nobody"), "{problem}");
        assert_eq!((files.look(), files.look()), (None, None));
        std::fs::remove_file(files.directory.path().join("desk.yaml")).unwrap();
        assert_eq!(files.look(), None);
        let problem = files.look().unwrap().unwrap_err();
        assert!(problem.contains("cannot be read"), "{problem}");
        files.write("desk.yaml", &manifest("instructionsFile: a.md"));
        assert_eq!((files.look(), files.look()), (None, instructions("Write.")));
    }

    #[test]
    fn another_orchestration_is_not_a_change_of_this_one() {
        let mut files = Files::new();
        files.write("desk.yaml", &manifest("instructionsFile: a.md").replace("desk", "shop"));
        assert_eq!(files.look(), None);
        let problem = files.look().unwrap().unwrap_err();
        assert!(problem.contains("is shop now, and was desk"), "{problem}");
    }
}
