//! Places in a text: `sqlparser` counts lines and columns, psql characters, slices bytes.

use sqlparser::tokenizer::Location;

/// Translates places of one text.
pub(super) struct Positions {
    /// Character offset of the start of each line.
    lines: Vec<usize>,
    /// Byte offset of each character; absent for ASCII, where both are equal.
    bytes: Option<Vec<usize>>,
    characters: usize,
    length: usize,
}

impl Positions {
    pub(super) fn new(text: &str) -> Self {
        let mut lines = vec![0];
        let mut characters = 0;
        for character in text.chars() {
            characters += 1;
            if character == '\n' {
                lines.push(characters);
            }
        }
        let bytes = (!text.is_ascii()).then(|| text.char_indices().map(|(at, _)| at).collect());
        Self {
            lines,
            bytes,
            characters,
            length: text.len(),
        }
    }

    /// Characters from the start of the text, counting from 1.
    pub(super) fn character(&self, location: Location) -> usize {
        self.offset(location) + 1
    }

    /// Bytes from the start of the text.
    pub(super) fn byte(&self, location: Location) -> usize {
        let offset = self.offset(location);
        match &self.bytes {
            Some(bytes) => bytes.get(offset).copied().unwrap_or(self.length),
            None => offset,
        }
    }

    /// The word, string or sign that starts at a place or follows there; `None` at the end of the
    /// text.
    pub(super) fn word<'a>(&self, text: &'a str, location: Location) -> Option<&'a str> {
        let rest = text[self.byte(location)..].trim_start();
        let first = rest.chars().next()?;
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let end = if is_word(first) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else if first == '\'' || first == '"' {
            let body = &rest[1..];
            body.find(first).map_or(rest.len(), |at| at + 2)
        } else {
            first.len_utf8()
        };
        Some(&rest[..end])
    }

    fn offset(&self, location: Location) -> usize {
        let line = usize::try_from(location.line).unwrap_or(usize::MAX);
        let column = usize::try_from(location.column).unwrap_or(usize::MAX);
        let start = line.checked_sub(1).and_then(|at| self.lines.get(at));
        let offset = start.map_or(0, |start| start.saturating_add(column.saturating_sub(1)));
        offset.min(self.characters)
    }
}

/// Splits the place off a message of `sqlparser`, which appends " at Line: 1, Column: 8".
pub(super) fn split_location(message: &str) -> (&str, Option<Location>) {
    let Some(at) = message.rfind(" at Line: ") else {
        return (message, None);
    };
    let mut numbers = message[at + " at Line: ".len()..].splitn(2, ", Column: ");
    let mut number = || numbers.next()?.trim().parse::<u64>().ok();
    let location = match (number(), number()) {
        (Some(line), Some(column)) => Some(Location::new(line, column)),
        _ => None,
    };
    (&message[..at], location)
}
