//! YAML as a tree in which every node knows where it stands.
//!
//! Only what a manifest needs: one document; no anchors, aliases, tags or directives, so that nothing can expand and a value
//! means what stands there; keys are texts and stand once; bounded size and depth.

use std::collections::BTreeMap;
use std::sync::Arc;

use granit_parser::{ErrorKind, Event, Marker, Parser, ScalarStyle, ScanError, Span, StrInput, options};

use super::problem::{KeyPath, Place, Problem, Step};

/// Bytes of one file.
pub const FILE_BYTES_MAX: usize = 1 << 20;
/// How deep lists and mappings may nest.
pub const DEPTH_MAX: usize = 32;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    /// A text; a plain one (without quotes) may also be read as a number, a boolean or nothing.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// What stood here has been reported and is passed over, so that the rest can be read and reported too.
    Hole,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) place: Place,
    pub(crate) value: Node,
}

impl Node {
    /// The value under `key`.
    pub(crate) fn get_mut(&mut self, key: &str) -> Option<&mut Self> {
        self.entries_mut().iter_mut().find(|entry| entry.key == key).map(|entry| &mut entry.value)
    }

    /// Its entries; none unless it is a mapping.
    pub(crate) fn entries_mut(&mut self) -> &mut [Entry] {
        match &mut self.kind {
            Kind::Map(entries) => entries,
            Kind::Scalar { .. } | Kind::List(_) | Kind::Hole => &mut [],
        }
    }

    /// Makes a hole of the value at the end of `steps`, and tells whether it was not one yet.
    pub(crate) fn dig(&mut self, steps: &[Step]) -> bool {
        let Some((first, rest)) = steps.split_first() else {
            return std::mem::replace(&mut self.kind, Kind::Hole) != Kind::Hole;
        };
        let child = match (first, &mut self.kind) {
            (Step::Key(_), Kind::Map(entries)) => entries.iter_mut().find(|e| e.is(first)).map(|e| &mut e.value),
            (Step::Index(index), Kind::List(items)) => items.get_mut(*index),
            (Step::Key(_) | Step::Index(_), _) => None,
        };
        child.is_some_and(|child| child.dig(rest))
    }

    /// Where to look for the value at the end of `steps`: a scalar where it stands, a collection where its key stands, and
    /// what is missing where it should have been.
    pub(crate) fn place_of(&self, steps: &[Step]) -> &Place {
        self.place_from(&self.place, steps)
    }

    fn place_from<'a>(&'a self, key_place: &'a Place, steps: &[Step]) -> &'a Place {
        let inner = steps.split_first().and_then(|(first, rest)| match (first, &self.kind) {
            (Step::Key(_), Kind::Map(entries)) => entries.iter().find(|e| e.is(first)).map(|e| e.value.place_from(&e.place, rest)),
            (Step::Index(index), Kind::List(items)) => items.get(*index).map(|item| item.place_from(&item.place, rest)),
            (Step::Key(_) | Step::Index(_), _) => None,
        });
        inner.unwrap_or(match &self.kind {
            Kind::Scalar { text, plain } if !(text.is_empty() && *plain) => &self.place,
            Kind::Scalar { .. } | Kind::List(_) | Kind::Map(_) | Kind::Hole => key_place,
        })
    }
}

impl Entry {
    fn is(&self, step: &Step) -> bool {
        matches!(step, Step::Key(key) if *key == self.key)
    }
}

/// The tree of a text; `at` is what its root is called in the problems. What cannot be read is a hole and a problem.
pub(crate) fn read(text: &str, file: &Arc<str>, at: &KeyPath, problems: &mut Vec<Problem>) -> Node {
    let start = Place { file: Arc::clone(file), line: 1, column: 1 };
    let failed = |problems: &mut Vec<Problem>, problem| {
        problems.push(problem);
        Node { place: start.clone(), kind: Kind::Hole }
    };
    if text.len() > FILE_BYTES_MAX {
        let message = format!("the file has {} bytes; {FILE_BYTES_MAX} is the most", text.len());
        return failed(problems, Problem { place: Some(start.clone()), path: at.clone(), message });
    }
    let options = options! { emit_comments: false, disallow_directives: true };
    let parser = Parser::new_from_str_with_options(text, options);
    let mut reader = Reader { text, parser, file: Arc::clone(file), duplicates: Vec::new() };
    match reader.document(at) {
        Ok(node) => {
            problems.append(&mut reader.duplicates);
            node
        }
        Err(problem) => failed(problems, problem),
    }
}

struct Reader<'t> {
    text: &'t str,
    parser: Parser<'t, StrInput<'t>>,
    file: Arc<str>,
    duplicates: Vec<Problem>,
}

impl<'t> Reader<'t> {
    fn document(&mut self, at: &KeyPath) -> Result<Node, Problem> {
        let mut root = None;
        loop {
            let (event, span) = self.next(at)?;
            match event {
                Event::StreamStart | Event::DocumentEnd => {}
                Event::DocumentStart(..) if root.is_some() => {
                    return Err(self.problem(&span, at, "a second document begins here; a file holds one"));
                }
                Event::DocumentStart(..) => {
                    let (event, span) = self.next(at)?;
                    root = Some(self.node(event, &span, at, 0)?);
                }
                Event::StreamEnd => return root.ok_or_else(|| self.problem(&span, at, "the file is empty")),
                _ => return Err(self.problem(&span, at, "this cannot stand here")),
            }
        }
    }

    fn node(&mut self, event: Event<'t>, span: &Span, at: &KeyPath, depth: usize) -> Result<Node, Problem> {
        if event.tag().is_some() {
            return Err(self.problem(span, at, "tags (!…) are not part of a manifest; put the text in quotes"));
        }
        let place = self.place(span);
        let kind = match event {
            Event::Alias(_) => return Err(self.problem(span, at, NO_ALIASES)),
            Event::Scalar(_, _, anchor, _) | Event::SequenceStart(_, anchor, _) | Event::MappingStart(_, anchor, _) if anchor != 0 => {
                return Err(self.problem(span, at, NO_ALIASES));
            }
            Event::Scalar(text, style, ..) => Kind::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain },
            Event::SequenceStart(..) | Event::MappingStart(..) if depth == DEPTH_MAX => {
                return Err(self.problem(span, at, TOO_DEEP));
            }
            Event::SequenceStart(..) => Kind::List(self.items(at, depth)?),
            Event::MappingStart(..) => Kind::Map(self.entries(at, depth)?),
            _ => return Err(self.problem(span, at, "this cannot stand here")),
        };
        Ok(Node { place, kind })
    }

    fn items(&mut self, at: &KeyPath, depth: usize) -> Result<Vec<Node>, Problem> {
        let mut items = Vec::new();
        loop {
            let at = at.index(items.len());
            match self.next(&at)? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, span) => items.push(self.node(event, &span, &at, depth + 1)?),
            }
        }
    }

    fn entries(&mut self, at: &KeyPath, depth: usize) -> Result<Vec<Entry>, Problem> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut places: BTreeMap<String, Place> = BTreeMap::new();
        loop {
            let (event, span) = self.next(at)?;
            if event == Event::MappingEnd {
                return Ok(entries);
            }
            let Kind::Scalar { text: key, .. } = self.node(event, &span, at, depth + 1)?.kind else {
                return Err(self.problem(&span, at, "a key must be a text; to use {} or ${VAR} in a text, put it in quotes"));
            };
            let inner = at.key(&key);
            let (event, value_span) = self.next(&inner)?;
            let value = self.node(event, &value_span, &inner, depth + 1)?;
            let place = self.place(&span);
            match places.get(&key) {
                Some(Place { line, column, .. }) => {
                    let message = format!("the key {key:?} stands here twice, first at {line}:{column}; keep one");
                    self.duplicates.push(Problem { place: Some(place), path: inner, message });
                }
                None => {
                    places.insert(key.clone(), place.clone());
                    entries.push(Entry { key, place, value });
                }
            }
        }
    }

    fn next(&mut self, at: &KeyPath) -> Result<(Event<'t>, Span), Problem> {
        match self.parser.next() {
            Some(Ok(next)) => Ok(next),
            Some(Err(error)) => Err(self.syntax_error(&error, at)),
            None => {
                let place = Place { file: Arc::clone(&self.file), line: 1, column: 1 };
                Err(Problem { place: Some(place), path: at.clone(), message: "the file ends too early".to_owned() })
            }
        }
    }

    fn syntax_error(&self, error: &ScanError, at: &KeyPath) -> Problem {
        let message = match error.kind() {
            ErrorKind::RecursionLimitExceeded => TOO_DEEP.to_owned(),
            ErrorKind::UnknownAnchor => NO_ALIASES.to_owned(),
            _ if self.is_variable(error.marker()) => "between { } or [ ] a text with ${VAR} needs quotes, as in \"${VAR}\"".to_owned(),
            _ => format!("not YAML: {}", error.info()),
        };
        self.problem(&Span::empty(*error.marker()), at, &message)
    }

    /// Whether the parser has stumbled over the brace of a `${VAR}`.
    fn is_variable(&self, at: &Marker) -> bool {
        let before = at.byte_offset().and_then(|offset| self.text.get(..offset));
        before.is_some_and(|text| text.ends_with('$') || text.ends_with("${"))
    }

    fn problem(&self, span: &Span, at: &KeyPath, message: &str) -> Problem {
        Problem { place: Some(self.place(span)), path: at.clone(), message: message.to_owned() }
    }

    fn place(&self, span: &Span) -> Place {
        Place { file: Arc::clone(&self.file), line: span.start.line(), column: span.start.col() + 1 }
    }
}

const NO_ALIASES: &str = "anchors (&…) and aliases (*…) are not part of a manifest; write the value out, or put the text in quotes";
const TOO_DEEP: &str = "lists and mappings nest too deep; 32 levels are the most";
