//! Text, lines of `name: value`, an empty line, and bytes: how a corpus file holds a message or a request, readable enough
//! to be written by hand.

/// What a file holds.
#[derive(Debug)]
pub struct Framed<'a> {
    /// The first line.
    pub first: &'a str,
    /// Names and values.
    pub fields: Vec<(&'a str, &'a str)>,
    /// What comes after the empty line.
    pub body: &'a [u8],
}

/// Takes an input apart; none where it has no such form.
pub fn read(input: &[u8]) -> Option<Framed<'_>> {
    let end = input.windows(2).position(|two| two == b"\n\n")?;
    let head = std::str::from_utf8(&input[..end]).ok()?;
    let mut lines = head.lines();
    let first = lines.next()?;
    Some(Framed { first, fields: lines.filter_map(|line| line.split_once(": ")).collect(), body: &input[end + 2..] })
}
